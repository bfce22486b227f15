"""What the writer does when nothing comes: delete what nobody needs, in small steps, and keep the log short."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from eventbus._journal.holdings import holdings
from eventbus._journal.ids import delete_what_ran_out
from eventbus._journal.reading import END, MANY
from eventbus._journal.routes import Routes
from eventbus._journal.statements import KEEP_LAST
from eventbus._journal.wal import Wal
from eventbus.policy import Retention

if TYPE_CHECKING:
    from eventbus._core.engine import Engine

__all__ = ["Tidying"]

STEP: Final = 2_000
"""How many messages, or ids, are deleted in one commit."""

ROUTES: Final = 128
"""How many routes are looked at in one step."""

LONG: Final = 32 << 20
"""Bytes of log after which it is moved into the file even if commits keep coming."""

LOOK: Final = 16
"""Rows that are written between two looks at the log: one costs a tenth of a commit, and they take less than
`wal.NEAR` of it unless they are long, when SQLite makes it longer by itself."""

MOURNING: Final = 86_400.0
"""Seconds that a tombstone is kept."""


class Needs:
    """What queues need, as they stand in this transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.held = holdings(connection)
        self.seeking = [holding for holding in self.held.values() if holding.past]
        self.firsts: dict[int, int] = {}

    def first(self, queues: Iterable[int]) -> int:
        """The first offset that any of these queues, as far as they are there, has not settled."""
        return min([self._first_of(id) for id in queues if id in self.held], default=END)

    def first_sought(self, channel: str) -> int:
        """The same of those that read what this topic keeps."""
        return self.first(holding.id for holding in self.seeking if holding.seeks(channel))

    def _first_of(self, id: int) -> int:
        if id not in self.firsts:
            self.firsts[id] = self.held[id].first(self.connection)
        return self.firsts[id]


class Tidying:
    """The upkeep of one journal, in the writer's thread."""

    def __init__(self, engine: Engine, connection: sqlite3.Connection, routes: Routes, wal: Wal) -> None:
        self.engine = engine
        self.connection = connection
        self.routes = routes
        self.wal = wal
        self.rest: list[int] = []
        """The routes that are yet to be looked at in this round."""
        self.again = True
        """Whether something was written since this round began."""
        self.kept_from: dict[tuple[str, Retention], int] = {}
        """The first offset that retentions keep, as this round has found it; it can only be later by now."""
        self.looked = -LOOK
        """How many rows had been written at the last look at the log."""

    def look_at_the_log(self) -> None:
        """Between two commits: keep the log from growing without an end."""
        self.again = True
        written = self.connection.total_changes
        if written - self.looked < LOOK:
            return
        self.looked = written
        self.wal.look()
        if self.wal.size > LONG and self.wal.reaches(LONG):
            self._checkpoint()

    def _checkpoint(self) -> None:
        self.connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()

    def step(self, time: float) -> bool:
        """Delete a little of what is no longer needed, of a few routes: whether there may be more."""
        if not self.rest:
            self.rest, self.again = [*self.routes.routes], False
            self.kept_from.clear()
        connection = self.connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.execute(KEEP_LAST)
            deleted = delete_what_ran_out(connection, time, STEP)
            empty: list[int] = []
            deleted += self._look_at_routes(Needs(connection), time, empty)
            connection.executemany("DELETE FROM eventbus_routes WHERE id = ?", [(route,) for route in empty])
            connection.execute("COMMIT")
        except BaseException:
            self.rest.clear()
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        self.routes.forget(empty)
        if deleted:
            connection.executescript("PRAGMA incremental_vacuum(200)")  # `execute` would free one page alone
        elif not self.rest and not self.again:
            self._checkpoint()
            return False
        return True

    def _look_at_routes(self, needs: Needs, time: float, empty: list[int]) -> int:
        """Delete what went by the next routes, and note those by which nothing has gone that is still there."""
        deleted = looked = 0
        last = max(self.routes.routes, default=0)  # its number is not to be given again
        while self.rest and deleted < STEP and looked < ROUTES:
            route = self.rest[-1]
            channel, kept, queues = self.routes.routes[route]
            cut = needs.first(queues)
            if kept:
                retention = self._retention(channel)
                found = 0
                if retention is not None:
                    found = self._let_go(route, channel, retention, min(cut, needs.first_sought(channel)), time)
                    looked += len(self.routes.by_topic[channel]) // MANY
            else:
                found = self._delete(f"route = {route} AND offset < ?", (cut,))
            looked += 1
            deleted += found
            if found < STEP:
                self.rest.pop()
                if route != last and not self._is_used(route):
                    empty.append(route)
        return deleted

    def _is_used(self, route: int) -> bool:
        found = self.connection.execute("SELECT 1 FROM eventbus_messages WHERE route = ? LIMIT 1", (route,))
        return found.fetchone() is not None

    def _retention(self, channel: str) -> Retention | None:
        with self.engine.lock:
            topic = self.engine.wiring.topics.get(channel)
            return None if topic is None else topic.retention

    def _let_go(self, route: int, channel: str, retention: Retention, cut: int, time: float) -> int:
        """What a topic's retention lets go, and no queue needs."""
        kept_from = self.kept_from.get((channel, retention))
        if kept_from is None:
            kept_from = self.kept_from[channel, retention] = self._kept_from(channel, retention, time)
        deleted = self._delete(f"route = {route} AND offset < ?", (min(cut, kept_from),))
        if retention.compact:
            routes = ",".join(map(str, self.routes.by_topic[channel]))
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
        routes = ",".join(map(str, self.routes.by_topic[channel]))
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
