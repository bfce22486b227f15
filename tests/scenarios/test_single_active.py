"""One consumer at a time gets messages, and the next takes over when it ends."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import anyio
import pytest

from eventbus import Bus, Consumer, DeclarationError, FullError, Keyed, Policy, Priority, Queue, blocking
from tests.kit import turns
from tests.scenarios.conservation import intact

pytestmark = pytest.mark.anyio

SINGLE = Policy(single_active=True)


class Watch:
    """Consumers by name, each a task that notes what it gets and acks it, until it is told to end."""

    def __init__(self, policy: Policy = SINGLE) -> None:
        self.bus = Bus()
        self.queue: Queue[Any] = self.bus.queue("q", policy)
        self.got: list[tuple[str, Any]] = []
        self.ends: dict[str, anyio.CancelScope] = {}

    async def serve(self, name: str, options: dict[str, Any]) -> None:
        with anyio.CancelScope() as self.ends[name]:
            async with self.queue.consume(**options) as consumer:
                async for delivery in consumer:
                    self.got.append((name, delivery.body))
                    delivery.ack()

    @asynccontextmanager
    async def serving(self, *names: str, **options: Any) -> AsyncIterator[None]:
        async with anyio.create_task_group() as group:
            for name in names:
                group.start_soon(self.serve, name, options)
                await turns()
            yield
            group.cancel_scope.cancel()

    async def put(self, *bodies: Any, **options: Any) -> None:
        for body in bodies:
            await self.queue.put(body, **options)
            await turns()
            intact(self.bus)

    async def end(self, name: str) -> None:
        self.ends[name].cancel()
        await turns()
        intact(self.bus)


@pytest.mark.parametrize("prefetch", [1, 8])
@pytest.mark.parametrize("order", [Policy().order, Priority(), Keyed(), Keyed(partitions=3)], ids=str)
async def test_the_first_gets_all_and_the_next_takes_over_when_it_ends(prefetch: int, order: Any) -> None:
    watch = Watch(Policy(order, single_active=True))
    async with watch.serving("a", "b", "c", prefetch=prefetch):
        await watch.put(1, 2, key="k")
        await watch.end("b")  # one that waits may go unnoticed
        await watch.put(3, key="k")
        await watch.end("a")
        await watch.put(4, key="k")
        assert watch.got == [("a", 1), ("a", 2), ("a", 3), ("c", 4)]
        await watch.end("c")
        await watch.put(5, key="k")
        assert watch.queue.stats().ready == 1, "nobody is left"
    async with watch.serving("d"):
        await turns()
        assert watch.got[-1] == ("d", 5)


async def test_what_it_holds_and_has_reserved_goes_to_the_next_in_order() -> None:
    watch = Watch()
    await watch.queue.put_many([1, 2, 3, 4])
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(watch.queue.consume(prefetch=3))
        assert (await anext(first)).body == 1
        async with watch.serving("next"):
            assert watch.got == []
            assert watch.queue.stats().consumers == 2
            await stack.aclose()
            await turns()
            assert watch.got == [("next", body) for body in (1, 2, 3, 4)]
    intact(watch.bus)


async def test_of_those_that_wait_the_higher_priority_takes_over_and_interrupts_nobody() -> None:
    watch = Watch()
    async with watch.serving("first", "second"), watch.serving("high", priority=1):
        await watch.put(1)
        await watch.end("first")
        await watch.put(2)
        await watch.end("high")
        await watch.put(3)
        assert watch.got == [("first", 1), ("high", 2), ("second", 3)]


async def test_one_that_waits_takes_nothing_from_the_one_that_serves() -> None:
    watch = Watch()
    await watch.queue.put_many(range(10))
    async with watch.queue.consume(prefetch=8) as first:
        await anext(first)
        reserved = len(first._buffer)
        assert reserved == 7, "all that is ready is its share"
        async with watch.serving("other"):
            assert len(first._buffer) == reserved
            intact(watch.bus)


async def test_until_empty_ends_for_those_that_wait_too() -> None:
    watch = Watch()
    await watch.queue.put_many([1, 2])
    async with watch.serving("a", "b", until_empty=True):
        await turns()
        assert watch.got == [("a", 1), ("a", 2)]
        assert watch.queue.stats().consumers == 0


async def test_it_is_joined_paused_and_cleared_like_any_other() -> None:
    watch = Watch()
    async with watch.serving("a", "b"):
        watch.queue.pause()
        await watch.put(1)
        assert watch.got == []
        watch.queue.resume()
        await watch.queue.join()
        await watch.bus.join()
        assert watch.got == [("a", 1)]
    await watch.put(2)
    assert watch.queue.purge() == 1
    intact(watch.bus)


async def test_a_plain_get_is_refused() -> None:
    watch = Watch()
    for call in (watch.queue.get, lambda: watch.queue.get_many(1)):
        with pytest.raises(DeclarationError, match="one consumer at a time"):
            await call()
    with pytest.raises(DeclarationError, match="one consumer at a time"):
        watch.queue.get_nowait()


@pytest.mark.parametrize("waits_too", [False, True])
async def test_a_ring_is_found_if_the_one_that_serves_is_in_it(waits_too: bool) -> None:
    """Another consumer that is free to take does not help, as long as it gets nothing."""
    watch = Watch(Policy(capacity=1, single_active=True))
    await watch.queue.put(1)
    consumers: list[Consumer[Any]] = []
    async with AsyncExitStack() as stack:
        for _ in range(1 + waits_too):
            consumers.append(await stack.enter_async_context(watch.queue.consume()))
        await anext(consumers[0])
        await watch.queue.put(2)
        with pytest.raises(FullError, match="waiting could never end"):
            await watch.queue.put(3)
    intact(watch.bus)


async def test_topics_reach_it_in_batches_too() -> None:
    bus = Bus()
    topic = bus.topic("t")
    queue = topic.subscription("s", SINGLE)
    got: list[int] = []

    async def serve() -> None:
        async with queue.consume() as consumer:
            async for delivery in consumer:
                got.append(delivery.body)
                delivery.ack()

    async with anyio.create_task_group() as group:
        group.start_soon(serve)
        await turns()
        await topic.publish_many([1, 2, 3])
        await queue.put_many([4, 5])
        await queue.join()
        assert got == [1, 2, 3, 4, 5]
        group.cancel_scope.cancel()


def test_threads_take_over_from_each_other() -> None:
    with blocking.Bus() as bus:
        queue = bus.queue("q", SINGLE)
        got: list[int] = []

        def serve() -> None:
            with queue.consume(prefetch=4) as consumer:
                for delivery in consumer:
                    got.append(delivery.body)
                    delivery.ack()
                    if delivery.body % 10 == 9:
                        return

        threads = [threading.Thread(target=serve, daemon=True) for _ in range(10)]
        for thread in threads:
            thread.start()
        queue.put_many(range(100))
        for thread in threads:
            thread.join(20)
        assert got == list(range(100)), "in order, through all of them"
        intact(bus)


async def test_a_consumer_that_has_ended_but_not_left_does_not_take_over() -> None:
    bus = blocking.Bus()
    queue = bus.queue("q", SINGLE)
    with queue.consume(timeout=0) as first, queue.consume(until_empty=True) as ended:
        assert list(ended) == []
        with queue.consume(timeout=0) as heir:
            first._leave()
            queue.put(1)
            assert next(heir).body == 1
