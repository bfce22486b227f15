"""A signal that comes in the very moment in which the main thread falls asleep wakes it all the same.

Between CPython's last look for signals and the system's own sleep there is a gap: a signal that comes there interrupts
nothing, and its handler runs when the sleep ends, which may be never. So does one that the system gives to another
thread. (`queue.Queue.get` has the same gap.) So while the main thread sleeps in a call of ours, whatever signal comes
also puts a byte into a pipe, and a thread that reads it wakes the sleeper. That wake is a hint like all others: the
main thread goes on in Python, where the signal's handler runs, and sleeps again if that let it. On Windows, where no
signal ends the wait for a lock, this alone lets Ctrl-C through.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Final

from eventbus._runtime.daemons import start_daemon

if TYPE_CHECKING:
    from eventbus._runtime.threads import ThreadSleeper

__all__ = ["VIGIL"]


class Vigil:
    """Kept while the main thread sleeps, from the first time that it does."""

    def __init__(self) -> None:
        self.sleeper: ThreadSleeper | None = None
        self.pipe: tuple[int, int] | None = None

    def over(self, sleeper: ThreadSleeper, seconds: float) -> None:
        """Have it sleep, in the main thread. Where somebody else wants to hear of signals, that is left alone."""
        _, mouth = self.pipe or self._start()
        before = -1
        try:
            before = signal.set_wakeup_fd(mouth, warn_on_full_buffer=False)
            if before != -1:
                signal.set_wakeup_fd(before)
            self.sleeper = sleeper
            sleeper.sleep(seconds)
        finally:
            self.sleeper = None
            signal.set_wakeup_fd(before)

    def _start(self) -> tuple[int, int]:
        self.pipe = ear, mouth = os.pipe()
        if sys.platform != "win32":
            os.set_blocking(mouth, False)
        start_daemon("eventbus-signals", self._listen, ear)
        return self.pipe

    def _listen(self, ear: int) -> None:
        while os.read(ear, 64):
            sleeper = self.sleeper
            if sleeper is not None:
                sleeper.run()

    def forget(self) -> None:
        """In a forked child, whose pipe is the parent's: a new one is made when needed."""
        pipe, self.pipe, self.sleeper = self.pipe, None, None
        if pipe is not None:
            before = signal.set_wakeup_fd(-1)
            if before not in (-1, pipe[1]):
                signal.set_wakeup_fd(before)
            for end in pipe:
                os.close(end)


VIGIL: Final = Vigil()
