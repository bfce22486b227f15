"""What the writer does when nothing comes: delete what nobody needs, in small steps, and keep the log short."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Final

from eventbus._journal.holdings import holdings
from eventbus._journal.ids import delete_what_ran_out
from eventbus._journal.reading import END
from eventbus._journal.routes import Routes
from eventbus._journal.statements import KEEP_LAST
from eventbus._journal.wal import Wal
from eventbus.policy import Retention

if TYPE_CHECKING:
    from eventbus._core.engine import Engine

__all__ = ["Tidying"]

STEP: Final = 2_000
"""How many messages, or ids, are deleted in one commit."""

LONG: Final = 32 << 20
"""Bytes of log after which it is moved into the file even if commits keep coming."""

MOURNING: Final = 86_400.0
"""Seconds that a tombstone is kept."""


class Tidying:
    """The upkeep of one journal, in the writer's thread."""

    def __init__(self, engine: Engine, connection: sqlite3.Connection, routes: Routes, wal: Wal) -> None:
        self.engine = engine
        self.connection = connection
        self.routes = routes
        self.wal = wal

    def look_at_the_log(self) -> bool:
        """Between two commits: keep the log from growing without an end. Whether it was moved into the file."""
        self.wal.look()
        if self.wal.size > LONG and self.wal.reaches(LONG):
            self._checkpoint()
            return True
        return False

    def _checkpoint(self) -> None:
        self.connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()

    def step(self, time: float) -> bool:
        """Delete a little of what is no longer needed: whether there may be more."""
        connection = self.connection
        connection.execute(KEEP_LAST)
        deleted = delete_what_ran_out(connection, time, STEP)
        held = holdings(connection)
        first = {id: holding.first(connection) for id, holding in held.items()}
        seeking = [holding for holding in held.values() if holding.past]
        for route, (channel, kept, queues) in list(self.routes.routes.items()):
            cut = min([first[id] for id in queues if id in first], default=END)
            if kept:
                sought = min([first[holding.id] for holding in seeking if holding.seeks(channel)], default=END)
                deleted += self._let_go(route, channel, min(cut, sought), time)
            else:
                deleted += self._delete(f"route = {route} AND offset < ?", (cut,))
        if deleted:
            connection.executescript("PRAGMA incremental_vacuum(200)")  # `execute` would free one page alone
            return True
        self._checkpoint()
        return False

    def _let_go(self, route: int, channel: str, cut: int, time: float) -> int:
        """What a topic's retention lets go, and no queue needs."""
        with self.engine.lock:
            topic = self.engine.wiring.topics.get(channel)
            retention = None if topic is None else topic.retention
        if retention is None:
            return 0
        upto = min(cut, self._kept_from(channel, retention, time))
        deleted = self._delete(f"route = {route} AND offset < ?", (upto,))
        if retention.compact:
            routes = ",".join(map(str, self.routes.kept(channel.__eq__)))
            deleted += self._delete(
                f"route = {route} AND offset < ? AND key IS NOT NULL AND (EXISTS (SELECT 1 FROM eventbus_messages n "
                f"WHERE n.key = eventbus_messages.key AND n.route IN ({routes}) "
                f"AND n.offset > eventbus_messages.offset) OR (body IN ('null', x'6e756c6c') AND time < ?))",
                (cut, time - MOURNING),
            )
        return deleted

    def _kept_from(self, channel: str, retention: Retention, time: float) -> int:
        """The first offset that a retention by age, count or size keeps."""
        execute = self.connection.execute
        routes = ",".join(map(str, self.routes.kept(channel.__eq__)))
        first = 0
        if retention.age is not None:
            (young,) = execute(
                f"SELECT min(offset) FROM eventbus_messages WHERE route IN ({routes}) AND time >= ?",
                (time - retention.age,),
            ).fetchone()
            first = max(first, (1 << 62) if young is None else young)
        if retention.count is not None:
            row = execute(
                f"SELECT offset FROM eventbus_messages WHERE route IN ({routes}) ORDER BY offset DESC LIMIT 1 OFFSET ?",
                (retention.count - 1,),
            ).fetchone()
            first = max(first, 0 if row is None else row[0])
        if retention.size is not None:
            first = max(first, self._first_within(routes, retention.size))
        return first

    def _first_within(self, routes: str, size: int) -> int:
        """The first offset of the last so many bytes."""
        total, first = 0, 1 << 62
        rows = self.connection.execute(
            f"SELECT offset, length(CAST(body AS BLOB)) FROM eventbus_messages WHERE route IN ({routes}) "
            f"ORDER BY offset DESC"
        )
        try:
            for offset, length in rows:
                total += length
                if total > size:
                    return first
                first = offset
        finally:
            rows.close()
        return 0

    def _delete(self, where: str, facts: tuple[object, ...]) -> int:
        cursor = self.connection.execute(
            f"DELETE FROM eventbus_messages WHERE offset IN "
            f"(SELECT offset FROM eventbus_messages WHERE {where} LIMIT {STEP})",
            facts,
        )
        return cursor.rowcount
