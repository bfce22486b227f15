"""One bus: its lock, its offsets, its queues and whoever watches them.

What the engine has besides queues are rooms of their own: `wiring` (topics and bindings), `entry` (how messages get
in) and `archive` (what topics retain).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from threading import RLock
from typing import Any

from eventbus._core.archive import Archive
from eventbus._core.entry import Entry
from eventbus._core.errands import Errands, Note, Report, Tell, Watch
from eventbus._core.leases import Fate, Lease
from eventbus._core.queue import QueueState
from eventbus._core.waiting import Line, Waiter
from eventbus._core.wiring import Wiring
from eventbus.errors import ClosedError, DeclarationError
from eventbus.policy import DEAD_LETTERS, Overflow, Policy


class Engine:
    """The state of one bus."""

    def __init__(self, kind: type[Lease], report: Report) -> None:
        self.report = report
        self.kind = kind
        """The class of the leases that it makes: the face's `Delivery`."""
        self.lock = RLock()
        self.errands: Errands = deque()
        self.offset = 0
        self.queues: dict[str, QueueState] = {}
        self.joiners = Line()
        self.watches: tuple[Watch, ...] = ()
        self.watched = False
        self.closed = False
        self.handle: Any = None
        """The face's bus; opaque here."""
        self.wiring = Wiring(self)
        self.archive = Archive(self)
        self.entry = Entry(self)

    def require_open(self) -> None:
        """Refuse what comes after the end."""
        if self.closed:
            raise ClosedError("the bus")

    def declare_queue(self, name: str, policy: Policy | None, *, private: bool = False) -> QueueState:
        """The queue of this name, made if it is not there."""
        with self.lock:
            self.require_open()
            queue = self.queues.get(name)
            if queue is None:
                default = Policy(overflow=Overflow.DROP_OLDEST) if name == DEAD_LETTERS else Policy()
                queue = self.queues[name] = QueueState(self, name, policy or default, private=private)
            elif policy is not None and policy != queue.policy:
                raise DeclarationError(
                    f"queue {name!r} is declared with {queue.policy}, which differs from {policy}; "
                    f"declare it once, or leave the policy out to get what is there",
                    name=name,
                    declared=queue.policy,
                    requested=policy,
                )
            return queue

    def remove(self, queue: QueueState) -> None:
        """End a subscription: its bindings, its messages, and whoever waits on it."""
        with self.lock:
            if queue.closed:
                return
            self.wiring.unbind_all(queue)
            del self.queues[queue.name]
            queue.close(Fate.STALE)
            self.joiners.rouse_all(self.errands)

    # joining

    def join(self, waiter: Waiter) -> bool:
        """Whether every queue that has a consumer is settled; parks the waiter if not."""
        with self.lock:
            self.require_open()
            graves = {queue.policy.dead_letter for queue in self.queues.values()}
            busy = any(q.holders and q.unsettled() and name not in graves for name, q in self.queues.items())
            if busy:
                self.joiners.park(waiter)
            else:
                self.joiners.leave(waiter)
            for queue in self.queues.values():
                queue.refresh()
            return not busy

    def stop_joining(self, waiter: Waiter) -> None:
        """A joiner gave up."""
        with self.lock:
            self.joiners.leave(waiter)

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
        for queue in self.queues.values():
            queue.reclaim()  # what is reserved was lent untold
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

    def close(self) -> None:
        """The end of the bus."""
        with self.lock:
            self.closed = True
            for queue in self.queues.values():
                queue.close(Fate.CLOSED)
            self.archive.followers.rouse_all(self.errands)
            self.joiners.rouse_all(self.errands)
            self.entry.blocked.clear()

    def check(self) -> None:
        """Assert all that must hold between any two calls."""
        with self.lock:
            for name, queue in self.queues.items():
                assert queue.name == name
                queue.check()
            self.wiring.check()
            waiting = {w.party for q in self.queues.values() for w in (*q.putters.parked, *q.putters.woken)}
            assert self.entry.blocked.keys() <= waiting, "somebody is taken for blocked who waits nowhere"


def _forsake_line(line: Line, home: object) -> list[Waiter]:
    gone = [waiter for waiter in (*line.parked, *line.woken) if waiter.home is home]
    for waiter in gone:
        line.leave(waiter)
    return gone
