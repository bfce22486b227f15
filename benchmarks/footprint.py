"""What it costs to be big, and to be there: a long backlog, the memory of a message, the import."""

from __future__ import annotations

import atexit
import functools
import gc
import os
import shutil
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

from benchmarks.harness import Figure, Kind, Side
from benchmarks.workload import LostMessageError, Order, looped, orders
from eventbus import Bus, Policy, Queue

TURNS = 20_000
UNBOUNDED = Policy(capacity=None)
ROOT = Path(__file__).resolve().parent.parent


def with_waiting(backlog: Callable[[int], int]) -> Side:
    """Put, get and ack in one task, while so many messages wait, as given by the count of the figure."""

    @looped
    async def side(count: int) -> float:
        waiting, turns = backlog(count), min(count, TURNS)
        async with Bus() as bus:
            queue = bus.queue("orders", UNBOUNDED, type=Order)
            await fill(queue, waiting)
            gc.collect()
            seconds = await turn_over(queue, turns)
            stats = queue.stats()
            if (stats.ready, stats.acked, stats.out) != (waiting, turns, 0):
                raise LostMessageError(f"{stats.ready} messages wait where {waiting} should")
        return seconds

    return side


async def fill(queue: Queue[Order], waiting: int) -> None:
    bodies = orders(1_000)
    for start in range(0, waiting, len(bodies)):
        await queue.put_many(bodies[: waiting - start])


async def turn_over(queue: Queue[Order], turns: int) -> float:
    body = orders(1_000)[0]
    start = perf_counter()
    for _ in range(turns):
        await queue.put(body)
        (await queue.get()).ack()
    return perf_counter() - start


@looped
async def bytes_per_message(count: int) -> float:
    """By tracemalloc: what so many messages, put one by one with one shared body, add, all told."""
    body = orders(1)[0]
    async with Bus() as bus:
        queue = bus.queue("orders", UNBOUNDED, type=Order)
        tracemalloc.start()
        try:
            for _ in range(count):
                await queue.put(body)
            size, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        queue.purge()
        left = queue.stats().ready
    if left:
        raise LostMessageError(f"{left} messages are left after a purge")
    return size / count


def importing(names: str) -> Side:
    """Seconds of an import, by the clock of a fresh interpreter around it: its own start is not in it.

    Of so many interpreters the quickest counts, since whatever else the machine does can only make one slower.
    """
    program = f"from time import perf_counter as now; start = now(); import {names}; print(now() - start)"
    command = [sys.executable, "-c", program]

    def side(count: int) -> float:
        prints = [subprocess.check_output(command, cwd=ROOT, env=environment(), timeout=60) for _ in range(count)]
        return min(map(float, prints))

    return side


@functools.cache
def environment() -> dict[str, str]:
    """That of the fresh interpreters: their bytecode is cached, as that of an installed package is, but not in here.

    The round that warms up fills the cache for both sides, whatever this process was told about writing bytecode.
    """
    cache = tempfile.mkdtemp(prefix="benchmarks-bytecode-")
    atexit.register(shutil.rmtree, cache, ignore_errors=True)
    return {**os.environ, "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": cache}


FIGURES = (
    Figure(
        "put, get, ack with 1,000,000 waiting",
        "own with 1,000 waiting",
        with_waiting(lambda count: count),
        with_waiting(lambda count: 1_000),
        1.4,
        1.1,
        Kind.COST,
        count=1_000_000,
        smoke_count=20_000,
        most_rounds=7,
    ),
    Figure(
        "bytes of a waiting message, without body",
        "",
        bytes_per_message,
        None,
        300,
        200,
        Kind.SIZE,
        count=1_000_000,
        smoke_count=20_000,
        most_rounds=1,
    ),
    Figure(
        "import eventbus",
        "import asyncio, anyio, attrs",
        importing("eventbus"),
        importing("asyncio, anyio, attrs"),
        1.5,
        1.3,
        Kind.COST,
        count=3,
        smoke_count=1,
    ),
)
