"""Which messages are a queue's: the one place that says so.

A message *counts* for a queue if the queue has to settle it.

- Of a FIFO that is what lies beyond its mark, up to which all is settled, and does not stand in `eventbus_settled`:
  - up to `since`, where it was sought last: what topics keep that it was bound to when it was sought, its `past`,
    wherever that was sent to. Nothing else of that time, so a seek forgets what was put into it directly, and what came
    from topics that keep nothing, settled or not;
  - beyond `since`: what was sent to it, whose route names it.
- Of the others it is what stands in `eventbus_unsettled`. A seek takes out of there what it forgets, and puts in the
  past.

A message that counts is *wanted* unless a filter says no.

- Of a FIFO's past, the filter of when it was sought; what the others have in `eventbus_unsettled` has passed it.
- Up to `refilter`, also the filter of now, which was another then, of topics to which the queue is bound now. What was
  put directly, what died, and what came from where it is bound no longer, has none.

What counts and is not wanted is passed by when it is read, and is settled then. So bindings that come and go change
nothing of what a queue has already, and whoever counts, reads, moves or deletes means the same messages.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from eventbus._core.matching import matches
from eventbus._journal.policies import filter_of
from eventbus._journal.reading import END, count_rows, rows_of_routes
from eventbus._journal.routes import Routes
from eventbus._journal.rows import Row
from eventbus.message import Record

if TYPE_CHECKING:
    from eventbus._core.changes import Bound
    from eventbus._core.depot import Depot

__all__ = ["Holding", "holding_of", "holdings", "is_let_through", "is_wanted"]


class Holding(NamedTuple):
    """What one queue has: of a queue of this process, or as the file says."""

    id: int
    fifo: bool
    mark: int
    since: int
    past: tuple[Bound, ...]
    """What it was bound to when it was sought."""

    def seeks(self, channel: str) -> bool:
        """Whether it reads what a topic keeps, beyond what was sent to it."""
        return not (self.fifo and self.mark >= self.since) and any(matches(bound[0], channel) for bound in self.past)

    def spans(self, routes: Routes, after: int, upto: int) -> Iterator[tuple[list[int], int, int]]:
        """Of a FIFO: routes, and between which offsets what went by them counts, in order."""
        if after < self.since:
            kept = routes.kept(lambda channel: any(matches(bound[0], channel) for bound in self.past))
            yield kept, after, min(upto, self.since)
        if upto > self.since:
            yield routes.to_queue(self.id), max(after, self.since), upto

    def total(self, connection: sqlite3.Connection, routes: Routes, after: int, upto: int) -> int:
        """Of a FIFO: how many messages between two offsets count, or were settled out of their turn."""
        return sum(count_rows(connection, *span) for span in self.spans(routes, after, upto))

    def rows(self, connection: sqlite3.Connection, routes: Routes, after: int, limit: int) -> list[Row]:
        """Of a FIFO: the next messages that count."""
        rows: list[Row] = []
        for numbers, first, last in self.spans(routes, after, END):
            rows += rows_of_routes(connection, numbers, first, limit - len(rows), but=self.id, upto=last)
            if len(rows) == limit:
                break
        return rows

    def has(self, connection: sqlite3.Connection, routes: Routes, row: Row, rank: int) -> bool:
        """Whether a message counts; `rank` is its shelf."""
        if self.fifo:
            return bool(self.among(connection, routes, [row]))
        shelf = "SELECT 1 FROM eventbus_unsettled WHERE queue = ? AND rank = ? AND offset = ?"
        return connection.execute(shelf, (self.id, rank, row[0])).fetchone() is not None

    def among(self, connection: sqlite3.Connection, routes: Routes, rows: Sequence[Row]) -> set[int]:
        """The offsets of those of some messages, in order, that count."""
        table = "settled" if self.fifo else "unsettled"
        sql = f"SELECT offset FROM eventbus_{table} WHERE queue = ? AND offset BETWEEN ? AND ?"
        listed = {offset for (offset,) in connection.execute(sql, (self.id, rows[0][0], rows[-1][0])).fetchall()}
        if not self.fifo:
            return listed.intersection(row[0] for row in rows)
        spans = [({*numbers}, after, upto) for numbers, after, upto in self.spans(routes, self.mark, END)]
        return {
            offset
            for offset, route, *_ in rows
            if offset not in listed
            and any(after < offset <= upto and route in numbers for numbers, after, upto in spans)
        }

    def passes(self, record: Record) -> bool:
        """Whether a message that counts has come through the filter of then."""
        return not self.fifo or (record[0] or 0) > self.since or is_let_through(self.past, record)

    def settle(self, connection: sqlite3.Connection, routes: Routes, after: int, upto: int) -> None:
        """Of a FIFO: whatever counts between two offsets is settled."""
        for numbers, first, last in self.spans(routes, after, upto):
            connection.execute(
                f"INSERT OR IGNORE INTO eventbus_settled SELECT ?, offset FROM eventbus_messages "
                f"WHERE route IN ({','.join(map(str, numbers))}) AND offset > ? AND offset <= ?",
                (self.id, first, last),
            )

    def first(self, connection: sqlite3.Connection) -> int:
        """The offset from which on something may count; what lies before, it needs no more."""
        if self.fifo:
            return self.mark + 1
        first, rank = END, -END
        head = "SELECT rank, offset FROM eventbus_unsettled WHERE queue = ? AND rank > ? ORDER BY rank, offset LIMIT 1"
        while (row := connection.execute(head, (self.id, rank)).fetchone()) is not None:
            rank, first = row[0], min(first, row[1])
        return first


def holding_of(depot: Depot) -> Holding:
    """What a queue of this process has."""
    return Holding(depot.id, depot.fifo, depot.mark, depot.since, depot.past)


def holdings(connection: sqlite3.Connection) -> dict[int, Holding]:
    """What all queues have, by number, as the file says."""
    past = past_of(connection)
    queues = connection.execute("SELECT id, policy, mark, since FROM eventbus_queues").fetchall()
    return {
        id: Holding(id, '"kind":"fifo"' in policy, mark, since, past.get(id, ())) for id, policy, mark, since in queues
    }


def past_of(connection: sqlite3.Connection) -> dict[int, tuple[Bound, ...]]:
    """What queues were bound to when they were sought. What a function let through then, nobody knows any more."""
    past: dict[int, tuple[Bound, ...]] = {}
    for id, pattern, text in connection.execute("SELECT queue, pattern, filter FROM eventbus_pasts").fetchall():
        past[id] = (*past.get(id, ()), (pattern, filter_of(text)))
    return past


def is_wanted(depot: Depot, kept: bool, record: Record) -> bool:
    """Whether a message that counts for a queue is wanted; `kept`: whether a topic keeps it."""
    offset, channel, rare = record[0] or 0, record[6], record[7]
    if offset <= depot.since and not holding_of(depot).passes(record):
        return False
    if offset > depot.refilter or (rare is not None and rare.deaths) or (channel == depot.queue.name and not kept):
        return True
    bindings = depot.queue.engine.wiring.bindings_of(depot.queue)
    bound = [(b.pattern, b.predicate) for b in bindings if matches(b.pattern, channel)]
    return not bound or is_let_through(bound, record)


def is_let_through(bound: Iterable[Bound], record: Record) -> bool:
    """Whether a message of a topic comes through one of these bindings."""
    return any(
        matches(pattern, record[6]) and (predicate.test is None or predicate.test(record))
        for pattern, predicate in bound
    )
