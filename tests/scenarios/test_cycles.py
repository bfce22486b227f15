"""If everyone who could make room waits for that room, the error names the cycle; nobody is accused wrongly."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import AsyncGenerator, Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import trio
from trio.testing import MockClock

from eventbus import Bus, Delivery, EmptyError, FullError, Keyed, Overflow, Policy, Priority, Queue
from eventbus._runtime import parking
from tests.kit import turns
from tests.scenarios.conservation import intact

pytestmark = pytest.mark.anyio


async def forward(source: Queue[int], target: Queue[int], cycles: list[tuple[str, ...]], copies: int = 2) -> None:
    """A handler that puts two messages for each that it takes: in a ring, it must fill what it waits for."""
    async with source.consume() as consumer:
        async for delivery in consumer:
            with delivery:
                for _ in range(copies):
                    try:
                        await target.put(delivery.body)
                    except FullError as error:
                        cycles.append(tuple(error.cycle))
                        return


@pytest.mark.parametrize("length", [1, 2, 3])
async def test_a_ring_of_full_queues_is_named_instead_of_hanging(length: int) -> None:
    async with Bus() as bus:
        ring = [bus.queue(f"q{number}", Policy(capacity=2)) for number in range(length)]
        cycles: list[tuple[str, ...]] = []
        with anyio.fail_after(10):
            async with anyio.create_task_group() as group:
                for number, queue in enumerate(ring):
                    await queue.put_many([1, 2])
                    group.start_soon(forward, queue, ring[(number + 1) % length], cycles)
                while not cycles:
                    await anyio.lowlevel.checkpoint()
                group.cancel_scope.cancel()
        assert set(cycles[0]) == {queue.name for queue in ring}
        intact(bus)


async def test_a_ring_through_a_topic_is_named() -> None:
    async with Bus() as bus:
        topic = bus.topic("t")
        subscription = topic.subscription("s", Policy(capacity=1))
        await topic.publish(1)
        async with subscription.consume() as consumer:
            delivery = await anext(consumer)
            await topic.publish(2)
            with pytest.raises(FullError) as caught:
                await topic.publish(3)
            assert list(caught.value.cycle) == ["t/s"]
            delivery.ack()
        intact(bus)


async def test_a_second_consumer_that_is_free_is_no_cycle() -> None:
    async with Bus() as bus:
        queue = bus.queue("q", Policy(capacity=1))
        await queue.put(1)
        async with queue.consume() as busy, anyio.create_task_group() as group:
            delivery = await anext(busy)
            await queue.put(2)
            start = anyio.Event()

            async def other() -> None:
                async with queue.consume() as consumer:
                    await start.wait()
                    async for late in consumer:
                        late.ack()

            group.start_soon(other)
            await turns()
            group.start_soon(queue.put, 3)
            await turns()
            start.set()
            await turns()
            delivery.ack()
            group.cancel_scope.cancel()
        assert queue.stats().acked == 3
        intact(bus)


async def test_who_gets_by_hand_may_come_again_and_is_no_cycle() -> None:
    async with Bus() as bus:
        queue = bus.queue("q", Policy(capacity=1))
        await queue.put(1)
        first = await queue.get()
        await queue.put(2)
        with anyio.move_on_after(0.01) as scope:
            await queue.put(3)
        assert scope.cancelled_caught
        first.ack()
        intact(bus)


async def test_a_consumer_handed_to_another_task_is_no_cycle() -> None:
    async with Bus() as bus:
        queue = bus.queue("q", Policy(capacity=1))
        seen: list[int] = []
        async with queue.consume() as consumer, anyio.create_task_group() as group:

            async def work() -> None:
                async for delivery in consumer:
                    with delivery:
                        seen.append(delivery.body)

            group.start_soon(work)
            for number in range(10):
                await queue.put(number)
            await queue.join()
            group.cancel_scope.cancel()
        assert seen == list(range(10))
        intact(bus)


@pytest.mark.parametrize("loops", [True, False])
async def test_a_cycle_is_that_of_the_task_that_took_over_a_consumer(loops: bool) -> None:
    async with Bus() as bus:
        queue = bus.queue("q", Policy(capacity=1))
        await queue.put(1)
        async with queue.consume() as consumer, anyio.create_task_group() as group:

            async def work() -> None:
                with await anext(aiter(consumer) if loops else consumer):
                    await queue.put(2)
                    with pytest.raises(FullError) as caught:
                        await queue.put(3)
                    assert caught.value.cycle == ("q",)

            group.start_soon(work)
        intact(bus)


async def test_a_generator_around_a_consumer_that_goes_to_another_task_is_no_cycle() -> None:
    async with Bus() as bus:
        queue = bus.queue("q", Policy(capacity=2))
        await queue.put_many(range(2))
        async with queue.consume() as consumer:

            async def each() -> AsyncGenerator[Delivery[int], None]:
                async for delivery in consumer:
                    yield delivery

            deliveries = each()
            (await anext(deliveries)).ack()
            await queue.put(2)

            goes_on = anyio.Event()

            async def work() -> None:
                async for delivery in deliveries:
                    goes_on.set()
                    await anyio.sleep(0.001)
                    delivery.ack()
                    if delivery.body == 5:
                        return

            async with anyio.create_task_group() as group:
                group.start_soon(work)
                await goes_on.wait()
                for body in range(3, 6):
                    await queue.put(body)
            await deliveries.aclose()
        intact(bus)


async def test_a_cycle_is_that_of_the_task_that_goes_on_with_a_consumer() -> None:
    async with Bus() as bus:
        queue = bus.queue("q", Policy(capacity=2))
        await queue.put_many(range(2))
        async with queue.consume() as consumer, anyio.create_task_group() as group:
            (await anext(consumer)).ack()
            await queue.put(2)

            async def work() -> None:
                (await anext(consumer)).ack()
                await queue.put(3)
                with pytest.raises(FullError) as caught:
                    await queue.put(4)
                assert caught.value.cycle == ("q",)

            group.start_soon(work)
        intact(bus)


async def test_a_put_that_waits_long_without_a_consumer_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(parking, "PATIENCE", 0.01)
    async with Bus() as bus:
        queue = bus.queue("lonely", Policy(capacity=1))
        await queue.put(1)
        with caplog.at_level(logging.WARNING, "eventbus"), anyio.move_on_after(0.1):
            await queue.put(2)
        [record] = caplog.records
        assert "'lonely'" in record.getMessage()
        assert "no consumer" in record.getMessage()
        intact(bus)


class Handlers:
    """Tasks that take one message each, and then put into a queue until they are stopped by an error."""

    def __init__(self) -> None:
        self.errors: dict[str, FullError] = {}
        self.ended: list[str] = []
        self.go = anyio.Event()
        self.holding = 0

    async def run(self, name: str, source: Queue[Any], send: Callable[[], Any], prefetch: int = 1) -> None:
        async with source.consume(prefetch) as consumer:
            delivery = await anext(aiter(consumer))
            self.holding += 1
            await self.go.wait()
            try:
                await send()
            except FullError as error:
                self.errors[name] = error
            self.ended.append(name)
            delivery.ack()
            await anyio.sleep_forever()


POLICIES = {"fifo": Policy(capacity=2), "priority": Policy(Priority(), capacity=2), "keys": Policy(Keyed(), capacity=2)}


async def ring_of(group: Any, handlers: Handlers, queues: list[Queue[Any]], senders: list[Callable[[], Any]]) -> None:
    """A handler for each queue, which holds a message; every queue is full."""
    for number, queue in enumerate(queues):
        queue.put_nowait("held", key="held")
        group.start_soon(handlers.run, queue.name, queue, senders[number])
    while handlers.holding < len(queues):
        await anyio.lowlevel.checkpoint()
    for queue in queues:
        queue.put_nowait("x", key="x")
        queue.put_nowait("y", key="y")


@pytest.mark.parametrize("many", [False, True], ids=["put", "put_many"])
@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
@pytest.mark.parametrize("length", [1, 2, 3])
async def test_the_last_to_close_a_ring_is_told_and_the_others_go_on_waiting(
    length: int, policy: Policy, many: bool
) -> None:
    async with Bus() as bus, anyio.create_task_group() as group:
        queues = [bus.queue(f"q{number}", policy) for number in range(length)]
        following = [*queues[1:], queues[0]]
        senders = [(lambda q=q: q.put_many([1, 2])) if many else (lambda q=q: q.put(1)) for q in following]
        handlers = Handlers()
        await ring_of(group, handlers, queues, senders)
        handlers.go.set()
        await turns(20)
        intact(bus)
        [(name, error)] = handlers.errors.items()
        assert handlers.ended == [name]
        blocking = following[queues.index(bus.queue(name))]
        assert error.queue == blocking.name
        assert error.capacity == 2
        start = queues.index(blocking)
        assert list(error.cycle) == [queue.name for queue in queues[start:] + queues[:start]]
        assert " -> ".join([*error.cycle, blocking.name]) in str(error)
        assert sum(queue.stats().waiting_putters for queue in queues) == length - 1
        group.cancel_scope.cancel()
    assert bus._engine.closed


@pytest.mark.parametrize("many", [False, True], ids=["publish", "publish_many"])
@pytest.mark.parametrize("length", [1, 2, 3])
async def test_a_ring_through_topics_is_named(length: int, many: bool) -> None:
    async with Bus() as bus, anyio.create_task_group() as group:
        topics = [bus.topic(f"t{number}") for number in range(length)]
        queues: list[Any] = [topic.subscription("s", Policy(capacity=2)) for topic in topics]
        for topic in topics:
            topic.subscription("roomy")  # which has room always, and is no part of it
        following = [*topics[1:], topics[0]]
        senders = [(lambda t=t: t.publish_many([1])) if many else (lambda t=t: t.publish(1)) for t in following]
        handlers = Handlers()
        await ring_of(group, handlers, queues, senders)
        handlers.go.set()
        await turns(20)
        intact(bus)
        [error] = handlers.errors.values()
        assert sorted(error.cycle) == [f"t{number}/s" for number in range(length)]
        assert all(bus.queue(f"t{number}/roomy").stats().ready == 0 for number in range(length))
        group.cancel_scope.cancel()


async def test_a_publish_that_waits_for_its_own_queue_among_others_is_a_cycle() -> None:
    async with Bus() as bus, anyio.create_task_group() as group:
        topic = bus.topic("t")
        own, other = (topic.subscription(name, Policy(capacity=2)) for name in ("own", "other"))
        handlers = Handlers()
        await ring_of(group, handlers, [own], [lambda: topic.publish(1)])
        other.put_nowait("full")
        other.put_nowait("too")
        handlers.go.set()
        await turns()
        assert handlers.errors["t/own"].cycle == ("t/own",)
        assert other.stats().ready == 2
        assert other.stats().waiting_putters == 0
        intact(bus)
        group.cancel_scope.cancel()


async def test_whoever_is_told_of_a_cycle_may_make_room_and_the_ring_goes_on() -> None:
    async with Bus() as bus:
        ring = [bus.queue(f"q{number}", Policy(capacity=1)) for number in range(2)]
        seen = [0, 0]
        cycles: set[tuple[str, ...]] = set()

        async def handle(number: int) -> None:
            """Passes each message on; when told that this cannot be, drops it."""
            async with ring[number].consume() as consumer:
                async for delivery in consumer:
                    with delivery:
                        seen[number] += 1
                        for _ in range(2):
                            try:
                                await ring[1 - number].put(delivery.body)
                            except FullError as error:
                                cycles.add(tuple(sorted(error.cycle)))

        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                for number in range(2):
                    ring[number].put_nowait("ball")
                    group.start_soon(handle, number)
                while min(seen) < 50:
                    await anyio.lowlevel.checkpoint()
                    bus._engine.check()
                group.cancel_scope.cancel()
        assert cycles == {("q0", "q1")}
        intact(bus)


async def test_two_handlers_that_both_fill_the_queue_they_serve_are_a_cycle() -> None:
    async with Bus() as bus, anyio.create_task_group() as group:
        queue = bus.queue("q", Policy(capacity=2))
        handlers = Handlers()
        for name in ("one", "two"):
            queue.put_nowait(name)
            group.start_soon(handlers.run, name, queue, lambda: queue.put("more"))
        while handlers.holding < 2:
            await anyio.lowlevel.checkpoint()
        queue.put_nowait("x")
        queue.put_nowait("y")
        handlers.go.set()
        await turns(20)
        intact(bus)
        assert len(handlers.errors) == 1, "the first might wait for the second, the second for nobody"
        assert next(iter(handlers.errors.values())).cycle == ("q",)
        group.cancel_scope.cancel()


async def test_a_ring_closes_when_the_free_consumer_leaves() -> None:
    async with Bus() as bus, anyio.create_task_group() as group:
        queue = bus.queue("q", Policy(capacity=2))
        handlers = Handlers()
        await ring_of(group, handlers, [queue], [lambda: queue.put("more")])
        other = queue.consume()
        await other.__aenter__()
        handlers.go.set()
        await turns()
        assert not handlers.errors
        await other.__aexit__(None, None, None)
        await turns()
        assert handlers.errors["q"].cycle == ("q",)
        intact(bus)
        group.cancel_scope.cancel()


@pytest.mark.parametrize("prefetch", [1, 16])
async def test_a_ring_is_found_whatever_is_prefetched(prefetch: int) -> None:
    async with Bus() as bus:
        queue = bus.queue("q", Policy(capacity=4))
        await queue.put_many([1, 2, 3, 4])
        async with queue.consume(prefetch) as consumer:
            delivery = await anext(aiter(consumer))
            await queue.put("that one's place")
            with pytest.raises(FullError) as caught, anyio.fail_after(10):
                await queue.put("too much")
            assert caught.value.cycle == ("q",)
            delivery.ack()
            intact(bus)


def test_a_ring_of_handlers_in_several_threads_is_named() -> None:  # noqa: C901  # two small functions
    bus = Bus()
    ring = [bus.queue(f"q{number}", Policy(capacity=1)) for number in range(2)]
    holds = threading.Barrier(2)
    errors: list[FullError] = []
    others: list[BaseException] = []

    async def handle(number: int) -> None:
        async with ring[number].consume() as consumer:
            delivery = await anext(aiter(consumer))
            holds.wait(60)
            ring[number].put_nowait("full")
            holds.wait(60)
            with anyio.fail_after(60):
                try:
                    await ring[1 - number].put("round")
                except FullError as error:
                    errors.append(error)
            delivery.ack()

    def run(number: int) -> None:
        try:
            anyio.run(handle, number, backend=("asyncio", "trio")[number])
        except BaseException as error:
            others.append(error)

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(2)]
    for number, thread in enumerate(threads):
        ring[number].put_nowait("held")
        thread.start()
    # who was told leaves, and its queue has no consumer then: the other one waits for whoever comes
    for _ in range(6_000):
        if errors:
            break
        threads[0].join(0.01)
    for queue in ring:
        if queue.stats().ready:
            queue.purge()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert not others
    [error] = errors
    assert sorted(error.cycle) == ["q0", "q1"]
    intact(bus)


# no false alarm


async def test_a_chain_that_ends_with_a_free_consumer_is_no_cycle() -> None:
    async with Bus() as bus, anyio.create_task_group() as group:
        first, second, third = (bus.queue(name, Policy(capacity=2)) for name in ("a", "b", "c"))
        handlers = Handlers()
        await ring_of(group, handlers, [first, second], [lambda: second.put(1), lambda: third.put(1)])
        third.put_nowait("full")
        third.put_nowait("too")
        handlers.go.set()
        await turns(20)
        assert not handlers.errors
        third.get_nowait().ack()
        await turns(20)
        assert handlers.ended == ["b"], "its consumer goes on no more, so the first waits"
        assert not handlers.errors
        intact(bus)
        group.cancel_scope.cancel()


async def test_a_queue_that_nobody_serves_yet_is_no_cycle() -> None:
    async with Bus() as bus, anyio.create_task_group() as group:
        source, target = (bus.queue(name, Policy(capacity=2)) for name in ("a", "b"))
        handlers = Handlers()
        await ring_of(group, handlers, [source], [lambda: target.put(1)])
        target.put_nowait("full")
        target.put_nowait("too")
        handlers.go.set()
        await turns()
        assert not handlers.ended
        assert target.purge() == 2
        await turns()
        assert handlers.ended == ["a"]
        assert not handlers.errors
        intact(bus)
        group.cancel_scope.cancel()


async def test_a_free_consumer_of_any_queue_of_the_ring_opens_it() -> None:
    async with Bus() as bus, anyio.create_task_group() as group:
        queues = [bus.queue(f"q{number}", Policy(capacity=2)) for number in range(3)]
        senders = [lambda q=q: q.put(1) for q in (*queues[1:], queues[0])]
        handlers = Handlers()
        await ring_of(group, handlers, queues, senders)
        async with queues[1].consume() as free:
            handlers.go.set()
            await turns(20)
            assert not handlers.errors
            assert not handlers.ended
            delivery = await anext(aiter(free))
            delivery.ack()
            await turns(20)
            assert not handlers.errors
            assert handlers.ended == ["q0"]
            intact(bus)
            group.cancel_scope.cancel()


async def test_a_plain_getter_that_waits_its_turn_opens_the_ring() -> None:
    async with Bus() as bus, anyio.create_task_group() as group:
        queue = bus.queue("q", Policy(capacity=2))
        handlers = Handlers()
        async with anyio.create_task_group() as getting:
            getting.start_soon(queue.get)
            await turns()
            queue.put_nowait("for the getter")
        await ring_of(group, handlers, [queue], [lambda: queue.put("more")])
        handlers.go.set()
        await turns()
        assert not handlers.errors
        for _ in range(3):
            (await queue.get()).ack()
            await turns()
        assert handlers.ended == ["q"]
        assert not handlers.errors
        intact(bus)
        group.cancel_scope.cancel()


async def test_who_polls_with_get_nowait_opens_the_ring() -> None:
    async with Bus() as bus, anyio.create_task_group() as group:
        queue = bus.queue("q", Policy(capacity=2))
        handlers = Handlers()

        async def poll() -> None:
            while True:
                await handlers.go.wait()
                with contextlib.suppress(EmptyError):
                    queue.get_nowait().ack()
                await turns(5)

        with pytest.raises(EmptyError):
            queue.get_nowait()
        await ring_of(group, handlers, [queue], [lambda: queue.put("more")])
        queue.get_nowait().ack()
        queue.put_nowait("and full again")
        handlers.go.set()
        await anyio.lowlevel.checkpoint()
        group.start_soon(poll)
        await turns(30)
        assert not handlers.errors
        assert handlers.ended == ["q"]
        intact(bus)
        group.cancel_scope.cancel()


@pytest.mark.parametrize("overflow", [Overflow.DROP_OLDEST, Overflow.DROP_NEWEST])
async def test_a_ring_of_queues_that_drop_never_waits(overflow: Overflow) -> None:
    async with Bus() as bus:
        queue = bus.queue("q", Policy(capacity=2, overflow=overflow))
        await queue.put_many([1, 2, 3])
        async with queue.consume() as consumer:
            async for delivery in consumer:
                with delivery:
                    for number in range(10):
                        await queue.put(number)
                    break
        intact(bus)


async def test_a_put_cancelled_leaves_no_trace_in_the_ring() -> None:
    async with Bus() as bus, anyio.create_task_group() as group:
        queues = [bus.queue(f"q{number}", Policy(capacity=2)) for number in range(2)]
        scope, given_up = anyio.CancelScope(), anyio.Event()

        async def give_up() -> None:
            with scope:
                await queues[1].put(1)

        async def set_out_then() -> None:
            await given_up.wait()
            await queues[0].put(1)

        handlers = Handlers()
        await ring_of(group, handlers, queues, [give_up, set_out_then])
        handlers.go.set()
        await turns()
        scope.cancel()
        await turns()
        assert handlers.ended == ["q0"]
        given_up.set()
        await turns()
        assert not handlers.errors
        assert handlers.ended == ["q0"], "the other waits for the first, which could take more"
        assert queues[0].purge() == 2
        await turns()
        assert handlers.ended == ["q0", "q1"]
        assert not handlers.errors
        intact(bus)
        group.cancel_scope.cancel()


# a put that waits with no consumer attached, by trio's clock, which jumps


def warned(records: list[logging.LogRecord]) -> int:
    return sum("no consumer" in record.getMessage() for record in records)


def by_jumping_clock(function: Callable[[Bus], Any]) -> None:
    async def play() -> None:
        async with Bus() as bus:
            await function(bus)
            intact(bus)

    trio.run(play, clock=MockClock(autojump_threshold=0))


@pytest.mark.parametrize("call", ["put", "put_many", "publish", "publish_many"])
def test_after_five_seconds_and_no_sooner_a_put_warns_once_and_goes_on(
    call: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "eventbus")

    async def play(bus: Bus) -> None:
        topic = bus.topic("t")
        queue = topic.subscription("s", Policy(capacity=1))
        await queue.put("full")
        calls = {
            "put": lambda: queue.put(1),
            "put_many": lambda: queue.put_many([1]),
            "publish": lambda: topic.publish(1),
            "publish_many": lambda: topic.publish_many([1]),
        }
        async with trio.open_nursery() as nursery:
            nursery.start_soon(calls[call])
            await trio.sleep(4.9)
            assert warned(caplog.records) == 0
            await trio.sleep(0.2)
            assert warned(caplog.records) == 1
            [record] = caplog.records
            assert record.name == "eventbus"
            assert record.levelno == logging.WARNING
            assert "'t/s'" in record.getMessage()
            await trio.sleep(100)
            assert warned(caplog.records) == 1
            queue.get_nowait().ack()
        assert queue.peek()[0].body == 1

    by_jumping_clock(play)


def test_a_put_that_waits_long_for_a_slow_consumer_warns_of_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def play(bus: Bus) -> None:
        queue = bus.queue("q", Policy(capacity=1))
        await queue.put("full")
        async with queue.consume() as consumer, trio.open_nursery() as nursery:
            nursery.start_soon(queue.put, 1)
            await trio.sleep(100)
            (await anext(aiter(consumer))).ack()

    by_jumping_clock(play)
    assert not caplog.records


def test_a_put_whose_consumer_came_in_time_warns_of_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def play(bus: Bus) -> None:
        queue = bus.queue("q", Policy(capacity=1))
        await queue.put("full")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(queue.put, 1)
            await trio.sleep(3)
            async with queue.consume() as consumer:
                await trio.sleep(100)
                (await anext(aiter(consumer))).ack()

    by_jumping_clock(play)
    assert not caplog.records


def test_a_put_cancelled_within_five_seconds_warns_of_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def play(bus: Bus) -> None:
        queue = bus.queue("q", Policy(capacity=1))
        await queue.put("full")
        with trio.move_on_after(4):
            await queue.put(1)
        await trio.sleep(100)

    by_jumping_clock(play)
    assert not caplog.records


def test_a_put_whose_only_consumer_left_warns_too(caplog: pytest.LogCaptureFixture) -> None:
    async def play(bus: Bus) -> None:
        queue = bus.queue("q", Policy(capacity=1))
        await queue.put("full")
        async with trio.open_nursery() as nursery:
            async with queue.consume():
                nursery.start_soon(queue.put, 1)
                await trio.sleep(1)
            await trio.sleep(4.9)
            assert warned(caplog.records) == 0
            await trio.sleep(100)
            assert warned(caplog.records) == 1
            nursery.cancel_scope.cancel()

    by_jumping_clock(play)
