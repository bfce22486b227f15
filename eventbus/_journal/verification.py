"""Reading all of a journal, and saying what is wrong with it. Nothing that stands in a file makes this fail.

It reads while the owner writes, if there is one: what belongs together is looked at in one statement, and so in one
moment, and no statement stays open.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from typing import Final

from eventbus._journal.policies import filter_of, policy_of, retention_of
from eventbus._journal.routes import crc_of
from eventbus._journal.rows import COLUMNS, Row, record_of
from eventbus._journal.schema import connect_to_read
from eventbus._journal.statements import LAST, TROUBLE
from eventbus.errors import JournalCorruptError

__all__ = ["verify"]

PAGE: Final = 1_024
"""Offsets that are read in one statement. Where that fails, it is halved."""

EVERY: Final = 100_000
"""How many problems of one kind SQLite is to name."""

FIFO: Final = """json_extract(q.policy, '$.order.kind') = 'fifo'"""

REFERENCES: Final = {
    "message {} has a route that is not there: {}": (
        "SELECT m.offset, m.route FROM eventbus_messages m "
        "WHERE NOT EXISTS (SELECT 1 FROM eventbus_routes r WHERE r.id = m.route)"
    ),
    "message {} is beyond the last offset of the journal, {}": (
        "SELECT m.offset, b.offset FROM eventbus_messages m, eventbus_bus b WHERE m.offset > b.offset AND b.clean"
    ),
    "queue {!r} is done with everything up to {}, which is beyond the last offset of the journal": (
        f"SELECT q.name, q.mark FROM eventbus_queues q WHERE q.mark > ({LAST})"
    ),
    "queue {!r} has not settled message {}, which is not there": (
        "SELECT ifnull(q.name, u.queue), u.offset FROM eventbus_unsettled u "
        "LEFT JOIN eventbus_queues q ON q.id = u.queue "
        "WHERE NOT EXISTS (SELECT 1 FROM eventbus_messages m WHERE m.offset = u.offset)"
    ),
    "queue {!r} has settled message {}, which is not there": (
        "SELECT ifnull(q.name, s.queue), s.offset FROM eventbus_settled s "
        "LEFT JOIN eventbus_queues q ON q.id = s.queue "
        "WHERE NOT EXISTS (SELECT 1 FROM eventbus_messages m WHERE m.offset = s.offset)"
    ),
    "queue {!r} has settled message {}, and everything up to {} anyway": (
        "SELECT q.name, s.offset, q.mark FROM eventbus_settled s JOIN eventbus_queues q ON q.id = s.queue "
        "WHERE s.offset <= q.mark"
    ),
    "queue {!r} is a FIFO, and has message {} on a shelf": (
        f"SELECT q.name, u.offset FROM eventbus_unsettled u JOIN eventbus_queues q ON q.id = u.queue WHERE {FIFO}"
    ),
    "queue {!r} is no FIFO, and has settled message {} out of its turn": (
        f"SELECT q.name, s.offset FROM eventbus_settled s JOIN eventbus_queues q ON q.id = s.queue WHERE NOT {FIFO}"
    ),
    **{
        f"eventbus_{table} speaks of queue {{}}, which is not there": (
            f"SELECT DISTINCT t.queue FROM eventbus_{table} t "
            f"WHERE NOT EXISTS (SELECT 1 FROM eventbus_queues q WHERE q.id = t.queue)"
        )
        for table in ("settled", "unsettled", "states", "bindings")
    },
    "eventbus_ids speaks of {!r}, which is neither a queue nor a topic": (
        "SELECT DISTINCT i.channel FROM eventbus_ids i "
        "WHERE NOT EXISTS (SELECT 1 FROM eventbus_queues q WHERE q.id = i.channel) "
        "AND NOT EXISTS (SELECT 1 FROM eventbus_topics t WHERE t.name = i.channel)"
    ),
    "eventbus_ids knows the id {!r} of message {}, which is beyond the last offset of the journal": (
        f"SELECT i.id, i.offset FROM eventbus_ids i WHERE i.offset > ({LAST})"
    ),
    "eventbus_ids knows the id {!r} of message {}, which has another": (  # SQLite may cut text of JSON at a NUL
        "SELECT i.id, i.offset FROM eventbus_ids i JOIN eventbus_messages m ON m.offset = i.offset "
        "WHERE json_extract(m.rare, '$.id') IS NOT i.id AND ifnull(instr(m.rare, '\\u0000'), 0) = 0"
    ),
}
"""What must hold between tables: what is wrong where a statement finds something."""


def verify(path: str, bodies: bool, seen: Callable[[int, int], None]) -> Iterator[str]:
    """What is wrong with a journal, in words.

    ``bodies``: whether bodies must be JSON, as they are unless the bus has another codec. ``seen`` is told how far it
    is, and up to what offset that goes. `JournalError` if the file is none of ours.
    """
    try:
        connection = connect_to_read(path)
    except JournalCorruptError as error:
        yield error.detail
        return
    with closing(connection):
        verification = Verification(connection, path, bodies)
        looks: list[Callable[[], Iterator[str]]] = [
            verification.pages,
            verification.routes,
            verification.texts,
            partial(verification.messages, seen),
            *(partial(verification.references, told, sql) for told, sql in REFERENCES.items()),
        ]
        failures = set()
        for look in looks:
            try:
                yield from look()
            except Exception as error:  # a damaged file may hold anything
                failures.add(f"not all of it could be read: {error}")
        yield from sorted(failures)


class Verification:
    """What is looked at. Whatever fails to be read is raised."""

    def __init__(self, connection: sqlite3.Connection, path: str, bodies: bool) -> None:
        self.connection = connection
        self.path = path
        self.bodies = bodies

    def pages(self) -> Iterator[str]:
        """The file as SQLite sees it."""
        if self.connection.execute("SELECT offset FROM eventbus_bus").fetchone() is None:
            yield "it has no last offset"
        for (verdict,) in self.connection.execute(f"PRAGMA integrity_check({EVERY})").fetchall():
            if verdict != "ok":
                yield str(verdict)

    def texts(self) -> Iterator[str]:
        """What stands as text in small tables."""
        for what, sql, read in (
            ("the policy of queue {!r}", "SELECT name, policy FROM eventbus_queues", policy_of),
            ("the retention of topic {!r}", "SELECT name, retention FROM eventbus_topics", retention_of),
            (
                "the filter of queue {}",
                "SELECT queue, filter FROM eventbus_bindings WHERE filter IS NOT NULL",
                filter_of,
            ),
        ):
            for name, text in self.connection.execute(sql).fetchall():
                try:
                    read(text)
                except Exception as error:
                    yield f"{what.format(name)} cannot be read: {error}"

    def routes(self) -> Iterator[str]:
        """Where messages went."""
        for number, channel, kept, queues, crc in self.connection.execute(
            "SELECT id, channel, kept, queues, crc FROM eventbus_routes"
        ).fetchall():
            if crc_of(number, channel, kept, queues) != crc:
                yield f"route {number} is not what was written (its CRC differs)"

    def messages(self, seen: Callable[[int, int], None]) -> Iterator[str]:
        """Every message."""
        first = self._number("SELECT min(offset) FROM eventbus_messages") or 1
        last = max(map(self._number, ("SELECT offset FROM eventbus_bus", "SELECT max(offset) FROM eventbus_messages")))
        gap: tuple[int, int, str] | None = None
        for after in range(first - 1, last, PAGE):
            for begin, end, found in self._range(after, min(after + PAGE, last)):
                if isinstance(found, str):
                    gap = (begin if gap is None else gap[0], end, found)
                    continue
                if gap is not None:
                    yield _unread(*gap)
                    gap = None
                yield from filter(None, map(self._wrong, found))
            seen(after - first + 1, last - first + 1)
        if gap is not None:
            yield _unread(*gap)

    def _number(self, sql: str) -> int:
        """What a statement finds; 0 if it is nothing, or cannot be read, which others tell."""
        try:
            (number,) = self.connection.execute(sql).fetchone() or (0,)
        except TROUBLE:
            return 0
        return number or 0

    def _range(self, after: int, upto: int) -> Iterator[tuple[int, int, list[Row] | str]]:
        """The rows that lie between, or why not; around what cannot be read as near as can be."""
        try:
            rows = self.connection.execute(
                f"SELECT {COLUMNS} FROM eventbus_messages m WHERE m.offset > ? AND m.offset <= ? ORDER BY m.offset",
                (after, upto),
            ).fetchall()
        except TROUBLE as error:
            if upto - after == 1:
                yield upto, upto, str(error)
                return
            middle = (after + upto) // 2
            yield from self._range(after, middle)
            yield from self._range(middle, upto)
        else:
            yield after + 1, upto, rows

    def _wrong(self, row: Row) -> str | None:
        """What is wrong with a message."""
        try:
            record_of(row, "", self.path, self._parse)
        except JournalCorruptError as error:
            return error.detail
        except Exception as error:
            return f"message {row[0]} cannot be read: {error}"
        return None

    def _parse(self, data: bytes) -> None:
        if self.bodies:
            try:
                json.loads(data)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"its body is no JSON: {error}") from None

    def references(self, told: str, sql: str) -> Iterator[str]:
        """What one table says of another."""
        for row in self.connection.execute(sql).fetchall():
            yield told.format(*row)


def _unread(first: int, last: int, why: str) -> str:
    where = f"message {first}" if first == last else f"messages {first} to {last}"
    return f"{where} cannot be read: {why}"
