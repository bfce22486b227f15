"""Moving messages from one queue to the tail of another: what `redrive` tries. The faces do the waiting."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, Final

from eventbus._core.backlog import offset_of
from eventbus._core.entry import STALE
from eventbus._core.parcels import Parcel, Target
from eventbus._core.queue import QueueState
from eventbus._core.topic import Predicate
from eventbus._core.waiting import Waiter
from eventbus.causality import cause_in
from eventbus.isolating import Isolating
from eventbus.message import Record, Undecoded
from eventbus.publishing import Sending

if TYPE_CHECKING:
    from eventbus.journaling import Journaling

__all__ = ["GONE", "redriving"]

GONE: Final = STALE
"""What an attempt returns when the message is no longer there to be moved."""


class Move(Sending):
    """One message on its way: it leaves its queue in the moment in which it enters the other."""

    __slots__ = ("loads", "moved", "place", "record", "source", "unread")

    def __init__(
        self,
        source: QueueState,
        loads: int,
        target: QueueState,
        record: Record,
        time: float,
        isolating: Isolating,
        inside: bool,
        journaling: Journaling | None,
    ) -> None:
        _, _, body, key, headers, priority, topic, rare, _ = record
        if isinstance(body, Undecoded):
            sent_to = source.engine.wiring.topics.get(topic)
            body = isolating.again(body, topic, None if sent_to is None else sent_to.type, target.type)
        place = None if target.place is None else target.place(key)
        parcel = Parcel(topic, body, key, headers, priority, time, rare, [Target(target, place, body)], inside=inside)
        if journaling is not None and target.depot is not None:
            parcel.data, parcel.head = journaling.data_again(record)
        super().__init__(source.engine, lambda: parcel)
        self.unread = False
        """Whether it was on disk only."""
        self.source = source
        self.loads = loads
        """How often the source had been sought when this was found there."""
        self.record = record
        self.moved = False
        self.place = None if source.place is None else source.place(key)

    def attempt(self, waiter: Waiter | None = None) -> int:
        """Its new offset, GONE, or 0 if there is no room; then a waiter is parked."""
        offset = offset_of(self.record)
        with self.engine.lock:
            entered = 0
            try:
                if not self._take_out(offset):
                    if waiter is not None:
                        self.give_up(waiter)
                    return GONE
                try:
                    entered = self.engine.entry.send(self.parcel, waiter)
                finally:
                    if not entered:
                        self._put_back()
                self.moved = entered > 0
                self.sent = posting = self.parcel.posting
                if posting is not None and self.parcel in posting.parcels:
                    posting.moves = ((self.source, self.record, self.place),)
                    self.source.withheld += 1
                elif self.moved and self.source.depot is not None:
                    self.source.depot.settle(self.record)
                return entered
            finally:  # once it is in one of the two again: who waits for the end must not see it in neither
                self.source.changed()

    def _take_out(self, offset: int) -> bool:
        depot = self.source.depot
        self.unread = False
        if self.source.loading or self.source.loads != self.loads:  # what was ready there is forgotten, or about to be
            return False
        if self.source.take_out(offset):
            return True
        self.unread = depot is not None and depot.take_unread(self.record, self.place)
        return self.unread

    def _put_back(self) -> None:
        depot = self.source.depot
        if not (self.unread and depot is not None and depot.shelve(self.record, self.place)):
            self.source.put_back(self.record, self.place)


def redriving(
    source: QueueState,
    to: QueueState | None,
    predicate: Predicate,
    limit: int | None,
    time: float,
    isolating: Isolating,
    journaling: Journaling | None,
) -> Iterator[Move]:
    """The moves, in order: of what is ready now and the filter wants, to `to` or to the queue in which it died last."""
    test = predicate.test
    inside = cause_in(source.engine) is not None
    moved, loads = 0, source.loads
    for record in chain(source.peek(1 << 62), _unread(source, journaling)):
        target = to or _origin_of(source, record)
        if target is None or (test is not None and not test(record)):
            continue
        if moved == limit:
            return
        move = Move(source, loads, target, record, time, isolating, inside, journaling)
        yield move
        moved += move.moved


def _unread(source: QueueState, journaling: Journaling | None) -> Iterator[Record]:
    """What is on disk only, once all that is in memory was looked at."""
    if journaling is not None and source.depot is not None and source.unread:
        for record, _ in journaling.reader.unread(source.engine, source.depot):
            yield record


def _origin_of(source: QueueState, record: Record) -> QueueState | None:
    """The queue in which a message died last, this one aside, where it may have died again and stayed."""
    deaths = record[7].deaths if record[7] is not None else ()
    name = next((death.queue for death in reversed(deaths) if death.queue != source.name), None)
    return None if name is None else source.engine.queues.get(name)
