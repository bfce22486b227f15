"""Suspending a thread, and waking it from anywhere: what `parking` is for tasks.

A thread sleeps on a lock of its own that is held, and is woken by releasing it, which is native and costs about a
microsecond. That lock is a binary semaphore: a wake before the sleep ends the sleep at once, one too many is dropped.
Prior art: `threading.Condition`, which makes such a lock anew for each wait.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from threading import get_ident as this_thread
from typing import TypeVar

from eventbus._core.consumer import Holder
from eventbus._core.engine import Engine
from eventbus._core.errands import run_errands
from eventbus._core.waiting import Waiter
from eventbus._runtime.clock import monotonic
from eventbus._runtime.exits import BREATH, LAST_ORDERS
from eventbus._runtime.interrupts import lets_through
from eventbus._runtime.parking import PATIENCE
from eventbus._runtime.vigils import VIGIL

__all__ = ["Home", "Threads", "in_main_thread", "this_thread"]

R = TypeVar("R")


class ThreadSleeper(Waiter):
    """A waiter that is a thread."""

    __slots__ = ("bell", "called")

    home: Home

    def __init__(self, home: Home) -> None:
        super().__init__(home)
        self.called = False
        """Whether it was woken since it last tried."""
        self.bell = threading.Lock()
        self.bell.acquire()

    @lets_through
    def sleep(self, seconds: float) -> None:
        """Until it is woken, or so long; for ever if less than nothing."""
        self.bell.acquire(True, seconds)

    def rest(self, seconds: float) -> None:
        """Sleep, and let a signal end it if this is the main thread."""
        if self.home.main:
            VIGIL.over(self, seconds)
        else:
            self.sleep(seconds)

    def run(self) -> None:
        self.called = True
        try:  # noqa: SIM105  # `suppress` costs more than the wake
            self.bell.release()
        except RuntimeError:  # it was woken already
            pass


class Home:
    """One thread, as the place of its sleepers and consumers."""

    __slots__ = ("idle", "main")

    def __init__(self) -> None:
        self.main = this_thread() == threading.main_thread().ident
        self.idle: list[ThreadSleeper] = []
        """Sleepers that nobody uses now."""


def in_main_thread() -> bool:
    """Whether this is the thread that Ctrl-C interrupts."""
    return threading.current_thread() is threading.main_thread()


class Life:
    """Kept by a thread for itself alone, so it ends with the thread: that is how the end of a thread is found out."""

    __slots__ = ("engine", "home")

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.home = Home()

    def __del__(self) -> None:
        engine = self.engine
        engine.forsake(self.home)
        run_errands(engine.errands)


class Threads:
    """The threads that wait for one bus, and how they wait."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.local = threading.local()
        self.asleep: dict[int, ThreadSleeper] = {}
        """The threads that sleep until somebody wakes them."""
        self.watched_in: object = None
        """Where `LAST_ORDERS` watches them: another after a fork."""

    def naps(self) -> list[tuple[int, ThreadSleeper]]:
        """Who sleeps, from any thread: a dict is copied in one step."""
        return list(self.asleep.copy().items())

    def here(self) -> Home:
        """The home of the calling thread."""
        try:
            return self.local.life.home  # type: ignore[no-any-return]  # a thread's own attributes have no types
        except AttributeError:
            self.local.life = life = Life(self.engine)
            return life.home

    def until(
        self,
        attempt: Callable[[Waiter], R | None],
        give_up: Callable[[Waiter], None],
        holder: Holder | None = None,
        trouble: Callable[[], str | None] | None = None,
        *,
        timeout: float | None,
        what: Callable[[], str],
    ) -> R:
        """Try, sleep until woken, try again: what `attempt` returns once that is true, as `Ports.until`.

        `TimeoutError` after `timeout` seconds, which says for `what` it waited; the last thing before it is a try.
        """
        home = self.here()
        sleeper = home.idle.pop() if home.idle else ThreadSleeper(home)
        sleeper.begin(this_thread(), holder)
        errands = self.engine.errands
        outbox = self.engine.outbox
        start = 0.0 if timeout is None and trouble is None else monotonic()
        left = -1.0
        sleeper.called = False
        try:
            while not (result := attempt(sleeper)):
                if errands:
                    run_errands(errands)
                if timeout is not None:
                    left = start + timeout - monotonic()
                    if left <= 0:
                        raise TimeoutError(f"waited {timeout:g} s for {what()}, and it did not come")
                if outbox is not None:
                    outbox.require_another_thread()
                if trouble is None or not trouble():
                    self._sleep(sleeper, left)
                else:
                    sleeper.rest(PATIENCE if left < 0 else min(left, PATIENCE))
                    if monotonic() - start >= PATIENCE and (text := trouble()):
                        self.engine.report(text, None)
                        trouble = None
                sleeper.called = False
        except BaseException:
            give_up(sleeper)
            raise
        finally:
            if errands:
                run_errands(errands)
            sleeper.party = sleeper.holder = None
            home.idle.append(sleeper)
        return result

    def _sleep(self, sleeper: ThreadSleeper, seconds: float) -> None:
        if seconds >= 0:
            sleeper.rest(min(seconds, threading.TIMEOUT_MAX))
            return
        asleep, ident = self.asleep, this_thread()
        asleep[ident] = sleeper
        try:
            if self.watched_in is LAST_ORDERS.watched or LAST_ORDERS.watch(self):
                if sleeper.home.main:
                    VIGIL.over(sleeper, -1)
                else:
                    sleeper.bell.acquire()
                return
            while not sleeper.called:
                sleeper.rest(BREATH)
                LAST_ORDERS.look()
        finally:
            asleep.pop(ident, None)
