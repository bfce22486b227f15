"""Who works for a bus's handlers: tasks of one event loop, and threads.

The tasks run in the loop in which the bus was entered; a bus that threads entered starts a loop in a thread of its own
when the first task is to run. Tasks and threads belong to the bus, not to the block that entered it: nothing of theirs
is around the block's body, so whatever leaves it, leaves it as it is, and it may be left in another task than entered.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, Protocol

import anyio

from eventbus._core.engine import Engine
from eventbus._core.errands import run_errands
from eventbus._core.queue import QueueState
from eventbus._core.waiting import Waiter
from eventbus._runtime.parking import Port, Ports
from eventbus.errors import DeclarationError

__all__ = ["GRACE", "Crew", "Employer", "Worker", "start_thread"]

GRACE: Final = 5.0
"""Seconds that workers have, once they were cancelled, to end."""


class Employer(Protocol):
    """A handler, as its crew knows it."""

    @property
    def queue(self) -> Any: ...
    @property
    def function(self) -> Callable[..., Any]: ...
    def start(self) -> None: ...
    def stop(self, *, at_once: bool) -> None: ...


class Worker(Protocol):
    """One task or thread that works for a handler."""

    def stuck(self) -> bool:
        """Whether it runs what nobody can interrupt."""
        ...

    def lost(self) -> bool:
        """Whether the loop that it worked in has ended under it."""
        ...

    def leave(self) -> None:
        """It has ended."""
        ...


class Crew:
    """All who work for the handlers of one bus."""

    def __init__(self, engine: Engine, ports: Ports) -> None:
        self.engine = engine
        self.ports = ports
        self.started = False
        self.employers: dict[Employer, None] = {}
        self.workers: dict[Worker, None] = {}
        self.port: Port | None = None
        """The loop in which tasks work."""
        self.hall: Hall | None = None
        self.building = threading.Lock()

    # coming

    def take_on(self, employer: Employer) -> None:
        """A handler was registered: it starts now, or when the bus is entered."""
        with self.engine.lock:
            self.engine.require_open()
            self.employers[employer] = None
            started = self.started
        if started:
            employer.start()

    def require_own(self, queue: QueueState, function: object) -> None:
        """A function's name is its subscription's: refuse a second function of that name."""
        with self.engine.lock:
            others = [e for e in self.employers if e.queue._state is queue and e.function is not function]
        if others:
            raise DeclarationError(
                f"subscription {queue.name!r} is that of {others[0]!r}, and this other function has the same name; "
                f"give it a name of its own: .on('name')",
                name=queue.name,
            )

    def open(self, port: Port | None) -> None:
        """The bus was entered, in this loop or in none: let everyone start."""
        with self.engine.lock:
            if self.started:
                return
            self.started = True
            self.port = port
            waiting = list(self.employers)
        for employer in waiting:
            employer.start()

    def place(self) -> Port:
        """The loop for tasks."""
        with self.building:
            if self.port is None:
                self.hall = Hall(self.ports)
                self.port = self.hall.port
            return self.port

    def enter(self, worker: Worker) -> None:
        with self.engine.lock:
            self.workers[worker] = None

    # going

    def leave(self, worker: Worker) -> None:
        """A worker has ended."""
        with self.engine.lock:
            self.workers.pop(worker, None)
            self.engine.joiners.rouse_all(self.engine.errands)
        run_errands(self.engine.errands)

    def at_work(self) -> bool:
        """Whether anybody works, after a look for those who were lost."""
        for worker in [worker for worker in list(self.workers) if worker.lost()]:
            worker.leave()
        return bool(self.workers)

    def let_go(self, employer: Employer) -> None:
        """A handler has ended."""
        with self.engine.lock:
            self.employers.pop(employer, None)

    def dismiss(self) -> None:
        """Let every worker stop, and what they hold be released."""
        for employer in [] if self.engine.orphan else list(self.employers):
            employer.stop(at_once=True)

    def gone(self, waiter: Waiter) -> bool:
        """Whether all have ended who can; parks the waiter if not."""
        with self.engine.lock:
            if self.engine.orphan or all(worker.stuck() for worker in self.workers):
                self.engine.joiners.leave(waiter)
                return True
            self.engine.joiners.park(waiter)
            return False

    def finish(self, waited: bool) -> None:
        """The end: what still runs is left to itself."""
        if self.engine.orphan:
            return
        if self.hall is not None:
            self.hall.end()
        if waited and self.workers:
            names = ", ".join(sorted({repr(worker) for worker in self.workers}))
            self.engine.report(f"the bus is closed, and left behind what does not end: {names}", None)


class Hall:
    """A thread with an event loop, for the tasks of a bus that threads hold."""

    def __init__(self, ports: Ports) -> None:
        self.ports = ports
        self.ready = threading.Event()
        self.over: anyio.Event
        self.port: Port
        self.thread = start_thread(self._run, "eventbus-loop")
        self.ready.wait()

    def _run(self) -> None:
        anyio.run(self._main)

    async def _main(self) -> None:
        self.over = anyio.Event()
        self.port = self.ports.here()
        self.ready.set()
        await self.over.wait()

    def end(self) -> None:
        """Let the loop end, which cancels what still runs in it."""
        with suppress(RuntimeError):  # it has ended
            self.port.call(self.over.set)
        if not self.port.here():
            self.thread.join(GRACE)


def start_thread(target: Callable[[], None], name: str) -> threading.Thread:
    """A thread that does not keep the interpreter from ending."""
    thread = threading.Thread(target=target, name=name, daemon=True)
    thread.start()
    return thread
