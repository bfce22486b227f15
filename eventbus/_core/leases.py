"""The life of a delivery: one transition table, ignorant of who calls it.

A `Lease` is one message lent by one queue to one holder, to be settled once. That "once" is decided by removing it
from its holder's set `out`, which CPython does atomically, with and without a GIL: whoever removes it settles it. So
an ack, by far the commonest settlement, needs no lock (`faces: Delivery.ack`); all others run under the lock.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, Final

from eventbus.errors import ClosedError, SettlementError, StaleDeliveryError
from eventbus.message import Record

if TYPE_CHECKING:
    from eventbus._core.consumer import Holder
    from eventbus._core.lanes import Lane
    from eventbus._core.lots import Chunk


class Fate(enum.Enum):
    """Where a delivery stands. The values are the names of the calls that lead there."""

    OUT = "out"
    ACKED = "ack"
    NACKED = "nack"
    RELEASED = "release"
    REJECTED = "reject"
    STALE = "stale"
    """The message went elsewhere: its lease ran out, its consumer closed, or its queue was sought or removed."""
    CLOSED = "closed"
    """The bus closed."""


OUT: Final = Fate.OUT
ACKED: Final = Fate.ACKED

SETTLEMENTS: Final = (Fate.ACKED, Fate.NACKED, Fate.RELEASED, Fate.REJECTED)

# from a state, by a call, to a state, or the error that the call gets. OUT leads wherever it is asked; a settled
# delivery accepts its own settlement again and refuses the others; nothing leads out of STALE and CLOSED.
AFTER: Final[dict[Fate, dict[Fate, Fate | type[Exception]]]] = {
    Fate.OUT: {call: call for call in SETTLEMENTS},
    **{
        settled: {call: call if call is settled else SettlementError for call in SETTLEMENTS} for settled in SETTLEMENTS
    },
    Fate.STALE: dict.fromkeys(SETTLEMENTS, StaleDeliveryError),
    Fate.CLOSED: dict.fromkeys(SETTLEMENTS, ClosedError),
}


REFUSED: Final[dict[Fate, type[Exception]]] = {
    Fate.STALE: StaleDeliveryError,
    Fate.CLOSED: ClosedError,
    **dict.fromkeys(SETTLEMENTS, SettlementError),
}
"""What another call than a settlement gets, once it is not out."""


class Lease:
    """One message lent to one holder. `Delivery`, what users hold, is this with methods."""

    __slots__ = ("__weakref__", "_chunk", "_due", "_fate", "_holder", "_index", "_lane", "_record", "body")

    body: Any
    _holder: Holder
    _record: Record
    _chunk: Chunk
    _index: int
    """Where its record is to be found, in place of `_record`, if it was lent in a lot."""
    _lane: Lane
    """Set in queues with lanes alone."""
    _due: float
    """When it runs out, in queues with leases alone."""
    _fate: Fate
    """Set by every settlement but an ack: what is not out, and has none, was acked. So the hot paths need not."""

    @property
    def record(self) -> Record:
        """The message as the queue has it."""
        try:
            return self._record
        except AttributeError:
            return self._chunk.records[self._index]

    @property
    def lane(self) -> Lane | None:
        """The lane that it was taken from, in a queue that has lanes."""
        return getattr(self, "_lane", None)

    def is_out(self) -> bool:
        """Whether it is not settled yet."""
        holder = self._holder
        if self in holder.out:
            return True
        with holder.queue.lock:
            holder.part()  # it may be part of a lot
            return self in holder.out

    @property
    def fate(self) -> Fate:
        """Where it stands."""
        return OUT if self.is_out() else getattr(self, "_fate", ACKED)

    @property
    def attempt(self) -> int:
        """How often this queue has delivered the message, this time included: 1 at first."""
        past = self.record[8]
        return 1 if past is None else past.attempts + 1

    @property
    def failures(self) -> int:
        """How many of the deliveries before this one failed."""
        past = self.record[8]
        return 0 if past is None else past.failures


def repeat(lease: Lease, call: Fate, name: str | None = None) -> None:
    """Settle what is not out any more: harmless if it is the same call again, else the error that says why not.

    Under the lock, so that a settlement in another thread is either not begun or done.
    """
    fate = lease.fate
    outcome = AFTER[fate][call] if name is None else REFUSED[fate]
    if isinstance(outcome, Fate):
        return
    queue, offset = lease._holder.queue.name, lease.record[0] or 0
    if outcome is ClosedError:
        lease._holder.queue.engine.require_open()
    if outcome is StaleDeliveryError:
        raise StaleDeliveryError(queue, offset, name or call.value)
    raise SettlementError(queue, offset, fate.value, name or call.value)


def require_out(lease: Lease) -> None:
    """Refuse what can't be acked in a transaction: unlike a repeated ack, that would not be harmless."""
    if not lease.is_out():
        repeat(lease, ACKED, "tx.ack")
