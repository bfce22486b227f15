"""Reading plain messages, which most are: with neither key nor headers, priority or anything rare.

They are read column by column, and what is done with a column is done by C, so that the interpreter does not take a
step for each message. Bodies are decoded a batch at a time: of fewer, short-lived objects the garbage collector makes
less work, and they stay in the processor's cache.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from itertools import repeat
from struct import error as StructError  # noqa: N812  # `error` alone says nothing
from typing import Any, Final, NamedTuple
from zlib import crc32

from eventbus._journal.reading import rows_of_routes
from eventbus._journal.routes import Routes
from eventbus._journal.rows import PLAIN_COLUMNS, DecodeMany, bodies_of, pack
from eventbus.message import NO_HEADERS, Record

__all__ = ["BATCH", "Columns", "columns_of_routes", "records_of_columns", "solid_columns"]

BATCH: Final = 96
"""Messages that are decoded at once."""


class Columns(NamedTuple):
    """Plain messages that are what was written."""

    offsets: Sequence[int]
    times: Sequence[float]
    datas: Sequence[bytes]
    channels: Sequence[str]

    def are_solid(self) -> bool:
        """Whether nothing else lies between the first and the last, so that this may go on."""
        return bool(self.offsets) and self.offsets[-1] - self.offsets[0] < len(self.offsets)


NOTHING: Final = Columns((), (), (), ())


def solid_columns(
    connection: sqlite3.Connection, routes: Routes, number: int, after: int, limit: int
) -> Columns | None:
    """The next messages of a route if the next offsets are all of it, as of what was published at once; else None.

    That many rows leave no offset out, so offsets need not be read, nor looked up in an index. Nor are routes read: the
    CRC of another route's message, which differs from this one's by its seed alone, is another one.
    """
    rows = connection.execute(
        "SELECT m.time, CAST(m.body AS BLOB), m.crc FROM eventbus_messages m "
        "WHERE m.offset > ? AND m.offset <= ? ORDER BY m.offset",
        (after, after + limit),
    ).fetchall()
    if len(rows) < limit:
        return None
    times, datas, crcs = zip(*rows, strict=True)
    return _checked(routes, range(after + 1, after + 1 + limit), times, datas, crcs, [number] * limit)


def columns_of_routes(
    connection: sqlite3.Connection, routes: Routes, numbers: Sequence[int], after: int, limit: int
) -> Columns | None:
    """The next messages of some routes; None if one is not plain, or not what was written, which its row tells."""
    columns = PLAIN_COLUMNS if len(numbers) == 1 else f"{PLAIN_COLUMNS}, m.route"
    rows: list[Any] = rows_of_routes(connection, numbers, after, limit, columns=columns)
    if not rows:
        return NOTHING
    offsets, times, datas, crcs, *more = zip(*rows, strict=True)
    return _checked(routes, offsets, times, datas, crcs, more[0] if more else [numbers[0]] * len(rows))


def _checked(
    routes: Routes, offsets: Sequence[int], times: Any, datas: Any, crcs: tuple[Any, ...], went: Sequence[int]
) -> Columns | None:
    """Plain messages, by the numbers of their routes; None if one is not what was written as such."""
    try:
        found = tuple(map(crc32, datas, map(crc32, map(pack, offsets, times), went)))
    except (StructError, TypeError):  # a column has what it cannot have
        return None
    if found != crcs:
        return None
    first = went[0]
    alone = went.count(first) == len(went)
    channels = [routes.channel(first)] * len(went) if alone else list(map(routes.channel, went))
    return Columns(offsets, times, datas, channels)


def records_of_columns(columns: Columns, decode: DecodeMany) -> Iterator[list[Record]]:
    """The messages, in batches that are decoded when they are asked for."""
    for start in range(0, len(columns.offsets), BATCH):
        part = slice(start, start + BATCH)
        channels = columns.channels[part]
        bodies = bodies_of(columns.datas[part], channels, decode)
        offsets, times = columns.offsets[part], columns.times[part]
        nothing = repeat(None)
        yield list(zip(offsets, times, bodies, nothing, repeat(NO_HEADERS), repeat(0), channels, nothing, nothing))
