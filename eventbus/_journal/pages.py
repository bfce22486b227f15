"""Reading what a queue runs out of: the next messages of one of its shelves."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from eventbus._core.depot import LATER, Depot
from eventbus._core.shelves import Page
from eventbus._journal.reading import rows_of_routes, rows_of_shelf
from eventbus._journal.recovery import place_of
from eventbus._journal.routes import Routes
from eventbus._journal.rows import COLUMNS, Row, record_of
from eventbus.message import Record

if TYPE_CHECKING:
    from eventbus._core.engine import Engine
    from eventbus._core.lanes import Place

__all__ = ["Decoder", "Pages"]

Decoder: TypeAlias = Callable[[bytes, str, Any], Any]
"""Makes a body of bytes: of which topic or queue, and of what type if the queue says so."""


class Pages:
    """The reader of the queues of one bus, over one connection and in whichever thread that is in."""

    def __init__(
        self, engine: Engine, connection: sqlite3.Connection, routes: Routes, path: str, decode: Decoder
    ) -> None:
        self.engine = engine
        self.connection = connection
        self.routes = routes
        self.path = path
        self.decode = decode

    def next(self, depot: Depot, rank: int, time: float) -> Page | None:
        """The next messages of a shelf; None if it is no longer there."""
        if rank == LATER:
            return self.later(depot, time)
        shelf = depot.shelves.get(rank)
        if shelf is None:
            return None
        return self.after(depot, rank, shelf.edge, time)

    def after(self, depot: Depot, rank: int, after: int, time: float) -> Page:
        """The next messages of a shelf from a place on."""
        limit = max(64, depot.window >> 2)
        rows = self._rows(depot, rank, after, limit)
        entries = []
        missed = 0
        for row in rows:
            record = self._record(depot, row)
            counted = row[0] <= depot.since or not depot.fifo or depot.id in self.routes.routes[row[1]][2]
            if counted and self._wants(depot, row, record):
                entries.append((record, place_of(depot.queue, record[3])))
            else:
                missed += counted
        last = len(rows) < limit
        edge = max(after, depot.last) if last else rows[-1][0]
        return Page(rank, after, entries, edge, missed, last, time)

    def later(self, depot: Depot, time: float) -> Page:
        """What is to come later, wherever it stands."""
        entries = []
        for offset, (_, _, _, due) in list(depot.states.items()):
            if due is not None and due > time:
                row = self._row(offset)
                if row is not None:
                    record = self._record(depot, row)
                    entries.append((record, place_of(depot.queue, record[3])))
        return Page(LATER, 0, entries, 0, 0, False, time)

    def one(self, depot: Depot, offset: int) -> tuple[Record, Place] | None:
        """A message that a queue has not settled and wants, if this is one."""
        row = self._row(offset)
        if row is None:
            return None
        record = self._record(depot, row)
        place = place_of(depot.queue, record[3])
        has = self._has(depot, depot.rank(record, place), row) and self._wants(depot, row, record)
        return (record, place) if has else None

    def _has(self, depot: Depot, rank: int, row: Row) -> bool:
        """Whether a message came to a queue and is not settled there."""
        execute, offset, route = self.connection.execute, row[0], row[1]
        if not depot.fifo:
            shelf = "SELECT 1 FROM eventbus_unsettled WHERE queue = ? AND rank = ? AND offset = ?"
            return execute(shelf, (depot.id, rank, offset)).fetchone() is not None
        kept, own = self.routes.wanted(depot)
        if route not in own and (offset > depot.since or route not in kept):
            return False
        settled = "SELECT 1 FROM eventbus_settled WHERE queue = ? AND offset = ?"
        return execute(settled, (depot.id, offset)).fetchone() is None

    def entry(self, depot: Depot, row: Row) -> tuple[Record, Place] | None:
        """A message of the past, if its topic's filter lets it through to a queue."""
        record = self._record(depot, row)
        return (record, place_of(depot.queue, record[3])) if self._matches(depot, record[6], record) else None

    def _row(self, offset: int) -> Row | None:
        row: Row | None = self.connection.execute(
            f"SELECT {COLUMNS} FROM eventbus_messages m WHERE m.offset = ?", (offset,)
        ).fetchone()
        return row

    def _rows(self, depot: Depot, rank: int, after: int, limit: int) -> list[Row]:
        if not depot.fifo:
            return rows_of_shelf(self.connection, depot.id, rank, after, limit)
        kept, own = self.routes.wanted(depot)
        routes = own if after >= depot.since else sorted({*kept, *own})
        return rows_of_routes(self.connection, routes, after, limit, but=depot.id)

    def _record(self, depot: Depot, row: Row) -> Record:
        channel = self.routes.channel(row[1])
        return record_of(row, channel, self.path, lambda data: self.decode(data, channel, depot.queue.type))

    def _wants(self, depot: Depot, row: Row, record: Record) -> bool:
        """Whether a message that was counted is for this queue, as its filter is now."""
        offset, (channel, kept, _) = row[0], self.routes.routes[row[1]]
        if offset > max(depot.refilter, depot.since) or (record[7] is not None and record[7].deaths):
            return True
        if channel == depot.queue.name:
            return not kept
        return self._matches(depot, channel, record)

    def _matches(self, depot: Depot, channel: str, record: Record) -> bool:
        with self.engine.lock:
            topic = self.engine.wiring.topics.get(channel)
            if topic is None:
                return False
            routes = self.engine.wiring.known_routes(topic)
        return any(route.queue is depot.queue and route.wants(record) for route in routes)
