"""What a queue holds, where each message of it is, and how many there are.

Conservation: in = acked + dead + dropped + purged + ready + delayed + out. An ack takes no lock, so acks are not
counted; they are what left a holder's `out` by no other way. What is ready is in the backlog, or reserved, or, of a
durable queue, on disk and unread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, Any

from eventbus._core.backlog import Backlog, offset_of
from eventbus._core.consumer import Holder
from eventbus._core.fifo import FifoBacklog
from eventbus._core.lanes import KeyedBacklog, Place, placer
from eventbus._core.leases import Fate, Lease
from eventbus._core.lots import Chunk
from eventbus._core.ranks import PriorityBacklog
from eventbus._core.waiting import Line
from eventbus.errors import ClosedError
from eventbus.message import Key, Past, Record
from eventbus.policy import Keyed, Overflow, Policy, Priority

if TYPE_CHECKING:
    from eventbus._core.delays import Delays
    from eventbus._core.depot import Depot
    from eventbus._core.engine import Engine
    from eventbus._core.lanes import Lane


class Stock:
    """The messages of one queue: those that are ready, and those that its holders have."""

    __slots__ = (
        "active",
        "backlog",
        "capacity",
        "chunks",
        "closed",
        "credit",
        "dead",
        "delayed",
        "delays",
        "depot",
        "dropped",
        "drops",
        "early",
        "engine",
        "errands",
        "failed",
        "fresh",
        "getters",
        "granted",
        "handles",
        "holders",
        "kind",
        "lanes",
        "loading",
        "loads",
        "lock",
        "name",
        "peak",
        "place",
        "plain",
        "pledged",
        "policy",
        "prefetching",
        "private",
        "purged",
        "push",
        "push_at",
        "recovered",
        "rising",
        "rows",
        "separate",
        "subscription",
        "turned_away",
        "type",
        "unread",
        "withheld",
    )

    receiving: list[Holder]
    """Who holds what plain `get()` calls received: one for each face of the queue that is in use, at least one."""

    def __init__(self, engine: Engine, name: str, policy: Policy, *, private: bool) -> None:
        self.engine = engine
        self.lock = engine.lock
        self.errands = engine.errands
        self.kind = engine.kind
        self.name = name
        self.policy = policy
        self.private = private
        self.capacity = policy.capacity if policy.capacity is not None else 1 << 62
        self.drops = policy.overflow in (Overflow.DROP_OLDEST, Overflow.DROP_NEWEST)
        """Whether it always admits a message, and finds out when that arrives which one has no place."""
        self.backlog: Backlog
        self.fresh: deque[Record] = deque()
        self.early: list[Record] = []
        self.chunks: deque[Chunk] = deque()
        self.rows: dict[int, list[Record]] = {}
        """Those of a FIFO backlog; of any other, always empty."""
        self.lanes: KeyedBacklog | None = None
        self.place: Callable[[Key], Place] | None = None
        self.plain: FifoBacklog | PriorityBacklog | None = None
        """The backlog, if it has no lanes."""
        drops_oldest = policy.overflow is Overflow.DROP_OLDEST
        if isinstance(policy.order, Keyed):
            self.backlog = self.lanes = KeyedBacklog(engine.kind, policy.order, drops_oldest)
            self.place = placer(policy.order)
            self.push_at = self.lanes.push_at
        elif isinstance(policy.order, Priority):
            self.backlog = self.plain = ranks = PriorityBacklog(engine.kind, drops_oldest)
            self.push: Callable[[Record], None] = ranks.push
        else:
            self.backlog = self.plain = fifo = FifoBacklog(engine.kind)
            self.fresh, self.early, self.chunks, self.rows = fifo.fresh, fifo.early, fifo.chunks, fifo.rows
            self.push = fifo.push
        self.separate = policy.single_active or (self.lanes is not None and self.lanes.order.sticky)
        """Whether it matters which consumer asks, so that each stands in a line of its own, and there is no `get()`."""
        self.active: Holder | None = None
        """With `single_active`, the only consumer that gets messages, as long as there is any."""
        self.getters = Line()
        self.holders: dict[Holder, None] = {}
        self.closed = False
        self.prefetching = False
        """Whether a consumer may reserve messages, which then wait in its buffer."""
        self.handles: dict[object, Any] = {}
        """The faces' own objects for this queue, and the type of its bodies; opaque here."""
        self.type: Any = None
        self.subscription: bool | None = None
        """Whether people declared it as a subscription; None while it was only made by need."""

        self.depot: Depot | None = None
        """Its place in the journal, if it is durable."""
        self.unread = 0
        """How many messages are in the journal only."""
        self.pledged = 0
        """How many have a place here and are being written."""
        self.withheld = 0
        """How many deliveries are being acked by a transaction."""
        self.loading = 0
        """While history is read into it, a queue lends nothing, so that nothing overtakes: the number of that load."""
        self.loads = 0

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
        self.delays: Delays
        self.delayed: dict[int, Record]
        """By offset: what is to be ready later."""
        self.peak = 0
        self.rising = False
        """Whether the level may be higher than `peak` tells."""

    # who may take

    def serves(self, holder: Holder | None) -> bool:
        """Whether this holder is not one that has to wait until another ends."""
        return self.active is None or self.active is holder

    def servers(self) -> Collection[Holder]:
        """The consumers that may take messages now."""
        return self.holders if self.active is None else (self.active,)

    # counting

    def reserved(self) -> int:
        return sum(len(holder.buffer) for holder in self.holders)

    def ready(self) -> int:
        return len(self.backlog) + self.reserved() if self.prefetching else len(self.backlog)

    def vacant(self) -> int:
        """How many places are empty, whoever they are kept for."""
        return self.capacity - self.ready() - self.unread

    def room(self) -> int:
        return self.capacity - self.ready() - self.unread - self.pledged

    def pledge(self, count: int) -> None:
        """Keep places for messages that are being written."""
        self.pledged += count
        if self.credit:  # it reckoned with those places
            self.granted -= self.credit
            self.credit = 0

    def in_memory(self) -> int:
        return len(self.backlog) + len(self.delayed) + sum(holder.lent() for holder in self.all_holders())

    def unsettled(self) -> int:
        return self.in_memory() + self.unread + self.withheld

    def busy(self) -> bool:
        """Whether something is unsettled, or on its way here."""
        return bool(self.unsettled() or self.pledged or self.loading)

    def pending(self) -> int:
        """How many are ready, out, on their way or waiting for a retry: all but what is to come later.

        History that is being read counts as one, since nobody knows yet.
        """
        history = bool(self.loading)
        return self.unsettled() + self.pledged + history - len(self.delayed) + len(self.delays.lanes)

    def handled(self) -> bool:
        """Whether it has a handler."""
        return any(holder.serving for holder in self.holders)

    def published(self) -> int:
        return self.granted - self.credit + self.turned_away + self.recovered

    def acked(self) -> int:
        return self.published() - self.gone() - self.unsettled()

    def gone(self) -> int:
        """How many ended in another way than by an ack."""
        return self.dead + self.dropped + self.purged

    def oldest(self) -> Record | None:
        """The longest waiting of what is ready; what is reserved was taken from the front."""
        # Copied first: a handout takes no lock.
        buffers = [buffer[0].record for holder in self.holders if (buffer := holder.buffer.copy())]
        waiting = self.backlog.oldest()
        return min([*buffers, *([waiting] if waiting is not None else [])], key=offset_of, default=None)

    def drained_for(self, holder: Holder) -> bool:
        """Whether nothing is left that this consumer could still get, now or when another gives it back."""
        if len(self.backlog) or self.delays.lanes or self.unread or self.pledged or self.loading:
            return False
        return not any(other.lent() for other in self.all_holders() if other is not holder)

    def all_holders(self) -> Iterator[Holder]:
        yield from self.receiving
        yield from self.holders

    def note_level(self) -> None:
        """Measure the level: before it falls, and after it rose by another way than a put."""
        level = self.ready() + self.unread
        if level > self.peak:
            self.peak = level
        self.rising = False
        if self.credit:
            self.granted -= self.credit
            self.credit = 0

    def require_open(self) -> None:
        self.engine.require_open()
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
        self.backlog.redelivered -= lease.record[8] is not None
        self._restore(lease.record, lease.lane)

    def _return(self, lease: Lease) -> None:
        """Back to its original place, with this delivery in its past."""
        past = Past(lease.attempt, lease.failures)
        self._restore((*lease.record[:8], past), lease.lane)

    def _restore(self, record: Record, lane: Lane | None) -> None:
        self.backlog.restore(record, lane)

    def _recall(self, holder: Holder, fate: Fate = Fate.STALE) -> list[Lease]:
        """Take every delivery from a holder, by offset."""
        holder.part()
        leases = []
        while holder.out:
            try:
                lease = holder.out.pop()
            except KeyError:  # acked in this moment, in another thread
                break
            lease._fate = fate
            leases.append(lease)
        return sorted(leases, key=lambda lease: offset_of(lease.record))
