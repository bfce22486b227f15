"""How messages go in and out of a queue.

The hot paths, `put`, `take` and `reserve`, run in one short hold of the lock each, and test one thing about all that is
off: see `guard`.

The lock is taken inside `try`, not by `with`: half the cost on CPython 3.11 (108 against 225 ns), and as safe: nothing
can interrupt between `try` and the end of `acquire()`, since the interpreter looks at signals only after a call
returns, and that is inside the `try`. It is an RLock, so that an interrupted `acquire()` can't release another
thread's hold.
"""

from __future__ import annotations

from typing import Any

from eventbus._core.consumer import Holder
from eventbus._core.graves import lose
from eventbus._core.guard import PLENTY, STRIDE
from eventbus._core.lanes import Place
from eventbus._core.leases import Lease
from eventbus._core.lending import Lending
from eventbus._core.waiting import Waiter
from eventbus.message import NO_HEADERS, Key, Rare, Record, Undecoded
from eventbus.policy import Overflow


class Flow(Lending):
    """Messages in and out."""

    __slots__ = ()

    # the hot paths

    def put(self, body: Any, key: Key, priority: int, time: float, rare: Rare | None = None) -> int:
        """Enter one message if that takes no more than a push: its offset, or 0 to go the long way, `Entry.send`."""
        lock = self.lock
        try:
            lock.acquire()
            credit = self.credit or self.grant()
            if not credit:
                return 0
            self.credit = credit - 1
            engine = self.engine
            engine.offset = offset = engine.offset + 1
            push = self.push
            push((offset, time, body, key, NO_HEADERS, priority, self.name, rare, None))
            line = self.getters
            if line.parked:
                if line.woken or self.special:
                    self.rouse_getters()
                else:
                    line.rouse_first(self.errands)
            return offset
        finally:
            lock.release()

    def put_in_lane(self, body: Any, key: Key, priority: int, time: float, rare: Rare | None = None) -> int:
        """The same for a queue with lanes."""
        assert self.lanes is not None
        assert self.place is not None
        place_of = self.place
        place = place_of(key)
        lock = self.lock
        try:
            lock.acquire()
            credit = self.credit or self.grant()
            if not credit:
                return 0
            self.credit = credit - 1
            engine = self.engine
            engine.offset = offset = engine.offset + 1
            push_at = self.push_at
            push_at((offset, time, body, key, NO_HEADERS, priority, self.name, rare, None), place)
            if self.getters.parked:
                self.rouse_getters()
            return offset
        finally:
            lock.release()

    def put_later(self, body: Any, key: Key, priority: int, time: float, due: float, rare: Rare | None = None) -> int:
        """The same for a message that is to be ready when it is due."""
        place = None if self.place is None else self.place(key)
        lock = self.lock
        try:
            lock.acquire()
            if self.ttl is not None or not (self.credit or self.grant()):
                return 0
            self.granted += 1
            engine = self.engine
            engine.offset = offset = engine.offset + 1
            if place is not None:
                self.delays.places[offset] = place
            self.delays.add(offset, (offset, time, body, key, NO_HEADERS, priority, self.name, rare, None), due)
            return offset
        finally:
            lock.release()

    def take(self, holder: Holder) -> Lease | None:
        """Lend the next message if that takes no more than a pop; None to go the long way, `take_in_turn`."""
        lock = self.lock
        try:
            lock.acquire()
            spare = self.spare
            if not spare or holder.closed:
                return None
            fresh = self.fresh
            level = len(fresh)
            if level and not self.early:  # `FifoBacklog.lend` in place, for speed
                if level > self.peak:
                    self.peak = level
                record = fresh.popleft()
                kind = self.kind
                lease = kind()
                lease._record = record
                lease.body = record[2]
                lease._holder = holder
            else:
                level = len(self.backlog)
                if level > self.peak:
                    self.peak = level
                found = self.backlog.lend(holder)
                if found is None:
                    return None
                lease = found
            self.spare = spare - 1
            holder.out.add(lease)
            return lease
        finally:
            lock.release()

    def take_in_turn(self, holder: Holder, waiter: Waiter) -> Lease | None:
        """Lend the next message, or park the waiter. Anything rarer than that somebody waits goes a longer way yet."""
        lock = self.lock
        try:
            lock.acquire()
            if self.special or self.prefetching or self.timed or holder.uncommon or holder.closed:
                return self.take_one(holder, waiter)
            line, backlog = self.getters, self.backlog
            called = waiter in line.woken
            available = len(self.fresh) + len(self.early) if self.simple else backlog.available(holder)
            if available <= (0 if called else len(line.parked) + len(line.woken)):
                line.park(waiter)
                self.free, self.spare = False, 0
                return None
            level = available if self.simple else len(backlog)
            if level > self.peak:
                self.peak = level
            lease = backlog.lend(holder)
            assert lease is not None, "what is available can be lent"
            holder.out.add(lease)
            if called:
                del line.woken[waiter]
            else:
                line.parked.pop(waiter, None)
            if self.putters.parked:
                self.rouse_putters()
                self._refresh_guard()
            elif line.parked or line.woken or self.eager:
                self._refresh_guard()
            elif called and available == 1:
                self.spare = 0  # who waited for this one may well wait for the next: let it come here at once
            else:
                self.free, self.spare = True, PLENTY
            return lease
        finally:
            lock.release()

    def take_timed(self, holder: Holder, now: float, time: float) -> Lease | None:
        """The same in a queue that needs a look at the time, unless something is due."""
        lock, engine = self.lock, self.engine
        try:
            lock.acquire()
            if not self.calm or holder.uncommon or holder.closed:
                return None
            if engine.schedule.first <= now or engine.calendar.first <= time:
                return None
            level = len(self.fresh)
            if level and self.simple and not self.early:
                if level > self.peak:
                    self.peak = level
                record = self.fresh.popleft()
                kind = self.kind
                lease = kind()
                lease._record = record
                lease.body = record[2]
                lease._holder = holder
            else:
                level = len(self.backlog)
                if level > self.peak:
                    self.peak = level
                found = self.backlog.lend(holder)
                if found is None:
                    return None
                lease = found
            holder.out.add(lease)
            if self.lease is not None:  # `Terms.start` in place, for speed
                lease._due = due = now + self.lease
                if due < self.terms.unseen:
                    self.terms.start(lease, due)
            return lease
        finally:
            lock.release()

    def reserve(self, holder: Holder) -> Lease | None:
        """Lend one message and reserve more for the only consumer; None to go the long way, `reserve_in_turn`."""
        lock = self.lock
        try:
            lock.acquire()
            if holder is not self.sole or self.eager or holder.closed:
                return None
            leases = self.backlog.lend_many(holder, min(holder.prefetch, STRIDE))
            if not leases:
                return None
            holder.out.update(leases)
            holder.buffer.extend(leases)
            return holder.buffer.popleft()
        finally:
            lock.release()

    # entering

    def receive(self, record: Record, place: Place, due: float) -> None:
        """Put in a record that was admitted, if it can be delivered."""
        if record[2].__class__ is Undecoded:
            self.granted += 1
            if self.depot is not None:
                self.depot.admit(record, place, later=True)
            self.refuse(record, record[1])
        else:
            self.accept(record, place, due=due)

    def accept(self, record: Record, place: Place, letter: bool = False, due: float = 0.0) -> None:
        """Put in a record that was admitted, or a dead letter, which never waits; with `due`, once that time comes."""
        record = self.bounded(record, due - self.engine.now if due else 0.0)
        if due:
            self.granted += 1
            timed = self.timed
            if self.depot is not None:
                self.depot.admit(record, place, later=True)
            self.delay(record, place, due)
            if self.timed is not timed:  # else nothing has changed for anybody: it is not there yet
                self.changed()
            return
        paid = self.credit > 0
        if paid or self.vacant() > 0 or not self._dropped_for(record, place, letter):
            if paid:
                self.credit -= 1
            else:
                self.granted += 1
            if not self._pushed(record, place):
                return
            if record[7] is not None and record[7].expires is not None:
                paid &= self.timed
                self._watch_expiry(record)
        if not paid:
            self.changed()
        elif self.getters.parked:
            self.rouse_getters()

    def _pushed(self, record: Record, place: Place) -> bool:
        """Whether it is in memory; of a durable queue, it may be left on the disk."""
        if self.depot is not None:
            if not self.depot.admit(record, place):
                self.refresh()
                return False
        elif record[0] != self.engine.offset and self.backlog.overtaken(record[0] or 0, record[5], place):
            self.backlog.insert(record, place)  # what needs no writing came first
            return True
        if self.lanes is not None:
            self.push_at(record, place)
        else:
            self.push(record)
        return True

    def _dropped_for(self, newcomer: Record, place: Place, letter: bool) -> bool:
        """Make room by the policy: whether it was the newcomer that had to go."""
        if not self.drops:
            return False  # a dead letter: it never waits
        if letter and not self.dropped:
            self.engine.note(
                f"dead-letter queue {self.name!r} is full ({self.capacity} messages) and drops from now on"
            )
        victim = newcomer
        if self.policy.overflow is Overflow.DROP_OLDEST:
            self.reclaim()
            if self.vacant() > 0:  # more was handed out in this moment, in another thread
                return False
            victim = self.backlog.drop_oldest(newcomer)
        self.dropped += 1
        self.turned_away += victim is newcomer
        if victim is newcomer and self.depot is not None:
            self.depot.admit(victim, place, later=True)  # it is written by now
        lose(self, victim, newcomer[1])
        return victim is newcomer
