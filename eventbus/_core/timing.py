"""What a queue does with time: messages that come later, deliveries whose lease runs out, messages that expire.

A message that is delayed is in no backlog: it enters when it is due, at the place that its offset gives it, and always
fits. With lanes, one that waits for its retry keeps its lane.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from eventbus._core.backlog import offset_of
from eventbus._core.deadlines import Deadlines, Terms
from eventbus._core.dedup import Seen
from eventbus._core.delays import Delays
from eventbus._core.graves import bury, plain
from eventbus._core.guard import Guarded
from eventbus._core.leases import Fate, Lease
from eventbus._core.requests import request_of
from eventbus.message import Past, Record, Undecoded, mortal
from eventbus.policy import Policy

if TYPE_CHECKING:
    from eventbus._core.engine import Engine
    from eventbus._core.lanes import Lane, Place
    from eventbus._core.shelves import State


class Timed(Guarded):
    """A queue's messages in time."""

    __slots__ = ("_plain_push", "_plain_push_at", "expiry", "noted", "seen", "terms", "ttl")

    def __init__(self, engine: Engine, name: str, policy: Policy, *, private: bool) -> None:
        super().__init__(engine, name, policy, private=private)
        self.lease = policy.lease
        self.ttl = policy.ttl
        self.delays = Delays(engine.schedule, self._arrive)
        self.delayed = self.delays.records
        self.terms = Terms(engine.schedule, self._leases_that_run, self._run_out)
        self.expiry: Deadlines[int] = Deadlines(engine.calendar, self._offsets_that_wait, self._expire, self._unnoted)
        self.noted = 0
        """Of messages with higher offsets alone, some may be waiting whose expiry is noted nowhere."""
        self.seen = None if policy.dedup is None else Seen(policy.dedup, engine.schedule)
        self.timed = policy.lease is not None or policy.ttl is not None
        if policy.ttl is not None and self.lanes is None:
            self._plain_push, self.push = self.push, self._push_mortal
        elif policy.ttl is not None:
            self._plain_push_at, self.push_at = self.push_at, self._push_mortal_at

    # delays

    def delay(self, record: Record, place: Place, due: float) -> None:
        """Keep a new message until it is due; it counts as entered."""
        offset = offset_of(record)
        if place is not None:
            self.delays.places[offset] = place
        self.delays.add(offset, record, due)
        self._watch_expiry(record)

    def delay_retry(self, record: Record, lane: Lane | None, due: float) -> None:
        """Keep what has failed until it is due."""
        offset = offset_of(record)
        self.delays.lanes[offset] = lane
        self.delays.add(offset, record, due)
        self._watch_expiry(record)

    def _arrive(self, records: list[Record]) -> None:
        """These were delayed until now."""
        places, lanes = self.delays.places, self.delays.lanes
        if self.depot is not None:
            records = [record for record in records if not self._shelved(record)]
        if self.plain is not None:
            self.plain.restore_many(records)
            self.simple = False  # until `changed` has looked: they may stand in a row
            for record in records if lanes else ():
                lanes.pop(offset_of(record), None)
        else:
            for record in records:
                offset = offset_of(record)
                if offset in lanes:
                    self.backlog.restore(record, lanes.pop(offset))
                else:
                    self.backlog.insert(record, places.pop(offset, None))
        self.engine.stirred.add(self)

    def _shelved(self, record: Record) -> bool:
        """Whether what is due now is left on the disk, behind what was not read yet."""
        assert self.depot is not None
        offset = offset_of(record)
        if offset in self.delays.lanes or not self.depot.shelve(record, self.delays.places.get(offset)):
            return False
        self.delays.places.pop(offset, None)
        return True

    def withdraw(self, offset: int) -> Record:
        """What is delayed will never be due."""
        lanes = self.delays.lanes
        if offset in lanes:
            self.backlog.settled(lanes[offset])
        return self.delays.withdraw(offset)

    def withdraw_all(self) -> list[Record]:
        for lane in self.delays.lanes.values():
            self.backlog.settled(lane)
        records = list(self.delayed.values())
        self.delays.clear()
        return records

    # failure

    def failed_once(self, lease: Lease, error: str | None, delay: float | None, time: float) -> None:
        """A delivery failed: back after a while, or to the dead letters after the last attempt."""
        self.failed += 1
        failures, error = lease.failures + 1, plain(error)
        retry = self.policy.retry
        if (retry.attempts is not None and failures >= retry.attempts) or request_of(lease.record) is not None:
            self.die(lease, "failed", error, time)
            return
        if delay is None:
            delay = retry.backoff.after(failures)
        record: Record = (*lease.record[:8], Past(lease.attempt, failures, error))
        if self.depot is not None:
            self.depot.state(offset_of(record), (lease.attempt, failures, error, time + delay))
        if delay > 0:
            self.delay_retry(record, lease.lane, self.engine.now + delay)
        else:
            self._restore(record, lease.lane)

    def die(self, lease: Lease, reason: str, error: str | None, time: float) -> None:
        """What was lent is dead."""
        self.backlog.settled(lease.lane)
        self.dead += 1
        bury(self, lease.record, reason, lease.attempt, error, time)

    def refuse(self, record: Record, time: float) -> None:
        """What cannot be decoded is dead as soon as it has entered: to the dead letters, with its raw bytes."""
        self.dead += 1
        bury(self, record, "rejected", 0, record[2].error, time)

    # leases

    def start_leases(self, leases: Iterable[Lease]) -> None:
        """From now on the time of these is running."""
        assert self.lease is not None
        due = self.engine.now + self.lease
        for lease in leases:
            self.terms.start(lease, due)

    def extend(self, lease: Lease, seconds: float) -> bool:
        """Let a lease run out so many seconds from now: whether it was still running."""
        with self.lock:
            if not lease.is_out():
                return False
            if self.lease is not None:
                self.terms.start(lease, self.engine.now + seconds)
            return True

    def _leases_that_run(self) -> list[Lease]:
        return [lease for holder in self.all_holders() for lease in list(holder.out)]

    def _run_out(self, over: list[Lease]) -> None:
        for lease in over:
            try:
                lease._holder.out.remove(lease)
            except KeyError:  # it was settled
                continue
            lease._fate = Fate.STALE
            self.failed_once(lease, f"its lease of {self.lease:g} s ran out", None, self.engine.time)
            self.engine.tell("settled", lease, Fate.NACKED.value)
        self.engine.stirred.add(self)

    # expiry

    def expires(self, record: Record) -> float | None:
        """When a message expires in this queue, in seconds since the epoch."""
        rare = record[7]
        if rare is not None and rare.expires is not None:
            return rare.expires
        return None if self.ttl is None else record[1] + self.ttl

    def bounded(self, record: Record, wait: float = 0.0) -> Record:
        """The record of a message that enters, which lives no longer than the policy allows once it is ready."""
        return record if self.ttl is None else mortal(record, record[1] + wait + self.ttl)

    def insert(self, record: Record, place: Place) -> None:
        """Put in a message at the place that its offset gives it."""
        self.backlog.insert(record, place)
        self._watch_expiry(record)

    def enter_again(self, record: Record, place: Place, state: State, time: float) -> None:
        """Put in what was read from the disk, as it was when it was written."""
        attempts, failures, error, due = state
        if attempts:
            record = (*record[:8], Past(attempts, failures, error))
        wait = 0.0 if due is None or attempts else due - record[1]  # what lives for a while does so from then on
        record = self.bounded(record, wait)
        if isinstance(record[2], Undecoded) and not (record[7] and record[7].deaths):
            self.refuse(record, time)
        elif due is None or due <= time:
            self.insert(record, place)
        elif attempts and self.lanes is not None:
            self.delay_retry(record, self.lanes.hold(place), self.engine.now + due - time)
        else:
            self.delay(record, place, self.engine.now + due - time)

    def _watch_expiry(self, record: Record) -> None:
        expires = self.expires(record)
        if expires is not None:
            self.timed = True
            self.expiry.add(expires, offset_of(record))

    def _push_mortal(self, record: Record) -> None:
        self._plain_push(record)
        expires = record[1] + self.ttl  # type: ignore[operator]  # it has one, or this is not called
        if expires < self.expiry.unseen:
            self.expiry.expect(expires)

    def _push_mortal_at(self, record: Record, place: Place) -> None:
        self._plain_push_at(record, place)
        expires = record[1] + self.ttl  # type: ignore[operator]  # the same
        if expires < self.expiry.unseen:
            self.expiry.expect(expires)

    def _unnoted(self) -> Iterator[tuple[float, int]]:
        """What was put since the last look, and has not been taken: when it expires, if by the policy alone.

        The next look comes when the first that is put after this one may expire: each is looked at twice at most, and
        most never.
        """
        assert self.ttl is not None
        before, self.noted = self.noted, self.engine.offset
        for record in self._records_that_wait():
            rare = record[7]
            if offset_of(record) > before and (rare is None or rare.expires is None):
                yield record[1] + self.ttl, offset_of(record)

    def _restore(self, record: Record, lane: Lane | None) -> None:
        super()._restore(record, lane)
        if self.timed:
            self._watch_expiry(record)

    def _records_that_wait(self) -> list[Record]:
        """What is ready, in order, and then what is reserved."""
        reserved = [lease.record for holder in self.holders for lease in holder.buffer.copy()]
        return [*self.backlog, *reserved]

    def _offsets_that_wait(self) -> Callable[[int], bool]:
        waiting = set(map(offset_of, self._records_that_wait()))
        waiting.update(self.delayed)
        return waiting.__contains__

    def _expire(self, offsets: list[int], now: float) -> None:
        """What waits and is past its time dies. What is out lives until it comes back."""
        self.reclaim()
        self.note_level()
        records = [self.withdraw(offset) for offset in offsets if offset in self.delayed]
        records += self.backlog.remove_many(offsets)
        turns = {offset: turn for turn, offset in enumerate(offsets)}
        for record in sorted(records, key=lambda record: turns[offset_of(record)]):
            self.dead += 1
            bury(self, record, "expired", record[8].attempts if record[8] else 0, None, now)
        self.engine.stirred.add(self)
