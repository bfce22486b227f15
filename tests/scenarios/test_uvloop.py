"""What people do most, on asyncio with uvloop."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from eventbus import EARLIEST, Bus, Policy, Retention
from tests.scenarios.conservation import intact

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
