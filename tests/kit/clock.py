"""A clock that moves when it is told to."""

from __future__ import annotations

from collections.abc import Callable

from eventbus import Clock

__all__ = ["ManualClock"]


class ManualClock(Clock):
    """Stands still until `advance`. Starts at ``start`` seconds since the epoch."""

    def __init__(self, start: float = 1_000_000_000.0) -> None:
        self._start = self._now = start
        self._watchers: list[Callable[[], None]] = []

    def time(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._now - self._start

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass."""
        if seconds < 0:
            raise ValueError(f"advance takes seconds of at least 0, but got {seconds!r}")
        self._now += seconds
        for leapt in self._watchers:
            leapt()

    def watch(self, leapt: Callable[[], None]) -> None:
        self._watchers.append(leapt)
