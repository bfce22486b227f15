"""One queue: its consumers, what settles its deliveries, and what people do to it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from eventbus._core.backlog import offset_of
from eventbus._core.bulk import Bulk
from eventbus._core.consumer import Holder
from eventbus._core.errands import LetGo
from eventbus._core.lanes import Place
from eventbus._core.leases import ACKED, Fate, Lease, repeat
from eventbus._core.lots import Lot
from eventbus._core.requests import refuse, refuse_all
from eventbus._core.waiting import Waiter
from eventbus.errors import DeclarationError
from eventbus.message import Record, Undecoded
from eventbus.policy import Policy

if TYPE_CHECKING:
    from eventbus._core.engine import Engine


class QueueState(Bulk):
    """All that a queue is; `eventbus.Queue` is a handle to it."""

    __slots__ = ("receiving",)

    def __init__(self, engine: Engine, name: str, policy: Policy, *, private: bool = False) -> None:
        super().__init__(engine, name, policy, private=private)
        self.receiving = [Holder(self, self.getters)]
        if engine.outbox is not None and not private and policy.durable is not False:
            self.depot = engine.outbox.depot(self)
        self.refresh()

    def receivers(self, handle: object = None) -> Holder:
        """The holder of what plain `get()` calls of one face receive."""
        with self.lock:
            last = self.receiving[-1]
            if last.handle is not None:
                last = Holder(self, self.getters)
                self.receiving.append(last)
            last.handle = handle
            return last

    # settling

    def after_ack(self, lease: Lease) -> None:
        """After an ack, when `alert` asked for it."""
        lock = self.lock
        try:
            lock.acquire()
            if self.lanes is not None and not self.closed:
                self.lanes.settled(lease._lane)
                if self.getters.parked or self.separate:
                    self.rouse_getters()
            if self.depot is not None:
                self.depot.settle(lease.record)
            if self.engine.watched:
                self.engine.tell("settled", lease, ACKED.value)
            if self.ending:
                self._wake_for_the_end()
        finally:
            lock.release()

    def ack_many(self, leases: Sequence[Lease]) -> None:
        """Ack all of these that are out, which one holder has; then raise what the first of the others has to say."""
        with self.lock:
            holder = leases[0]._holder
            holder.part()
            others = [lease for lease in leases if not self._acked_here(lease)]
            for lease in others:
                repeat(lease, ACKED)

    def ack_apart(self, lease: Lease) -> None:
        """Ack what is not in its holder's `out`: it may be part of a lot, or not be out any more."""
        with self.lock:
            lease._holder.part()
            if not self._acked_here(lease):
                repeat(lease, ACKED)

    def _acked_here(self, lease: Lease) -> bool:
        """Ack one: whether it was out, since another thread may ack it meanwhile."""
        try:
            lease._holder.out.remove(lease)
        except KeyError:
            return False
        if self.alert:
            self.after_ack(lease)
        return True

    def after_lot(self, lot: Lot) -> None:
        """After a lot was acked whole, when `alert` asked for a look."""
        with self.lock:
            if self.depot is not None:
                for chunk in lot.chunks:
                    self.depot.settle_all(chunk.offsets())
            self._wake_for_the_end()

    def settle(
        self, leases: Sequence[Lease], call: Fate, error: str | None, time: float, delay: float | None = None
    ) -> None:
        """Nack, release or reject all of these that are out; then raise what the first of the others has to say.

        A repeated call is harmless; any other second one raises, and changes nothing.
        """
        with self.lock:
            others = []
            for lease in leases:
                lease._holder.part()
                try:
                    lease._holder.out.remove(lease)
                except KeyError:
                    others.append(lease)
                else:
                    self._settle(lease, call, error, time, delay)
            self.changed()
            for lease in others:
                repeat(lease, call)

    def _settle(self, lease: Lease, call: Fate, error: str | None, time: float, delay: float | None) -> None:
        lease._fate = call
        if call is Fate.NACKED:
            self.failed_once(lease, error, delay, time)
        elif call is Fate.REJECTED:
            self.failed += 1
            self.die(lease, "rejected", error, time)
        else:
            self._return(lease)
        self.engine.tell("settled", lease, call.value)

    def take_back(self, lease: Lease) -> None:
        """A transaction that was to ack it has failed: back to its original place. Under the lock."""
        self.withheld -= 1
        if not self.closed:
            lease._fate = Fate.STALE
            self._return(lease)
            self.changed()

    def unlend(self, lots: Iterable[Lot]) -> None:
        """Take back what nobody has seen, as if it had never been lent."""
        with self.lock:
            for lot in lots:
                lot.holder.part()
                for lease in lot.leases:
                    if lease in lot.holder.out:  # not recalled meanwhile
                        self._unlend(lease)
            self.changed()

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
            if self.policy.single_active:
                self.active = self.active or holder
            self.prefetching |= holder.prefetch > 1
            self.exclusive = holder if holder.exclusive else None
            self.backlog.attach(holder)
            self.changed()

    def retire(self, holder: Holder) -> None:
        """Let a consumer take no more: what it reserved was never out; what it holds it may still settle."""
        with self.lock:
            if holder in self.holders:
                holder.closed = True
                self._reclaim_from(holder)
                for waiter in [w for w in holder.line.parked if w.holder is holder]:
                    holder.line.rouse_one(waiter, self.errands)
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
            if holder is self.active:  # the next is the first to have come, of those with the highest priority
                self.active = max(self.holders, key=lambda other: (not other.closed, other.priority), default=None)
            self.backlog.detach(holder)
            for waiter in [w for w in holder.line.parked if w.holder is holder]:
                holder.line.rouse_one(waiter, self.errands)
            self.putters.rouse_all(self.errands)  # who is left may all wait for each other: let them look again
            self.changed()
            self.engine.joiners.rouse_all(self.errands)
            if self.private and not self.holders and not self.closed:
                self.engine.remove(self)

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
        """Take out all that is ready or delayed; the caller lets go of it outside the lock."""
        with self.lock:
            self.require_open()
            self.reclaim()
            self.note_level()
            records = [*self.backlog.clear(), *self.withdraw_all()]
            refuse_all(records, f"was purged from queue {self.name!r}")
            self.purged += len(records)
            if self.depot is not None:
                self.depot.settle_all(map(offset_of, records))
                self.purged += self.unread
                self.depot.forget_unread()
            self.changed()
            return records

    def cancel(self, offset: int, unread: tuple[Record, Place] | None = None) -> Record | None:
        """Withdraw a message; `unread` is the message as it was read, in case it is on disk only."""
        with self.lock:
            self.require_open()
            self.reclaim()
            self.note_level()
            record = self.withdraw(offset) if offset in self.delayed else self.backlog.remove(offset)
            if record is None and unread and self.depot is not None and self.depot.take_unread(*unread, scheduled=True):
                record = unread[0]
            if record is not None:
                refuse(record, f"was withdrawn from queue {self.name!r}")
                self.purged += 1
                if self.depot is not None:
                    self.depot.settle(record)
            self.changed()
            return record

    def take_out(self, offset: int) -> bool:
        """Take out a message that is ready, to be moved; whether it was. Under the lock, and `changed` comes after."""
        self.require_open()
        self.reclaim()
        self.note_level()
        return self.backlog.remove(offset) is not None

    def put_back(self, record: Record, place: Place) -> None:
        """It was not moved after all. Under the lock, and `changed` comes after."""
        self.insert(record, place)

    def moved(self, record: Record) -> None:
        """It was, and that is written. Under the lock."""
        self.withheld -= 1
        if not self.closed:
            if self.depot is not None:
                self.depot.settle(record)
            self.changed()

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
            done = waiter in self.joiners.woken  # all was settled then, whatever has come since
            if not done:
                self.joiners.park(waiter)
                self.refresh()  # before the look: an ack takes no lock, and looks whether somebody waits
                done = not self.busy()
            if done:
                self.joiners.leave(waiter)
                self.refresh()
            return done

    def leave(self, waiter: Waiter) -> None:
        """A waiter gave up; its wake goes to the next."""
        with self.lock:
            for line in self.lines():
                line.leave(waiter)
            self.changed()

    # reading history into it

    def start_loading(self) -> int:
        """Lend nothing until `loaded`; the number of this load, of which the last alone counts."""
        with self.lock:
            self.loads += 1
            self.loading = self.loads
            self.refresh()
            return self.loading

    def restart(self) -> int:
        """Begin a seek: take back what is out, and start to load.

        What is ready is forgotten; of a durable queue once its past is found, so that it goes on if that fails.
        """
        with self.lock:
            self.require_open()
            number = self.start_loading()
            self.reclaim()  # what is reserved was never out
            leases = [lease for holder in self.all_holders() for lease in self._recall(holder)]
            for lease in leases:
                self._return(lease)
            if self.depot is None:
                refuse_all([lease.record for lease in leases], f"was given up, since queue {self.name!r} was sought")
                self.errands.append(LetGo(self.purge()))
            self.changed()
            return number

    def load(self, number: int, records: Iterable[tuple[Record, Place]], time: float) -> bool:
        """History, in the order of offsets: it always fits. Whether this load still counts."""
        with self.lock:
            self.engine.require_open()
            if self.closed or self.loading != number:
                return False
            for record, place in records:
                self.recovered += 1
                if record[2].__class__ is Undecoded:
                    self.refuse(record, time)
                else:
                    self.insert(self.bounded(record), place)
            self.changed()
            return True

    def loaded(self, number: int) -> None:
        with self.lock:
            if self.loading == number:
                self.loading = 0
                self.changed()

    # the end

    def close(self, fate: Fate) -> None:
        """The end, under the lock: whoever waits is woken to learn of it, and what is out is nobody's any more."""
        self.closed = True
        for holder in self.all_holders():
            holder.closed = True
            holder.buffer.clear()
            leases = self._recall(holder, fate)
            self._let_go([lease.record for lease in leases])
        self._let_go([*self.backlog.clear(), *self.withdraw_all()])
        self.purged += self.unread
        self.unread = 0
        if self.seen is not None:
            self.seen.clear()
        self.terms.clear()
        self.expiry.clear()
        for line in self.lines():
            line.rouse_all(self.errands)
        self.refresh()

    def _let_go(self, records: Sequence[Record]) -> None:
        if not self.engine.closed:
            refuse_all(records, f"ended with queue {self.name!r}")
        self.purged += len(records)
        self.errands.append(LetGo(records))

    def check(self) -> None:
        """Assert all that must hold between any two calls."""
        self.backlog.check()
        for holder in self.all_holders():
            assert set(holder.buffer) <= holder.out, "reserved, but not out"
            assert all(lease._holder is holder and not hasattr(lease, "_fate") for lease in holder.out)
            assert len(holder.buffer) < max(2, holder.prefetch)
            assert not holder.lots or (self.plain is not None and self.lease is None and not self.engine.watched)
        assert self.active in (self.holders if self.policy.single_active and self.holders else (None,))
        waiting = [*(offset_of(record) for record in self.backlog), *self.delayed]
        self.delays.check()
        lent = [offset_of(record) for holder in self.all_holders() for record in holder.records()]
        assert len(set(waiting + lent)) == len(waiting) + len(lent), f"{self.name}: a message is in two places"
        assert self.acked() >= 0, f"{self.name}: {self.acked()} acked"
        room = self.room() - self.putters.needed()
        assert 0 <= self.credit <= max(0, room), f"{self.name}: puts may exceed the capacity"
        assert not self.credit or not self.barred
        assert not self.rows or not self.simple, "what is in rows is not counted"
        assert not self.chunks or not (self.simple or self.spare), "a take in a hurry would pass by what is in chunks"
        if not self.closed and self.depot is not None:
            self.depot.check()
        if not self.closed:
            self.getters.check(self.lendable(None), f"{self.name}: getters")
            self.putters.check(self.room(), f"{self.name}: putters", in_order=True)
