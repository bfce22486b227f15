"""What waits in a queue, in the order of its policy.

A backlog answers one question, "which message next?", and knows nothing of who asks or waits. `tail` counts what
ever entered by `push`; what comes back enters by `restore` and takes its original place.
"""

from __future__ import annotations

import heapq
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from sortedcontainers import SortedList

from eventbus._core.leases import OUT, Lease
from eventbus._core.ring import Ring
from eventbus.message import Record

if TYPE_CHECKING:
    from eventbus._core.consumer import Holder
    from eventbus._core.lanes import Lane, Place

class Backlog(ABC):
    """The messages of one queue that are ready, in the order in which they are to be delivered."""

    __slots__ = ()

    tail: int
    redelivered: int

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __iter__(self) -> Iterator[Record]:
        """All of it, in the order in which it would be delivered."""

    @abstractmethod
    def push(self, record: Record) -> None:
        """A new message; its offset is higher than all before."""

    @abstractmethod
    def push_many(self, records: Sequence[Record]) -> None: ...

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

    def settled(self, lane: Lane | None) -> None:
        """What a lease had taken out of `lane` will not come back."""

    def attach(self, holder: Holder) -> None:
        """A consumer came."""

    def detach(self, holder: Holder) -> None:
        """A consumer went; all that it had out has come back."""


class FifoBacklog(Ring, Backlog):
    """By offset: a ring for what comes, and a heap for what comes back; lending merges them."""

    __slots__ = ("early", "kind", "redelivered")

    def __init__(self, kind: type[Lease]) -> None:
        super().__init__()
        self.kind = kind
        self.early: list[tuple[int, Record]] = []
        self.redelivered = 0

    def __len__(self) -> int:
        return self.tail - self.head - self.gone + len(self.early)

    def __iter__(self) -> Iterator[Record]:
        return heapq.merge((record for _, record in sorted(self.early)), super().__iter__(), key=offset_of)

    def lend(self, holder: Holder) -> Lease | None:
        if self.early:
            record: Record | None = self._pop_early()
            self.redelivered += record is not None and record[8] is not None
        else:
            record = self.popleft()
        if record is None:
            return None
        kind = self.kind
        lease = kind.__new__(kind)
        lease._record = record
        lease.body = record[2]
        lease._holder = holder
        lease._lane = None
        lease._fate = OUT
        return lease

    def lend_many(self, holder: Holder, limit: int) -> list[Lease]:
        records: list[Record] = []
        while self.early and len(records) < limit:
            records.append(self._pop_early())
            self.redelivered += records[-1][8] is not None
        records += self.take(limit - len(records))
        kind, new, leases = self.kind, self.kind.__new__, []
        for record in records:
            lease = new(kind)
            lease._record = record
            lease.body = record[2]
            lease._holder = holder
            lease._lane = None
            lease._fate = OUT
            leases.append(lease)
        return leases

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
        return super().remove(offset)

    def pop(self) -> Record | None:
        return self._pop_early() if self.early else self.popleft()

    def drop_oldest(self, newcomer: Record) -> Record:
        return self.pop() or newcomer

    def clear(self) -> list[Record]:
        records = [*(record for _, record in self.early), *super().clear()]
        self.early.clear()
        return records

    def oldest(self) -> Record | None:
        heads = [head for head in (self.first(), self.early[0][1] if self.early else None) if head is not None]
        return min(heads, key=offset_of, default=None)

    def check(self) -> None:
        super().check()
        offsets = [offset_of(record) for record in self]
        assert len(set(offsets)) == len(offsets) == len(self), "a message waits twice"

    def _pop_early(self) -> Record:
        """The first of the heap and the ring, when the heap has one."""
        first = self.first()
        if first is not None and offset_of(first) < self.early[0][0]:
            self.popleft()
            return first
        return heapq.heappop(self.early)[1]


class PriorityBacklog(Backlog):
    """Higher priority first: a FIFO for each priority that is in use, and a heap of those priorities.

    A level that has run empty stays until it comes up in the heap, so that queues that hover around empty do not make
    and unmake levels. `lowest` is there only when the overflow drops the oldest of the lowest priority.
    """

    __slots__ = ("count", "heap", "kind", "levels", "lowest", "redelivered", "tail")

    def __init__(self, kind: type[Lease], drops_oldest: bool) -> None:
        self.kind = kind
        self.levels: dict[int, FifoBacklog] = {}
        self.heap: list[int] = []
        self.lowest: SortedList[int] | None = SortedList() if drops_oldest else None
        self.tail = 0
        self.count = 0
        self.redelivered = 0

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Record]:
        for priority in sorted(self.levels, reverse=True):
            yield from self.levels[priority]

    def push(self, record: Record) -> None:
        level = self.levels.get(record[5])
        if level is None:
            level = self._new_level(record[5])
        level.push(record)
        self.tail += 1
        self.count += 1

    def push_many(self, records: Sequence[Record]) -> None:
        for record in records:
            self.push(record)

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
            if level.early or level.first() is not None:
                return level
            self._retire(priority)
        return None

    def _new_level(self, priority: int) -> FifoBacklog:
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

