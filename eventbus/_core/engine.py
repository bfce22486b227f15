"""One bus: its lock, its offsets, its queues and whoever watches them.

What the engine has besides queues are rooms of their own: `wiring` (topics and bindings), `entry` (how messages get
in) and `archive` (what topics retain).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from threading import RLock
from typing import TYPE_CHECKING, Any, Final, Protocol

from eventbus._core.archive import Archive
from eventbus._core.entry import Entry
from eventbus._core.errands import Errands, Note, Report, Tell, Watch
from eventbus._core.guard import Guarded
from eventbus._core.leases import Fate, Lease
from eventbus._core.queue import QueueState
from eventbus._core.schedule import Schedule
from eventbus._core.waiting import Line, Waiter
from eventbus._core.wiring import Wiring
from eventbus.errors import ClosedError, DeclarationError, FailedError
from eventbus.message import Record
from eventbus.policy import DEAD_LETTERS, Overflow, Policy

if TYPE_CHECKING:
    from eventbus._core.outbox import Outbox

FORKED: Final = (
    "this bus belongs to the process that this one was forked from, so nothing can be sent, taken or settled here; "
    "make a bus of its own in the child"
)

DRAINING: Final = "the bus is closing, so it takes no more messages but from its own handlers; publish before its end"

SLICE: Final = 256
"""How many things that are due are done in one hold of the lock."""


class Engine:
    """The state of one bus."""

    def __init__(self, kind: type[Lease], report: Report) -> None:
        self.report = report
        self.kind = kind
        """The class of the leases that it makes: the face's `Delivery`."""
        self.lock = RLock()
        self.errands: Errands = deque()
        self.offset = 0
        self.now = 0.0
        """The monotonic time when the face last looked; what depends on time looks before."""
        self.time = 0.0
        """The time of day when something was last due."""
        self.doorbell = Doorbell()
        self.schedule = Schedule(self.errands, self.doorbell)
        self.calendar = Schedule(self.errands, self.doorbell)
        self.stirred: set[Guarded] = set()
        """The queues in which something was due, until they have been looked after."""
        self.queues: dict[str, QueueState] = {}
        self.joiners = Line()
        self.askers = Line()
        """Who waits for the answer to a request."""
        self.watches: tuple[Watch, ...] = ()
        self.watched = False
        self.draining = False
        """Whether it is about to end, and takes nothing more but from its handlers."""
        self.guarded = False
        """Whether no message enters by a short way: somebody watches, or it is draining or closed."""
        self.closed = False
        self.orphan = False
        """Whether this is a copy that a fork made: its threads and waiters are in the parent."""
        self.outbox: Outbox | None = None
        """What is to be written, if the bus has a journal."""
        self.data_of: Callable[[Record, QueueState], tuple[bytes, str | None] | None]
        """With a journal: the body and headers of a dead letter as it is to have them, if it can."""
        self.wiring = Wiring(self)
        self.archive = Archive(self)
        self.entry = Entry(self)

    def require_open(self) -> None:
        """Refuse what comes after the end."""
        if self.closed:
            if self.outbox is not None and self.outbox.broken is not None:
                raise FailedError(self.outbox.broken)
            raise ClosedError("the bus", FORKED if self.orphan else None)

    def require_entry(self, inside: bool) -> None:
        """Refuse messages after the end, and while the bus drains those from outside its handlers."""
        self.require_open()
        if self.draining and not inside:
            raise ClosedError("the bus", DRAINING)

    def declare_queue(self, name: str, policy: Policy | None, *, private: bool = False) -> QueueState:
        """The queue of this name, made if it is not there."""
        with self.lock:
            self.require_open()
            queue = self.queues.get(name)
            if queue is None:
                queue = QueueState(self, name, policy or self._default(name), private=private)
                self.queues[name] = queue
                self.declared(queue)
            elif policy is not None and policy != queue.policy:
                raise DeclarationError(
                    f"queue {name!r} is declared with {queue.policy}, which differs from {policy}; "
                    f"{self.advice('the policy')}",
                    name=name,
                    declared=queue.policy,
                    requested=policy,
                )
            return queue

    def advice(self, option: str) -> str:
        """What to do about a second declaration that differs from the first."""
        advice = f"declare it once, or leave {option} out to get what is there"
        if self.outbox is not None and self.outbox.open:
            advice += "; if it is the journal that has it so, declare it before you enter the bus"
        return advice

    def _default(self, name: str) -> Policy:
        """The policy of a queue that nobody has said anything about."""
        if name != DEAD_LETTERS:
            return Policy()
        return Policy(overflow=Overflow.DROP_OLDEST) if self.outbox is None else Policy(capacity=None)

    def declared(self, queue: QueueState) -> None:
        """Have written what is to be known of a queue. Under the lock."""
        if self.outbox is not None:
            self.outbox.declared(queue)

    def remove(self, queue: QueueState) -> None:
        """End a subscription: its bindings, its messages, and whoever waits on it."""
        with self.lock:
            if queue.closed:
                return
            self.wiring.unbind_all(queue)
            del self.queues[queue.name]
            queue.close(Fate.STALE)
            if self.outbox is not None:
                self.outbox.removed(queue)
            self.joiners.rouse_all(self.errands)

    # joining

    def join(self, waiter: Waiter) -> bool:
        """Whether every queue that has a consumer is settled; parks the waiter if not."""
        with self.lock:
            self.require_open()
            graves = {queue.policy.dead_letter for queue in self.queues.values()}
            serving = [queue for name, queue in self.queues.items() if queue.holders and name not in graves]
            return self._settled(waiter, lambda: any(queue.busy() for queue in serving))

    def _settled(self, waiter: Waiter, busy: Callable[[], bool]) -> bool:
        """Whether nothing is busy; parks the joiner if something is."""
        if busy():
            self.joiners.park(waiter)
            for queue in self.queues.values():
                queue.refresh()  # before another look: an ack takes no lock, and looks whether somebody waits
            if busy():
                return False
        self.stop_joining(waiter)
        return True

    def stop_joining(self, waiter: Waiter) -> None:
        """A joiner gave up, or need not wait."""
        with self.lock:
            if waiter in self.joiners:
                self.joiners.leave(waiter)
                for queue in self.queues.values():
                    queue.refresh()

    def drain(self) -> None:
        """Begin to end: from now on only handlers may publish, and who waits to do so learns of it."""
        with self.lock:
            self.draining = self.guarded = True
            for queue in self.queues.values():
                queue.putters.rouse_all(self.errands)
                queue.refresh()

    def drained(self, waiter: Waiter) -> bool:
        """Whether nothing is left for the handlers, but what comes later; parks the waiter if not."""
        with self.lock:
            if self.closed:
                return True
            queues = self.queues.values()
            return self._settled(waiter, lambda: any(queue.handled() and queue.pending() for queue in queues))

    # watching

    def watch(self, watch: Watch) -> None:
        """Tell this one too."""
        with self.lock:
            self.require_open()
            self._watch((*self.watches, watch))

    def unwatch(self, watch: Watch) -> None:
        """Tell this one no longer."""
        with self.lock:
            self._watch(tuple(other for other in self.watches if other is not watch))

    def _watch(self, watches: tuple[Watch, ...]) -> None:
        self.watches = watches
        self.watched = bool(watches)
        self.guarded = self.watched or self.draining or self.closed
        for queue in self.queues.values():
            queue.reclaim()  # what is reserved was lent untold
            for holder in queue.all_holders():
                holder.part()
            queue.changed()

    def note(self, text: str) -> None:
        """Have something said once the lock is released."""
        self.errands.append(Note(self.report, text))

    def tell(self, event: str, *facts: Any) -> None:
        """Have the watches told once the lock is released."""
        if self.watched:
            self.errands.append(Tell(self.watches, event, facts))

    def tell_each(self, event: str, leases: Iterable[Lease], *facts: Any) -> None:
        """The same for several leases."""
        if self.watched:
            for lease in leases:
                self.tell(event, lease, *facts)

    # time

    def fire(self, now: float, time: float) -> float:
        """Do a slice of what is due: the seconds until the next thing is, 0 or less if there may be more now."""
        with self.lock:
            self.now, self.time = max(self.now, now), time  # another thread may have looked since
            for schedule, moment in ((self.schedule, now), (self.calendar, time)):
                for _ in range(SLICE):
                    alarm = schedule.pop(moment)
                    if alarm is None:
                        break
                    alarm.fire(moment)
                    if alarm.due <= moment:  # it has more to do, and has done a slice
                        break
            while self.stirred:
                self.stirred.pop().changed()
            return min(self.schedule.first - now, self.calendar.first - time)

    def expecting(self) -> bool:
        """Whether a delay, a retry or a lease is still to come, or the journal has something to write or to read."""
        with self.lock:
            return self.schedule.expects() or (self.outbox is not None and self.outbox.at_work())

    # ending

    def forsake(self, home: object) -> None:
        """An event loop has ended: its consumers are gone, and nobody sleeps there any more."""
        with self.lock:
            for queue in list(self.queues.values()):
                for line in queue.lines():
                    for waiter in _forsake_line(line, home):
                        self.entry.blocked.pop(waiter.party, None)
                for holder in [h for h in queue.holders if h.home is home]:
                    queue.detach(holder)
                queue.changed()
            _forsake_line(self.archive.followers, home)
            _forsake_line(self.joiners, home)
            _forsake_line(self.askers, home)

    def close(self) -> None:
        """The end of the bus."""
        with self.lock:
            self.closed = self.guarded = True
            for queue in self.queues.values():
                queue.close(Fate.CLOSED)
            for topic in self.wiring.topics.values():
                if topic.seen is not None:
                    topic.seen.clear()
            self.archive.followers.rouse_all(self.errands)
            self.joiners.rouse_all(self.errands)
            self.askers.rouse_all(self.errands)
            self.errands.append(self.doorbell)

    def abandon(self) -> None:
        """In a forked child: the end, of which nobody is left to learn."""
        self.orphan = True
        self.close()
        if self.outbox is not None:
            self.outbox.forget()
        self.errands.clear()

    def check(self) -> None:
        """Assert all that must hold between any two calls."""
        with self.lock:
            for name, queue in self.queues.items():
                assert queue.name == name
                queue.check()
            self.wiring.check()
            self.schedule.check()
            self.calendar.check()
            waiting = {w.party for q in self.queues.values() for w in (*q.putters.parked, *q.putters.woken)}
            assert self.entry.blocked.keys() <= waiting, "somebody is taken for blocked who waits nowhere"


class Rung(Protocol):
    """Who hears the doorbell: the runtime's timers."""

    def ring(self) -> None: ...


class Doorbell:
    """An errand that is always the same: something is due sooner than all before, or never will be."""

    def __init__(self) -> None:
        self.answer: Callable[[], Rung | None] = lambda: None
        """Gives who is to hear of it, if the runtime is still there."""

    def run(self) -> None:
        answer = self.answer()
        if answer is not None:
            answer.ring()


def _forsake_line(line: Line, home: object) -> list[Waiter]:
    gone = [waiter for waiter in (*line.parked, *line.woken) if waiter.home is home]
    for waiter in gone:
        line.leave(waiter)
    return gone
