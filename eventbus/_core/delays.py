"""The messages of one queue that come later.

They lie by offset, and a heap of plain numbers says when something is due: cheaper to compare than pairs, and nothing
for the garbage collector to walk. Who is due at one time finds itself by that time: the first in `alone`, the others in
`crowds`. What is withdrawn leaves its time behind, until that comes up or such times make up half of all. An offset
that was withdrawn comes back only after a seek, which begins with `clear`.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import TYPE_CHECKING

from eventbus._core.deadlines import SLICE, Deadline
from eventbus._core.schedule import FEW, NEVER, Schedule
from eventbus.message import Record

if TYPE_CHECKING:
    from eventbus._core.lanes import Lane, Place


class Delays(Deadline):
    """What is delayed and until when; one alarm for all of it."""

    __slots__ = ("alone", "arrive", "crowds", "heap", "lanes", "places", "records", "void")

    def __init__(self, schedule: Schedule, arrive: Callable[[list[Record]], None]) -> None:
        super().__init__(schedule)
        self.arrive = arrive
        self.records: dict[int, Record] = {}
        self.places: dict[int, Place] = {}
        """Where those go that have not been out yet, and have a lane."""
        self.lanes: dict[int, Lane | None] = {}
        """Those that wait for a retry, each with the lane that it keeps until then, if it has one."""
        self.heap: list[float] = []
        """Each time at which something is due, once."""
        self.alone: dict[float, int] = {}
        self.crowds: dict[float, list[int]] = {}
        self.void = 0
        """How many that were withdrawn are still found by their times."""

    def add(self, offset: int, record: Record, due: float) -> None:
        """One more; its place or lane is noted before."""
        self.records[offset] = record
        if due in self.alone:
            self.crowds.setdefault(due, []).append(offset)
            return
        self.alone[due] = offset
        heapq.heappush(self.heap, due)
        if due < self.due:
            self.schedule.set(self, due)

    def withdraw(self, offset: int) -> Record:
        """It will never be due. Its lane, if it keeps one, is the caller's."""
        record = self.records.pop(offset)
        self.places.pop(offset, None)
        self.lanes.pop(offset, None)
        self.void += 1
        if not self.records:
            self.clear()
        elif self.void > FEW + len(self.records):
            self._sweep()
        return record

    def _sweep(self) -> None:
        """Forget the times of what was withdrawn."""
        dues = [(due, offset) for due, offset in self.alone.items() if offset in self.records]
        dues += [(due, offset) for due, crowd in self.crowds.items() for offset in crowd if offset in self.records]
        self.alone.clear()
        self.crowds.clear()
        self.void = 0
        for due, offset in dues:
            if self.alone.setdefault(due, offset) != offset:
                self.crowds.setdefault(due, []).append(offset)
        self.heap = list(self.alone)
        heapq.heapify(self.heap)

    def clear(self) -> None:
        """Forget all."""
        for everything in (self.records, self.places, self.lanes, self.heap, self.alone, self.crowds):
            everything.clear()
        self.void = 0
        self.schedule.cancel(self)

    def meet(self, now: float) -> None:
        heap, alone, crowds, take_out = self.heap, self.alone, self.crowds, self.records.pop
        arrived: list[Record] = []
        for _ in range(SLICE):
            if not heap or (due := heap[0]) > now:
                break
            offset = self._next_of_crowd(due) if due in crowds else alone.pop(heapq.heappop(heap))
            record = take_out(offset, None)
            if record is None:
                self.void -= 1
            else:
                arrived.append(record)
        self.arrive(arrived)

    def _next_of_crowd(self, due: float) -> int:
        crowd = self.crowds[due]
        offset = crowd.pop()
        if not crowd:
            del self.crowds[due]
        return offset

    def first(self) -> float:
        return self.heap[0] if self.heap else NEVER

    def check(self) -> None:
        """Assert all that must hold between any two calls."""
        known = [*self.alone.values(), *(offset for crowd in self.crowds.values() for offset in crowd)]
        assert sorted(self.heap) == sorted(self.alone)
        assert self.crowds.keys() <= self.alone.keys()
        assert all(self.crowds.values())
        assert self.records.keys() <= set(known), "a delayed message is never due"
        assert self.void == len(known) - len(self.records)
        assert self.places.keys() <= self.records.keys() >= self.lanes.keys()
        assert self.due <= self.first(), "the alarm comes too late"
        assert self.records or not known
