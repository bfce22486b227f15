"""If everyone who could make room waits for that room, the error names the cycle; nobody is accused wrongly."""

from __future__ import annotations

import logging

import anyio
import anyio.lowlevel
import pytest

from eventbus import Bus, FullError, Policy, Queue
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
