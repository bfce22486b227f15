"""What one commit writes."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
from typing import Any

from eventbus._core.backlog import offset_of
from eventbus._core.changes import Bound, QueueDeclared, QueueRemoved, TopicDeclared
from eventbus._core.parcels import Parcel
from eventbus._core.posting import Posting
from eventbus._core.queue import QueueState
from eventbus._core.shelves import Saying
from eventbus._journal.holdings import holding_of
from eventbus._journal.ids import Known, known_of
from eventbus._journal.ids import write as write_ids
from eventbus._journal.inserts import Inserts
from eventbus._journal.policies import text_of_filter, text_of_policy, text_of_retention
from eventbus._journal.routes import Routes
from eventbus._journal.rows import PLAIN, plain_rows_of, row_of
from eventbus._journal.statements import GRAVE, code_of, nothing_becomes_ours, user_statements
from eventbus.message import Record

__all__ = ["Store"]


class Store:
    """The connection that writes, and what it has to write."""

    def __init__(self, connection: sqlite3.Connection, routes: Routes, time: Callable[[], float]) -> None:
        self.connection = connection
        self.routes = routes
        self.time = time
        self.rows = Inserts()
        self.unsettled: list[tuple[int, int, int]] = []
        self.states: list[tuple[int, int, int, int, str | None, float | None]] = []
        self.extra: list[tuple[int, int | None, int]] = []
        """Of transactions: queue, rank and offset of what they ack; the rank None in a FIFO."""
        self.known: list[Known] = []
        self.last = 0
        """The last offset that is known to stand in the journal."""

    def write(
        self, items: Sequence[Posting], sayings: Sequence[Saying], offset: int
    ) -> list[tuple[Posting, Exception]]:
        """Write all of it in one transaction: the postings that failed by themselves. What is raised undid the rest."""
        failed: list[tuple[Posting, Exception]] = []
        while not self._write(items, failed, sayings, offset):
            items = [item for item in items if all(item is not bad for bad, _ in failed)]
        return failed

    def _write(
        self,
        items: Sequence[Posting],
        failed: list[tuple[Posting, Exception]],
        sayings: Sequence[Saying],
        offset: int,
    ) -> bool:
        """Whether it is written; not, if a statement of the user's own has undone the transaction of all."""
        connection = self.connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            for posting in items:
                try:
                    if posting.repeated:
                        _require_written(posting.repeated, failed)
                    self._post(posting)
                except StatementError as error:
                    failed.append((posting, error.cause))
                    if not connection.in_transaction:
                        self.forget()
                        return False
            last = max(self.last, self.rows.last())
            self._flush()
            for saying in sayings:
                self.say(saying)
            if offset > last:  # it was given to what has no row
                connection.execute("UPDATE eventbus_bus SET offset = ?", (offset,))
            connection.execute("COMMIT")
        except BaseException:
            self.forget()
            raise
        self.routes.committed()
        self.last = max(last, offset)
        return True

    def forget(self) -> None:
        """Nothing of it was written."""
        self.rows.clear()
        for rows in (self.unsettled, self.states, self.extra, self.known):
            rows.clear()
        self.routes.rolled_back()
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")

    def _flush(self) -> None:
        execute = self.connection.executemany
        self.rows.write(self.connection)
        for statement, rows in (
            ("INSERT INTO eventbus_unsettled VALUES (?, ?, ?)", self.unsettled),
            ("INSERT OR REPLACE INTO eventbus_states VALUES (?, ?, ?, ?, ?, ?)", self.states),
        ):
            if rows:
                execute(statement, rows)
                rows.clear()
        if self.extra:
            fifo = [(queue, offset) for queue, rank, offset in self.extra if rank is None]
            execute("INSERT OR IGNORE INTO eventbus_settled VALUES (?, ?)", fifo)
            execute("DELETE FROM eventbus_unsettled WHERE queue = ? AND rank = ? AND offset = ?", self.extra)
            self.extra.clear()
        if self.known:
            write_ids(self.connection, self.known, self.time())
            self.known.clear()

    # postings

    def _post(self, posting: Posting) -> None:
        if posting.change is not None:
            self.change(posting.change)
        if posting.statements:
            self._execute(posting.statements)
        if posting.batch is not None:
            self._post_chunk(posting)
        for parcel in posting.parcels:
            self._post_parcel(parcel)
        for lease in posting.leases:
            self._ends(lease._holder.queue, lease.record)
        for queue, record, _ in posting.moves:
            self._ends(queue, record)

    def _ends(self, queue: QueueState, record: Record) -> None:
        depot = queue.depot
        if depot is not None and depot.id:
            offset = offset_of(record)
            self.extra.append((depot.id, None if depot.fifo else depot.ranks[offset], offset))

    def _post_parcel(self, parcel: Parcel) -> None:
        if parcel.data is None:  # a request, or what could not be encoded: in memory only
            return
        offset, due = parcel.offset, parcel.due_time
        kept = parcel.topic is not None and parcel.topic.durable
        route = self._route(parcel.name, kept, parcel.queues())
        self._add_row(offset, route, parcel.time, parcel.data, parcel.key, parcel.head, parcel.priority, parcel.rare)
        if (id := parcel.id) is not None:
            self.known += known_of(parcel, id)
        record = parcel.record(offset, None)
        for target in parcel.targets:
            depot = target.queue.depot
            if depot is not None and depot.id:
                if not depot.fifo:
                    self.unsettled.append((depot.id, depot.rank(record, target.place), offset))
                if due is not None:
                    self.states.append((depot.id, offset, 0, 0, None, due))

    def _post_chunk(self, posting: Posting) -> None:
        batch, chunk = posting.batch, posting.chunk
        assert batch is not None
        assert chunk is not None
        time, _, priority, name, rare = chunk.facts
        kept = batch.topic is not None and batch.topic.durable
        route = self._route(name, kept, batch.queues)
        data = batch.data[posting.start : posting.start + chunk.size]
        if chunk.keys is None and batch.head is None and rare is None and not priority:
            self.rows.add(PLAIN, plain_rows_of(chunk.first, route, chunk.times or repeat(time), data))
        else:
            keys = chunk.keys or [None] * chunk.size
            for offset, (body, key) in enumerate(zip(data, keys, strict=True), chunk.first):
                self._add_row(offset, route, time, body, key, batch.head, priority, rare)
        for queue in batch.queues:
            depot = queue.depot
            if depot is not None and depot.id and not depot.fifo:
                self.unsettled += [(depot.id, -priority, offset) for offset in chunk.offsets()]

    def _add_row(self, *facts: Any) -> None:
        values = row_of(*facts)
        self.rows.add(len(values), values)

    def _route(self, channel: str, kept: bool, queues: Iterable[QueueState]) -> int:
        ids = [queue.depot.id for queue in queues if queue.depot is not None and queue.depot.id]
        return self.routes.number((channel, kept, tuple(sorted(ids))), self.connection)

    def _execute(self, statements: Sequence[tuple[str, Any]]) -> None:
        """What a transaction of the user's own does to the user's own tables, all or nothing."""
        connection = self.connection
        connection.execute("SAVEPOINT own")
        try:
            with nothing_becomes_ours(connection, statements), user_statements(connection):
                for sql, parameters in statements:
                    connection.execute(sql, parameters).fetchall()
        except Exception as error:  # also of its parameters, which may be anything
            if (code_of(error) or 0) in GRAVE:
                raise
            if connection.in_transaction:
                connection.execute("ROLLBACK TO own")
                connection.execute("RELEASE own")
            raise StatementError(error) from None
        connection.execute("RELEASE own")

    # what queues have to say

    def say(self, saying: Saying) -> None:
        """Where a queue stands by now."""
        execute, many = self.connection.execute, self.connection.executemany
        depot = saying.depot
        id = depot.id
        if not id:
            return
        if depot.fifo:
            execute("UPDATE eventbus_queues SET mark = ? WHERE id = ?", (saying.mark, id))
            execute("DELETE FROM eventbus_settled WHERE queue = ? AND offset <= ?", (id, saying.mark))
            for _, edge, last, lives in saying.cleared:
                holding_of(depot).settle(self.connection, self.routes, max(edge, saying.mark), last)
                many("DELETE FROM eventbus_settled WHERE queue = ? AND offset = ?", [(id, o) for o in lives])
            many(
                "INSERT OR IGNORE INTO eventbus_settled VALUES (?, ?)",
                [(id, offset) for _, offset in saying.settled],
            )
        else:
            for rank, edge, last, lives in saying.cleared:
                execute(
                    "DELETE FROM eventbus_unsettled WHERE queue = ? AND rank = ? AND offset > ? AND offset <= ?",
                    (id, rank, edge, last),
                )
                many("INSERT INTO eventbus_unsettled VALUES (?, ?, ?)", [(id, rank, offset) for offset in lives])
            many(
                "DELETE FROM eventbus_unsettled WHERE queue = ? AND rank = ? AND offset = ?",
                [(id, rank, offset) for rank, offset in saying.settled],
            )
        if saying.ended:
            many("DELETE FROM eventbus_states WHERE queue = ? AND offset = ?", [(id, o) for o in saying.ended])
        if saying.states:
            many(
                "INSERT OR REPLACE INTO eventbus_states VALUES (?, ?, ?, ?, ?, ?)",
                [(id, offset, *state) for offset, state in saying.states.items()],
            )

    # what people declared

    def change(self, change: object) -> None:
        """Write down what was declared or removed."""
        execute = self.connection.execute
        if isinstance(change, QueueDeclared):
            self._declare(change)
        elif isinstance(change, TopicDeclared):
            execute(
                "INSERT INTO eventbus_topics VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
                "retention = ifnull(excluded.retention, retention), dedup = ifnull(excluded.dedup, dedup), "
                "declared = excluded.declared",
                (change.name, text_of_retention(change.retention), change.dedup, self.time()),
            )
        elif isinstance(change, QueueRemoved):
            for table in ("settled", "unsettled", "states", "bindings", "pasts"):
                execute(f"DELETE FROM eventbus_{table} WHERE queue = ?", (change.id,))
            execute("DELETE FROM eventbus_ids WHERE channel = ?", (change.id,))
            execute("DELETE FROM eventbus_queues WHERE id = ?", (change.id,))

    def _declare(self, queue: QueueDeclared) -> None:
        execute = self.connection.execute
        depot = queue.depot
        if not depot.id:  # removed meanwhile
            return
        facts = (depot.id, queue.name, queue.subscription, text_of_policy(queue.policy), depot.mark)
        execute(
            "INSERT INTO eventbus_queues VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET "
            "subscription = excluded.subscription, policy = excluded.policy, refilter = excluded.refilter, "
            "declared = excluded.declared",
            (*facts, 0, queue.refilter, self.time()),  # where it is sought it says itself
        )
        execute("DELETE FROM eventbus_bindings WHERE queue = ?", (depot.id,))
        for pattern, source in queue.bindings:
            text, opaque = text_of_filter(source)
            execute("INSERT INTO eventbus_bindings VALUES (?, ?, ?, ?)", (depot.id, pattern, text, opaque))

    def sought(self, id: int, after: int, upto: int, past: Sequence[Bound]) -> None:
        """A queue begins anew after an offset, and up to another has what it is bound to."""
        execute = self.connection.execute
        execute("UPDATE eventbus_queues SET mark = ?, since = ? WHERE id = ?", (after, upto, id))
        execute("DELETE FROM eventbus_pasts WHERE queue = ?", (id,))
        for pattern, predicate in past:
            execute("INSERT INTO eventbus_pasts VALUES (?, ?, ?)", (id, pattern, text_of_filter(predicate.source)[0]))


def _require_written(firsts: Sequence[Posting], failed: Sequence[tuple[Posting, Exception]]) -> None:
    """Refuse what takes messages for written that are not."""
    causes = [cause for posting, cause in failed if posting in firsts]
    causes += [first.error for first in firsts if isinstance(first.error, Exception)]
    if causes:
        raise StatementError(causes[0])


class StatementError(Exception):
    """A statement of the user's own failed, and with it its transaction alone."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause
