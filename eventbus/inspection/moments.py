"""Times and sizes, as people write and read them."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final, TypeAlias

import attrs

from eventbus._journal.log import Log
from eventbus.filters.predicate import as_predicate
from eventbus.message import Key, Record

__all__ = ["Moment", "Test", "age", "instant", "key_of", "moment", "place_of", "size", "test_of"]

DIGITS: Final = 18
"""Of an offset: SQLite's integers have an end."""

Test: TypeAlias = Callable[[Record], bool]


@attrs.frozen
class Moment:
    """An offset, or else a time in seconds since the epoch."""

    offset: int = 0
    time: float | None = None


def moment(text: str) -> Moment:
    """EARLIEST, an offset, or an ISO time, which is local where it has no zone."""
    if text.upper() == "EARLIEST":
        return Moment()
    number = text.isascii() and text.isdigit()
    if number and len(text) <= DIGITS:
        return Moment(int(text))
    with suppress(ValueError, OverflowError, OSError):
        if not number:
            return Moment(time=datetime.fromisoformat(text).timestamp())
    raise ValueError(f"takes EARLIEST, an offset or an ISO time such as 2026-01-31T12:00, but got {text!r}")


def place_of(log: Log, when: Moment) -> int:
    """The offset up to which everything is earlier."""
    return when.offset - 1 if when.time is None else log.after_of(when.time)


def instant(time: float) -> str | None:
    """A time as ISO has it, in UTC; None if it is so far that no calendar has it, as never."""
    try:
        return datetime.fromtimestamp(time, UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return None


def key_of(text: str | None) -> Key:
    """A key as it was typed: text, or the bytes if they are no text."""
    if text is None:
        return None
    data = os.fsencode(text)
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def age(seconds: float | None) -> str:
    """A span of time, short."""
    if seconds is None:
        return "-"
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def size(count: int) -> str:
    """Bytes, short."""
    for unit, length in (("GB", 1 << 30), ("MB", 1 << 20), ("kB", 1 << 10)):
        if count >= length:
            return f"{count / length:.1f} {unit}"
    return f"{count} bytes"


def test_of(where: str | None) -> Test:
    """Whether a filter, given as text, wants a message. `FilterError` if it is none."""
    return as_predicate(where).test or _everything


def _everything(record: Record) -> bool:
    return True
