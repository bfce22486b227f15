"""The same scenarios over asyncio, trio and the blocking face, in memory and with a journal, by public API alone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest

from eventbus import (
    EARLIEST,
    ClosedError,
    CodecError,
    DeclarationError,
    EmptyError,
    FullError,
    Isolation,
    Keyed,
    Overflow,
    Policy,
    Priority,
    Retention,
    StaleDeliveryError,
    UnroutableError,
)
from tests.kit.faces import Async, Blocking, run_through
from tests.scenarios.conservation import intact

Scenario = Callable[[Any], Awaitable[None]]
SCENARIOS: list[Scenario] = []


def scenario(function: Scenario) -> Scenario:
    SCENARIOS.append(function)
    return function


@scenario
async def a_message_goes_round(face: Any) -> None:
    async with face.bus() as bus:
        queue = bus.queue("q")
        offset = await queue.put({"a": 1}, key="k", headers={"h": 1}, priority=3, id="i")
        delivery = await queue.get()
        assert (delivery.offset, delivery.body, delivery.key) == (offset, {"a": 1}, "k")
        assert (delivery.headers["h"], delivery.message.priority, delivery.message.id) == (1, 3, "i")
        delivery.ack()
        await queue.join()
        await bus.join()
        intact(bus)


@scenario
async def an_id_that_is_repeated_enters_once(face: Any) -> None:
    async with face.bus() as bus:
        queue, topic = bus.queue("q", Policy(dedup=60)), bus.topic("t", dedup=60)
        subscription = topic.subscription("s")
        offsets = []
        await face.together(*[note(offsets, queue.put(n, id="a")) for n in range(4)])
        assert set(offsets) == {1}
        first = topic.publish_nowait(5, id="a")
        assert await topic.publish(6, id="a") == first
        assert await queue.put_many([7, 8], id="b") == [first + 1] * 2
        assert await topic.publish_many([9, 10], id="b") == [first + 2] * 2
        async with bus.transaction() as tx:
            tx.put(queue, 11, id="a")
            tx.publish(topic, 12, id="b")
            tx.put(queue, 13, id="c")
        assert (await queue.get_many(9)).bodies[1:] == [7, 13]
        assert [message.body for message in subscription.peek(9)] == [5, 9]
        intact(bus)


async def note(found: list[Any], call: Awaitable[Any]) -> None:
    found.append(await call)


@scenario
async def what_is_refused_comes_again_and_dies_when_rejected(face: Any) -> None:
    async with face.bus() as bus:
        queue = bus.queue("q")
        await queue.put("one")
        (await queue.get()).nack(delay=0, error="no")
        again = await queue.get()
        assert (again.attempt, again.failures, again.redelivered) == (2, 1, True)
        again.release()
        (await queue.get()).reject("bad")
        dead = await bus.dead_letters.get()
        assert dead.message.deaths[0].error == "bad"
        intact(bus)


@scenario
async def consumers_compete_until_all_is_done(face: Any) -> None:
    async with face.bus() as bus:
        queue = bus.queue("q", Policy(capacity=16))
        seen: list[int] = []

        async def produce() -> None:
            for number in range(300):
                await queue.put(number)
            await queue.join()
            await bus.aclose()

        async def consume(prefetch: int) -> None:
            with suppress(ClosedError):  # a thread may come when the others have done all
                async with queue.consume(prefetch) as consumer:
                    async for delivery in consumer:
                        with delivery.contain():
                            seen.append(delivery.body)

        await face.together(produce(), consume(1), consume(1), consume(8))
        assert sorted(seen) == list(range(300))


@scenario
async def one_consumer_sees_the_order(face: Any) -> None:
    async with face.bus() as bus:
        queue = bus.queue("q", Policy(capacity=8))

        async def produce() -> None:
            assert await queue.put_many(list(range(100))) == list(range(1, 101))

        async def consume() -> None:
            for expected in range(100):
                delivery = await queue.get()
                assert delivery.body == expected
                delivery.ack()

        await face.together(produce(), consume())
        intact(bus)


@scenario
async def a_batch_is_settled_whole(face: Any) -> None:
    async with face.bus() as bus:
        queue = bus.queue("q")
        await queue.put_many(list("abcdef"))
        batch = await queue.get_many(4)
        assert batch.bodies == list("abcd")
        batch.ack()
        late = await queue.get_many(9, within=0.01)
        assert late.bodies == ["e", "f"]
        late.release()
        assert [message.body for message in queue.peek(9)] == ["e", "f"]
        assert queue.purge() == 2
        intact(bus)


@scenario
async def until_empty_ends(face: Any) -> None:
    async with face.bus() as bus:
        queue = bus.queue("q")
        await queue.put_many([1, 2, 3])
        seen = []
        async with queue.consume(until_empty=True) as consumer:
            async for delivery in consumer:
                seen.append(delivery.body)
                delivery.ack()
        assert seen == [1, 2, 3]


@scenario
async def a_closed_consumer_gives_back_what_it_held(face: Any) -> None:
    async with face.bus() as bus:
        queue = bus.queue("q")
        await queue.put_many([1, 2, 3])
        async with queue.consume(prefetch=3) as consumer:
            async for delivery in consumer:
                assert delivery.queue is not None
                break
        assert [message.body for message in queue.peek(3)] == [1, 2, 3]
        intact(bus)


@scenario
async def a_full_queue_says_so(face: Any) -> None:
    async with face.bus() as bus:
        queue = bus.queue("q", Policy(capacity=1, overflow=Overflow.FAIL))
        await queue.put(1)
        with pytest.raises(FullError):
            await queue.put(2)
        with pytest.raises(FullError):
            queue.put_nowait(2)
        queue.get_nowait().ack()
        with pytest.raises(EmptyError):
            queue.get_nowait()


@scenario
async def a_ring_of_waits_is_named(face: Any) -> None:
    async with face.bus() as bus:
        queue = bus.queue("q", Policy(capacity=1))
        await queue.put(1)
        async with queue.consume() as consumer:
            async for delivery in consumer:
                await queue.put(2)
                with pytest.raises(FullError, match="waiting could never end"):
                    await queue.put(3)
                delivery.ack()
                break


@scenario
async def priorities_and_lanes(face: Any) -> None:
    async with face.bus() as bus:
        ranked = bus.queue("ranked", Policy(Priority()))
        for priority in (1, 3, 2):
            await ranked.put(priority, priority=priority)
        assert [(await ranked.get()).body for _ in range(3)] == [3, 2, 1]
        keyed = bus.queue("keyed", Policy(Keyed()))
        await keyed.put_many(["a1", "a2", "b1"], key=lambda body: body[0])
        first, second = await keyed.get(), await keyed.get()
        assert [first.body, second.body] == ["a1", "b1"]
        first.ack()
        assert (await keyed.get()).body == "a2"
        sticky = bus.queue("sticky", Policy(Keyed(partitions=4, sticky=True)))
        async with sticky.consume() as consumer:
            assert consumer.partitions == (0, 1, 2, 3)
        with pytest.raises(DeclarationError):
            await sticky.get()


@scenario
async def topics_fan_out_by_filter(face: Any) -> None:
    async with face.bus() as bus:
        orders = bus.topic("orders.new", retain=Retention(count=10))
        large = orders.subscription("large", where="body >= 10")
        every = bus.subscription("every", "orders.*")
        assert await orders.publish_many([5, 50]) == [1, 2]
        await orders.publish(20)
        assert [m.body for m in large.peek(9)] == [50, 20]
        assert [m.body for m in every.peek(9)] == [5, 50, 20]
        assert [m.body async for m in orders.replay()] == [5, 50, 20]
        assert [m.body async for m in bus.replay("orders.*", 2)] == [50, 20]
        await every.seek(EARLIEST)
        assert every.stats().ready == 3
        await every.unsubscribe()
        with pytest.raises(UnroutableError):
            await bus.topic("nowhere").publish(1, mandatory=True)
        orders.publish_nowait(1)
        async with orders.subscription() as private:
            await orders.publish(2)
            assert [m.body for m in private.peek(9)] == [2]


@scenario
async def a_seek_takes_back_what_a_consumer_has_reserved(face: Any) -> None:
    async with face.bus() as bus:
        topic = bus.topic("t", retain=Retention(count=10))
        subscription = topic.subscription("s")
        await topic.publish_many([1, 2, 3, 4])
        async with subscription.consume(prefetch=4) as consumer:
            stream = aiter(consumer)
            first = await anext(stream)
            await subscription.seek(EARLIEST)
            intact(bus)
            with pytest.raises(StaleDeliveryError):
                first.ack()
            again = [await anext(stream) for _ in range(4)]
            assert [(delivery.body, delivery.attempt) for delivery in again] == [(1, 1), (2, 1), (3, 1), (4, 1)]
            for delivery in again:
                delivery.ack()
        await subscription.join()
        intact(bus)


@scenario
async def a_past_that_is_being_read_is_not_empty(face: Any) -> None:
    handled: list[int] = []
    async with face.bus() as bus:
        topic = bus.topic("t", retain=Retention(count=10))
        await topic.publish_many([1, 2, 3])
        subscription = topic.subscription("s", start=EARLIEST)
        async with subscription.consume(until_empty=True) as consumer:
            found = []
            async for delivery in consumer:
                found.append(delivery.body)
                delivery.ack()
        assert found == [1, 2, 3]
        topic.subscription("h", start=EARLIEST).handle(handled.append)
        await bus.join()
        assert handled == [1, 2, 3]
        topic.subscription("i", start=EARLIEST).handle(handled.append)
    assert handled == [1, 2, 3] * 2


@scenario
async def a_replay_follows(face: Any) -> None:
    async with face.bus() as bus:
        topic = bus.topic("t", retain=Retention(count=100))
        seen: list[int] = []

        async def publish() -> None:
            for number in range(50):
                await topic.publish(number)

        async def follow() -> None:
            reading = topic.replay(follow=True)
            async for message in reading:
                seen.append(message.body)
                if len(seen) == 50:
                    await reading.aclose()
                    break

        await face.together(follow(), publish())
        assert seen == list(range(50))


@scenario
async def copies_are_kept_apart(face: Any) -> None:
    async with face.bus(isolation=Isolation.COPY) as bus:
        queue = bus.queue("q")
        body = [1]
        await queue.put(body)
        body.append(2)
        assert (await queue.get()).body == [1]


@scenario
async def bodies_pass_through_the_codec_as_through_a_broker(face: Any) -> None:
    @attrs.frozen
    class Placed:
        id: int

    async with face.bus(isolation=Isolation.CODEC) as bus:
        subscription = bus.topic(Placed, retain=Retention(9)).subscription("s")
        event = Placed(1)
        await bus.publish(event)
        body = (await subscription.get()).body
        assert body == event
        assert body is not event
        with pytest.raises(CodecError):
            await bus.topic(Placed).publish(object())
        await bus.topic(Placed).publish_many([{"id": "x"}, event])
        assert (await subscription.get()).body == event
        letter = await bus.dead_letters.get()
        assert letter.body == b'{"id":"x"}'
        letter.ack()
        reading = bus.replay("Placed")
        assert (await anext(reading)).body == event
        with pytest.raises(CodecError):
            await anext(reading)
        intact(bus)


@scenario
async def an_event_goes_to_the_topic_of_its_class(face: Any) -> None:
    @attrs.frozen
    class Placed:
        pass

    async with face.bus() as bus:
        subscription = bus.topic(Placed).subscription("s")
        event = Placed()
        await bus.publish(event)
        assert (await subscription.get()).body is event


@scenario
async def after_the_end_every_call_says_so(face: Any) -> None:
    bus = face.bus()
    queue, topic = bus.queue("q"), bus.topic("t")
    async with bus:
        await queue.put(1)
        delivery = await queue.get()
    await bus.aclose()
    for call in (
        lambda: queue.put(1), queue.get, lambda: queue.put_many([1]), lambda: queue.get_many(1), queue.join,
        lambda: topic.publish(1), lambda: topic.publish_many([1]), bus.join,
    ):  # fmt: skip
        with pytest.raises(ClosedError):
            await call()
    with pytest.raises(ClosedError):
        delivery.ack()
    with pytest.raises(ClosedError):
        async with bus:
            pass


each = pytest.mark.parametrize("play", SCENARIOS, ids=lambda play: play.__name__)


@pytest.fixture(params=["memory", "journal"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    """Where journals are, if the buses are to have any."""
    return tmp_path if request.param == "journal" else None


@each
@pytest.mark.anyio
async def test_async(play: Scenario, folder: Path | None) -> None:
    with anyio.fail_after(30):
        await play(Async(folder))


@each
def test_blocking(play: Any, folder: Path | None) -> None:
    run_through(play(Blocking(folder)))
