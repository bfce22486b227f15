"""Priority order: higher first, FIFO inside one priority."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from eventbus._core.backlog import Backlog, offset_of
from eventbus._core.fifo import FifoBacklog
from eventbus._core.leases import Lease
from eventbus._core.lots import Chunk, lend_all
from eventbus.message import Record

if TYPE_CHECKING:
    from sortedcontainers import SortedList

    from eventbus._core.consumer import Holder
    from eventbus._core.lanes import Lane, Place


FEW_LEVELS: Final = 64
"""Up to so many levels, empty ones may stay."""


class PriorityBacklog(Backlog):
    """Higher priority first: a FIFO for each priority that is in use, and a heap of those priorities.

    A level that has run empty stays until it comes up in the heap, so that queues that hover around empty do not make
    and unmake levels. `lowest` is there only when the overflow drops the oldest of the lowest priority.
    """

    __slots__ = ("count", "crowd", "heap", "kind", "levels", "lowest")

    def __init__(self, kind: type[Lease], drops_oldest: bool) -> None:
        self.kind = kind
        self.levels: dict[int, FifoBacklog] = {}
        self.heap: list[int] = []
        self.lowest: SortedList[int] | None = None
        if drops_oldest:
            from sortedcontainers import SortedList  # few need it, and its import takes long

            self.lowest = SortedList()
        self.count = 0
        self.crowd = FEW_LEVELS
        self.redelivered = 0

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Record]:
        for priority in sorted(self.levels, reverse=True):
            yield from self.levels[priority]

    def push(self, record: Record) -> None:
        """A new message; its offset is higher than all before."""
        level = self.levels.get(record[5])
        if level is None:
            level = self._new_level(record[5])
        push = level.push
        push(record)
        self.count += 1

    def push_chunk(self, chunk: Chunk) -> None:
        """New messages, each to its level."""
        for record in chunk.records:
            self.push(record)

    def pull_chunks(self, limit: int) -> list[Chunk]:
        """Take up to `limit` messages out."""
        return [Chunk.of(self.pull(limit))] if self.count else []

    def lend(self, holder: Holder) -> Lease | None:
        level = self._highest()
        if level is None:
            return None
        self.count -= 1
        lease = level.lend(holder)
        assert lease is not None, "the highest level has something ready"
        if lease._record[8] is not None:
            self.redelivered += 1
        return lease

    def lend_many(self, holder: Holder, limit: int) -> list[Lease]:
        return lend_all(self.kind, holder, self.pull(limit))

    def pull(self, limit: int) -> list[Record]:
        """Take up to `limit` messages out."""
        records: list[Record] = []
        while len(records) < limit and (level := self._highest()) is not None:
            records += level.pull(limit - len(records))
        self.count -= len(records)
        self.redelivered += sum(record[8] is not None for record in records)
        return records

    def restore(self, record: Record, lane: Lane | None = None) -> None:
        level = self.levels.get(record[5])
        if level is None:
            level = self._new_level(record[5])
        level.restore(record)
        self.count += 1

    def restore_many(self, records: Sequence[Record]) -> None:
        """Put back several."""
        for record in records:
            self.restore(record)

    def insert(self, record: Record, place: Place) -> None:
        self.restore(record)

    def overtaken(self, offset: int, priority: int, place: Place) -> bool:
        level = self.levels.get(priority)
        return level is not None and level.overtaken(offset)

    def remove(self, offset: int) -> Record | None:
        for level in self.levels.values():
            if (record := level.remove(offset)) is not None:
                self.count -= 1
                return record
        return None

    def remove_many(self, offsets: Sequence[int]) -> list[Record]:
        records: list[Record] = []
        left = list(offsets)
        for level in self.levels.values():
            if found := level.remove_many(left):
                records += found
                gone = {offset_of(record) for record in found}
                left = [offset for offset in left if offset not in gone]
        self.count -= len(records)
        return records

    def drop_oldest(self, newcomer: Record) -> Record:
        assert self.lowest is not None
        while self.lowest:
            priority = self.lowest[0]
            if len(self.levels[priority]):
                break
            self._retire(priority)
        else:
            return newcomer
        if newcomer[5] < priority:
            return newcomer
        self.count -= 1
        return self.levels[priority].drop_oldest(newcomer)

    def through(self, priority: int) -> int:
        """How many messages of this priority or a higher one are here."""
        return sum(len(level) for own, level in self.levels.items() if own >= priority)

    def clear(self) -> list[Record]:
        records = [record for level in self.levels.values() for record in level.clear()]
        self.count = 0
        return records

    def oldest(self) -> Record | None:
        heads = [head for level in self.levels.values() if (head := level.oldest()) is not None]
        return min(heads, key=offset_of, default=None)

    def check(self) -> None:
        assert sorted(self.heap) == sorted(-priority for priority in self.levels), "the heap of levels is wrong"
        assert self.lowest is None or list(self.lowest) == sorted(self.levels)
        assert self.count == sum(len(level) for level in self.levels.values())
        for priority, level in self.levels.items():
            level.check()
            assert all(record[5] == priority for record in level), "a message in the level of another priority"

    def _highest(self) -> FifoBacklog | None:
        while self.heap:
            priority = -self.heap[0]
            level = self.levels[priority]
            if level.early or level.fresh:
                return level
            self._retire(priority)
        return None

    def _new_level(self, priority: int) -> FifoBacklog:
        if len(self.levels) >= self.crowd:  # priorities that never come again, such as timestamps
            for empty in [p for p, level in self.levels.items() if not len(level)]:
                self._retire(empty)
            self.crowd = max(FEW_LEVELS, 2 * len(self.levels))
        level = self.levels[priority] = FifoBacklog(self.kind)
        heapq.heappush(self.heap, -priority)
        if self.lowest is not None:
            self.lowest.add(priority)
        return level

    def _retire(self, priority: int) -> None:
        """Forget an empty level; it is the first of the heap, unless it is the lowest of all."""
        del self.levels[priority]
        if self.heap[0] == -priority:
            heapq.heappop(self.heap)
        else:
            self.heap.remove(-priority)
            heapq.heapify(self.heap)
        if self.lowest is not None:
            self.lowest.remove(priority)
