"""Where tasks sleep: an event loop, whichever it is.

A `Port` stands for one running event loop. A sleeping task is woken by its port: at once if the waker runs in the same
loop, else through a queue that the loop is asked to empty. Asking is an errand that comes after those that are there,
and so once for all whom a commit wakes: a loop that was asked for the first of them would take the interpreter's lock
from the waker, and find nobody else yet. All that a sleeper's state needs is that `rise` runs in its own loop.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ClassVar

from eventbus._core.errands import Errands
from eventbus._core.waiting import Waiter

__all__ = ["Port", "Sleeper"]


class Sleeper(Waiter, ABC):
    """A waiter that is a task of one event loop. A wake that finds it awake ends its next sleep at once."""

    __slots__ = ("port", "woken")

    port: Port
    woken: bool

    @abstractmethod
    def sleep(self) -> Awaitable[None]:
        """Until it is woken; cancellable."""

    @abstractmethod
    async def doze(self, seconds: float) -> None:
        """Until it is woken, at most so long."""

    @abstractmethod
    def rise(self) -> None:
        """Wake it, in its own loop."""


class Port(ABC):
    """One event loop, as the place of its sleepers."""

    party: Callable[[], object]
    """The current task."""
    time: Callable[[], float]
    """The loop's own time, by which it sleeps."""
    brief: ClassVar[bool] = False
    """Whether a turn of the loop costs less than a wait."""
    replaces: ClassVar[bool] = False
    """Whether a task can be cancelled by itself, so that another has to take its place."""

    def __init__(self, errands: Errands, forget: Callable[[Port], None]) -> None:
        self.errands = errands
        self.forget = forget
        """What to do when the loop turns out to have ended."""
        self.wakes: deque[Sleeper] = deque()
        self.asked = False
        self.idle: list[Sleeper] = []
        """Sleepers that nobody uses now."""

    @abstractmethod
    def ended(self) -> bool:
        """Whether the loop is closed, so that nobody will ever wake there."""

    @abstractmethod
    def here(self) -> bool:
        """Whether this is the loop that is running now."""

    @abstractmethod
    def sleeper(self) -> Sleeper:
        """A new sleeper of this loop."""

    @abstractmethod
    def ask(self, call: Callable[[], None]) -> None:
        """Have the loop call this soon, from any thread; RuntimeError if it has ended."""

    @abstractmethod
    def spawn(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Start a task that has no parent, in this loop."""

    @abstractmethod
    def cancelling(self) -> bool:
        """Whether somebody wants the running task to end."""

    def call(self, call: Callable[[], None]) -> None:
        """Have the loop call this, at once if it is the one that runs here."""
        if self.here():
            call()
        else:
            self.ask(call)

    def post(self, sleeper: Sleeper) -> None:
        """Wake a sleeper from another thread, which runs errands."""
        self.wakes.append(sleeper)
        if not self.asked:
            self.asked = True
            self.errands.append(self)

    def run(self) -> None:
        """Ask the loop for all wakes that have gathered."""
        try:
            self.ask(self._rise_all)
        except RuntimeError:  # the loop has ended: the wake goes to the next in line
            self.wakes.clear()
            self.forget(self)

    def _rise_all(self) -> None:
        self.asked = False
        while self.wakes:
            self.wakes.popleft().rise()
