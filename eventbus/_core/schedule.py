"""What is due, and when: one heap for all that a bus does later.

Setting and cancelling are O(log n). What was cancelled or set anew stays in the heap until it comes up or makes up
half of it, as asyncio does with its timers. There are two: of one the times are those of the monotonic clock (delays,
leases), of the other those of the calendar (expiry).
"""

from __future__ import annotations

import heapq
import itertools
from typing import Final

from eventbus._core.errands import Errand, Errands

NEVER: Final = float("inf")

FEW: Final = 64
"""So many that are dead may always stay."""


class Alarm:
    """Something to do at a time; `due` is NEVER while it is not set."""

    __slots__ = ("due", "ticket")

    quiet = False
    """Whether nobody can be waiting for it."""

    def __init__(self) -> None:
        self.due = NEVER
        self.ticket = 0

    def fire(self, now: float) -> None:
        """Under the lock: it is due."""


class Schedule:
    """Alarms by the time at which they are due; those of one time in the order in which they were set."""

    __slots__ = ("dead", "errands", "first", "heap", "ring", "tickets")

    def __init__(self, errands: Errands, ring: Errand) -> None:
        self.errands = errands
        self.ring = ring
        """What tells the runtime that something is due sooner than all before."""
        self.heap: list[tuple[float, int, Alarm]] = []
        self.first = NEVER
        """No alarm is due before; may be read without the lock."""
        self.dead = 0
        self.tickets = itertools.count(1)

    def __len__(self) -> int:
        return len(self.heap) - self.dead

    def expects(self) -> bool:
        """Whether something is to come that somebody may wait for."""
        return any(_lives(entry) and not entry[2].quiet for entry in self.heap)

    def set(self, alarm: Alarm, due: float) -> None:
        """Have it fire at this time, and no longer at another."""
        if alarm.due != NEVER:
            self.dead += 1
        alarm.due = due
        alarm.ticket = ticket = next(self.tickets)
        heapq.heappush(self.heap, (due, ticket, alarm))
        if due < self.first:
            self.first = due
            self.errands.append(self.ring)

    def cancel(self, alarm: Alarm) -> None:
        """Have it not fire."""
        if alarm.due == NEVER:
            return
        alarm.due = NEVER
        self.dead += 1
        if self.dead > FEW and self.dead * 2 > len(self.heap):
            self.heap = [entry for entry in self.heap if _lives(entry)]
            heapq.heapify(self.heap)
            self.dead = 0

    def pop(self, now: float) -> Alarm | None:
        """Take out the next alarm that is due, to be fired; sets `first` when there is none."""
        heap = self.heap
        while heap and (heap[0][0] <= now or not _lives(heap[0])):
            entry = heapq.heappop(heap)
            if _lives(entry):
                entry[2].due = NEVER
                return entry[2]
            self.dead -= 1
        self.first = heap[0][0] if heap else NEVER
        return None

    def check(self) -> None:
        """Assert all that must hold between any two calls."""
        assert sum(not _lives(entry) for entry in self.heap) == self.dead
        assert all(self.first <= entry[0] for entry in self.heap), "something is due before the first"


def _lives(entry: tuple[float, int, Alarm]) -> bool:
    return entry[2].ticket == entry[1] and entry[2].due != NEVER
