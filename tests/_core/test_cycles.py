"""If everyone who could make room waits for that very room, a publisher is told; if anybody could, it waits."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from eventbus import Bus, Consumer, FullError, Policy, Queue
from tests.kit import turns

pytestmark = pytest.mark.anyio

ONE = Policy(capacity=1)


class Ring:
    """Tasks that each consume from one queue and put into others, and what became of them."""

    def __init__(self, *names: str) -> None:
        self.bus = Bus()
        self.queues: dict[str, Queue[Any]] = {name: self.bus.queue(name, ONE) for name in names}
        self.errors: dict[str, FullError] = {}
        self.passed: list[str] = []
        self.go: dict[str, anyio.Event] = {}

    async def fill(self) -> None:
        for queue in self.queues.values():
            await queue.put("first")

    async def serve(self, name: str, source: str, target: Any) -> None:
        """Take one, which makes room; let the room be filled; put into the target."""
        async with self.queues[source].consume() as consumer:
            await anext(consumer)
            await self.queues[source].put("filled")
            if name in self.go:
                await self.go[name].wait()
            try:
                await (target() if callable(target) else self.queues[target].put(name))
            except FullError as error:
                self.errors[name] = error
                await anyio.sleep_forever()
            self.passed.append(name)
            await anyio.sleep_forever()


async def test_a_consumer_that_puts_into_its_own_full_queue_is_told() -> None:
    ring = Ring("q")
    await ring.fill()
    async with ring.queues["q"].consume() as consumer:
        await anext(consumer)
        await ring.queues["q"].put("filled")
        with pytest.raises(FullError, match="waiting could never end") as caught:
            await ring.queues["q"].put("more")
        assert (caught.value.queue, caught.value.capacity, caught.value.cycle) == ("q", 1, ("q",))
        ring.bus._engine.check()
        assert ring.queues["q"].stats().waiting_putters == 0


@pytest.mark.parametrize("length", [2, 3, 4])
async def test_a_ring_of_consumers_is_found_by_the_one_that_closes_it(length: int) -> None:
    names = [f"q{index}" for index in range(length)]
    ring = Ring(*names)
    await ring.fill()
    async with anyio.create_task_group() as tasks:
        for index, name in enumerate(names):
            ring.go[name] = anyio.Event()
            tasks.start_soon(ring.serve, name, name, names[(index + 1) % length])
        await turns()
        for name in names:
            assert not ring.errors
            ring.go[name].set()
            await turns()
        assert set(ring.errors) == {names[-1]}
        [error] = ring.errors.values()
        assert sorted(error.cycle) == names
        assert error.queue == error.cycle[0]
        pairs = {(a, b) for a, b in zip(error.cycle, [*error.cycle[1:], error.cycle[0]], strict=True)}
        assert pairs == {(a, b) for a, b in zip(names, [*names[1:], names[0]], strict=True)}
        ring.bus._engine.check()
        tasks.cancel_scope.cancel()


async def test_a_free_consumer_is_hope_enough() -> None:
    ring = Ring("q")
    await ring.fill()
    async with ring.queues["q"].consume() as free, anyio.create_task_group() as tasks:
        tasks.start_soon(ring.serve, "busy", "q", "q")
        await turns()
        assert not ring.errors
        (await anext(free)).ack()
        await turns()
        assert ring.passed == ["busy"]
        tasks.cancel_scope.cancel()


async def test_who_took_by_a_plain_get_may_come_again() -> None:
    ring = Ring("q")
    await ring.fill()
    (await ring.queues["q"].get()).ack()
    await ring.fill()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ring.serve, "busy", "q", "q")
        await turns()
        assert not ring.errors
        (await ring.queues["q"].get()).ack()
        await turns()
        assert ring.passed == ["busy"]
        tasks.cancel_scope.cancel()


async def test_a_queue_without_consumers_closes_no_ring() -> None:
    ring = Ring("a", "b")
    await ring.fill()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ring.serve, "a", "a", "b")
        await turns()
        assert not ring.errors
        (await ring.queues["b"].get()).ack()
        await turns()
        assert ring.passed == ["a"]
        tasks.cancel_scope.cancel()


async def test_when_the_last_free_consumer_leaves_those_who_wait_look_again() -> None:
    ring = Ring("q")
    await ring.fill()
    async with anyio.create_task_group() as tasks:
        async with ring.queues["q"].consume():
            tasks.start_soon(ring.serve, "busy", "q", "q")
            await turns()
            assert not ring.errors
        await turns()
        assert ring.errors["busy"].cycle == ("q",)
        tasks.cancel_scope.cancel()


async def test_a_ring_through_a_topic_is_found() -> None:
    ring = Ring("a", "b")
    ring.bus.topic("to a and b")
    for name in ("a", "b"):
        ring.queues[name].bind("to a and b")
    await ring.fill()
    async with anyio.create_task_group() as tasks:
        ring.go["b"] = anyio.Event()
        tasks.start_soon(ring.serve, "b", "b", "a")
        await turns()
        tasks.start_soon(ring.serve, "a", "a", lambda: ring.bus.topic("to a and b").publish("x"))
        await turns()
        assert ring.errors["a"].cycle == ("a",), "its own queue is full"
        ring.bus._engine.check()
        ring.go["b"].set()
        await turns()
        assert set(ring.errors) == {"a"}, "a's consumer waits for no room any more"
        tasks.cancel_scope.cancel()


async def test_a_way_out_of_the_ring_is_hope_enough() -> None:
    """b's only consumer waits for c, which nobody is stuck in: so c, then b, then a will have room."""
    ring = Ring("a", "b", "c")
    await ring.fill()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ring.serve, "b", "b", "c")
        await turns()
        tasks.start_soon(ring.serve, "a", "a", "b")
        await turns()
        assert not ring.errors
        (await ring.queues["c"].get()).ack()
        await turns()
        assert ring.passed == ["b"]
        tasks.cancel_scope.cancel()


async def test_two_consumers_of_one_task_are_one_party() -> None:
    bus = Bus()
    queue = bus.queue("q", ONE)
    await queue.put(1)

    async def both(first: Consumer[Any], second: Consumer[Any]) -> None:
        (await anext(first)).ack()
        await queue.put(2)
        (await anext(second)).ack()
        await queue.put(3)
        with pytest.raises(FullError):
            await queue.put(4)

    async with queue.consume() as first, queue.consume() as second:
        await both(first, second)
    bus._engine.check()
