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
from eventbus._journal.rows import COLUMNS, Row, records_of
from eventbus.message import Key, Record

if TYPE_CHECKING:
    from eventbus._core.changes import Bound
    from eventbus._core.lanes import Place
    from eventbus._core.queue import QueueState

__all__ = ["Decoder", "Pages", "place_of"]

Decoder: TypeAlias = Callable[[Sequence[bytes], str, Any], list[Any]]
"""Makes bodies of bytes: of which topic or queue, and of what type if the queue says so."""


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
        for row, record in zip(rows, self._records(depot, rows), strict=True):
            if self._wants(depot, row, record):
                entries.append((record, place_of(depot.queue, record[3])))
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
                if row is not None:
                    (record,) = self._records(depot, [row])
                    if self._wants(depot, row, record):
                        entries.append((record, place_of(depot.queue, record[3])))
        return Page(LATER, 0, entries, 0, (), False, time)

    def one(self, depot: Depot, offset: int) -> tuple[Record, Place] | None:
        """A message that a queue has not settled and wants, if this is one."""
        row = self._row(offset)
        if row is None:
            return None
        (record,) = self._records(depot, [row])
        place = place_of(depot.queue, record[3])
        has = holding_of(depot).has(self.connection, self.routes, row, depot.rank(record, place))
        return (record, place) if has and self._wants(depot, row, record) else None

    def past(self, depot: Depot, past: Sequence[Bound], rows: Sequence[Row]) -> list[tuple[Record, Place]]:
        """The messages of the past that a queue is to have, since one of these bindings lets them through."""
        records = self._records(depot, rows)
        return [(record, place_of(depot.queue, record[3])) for record in records if is_let_through(past, record)]

    def _wants(self, depot: Depot, row: Row, record: Record) -> bool:
        return is_wanted(depot, self.routes.routes[row[1]][1], record)

    def _row(self, offset: int) -> Row | None:
        row: Row | None = self.connection.execute(
            f"SELECT {COLUMNS} FROM eventbus_messages m WHERE m.offset = ?", (offset,)
        ).fetchone()
        return row

    def _rows(self, depot: Depot, rank: int, after: int, limit: int) -> list[Row]:
        if not depot.fifo:
            return rows_of_shelf(self.connection, depot.id, rank, after, limit)
        return holding_of(depot).rows(self.connection, self.routes, after, limit)

    def _records(self, depot: Depot, rows: Sequence[Row]) -> list[Record]:
        type = depot.queue.type
        return records_of(rows, self.routes.channel, self.path, lambda datas, name: self.decode(datas, name, type))


def place_of(queue: QueueState, key: Key) -> Place:
    """The lane of a message that is read again."""
    try:
        return None if queue.place is None else queue.place(key)
    except Exception as error:
        queue.engine.report(f"the partitioner of queue {queue.name!r} failed for a message read again", error)
        return None
