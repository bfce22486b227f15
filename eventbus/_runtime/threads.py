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

    __slots__ = ("asleep", "ident", "idle", "main")

    def __init__(self) -> None:
        self.ident = this_thread()
        self.main = self.ident == threading.main_thread().ident
        self.asleep: ThreadSleeper | None = None
        """What it sleeps in until somebody wakes it, if it does."""
        self.idle: list[ThreadSleeper] = []
        """Sleepers that nobody uses now."""


def in_main_thread() -> bool:
    """Whether this is the thread that Ctrl-C interrupts."""
    return threading.current_thread() is threading.main_thread()


class Life:
    """Kept by a thread for itself alone, so it ends with the thread: that is how the end of a thread is found out."""

    __slots__ = ("engine", "home", "homes")

    def __init__(self, engine: Engine, homes: dict[Home, None]) -> None:
        self.engine = engine
        self.home = Home()
        self.homes = homes
        homes[self.home] = None

    def __del__(self) -> None:
        engine = self.engine
        self.homes.pop(self.home, None)
        engine.forsake(self.home)
        run_errands(engine.errands)


class Threads:
    """The threads that wait for one bus, and how they wait."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.local = threading.local()
        self.homes: dict[Home, None] = {}
        self.watched_in: object = None
        """Where `LAST_ORDERS` watches them: another after a fork."""

    def naps(self) -> list[tuple[int, ThreadSleeper]]:
        """Who sleeps until somebody wakes them, by their threads; from any thread: a dict is copied in one step."""
        return [(home.ident, nap) for home in self.homes.copy() if (nap := home.asleep) is not None]

    def here(self) -> Home:
        """The home of the calling thread."""
        try:
            return self.local.life.home  # type: ignore[no-any-return]  # a thread's own attributes have no types
        except AttributeError:
            self.local.life = life = Life(self.engine, self.homes)
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
        try:
            home = self.local.life.home  # `here` in place: see `_sleep`
        except AttributeError:
            home = self.here()
        sleeper = home.idle.pop() if home.idle else ThreadSleeper(home)
        sleeper.begin(home.ident, holder)
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
                    left = _left(start, timeout, what)
                if outbox is not None:
                    outbox.require_another_thread()
                if trouble is None and left < 0:
                    self._sleep(sleeper)
                elif self._doze(sleeper, trouble, start, left):
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

    def _sleep(self, sleeper: ThreadSleeper) -> None:
        """Until it is woken; in few steps, since whom this thread has woken wants the interpreter's lock by now."""
        home = sleeper.home
        home.asleep = sleeper
        try:
            if self.watched_in is not LAST_ORDERS.watched and not LAST_ORDERS.watch(self):
                while not sleeper.called:
                    sleeper.rest(BREATH)
                    LAST_ORDERS.look()
            elif home.main:
                VIGIL.over(sleeper, -1)
            else:
                sleeper.bell.acquire()
        finally:
            home.asleep = None

    def _doze(
        self, sleeper: ThreadSleeper, trouble: Callable[[], str | None] | None, start: float, left: float
    ) -> bool:
        """Until it is woken, for the seconds that are left, or until there is something to look after: whether trouble
        was reported."""
        if trouble is None or not trouble():
            if left < 0:
                self._sleep(sleeper)
            else:
                sleeper.rest(min(left, threading.TIMEOUT_MAX))
            return False
        sleeper.rest(PATIENCE if left < 0 else min(left, PATIENCE))
        if monotonic() - start < PATIENCE or (text := trouble()) is None:
            return False
        self.engine.report(text, None)
        return True


def _left(start: float, timeout: float, what: Callable[[], str]) -> float:
    left = start + timeout - monotonic()
    if left <= 0:
        raise TimeoutError(f"waited {timeout:g} s for {what()}, and it did not come")
    return left
