"""Reading what a queue runs out of: the next messages of one of its shelves."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from eventbus._core.depot import LATER, Depot
from eventbus._core.shelves import Page
from eventbus._journal.holdings import holding_of, is_let_through, is_wanted
from eventbus._journal.reading import rows_of_shelf
from eventbus._journal.routes import Routes
from eventbus._journal.rows import COLUMNS, Row, record_of
from eventbus.message import Key, Record

if TYPE_CHECKING:
    from eventbus._core.changes import Bound
    from eventbus._core.lanes import Place
    from eventbus._core.queue import QueueState

__all__ = ["Decoder", "Pages", "place_of"]

Decoder: TypeAlias = Callable[[bytes, str, Any], Any]
"""Makes a body of bytes: of which topic or queue, and of what type if the queue says so."""


class Pages:
    """The reader of the queues of one bus, over one connection and in whichever thread that is in."""

    def __init__(self, connection: sqlite3.Connection, routes: Routes, path: str, decode: Decoder) -> None:
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
        missed = []
        for row in rows:
            entry = self.wanted(depot, row)
            if entry is not None:
                entries.append(entry)
            else:
                missed.append(row[0])
        last = len(rows) < limit
        edge = max(after, depot.last) if last else rows[-1][0]
        return Page(rank, after, entries, edge, missed, last, time)

    def later(self, depot: Depot, time: float) -> Page:
        """What is to come later, wherever it stands."""
        entries = []
        for offset, (_, _, _, due) in list(depot.states.items()):
            if due is not None and due > time:
                row = self._row(offset)
                entry = None if row is None else self.wanted(depot, row)
                if entry is not None:
                    entries.append(entry)
        return Page(LATER, 0, entries, 0, (), False, time)

    def one(self, depot: Depot, offset: int) -> tuple[Record, Place] | None:
        """A message that a queue has not settled and wants, if this is one."""
        row = self._row(offset)
        if row is None:
            return None
        record = self._record(depot, row)
        rank = depot.rank(record, place_of(depot.queue, record[3]))
        return self.wanted(depot, row) if holding_of(depot).has(self.connection, self.routes, row, rank) else None

    def wanted(self, depot: Depot, row: Row) -> tuple[Record, Place] | None:
        """A message that counts for a queue, if it is wanted."""
        record = self._record(depot, row)
        wanted = is_wanted(depot, self.routes.routes[row[1]][1], record)
        return (record, place_of(depot.queue, record[3])) if wanted else None

    def past(self, depot: Depot, past: Sequence[Bound], row: Row) -> tuple[Record, Place] | None:
        """A message of the past that a queue is to have, if one of these bindings lets it through."""
        record = self._record(depot, row)
        return (record, place_of(depot.queue, record[3])) if is_let_through(past, record) else None

    def _row(self, offset: int) -> Row | None:
        row: Row | None = self.connection.execute(
            f"SELECT {COLUMNS} FROM eventbus_messages m WHERE m.offset = ?", (offset,)
        ).fetchone()
        return row

    def _rows(self, depot: Depot, rank: int, after: int, limit: int) -> list[Row]:
        if not depot.fifo:
            return rows_of_shelf(self.connection, depot.id, rank, after, limit)
        return holding_of(depot).rows(self.connection, self.routes, after, limit)

    def _record(self, depot: Depot, row: Row) -> Record:
        channel = self.routes.channel(row[1])
        return record_of(row, channel, self.path, lambda data: self.decode(data, channel, depot.queue.type))


def place_of(queue: QueueState, key: Key) -> Place:
    """The lane of a message that is read again."""
    try:
        return None if queue.place is None else queue.place(key)
    except Exception as error:
        queue.engine.report(f"the partitioner of queue {queue.name!r} failed for a message read again", error)
        return None
