"""Where orders come from: JSON lines out of a file or standard input, or a seeded generator."""

from __future__ import annotations

import json
import math
import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, BinaryIO, Final, NoReturn, Protocol

import anyio
import anyio.to_thread
import attrs

from eventbus.demo.messages import Order

__all__ = ["Batch", "Input", "Problem", "Source", "generated", "open_input"]

READ: Final = 1 << 16
"""Bytes read at a time: some 600 orders, a few milliseconds of parsing."""

LONGEST: Final = 1 << 20
"""Bytes of the longest line that is looked at, so that a file without line ends does not fill the memory."""

BATCH: Final = 500
"""Orders that the generator makes at a time."""

CUSTOMERS: Final = 5_000


@attrs.frozen
class Problem:
    """A line that is no order, counted from 1, and why."""

    line: int
    reason: str


@attrs.frozen
class Batch:
    """What one read brought."""

    orders: list[Order]
    problems: list[Problem]


class Source(Protocol):
    """Where orders come from, a batch at a time; None is the end."""

    async def read(self) -> Batch | None: ...


class Input:
    """A source that makes its batches in a thread, so that reading and parsing never hold up the event loop.

    ``expected`` is the number of orders if it is known before. ``report`` is told of each bad line, in the event loop.
    """

    def __init__(
        self,
        batches: Iterator[Batch],
        *,
        expected: int | None = None,
        report: Callable[[Problem], None] = lambda problem: None,
        file: BinaryIO | None = None,
    ) -> None:
        self.expected = expected
        self.bad_lines = 0
        self._batches = batches
        self._report = report
        self._file = file
        self._pipe = file if file is not None and _makes_wait(file) else None

    async def read(self) -> Batch | None:
        """The next batch."""
        if self._pipe is not None:
            # A thread blocked in a read can't be interrupted and would hold up the end of the process, so wait here.
            with suppress(OSError):  # where a pipe can't be waited for, the thread has to
                await anyio.wait_readable(self._pipe)
        batch = await anyio.to_thread.run_sync(next, self._batches, None, abandon_on_cancel=True)
        for problem in batch.problems if batch is not None else ():
            self.bad_lines += 1
            self._report(problem)
        return batch

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def open_input(path: str, report: Callable[[Problem], None]) -> Input:
    """A file of orders as JSON lines; ``-`` is standard input. Raises `OSError`."""
    file = Path(path).open("rb") if path != "-" else _stdin()  # noqa: SIM115  # `Input.close` closes it
    return Input(parsed(file), report=report, file=file)


def _stdin() -> BinaryIO:
    if sys.stdin is None:
        raise OSError(0, "it is closed")
    return sys.stdin.buffer


def _makes_wait(file: BinaryIO) -> bool:
    """Whether a read may have to wait for somebody: a pipe, a socket, a terminal."""
    try:
        mode = os.fstat(file.fileno()).st_mode
    except OSError:  # no file of the system: standard input in a test
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or file.isatty()


# reading


def parsed(file: BinaryIO) -> Iterator[Batch]:
    """The orders of a file of JSON lines. Blank lines are skipped; an order's number is its place among the orders."""
    number = 0
    for first, lines in _lines(file):
        batch = Batch([], [])
        for place, line in enumerate(lines, first):
            if not line.strip():
                continue
            try:
                batch.orders.append(order_of(line, number + 1))
                number += 1
            except ValueError as error:
                batch.problems.append(Problem(place, str(error)))
        yield batch


def _lines(file: BinaryIO) -> Iterator[tuple[int, list[bytes]]]:
    """Whole lines as they come, with the number of the first. Of an overlong one only so much that it can be told."""
    rest, count = b"", 1
    while data := file.read1(READ):  # type: ignore[attr-defined]  # at most one read: what a pipe has now
        *lines, rest = (rest + data).split(b"\n")
        rest = rest[: LONGEST + 1]
        yield count, lines
        count += len(lines)
    yield count, [rest]


def order_of(line: bytes, number: int) -> Order:
    """The order that a line holds; `ValueError` says what is wrong with it."""
    if len(line) > LONGEST:
        raise ValueError(f"longer than {LONGEST:,} bytes")
    fields = _object(line)
    total = _field(fields, "total", (int, float), "a number")
    if not 0 <= total < math.inf:
        raise ValueError(f'"total" takes a number of at least 0, but got {_short(total)}')
    return Order(
        number,
        _text(fields, "id"),
        _text(fields, "customer"),
        float(total),
        _field(fields, "express", (bool,), "true or false", default=False),
        _field(fields, "declined", (bool,), "true or false", default=False),
    )


def _object(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line.decode("utf-8-sig"), parse_constant=_refuse)
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8: {error.reason} at byte {error.start + 1}") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} at character {error.colno}") from None
    except RecursionError:
        raise ValueError("not an order: nested too deep") from None
    if not isinstance(value, dict):
        raise ValueError(f"not an order: takes a JSON object, but got {_short(value)}")
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"not JSON: {constant} is no number")


_MISSING: Final = object()


def _field(fields: dict[str, Any], name: str, types: tuple[type, ...], wanted: str, default: object = _MISSING) -> Any:
    """A field of the right type; a bool is no number."""
    value = fields.get(name, default)
    if value is _MISSING:
        raise ValueError(f'"{name}" is missing')
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        raise ValueError(f'"{name}" takes {wanted}, but got {_short(value)}')
    return value


def _text(fields: dict[str, Any], name: str) -> str:
    """A text that is not empty and can be written: JSON can spell half a surrogate pair."""
    value: str = _field(fields, name, (str,), "a string")
    if not value:
        raise ValueError(f'"{name}" takes a string that is not empty')
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f'"{name}" takes Unicode text, but got {_short(value)}') from None
    return value


def _short(value: object) -> str:
    """A value in a message: all printable, and not longer than a line."""
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


# generating


def generated(count: int, seed: int) -> Input:
    """Orders made up, the same ones whenever the seed is."""
    return Input(made_up(count, seed), expected=count)


def made_up(count: int, seed: int) -> Iterator[Batch]:
    """The generator's batches: of all orders, two have a card that will be declined."""
    random = Random(seed)  # noqa: S311  # a demo, no secret
    declined = set(random.sample(range(1, count + 1), min(2, count // 2)))
    make = partial(_made_up, random, declined)
    for first in range(1, count + 1, BATCH):
        yield Batch([make(number) for number in range(first, min(first + BATCH, count + 1))], [])


def _made_up(random: Random, declined: set[int], number: int) -> Order:
    return Order(
        number,
        id=f"A-{number:06}",
        customer=f"c-{int(random.random() * CUSTOMERS):04}",
        total=round(random.expovariate(1 / 80), 2),
        express=random.random() < 0.2,
        declined=number in declined,
    )
