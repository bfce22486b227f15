"""What waits in a queue, in the order of its policy.

A backlog answers one question, "which message next?", and knows nothing of who asks or waits. What comes back enters by
`restore` and takes its original place.
"""

from __future__ import annotations

import heapq
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from sortedcontainers import SortedList

from eventbus._core.leases import Lease
from eventbus.message import Record

if TYPE_CHECKING:
    from eventbus._core.consumer import Holder
    from eventbus._core.lanes import Lane, Place


class Backlog(ABC):
    """The messages of one queue that are ready, in the order in which they are to be delivered."""

    __slots__ = ("redelivered",)

    redelivered: int
    push: Callable[[Record], None]
    """A new message; its offset is higher than all before. (Keyed backlogs have `push_at` instead.)"""
    push_many: Callable[[Sequence[Record]], None]

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __iter__(self) -> Iterator[Record]:
        """All of it, in the order in which it would be delivered."""

    @abstractmethod
    def lend(self, holder: Holder) -> Lease | None:
        """Take the next message out, as a lease for this holder."""

    @abstractmethod
    def lend_many(self, holder: Holder, limit: int) -> list[Lease]: ...

    @abstractmethod
    def restore(self, record: Record, lane: Lane | None) -> None:
        """Put back what a lease had taken out of `lane`, at its original place."""

    @abstractmethod
    def insert(self, record: Record, place: Place) -> None:
        """A message from the past, at the place that its offset gives it."""

    @abstractmethod
    def remove(self, offset: int) -> Record | None:
        """Take out one message, wherever it is."""

    @abstractmethod
    def drop_oldest(self, newcomer: Record) -> Record:
        """Take out what a full queue gives up for the newcomer, or name the newcomer itself."""

    @abstractmethod
    def clear(self) -> list[Record]: ...

    @abstractmethod
    def oldest(self) -> Record | None: ...

    @abstractmethod
    def check(self) -> None: ...

    def available(self, holder: Holder | None) -> int:
        """How many messages this holder could take now."""
        return len(self)

    # what only lanes care for

    def settled(self, lane: Lane | None) -> None:  # noqa: B027
        """What a lease had taken out of `lane` will not come back."""

    def attach(self, holder: Holder) -> None:  # noqa: B027
        """A consumer came."""

    def detach(self, holder: Holder) -> None:  # noqa: B027
        """A consumer went; all that it had out has come back."""


class FifoBacklog(Backlog):
    """By offset: a deque for what comes, and a heap for what comes back; lending merges them.

    A deque and not a ring: in CPython its `append` and `popleft` are 25 ns each, a ring written in Python 110; a
    message passes both once. It gives its memory back when it drains. Rings keep what is addressed by sequence, the
    topics' past, and what is small and many, the lanes.
    """

    __slots__ = ("early", "fresh", "kind", "push", "push_many")

    def __init__(self, kind: type[Lease]) -> None:
        self.kind = kind
        self.fresh: deque[Record] = deque()
        self.push = self.fresh.append
        self.push_many = self.fresh.extend
        self.early: list[tuple[int, Record]] = []
        self.redelivered = 0

    def __len__(self) -> int:
        return len(self.fresh) + len(self.early)

    def available(self, holder: Holder | None) -> int:
        return len(self.fresh) + len(self.early)

    def __iter__(self) -> Iterator[Record]:
        return heapq.merge((record for _, record in sorted(self.early)), self.fresh, key=offset_of)

    def lend(self, holder: Holder) -> Lease | None:
        if self.early:
            record = self._pop_early()
            self.redelivered += record[8] is not None
        elif self.fresh:
            record = self.fresh.popleft()
        else:
            return None
        lease = self.kind()
        lease._record = record
        lease.body = record[2]
        lease._holder = holder
        return lease

    def lend_many(self, holder: Holder, limit: int) -> list[Lease]:
        kind, fresh = self.kind, self.fresh
        leases: list[Lease] = []
        if self.early:
            records = self._merged(limit)
        elif limit < len(fresh):
            popleft = fresh.popleft
            records = [popleft() for _ in range(limit)]
        else:
            records = list(fresh)
            fresh.clear()
        for record in records:
            lease = kind()
            lease._record = record
            lease.body = record[2]
            lease._holder = holder
            leases.append(lease)
        return leases

    def _merged(self, limit: int) -> list[Record]:
        """Up to `limit` records from the front, where some came back."""
        records: list[Record] = []
        while len(records) < limit and len(self):
            records.append(self._pop_early() if self.early else self.fresh.popleft())
            self.redelivered += records[-1][8] is not None
        return records

    def restore(self, record: Record, lane: Lane | None = None) -> None:
        heapq.heappush(self.early, (offset_of(record), record))

    def insert(self, record: Record, place: Place) -> None:
        self.restore(record)

    def remove(self, offset: int) -> Record | None:
        for index, (early, record) in enumerate(self.early):
            if early == offset:
                del self.early[index]
                heapq.heapify(self.early)
                return record
        index = bisect_left(self.fresh, offset, key=offset_of)
        if index == len(self.fresh) or offset_of(self.fresh[index]) != offset:
            return None
        record = self.fresh[index]
        del self.fresh[index]
        return record

    def drop_oldest(self, newcomer: Record) -> Record:
        if self.early:
            return self._pop_early()
        return self.fresh.popleft() if self.fresh else newcomer

    def clear(self) -> list[Record]:
        records = [*(record for _, record in self.early), *self.fresh]
        self.early.clear()
        self.fresh.clear()
        return records

    def oldest(self) -> Record | None:
        heads = [self.early[0][1]] if self.early else []
        heads += [self.fresh[0]] if self.fresh else []
        return min(heads, key=offset_of, default=None)

    def check(self) -> None:
        offsets = [offset_of(record) for record in self.fresh]
        assert offsets == sorted(offsets), "the deque is out of order"
        everything = [*offsets, *(offset for offset, _ in self.early)]
        assert len(set(everything)) == len(everything) == len(self), "a message waits twice"

    def _pop_early(self) -> Record:
        """The first of the heap and the deque, when the heap has one."""
        if self.fresh and offset_of(self.fresh[0]) < self.early[0][0]:
            return self.fresh.popleft()
        return heapq.heappop(self.early)[1]


FEW_LEVELS: Final = 64
"""Up to so many levels, empty ones may stay."""


class PriorityBacklog(Backlog):
    """Higher priority first: a FIFO for each priority that is in use, and a heap of those priorities.

    A level that has run empty stays until it comes up in the heap, so that queues that hover around empty do not make
    and unmake levels. `lowest` is there only when the overflow drops the oldest of the lowest priority.
    """

    __slots__ = ("count", "crowd", "heap", "kind", "levels", "lowest", "push", "push_many")

    def __init__(self, kind: type[Lease], drops_oldest: bool) -> None:
        self.kind = kind
        self.levels: dict[int, FifoBacklog] = {}
        self.heap: list[int] = []
        self.lowest: SortedList[int] | None = SortedList() if drops_oldest else None
        self.push = self._push
        self.push_many = self._push_many
        self.count = 0
        self.crowd = FEW_LEVELS
        self.redelivered = 0

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Record]:
        for priority in sorted(self.levels, reverse=True):
            yield from self.levels[priority]

    def _push(self, record: Record) -> None:
        level = self.levels.get(record[5])
        if level is None:
            level = self._new_level(record[5])
        level.push(record)
        self.count += 1

    def _push_many(self, records: Sequence[Record]) -> None:
        for record in records:
            self._push(record)

    def lend(self, holder: Holder) -> Lease | None:
        level = self._highest()
        if level is None:
            return None
        self.count -= 1
        lease = level.lend(holder)
        assert lease is not None, "the highest level has something ready"
        self.redelivered += lease._record[8] is not None
        return lease

    def lend_many(self, holder: Holder, limit: int) -> list[Lease]:
        leases: list[Lease] = []
        while len(leases) < limit and (level := self._highest()) is not None:
            leases += level.lend_many(holder, limit - len(leases))
        self.count -= len(leases)
        self.redelivered += sum(lease._record[8] is not None for lease in leases)
        return leases

    def restore(self, record: Record, lane: Lane | None = None) -> None:
        level = self.levels.get(record[5])
        if level is None:
            level = self._new_level(record[5])
        level.restore(record)
        self.count += 1

    def insert(self, record: Record, place: Place) -> None:
        self.restore(record)

    def remove(self, offset: int) -> Record | None:
        for level in self.levels.values():
            if (record := level.remove(offset)) is not None:
                self.count -= 1
                return record
        return None

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


def offset_of(record: Record) -> int:
    """The offset of a record that has entered, as all in a backlog have."""
    return record[0]  # type: ignore[return-value]
