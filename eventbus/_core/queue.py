"""One queue: its consumers, what settles its deliveries, and what people do to it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from eventbus._core.backlog import offset_of
from eventbus._core.consumer import Holder
from eventbus._core.flow import Flow
from eventbus._core.graves import bury
from eventbus._core.lanes import Place
from eventbus._core.leases import ACKED, Fate, Lease, repeat
from eventbus._core.waiting import Line, Waiter
from eventbus.errors import DeclarationError
from eventbus.message import Record
from eventbus.policy import Policy

if TYPE_CHECKING:
    from eventbus._core.engine import Engine


class QueueState(Flow):
    """All that a queue is; `eventbus.Queue` is a handle to it."""

    def __init__(self, engine: Engine, name: str, policy: Policy, *, private: bool = False) -> None:
        super().__init__(engine, name, policy, private=private)
        self.receivers = Holder(self, self.getters)
        self.refresh()

    # settling

    def after_ack(self, lease: Lease) -> None:
        """After an ack, when `alert` asked for it."""
        lock = self.lock
        try:
            lock.acquire()
            if self.lanes is not None and not self.closed:
                self.lanes.settled(lease._lane)
                if self.getters.parked or self.sticky:
                    self.rouse_getters()
            if self.engine.watched:
                self.engine.tell("settled", lease, ACKED.value)
            if self.ending:
                self._wake_for_the_end()
        finally:
            lock.release()

    def ack_many(self, leases: Sequence[Lease]) -> None:
        """Ack all of these that are out, which one holder has; then raise what the first of the others has to say."""
        with self.lock:
            out = leases[0]._holder.out
            others = [] if out.issuperset(leases) else [lease for lease in leases if lease not in out]
            acked = [lease for lease in leases if lease in out] if others else leases
            out.difference_update(leases)
            if self.alert:
                for lease in acked:
                    self.after_ack(lease)
            for lease in others:
                repeat(lease, ACKED)

    def settle(self, leases: Sequence[Lease], call: Fate, error: str | None, time: float) -> None:
        """Nack, release or reject all of these that are out; then raise what the first of the others has to say.

        A repeated call is harmless; any other second one raises, and changes nothing.
        """
        with self.lock:
            others = []
            for lease in leases:
                try:
                    lease._holder.out.remove(lease)
                except KeyError:
                    others.append(lease)
                else:
                    self._settle(lease, call, error, time)
            self.changed()
            for lease in others:
                repeat(lease, call)

    def _settle(self, lease: Lease, call: Fate, error: str | None, time: float) -> None:
        lease._fate = call
        self.failed += call in (Fate.NACKED, Fate.REJECTED)
        if call is Fate.REJECTED:
            self.backlog.settled(lease.lane)
            self.dead += 1
            bury(self, lease._record, "rejected", lease.attempt, error, time)
        else:
            self._return(lease, call is Fate.NACKED, error)
        self.engine.tell("settled", lease, call.value)

    def unlend(self, leases: Iterable[Lease]) -> None:
        """Take back what nobody has seen, as if it had never been lent."""
        with self.lock:
            for lease in leases:
                if lease in lease._holder.out:  # not recalled meanwhile
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

    def lines(self) -> set[Line]:
        """All the lines in which somebody may wait."""
        return {self.getters, self.putters, self.joiners, *(holder.line for holder in self.holders)}

    def leave(self, waiter: Waiter) -> None:
        """A waiter gave up; its wake goes to the next."""
        with self.lock:
            for line in self.lines():
                line.leave(waiter)
            self.changed()

    # reading history into it

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

    # the end

    def close(self, fate: Fate) -> None:
        """The end, under the lock: whoever waits is woken to learn of it, and what is out is nobody's any more."""
        self.closed = True
        for holder in self.all_holders():
            holder.closed = True
            holder.buffer.clear()
            self.purged += len(self._recall(holder, fate))
        records = self.backlog.clear()
        self.purged += len(records)
        for line in self.lines():
            line.rouse_all(self.errands)
        self.refresh()

    def check(self) -> None:
        """Assert all that must hold between any two calls."""
        self.backlog.check()
        for holder in self.all_holders():
            assert set(holder.buffer) <= holder.out, "reserved, but not out"
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
            self.putters.check(self.room(), f"{self.name}: putters", in_order=True)
