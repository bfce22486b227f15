"""Ctrl-C: at once while a call of ours waits, and put off to its end while one is at work.

Python runs a signal's handler between any two steps of the main thread, and the usual one raises there: within a
critical section it would leave the engine torn, or lose a message between the queue and its receiver. To look for it
would cost every call something. So the look is the handler's: as long as a bus is open in the main thread, a handler
stands around the one that was there (Python's, asyncio's, trio's or the program's own). It reads from the stack what
it interrupts. If that is our code at work, it does nothing, and a thread that sleeps until then repeats the signal a
moment later, until it finds anything else: the program's own code, or ours asleep. A repeat may come in the moment in
which the main thread falls asleep, and wake nobody (see `vigils`), so it is repeated until the handler has run; one
that comes after that is one too many, and ignored. Prior art: trio's protection from KeyboardInterrupt, which goes by
the stack too.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from types import CodeType, FrameType
from typing import Any, Final, TypeVar

from eventbus._core.engine import Engine
from eventbus._runtime.daemons import start_daemon

__all__ = ["SHIELD", "lets_through"]

C = TypeVar("C", bound=Callable[..., object])

MOMENT: Final = 0.0002
"""Seconds until a signal that was put off comes again."""

LONGEST: Final = 0.005
"""The moments double up to this, for a main thread that is busy in code that is not Python."""

KIN: Final = {
    *("abc", "anyio", "asyncio", "attr", "bisect", "collections", "contextlib", "enum", "heapq"),
    *("itertools", "random", "sortedcontainers", "threading", "trio", "types"),
}
"""Whose code we call while at work. What else is on top of ours is the program's (a filter, an observer)."""

FINALIZERS: Final = frozenset({"_weakrefset", "weakref"})
"""Whose code the garbage collector calls, in the middle of anything, when a bus is forgotten."""

_asleep: Final[set[CodeType]] = set()


def lets_through(function: C) -> C:
    """While this function is the innermost, a call of ours is asleep and may be interrupted."""
    _asleep.add(function.__code__)
    return function


def at_work(frame: FrameType | None) -> bool:
    """Whether the code that runs here is ours, or was called by ours and is not the program's.

    A finalizer counts too, whoever's it is: what is raised there, Python drops, and Ctrl-C would be lost.
    """
    if frame is None or frame.f_code in _asleep:
        return False
    while frame is not None:
        package, _, module = str(frame.f_globals.get("__name__", "")).partition(".")
        if package == "eventbus" and not module.startswith(("demo", "__main__")):
            return True
        if package in FINALIZERS or frame.f_code.co_name == "__del__":
            return True
        if package not in KIN:
            return False
        frame = frame.f_back
    return False


class Shield:
    """The handler that stands around the one that was there, while a bus is open."""

    def __init__(self) -> None:
        self.covered: set[Engine] = set()
        self.inner: Any = None
        self.bell = threading.Lock()
        self.sending = threading.Lock()
        """Held while a repeat is sent, which must not come once the handler is gone."""
        self.owed = False
        """Whether a signal was put off, and its handler has not been called yet."""
        self.repeated = False
        """Whether a repeat was sent since the last signal came."""
        self.repeater: threading.Thread | None = None

    def cover(self, engine: Engine) -> None:
        """Put off what would interrupt this engine at work. In the main thread, which alone is interrupted."""
        if threading.current_thread() is not threading.main_thread():
            return
        present = signal.getsignal(signal.SIGINT)
        if not callable(present):  # ignored, or the process is to die of it
            return
        self.covered.add(engine)
        if present != self.handle:
            self._start()
            self.inner = present
            signal.signal(signal.SIGINT, self.handle)

    def uncover(self, engine: Engine) -> None:
        """Put off nothing for this engine's sake any more."""
        self.covered.discard(engine)
        if self.covered or threading.current_thread() is not threading.main_thread():
            return
        with self.sending:
            if signal.getsignal(signal.SIGINT) == self.handle:
                signal.signal(signal.SIGINT, self.inner)

    def forget(self) -> None:
        """In a forked child, no bus is open."""
        if self.repeater is not None and signal.getsignal(signal.SIGINT) == self.handle:
            signal.signal(signal.SIGINT, self.inner)
        self.covered.clear()
        self.bell, self.sending = threading.Lock(), threading.Lock()
        self.owed = self.repeated = False
        self.repeater = None

    def handle(self, number: int, frame: FrameType | None) -> Any:
        """What Python calls, in the main thread."""
        repeated, self.repeated = self.repeated, False
        if repeated and not self.owed:
            return None
        if self.covered and at_work(frame):
            self.owed = True
            with suppress(RuntimeError):  # it was rung already
                self.bell.release()
            return None
        self.owed = False
        return self.inner(number, frame)

    def _start(self) -> None:
        """The repeater is started beforehand: a signal's handler must not start threads."""
        if self.repeater is None:
            self.bell.acquire()
            self.repeater = start_daemon("eventbus-interrupt", self._repeat)

    def _repeat(self) -> None:
        while True:
            self.bell.acquire()
            moment = MOMENT
            while self.owed:
                threading.Event().wait(moment)
                moment = min(2 * moment, LONGEST)
                with self.sending:
                    if self.owed:
                        self.repeated = True
                        _interrupt_main_thread()


def _interrupt_main_thread() -> None:
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    else:  # Windows
        signal.raise_signal(signal.SIGINT)


SHIELD: Final = Shield()
