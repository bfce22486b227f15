"""What a command does as the owner of a journal: load lines into it, and put dead letters back."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import attrs

from eventbus import blocking
from eventbus.errors import CodecError, DeclarationError, FullError
from eventbus.inspection.forms import Form, sent_of
from eventbus.inspection.progress import Told

__all__ = ["Loaded", "Redriven", "load", "redrive"]

BATCH: Final = 1_000
"""Lines that are written together."""

PATIENCE: Final = 3.0
"""Seconds after which a queue that takes nothing is full: nobody consumes here."""


@attrs.frozen
class Loaded:
    """How many lines were loaded, how many were bad, and why it ended before the last, if it did."""

    lines: int
    bad: int
    why: str | None = None


@attrs.frozen
class Redriven:
    """How many messages were put back, and why no more, if more should have been."""

    count: int
    why: str | None = None


def load(
    path: str,
    name: str,
    to_topic: bool,
    lines: Iterable[bytes],
    form: Form,
    report: Callable[[int, str], None],
    told: Told,
) -> Loaded:
    """Send a message for each line. ``report`` is told of each bad line, with its number, and it goes on."""
    sent = bad = read = 0
    with blocking.Bus(path) as bus:
        send = bus.topic(name).publish_nowait if to_topic else bus.queue(name).put_nowait
        for number, line in enumerate(lines, 1):
            read += len(line)
            try:
                if line.strip():
                    one = sent_of(line, form)
                    send(one.body, key=one.key, headers=one.headers, priority=one.priority, id=one.id)
                    sent += 1
            except (ValueError, TypeError) as error:
                bad += 1
                report(number, _reason(error))
            except FullError as error:
                bus.flush()
                return Loaded(sent, bad, f"line {number} finds no room: {error}")
            if number % BATCH == 0:
                bus.flush()
                told(read, None)
        bus.flush()
    return Loaded(sent, bad)


def _reason(error: Exception) -> str:
    """What is wrong with a line: not what to do with a bus, which nobody has here."""
    return f"it cannot be encoded: {error.__cause__}" if isinstance(error, CodecError) else str(error)


def redrive(path: str, name: str, where: str | None, to: str | None, limit: int | None, told: Told) -> Redriven:
    """Put dead letters of a queue back."""
    with blocking.Bus(path) as bus:
        known = bus.stats().queues
        for queue in (name, to):
            if queue is not None and queue not in known:
                raise DeclarationError(f"there is no queue {queue!r}; there are {sorted(known)}", name=queue)
        letters, moved = bus.queue(name), 0
        while limit is None or moved < limit:
            try:
                letters.redrive(where, to, None if limit is None else limit - moved, timeout=PATIENCE)
                return Redriven(letters.stats().acked)
            except TimeoutError as error:
                if letters.stats().acked == moved:
                    return Redriven(moved, str(error))
                moved = letters.stats().acked
                told(moved, limit)
    return Redriven(moved)
