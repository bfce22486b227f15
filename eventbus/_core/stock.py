"""What a queue holds, where each message of it is, and how many there are.

Conservation: in = acked + dead + dropped + purged + ready + delayed + out. An ack takes no lock, so acks are not
counted; they are what left a holder's `out` by no other way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from eventbus._core.backlog import Backlog, FifoBacklog, PriorityBacklog, offset_of
from eventbus._core.consumer import Holder
from eventbus._core.lanes import KeyedBacklog, Place, placer
from eventbus._core.leases import Fate, Lease
from eventbus._core.waiting import Line
from eventbus.errors import ClosedError
from eventbus.message import Key, Past, Record
from eventbus.policy import Keyed, Overflow, Policy, Priority

if TYPE_CHECKING:
    from eventbus._core.engine import Engine


class Stock:
    """The messages of one queue: those that are ready, and those that its holders have."""

    receivers: Holder
    """The holder of what plain `get()` calls received."""

    def __init__(self, engine: Engine, name: str, policy: Policy, *, private: bool) -> None:
        self.engine = engine
        self.lock = engine.lock
        self.errands = engine.errands
        self.kind = engine.kind
        self.name = name
        self.policy = policy
        self.private = private
        self.capacity = policy.capacity if policy.capacity is not None else 1 << 62
        self.backlog: Backlog
        self.fresh: deque[Record] = deque()
        self.early: list[tuple[int, Record]] = []
        """Those of a FIFO backlog; of any other, always empty."""
        self.lanes: KeyedBacklog | None = None
        self.place: Callable[[Key], Place] | None = None
        drops_oldest = policy.overflow is Overflow.DROP_OLDEST
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
        self.sticky = self.lanes is not None and self.lanes.order.sticky
        self.getters = Line()
        self.holders: dict[Holder, None] = {}
        self.closed = False
        self.prefetching = False
        """Whether a consumer may reserve messages, which then wait in its buffer."""
        self.handle: Any = None
        """The face's own object for this queue; opaque here."""

        self.credit = 0
        """How many more may enter before somebody must look."""
        self.granted = 0
        """How many ever entered, plus `credit`: so the hot path counts by spending."""
        self.turned_away = 0
        self.recovered = 0
        self.dropped = 0
        self.purged = 0
        self.dead = 0
        self.failed = 0
        self.peak = 0
        self.rising = False
        """Whether the level may be higher than `peak` tells."""

    # counting

    def reserved(self) -> int:
        return sum(len(holder.buffer) for holder in self.holders)

    def ready(self) -> int:
        return len(self.backlog) + self.reserved() if self.prefetching else len(self.backlog)

    def room(self) -> int:
        return self.capacity - self.ready()

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

    def all_holders(self) -> Iterator[Holder]:
        yield self.receivers
        yield from self.holders

    def note_level(self) -> None:
        """Measure the level: before it falls, and after it rose by another way than a put."""
        self.peak = max(self.peak, self.ready())
        self.rising = False
        self.granted -= self.credit
        self.credit = 0

    def require_open(self) -> None:
        if self.engine.closed:
            raise ClosedError("the bus")
        if self.closed:
            raise ClosedError(f"queue {self.name!r}")

    # taking back

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

    def _unlend(self, lease: Lease) -> None:
        lease._holder.out.discard(lease)
        lease._fate = Fate.STALE
        self.backlog.redelivered -= lease._record[8] is not None
        self.backlog.restore(lease._record, lease.lane)

    def _return(self, lease: Lease, failed: bool = False, error: str | None = None) -> None:
        """Back to its original place, with this delivery in its past."""
        past = Past(lease.attempt, lease.failures + failed, error)
        self.backlog.restore((*lease._record[:8], past), lease.lane)

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
