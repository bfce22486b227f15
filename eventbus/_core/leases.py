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


class Fate(enum.Enum):
    """Where a delivery stands. The values are the names of the calls that lead there."""

    OUT = "out"
    ACKED = "ack"
    NACKED = "nack"
    RELEASED = "release"
    REJECTED = "reject"
    STALE = "stale"
    """The message went elsewhere: its consumer closed, or its queue was sought or removed."""
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


class Lease:
    """One message lent to one holder. `Delivery`, what users hold, is this with methods."""

    __slots__ = ("_fate", "_holder", "_lane", "_record", "body")

    _record: Record
    _holder: Holder
    body: Any
    _lane: Lane
    """Set in queues with lanes alone."""
    _fate: Fate
    """Set by every settlement but an ack: what is not out, and has none, was acked. So the hot paths need not."""

    @property
    def lane(self) -> Lane | None:
        """The lane that it was taken from, in a queue that has lanes."""
        return getattr(self, "_lane", None)

    @property
    def fate(self) -> Fate:
        """Where it stands."""
        return OUT if self in self._holder.out else getattr(self, "_fate", ACKED)

    @property
    def attempt(self) -> int:
        """How often this queue has delivered the message, this time included: 1 at first."""
        past = self._record[8]
        return 1 if past is None else past.attempts + 1

    @property
    def failures(self) -> int:
        """How many of the deliveries before this one failed."""
        past = self._record[8]
        return 0 if past is None else past.failures


def repeat(lease: Lease, call: Fate) -> None:
    """Settle what is not out any more: harmless if it is the same call again, else the error that says why not.

    Under the lock, so that a settlement in another thread is either not begun or done.
    """
    fate = lease.fate
    outcome = AFTER[fate][call]
    if isinstance(outcome, Fate):
        return
    queue, offset = lease._holder.queue.name, lease._record[0] or 0
    if outcome is ClosedError:
        raise ClosedError("the bus")
    if outcome is StaleDeliveryError:
        raise StaleDeliveryError(queue, offset, call.value)
    raise SettlementError(queue, offset, fate.value, call.value)
