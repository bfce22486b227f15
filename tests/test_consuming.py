"""Consumers compete: exactly by speed, or by fair shares that they give up again."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from eventbus import Bus, Consumer, DeclarationError, EmptyError, Fifo, Keyed, Policy, Priority
from tests.kit import turns

pytestmark = pytest.mark.anyio


async def take(consumer: Consumer[Any], count: int) -> list[Any]:
    return [(await anext(consumer)).body for _ in range(count)]


# iterating


async def test_a_consumer_iterates_what_comes() -> None:
    bus = Bus()
    queue = bus.queue("q")
    got = []

    async def work() -> None:
        async with queue.consume() as consumer:
            assert consumer.queue is queue
            async for delivery in consumer:
                got.append(delivery.body)
                delivery.ack()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work)
        for body in range(5):
            await queue.put(body)
            await turns()
        assert got == [0, 1, 2, 3, 4]
        await bus.aclose()
    assert queue.name == "q"


@pytest.mark.parametrize("prefetch", [1, 5])
async def test_a_consumer_that_was_not_entered_says_so(prefetch: int) -> None:
    queue = Bus().queue("q")
    await queue.put("b")
    consumer = queue.consume(prefetch)
    with pytest.raises(RuntimeError, match=r"async with queue\.consume"):
        await anext(consumer)
    assert queue.stats().ready == 1
    assert queue.stats().consumers == 0


@pytest.mark.parametrize("prefetch", [1, 5])
async def test_a_closed_consumers_iteration_ends(prefetch: int) -> None:
    queue = Bus().queue("q")
    await queue.put_many([1, 2])
    async with queue.consume(prefetch) as consumer:
        assert (await anext(consumer)).body == 1
    with pytest.raises(StopAsyncIteration):
        await anext(consumer)
    assert [delivery async for delivery in consumer] == []
    assert queue.stats().ready == 2


@pytest.mark.parametrize("prefetch", [1, 5])
async def test_a_consumer_closed_while_it_waits_ends(prefetch: int) -> None:
    queue = Bus().queue("q")
    seen: list[Any] = []
    async with anyio.create_task_group() as tasks:
        async with queue.consume(prefetch) as consumer:

            async def work() -> None:
                seen.extend([delivery async for delivery in consumer])
                seen.append("ended")

            tasks.start_soon(work)
            await turns()
        await turns()
        assert seen == ["ended"]


@pytest.mark.parametrize("prefetch", [1, 5])
@pytest.mark.parametrize("end", ["close", "unsubscribe"])
async def test_iteration_ends_with_the_bus_and_with_the_subscription(prefetch: int, end: str) -> None:
    bus = Bus()
    subscription = bus.topic("t").subscription("s")
    bus_ends = end == "close"
    ended = []

    async def work(name: str) -> None:
        async with subscription.consume(prefetch) as consumer:
            async for delivery in consumer:
                delivery.ack()
        ended.append(name)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work, "a")
        tasks.start_soon(work, "b")
        await bus.topic("t").publish_many(range(4))
        await turns()
        await (bus.aclose() if bus_ends else subscription.unsubscribe())
    assert sorted(ended) == ["a", "b"]


@pytest.mark.parametrize("prefetch", [1, 5])
async def test_asking_on_after_the_bus_closed_is_the_end(prefetch: int) -> None:
    bus = Bus()
    queue = bus.queue("q")
    await queue.put_many([1, 2, 3])
    async with queue.consume(prefetch) as consumer:
        await anext(consumer)
        await bus.aclose()
        assert [delivery async for delivery in consumer] == []


async def test_leaving_a_consumer_releases_what_it_holds() -> None:
    queue = Bus().queue("q")
    await queue.put_many([1, 2, 3])
    async with queue.consume() as consumer:
        assert await take(consumer, 2) == [1, 2]
    again = await queue.get_many(3)
    assert [(d.body, d.attempt, d.failures) for d in again] == [(1, 2, 0), (2, 2, 0), (3, 1, 0)]


async def test_a_consumer_left_by_an_exception_releases_too() -> None:
    queue = Bus().queue("q")
    await queue.put(1)

    async def fail() -> None:
        async with queue.consume() as consumer:
            await anext(consumer)
            raise ValueError("out")

    with pytest.raises(ValueError, match="out"):
        await fail()
    assert (queue.stats().ready, queue.stats().consumers) == (1, 0)


async def test_leaving_twice_is_harmless() -> None:
    queue = Bus().queue("q")
    consumer = queue.consume()
    async with consumer:
        pass
    await consumer.__aexit__(None, None, None)
    assert queue.stats().consumers == 0


async def test_a_cancelled_wait_leaves_the_consumer_usable() -> None:
    queue = Bus().queue("q")
    async with queue.consume() as consumer:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await anext(consumer)
        assert scope.cancelled_caught
        await queue.put(1)
        assert await take(consumer, 1) == [1]


async def test_no_loop_of_immediate_successes_starves_the_others() -> None:
    queue = Bus().queue("q", Policy(capacity=None))
    for prefetch in (1, 10, 1000):
        await queue.put_many(range(5000))
        turns_of_others = 0

        async def other() -> None:
            nonlocal turns_of_others
            while True:
                turns_of_others += 1
                await anyio.lowlevel.checkpoint()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(other)
            async with queue.consume(prefetch) as consumer:
                for _ in range(5000):
                    (await anext(consumer)).ack()
            tasks.cancel_scope.cancel()
        assert turns_of_others >= 1, prefetch


# prefetch


async def test_without_prefetch_a_message_is_taken_when_it_is_asked_for() -> None:
    queue = Bus().queue("q")
    await queue.put_many(range(10))
    async with queue.consume() as consumer:
        await anext(consumer)
        assert (queue.stats().ready, queue.stats().out) == (9, 1)


async def test_the_only_consumer_reserves_up_to_its_prefetch() -> None:
    queue = Bus().queue("q")
    await queue.put_many(range(10))
    async with queue.consume(4) as consumer:
        first = await anext(consumer)
        assert (queue.stats().ready, queue.stats().out) == (9, 1), "what is reserved is ready, not out"
        assert first.attempt == 1
        assert await take(consumer, 9) == list(range(1, 10))
        assert queue.stats().out == 10
        assert queue.stats().redelivered == 0


async def test_a_prefetching_consumer_reserves_a_fair_share_and_no_more() -> None:
    queue = Bus().queue("q")
    async with queue.consume(100) as one, queue.consume(100) as other:
        await queue.put_many(range(10))
        assert await take(one, 5) == [0, 1, 2, 3, 4], "half of what is ready"
        assert (await anext(other)).body == 5


async def test_who_waits_for_a_plain_get_counts_for_the_fair_share() -> None:
    queue = Bus().queue("q")
    got = []

    async def receive() -> None:
        got.append((await queue.get()).body)

    async with queue.consume(100) as consumer, anyio.create_task_group() as tasks:
        tasks.start_soon(receive)
        await turns()
        await queue.put_many(range(4))
        first = await anext(consumer)
        await turns()
        assert got
        assert {first.body, *got} <= {0, 1, 2, 3}
        assert queue.stats().out == 2


@pytest.mark.parametrize("order", [Fifo(), Priority(), Keyed()])
async def test_what_is_reserved_is_given_up_to_an_idle_consumer(order: Any) -> None:
    bus = Bus()
    queue = bus.queue("q", Policy(order))
    await queue.put_many(range(4))
    async with queue.consume(100) as busy:
        assert (await anext(busy)).body == 0
        async with queue.consume() as idle:
            assert sorted(await take(idle, 3)) == [1, 2, 3]
            bus._engine.check()
        assert queue.stats().redelivered == 0
    assert queue.stats().ready == 4


async def test_what_is_reserved_is_given_up_to_a_plain_get() -> None:
    queue = Bus().queue("q")
    await queue.put_many(range(3))
    async with queue.consume(100) as busy:
        await anext(busy)
        delivery = queue.get_nowait()
        assert (delivery.body, delivery.attempt, delivery.redelivered) == (1, 1, False)
        assert (await queue.get()).body == 2
        with pytest.raises(EmptyError):
            queue.get_nowait()


async def test_what_was_reserved_and_not_handed_out_was_never_delivered() -> None:
    queue = Bus().queue("q")
    await queue.put_many(range(4))
    async with queue.consume(100) as consumer:
        await anext(consumer)
    batch = await queue.get_many(4)
    assert [(d.body, d.attempt) for d in batch] == [(0, 2), (1, 1), (2, 1), (3, 1)]
    assert queue.stats().redelivered == 1


async def test_a_message_that_was_out_before_stays_redelivered_through_a_reservation() -> None:
    queue = Bus().queue("q")
    await queue.put_many([1, 2])
    for delivery in await queue.get_many(2):
        delivery.nack(delay=0)
    async with queue.consume(10) as consumer:
        await anext(consumer)
    assert queue.stats().redelivered == 1
    assert [(d.body, d.attempt, d.failures) for d in await queue.get_many(2)] == [(1, 3, 1), (2, 2, 1)]


async def test_a_reservation_leaves_the_room_that_it_takes_charged() -> None:
    queue = Bus().queue("q", Policy(capacity=4))
    await queue.put_many(range(4))
    entered = []

    async def put() -> None:
        entered.append(await queue.put("more"))

    async with queue.consume(4) as consumer, anyio.create_task_group() as tasks:
        await anext(consumer)
        await queue.put("one fits")
        tasks.start_soon(put)
        await turns()
        assert not entered
        assert queue.stats().ready == 4
        await anext(consumer)
        await turns()
        assert entered, "a handout makes room"


async def test_the_peak_counts_what_is_reserved() -> None:
    queue = Bus().queue("q")
    async with queue.consume(4) as consumer:
        await queue.put_many(range(3))
        await anext(consumer)
        await queue.put_many(range(3, 5))
        assert queue.stats().peak == 4
        for body in range(5, 8):
            await queue.put(body)
        await anext(consumer)
        assert queue.stats().peak == 7


# priorities, ends, exclusiveness


async def test_of_consumers_that_wait_the_higher_priority_is_served_first() -> None:
    queue = Bus().queue("q")
    served = []

    async def work(name: str, priority: int) -> None:
        async with queue.consume(priority=priority) as consumer:
            await anext(consumer)
            served.append(name)
            await anyio.sleep_forever()

    async with anyio.create_task_group() as tasks:
        for name, priority in (("low", -1), ("first", 0), ("second", 0), ("high", 5)):
            tasks.start_soon(work, name, priority)
            await turns()
        for _ in range(4):
            await queue.put("b")
            await turns()
        assert served == ["high", "first", "second", "low"]
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("prefetch", [1, 10])
async def test_consuming_until_empty_ends_when_nothing_is_left(prefetch: int) -> None:
    queue = Bus().queue("q")
    await queue.put_many(range(5))
    async with queue.consume(prefetch, until_empty=True) as consumer:
        assert [d.body async for d in consumer] == list(range(5)), "its own that are out do not keep it"
    async with queue.consume(prefetch, until_empty=True) as consumer:
        bodies = []
        async for delivery in consumer:
            bodies.append(delivery.body)
            delivery.ack()
    assert bodies == list(range(5))
    assert queue.stats().acked == 5


async def test_consuming_until_empty_waits_for_what_others_have_out() -> None:
    queue = Bus().queue("q")
    await queue.put_many([1, 2])
    held = await queue.get()
    bodies: list[Any] = []

    async def work() -> None:
        async with queue.consume(until_empty=True) as consumer:
            async for delivery in consumer:
                bodies.append(delivery.body)
                delivery.ack()
        bodies.append("end")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work)
        await turns()
        assert bodies == [2]
        held.nack(delay=0)
        await turns()
        assert bodies == [2, 1, "end"]


@pytest.mark.parametrize("call", ["ack", "reject", "cancel"])
async def test_consuming_until_empty_ends_when_the_last_is_settled_elsewhere(call: str) -> None:
    queue = Bus().queue("q")
    offset = await queue.put(1)
    held = await queue.get()
    ended = []

    async def work() -> None:
        async with queue.consume(until_empty=True) as consumer:
            ended.extend([d.body async for d in consumer])
        ended.append("end")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work)
        await turns()
        if call == "cancel":
            queue.pause()
            held.release()
            await turns()
            assert not ended
            assert queue.cancel(offset)
        else:
            getattr(held, call)()
        await turns()
        assert ended == ["end"]


async def test_an_exclusive_consumer_shares_with_nobody() -> None:
    bus = Bus()
    queue = bus.queue("q")
    await queue.put(1)
    async with queue.consume(exclusive=True) as consumer:
        for other in (queue.consume(), queue.consume(exclusive=True)):
            with pytest.raises(DeclarationError, match="'q' has 1 consumer, and an exclusive consumer") as caught:
                async with other:
                    pass
            assert caught.value.name == "q"
        for get in (queue.get, lambda: queue.get_many(2)):
            with pytest.raises(DeclarationError, match="exclusive consumer"):
                await get()
        with pytest.raises(DeclarationError, match="exclusive consumer"):
            queue.get_nowait()
        assert await take(consumer, 1) == [1]
        bus._engine.check()
    async with queue.consume():
        pass


async def test_an_exclusive_consumer_does_not_come_to_others() -> None:
    queue = Bus().queue("q")
    async with queue.consume(), queue.consume():
        with pytest.raises(DeclarationError, match="2 consumers"):
            async with queue.consume(exclusive=True):
                pass
        assert queue.stats().consumers == 2


async def test_whoever_waits_in_a_plain_get_when_an_exclusive_consumer_comes_is_not_forgotten() -> None:
    queue = Bus().queue("q")
    got = []

    async def receive() -> None:
        got.append((await queue.get()).body)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(receive)
        await turns()
        async with queue.consume(exclusive=True):
            pass
        await queue.put(1)
        await turns()
        assert got == [1]


# sticky lanes


def sticky(bus: Bus, partitions: int = 4) -> Any:
    return bus.queue("q", Policy(Keyed(partitions, sticky=True, partitioner=lambda key: int(key))))


async def test_sticky_consumers_own_all_lanes_evenly() -> None:
    queue = sticky(Bus(), 7)
    async with queue.consume() as one:
        assert one.partitions == tuple(range(7))
        async with queue.consume() as two, queue.consume() as three:
            owned = [c.partitions for c in (one, two, three)]
            assert sorted(lane for lanes in owned for lane in lanes) == list(range(7))
            assert sorted(map(len, owned)) == [2, 2, 3]
            assert set(one.partitions) <= set(range(7))
        assert one.partitions == tuple(range(7))
    assert one.partitions == ()


async def test_a_sticky_lane_moves_only_when_nothing_of_it_is_out() -> None:
    bus = Bus()
    queue = sticky(bus, 2)
    await queue.put("a0", key="0")
    await queue.put("a1", key="0")
    await queue.put("b0", key="1")
    await queue.put("b1", key="1")
    async with queue.consume() as one:
        held = [await anext(one), await anext(one)]
        assert {d.partition for d in held} == {0, 1}
        async with queue.consume() as two:
            assert set(one.partitions) == {0, 1}
            assert two.partitions == ()
            for delivery in held:
                delivery.ack()
            bus._engine.check()
            assert len(one.partitions) == len(two.partitions) == 1
            first, second = await anext(one), await anext(two)
            assert first.partition in one.partitions
            assert second.partition in two.partitions
            assert {first.body, second.body} == {"a1", "b1"}


async def test_a_sticky_lane_keeps_its_order_through_a_nack_and_a_change_of_owner() -> None:
    queue = sticky(Bus(), 1)
    await queue.put_many([1, 2, 3], key="0")
    async with queue.consume() as one:
        (await anext(one)).nack(delay=0)
        assert (await anext(one)).body == 1
    async with queue.consume() as two:
        for expected in (1, 2, 3):
            delivery = await anext(two)
            assert (delivery.body, delivery.partition) == (expected, 0)
            delivery.ack()


async def test_a_message_without_a_key_goes_to_any_sticky_consumer() -> None:
    queue = sticky(Bus(), 2)
    async with queue.consume() as one, queue.consume() as two:
        await queue.put_many([1, 2])
        assert sorted([(await anext(one)).body, (await anext(two)).body]) == [1, 2]


async def test_a_sticky_consumer_waits_for_its_own_lanes_alone() -> None:
    queue = sticky(Bus(), 2)
    got: list[Any] = []

    async def work(consumer: Consumer[Any], name: str) -> None:
        async for delivery in consumer:
            got.append((name, delivery.partition))
            delivery.ack()

    async with queue.consume() as one, queue.consume() as two, anyio.create_task_group() as tasks:
        owner = {one.partitions[0]: "one", two.partitions[0]: "two"}
        tasks.start_soon(work, one, "one")
        tasks.start_soon(work, two, "two")
        for key in ("1", "0", "1", "1"):
            await queue.put("b", key=key)
            await turns()
        assert got == [(owner[lane], lane) for lane in (1, 0, 1, 1)]
        tasks.cancel_scope.cancel()


async def test_a_sticky_queue_has_no_plain_get() -> None:
    queue = sticky(Bus())
    for get in (queue.get, lambda: queue.get_many(2)):
        with pytest.raises(DeclarationError, match=r"'q' keeps its lanes.*use consume\(\)"):
            await get()
    with pytest.raises(DeclarationError, match="no plain get"):
        queue.get_nowait()


@pytest.mark.parametrize("order", [Fifo(), Priority(), Keyed(3), Keyed()])
async def test_without_sticky_lanes_a_consumer_owns_no_partitions(order: Any) -> None:
    queue = Bus().queue("q", Policy(order))
    async with queue.consume() as consumer:
        assert consumer.partitions == ()


async def test_a_consumer_is_entered_once() -> None:
    bus = Bus()
    queue = sticky(bus, 2)
    await queue.put_many([1, 2, 3], key="0")
    consumer = queue.consume()
    async with consumer:
        with pytest.raises((RuntimeError, DeclarationError)):
            await consumer.__aenter__()
        bus._engine.check()
        assert (await anext(consumer)).body == 1


async def test_a_put_wakes_the_consumer_that_owns_its_lane() -> None:
    bus = Bus()
    queue = bus.queue("q", Policy(Keyed(partitions=2, sticky=True)))
    async with queue.consume() as consumer, anyio.create_task_group() as tasks:
        for number in range(5):  # the later ones find credit left by the first, and must not be let in unnoticed
            tasks.start_soon(queue.put, number, "key")
            with anyio.fail_after(5):
                delivery = await anext(consumer)
            assert delivery.body == number
            delivery.ack()
    bus._engine.check()
