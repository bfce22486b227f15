"""Publishes, puts and acks that take effect together or not at all."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from eventbus import (
    Bus,
    ClosedError,
    CodecError,
    DeclarationError,
    FullError,
    Isolation,
    Keyed,
    Observer,
    Overflow,
    Policy,
    Priority,
    Retention,
    SettlementError,
    StaleDeliveryError,
    UnroutableError,
    blocking,
)
from tests.kit import ManualClock, turns
from tests.kit.faces import Async, Blocking, run_through
from tests.scenarios.conservation import intact

Scenario = Callable[[Any], Awaitable[None]]
SCENARIOS: list[Scenario] = []


def scenario(function: Scenario) -> Scenario:
    SCENARIOS.append(function)
    return function


def bodies(queue: Any) -> list[Any]:
    return [message.body for message in queue.peek(1000)]


class Diary(Observer):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def published(self, message: Any, queues: Any) -> None:
        self.lines.append(f"{message.body} to {', '.join(queues)}")

    def settled(self, delivery: Any, outcome: str) -> None:
        self.lines.append(f"{outcome} {delivery.body}")


@scenario
async def under_a_codec_what_cannot_be_encoded_is_refused_where_it_is_said(face: Any) -> None:
    async with face.bus(isolation=Isolation.CODEC) as bus:
        queue, basket = bus.queue("q"), ["apple"]
        queue.bind("t")
        with pytest.raises(CodecError):
            async with bus.transaction() as tx:
                tx.put(queue, basket)
                tx.publish("t", object())
        assert bodies(queue) == []
        async with bus.transaction() as tx:
            tx.put(queue, basket)
            tx.publish("t", basket)
            basket.append("pear")
        assert bodies(queue) == [["apple"], ["apple"]]
        intact(bus)


@scenario
async def all_of_it_takes_effect_at_the_end_of_the_block(face: Any) -> None:
    async with face.bus() as bus:
        work, done, topic = bus.queue("work"), bus.queue("done"), bus.topic("t")
        audit, named = topic.subscription("audit"), bus.topic("named").subscription("s")
        await work.put("job")
        delivery = await work.get()
        diary = Diary()
        bus.observe(diary)
        async with bus.transaction() as tx:
            tx.publish(topic, "news", key="k", headers={"h": 1}, priority=2, id="i")
            tx.put(done, "one")
            tx.put("done", "two")
            tx.publish("named", "by name")
            tx.ack(delivery)
            assert (bodies(done), bodies(audit), delivery.settled, diary.lines) == ([], [], False, [])
        assert (bodies(done), bodies(audit), bodies(named), delivery.settled) == (
            ["one", "two"],
            ["news"],
            ["by name"],
            True,
        )
        [message] = audit.peek()
        assert (message.key, message.headers["h"], message.priority, message.id) == ("k", 1, 2, "i")
        assert diary.lines == ["news to t/audit", "one to done", "two to done", "by name to named/s", "ack job"]
        offsets = [message.offset for queue in (audit, done, named) for message in queue.peek(9)]
        assert offsets == sorted(offsets), "in the order in which they were gathered"
        delivery.ack()  # harmless, as ever
        intact(bus)


@scenario
async def an_exception_inside_discards_all_of_it(face: Any) -> None:
    async with face.bus() as bus:
        queue = bus.queue("q")
        await queue.put("job")
        delivery = await queue.get()
        with pytest.raises(KeyError):
            async with bus.transaction() as tx:
                tx.put(queue, "never")
                tx.ack(delivery)
                raise KeyError
        assert (bodies(queue), delivery.settled) == ([], False)
        delivery.ack()
        intact(bus)


@scenario
async def a_transaction_of_nothing_is_harmless(face: Any) -> None:
    async with face.bus() as bus:
        async with bus.transaction():
            pass
        async with bus.transaction() as tx:
            tx.publish(bus.topic("nobody"), 1)
        assert bus.stats().topics["nobody"].unroutable == 1


@scenario
async def what_fails_when_full_makes_it_fail_and_nothing_happens(face: Any) -> None:
    async with face.bus() as bus:
        free, full = bus.queue("free"), bus.queue("full", Policy(capacity=2, overflow=Overflow.FAIL))
        await full.put(0)
        await free.put("job")
        delivery = await free.get()
        with pytest.raises(FullError) as caught:
            async with bus.transaction() as tx:
                tx.put(free, 1)
                tx.put(full, 1)
                tx.put(full, 2)
                tx.ack(delivery)
        assert (caught.value.queue, caught.value.needed, caught.value.cycle) == ("full", 2, ())
        assert (bodies(free), bodies(full), delivery.settled) == ([], [0], False)
        intact(bus)


@scenario
async def what_could_never_fit_is_refused_at_once(face: Any) -> None:
    async with face.bus() as bus:
        queue, other = bus.queue("q", Policy(capacity=2)), bus.queue("other", Policy(capacity=1))
        await other.put("full")
        with pytest.raises(FullError, match="3 messages were to enter queue 'q' together") as caught:
            async with bus.transaction() as tx:
                tx.put(other, 0)
                for number in range(3):
                    tx.put(queue, number)
        assert (caught.value.capacity, caught.value.needed) == (2, 3)
        assert (bodies(queue), other.stats().waiting_putters) == ([], 0)
        intact(bus)


@scenario
async def what_drops_when_full_drops_and_counts(face: Any) -> None:
    async with face.bus() as bus:
        newest = bus.queue("newest", Policy(capacity=2, overflow=Overflow.DROP_OLDEST))
        oldest = bus.queue("oldest", Policy(capacity=2, overflow=Overflow.DROP_NEWEST))
        async with bus.transaction() as tx:
            for number in range(3):
                tx.put(newest, number)
                tx.put(oldest, number)
        assert (bodies(newest), bodies(oldest)) == ([1, 2], [0, 1])
        assert (newest.stats().dropped, oldest.stats().dropped) == (1, 1)
        intact(bus)


@scenario
async def a_delivery_that_is_not_out_makes_it_fail(face: Any) -> None:
    clock = ManualClock()
    async with face.bus(clock=clock) as bus:
        queue, target = bus.queue("q", Policy(lease=5)), bus.queue("target")
        for _ in range(4):
            await queue.put("job")
        acked, nacked, late, good = [await queue.get() for _ in range(4)]
        acked.ack()
        nacked.nack()
        with pytest.raises(SettlementError, match=r"settled with ack.* again with tx\.ack"):
            async with bus.transaction() as tx:
                tx.ack(acked)
        with pytest.raises(SettlementError, match="settled with nack"):
            async with bus.transaction() as tx:
                tx.ack(nacked)
        with pytest.raises(StaleDeliveryError):
            async with bus.transaction() as tx:
                tx.put(target, "never")
                tx.ack(good)
                tx.ack(late)
                good.extend(100)
                clock.advance(6)
        assert (bodies(target), good.settled) == ([], False)
        with pytest.raises(SettlementError, match="settled with release"):
            async with bus.transaction() as tx:
                tx.put(target, "never")
                tx.ack(good)
                good.release()
        assert bodies(target) == []
        intact(bus)


@scenario
async def a_batch_is_acked_with_it(face: Any) -> None:
    async with face.bus() as bus:
        queue = bus.queue("q")
        await queue.put_many([1, 2, 3])
        batch = await queue.get_many(3)
        async with bus.transaction() as tx:
            tx.ack(batch)
            tx.ack(batch[0])
        assert queue.stats().acked == 3
        intact(bus)


@scenario
async def a_lane_is_free_again_once_its_message_is_acked(face: Any) -> None:
    async with face.bus() as bus:
        queue = bus.queue("q", Policy(Keyed()))
        await queue.put("a1", key="a")
        first = await queue.get()
        async with bus.transaction() as tx:
            tx.put(queue, "a2", key="a")  # into the very queue that lent what it acks
            tx.ack(first)
        assert (await queue.get()).body == "a2"
        intact(bus)


@scenario
async def an_id_is_known_again_inside_and_after(face: Any) -> None:
    async with face.bus() as bus:
        queue = bus.queue("q", Policy(capacity=2, dedup=60))
        topic = bus.topic("t", dedup=60)
        s = topic.subscription("s")
        await queue.put("first", id="a")
        async with bus.transaction() as tx:
            tx.put(queue, "again", id="a")  # needs no room
            tx.put(queue, "second", id="b")
            tx.publish(topic, "one", id="c")
            tx.publish(topic, "one", id="c")
        assert (bodies(queue), bodies(s)) == (["first", "second"], ["one"])
        assert await queue.put("again", id="b") == queue.peek(2)[1].offset
        intact(bus)


@scenario
async def delays_and_times_to_live_count_from_the_call(face: Any) -> None:
    clock = ManualClock()
    async with face.bus(clock=clock) as bus:
        queue = bus.queue("q")
        async with bus.transaction() as tx:
            tx.put(queue, "late", delay=10)
            tx.put(queue, "short", ttl=5)
            clock.advance(4)
        assert (bodies(queue), queue.stats().delayed) == (["short"], 1)
        clock.advance(1)
        assert bodies(queue) == []
        clock.advance(5)
        assert bodies(queue) == ["late"]
        intact(bus)


@scenario
async def filters_choose_when_it_is_gathered_and_anew_when_the_routes_have_changed(face: Any) -> None:
    async with face.bus() as bus:
        topic = bus.topic("t", retain=Retention(count=10))
        seen: list[Any] = []
        first = topic.subscription("first", where=lambda message: seen.append(message.body) or message.body > 1)
        async with bus.transaction() as tx:
            tx.publish(topic, 1)
            tx.publish(topic, 2)
            assert seen == [1, 2]
            late = topic.subscription("late")
        assert (bodies(first), bodies(late), seen) == ([2], [1, 2], [1, 2, 1, 2])
        assert [message.body async for message in topic.replay()] == [1, 2]
        with pytest.raises(UnroutableError):
            async with bus.transaction() as tx:
                tx.publish(bus.topic("nobody"), 1, mandatory=True)


@scenario
async def copies_are_of_the_body_as_it_was(face: Any) -> None:
    async with face.bus(isolation=Isolation.COPY) as bus:
        topic, queue = bus.topic("t"), bus.queue("q")
        first, body = topic.subscription("first"), [1]
        async with bus.transaction() as tx:
            tx.publish(topic, body)
            tx.put(queue, body)
            body.append(2)
            late = topic.subscription("late")  # so that it is made anew
        assert bodies(first) == bodies(late) == bodies(queue) == [[1]]
        assert first.peek()[0].body is not late.peek()[0].body


@scenario
async def every_order_takes_it(face: Any) -> None:
    async with face.bus() as bus:
        ranked = bus.queue("ranked", Policy(Priority()))
        sticky = bus.queue("sticky", Policy(Keyed(partitions=3, sticky=True)))
        async with bus.transaction() as tx:
            for number in range(4):
                tx.put(ranked, number, priority=number % 2)
                tx.put(sticky, number, key=str(number))
        assert bodies(ranked) == [1, 3, 0, 2]
        assert sorted(bodies(sticky)) == [0, 1, 2, 3]
        intact(bus)


@scenario
async def wrong_uses_say_so(face: Any) -> None:
    async with face.bus() as bus:
        queue, topic = bus.queue("q"), bus.topic("t")
        await queue.put(1)
        delivery = await queue.get()
        tx = bus.transaction()
        for call in (lambda: tx.put(queue, 1), lambda: tx.publish(topic, 1), lambda: tx.ack(delivery)):
            with pytest.raises(RuntimeError, match="has not begun; enter it"):
                call()
        async with tx:
            with pytest.raises(RuntimeError, match="is open already; begin another"):
                async with tx:
                    pass
            async with bus.transaction() as inner:  # another one is by itself
                inner.put(queue, "inner")
            assert bodies(queue) == ["inner"]
        for call in (lambda: tx.put(queue, 1), lambda: tx.publish(topic, 1), lambda: tx.ack(delivery)):
            with pytest.raises(RuntimeError, match="has ended; begin another"):
                call()
        with pytest.raises(RuntimeError, match="has ended; begin another"):
            async with tx:
                pass
        async with bus.transaction() as tx:
            with pytest.raises(TypeError, match=r"tx\.ack takes a delivery"):
                tx.ack("delivery")
            with pytest.raises(TypeError, match="key takes"):
                tx.put(queue, 1, key=1)
        async with face.bus() as other:
            with pytest.raises(DeclarationError, match="of another bus"):
                async with other.transaction() as tx:
                    tx.put(queue, 1)
            with pytest.raises(DeclarationError, match="of another bus"):
                async with other.transaction() as tx:
                    tx.ack(delivery)
            with pytest.raises(DeclarationError, match="of another bus"):
                async with other.transaction() as tx:
                    tx.publish(topic, 1)


@scenario
async def after_the_end_of_the_bus_it_says_so(face: Any) -> None:
    bus = face.bus()
    queue = bus.queue("q")
    async with bus:
        tx = bus.transaction()
        gone = bus.topic("t").subscription("s")
        await gone.unsubscribe()
        with pytest.raises(ClosedError):
            async with bus.transaction() as late:
                late.put(gone, 1)
    with pytest.raises(ClosedError):
        async with tx:
            pass
    with pytest.raises(ClosedError):
        async with face.bus() as other, other.transaction() as tx:
            tx.put(other.queue("q"), 1)
            await other.aclose()
    assert queue.name == "q"


each = pytest.mark.parametrize("play", SCENARIOS, ids=lambda play: play.__name__)


@each
@pytest.mark.anyio
async def test_async(play: Scenario) -> None:
    with anyio.fail_after(30):
        await play(Async())


@each
def test_blocking(play: Any) -> None:
    run_through(play(Blocking()))


# waiting


class Waits:
    """Two queues of two places, and what of them a task that leaves a transaction waits for."""

    def __init__(self) -> None:
        self.bus = Bus()
        self.a, self.b = (self.bus.queue(name, Policy(capacity=2)) for name in "ab")
        self.done: list[str] = []
        self.errors: list[BaseException] = []

    async def commit(self, name: str, a: int = 0, b: int = 0) -> None:
        try:
            async with self.bus.transaction() as tx:
                for _ in range(a):
                    tx.put(self.a, name)
                for _ in range(b):
                    tx.put(self.b, name)
        except (FullError, ClosedError) as error:
            self.errors.append(error)
        else:
            self.done.append(name)

    async def put(self, name: str, queue: Any) -> None:
        await queue.put(name)
        self.done.append(name)

    async def make_room(self, queue: Any) -> None:
        (await queue.get()).ack()
        await turns()
        self.bus._engine.check()


@pytest.mark.anyio
async def test_it_waits_until_every_queue_has_room_for_all_of_it() -> None:
    waits = Waits()
    await waits.a.put_many([1, 2])
    await waits.b.put(1)
    async with anyio.create_task_group() as group:
        group.start_soon(waits.commit, "tx", 2, 1)
        await turns()
        assert (waits.a.stats().waiting_putters, bodies(waits.b)) == (1, [1])
        await waits.make_room(waits.a)
        assert waits.done == [], "there is room for one of two"
        await waits.make_room(waits.a)
        assert waits.done == ["tx"]
    assert (bodies(waits.a), bodies(waits.b)) == (["tx", "tx"], [1, "tx"])
    intact(waits.bus)


@pytest.mark.anyio
async def test_who_comes_later_is_served_later_though_it_needs_less() -> None:
    waits = Waits()
    await waits.a.put_many([1, 2])
    async with anyio.create_task_group() as group:
        for function, arguments in ((waits.commit, ("tx", 2)), (waits.put, ("put", waits.a))):
            group.start_soon(function, *arguments)
            await turns()
        await waits.make_room(waits.a)
        assert waits.done == []
        with pytest.raises(FullError):
            waits.a.put_nowait("newcomer")
        await waits.make_room(waits.a)
        assert waits.done == ["tx"]
        await waits.make_room(waits.a)
        assert waits.done == ["tx", "put"]
    intact(waits.bus)


@pytest.mark.anyio
async def test_one_that_is_cancelled_while_it_waits_did_nothing_and_lets_the_next_pass() -> None:
    waits = Waits()
    await waits.a.put_many([1, 2])
    async with anyio.create_task_group() as group:
        scope = anyio.CancelScope()

        async def cancelled() -> None:
            with scope:
                await waits.commit("tx", 2, 1)

        group.start_soon(cancelled)
        await turns()
        group.start_soon(waits.put, "put", waits.a)
        await turns()
        await waits.make_room(waits.a)
        assert waits.done == []
        scope.cancel()
        await turns()
        assert waits.done == ["put"]
    assert (bodies(waits.a), bodies(waits.b)) == ([2, "put"], [])
    intact(waits.bus)


@pytest.mark.anyio
async def test_cancellation_inside_discards_it() -> None:
    async with Bus() as bus:
        queue = bus.queue("q")
        with anyio.CancelScope() as scope:
            async with bus.transaction() as tx:
                tx.put(queue, 1)
                scope.cancel()
                await anyio.sleep_forever()
        assert bodies(queue) == []


@pytest.mark.anyio
@pytest.mark.parametrize("order", ["ab", "ba"])
async def test_two_that_need_each_others_room_go_one_after_the_other(order: str) -> None:
    waits = Waits()
    await waits.a.put(1)
    await waits.b.put(1)
    async with anyio.create_task_group() as group:
        for name in ("one", "two"):
            group.start_soon(waits.commit, name, 2, 2)
            await turns()
        for name in order * 3:
            await waits.make_room(getattr(waits, name))
        assert waits.done == ["one", "two"]
    intact(waits.bus)


@pytest.mark.anyio
async def test_a_consumer_whose_transaction_could_never_enter_its_own_queue_is_told() -> None:
    waits = Waits()
    await waits.a.put(1)
    async with waits.a.consume() as consumer:
        delivery = await anext(aiter(consumer))
        await waits.a.put(2)
        with pytest.raises(FullError, match="waiting could never end") as caught:
            async with waits.bus.transaction() as tx:
                tx.put(waits.a, "one")
                tx.put(waits.a, "two")
                tx.ack(delivery)
        assert caught.value.cycle == ("a",)
        assert (delivery.settled, waits.a.stats().waiting_putters) == (False, 0)
    intact(waits.bus)


@pytest.mark.anyio
async def test_two_consumers_that_wait_for_each_others_room_are_told() -> None:
    waits = Waits()

    async def serve(source: Any, target: dict[str, int], go: anyio.Event) -> None:
        async with source.consume() as consumer:
            await anext(aiter(consumer))
            await go.wait()
            await waits.commit(source.name, **target)

    gates = [anyio.Event(), anyio.Event()]
    await waits.a.put(0)
    await waits.b.put(0)
    async with anyio.create_task_group() as group:
        group.start_soon(serve, waits.a, {"b": 2}, gates[0])
        group.start_soon(serve, waits.b, {"a": 2}, gates[1])
        await turns()
        await waits.a.put(1)
        await waits.b.put(1)
        for gate in gates:
            gate.set()
            await turns()
        group.cancel_scope.cancel()
    [error] = waits.errors
    assert sorted(error.cycle) == ["a", "b"]  # type: ignore[attr-defined]
    assert waits.done == []


@pytest.mark.anyio
async def test_a_consumer_that_waits_behind_one_who_waits_for_it_is_told() -> None:
    """There is room, but it belongs to one who came before, and who waits for what this very consumer is to take."""
    waits = Waits()
    await waits.a.put(1)
    await waits.b.put_many([1, 2])
    async with anyio.create_task_group() as group, waits.a.consume() as a, waits.b.consume() as b:
        del a, b  # this task consumes from both
        for holder in (*waits.a._state.holders, *waits.b._state.holders):
            holder.party = waits.bus._ports.here().party()
        group.start_soon(waits.commit, "tx", 1, 1)
        await turns()
        with pytest.raises(FullError, match="waiting could never end"):
            await waits.a.put("more")
        group.cancel_scope.cancel()
    intact(waits.bus)


@pytest.mark.anyio
async def test_the_end_of_the_bus_ends_the_wait() -> None:
    waits = Waits()
    await waits.a.put_many([1, 2])
    async with anyio.create_task_group() as group:
        group.start_soon(waits.commit, "tx", 1, 1)
        await turns()
        await waits.bus.aclose()
    assert [type(error) for error in waits.errors] == [ClosedError]
    assert not waits.bus._engine.entry.blocked


@pytest.mark.anyio
async def test_the_end_of_a_subscription_that_it_waits_for_lets_it_pass() -> None:
    async with Bus() as bus:
        topic, other = bus.topic("t"), bus.queue("q", Policy(capacity=1))
        full = topic.subscription("full", Policy(capacity=1))
        stays = topic.subscription("stays", Policy(capacity=1))
        await topic.publish(1)
        (await stays.get()).ack()

        async def commit() -> None:
            async with bus.transaction() as tx:
                tx.publish(topic, 2)
                tx.put(other, 2)

        async with anyio.create_task_group() as group:
            group.start_soon(commit)
            await turns()
            assert bodies(stays) == bodies(other) == []
            await full.unsubscribe()
        assert bodies(stays) == bodies(other) == [2]
        intact(bus)


@pytest.mark.anyio
async def test_a_delivery_that_goes_elsewhere_while_it_waits_makes_it_fail() -> None:
    async with Bus() as bus:
        source, full = bus.queue("source"), bus.queue("full", Policy(capacity=1))
        await source.put(1)
        await full.put(1)
        errors: list[BaseException] = []

        async def commit(delivery: Any) -> None:
            try:
                async with bus.transaction() as tx:
                    tx.put(full, 2)
                    tx.ack(delivery)
            except StaleDeliveryError as error:
                errors.append(error)

        async with anyio.create_task_group() as group:
            async with source.consume() as consumer:
                group.start_soon(commit, await anext(aiter(consumer)))
                await turns()
            (await full.get()).ack()
        assert len(errors) == 1
        assert (bodies(full), bodies(source), full.stats().waiting_putters) == ([], [1], 0)
        intact(bus)


@pytest.mark.anyio
async def test_a_loop_of_transactions_lets_others_run() -> None:
    async with Bus() as bus:
        queue, ran = bus.queue("q", Policy(capacity=None)), []
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: _note(ran))
            while not ran:
                async with bus.transaction() as tx:
                    tx.put(queue, 1)
                assert queue.stats().ready < 1000, "the others starve"


async def _note(ran: list[int]) -> None:
    ran.append(1)


def test_its_repr_says_how_far_it_has_come() -> None:
    with blocking.Bus() as bus, bus.transaction() as tx:
        tx.put("q", 1)
        assert repr(tx) == "<Transaction of 1 messages and 0 acks, open>"


def test_a_thread_waits_so_long_and_then_nothing_has_happened() -> None:
    with blocking.Bus() as bus:
        queue, other = bus.queue("q", Policy(capacity=1)), bus.queue("other")
        queue.put(1)
        with pytest.raises(TimeoutError, match="room in queue 'q'"), bus.transaction(timeout=0) as tx:
            tx.put(other, 1)
            tx.put(queue, 1)
        with pytest.raises(TypeError, match="timeout takes seconds"):
            bus.transaction(timeout="soon")  # type: ignore[arg-type]
        assert (bodies(queue), bodies(other), queue.stats().waiting_putters) == ([1], [], 0)
        intact(bus)


def test_threads_move_messages_between_queues_exactly_once() -> None:
    """Consume, transform, produce: with every step a transaction, nothing is lost and nothing doubled."""
    with blocking.Bus() as bus:
        source, target = bus.queue("source", Policy(capacity=8)), bus.queue("target", Policy(capacity=4))
        seen: list[int] = []

        def move() -> None:
            with source.consume(until_empty=False) as consumer:
                for delivery in consumer:
                    with bus.transaction() as tx:
                        tx.put(target, delivery.body)
                        tx.put(target, -delivery.body)
                        tx.ack(delivery)

        def take() -> None:
            with target.consume() as consumer:
                for delivery in consumer:
                    seen.append(delivery.body)
                    delivery.ack()

        threads = [threading.Thread(target=work, daemon=True) for work in (move, move, move, take)]
        for thread in threads:
            thread.start()
        for number in range(1, 301):
            source.put(number)
        source.join(20)
        target.join(20)
        intact(bus)
    for thread in threads:
        thread.join(10)
    assert sorted(seen) == sorted([*range(1, 301), *range(-300, 0)])
