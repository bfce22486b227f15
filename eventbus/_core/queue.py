"""One queue: how a message waits, is lent and comes back, and who waits for one or for room.

The two hot paths, `put` and `take`, run in one short hold of the lock each and test one thing about all that is off:
`credit` for puts and `spare` for takes. `credit` is how many messages may enter before somebody must look: it never
goes beyond the capacity or, unnoticed, beyond the highest level so far, and is 0 whenever a put needs more than a push.
`spare` is how many messages may be taken by newcomers before somebody must look: what is ready beyond what those in
line will take, and 0 whenever a take needs more than a pop. All else (full, paused, somebody in line, observers) is
decided in the slow paths, which leave both right again.

The lock is taken inside `try`, not by `with`: half the cost on CPython 3.11 (108 against 225 ns), and as safe: nothing
can interrupt between `try` and the end of `acquire()`, since the interpreter looks at signals only after a call
returns, and that is inside the `try`. It is an RLock, so that an interrupted `acquire()` can't release another
thread's hold.

Conservation: in = acked + dead + dropped + purged + ready + delayed + out. An ack takes no lock, so acks are not
counted; they are what left the set `out` by no other way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from collections import deque
from threading import RLock
from typing import TYPE_CHECKING, Any, Final

from eventbus._core.backlog import Backlog, FifoBacklog, PriorityBacklog, offset_of
from eventbus._core.consumer import Holder
from eventbus._core.lanes import KeyedBacklog, Place, placer
from eventbus._core.leases import ACKED, Fate, Lease, repeat
from eventbus._core.waiting import Line, Waiter
from eventbus.errors import ClosedError, DeclarationError
from eventbus.message import NO_HEADERS, Key, Past, Record
from eventbus.policy import Keyed, Overflow, Policy, Priority

if TYPE_CHECKING:
    from eventbus._core.engine import Engine

STRIDE: Final = 256
"""How many messages a put may add above the highest level so far before the level is measured again."""


PLENTY: Final = 1 << 29  # small enough to be a small int, large enough to be looked at hardly ever


class QueueState:
    """All that a queue is; `eventbus.Queue` is a handle to it."""

    def __init__(self, engine: Engine, name: str, policy: Policy, *, private: bool = False) -> None:
        self.engine = engine
        self.lock: RLock = engine.lock  # type: ignore[valid-type]  # RLock is a function to type checkers before 3.13
        self.errands = engine.errands
        self.name = name
        self.policy = policy
        self.private = private
        self.capacity = policy.capacity if policy.capacity is not None else 1 << 62
        drops_oldest = policy.overflow is Overflow.DROP_OLDEST
        self.backlog: Backlog
        self.fresh: deque[Record] = deque()
        self.early: list[tuple[int, Record]] = []
        """Those of a FIFO backlog; of any other, always empty."""
        self.lanes: KeyedBacklog | None = None
        self.place: Callable[[Key], Place] | None = None
        if isinstance(policy.order, Keyed):
            self.backlog = self.lanes = KeyedBacklog(engine.kind, policy.order, drops_oldest)
            self.place = placer(policy.order)
        elif isinstance(policy.order, Priority):
            self.backlog = PriorityBacklog(engine.kind, drops_oldest)
        else:
            self.backlog = fifo = FifoBacklog(engine.kind)
            self.fresh, self.early = fifo.fresh, fifo.early
        if self.lanes is None:
            self.push = self.backlog.push
        self.kind = engine.kind
        self.sticky = self.lanes is not None and self.lanes.order.sticky
        self.getters = Line()
        self.putters = Line()
        self.joiners = Line()
        self.receivers = Holder(self, self.getters)
        """The holder of what plain `get()` calls received."""
        self.holders: dict[Holder, None] = {}
        self.exclusive: Holder | None = None
        self.handle: Any = None
        """The face's own object for this queue; opaque here."""

        self.received_from = False
        """Whether anybody ever took a message by a plain `get()`, and so may come again and make room."""
        self.turned_away = 0
        self.recovered = 0
        self.dropped = 0
        self.purged = 0
        self.dead = 0
        self.failed = 0
        self.peak = 0

        self.closed = False
        self.paused = False
        self.loading = False
        """While history is read into it, a queue lends nothing, so that nothing overtakes."""
        self.credit = 0
        self.granted = 0
        """How many ever entered, plus `credit`: so the hot path counts by spending."""
        self.barred = False
        self.spare = 0
        self.special = False
        """Whether the queue is in any state but the common one: closed, paused, watched, exclusive, with sticky lanes."""
        self.prefetching = False
        self.sole: Holder | None = None
        """The only consumer, if nobody is in line and the queue is in the common state: all that is ready is its share."""
        self.simple = False
        """Whether what is ready is in `fresh` and `early` and nowhere else."""
        self.eager = False
        """Whether the handout of a reserved message must be looked at: somebody waits for the room, or a peak is due."""
        self.rising = False
        self.alert = False
        """Whether an ack must be looked at: lanes, somebody waits for the end, or an observer."""
        self.ending = False
        """Whether somebody waits for the end."""
        self.refresh()

    # the hot paths

    def put(self, body: Any, key: Key, priority: int, time: float) -> int:
        """Enter one message if that takes no more than a push: its offset, or 0 to go the long way, `Engine.send`."""
        lock = self.lock
        try:
            lock.acquire()
            credit = self.credit or self.grant()
            if not credit:
                return 0
            self.credit = credit - 1
            engine = self.engine
            engine.offset = offset = engine.offset + 1
            self.push((offset, time, body, key, NO_HEADERS, priority, self.name, None, None))
            line = self.getters
            if line.parked:
                if line.woken or self.special:
                    self.rouse_getters()
                else:
                    line.rouse_first(self.errands)
            return offset
        finally:
            lock.release()

    def put_in_lane(self, body: Any, key: Key, priority: int, time: float) -> int:
        """The same for a queue with lanes."""
        assert self.lanes is not None
        assert self.place is not None
        place = self.place(key)
        lock = self.lock
        try:
            lock.acquire()
            credit = self.credit or self.grant()
            if not credit:
                return 0
            self.credit = credit - 1
            engine = self.engine
            engine.offset = offset = engine.offset + 1
            self.lanes.push_at((offset, time, body, key, NO_HEADERS, priority, self.name, None, None), place)
            if self.getters.parked:
                self.rouse_getters()
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
            if self.fresh and not self.early:  # `FifoBacklog.lend` in place, for speed
                record = self.fresh.popleft()
                lease = self.kind()
                lease._record = record
                lease.body = record[2]
                lease._holder = holder
            else:
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
            if self.special or self.prefetching or holder.uncommon or holder.closed:
                leases = self.take_many(holder, 1, waiter)
                return leases[0] if leases else None
            line, backlog = self.getters, self.backlog
            called = waiter in line.woken
            available = len(self.fresh) + len(self.early) if self.simple else backlog.available(holder)
            if available <= (0 if called else len(line.parked) + len(line.woken)):
                line.park(waiter)
                self.spare = 0
                return None
            if self.rising:
                self.note_level()
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
                self.spare = PLENTY
            return lease
        finally:
            lock.release()

    # entering

    def grant(self) -> int:
        """How many messages may enter before the next look; 0 if one more has to go the long way."""
        if self.barred:
            return 0
        ready = len(self.fresh) + len(self.early) if self.simple else self.ready()
        room = self.capacity - ready
        if room <= 0:
            return 0
        credit = room if room < STRIDE else STRIDE
        below = self.peak - ready
        if below <= 0:
            self.rising = self.eager = True
            self.spare = 0
        elif below < credit:
            credit = below
        self.credit = credit
        self.granted += credit
        return credit

    def room(self) -> int:
        return self.capacity - self.ready()

    def admits(self, waiter: Waiter | None) -> bool:
        """Whether a message may enter now, given those who came before."""
        if self.credit or self.policy.overflow in (Overflow.DROP_OLDEST, Overflow.DROP_NEWEST):
            return True
        if waiter is not None and waiter in self.putters.woken:
            return self.room() > 0
        return self.room() > len(self.putters)

    def accept(self, record: Record, place: Place, letter: bool = False) -> None:
        """Put in a record that was admitted, or a dead letter, which never waits."""
        paid = self.credit > 0
        if paid or self.room() > 0 or not self._dropped_for(record, letter):
            if paid:
                self.credit -= 1
            else:
                self.granted += 1
            if self.lanes is not None:
                self.lanes.push_at(record, place)
            else:
                self.backlog.push(record)
        if not paid:
            self.changed()
        elif self.getters.parked:
            self.rouse_getters()

    def accept_many(self, records: Sequence[Record]) -> None:
        """Put in records that fit, as one slice."""
        self.granted += len(records)
        self.backlog.push_many(records)
        self.note_level()
        if self.getters.parked:
            self.rouse_getters()

    def _dropped_for(self, newcomer: Record, letter: bool) -> bool:
        """Make room by the policy: whether it was the newcomer that had to go."""
        overflow = self.policy.overflow
        if overflow not in (Overflow.DROP_OLDEST, Overflow.DROP_NEWEST):
            return False  # a dead letter: it never waits
        if letter and not self.dropped:
            self.engine.note(f"dead-letter queue {self.name!r} is full ({self.capacity} messages) and drops from now on")
        victim = newcomer
        if overflow is Overflow.DROP_OLDEST:
            self.reclaim()
            victim = self.backlog.drop_oldest(newcomer)
        self.dropped += 1
        self.turned_away += victim is newcomer
        self.engine.lose(self, victim, newcomer[1])
        return victim is newcomer

    # lending

    def take_many(self, holder: Holder, limit: int, waiter: Waiter | None = None) -> list[Lease]:
        """Lend up to `limit` messages; if there is none, park the waiter. An ended holder gets none and is not parked."""
        with self.lock:
            if self.spare and waiter is None and not holder.closed:
                leases = self.backlog.lend_many(holder, min(limit, self.spare))
                self.spare -= len(leases)
                holder.out.update(leases)
                if leases:
                    return leases
            count = min(limit, self._free_for(holder, waiter))
            if count <= 0:
                return []
            leases = self._lend(holder, count)
            if waiter is not None:
                holder.line.leave(waiter)
            self.changed()
            return leases

    def reserve(self, holder: Holder) -> Lease | None:
        """Lend one message and reserve more for the only consumer; None to go the long way, `reserve_in_turn`."""
        lock = self.lock
        try:
            lock.acquire()
            if holder is not self.sole or self.eager:
                return None
            leases = self.backlog.lend_many(holder, min(holder.prefetch, STRIDE))
            if not leases:
                return None
            holder.out.update(leases)
            holder.buffer.extend(leases)
            return holder.buffer.popleft()
        finally:
            lock.release()

    def reserve_in_turn(self, holder: Holder, waiter: Waiter) -> Lease | None:
        """Lend one message, and reserve up to `prefetch` in all: a fair share of what is ready, no more."""
        with self.lock:
            free = self._free_for(holder, waiter)
            if free <= 0:
                return None
            contenders = len(self.holders) + sum(w.holder is self.receivers for w in self.getters.parked)
            share = 1 if self.engine.watched else max(1, self.backlog.available(holder) // contenders)
            leases = self._lend(holder, min(holder.prefetch, share, free, STRIDE))
            holder.buffer.extend(leases[1:])
            if waiter is not None:
                holder.line.leave(waiter)
            self.changed()
            return leases[0]

    def _lend(self, holder: Holder, count: int) -> list[Lease]:
        self.note_level()
        leases = self.backlog.lend_many(holder, count)
        holder.out.update(leases)
        if self.engine.watched:
            self.engine.tell_delivered(leases)
        return leases

    def _free_for(self, holder: Holder, waiter: Waiter | None) -> int:
        """How many messages this holder may take now, given those who came before; parks the waiter if none."""
        self.require_open()
        if self.exclusive is not None and self.exclusive is not holder:
            raise DeclarationError(
                f"queue {self.name!r} has an exclusive consumer, so nobody else may take from it; "
                f"wait until that consumer is closed",
                name=self.name,
            )
        if holder.closed:
            self._dismiss(waiter)
            return 0
        available = self.lendable(holder)
        if available <= 0 and self.reclaim(holder):
            available = self.lendable(holder)
        line = holder.line
        if waiter is not None and waiter in line.woken:
            free = min(available, max(1, available - len(line.woken) + 1))
        else:
            free = available - line.ahead(holder.priority)
        if free > 0:
            return free
        if holder.until_empty and self.drained_for(holder):
            holder.closed = True
            self._dismiss(waiter)
        elif waiter is not None:
            line.park(waiter)
            self.changed()
        return 0

    def _dismiss(self, waiter: Waiter | None) -> None:
        """Whoever waited on behalf of a holder that has ended waits no more."""
        if waiter is not None and waiter.holder is not None:
            waiter.holder.line.leave(waiter)
            self.changed()

    def lendable(self, holder: Holder | None) -> int:
        return 0 if self.paused or self.loading else self.backlog.available(holder)

    def handed_out(self) -> None:
        """After a handout from a buffer, when `eager` asked for it."""
        with self.lock:
            if self.rising:
                self.peak = max(self.peak, self.ready() + 1)
            self.changed()

    # settling and coming back

    def after_ack(self, leases: Sequence[Lease]) -> None:
        """After acks, when `alert` asked for it."""
        with self.lock:
            if self.closed:
                return
            if self.lanes is not None:
                for lease in leases:
                    self.lanes.settled(lease._lane)
                if self.getters.parked or self.sticky:
                    self.rouse_getters()
            if self.engine.watched:
                for lease in leases:
                    self.engine.tell("settled", lease, ACKED.value)
            if self.ending:
                self._wake_for_the_end()

    def ack_many(self, leases: Sequence[Lease]) -> None:
        """Ack all of these that are out, which one holder has; then raise what the first of the others has to say."""
        with self.lock:
            out = leases[0]._holder.out
            others = [] if out.issuperset(leases) else [lease for lease in leases if lease not in out]
            acked = [lease for lease in leases if lease in out] if others else leases
            out.difference_update(leases)
            if self.alert:
                self.after_ack(acked)
            for lease in others:
                repeat(lease, ACKED)

    def settle(self, lease: Lease, call: Fate, error: str | None, time: float) -> None:
        """Nack, release or reject. A repeated call is harmless; any other second one raises, and changes nothing."""
        with self.lock:
            try:
                lease._holder.out.remove(lease)
            except KeyError:
                repeat(lease, call)
                return
            lease._fate = call
            self.failed += call in (Fate.NACKED, Fate.REJECTED)
            if call is Fate.REJECTED:
                self.backlog.settled(lease.lane)
                self.dead += 1
                self.engine.bury(self, lease._record, "rejected", lease.attempt, error, time)
            else:
                self._return(lease, call is Fate.NACKED, error)
            self.engine.tell("settled", lease, call.value)
            self.changed()

    def unlend(self, leases: Iterable[Lease]) -> None:
        """Take back what nobody has seen, as if it had never been lent."""
        with self.lock:
            for lease in leases:
                if lease in lease._holder.out:  # not recalled meanwhile
                    self._unlend(lease)
            self.changed()

    def _unlend(self, lease: Lease) -> None:
        lease._holder.out.discard(lease)
        lease._fate = Fate.STALE
        self.backlog.redelivered -= lease._record[8] is not None
        self.backlog.restore(lease._record, lease.lane)

    def _return(self, lease: Lease, failed: bool = False, error: str | None = None) -> None:
        """Back to its original place, with this delivery in its past."""
        past = Past(lease.attempt, lease.failures + failed, error)
        self.backlog.restore((*lease._record[:8], past), lease.lane)

    def reclaim(self, asker: Holder | None = None) -> bool:
        """Take back all that consumers other than the asker have reserved and not handed out; whether that was any."""
        found = False
        for holder in self.holders:
            if holder is not asker:
                found |= self._reclaim_from(holder)
        return found

    def _reclaim_from(self, holder: Holder) -> bool:
        found = False
        while holder.buffer:
            try:
                lease = holder.buffer.pop()
            except IndexError:  # handed out in this moment, in another thread
                break
            self._unlend(lease)
            found = True
        return found

    # consumers

    def attach(self, holder: Holder) -> None:
        with self.lock:
            self.require_open()
            others = f"{len(self.holders)} consumer" + "s" * (len(self.holders) != 1)
            if self.exclusive is not None or (holder.exclusive and self.holders):
                raise DeclarationError(
                    f"queue {self.name!r} has {others}, and an exclusive consumer shares a queue with no other; "
                    f"close what is there first",
                    name=self.name,
                )
            self.holders[holder] = None
            self.prefetching |= holder.prefetch > 1
            self.exclusive = holder if holder.exclusive else None
            self.backlog.attach(holder)
            self.changed()

    def detach(self, holder: Holder) -> None:
        """End a consumer: what it reserved was never out, what it holds comes back, who waits for it is woken."""
        with self.lock:
            if holder not in self.holders:
                return
            holder.closed = True
            self._reclaim_from(holder)
            for lease in self._recall(holder):
                self._return(lease)
                self.engine.tell("settled", lease, Fate.RELEASED.value)
            del self.holders[holder]
            self.prefetching = any(other.prefetch > 1 for other in self.holders)
            self.exclusive = None
            self.backlog.detach(holder)
            for waiter in [w for w in holder.line.parked if w.holder is holder]:
                holder.line.rouse_one(waiter, self.errands)
            self.putters.rouse_all(self.errands)  # who is left may all wait for each other: let them look again
            self.changed()
            self.engine.joiners.rouse_all(self.errands)
            if self.private and not self.holders and not self.closed:
                self.engine.remove(self)

    def _recall(self, holder: Holder, fate: Fate = Fate.STALE) -> list[Lease]:
        """Take every delivery from a holder, by offset."""
        leases = []
        while holder.out:
            try:
                lease = holder.out.pop()
            except KeyError:  # acked in this moment, in another thread
                break
            lease._fate = fate
            leases.append(lease)
        return sorted(leases, key=lambda lease: offset_of(lease._record))

    def all_holders(self) -> Iterator[Holder]:
        yield self.receivers
        yield from self.holders

    # what people do to a queue

    def pause(self) -> None:
        with self.lock:
            self.require_open()
            self.paused = True
            self.reclaim()
            self.changed()

    def resume(self) -> None:
        with self.lock:
            self.require_open()
            self.paused = False
            self.changed()

    def purge(self) -> list[Record]:
        """Take out all that is ready; the caller lets go of it outside the lock."""
        with self.lock:
            self.require_open()
            self.reclaim()
            self.note_level()
            records = self.backlog.clear()
            self.purged += len(records)
            self.changed()
            return records

    def cancel(self, offset: int) -> Record | None:
        with self.lock:
            self.require_open()
            self.reclaim()
            self.note_level()
            record = self.backlog.remove(offset)
            self.purged += record is not None
            self.changed()
            return record

    def peek(self, limit: int) -> list[Record]:
        with self.lock:
            self.require_open()
            self.reclaim()
            self.changed()
            return [record for _, record in zip(range(limit), self.backlog, strict=False)]

    def join(self, waiter: Waiter) -> bool:
        """Whether all is settled; parks the waiter if not."""
        with self.lock:
            self.require_open()
            done = not self.unsettled()
            if done:
                self.joiners.leave(waiter)
            else:
                self.joiners.park(waiter)
            self.refresh()
            return done

    def leave(self, waiter: Waiter) -> None:
        """A waiter gave up; its wake goes to the next."""
        with self.lock:
            for line in (self.getters, self.putters, self.joiners, *(holder.line for holder in self.holders)):
                line.leave(waiter)
            self.changed()

    def start_loading(self) -> None:
        """Lend nothing until `loaded`."""
        with self.lock:
            self.loading = True
            self.refresh()

    def restart(self) -> list[Record]:
        """Begin a seek: forget what is ready and what is out, and lend nothing until `loaded`."""
        with self.lock:
            self.require_open()
            self.loading = True
            records = self.purge()
            for holder in self.all_holders():
                for lease in self._recall(holder):
                    self.backlog.settled(lease.lane)
                    self.purged += 1
            self.changed()
            return records

    def load(self, records: Iterable[tuple[Record, Place]]) -> None:
        """History, in the order of offsets: it always fits."""
        with self.lock:
            if not self.closed:
                for record, place in records:
                    self.backlog.insert(record, place)
                    self.recovered += 1
                self.changed()

    def loaded(self) -> None:
        with self.lock:
            self.loading = False
            self.changed()

    # counting

    def reserved(self) -> int:
        return sum(len(holder.buffer) for holder in self.holders)

    def ready(self) -> int:
        return len(self.backlog) + self.reserved() if self.prefetching else len(self.backlog)

    def out(self) -> int:
        return sum(len(holder.out) - len(holder.buffer) for holder in self.all_holders())

    def unsettled(self) -> int:
        return len(self.backlog) + sum(len(holder.out) for holder in self.all_holders())

    def published(self) -> int:
        return self.granted - self.credit + self.turned_away + self.recovered

    def acked(self) -> int:
        return self.published() - self.dead - self.dropped - self.purged - self.unsettled()

    def oldest(self) -> Record | None:
        """The longest waiting of what is ready; what is reserved was taken from the front."""
        buffers = [holder.buffer[0]._record for holder in self.holders if holder.buffer]
        waiting = self.backlog.oldest()
        return min([*buffers, *([waiting] if waiting is not None else [])], key=offset_of, default=None)

    def drained_for(self, holder: Holder) -> bool:
        """Whether nothing is left that this consumer could still get, now or when another gives it back."""
        return not len(self.backlog) and not any(len(h.out) for h in self.all_holders() if h is not holder)

    def note_level(self) -> None:
        """Measure the level: before it falls, and after it rose by another way than a put."""
        self.peak = max(self.peak, self.ready())
        self.rising = False
        self.granted -= self.credit
        self.credit = 0

    # after every change but the hot ones

    def changed(self) -> None:
        """Wake whoever can go on now, and set the flags of the hot paths."""
        self.note_level()
        if self.getters.parked or self.sticky:
            self.rouse_getters()
        if self.putters.parked:
            self.rouse_putters()
        if self.ending:
            self._wake_for_the_end()
        self.refresh()

    def rouse_getters(self) -> None:
        if not self.special:
            self.getters.rouse(self.backlog.available(None), self.errands)
        elif self.sticky:
            for holder in self.holders:
                holder.line.rouse(self.lendable(holder), self.errands)
        else:
            self.getters.rouse(self.lendable(None), self.errands)

    def rouse_putters(self) -> None:
        self.putters.rouse(self.room(), self.errands)

    def _wake_for_the_end(self) -> None:
        if not self.unsettled():
            self.joiners.rouse_all(self.errands)
            self.engine.joiners.rouse_all(self.errands)
        for holder in [h for h in self.holders if h.until_empty and self.drained_for(h)]:
            for waiter in [w for w in holder.line.parked if w.holder is holder]:
                holder.line.rouse_one(waiter, self.errands)

    def refresh(self) -> None:
        """Set the flags that the hot paths go by."""
        watched = self.engine.watched
        shut = self.closed or self.loading or watched
        self.special = shut or self.paused or self.sticky or self.exclusive is not None
        self.ending = bool(self.joiners.parked or self.engine.joiners.parked) or any(
            holder.until_empty for holder in self.holders
        )
        self.alert = shut or self.ending or self.lanes is not None
        self.simple = not self.prefetching and isinstance(self.backlog, FifoBacklog)
        self._refresh_guard()
        self.barred = shut or bool(self.putters.parked or self.putters.woken)
        if self.barred:
            self.granted -= self.credit
            self.credit = 0

    def _refresh_guard(self) -> None:
        getters = self.getters
        self.eager = self.rising or bool(self.putters.parked)
        self.sole = None
        if self.eager or self.special or self.prefetching:
            self.spare = 0
            if not self.special and len(self.holders) == 1 and not getters:
                self.sole = next(iter(self.holders))
        elif getters.parked or getters.woken:
            self.spare = max(0, self.backlog.available(None) - len(getters))
        else:
            self.spare = PLENTY

    def require_open(self) -> None:
        if self.engine.closed:
            raise ClosedError("the bus")
        if self.closed:
            raise ClosedError(f"queue {self.name!r}")

    def close(self, fate: Fate) -> None:
        """The end, under the lock: whoever waits is woken to learn of it, and what is out is nobody's any more."""
        self.closed = True
        for holder in self.all_holders():
            holder.closed = True
            holder.buffer.clear()
            self.purged += len(self._recall(holder, fate))
        records = self.backlog.clear()
        self.purged += len(records)
        for line in {self.getters, self.putters, self.joiners, *(holder.line for holder in self.holders)}:
            line.rouse_all(self.errands)
        self.refresh()

    def check(self) -> None:
        """Assert all that must hold between any two calls."""
        self.backlog.check()
        for holder in self.all_holders():
            assert holder.buffer.maxlen is None and set(holder.buffer) <= holder.out, "reserved, but not out"
            assert all(lease._holder is holder and not hasattr(lease, "_fate") for lease in holder.out)
            assert len(holder.buffer) < max(2, holder.prefetch)
        waiting = [offset_of(record) for record in self.backlog]
        lent = [offset_of(lease._record) for holder in self.all_holders() for lease in holder.out]
        assert len(set(waiting + lent)) == len(waiting) + len(lent), f"{self.name}: a message is in two places"
        assert self.acked() >= 0, f"{self.name}: {self.acked()} acked"
        assert 0 <= self.credit <= max(0, self.room()), f"{self.name}: puts may exceed the capacity"
        assert not self.credit or not self.barred
        assert self.barred or not len(self.putters)
        if not self.closed:
            self.getters.check(self.lendable(None), f"{self.name}: getters")
            self.putters.check(self.room(), f"{self.name}: putters")
