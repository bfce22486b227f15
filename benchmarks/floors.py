"""How near to their peers two figures can come at all: the same work, with everything left out but what has to be.

They are shown beside what the bus reaches, which tells how much of the distance is the bus's own. `Least` is what a
queue cannot do without: coroutines at both ends, one hold of a lock and one look at the clock for a put, slices of 64
for whoever takes, and an object for each delivery, to be acked once. It knows one producer and one consumer, and no
order, policy, settlement or error but those. A commit that does not block the event loop is in a thread, and the least
of that is the way there and back.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections import deque
from collections.abc import Sequence
from time import perf_counter, time
from typing import Any, TypeAlias

from benchmarks import peers, stores
from benchmarks.disk import scratch
from benchmarks.harness import Figure
from benchmarks.workload import CAPACITY, Order, account, looped, orders, together

PREFETCH = 64

Record: TypeAlias = tuple[int, float, Order]


class Lent:
    """A delivery."""

    __slots__ = ("body", "out", "record")
    record: Record
    body: Order
    out: set[Lent]

    def ack(self) -> None:
        self.out.remove(self)


class Least:
    """A queue, and its consumer."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.offset = 0
        self.ready: deque[Record] = deque()
        self.reserved: deque[Lent] = deque()
        self.out: set[Lent] = set()
        self.room: asyncio.Future[None] | None = None
        self.more: asyncio.Future[None] | None = None

    async def put(self, body: Order) -> int:
        while (offset := self.enter(body)) == 0:
            self.room = asyncio.get_running_loop().create_future()
            await self.room
        return offset

    def enter(self, body: Order) -> int:
        """The offset, or 0 if it is full."""
        lock = self.lock
        try:
            lock.acquire()
            if len(self.ready) >= CAPACITY:
                return 0
            self.offset = offset = self.offset + 1
            self.ready.append((offset, time(), body))
            if self.more is not None:
                self.more.set_result(None)
                self.more = None
            return offset
        finally:
            lock.release()

    def __aiter__(self) -> Least:
        return self

    async def __anext__(self) -> Lent:
        if self.reserved:
            return self.reserved.popleft()
        while not self.reserve():
            self.more = asyncio.get_running_loop().create_future()
            await self.more
        return self.reserved.popleft()

    def reserve(self) -> bool:
        """Lend what is ready, up to `PREFETCH`: whether there was any."""
        with self.lock:
            for _ in range(min(PREFETCH, len(self.ready))):
                record = self.ready.popleft()
                lent = Lent()
                lent.record = record
                lent.body = record[2]
                lent.out = self.out
                self.reserved.append(lent)
            self.out.update(self.reserved)
            if self.room is not None:
                self.room.set_result(None)
                self.room = None
        return bool(self.reserved)


@looped
async def least(count: int) -> float:
    queue = Least()
    bodies, seen = orders(count), list[object]()

    async def produce() -> None:
        for body in bodies:
            await queue.put(body)

    async def serve() -> None:
        async for lent in queue:
            seen.append(lent.body)
            lent.ack()
            if len(seen) == count:
                break

    seconds = await together(produce(), serve())
    account(bodies, seen)
    return seconds


class Scribe:
    """A thread that commits a row whenever it is told to, and tells the event loop."""

    def __init__(self, connection: sqlite3.Connection, loop: asyncio.AbstractEventLoop) -> None:
        self.connection = connection
        self.loop = loop
        self.bell = threading.Lock()
        self.bell.acquire()
        self.work: tuple[Sequence[Any], asyncio.Future[None]] | None = None

    def serve(self) -> None:
        while True:
            self.bell.acquire()
            if self.work is None:
                return
            row, written = self.work
            stores.commit(self.connection, [row])
            self.loop.call_soon_threadsafe(written.set_result, None)

    def tell(self, row: Sequence[Any] | None) -> asyncio.Future[None]:
        written = self.loop.create_future()
        self.work = None if row is None else (row, written)
        self.bell.release()
        return written


@looped
async def handed_over(count: int) -> float:
    with scratch() as directory:
        connection = stores.opened(directory)
        scribe = Scribe(connection, asyncio.get_running_loop())
        thread = threading.Thread(target=scribe.serve)
        thread.start()
        start = perf_counter()
        for row in stores.rows(count):
            await scribe.tell(row)
        seconds = perf_counter() - start
        scribe.tell(None)
        thread.join()
        stores.closed(connection, count)
    return seconds


FIGURES = (
    Figure("the least of put, consume(prefetch=64), ack", "asyncio.Queue", least, peers.asyncio_queue, None, None),
    Figure(
        "the least of one publisher: to a thread and back",
        "bare SQLite, a row a commit",
        handed_over,
        stores.bare(1),
        None,
        None,
        count=1_000,
        smoke_count=20,
    ),
)
