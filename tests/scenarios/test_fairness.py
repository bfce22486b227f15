"""Nobody starves: not a third task beside an endless producer and consumer, not who waits in line, not a cold key."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from eventbus import Bus, Fifo, Keyed, Overflow, Policy, Priority, Queue, Retention
from tests.kit import turns
from tests.scenarios.conservation import intact

pytestmark = pytest.mark.anyio


async def put_for_ever(bus: Bus) -> None:
    queue = bus.queue("endless", Policy(capacity=None))
    while True:
        await queue.put(0)


async def drop_for_ever(bus: Bus) -> None:
    queue = bus.queue("endless", Policy(capacity=10, overflow=Overflow.DROP_OLDEST))
    while True:
        await queue.put(0)


async def put_many_for_ever(bus: Bus) -> None:
    queue = bus.queue("endless", Policy(capacity=None))
    while True:
        await queue.put_many([0] * 10)


async def publish_for_ever(bus: Bus) -> None:
    topic = bus.topic("endless")
    topic.subscription("s", Policy(capacity=10, overflow=Overflow.DROP_NEWEST))
    while True:
        await topic.publish(0)


async def publish_many_for_ever(bus: Bus) -> None:
    topic = bus.topic("endless")
    while True:
        await topic.publish_many([0] * 10)


def give_back(queue: Queue[Any], prefetch: int) -> Callable[[], Awaitable[None]]:
    async def consume() -> None:
        async with queue.consume(prefetch) as consumer:
            async for delivery in consumer:
                delivery.release()  # so that there is always more

    return consume


async def get_for_ever(bus: Bus) -> None:
    queue = bus.queue("endless")
    await queue.put(0)
    while True:
        (await queue.get()).release()


async def get_many_for_ever(bus: Bus) -> None:
    queue = bus.queue("endless")
    await queue.put_many([0] * 20)
    while True:
        (await queue.get_many(10)).release()


async def consume_for_ever(bus: Bus) -> None:
    queue = bus.queue("endless")
    await queue.put_many([0] * 20)
    await give_back(queue, 1)()


async def consume_ahead_for_ever(bus: Bus) -> None:
    queue = bus.queue("endless")
    await queue.put_many([0] * 20)
    await give_back(queue, 8)()


ENDLESS = [
    put_for_ever,
    drop_for_ever,
    put_many_for_ever,
    publish_for_ever,
    publish_many_for_ever,
    get_for_ever,
    get_many_for_ever,
    consume_for_ever,
    consume_ahead_for_ever,
]


@pytest.mark.parametrize("endless", ENDLESS, ids=lambda function: function.__name__)
async def test_an_endless_loop_of_immediate_successes_starves_nobody(endless: Callable[[Bus], Awaitable[None]]) -> None:
    async with Bus() as bus:
        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                group.start_soon(endless, bus)
                for _ in range(20):  # the third task
                    await anyio.lowlevel.checkpoint()
                group.cancel_scope.cancel()
        intact(bus)


@pytest.mark.parametrize("where", [None, "body < 0"], ids=["all", "nothing"])
@pytest.mark.parametrize("durable", [True, False], ids=["disk", "memory"])
async def test_a_replay_of_a_long_past_starves_nobody(durable: bool, where: str | None, tmp_path: Path) -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    async with Bus(journal=tmp_path / "shop.db") as bus:
        topic = bus.topic("orders", durable=durable, retain=Retention(count=10_000))
        await topic.publish_many(list(range(4_000)))
        async with anyio.create_task_group() as group:
            group.start_soon(count)
            await anyio.lowlevel.checkpoint()
            before = turns
            assert len([m async for m in topic.replay(where=where)]) == (0 if where else 4_000)
            assert turns - before >= 4_000 // 512
            group.cancel_scope.cancel()


async def test_an_endless_producer_and_consumer_together_starve_nobody() -> None:
    async with Bus() as bus:
        queue = bus.queue("q", Policy(capacity=1000))

        async def produce() -> None:
            while True:
                await queue.put(0)

        async def consume() -> None:
            async with queue.consume(16) as consumer:
                async for delivery in consumer:
                    delivery.ack()

        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                group.start_soon(produce)
                group.start_soon(consume)
                await turns(50)
                group.cancel_scope.cancel()
        assert queue.stats().acked
        intact(bus)


async def test_waiting_consumers_are_served_in_turn() -> None:
    async with Bus() as bus:
        queue = bus.queue("q")
        taken: list[int] = []

        async def consume(number: int) -> None:
            async with queue.consume() as consumer:
                async for delivery in consumer:
                    taken.append(number)
                    delivery.ack()

        async with anyio.create_task_group() as group:
            for number in range(3):
                group.start_soon(consume, number)
                await turns()
            for _ in range(9):
                await queue.put(0)
                await turns()
            group.cancel_scope.cancel()
        assert taken == [0, 1, 2] * 3
        intact(bus)


async def test_waiting_publishers_enter_in_the_order_of_arrival() -> None:
    async with Bus() as bus:
        queue = bus.queue("q", Policy(capacity=1))
        await queue.put(0)
        async with anyio.create_task_group() as group:
            for number in range(1, 6):
                group.start_soon(queue.put, number)
                await turns()
            bodies = []
            for _ in range(6):
                bodies.append((delivery := await queue.get()).body)
                delivery.ack()
                await turns()
        assert bodies == [0, 1, 2, 3, 4, 5]
        intact(bus)


async def test_a_newcomer_does_not_overtake_who_waits_for_room() -> None:
    async with Bus() as bus:
        queue = bus.queue("q", Policy(capacity=1))
        await queue.put("first")
        async with anyio.create_task_group() as group:
            group.start_soon(queue.put, "waited")
            await turns()
            (await queue.get()).ack()  # there is room, and the one who waited has not run yet
            group.start_soon(queue.put, "newcomer")
            await turns()
            assert [message.body for message in queue.peek(5)] == ["waited"]
            group.cancel_scope.cancel()
        intact(bus)


async def test_a_hot_key_starves_no_other() -> None:
    async with Bus() as bus:
        queue = bus.queue("q", Policy(Keyed(), capacity=None))
        await queue.put_many(range(100), key="hot")
        await queue.put("cold", key="cold")
        bodies = []
        for _ in range(2):
            bodies.append((delivery := await queue.get()).body)
            delivery.ack()
        assert bodies == [0, "cold"]
        intact(bus)


async def test_publishers_who_wait_for_several_queues_never_wait_for_each_other() -> None:
    """The first holds room in b and waits for a; a queue it also waited for goes; a second comes in that moment."""
    async with Bus() as bus:
        topic = bus.topic("t")
        a, b, gone = (topic.subscription(name, Policy(capacity=1)) for name in ("a", "b", "gone"))
        a.put_nowait("full")
        gone.put_nowait("full")

        async def second() -> None:
            await gone.unsubscribe()
            await topic.publish(2)

        async with anyio.create_task_group() as group:
            group.start_soon(topic.publish, 1)
            await turns()
            group.start_soon(second)
            await turns()
            a.get_nowait().ack()
            await turns()
            assert [message.body for message in a.peek()] == [1]
            assert [message.body for message in b.peek()] == [1]
            a.get_nowait().ack()
            b.get_nowait().ack()
            await turns()
            assert [message.body for message in a.peek()] == [message.body for message in b.peek()] == [2]
            group.cancel_scope.cancel()
        intact(bus)


@pytest.mark.parametrize("prefetch", [1, 16])
async def test_an_endless_batch_producer_and_batch_consumer_starve_nobody(prefetch: int) -> None:
    async with Bus() as bus:
        queue = bus.queue("q", Policy(capacity=1000))
        topic = bus.topic("t")
        topic.subscription("s", Policy(capacity=100, overflow=Overflow.DROP_OLDEST))

        async def produce() -> None:
            while True:
                await queue.put_many([0] * 300)
                await topic.publish_many([0] * 300)

        async def get() -> None:
            while True:
                (await queue.get_many(300)).ack()

        async def consume() -> None:
            async with queue.consume(prefetch) as consumer:
                async for delivery in consumer:
                    delivery.ack()

        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                for function in (produce, get, consume):
                    group.start_soon(function)
                await turns(100)
                group.cancel_scope.cancel()
        assert queue.stats().acked
        intact(bus)


@pytest.mark.parametrize("order", [Fifo(), Priority(), Keyed()], ids=["fifo", "priority", "keys"])
async def test_waiting_getters_are_served_in_the_order_of_arrival(order: Any) -> None:
    async with Bus() as bus, anyio.create_task_group() as group:
        queue = bus.queue("q", Policy(order))
        served: list[int] = []

        async def get(number: int) -> None:
            (await queue.get()).ack()
            served.append(number)

        for number in range(6):
            group.start_soon(get, number)
            await turns()
        for number in range(6):
            await queue.put(number, key=f"k{number}")
            await turns()
        assert served == [0, 1, 2, 3, 4, 5]
        intact(bus)


async def test_who_waits_in_a_get_is_not_overtaken_by_a_busy_consumer() -> None:
    async with Bus() as bus, anyio.create_task_group() as group:
        queue = bus.queue("q")
        mine: list[int] = []

        async def busy() -> None:
            async with queue.consume(16) as consumer:
                async for delivery in consumer:
                    delivery.ack()
                    await queue.put(0)  # and takes it again, if it may

        async def wait() -> None:
            mine.append((await queue.get()).body)

        await queue.put(0)
        group.start_soon(busy)
        await turns()
        group.start_soon(wait)
        with anyio.fail_after(20):
            while not mine:
                await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()


@pytest.mark.parametrize("prefetch", [1, 16])
async def test_a_hot_key_that_never_ends_starves_no_consumer_of_other_keys(prefetch: int) -> None:
    async with Bus() as bus:
        queue = bus.queue("q", Policy(Keyed(), capacity=50))
        seen: set[str] = set()

        async def heat() -> None:
            while True:
                await queue.put("hot", key="hot")

        async def consume() -> None:
            async with queue.consume(prefetch) as consumer:
                async for delivery in consumer:
                    seen.add(delivery.body)
                    delivery.ack()
                    await anyio.lowlevel.checkpoint()

        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                group.start_soon(heat)
                await turns()
                for _ in range(2):
                    group.start_soon(consume)
                for number in range(10):
                    await queue.put(f"cold-{number}", key=f"cold-{number}")
                while len(seen) < 11:
                    await anyio.lowlevel.checkpoint()
                group.cancel_scope.cancel()
        intact(bus)
