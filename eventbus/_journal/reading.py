"""Reading messages in the order of offsets, a page at a time; no statement stays open between pages."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from eventbus._journal.rows import COLUMNS, Row

__all__ = ["END", "count_rows", "first_since", "rows_of_routes", "rows_of_shelf"]

END: Final = (1 << 63) - 1
"""An offset beyond all."""

MANY: Final = 16
"""With more routes than this, the log is read through, rather than route by route."""


def rows_of_routes(
    connection: sqlite3.Connection,
    routes: Sequence[int],
    after: int,
    limit: int,
    but: int | None = None,
    key: object = None,
    columns: str = COLUMNS,
    upto: int = END,
) -> list[Row]:
    """The next messages of some routes; without those that the queue `but` has settled, or of one key only."""
    if not routes:
        return []
    more = " AND m.offset <= ?"
    facts: list[Any] = [upto]
    if but is not None:
        more += " AND NOT EXISTS (SELECT 1 FROM eventbus_settled s WHERE s.queue = ? AND s.offset = m.offset)"
        facts.append(but)
    if key is not None:
        more += " AND m.key = ?"
        facts.append(key)
    if len(routes) > MANY:
        wheres = [f"+m.route IN ({','.join(map(str, routes))})"]
        values = [after, *facts]
    else:  # SQLite merges them, and takes no more of each than it needs
        wheres = ["m.route = ?"] * len(routes)
        values = [value for route in routes for value in (route, after, *facts)]
    head = f"SELECT {columns} FROM eventbus_messages m"
    merged = " UNION ALL ".join(f"{head} WHERE {where} AND m.offset > ?{more}" for where in wheres)
    return connection.execute(f"{merged} ORDER BY 1 LIMIT ?", (*values, limit)).fetchall()


def rows_of_shelf(connection: sqlite3.Connection, queue: int, rank: int, after: int, limit: int) -> list[Row]:
    """The next messages of one shelf of a queue that is no FIFO."""
    return connection.execute(
        f"SELECT {COLUMNS} FROM eventbus_unsettled u JOIN eventbus_messages m ON m.offset = u.offset "
        f"WHERE u.queue = ? AND u.rank = ? AND u.offset > ? ORDER BY u.offset LIMIT ?",
        (queue, rank, after, limit),
    ).fetchall()


def count_rows(connection: sqlite3.Connection, routes: Sequence[int], after: int, upto: int) -> int:
    """How many messages of some routes lie between two offsets."""
    if len(routes) > MANY:
        sql = f"SELECT count(*) FROM eventbus_messages WHERE +route IN ({','.join(map(str, routes))})"
        return int(connection.execute(f"{sql} AND offset > ? AND offset <= ?", (after, upto)).fetchone()[0])
    return sum(
        connection.execute(
            "SELECT count(*) FROM eventbus_messages WHERE route = ? AND offset > ? AND offset <= ?",
            (route, after, upto),
        ).fetchone()[0]
        for route in routes
    )


def first_since(connection: sqlite3.Connection, routes: Sequence[int], time: float) -> int | None:
    """The offset of the first message of some routes that is of this time or later, if there is one."""
    marks = ",".join(map(str, routes))
    row = connection.execute(
        f"SELECT min(offset) FROM eventbus_messages WHERE +route IN ({marks}) AND time >= ?", (time,)
    ).fetchone()
    return None if row is None else row[0]
