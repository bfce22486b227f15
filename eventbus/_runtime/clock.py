"""The clocks. Every other file gets its time from a `Clock` that was handed to it."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["Clock", "time_of"]


class Clock:
    """The system's clocks, and the shape of any other: subclass it and override both to inject your own."""

    def time(self) -> float:
        """Seconds since the epoch, for timestamps."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds that never go back, for waiting."""
        return time.monotonic()


def time_of(clock: Clock) -> Callable[[], float]:
    """How to read a clock's time, for the hot paths: of the system's clock, the builtin itself."""
    return time.time if type(clock) is Clock else clock.time
