"""How messages are lent, whatever the state of the queue: the long ways. The short ones are in `flow`."""

from __future__ import annotations

from collections.abc import Sequence

from eventbus._core.consumer import Holder
from eventbus._core.guard import STRIDE
from eventbus._core.leases import Lease
from eventbus._core.timing import Timed
from eventbus._core.waiting import Waiter
from eventbus.errors import DeclarationError


class Lending(Timed):
    """Messages out, and who may have them."""

    __slots__ = ()

    def take_one(self, holder: Holder, waiter: Waiter | None = None) -> Lease | None:
        """Lend the next message, or park the waiter, whatever the state of the queue. An ended holder gets none."""
        with self.lock:
            if self._free_for(holder, waiter) <= 0:
                return None
            leases = self._lend(holder, 1)
            self._hand_out(leases)
            holder.line.leave(waiter)
            self.changed()
            return leases[0]

    def reserve_in_turn(self, holder: Holder, waiter: Waiter) -> Lease | None:
        """Lend one message, and reserve up to `prefetch` in all: a fair share of what is ready, no more."""
        with self.lock:
            free = self._free_for(holder, waiter)
            if free <= 0:
                return None
            contenders = len(self.servers()) + sum(w.holder in self.receiving for w in self.getters.parked)
            share = 1 if self.engine.watched else max(1, self.backlog.available(holder) // contenders)
            leases = self._lend(holder, min(holder.prefetch, share, free, STRIDE))
            holder.buffer.extend(leases[1:])
            self._hand_out(leases[:1])
            holder.line.leave(waiter)
            self.changed()
            return leases[0]

    def _lend(self, holder: Holder, count: int) -> list[Lease]:
        self.note_level()
        leases = self.backlog.lend_many(holder, count)
        holder.out.update(leases)
        self.engine.tell_each("delivered", leases)
        return leases

    def _hand_out(self, leases: Sequence[Lease]) -> None:
        """What was lent is in its consumer's hands from now on."""
        if self.lease is not None:
            self.start_leases(leases)

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
            self._dismiss(holder, waiter)
            return 0
        available = self.lendable(holder)
        if available <= 0 and self.serves(holder) and self.reclaim(holder):
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
            self._dismiss(holder, waiter)
        elif waiter is not None:
            line.park(waiter)
            self.changed()
        return 0

    def _dismiss(self, holder: Holder, waiter: Waiter | None) -> None:
        """Whoever waited on behalf of a holder that has ended waits no more."""
        holder.line.leave(waiter)
        self.changed()

    def handed_out(self, lease: Lease) -> None:
        """After a handout from a buffer, when `eager` asked for it."""
        with self.lock:
            self._hand_out((lease,))
            if self.rising:
                self.peak = max(self.peak, self.ready() + self.unread + 1)
            self.changed()
