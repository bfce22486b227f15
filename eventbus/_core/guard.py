"""Who waits for a message or for room, and what the hot paths have to know of it.

The hot paths test one thing about all that is off: `credit` for puts, `spare` for takes, `sole` for reservations.
`credit` is how many messages may enter before somebody must look: the room beyond what those in line will take and,
where messages are reserved, no more than up to the highest level so far; it is 0 whenever a put needs more than a
push. `spare` is how many messages may be taken by newcomers before somebody must look: what is ready beyond what those
in line will take, and 0 whenever a take needs more than a pop; `free` is the same for takes in batches. All else (full,
paused, somebody in line, observers) is decided in the slow paths, which leave all of them right again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from eventbus._core.consumer import Holder
from eventbus._core.fifo import FifoBacklog
from eventbus._core.stock import Stock
from eventbus._core.waiting import Line, Waiter
from eventbus.policy import Policy

if TYPE_CHECKING:
    from eventbus._core.engine import Engine

PLENTY: Final = 1 << 29
"""Of `spare`, when nobody is in line: still a small int, and looked at hardly ever."""

FEW: Final = 256
"""With so few messages in memory, a durable queue reads more whatever else it does."""

STRIDE: Final = 256
"""How many messages may go by before somebody looks: that many puts of credit, that many reserved at once."""


class Guarded(Stock):
    """A stock, those who wait at its doors, and the flags that the doors go by."""

    __slots__ = (
        "alert",
        "barred",
        "calm",
        "eager",
        "ending",
        "exclusive",
        "free",
        "joiners",
        "lease",
        "paused",
        "putters",
        "received_from",
        "simple",
        "sole",
        "spare",
        "special",
        "timed",
    )

    def __init__(self, engine: Engine, name: str, policy: Policy, *, private: bool) -> None:
        super().__init__(engine, name, policy, private=private)
        self.putters = Line()
        self.joiners = Line()
        self.exclusive: Holder | None = None
        self.received_from = False
        """Whether anybody ever took a message by a plain `get()`, and so may come again and make room."""
        self.paused = False
        self.timed = False
        """Whether a look at the time comes before every take: for leases, and for messages that expire."""
        self.lease: float | None = None
        """Seconds after which a delivery runs out."""

        self.spare = 0
        """How many newcomers may take before somebody must look."""
        self.free = False
        """Whether a newcomer may take all that is ready, with no look at anything else."""
        self.calm = False
        """Whether nobody is in line and nothing is special; kept right where messages have deadlines."""
        self.barred = False
        """Whether no credit may be given: closed, loading, watched, separate lines, durable, or the bus drains."""
        self.special = False
        """Whether the queue is not in the common state: closed, paused, watched, exclusive, partly unread, or with
        separate lines."""
        self.sole: Holder | None = None
        """The only consumer, if nobody is in line and nothing is special: all that is ready is its share."""
        self.simple = False
        """Whether all that is ready is in `fresh` and `early` and nowhere else."""
        self.eager = False
        """Whether the handout of a reserved message must be looked at: for who waits for room, or for a new peak."""
        self.alert = False
        """Whether an ack must be looked at: lanes, a journal, somebody waits for the end, or an observer."""
        self.ending = False
        """Whether somebody waits for the end."""

    def lines(self) -> set[Line]:
        """All the lines in which somebody may wait."""
        return {self.getters, self.putters, self.joiners, *(holder.line for holder in self.holders)}

    def lendable(self, holder: Holder | None) -> int:
        if self.paused or self.loading or not self.serves(holder):
            return 0
        if self.unread and self.depot is not None and self.depot.by_priority:
            return self.depot.lendable()
        return self.backlog.available(holder)

    def grant(self) -> int:
        """How many messages may enter before the next look; 0 if one more has to go the long way."""
        if self.barred:
            return 0
        ready = len(self.fresh) + len(self.early) if self.simple else self.ready()
        room = self.capacity - ready - self.pledged
        if self.putters.woken or self.putters.parked:
            room -= self.putters.needed()
        if room <= 0:
            return 0
        credit = STRIDE
        if room < credit:
            credit = room
        if self.prefetching:  # what is reserved is handed out without the lock, so the level must be known before
            below = self.peak - ready
            if below <= 0:
                self.rising = self.eager = True
                self.spare = 0
            elif below < credit:
                credit = below
        self.credit = credit
        self.granted += credit
        return credit

    def admits(self, waiter: Waiter | None, need: int = 1) -> bool:
        """Whether so many messages may enter now, given those who came before."""
        if (self.credit or self.grant()) >= need or self.drops:
            return True
        return self.room() >= need + self.putters.before(waiter)

    # after every change but the hot ones

    def changed(self) -> None:
        """Wake whoever can go on now, and set the flags of the hot paths."""
        self.note_level()
        if self.unread and self.depot is not None and len(self.backlog) < FEW:
            self.depot.ask_all()
        if self.getters.parked or self.separate:
            self.rouse_getters()
        if self.putters.parked:
            self.rouse_putters()
        if self.ending:
            self._wake_for_the_end()
        self.refresh()

    def rouse_getters(self) -> None:
        if not self.special:
            self.getters.rouse(self.backlog.available(None), self.errands)
        elif self.separate:
            for holder in self.holders:
                holder.line.rouse(self.lendable(holder), self.errands)
        else:
            self.getters.rouse(self.lendable(None), self.errands)

    def rouse_putters(self) -> None:
        self.putters.rouse_in_order(self.room(), self.errands)

    def _wake_for_the_end(self) -> None:
        if not self.busy():
            self.joiners.rouse_all(self.errands)
        if not self.pending():
            self.engine.joiners.rouse_all(self.errands)
        for holder in [h for h in self.holders if h.until_empty and self.drained_for(h)]:
            for waiter in [w for w in holder.line.parked if w.holder is holder]:
                holder.line.rouse_one(waiter, self.errands)

    def refresh(self) -> None:
        """Set the flags that the hot paths go by."""
        watched = self.engine.watched
        durable = self.depot is not None
        shut = self.closed or bool(self.loading) or watched
        self.special = shut or self.paused or self.separate or self.exclusive is not None or self.unread > 0
        self.ending = bool(self.joiners.parked or self.engine.joiners.parked) or any(
            holder.until_empty for holder in self.holders
        )
        self.alert = shut or self.ending or self.lanes is not None or durable
        self.simple = not self.prefetching and isinstance(self.backlog, FifoBacklog) and not (self.chunks or self.rows)
        self._refresh_guard()
        self.barred = shut or self.separate or durable or self.engine.draining
        if self.barred or self.putters.parked or self.putters.woken:
            self.granted -= self.credit
            self.credit = 0

    def _refresh_guard(self) -> None:
        getters = self.getters
        self.eager = self.rising or bool(self.putters.parked) or self.lease is not None
        self.sole = None
        self.free = False
        self.calm = not (self.special or self.prefetching or getters or self.putters)
        if self.eager or self.special or self.prefetching or self.timed:
            self.spare = 0
            if not self.special and not self.timed and len(self.holders) == 1 and not getters:
                self.sole = next(iter(self.holders))
        elif getters.parked or getters.woken:
            self.spare = 0 if self.chunks else max(0, self.backlog.available(None) - len(getters))
        else:
            self.free = True
            self.spare = 0 if self.chunks else PLENTY
