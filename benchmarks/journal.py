"""The journal: what a durable message costs, how fast the past is read, and what it takes to open and to keep it."""

from __future__ import annotations

import asyncio
import functools
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import msgspec

from benchmarks import queues, stores
from benchmarks.disk import lasting, scratch
from benchmarks.footprint import ROOT, environment
from benchmarks.harness import Figure, Kind, Side
from benchmarks.workload import CAPACITY, LostMessageError, Order, Placed, looped, placed, together
from eventbus import Bus, Policy, Queue, Topic

BATCH = 1_000
PUBLISHERS = 100
FIFO = Policy(capacity=CAPACITY * 10)


@looped
async def one_publisher(count: int) -> float:
    return await published(count, 1)


@looped
async def many_publishers(count: int) -> float:
    return await published(count, PUBLISHERS)


async def published(count: int, publishers: int) -> float:
    """Seconds until so many publishers have published all, each awaiting one before the next."""
    bodies = placed(count)

    async def publish(topic: Topic[Placed], mine: list[Placed]) -> None:
        for body in mine:
            await topic.publish(body)

    with scratch() as directory:
        async with Bus(journal=directory / "bus.db") as bus:
            topic = bus.topic("placed", type=Placed)
            seconds = await together(*(publish(topic, bodies[nth::publishers]) for nth in range(publishers)))
            kept = [message.body.order async for message in topic.replay()]
    if sorted(kept) != list(range(count)):
        raise LostMessageError(f"{count} messages were published and {len(kept)} are kept")
    return seconds


@looped
async def in_batches(count: int) -> float:
    """Puts, gets and acks of 1,000 at a time; the clock stops when the last ack is written."""
    bodies, seen = placed(count), list[Placed]()
    with scratch() as directory:
        async with Bus(journal=directory / "bus.db") as bus:
            queue = bus.queue("placed", FIFO, type=Placed)
            start = perf_counter()
            await together(put(queue, bodies), take(queue, count, seen))
            await bus.flush()
            seconds = perf_counter() - start
            queues.settled(queue, count)
    if seen != bodies:
        raise LostMessageError(f"{count} messages went in, and others came out")
    return seconds


async def put(queue: Queue[Placed], bodies: list[Placed]) -> None:
    for start in range(0, len(bodies), BATCH):
        await queue.put_many(bodies[start : start + BATCH])


async def take(queue: Queue[Placed], count: int, seen: list[Placed]) -> None:
    while len(seen) < count:
        batch = await queue.get_many(BATCH)
        for delivery in batch:
            seen.append(delivery.body)  # noqa: PERF401  # one by one, as all sides do
        batch.ack()


@functools.cache
def filled(count: int) -> Path:
    """A journal with so many messages of one topic, which one subscription has not settled."""
    path = lasting() / "bus.db"
    bodies = placed(BATCH)

    async def fill() -> None:
        async with Bus(journal=path) as bus:
            topic = bus.topic("placed", type=Placed)
            topic.subscription("billing", Policy(capacity=None))
            for start in range(0, count, BATCH):
                await topic.publish_many(bodies[: count - start])

    asyncio.run(fill())
    return path


@looped
async def replayed(count: int) -> float:
    path = await asyncio.to_thread(filled, count)
    found = 0
    async with Bus(journal=path) as bus:
        topic = bus.topic("placed", type=Placed)
        start = perf_counter()
        async for message in topic.replay():
            message.body  # noqa: B018  # which is decoded by now
            found += 1
        seconds = perf_counter() - start
    if found != count:
        raise LostMessageError(f"{found} of {count} messages were replayed")
    return seconds


def selected(count: int) -> float:
    return stores.read_and_decoded(filled(count), count)


OPENING = """
import asyncio, json, os, resource, sys
from time import perf_counter
from benchmarks.workload import Placed
from eventbus import Bus, Policy

async def main(path, end):
    async with Bus(journal=path) as bus:  # so that all is imported
        await bus.queue("orders").put(1)
    os.remove(path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = perf_counter()
    bus = Bus(journal=sys.argv[1])
    async with bus:
        billing = bus.topic("placed", type=Placed).subscription("billing", Policy(capacity=None))
        await billing.get()
        seconds = perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        left = billing.stats().ready + billing.stats().out
        more = (peak - before) / (1 << (20 if sys.platform == "darwin" else 10))
        print(json.dumps([seconds, more, left]), flush=True)
        if end == "killed":
            os._exit(0)

asyncio.run(main(*sys.argv[2:]))
"""


def opened(fact: int, end: str = "closed", killed: bool = False) -> Side:
    """Seconds until a fresh process has the first message, or megabytes more that it needs; after a kill, if told."""

    def side(count: int) -> float:
        path = filled(count)
        if killed:
            opening(path, "killed")
        facts = opening(path, "closed")
        if facts[2] != count:
            raise LostMessageError(f"{facts[2]} of {count} messages were there")
        return float(facts[fact])

    return side


def opening(path: Path, end: str) -> Any:
    command = [sys.executable, "-c", OPENING, str(path), str(path.with_name("other.db")), end]
    return json.loads(subprocess.check_output(command, cwd=ROOT, env=environment(), timeout=60))


def bytes_on_disk(count: int) -> float:
    return filled(count).stat().st_size / count


def bytes_of_json(count: int) -> float:
    sizes = [len(msgspec.json.encode(body)) for body in placed(BATCH)]
    return sum(sizes[n % BATCH] for n in range(count)) / count


def not_durable(journaled: bool) -> Callable[[int], float]:
    """Put, get and ack one by one in a queue that is not durable, on a bus with or without a journal."""

    @looped
    async def side(count: int) -> float:
        with scratch() as directory:
            async with Bus(journal=directory / "bus.db" if journaled else None) as bus:
                queue = bus.queue("orders", Policy(capacity=CAPACITY, durable=False), type=Order)
                with queues.conserving(queue, count) as (bodies, seen):
                    return await together(queues.produce(queue, bodies), queues.take(queue, count, seen))

    return side


MANY = "publish_many of 1,000, consumed and acked"
MILLION: dict[str, Any] = {"count": 1_000_000, "smoke_count": 3_000, "most_rounds": 3}
OPEN = "open with 1,000,000 unsettled messages"

FIGURES = (
    Figure(
        "one publisher, awaiting each publish",
        "bare SQLite, a row a commit",
        one_publisher,
        stores.bare(1),
        0.6,
        0.8,
        count=1_000,
        smoke_count=20,
    ),
    Figure(
        "100 concurrent publishers",
        "bare SQLite, 100 rows a commit",
        many_publishers,
        stores.bare(PUBLISHERS),
        0.3,
        0.6,
        count=10_000,
        smoke_count=200,
    ),
    Figure(MANY, "bare SQLite, 1,000 rows a commit", in_batches, stores.bare(BATCH), 0.4, 0.6, count=50_000),
    Figure(MANY, "persist-queue", in_batches, stores.every(100, stores.persist_queue), 50, 100, count=50_000),
    Figure(MANY, "litequeue", in_batches, stores.every(20, stores.lite_queue), 10, 20, count=50_000),
    Figure(MANY, "diskcache", in_batches, stores.every(20, stores.disk_cache), 5, 10, count=50_000),
    Figure("replay of 1,000,000 messages", "bare SELECT, msgspec", replayed, selected, 0.5, 0.7, **MILLION),
    Figure(f"{OPEN}, seconds", "", opened(0), None, 1.0, 0.3, Kind.SECONDS, **MILLION),
    Figure(f"{OPEN}, megabytes", "", opened(1), None, 100, 50, Kind.MEMORY, **MILLION),
    Figure(f"{OPEN}, after a kill", "", opened(0, killed=True), None, None, None, Kind.SECONDS, **MILLION),
    Figure("disk for a message", "its JSON", bytes_on_disk, bytes_of_json, 1.8, 1.4, Kind.COST, **MILLION),
    Figure(
        "a queue not durable, on a journaled bus",
        "without a journal",
        not_durable(True),
        not_durable(False),
        0.95,
        None,
    ),
)
