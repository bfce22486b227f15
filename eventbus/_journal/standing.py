"""How a journal stands: its topics, its queues and what they have not settled, read in one moment."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from eventbus._journal.holdings import Holding, holdings
from eventbus._journal.reader import told
from eventbus._journal.routes import Routes
from eventbus._journal.schema import connect_to_read
from eventbus._journal.statements import LAST

__all__ = ["QueueStanding", "Standing", "TopicStanding", "standing_of"]


class TopicStanding(NamedTuple):
    """What a topic keeps. Times are in seconds since the epoch."""

    name: str
    messages: int
    bytes: int
    oldest: float | None
    retention: str | None
    declared: float | None
    """When a module has last declared it; None if that is not known, since it keeps nothing any more."""


class QueueStanding(NamedTuple):
    """Where a queue is. Of a subscription that was sought, `unsettled` does not know its filter, and is the most."""

    name: str
    subscription: bool
    bindings: list[tuple[str, str | None]]
    """Patterns, and the filter's text; "(a function)" if it has none."""
    unsettled: int
    failed: int
    """How many of these have failed at least once."""
    later: int
    """How many of these are not due yet."""
    oldest: float | None
    declared: float
    dead_letter: str | None
    """Where it has its dead letters."""


class Standing(NamedTuple):
    """All of one journal."""

    offset: int
    clean: bool
    """Whether it was closed in good order."""
    bytes: int
    log_bytes: int
    """Of the log beside it, of which some may be in the file by now, and some be made for what comes."""
    topics: list[TopicStanding]
    queues: list[QueueStanding]


def standing_of(path: str, time: float) -> Standing:
    """How a journal stands at this time."""
    with told(path), closing(connect_to_read(path)) as connection:
        connection.execute("BEGIN")
        offset, clean = connection.execute(f"SELECT ({LAST}), clean FROM eventbus_bus").fetchone()
        routes = Routes(path)
        routes.load(connection)
        topics = [_topic(connection, routes, *row) for row in _declared_topics(connection, routes)]
        held = holdings(connection)
        queues = [
            _queue(connection, routes, held[row[0]], row, offset, time)
            for row in connection.execute(
                "SELECT id, name, subscription, declared, json_extract(policy, '$.dead_letter') "
                "FROM eventbus_queues ORDER BY name"
            ).fetchall()
        ]
        connection.execute("COMMIT")
    return Standing(offset, bool(clean), os.stat(path).st_size, _log_size(path), topics, queues)


def _declared_topics(connection: sqlite3.Connection, routes: Routes) -> list[tuple[str, str | None, float | None]]:
    declared = connection.execute("SELECT name, retention, declared FROM eventbus_topics ORDER BY name").fetchall()
    names = {row[0] for row in declared}
    others = {routes.channel(number) for number in routes.kept(lambda channel: channel not in names)}
    return [*declared, *((name, None, None) for name in sorted(others))]


def _topic(
    connection: sqlite3.Connection, routes: Routes, name: str, retention: str | None, declared: float | None
) -> TopicStanding:
    marks = ",".join(map(str, routes.kept(name.__eq__)))
    messages, bytes, first = connection.execute(
        f"SELECT count(*), total(length(CAST(body AS BLOB))), min(offset) FROM eventbus_messages "
        f"WHERE route IN ({marks})"
    ).fetchone()
    return TopicStanding(name, messages, int(bytes), _time_of(connection, first), retention, declared)


def _queue(
    connection: sqlite3.Connection,
    routes: Routes,
    holding: Holding,
    row: tuple[int, str, int, float, str | None],
    offset: int,
    time: float,
) -> QueueStanding:
    id, name, subscription, declared, dead_letter = row
    execute = connection.execute
    bindings = [
        (pattern, "(a function)" if opaque else text)
        for pattern, text, opaque in execute(
            "SELECT pattern, filter, opaque FROM eventbus_bindings WHERE queue = ? ORDER BY pattern", (id,)
        )
    ]
    if holding.fifo:
        unsettled = holding.total(connection, routes, holding.mark, offset)
        unsettled -= execute("SELECT count(*) FROM eventbus_settled WHERE queue = ?", (id,)).fetchone()[0]
        rows = holding.rows(connection, routes, holding.mark, 1)
        oldest = rows[0][2] if rows else None
    else:
        unsettled, first = execute(
            "SELECT count(*), min(offset) FROM eventbus_unsettled WHERE queue = ?", (id,)
        ).fetchone()
        oldest = _time_of(connection, first)
    failed, later = execute(
        "SELECT count(*) FILTER (WHERE failures > 0), count(*) FILTER (WHERE due > ?) "
        "FROM eventbus_states WHERE queue = ?",
        (time, id),
    ).fetchone()
    return QueueStanding(name, bool(subscription), bindings, unsettled, failed, later, oldest, declared, dead_letter)


def _time_of(connection: sqlite3.Connection, offset: int | None) -> float | None:
    row = connection.execute("SELECT time FROM eventbus_messages WHERE offset = ?", (offset,)).fetchone()
    return None if row is None else row[0]


def _log_size(path: str) -> int:
    log = Path(f"{path}-wal")
    return log.stat().st_size if log.exists() else 0
