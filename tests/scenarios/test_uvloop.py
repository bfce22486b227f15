"""What people do most, on asyncio with uvloop."""

from __future__ import annotations

from typing import Any

import anyio
import anyio.lowlevel
import pytest

from eventbus import EARLIEST, Bus, FullError, Keyed, Policy, Priority, Retention
from tests.scenarios.conservation import intact
from tests.scenarios.test_cancellation import SCENES, WAKE, run_scene

pytest.importorskip("uvloop")
pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> Any:
    return "asyncio", {"use_uvloop": True}


async def test_a_producer_and_competing_consumers_wait_for_each_other() -> None:
    async with Bus() as bus:
        queue = bus.queue("q", Policy(capacity=3))
        seen: list[int] = []

        async def consume() -> None:
            async with queue.consume() as consumer:
                async for delivery in consumer:
                    with delivery:
                        seen.append(delivery.body)

        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(consume)
            for number in range(100):
                await queue.put(number)
            await queue.join()
            group.cancel_scope.cancel()
        assert sorted(seen) == list(range(100))
        intact(bus)


async def test_a_topic_fans_out_and_replays() -> None:
    async with Bus() as bus:
        topic = bus.topic("t", retain=Retention(count=10))
        subscription = topic.subscription("s")
        await topic.publish_many([1, 2, 3])
        batch = await subscription.get_many(3)
        assert batch.bodies == [1, 2, 3]
        batch.ack()
        assert [message.body async for message in topic.replay(EARLIEST)] == [1, 2, 3]
        intact(bus)


async def test_a_cancelled_get_loses_no_message() -> None:
    async with Bus() as bus:
        queue = bus.queue("q")
        with anyio.move_on_after(0.001):
            await queue.get()
        await queue.put("kept")
        assert (await queue.get()).body == "kept"
        intact(bus)


@pytest.mark.parametrize("how", ["scope", "deadline", "task.cancel", "asyncio.timeout"])
@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
async def test_a_cancelled_call_did_all_or_nothing(scene: Any, how: str) -> None:
    for moment in (1, 5, *range(WAKE - 1, WAKE + 6)):
        async with Bus() as bus, anyio.create_task_group() as group:
            await run_scene(scene(bus), group, how, moment)


@pytest.mark.parametrize("prefetch", [1, 16])
@pytest.mark.parametrize(
    "policy",
    [
        Policy(capacity=3),
        Policy(Priority(), capacity=3),
        Policy(Keyed(), capacity=3),
        Policy(Keyed(partitions=4, sticky=True), capacity=3),
    ],
    ids=["fifo", "priority", "keys", "sticky"],
)
async def test_every_order_keeps_every_message(policy: Policy, prefetch: int) -> None:
    async with Bus() as bus:
        queue = bus.queue("q", policy)
        seen: list[int] = []

        async def consume() -> None:
            async with queue.consume(prefetch) as consumer:
                async for delivery in consumer:
                    with delivery:
                        seen.append(delivery.body)
                        await anyio.lowlevel.checkpoint()

        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(consume)
            for number in range(60):
                await queue.put(number, key=f"k{number % 7}", priority=number % 3)
            await queue.put_many(range(60, 100), key=lambda number: f"k{number % 7}")
            await queue.join()
            group.cancel_scope.cancel()
        assert sorted(seen) == list(range(100))
        intact(bus)


async def test_a_handler_that_fills_its_own_queue_is_told() -> None:
    async with Bus() as bus:
        queue = bus.queue("q", Policy(capacity=1))
        await queue.put(1)
        async with queue.consume() as consumer:
            delivery = await anext(aiter(consumer))
            await queue.put(2)
            with pytest.raises(FullError) as caught:
                await queue.put(3)
            assert caught.value.cycle == ("q",)
            delivery.ack()
        intact(bus)
