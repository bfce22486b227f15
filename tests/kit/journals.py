"""What tests do with journals: make faults, look into files, and compare what is left with what was promised."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from eventbus._journal.schema import connect

__all__ = ["Plan", "be_quiet", "check", "drain", "inject", "is_sound", "sqlite_error", "writer_of"]


def writer_of(bus: Any) -> Any:
    """Whoever writes a bus's journal."""
    return bus._host.journaling.writer


def sqlite_error(code: int) -> sqlite3.OperationalError:
    """What SQLite raises for a code."""
    full = code == sqlite3.SQLITE_FULL
    error = sqlite3.OperationalError("database or disk is full" if full else f"injected: error {code}")
    error.sqlite_errorcode = code
    return error


class Faulty:
    """A connection of which some calls fail."""

    def __init__(self, connection: sqlite3.Connection, plan: Plan) -> None:
        self._connection = connection
        self._plan = plan

    def execute(self, sql: str, *parameters: Any) -> Any:
        return self._plan.run(sql, lambda: self._connection.execute(sql, *parameters))

    def executemany(self, sql: str, rows: Any) -> Any:
        return self._plan.run(sql, lambda: self._connection.executemany(sql, rows))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


class Plan:
    """Which calls fail, and how.

    `wanted` looks at a statement and says whether it counts; the `at`-th that counts fails, and `times - 1` after it.
    With `late` it is done first, so that nobody can know.
    """

    def __init__(
        self, at: int, code: int, *, times: int = 1, late: bool = False, wanted: Callable[[str], bool] | None = None
    ) -> None:
        self.at = at
        self.code = code
        self.times = times
        self.late = late
        self.wanted = wanted or (lambda sql: True)
        self.seen = 0
        self.failed = 0
        self.armed = True

    def connect(self, *facts: Any) -> Any:
        return Faulty(connect(*facts), self)

    def run(self, sql: str, call: Callable[[], Any]) -> Any:
        if not self.armed or not self.wanted(sql):
            return call()
        self.seen += 1
        if not self.at <= self.seen < self.at + self.times:
            return call()
        self.failed += 1
        if self.late:
            call()
        raise sqlite_error(self.code)


def inject(bus: Any, plan: Plan) -> Any:
    """Let a bus that is not entered yet write through a faulty connection."""
    writer_of(bus).connect = plan.connect
    return bus


def check(bus: Any) -> None:
    """What must hold between any two calls, in the engine and by the numbers."""
    bus._engine.check()
    for name, s in bus.stats().queues.items():
        gone = s.acked + s.dead + s.dropped + s.purged
        assert s.published == gone + s.ready + s.delayed + s.out, f"{name}: {s}"


def drain(queue: Any, *, ack: bool = True) -> list[Any]:
    """All that is ready in a queue now, in order, as (offset, body); read from the disk if it lies there."""
    found = []
    with queue.consume(until_empty=True) as consumer:
        for delivery in consumer:
            found.append((delivery.offset, delivery.body))
            if ack:
                delivery.ack()
    return found


def be_quiet(bus: Any) -> None:
    """Wait until the writer has written and read all that it was asked for, so that time can stand still."""
    outbox, pause = writer_of(bus).outbox, threading.Event()
    while outbox.items or outbox.dirty or outbox.wanted or outbox.haul:
        pause.wait(0.0005)


def is_sound(path: Path) -> bool:
    """What SQLite itself has to say of a file."""
    with sqlite3.connect(path) as connection:
        verdict = connection.execute("PRAGMA integrity_check").fetchall()
    connection.close()
    return verdict == [("ok",)]
