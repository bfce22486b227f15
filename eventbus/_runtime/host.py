"""What the faces of one bus share: its engine, its clock, and the ways to wait."""

from __future__ import annotations

from typing import Any, TypeVar

from eventbus._core.engine import Engine
from eventbus._runtime.clock import Clock, time_of
from eventbus._runtime.crew import Crew
from eventbus._runtime.forks import watch_forks
from eventbus._runtime.interrupts import SHIELD
from eventbus._runtime.parking import Ports
from eventbus._runtime.threads import Threads
from eventbus._runtime.timers import Timers

__all__ = ["Host"]

F = TypeVar("F")


class Host:
    """One bus, whichever faces it shows."""

    def __init__(self, engine: Engine, clock: Clock, isolating: Any, drain: float) -> None:
        self.engine = engine
        self.clock = clock
        self.now = time_of(clock)
        self.isolating = isolating
        """How the faces keep bodies apart; opaque here."""
        self.drain = drain
        """Seconds that the handlers have at the end to empty their queues."""
        self.ports = Ports(engine)
        self.threads = Threads(engine)
        self.timers = Timers(engine, clock)
        self.crew = Crew(engine, self.ports)
        self.journaling: Any = None
        """What the faces do with the bus's journal, if it has one; opaque here."""
        self.traced = False
        """Whether there is or was a handler, so that a publish has to look for its cause."""
        self.faces: dict[type, Any] = {}
        self.private_names = 0
        watch_forks(engine)

    def face(self, kind: type[F]) -> F:
        """The face of this kind, made when first asked for."""
        with self.engine.lock:
            if kind not in self.faces:
                self.faces[kind] = face = kind.__new__(kind)
                face._stand_on(self)  # type: ignore[attr-defined]  # what every face has
            return self.faces[kind]  # type: ignore[no-any-return]  # of its own kind

    def open(self) -> None:
        """Somebody enters the bus's block."""
        self.engine.require_open()
        SHIELD.cover(self.engine)

    def close(self) -> None:
        """The end. Twice is harmless."""
        SHIELD.uncover(self.engine)
        self.engine.close()
