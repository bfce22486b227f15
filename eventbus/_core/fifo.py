"""FIFO order: by offset."""

from __future__ import annotations

import heapq
import itertools
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from eventbus._core.backlog import Backlog, offset_of
from eventbus._core.leases import Lease
from eventbus._core.lots import Chunk, lend_all
from eventbus.message import Record

if TYPE_CHECKING:
    from eventbus._core.consumer import Holder
    from eventbus._core.lanes import Lane, Place


MANY: Final = 32
"""So many that come back together form a row."""

BUNDLED: Final = 1024
"""Once so many messages lie in chunks, the next lie for themselves: they are unpacked under the lock."""


class FifoBacklog(Backlog):
    """By offset: a deque for what comes, and a heap for what comes back; lending merges them.

    What comes in batches while both are empty lies before them in `chunks`, and leaves as it came if it is taken in
    batches too; anything else unpacks it first. Of many that come back together, the first is in the heap, and the
    others in a row behind it, since a heap of thousands is slow; whatever takes out another breaks the rows up.

    A deque and not a ring: in CPython its `append` and `popleft` are 25 ns each, a ring written in Python 110; a
    message passes both once. It gives its memory back when it drains. Rings keep what is addressed by sequence, the
    topics' past, and what is small and many, the lanes.
    """

    __slots__ = ("chunked", "chunks", "early", "fresh", "kind", "push", "rowed", "rows")

    def __init__(self, kind: type[Lease]) -> None:
        self.kind = kind
        self.fresh: deque[Record] = deque()
        self.push = self.fresh.append
        """A new message; its offset is higher than all before."""
        self.early: list[Record] = []
        self.rows: dict[int, list[Record]] = {}
        """Those that stand behind a record of the heap, the last first, by its offset."""
        self.rowed = 0
        """How many messages are in rows."""
        self.chunks: deque[Chunk] = deque()
        self.chunked = 0
        """How many messages are in chunks."""
        self.redelivered = 0

    def __len__(self) -> int:
        return len(self.fresh) + len(self.early) + self.chunked + self.rowed

    def available(self, holder: Holder | None) -> int:
        return len(self.fresh) + len(self.early) + self.chunked + self.rowed

    def __iter__(self) -> Iterator[Record]:
        packed = (record for chunk in self.chunks for record in chunk.records)
        early = sorted(itertools.chain(self.early, *self.rows.values()), key=offset_of)
        return itertools.chain(packed, heapq.merge(early, self.fresh, key=offset_of))

    def push_chunk(self, chunk: Chunk) -> None:
        """New messages, as they came."""
        if self.fresh or self.early or self.chunked >= BUNDLED:
            self.fresh.extend(chunk.records)
        else:
            self.chunks.append(chunk)
            self.chunked += chunk.size

    def pull_chunks(self, limit: int) -> list[Chunk]:
        """Take up to `limit` messages out, as they came where they lie so."""
        chunks = []
        waiting = self.chunks
        while waiting and limit:
            chunk = waiting[0]
            if chunk.size > limit:
                chunk, waiting[0] = chunk.split(limit)
            else:
                waiting.popleft()
            chunks.append(chunk)
            limit -= chunk.size
            self.chunked -= chunk.size
        if limit and (self.fresh or self.early):
            chunks.append(Chunk.of(self.pull(limit)))
        return chunks

    def _unpack(self) -> None:
        """Let every message lie for itself."""
        if self.chunks:
            self.fresh.extendleft(reversed([record for chunk in self.chunks for record in chunk.records]))
            self.chunks.clear()
            self.chunked = 0

    def lend(self, holder: Holder) -> Lease | None:
        if self.chunks:
            self._unpack()
        if self.early:
            record = self._pop_early()
            self.redelivered += record[8] is not None
        elif self.fresh:
            record = self.fresh.popleft()
        else:
            return None
        kind = self.kind
        lease = kind()
        lease._record = record
        lease.body = record[2]
        lease._holder = holder
        return lease

    def lend_many(self, holder: Holder, limit: int) -> list[Lease]:
        return lend_all(self.kind, holder, self.pull(limit))

    def pull(self, limit: int) -> list[Record]:
        """Take up to `limit` messages out."""
        self._unpack()
        fresh = self.fresh
        if self.early:
            return self._merged(limit)
        if limit < len(fresh):
            popleft = fresh.popleft
            return [popleft() for _ in range(limit)]
        records = list(fresh)
        fresh.clear()
        return records

    def _merged(self, limit: int) -> list[Record]:
        """Up to `limit` records from the front, where some came back."""
        records: list[Record] = []
        while len(records) < limit and len(self):
            records.append(self._pop_early() if self.early else self.fresh.popleft())
            self.redelivered += records[-1][8] is not None
        return records

    def restore(self, record: Record, lane: Lane | None = None) -> None:
        self._unpack()
        heapq.heappush(self.early, record)

    def restore_many(self, records: Sequence[Record]) -> None:
        """Put back several."""
        if len(records) < MANY:
            for record in records:
                self.restore(record)
            return
        self._unpack()
        row = sorted(records, key=offset_of, reverse=True)
        first = row.pop()
        heapq.heappush(self.early, first)
        self.rows[offset_of(first)] = row
        self.rowed += len(row)

    def _break_up(self) -> None:
        """Let all that came back lie in the heap."""
        if self.rows:
            self.early.extend(itertools.chain(*self.rows.values()))
            heapq.heapify(self.early)
            self.rows.clear()
            self.rowed = 0

    def insert(self, record: Record, place: Place) -> None:
        self.restore(record)

    def overtaken(self, offset: int, priority: int = 0, place: Place = None) -> bool:
        if self.fresh:
            return offset_of(self.fresh[-1]) > offset
        return bool(self.chunks) and self.chunks[-1].first > offset

    def remove(self, offset: int) -> Record | None:
        self._unpack()
        self._break_up()
        if self.early and self.early[0][0] == offset:
            return heapq.heappop(self.early)
        return self._remove_fresh(offset) or next(iter(self._remove_early({offset})), None)

    def remove_many(self, offsets: Sequence[int]) -> list[Record]:
        self._unpack()
        self._break_up()
        records = self._remove_early(set(offsets))
        records += [record for offset in offsets if (record := self._remove_fresh(offset)) is not None]
        return records

    def _remove_fresh(self, offset: int) -> Record | None:
        fresh = self.fresh
        if not fresh or offset < offset_of(fresh[0]):
            return None
        if offset == offset_of(fresh[0]):
            return fresh.popleft()
        index = bisect_left(fresh, offset, key=offset_of)
        if index == len(fresh) or offset_of(fresh[index]) != offset:
            return None
        record = fresh[index]
        del fresh[index]
        return record

    def _remove_early(self, offsets: set[int]) -> list[Record]:
        """Take out those that came back, in one pass."""
        found = [record for record in self.early if record[0] in offsets]
        if found:
            self.early[:] = [record for record in self.early if record[0] not in offsets]
            heapq.heapify(self.early)
        return found

    def drop_oldest(self, newcomer: Record) -> Record:
        self._unpack()
        if self.early:
            return self._pop_early()
        return self.fresh.popleft() if self.fresh else newcomer

    def clear(self) -> list[Record]:
        self._unpack()
        self._break_up()
        records = [*self.early, *self.fresh]
        self.early.clear()
        self.fresh.clear()
        return records

    def oldest(self) -> Record | None:
        if self.chunks:
            return self.chunks[0].records[0]
        heads = [self.early[0]] if self.early else []
        heads += [self.fresh[0]] if self.fresh else []
        return min(heads, key=offset_of, default=None)

    def check(self) -> None:
        packed = [offset_of(record) for chunk in self.chunks for record in chunk.records]
        assert self.chunked == len(packed)
        assert not (packed and self.early), "something came back, and is behind what lies in chunks"
        offsets = [*packed, *(offset_of(record) for record in self.fresh)]
        assert offsets == sorted(offsets), "the deque is out of order"
        early = [*self.early, *itertools.chain(*self.rows.values())]
        assert self.rowed == len(early) - len(self.early)
        for first, row in self.rows.items():
            assert any(offset_of(record) == first for record in self.early), "a row stands behind nobody"
            assert row == sorted(row, key=offset_of, reverse=True)
            assert row
            assert first < offset_of(row[-1])
        everything = [*offsets, *map(offset_of, early)]
        assert len(set(everything)) == len(everything) == len(self), "a message waits twice"

    def _pop_early(self) -> Record:
        """The first of the heap and the deque, when the heap has one."""
        if self.fresh and self.fresh[0] < self.early[0]:
            return self.fresh.popleft()
        row = self.rows.pop(offset_of(self.early[0]), None) if self.rows else None
        if row is None:
            return heapq.heappop(self.early)
        following = row.pop()
        self.rowed -= 1
        if row:
            self.rows[offset_of(following)] = row
        return heapq.heapreplace(self.early, following)
