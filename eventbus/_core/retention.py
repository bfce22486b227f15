"""What a topic keeps of its past, for replay.

A topic forgets from the front: what exceeds `count`, and what is older than `age`, for which it has one alarm, for the
first of its messages. With compaction it keeps the last message of each key only, so that reading it gives the present
state of every key rather than its history, as Kafka's compacted topics. A tombstone, a message with a key whose body is
None, takes the place of the last message of its key like any other; it is let go a day later, as Kafka does, so that
those who read slowly learn of it too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from eventbus._core.backlog import offset_of
from eventbus._core.errands import Errands, LetGo
from eventbus._core.lanes import as_bytes
from eventbus._core.ring import Ring
from eventbus._core.schedule import NEVER, Alarm, Schedule
from eventbus.message import Record
from eventbus.policy import Retention

if TYPE_CHECKING:
    from sortedcontainers import SortedDict

MOURNING: Final = 86_400.0
"""Seconds that a tombstone is kept."""

FEW: Final = 64
"""So many tombstones may always stay in their row."""

SLICE: Final = 256
"""How many are let go in one hold of the lock."""


class Table:
    """The last record of each key, and all that have none, by offset."""

    __slots__ = ("latest", "records", "tombstones")

    def __init__(self) -> None:
        from sortedcontainers import SortedDict  # few need it, and its import takes long

        self.records: SortedDict[int, Record] = SortedDict()
        self.latest: dict[bytes, int] = {}
        self.tombstones: deque[tuple[float, int]] = deque()
        """When each is to go, and its offset; those that went before are swept out when they are more than half."""

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records.values())

    def push(self, record: Record) -> None:
        offset, key = offset_of(record), record[3]
        self.records[offset] = record
        if key is not None:
            self.latest[as_bytes(key)] = offset
            if record[2] is None:
                self.tombstones.append((record[1] + MOURNING, offset))
                if len(self.tombstones) > FEW and len(self.tombstones) > 2 * len(self.records):
                    self.tombstones = deque(entry for entry in self.tombstones if entry[1] in self.records)

    insert = push

    def is_superseded(self, record: Record) -> bool:
        """Whether a newer record has its key."""
        key = record[3]
        return key is not None and self.latest.get(as_bytes(key), 0) > offset_of(record)

    def superseded_by(self, record: Record) -> list[Record]:
        """Take out the record that this one, which comes now, replaces."""
        key = record[3]
        offset = None if key is None else self.latest.get(as_bytes(key))
        return [] if offset is None else [self._remove(offset)]

    def first(self) -> Record | None:
        return self.records.peekitem(0)[1] if self.records else None

    def last(self) -> Record | None:
        return self.records.peekitem()[1] if self.records else None

    def popleft(self) -> Record | None:
        return self._remove(self.records.peekitem(0)[0]) if self.records else None

    def pop_tombstone(self, now: float) -> Record | None:
        """Take out one that has been here for long enough."""
        while self.tombstones and self.tombstones[0][0] <= now:
            _, offset = self.tombstones.popleft()
            if offset in self.records:
                return self._remove(offset)
        return None

    def page(self, after: int, limit: int) -> list[Record]:
        offsets = self.records.irange(after + 1)
        return [self.records[offset] for _, offset in zip(range(limit), offsets, strict=False)]

    def check(self) -> None:
        keyed = {as_bytes(record[3]): offset for offset, record in self.records.items() if record[3] is not None}
        assert keyed == self.latest, "what is kept is not the last of each key"

    def _remove(self, offset: int) -> Record:
        record: Record = self.records.pop(offset)
        if record[3] is not None:
            del self.latest[as_bytes(record[3])]
        return record


class Retained(Alarm):
    """What one topic keeps. `lost_through` is the highest offset that was let go from the front."""

    __slots__ = ("calendar", "errands", "lost_through", "retention", "store", "table", "timed")

    def __init__(self, retention: Retention, calendar: Schedule, errands: Errands) -> None:
        super().__init__()
        self.retention = retention
        self.calendar = calendar
        self.errands = errands
        self.timed = retention.age is not None or retention.compact
        self.table = Table() if retention.compact else None
        self.store: Ring | Table = Ring() if self.table is None else self.table
        self.lost_through = 0

    def __len__(self) -> int:
        return len(self.store)

    def keep(self, record: Record, late: bool = False) -> list[Record]:
        """Keep one more, and return what is let go for it. One that comes late is older than the last."""
        if late and self._is_past(record):
            return [record]
        gone = [] if self.table is None else self.table.superseded_by(record)
        if late:
            self.store.insert(record)
        else:
            self.store.push(record)
        if self.retention.count is not None and len(self.store) > self.retention.count:
            gone += self._pop_first()
        if self.timed:
            self._wait_for_the_next()
        return gone

    def _is_past(self, record: Record) -> bool:
        """Whether it would have been let go by now, had it come in time."""
        return offset_of(record) < self.lost_through or (self.table is not None and self.table.is_superseded(record))

    def page(self, after: int, limit: int) -> list[Record]:
        """Up to `limit` records with offsets greater than `after`, left where they are."""
        return self.store.page(after, limit)

    def first_since(self, time: float) -> int | None:
        """The offset of the first record of this time or later, if there is one."""
        return next((record[0] for record in self.store if record[1] >= time), None)

    def last_offset(self) -> int:
        """The offset of the last record that is kept, or 0."""
        last = self.store.last()
        return 0 if last is None else offset_of(last)

    def fire(self, now: float) -> None:
        gone: list[Record] = []
        while len(gone) < SLICE and (old := self._pop_old(now)):
            gone += old
        self.errands.append(LetGo(gone))
        self._wait_for_the_next()

    def _pop_old(self, now: float) -> list[Record]:
        """Take out one that is to go by now."""
        first = self.store.first()
        if first is not None and self._end_of(first) <= now:
            return self._pop_first()
        tombstone = None if self.table is None else self.table.pop_tombstone(now)
        return [] if tombstone is None else [tombstone]

    def _pop_first(self) -> list[Record]:
        first = self.store.popleft()
        assert first is not None, "there is one"
        self.lost_through = offset_of(first)
        return [first]

    def _end_of(self, record: Record) -> float:
        return NEVER if self.retention.age is None else record[1] + self.retention.age

    def _wait_for_the_next(self) -> None:
        """See to it that the alarm is no later than the first that is to go."""
        first = self.store.first()
        due = NEVER if first is None else self._end_of(first)
        if self.table is not None and self.table.tombstones:
            due = min(due, self.table.tombstones[0][0])
        if due < self.due:
            self.calendar.set(self, due)

    def check(self) -> None:
        """Assert all that must hold between any two calls."""
        self.store.check()
        assert self.retention.count is None or len(self.store) <= self.retention.count
        first = self.store.first()
        assert first is None or self.due <= self._end_of(first), "nobody looks when the first is to go"
