"""The deadlines of one queue: when its messages expire, and when its leases run out.

Most never come, since the message is settled before. So a queue has one alarm for all deadlines of a kind, and an ack
needs not look for its own. They keep no message alive: a deadline names an offset, or a lease weakly.
"""

from __future__ import annotations

import heapq
import itertools
import weakref
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, Generic, TypeVar

from eventbus._core.leases import Lease
from eventbus._core.schedule import NEVER, Alarm, Schedule

T = TypeVar("T")

FEW: Final = 1024
"""So many are kept without a look."""

SLICE: Final = 256
"""How many are met in one hold of the lock."""

_tickets = itertools.count()


class Deadline(Alarm, ABC):
    """An alarm that stands for the first of many due times."""

    __slots__ = ("schedule",)

    def __init__(self, schedule: Schedule) -> None:
        super().__init__()
        self.schedule = schedule

    def fire(self, now: float) -> None:
        self.meet(now)
        first = self.first()
        if first < self.due:  # also if something that is due later was added meanwhile
            self.schedule.set(self, first)

    @abstractmethod
    def meet(self, now: float) -> None:
        """Do a slice of what is due."""

    @abstractmethod
    def first(self) -> float:
        """When the next is due."""


class Deadlines(Deadline, Generic[T]):
    """Due times, each of one thing: a row of those that come in order, as most do, and a heap of the others.

    `living` tells which of them still count, `met` does what is due. Those that are void are swept out when they may be
    half of all. What itself tells when it is due need not be noted: `expect` is enough, and `unnoted` finds those of it
    that are left when the first may be due.
    """

    __slots__ = ("heap", "limit", "living", "met", "row", "unnoted", "unseen")

    def __init__(
        self,
        schedule: Schedule,
        living: Callable[[], Callable[[T], bool]],
        met: Callable[[list[T], float], None],
        unnoted: Callable[[], Iterable[tuple[float, T]]] = tuple,
    ) -> None:
        super().__init__(schedule)
        self.living = living
        self.met = met
        self.unnoted = unnoted
        self.unseen = NEVER
        """Nothing that is not noted down is due before."""
        self.row: deque[tuple[float, T]] = deque()
        self.heap: list[tuple[float, int, T]] = []
        self.limit = FEW

    def __len__(self) -> int:
        return len(self.row) + len(self.heap)

    def add(self, due: float, thing: T) -> None:
        """One more."""
        self._note(due, thing)
        if due < self.due:
            self.schedule.set(self, due)

    def expect(self, due: float) -> None:
        """Something that is not noted down is due sooner than all others of its kind."""
        self.unseen = due
        if due < self.due:
            self.schedule.set(self, due)

    def _note(self, due: float, thing: T) -> None:
        row = self.row
        if not row or due >= row[-1][0]:
            row.append((due, thing))
            if len(row) > self.limit:
                self.sweep()
        else:
            heapq.heappush(self.heap, (due, next(_tickets), thing))
            if len(self.heap) > self.limit:
                self.sweep()

    def sweep(self) -> None:
        """Forget those that do not count any more."""
        lives = self.living()
        self.row = deque(entry for entry in self.row if lives(entry[1]))
        self.heap = [entry for entry in self.heap if lives(entry[2])]
        heapq.heapify(self.heap)
        self.limit = max(FEW, 2 * len(self))

    def clear(self) -> None:
        """Forget all."""
        self.row.clear()
        self.heap.clear()
        self.unseen = NEVER
        self.schedule.cancel(self)

    def meet(self, now: float) -> None:
        if self.unseen <= now:
            self.unseen = NEVER
            for due, thing in self.unnoted():
                self._note(due, thing)
        met: list[T] = []
        while self._first_noted() <= now and len(met) < SLICE:
            if self.heap and (not self.row or self.heap[0][0] < self.row[0][0]):
                met.append(heapq.heappop(self.heap)[2])
            else:
                met.append(self.row.popleft()[1])
        self.met(met, now)

    def first(self) -> float:
        return min(self._first_noted(), self.unseen)

    def _first_noted(self) -> float:
        return min(self.row[0][0] if self.row else NEVER, self.heap[0][0] if self.heap else NEVER)


class Terms(Deadline):
    """The terms of leases. Each lease knows its own, so nothing is noted down when it starts.

    When the first term may be over, all leases that are out are looked at, and put in order; the next look comes when
    the first of those is due that have started since.
    """

    __slots__ = ("known", "out", "over", "unseen")

    def __init__(
        self, schedule: Schedule, out: Callable[[], Iterable[Lease]], over: Callable[[list[Lease]], None]
    ) -> None:
        super().__init__(schedule)
        self.out = out
        self.over = over
        self.known: deque[tuple[float, weakref.ref[Lease]]] = deque()
        self.unseen = NEVER
        """No term is over before that has started since the last look."""

    def start(self, lease: Lease, due: float) -> None:
        """Its term is over then, and at no other time."""
        lease._due = due
        if due < self.unseen:
            self.unseen = due
            if due < self.due:
                self.schedule.set(self, due)

    def clear(self) -> None:
        """Forget all."""
        self.known.clear()
        self.unseen = NEVER
        self.schedule.cancel(self)

    def meet(self, now: float) -> None:
        if self.unseen <= now:
            self._look()
        over: list[Lease] = []
        while self.known and self.known[0][0] <= now and len(over) < SLICE:
            due, known = self.known.popleft()
            lease = known()
            if lease is not None and lease._due == due:
                over.append(lease)
        self.over(over)

    def first(self) -> float:
        return min(self.known[0][0] if self.known else NEVER, self.unseen)

    def _look(self) -> None:
        self.unseen = NEVER
        terms = [(lease._due, lease) for lease in self.out() if hasattr(lease, "_due")]
        terms.sort(key=lambda term: term[0])
        self.known = deque((due, weakref.ref(lease)) for due, lease in terms)
