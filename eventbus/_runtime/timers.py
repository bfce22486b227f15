"""Doing things when they are due: one thread for each bus that has something to do later.

It is started when first needed, and sleeps until the next thing is due or something comes that is due before; it never
polls. It holds its bus weakly, so that a forgotten bus can go. A clock that moves by leaps, as tests have it, tells of
each (`Clock.watch`) and needs no thread: what is due then is done in the call that moved it. Of any other clock of the
user's own nobody can know when it moves, so it is looked at every `GLANCE` seconds while something is to be done.
"""

from __future__ import annotations

import threading
import weakref
from typing import Final

from eventbus._core.engine import Engine
from eventbus._core.errands import run_errands
from eventbus._core.schedule import NEVER
from eventbus._runtime.clock import Clock, monotonic_of, time_of
from eventbus._runtime.daemons import start_daemon

__all__ = ["Timers"]

GLANCE: Final = 0.01


class Timers:
    """The time of one bus."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self.engine = engine
        self.time = time_of(clock)
        self.monotonic = monotonic_of(clock)
        self.steady = type(clock) is Clock
        self.leaps = not self.steady and getattr(type(clock), "watch", Clock.watch) is not Clock.watch
        self.bell = threading.Event()
        self.thread: threading.Thread | None = None
        engine.doorbell.answer = weakref.ref(self)
        if self.leaps:
            clock.watch(Leapt(self))

    def __del__(self) -> None:
        self.bell.set()

    def look(self) -> None:
        """Tell the engine what time it is, and do what is due; before a look at what may depend on time."""
        engine = self.engine
        now = self.monotonic()
        if now > engine.now:
            engine.now = now
        mortal = engine.calendar.first
        if engine.schedule.first <= now or (mortal != NEVER and mortal <= self.time()):
            self.turn()

    def turn(self) -> float | None:
        """Do all that is due, in slices: how many seconds until the next is, None if nothing is to be done."""
        engine = self.engine
        while True:
            now, time = self.monotonic(), self.time()
            left = engine.fire(now, time)
            run_errands(engine.errands)
            if left > 0:
                return None if left == NEVER else left

    def ring(self) -> None:
        """Something is due sooner than all before."""
        if self.leaps:
            self.turn()
            return
        if self.thread is None:
            with self.engine.lock:
                if self.thread is None and not self.engine.closed:
                    self.thread = start_daemon("eventbus-timer", _serve, weakref.ref(self), self.bell)
        self.bell.set()


def _serve(timers: weakref.ref[Timers], bell: threading.Event) -> None:
    """The thread: until its bus ends or is forgotten."""
    while (own := timers()) is not None and not own.engine.closed:
        bell.clear()
        left = own.turn()
        if left is not None:
            left = min(left if own.steady else GLANCE, threading.TIMEOUT_MAX)
        del own
        bell.wait(left)


class Leapt:
    """Called when a clock has leapt; keeps no bus alive."""

    def __init__(self, timers: Timers) -> None:
        self.timers = weakref.ref(timers)

    def __call__(self) -> None:
        timers = self.timers()
        if timers is not None:
            timers.turn()
