"""Queues: one by one, with prefetch, in batches, competing, by priority, keyed, and back and forth."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from benchmarks import peers
from benchmarks.harness import Figure
from benchmarks.workload import (
    CAPACITY,
    LostMessageError,
    Order,
    Work,
    account,
    keys,
    looped,
    orders,
    priorities,
    together,
    until_joined,
)
from eventbus import Bus, Keyed, Policy, Priority, Queue
from eventbus._faces.queue import QueueFace

BATCH = 256
FIFO = Policy(capacity=CAPACITY)


async def produce(queue: Queue[Order], bodies: Sequence[Order]) -> None:
    for body in bodies:
        await queue.put(body)


async def take(queue: Queue[Order], count: int, seen: list[object]) -> None:
    for _ in range(count):
        delivery = await queue.get()
        seen.append(delivery.body)
        delivery.ack()


async def serve(queue: Queue[Order], prefetch: int, seen: list[object]) -> None:
    async with queue.consume(prefetch=prefetch) as consumer:
        async for delivery in consumer:
            seen.append(delivery.body)
            delivery.ack()


def settled(queue: QueueFace[Any], count: int) -> None:
    """Raise LostMessageError unless the queue took in so many messages and each of them was acknowledged."""
    stats = queue.stats()
    left = stats.ready + stats.delayed + stats.out
    if (stats.published, stats.acked, left) != (count, count, 0):
        raise LostMessageError(f"of {count}, {stats.published} went in, {stats.acked} were acked, {left} are left")


@contextmanager
def conserving(queue: Queue[Order], count: int, *, ordered: bool = True) -> Iterator[tuple[list[Order], list[object]]]:
    """The bodies to put and the list for those seen; afterwards both must agree, and the queue be settled."""
    bodies = orders(count)
    seen: list[object] = []
    yield bodies, seen
    account(bodies, seen, ordered=ordered)
    settled(queue, count)


@looped
async def one_by_one(count: int) -> float:
    async with Bus() as bus:
        queue = bus.queue("orders", FIFO, type=Order)
        with conserving(queue, count) as (bodies, seen):
            return await together(produce(queue, bodies), take(queue, count, seen))


@looped
async def prefetched(count: int) -> float:
    async with Bus() as bus:
        queue = bus.queue("orders", FIFO, type=Order)
        with conserving(queue, count) as (bodies, seen):
            return await until_joined(produce(queue, bodies), [serve(queue, 64, seen)], [queue.join])


@looped
async def batches(count: int) -> float:
    async with Bus() as bus:
        queue = bus.queue("orders", FIFO, type=Order)
        with conserving(queue, count) as (bodies, seen):
            return await together(produce_batches(queue, bodies), take_batches(queue, count, seen))


async def produce_batches(queue: Queue[Order], bodies: Sequence[Order]) -> None:
    for start in range(0, len(bodies), BATCH):
        await queue.put_many(bodies[start : start + BATCH])


async def take_batches(queue: Queue[Order], count: int, seen: list[object]) -> None:
    while len(seen) < count:
        batch = await queue.get_many(BATCH)
        for delivery in batch:
            seen.append(delivery.body)  # noqa: PERF401  # one by one, as all sides do
        batch.ack()


@looped
async def four_consumers(count: int) -> float:
    async with Bus() as bus:
        queue = bus.queue("orders", FIFO, type=Order)
        with conserving(queue, count) as (bodies, seen):
            consumers = [serve(queue, 1, seen) for _ in range(4)]
            return await until_joined(produce(queue, bodies), consumers, [queue.join])


@looped
async def by_priority(count: int) -> float:
    async with Bus() as bus:
        queue = bus.queue("orders", Policy(order=Priority(), capacity=CAPACITY), type=Order)
        with conserving(queue, count, ordered=False) as (bodies, seen):
            return await together(produce_ranked(queue, bodies), take(queue, count, seen))


async def produce_ranked(queue: Queue[Order], bodies: Sequence[Order]) -> None:
    for body, priority in zip(bodies, priorities(len(bodies)), strict=True):
        await queue.put(body, priority=priority)


def with_keys(policy: Policy) -> Callable[[int], float]:
    """Keyed messages through a queue of this policy, by four consumers."""

    @looped
    async def side(count: int) -> float:
        async with Bus() as bus:
            queue = bus.queue("orders", policy, type=Order)
            with conserving(queue, count, ordered=False) as (bodies, seen):
                consumers: list[Work] = [serve(queue, 1, seen) for _ in range(4)]
                seconds = await until_joined(produce_keyed(queue, bodies), consumers, [queue.join])
                account(by_key(bodies, count), by_key(seen, count))
                return seconds

    return side


def by_key(bodies: Sequence[object], count: int) -> list[object]:
    """Bodies sorted by their keys and nothing else, so that two agree if the order within every key does."""
    key_of = dict(zip(map(id, orders(count)), keys(count), strict=True))
    return sorted(bodies, key=lambda body: key_of[id(body)])


async def produce_keyed(queue: Queue[Order], bodies: Sequence[Order]) -> None:
    for body, key in zip(bodies, keys(len(bodies)), strict=True):
        await queue.put(body, key=key)


@looped
async def ping_pong(count: int) -> float:
    async with Bus() as bus:
        there = bus.queue("there", FIFO, type=Order)
        back = bus.queue("back", FIFO, type=Order)
        with conserving(back, count) as (bodies, seen):
            seconds = await together(ping(there, back, bodies, seen), pong(there, back, count))
        settled(there, count)
        return seconds


async def ping(there: Queue[Order], back: Queue[Order], bodies: Sequence[Order], seen: list[object]) -> None:
    for body in bodies:
        await there.put(body)
        delivery = await back.get()
        seen.append(delivery.body)
        delivery.ack()


async def pong(there: Queue[Order], back: Queue[Order], count: int) -> None:
    for _ in range(count):
        delivery = await there.get()
        await back.put(delivery.body)
        delivery.ack()


ONE_BY_ONE = "put, get, ack one by one"

FIGURES = (
    Figure(ONE_BY_ONE, "asyncio.Queue", one_by_one, peers.asyncio_queue, 0.5, 0.8),
    Figure("put, consume(prefetch=64), ack", "asyncio.Queue", prefetched, peers.asyncio_queue, 1.0, 1.5),
    Figure("put_many, get_many of 256, batch ack", "asyncio.Queue", batches, peers.asyncio_queue, 3, 5),
    Figure("4 competing consumers, prefetch 1", "asyncio.Queue", four_consumers, peers.asyncio_four_getters, 0.5, 0.8),
    Figure("priorities 0 to 9, random", "asyncio.PriorityQueue", by_priority, peers.asyncio_priority_queue, 0.6, 1.0),
    Figure(
        "keyed, 64 lanes, 1000 keys, 4 consumers",
        "own FIFO, 4 consumers",
        with_keys(Policy(order=Keyed(partitions=64), capacity=CAPACITY)),
        with_keys(FIFO),
        0.5,
        0.8,
    ),
    Figure("ping-pong round trip", "two asyncio.Queues", ping_pong, peers.asyncio_ping_pong, 0.6, 0.75, count=5_000),
    Figure(ONE_BY_ONE, "anyio memory object stream", one_by_one, peers.anyio_stream, 3, 5),
    Figure(ONE_BY_ONE, "janus, async side", one_by_one, peers.janus_queue, 1, 2),
    Figure(ONE_BY_ONE, "culsans, async side", one_by_one, peers.culsans_queue, 1, 2),
)
