"""The end of the interpreter: nobody is left asleep who would keep it from ending.

The interpreter waits for its threads. When the main thread is done and every other that it waits for sleeps in a call
of ours, with no end set, and nothing is due later, none of them can ever be woken: a bus was not closed. Then it is
closed here, so that they wake with `ClosedError`. As long as one thread is at work, or something is due, it may yet
wake the others, and nothing is done. Whoever has been told to wake counts as at work; and since the looks at several
threads are not one moment, all must be found asleep twice, and have slept between.
"""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from weakref import WeakSet

from eventbus._core.errands import run_errands
from eventbus._runtime.daemons import start_daemon

if TYPE_CHECKING:
    from eventbus._runtime.threads import Threads

Nap: TypeAlias = "tuple[int, int]"

BREATH: Final = 0.05
"""Seconds between two looks, once the main thread has ended: threads tell nobody that they end."""


class LastOrders:
    """Watches for the end, from the first time that a thread of this process sleeps."""

    def __init__(self) -> None:
        self.registered = False
        self.forget()

    def forget(self) -> None:
        """In a forked child, nobody sleeps."""
        self.lock = threading.Lock()
        self.watched: WeakSet[Threads] = WeakSet()
        self.ending = threading.Event()
        self.watcher: threading.Thread | None = None
        self.naps: set[Nap] | None = None
        """Who slept at the last look, if all did."""

    def watch(self, threads: Threads) -> bool:
        """Look after these too: whether somebody does, or it is too late and those who sleep have to."""
        if threads not in self.watched:
            with self.lock:
                if self.watcher is None:
                    self._register()
                    self.watcher = start_daemon("eventbus-exit", self._serve)
                self.watched.add(threads)  # last: another thread that finds them here goes by whether somebody watches
        if self.watcher is None:
            return False
        threads.watched_in = self.watched
        return True

    def _register(self) -> None:
        if self.registered:
            return
        # What `concurrent.futures` uses: `atexit` would come after the threads were waited for.
        register: Callable[[Callable[[], Any]], Any] = getattr(threading, "_register_atexit", atexit.register)
        try:
            register(self.end)
        except RuntimeError:  # the main thread has ended already
            self.end()
        self.registered = True

    def end(self) -> None:
        """The main thread has ended."""
        self.ending.set()

    def _serve(self) -> None:
        self.ending.wait()
        while self._others():
            self.look()
            threading.Event().wait(BREATH)

    def look(self) -> None:
        """Close all if nobody can ever wake again."""
        naps = self._naps()
        stuck = self._others() <= {ident for ident, _ in naps} and not self._expecting()
        before, self.naps = self.naps, naps if stuck else None
        if stuck and before == naps:
            self.close_all()

    def _all(self) -> list[Threads]:
        with self.lock:
            return list(self.watched)

    def _naps(self) -> set[Nap]:
        """Who sleeps, and nobody has called them: each with the ticket of the call that waits."""
        return {(ident, nap.ticket) for threads in self._all() for ident, nap in threads.naps() if not nap.called}

    def _expecting(self) -> bool:
        """Whether anything is to come without them: a retry, a commit. What only expires is not waited for."""
        return any(threads.engine.expecting() for threads in self._all())

    @staticmethod
    def _others() -> set[int | None]:
        """The threads that the interpreter waits for."""
        return {t.ident for t in threading.enumerate() if not t.daemon and t is not threading.main_thread()}

    def close_all(self) -> None:
        """Wake whoever sleeps, for good."""
        for threads in self._all():
            threads.engine.close()
            run_errands(threads.engine.errands)


LAST_ORDERS: Final = LastOrders()
