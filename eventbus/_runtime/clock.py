"""The clocks. Every other file gets its time from a `Clock` that was handed to it."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["Clock", "monotonic", "monotonic_of", "time_of"]

monotonic = time.monotonic
"""For timeouts, which are real time whatever clock a bus has: a thread sleeps by the system's."""


class Clock:
    """The system's clocks, and the shape of any other: subclass it and override both to inject your own."""

    def time(self) -> float:
        """Seconds since the epoch, for timestamps."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds that never go back, for waiting."""
        return time.monotonic()

    def watch(self, leapt: Callable[[], None]) -> None:
        """Have ``leapt`` called after each leap; for a clock that stands still between leaps, as tests have it.

        A clock of your own that does not override this is looked at every 10 ms while something is to be done later.
        """


def time_of(clock: Clock) -> Callable[[], float]:
    """How to read a clock's time, for the hot paths: of the system's clock, the builtin itself."""
    return time.time if type(clock) is Clock else clock.time


def monotonic_of(clock: Clock) -> Callable[[], float]:
    """The same of its monotonic time."""
    return time.monotonic if type(clock) is Clock else clock.monotonic
