"""Opening: what the journal knows of queues and topics, brought together with what this process has declared.

What is declared wins. A queue or topic that no module has declared yet gets its state all the same, so that it misses
nothing; its bodies are not read until somebody says what they are to be.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import attrs
from msgspec import MsgspecError

from eventbus._core.backlog import offset_of
from eventbus._core.changes import Sought, queue_declared, topic_declared
from eventbus._core.queue import QueueState
from eventbus._journal.holdings import holding_of, past_of
from eventbus._journal.ids import recall
from eventbus._journal.pages import Pages, place_of
from eventbus._journal.policies import filter_of, order_text, policy_of, retention_of, text_of_filter
from eventbus._journal.schema import prepare
from eventbus._journal.store import Store
from eventbus.errors import EventBusError, JournalCorruptError
from eventbus.message import NO_HEADERS, Key, Record
from eventbus.policy import Fifo

if TYPE_CHECKING:
    from eventbus._core.changes import Bound
    from eventbus._core.depot import Depot
    from eventbus._core.engine import Engine

__all__ = ["Recovery"]

PAGE = 4_096


class Recovery:
    """The opening of one journal."""

    def __init__(self, engine: Engine, store: Store, pages: Pages, path: str) -> None:
        self.engine = engine
        self.store = store
        self.pages = pages
        self.connection = store.connection
        self.path = path
        self.past: dict[int, tuple[Bound, ...]] = {}
        """What queues were bound to when they were sought."""
        self.moved: list[tuple[QueueState, bool]] = []
        """Queues whose messages are to stand on other shelves than they did, and whether they were FIFOs."""
        self.known: set[int] = set()
        """The queues that stand in the journal."""
        self.wishes: list[Sought] = []
        """Where new queues are to begin."""

    def run(self) -> list[Depot]:
        """Do it, in one transaction: the queues of which something was found."""
        connection = self.connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            offset = prepare(connection, self.path)
            self.store.routes.load(connection)
            queues = connection.execute(
                "SELECT id, name, subscription, policy, mark, since, refilter FROM eventbus_queues"
            ).fetchall()
            topics = connection.execute("SELECT name, retention, dedup FROM eventbus_topics").fetchall()
            bindings = connection.execute("SELECT queue, pattern, filter, opaque FROM eventbus_bindings").fetchall()
            try:
                self.past = past_of(connection)
                with self.engine.lock:
                    self._meet(offset, queues, topics, bindings)
            except (EventBusError, MsgspecError, ValueError, TypeError, LookupError) as error:
                raise JournalCorruptError(self.path, f"its queues and topics cannot be read ({error})") from error
            for queue, was_fifo in self.moved:
                self._reshelve(queue, was_fifo)
            self._write()
            recall(self.engine, connection, self.path, self.store.time())
            found = [self._find(queue) for queue in list(self.engine.queues.values()) if queue.depot is not None]
            connection.execute("COMMIT")
        except BaseException:
            self.store.forget()
            raise
        self.store.routes.committed()
        return found

    def _meet(
        self,
        offset: int,
        queues: Sequence[tuple[int, str, int, str, int, int, int]],
        topics: Sequence[tuple[str, str | None, float | None]],
        bindings: Sequence[tuple[int, str, str | None, int]],
    ) -> None:
        engine = self.engine
        outbox = engine.outbox
        assert outbox is not None
        engine.offset = max(engine.offset, offset)
        outbox.next_id = max([row[0] for row in queues], default=0) + 1
        for name, retention, dedup in topics:
            require_window(dedup)
            topic = engine.wiring.topics.get(name)
            if topic is None:
                topic = engine.wiring.declare(name, retention_of(retention), dedup)
                topic.dormant = True
            elif topic.durable and topic.seen is None:
                engine.wiring.declare(name, None, dedup)
            topic.retention = topic.retention or retention_of(retention)
        for topic in engine.wiring.topics.values():
            topic.last = offset
        bound: dict[int, dict[str, tuple[str | None, int]]] = {}
        for id, pattern, text, opaque in bindings:
            bound.setdefault(id, {})[pattern] = (text, opaque)
        self.known = {row[0] for row in queues}
        for row in queues:
            self._meet_queue(row, bound.get(row[0], {}), offset)
        self._begin_the_others(offset)
        outbox.open, outbox.began = True, offset
        for wish in self.wishes:
            outbox.note(wish)

    def _meet_queue(
        self,
        row: tuple[int, str, int, str, int, int, int],
        bound: dict[str, tuple[str | None, int]],
        offset: int,
    ) -> None:
        """A queue that the journal knows."""
        engine = self.engine
        id, name, subscription, policy, mark, since, refilter = row
        require_whole(id, mark, since, refilter)
        queue = engine.queues.get(name)
        if queue is None:
            queue = engine.declare_queue(name, policy_of(policy))
            queue.subscription = bool(subscription) or None
            for pattern, (text, _) in bound.items():
                engine.wiring.bind(queue, [pattern], filter_of(text))
        depot = queue.depot
        if depot is None:  # declared anew with durable=False: what it had stays where it is
            return
        depot.id = id
        depot.begin(mark)
        depot.last = offset
        depot.since, depot.past, depot.refilter = since, self.past.get(id, ()), refilter
        if depot.wish is not None:  # it began long ago
            queue.loaded(depot.wish.number)
            depot.wish = None
        self._compare(queue, policy, bound)

    def _begin_the_others(self, offset: int) -> None:
        """The queues that the journal does not know."""
        outbox = self.engine.outbox
        assert outbox is not None
        for queue in self.engine.queues.values():
            depot = queue.depot
            if depot is not None and not depot.id:
                depot.id = outbox.new_id()
                depot.begin(offset)
                if depot.wish is not None:
                    self.wishes.append(attrs.evolve(depot.wish, upto=offset))
                    depot.wish = None

    def _compare(self, queue: QueueState, policy: str, stored: dict[str, tuple[str | None, int]]) -> None:
        """What is declared otherwise than it was written."""
        depot = queue.depot
        assert depot is not None
        order = queue.policy.order
        own_partitioner = '"partitioner":"own"' in order_text(order)
        before = policy_of(policy).order
        if order_text(before) != order_text(order) or own_partitioner:
            self.moved.append((queue, isinstance(before, Fifo)))
        for binding in self.engine.wiring.bound.get(queue, ()):
            text, opaque = text_of_filter(binding.predicate.source)
            if opaque or stored.get(binding.pattern, (text, 0)) != (text, 0):
                depot.refilter = self.engine.offset

    def _reshelve(self, queue: QueueState, was_fifo: bool) -> None:
        """Its order is another now: put what it has where that order has it."""
        depot = queue.depot
        assert depot is not None
        had = [*(self._had_in_line(depot) if was_fifo else self._had_on_shelves(depot))]
        for table in ("unsettled", "settled"):
            self.connection.execute(f"DELETE FROM eventbus_{table} WHERE queue = ?", (depot.id,))
        if depot.fifo:
            self._line_up(depot, {offset for offset, _, _ in had})
        else:
            depot.begin(0)
            self.connection.executemany(
                "INSERT INTO eventbus_unsettled VALUES (?, ?, ?)",
                ((depot.id, self._rank(depot, *facts), facts[0]) for facts in had),
            )
        depot.last = self.engine.offset

    def _had_in_line(self, depot: Depot) -> Iterator[tuple[int, Key, int]]:
        """Offset, key and priority of what it had as a FIFO; of its past, of what the filter of then lets through."""
        holding, after = holding_of(depot)._replace(fifo=True), depot.mark
        while rows := holding.rows(self.connection, self.store.routes, after, PAGE):
            past = [row for row in rows if row[0] <= depot.since]
            for record, _ in self.pages.past(depot, depot.past, past):
                yield offset_of(record), record[3], record[5]
            for row in rows[len(past) :]:
                yield row[0], row[5], row[7]
            after = rows[-1][0]

    def _had_on_shelves(self, depot: Depot) -> Iterator[tuple[int, Key, int]]:
        """The same of what it had in another order."""
        yield from self.connection.execute(
            "SELECT u.offset, m.key, m.priority FROM eventbus_unsettled u "
            "JOIN eventbus_messages m ON m.offset = u.offset WHERE u.queue = ?",
            (depot.id,),
        ).fetchall()

    def _line_up(self, depot: Depot, unsettled: set[int]) -> None:
        """Make it a FIFO that has settled all but this."""
        mark = after = min(unsettled, default=self.engine.offset + 1) - 1
        depot.begin(mark)
        self.connection.execute("UPDATE eventbus_queues SET mark = ? WHERE id = ?", (mark, depot.id))
        while rows := holding_of(depot).rows(self.connection, self.store.routes, after, PAGE):
            after = rows[-1][0]
            self.connection.executemany(
                "INSERT INTO eventbus_settled VALUES (?, ?)",
                [(depot.id, row[0]) for row in rows if row[0] not in unsettled],
            )

    def _rank(self, depot: Depot, offset: int, key: Key, priority: int) -> int:
        record: Record = (offset, 0.0, None, key, NO_HEADERS, priority, "", None, None)
        return depot.rank(record, place_of(depot.queue, key))

    def _write(self) -> None:
        """What this process has declared, or has come to need, as queues of dead letters."""
        with self.engine.lock:
            queues = [
                queue_declared(self.engine, queue)
                for queue in self.engine.queues.values()
                if queue.depot is not None and (queue.depot.awake or queue.depot.id not in self.known)
            ]
            topics = [
                topic_declared(topic)
                for topic in self.engine.wiring.topics.values()
                if topic.durable and not topic.dormant
            ]
        for change in (*topics, *queues):
            self.store.change(change)

    def _find(self, queue: QueueState) -> Depot:
        """Count what is unsettled in a queue, and read what has failed there or is to come later."""
        connection, depot = self.connection, queue.depot
        assert depot is not None
        id = depot.id
        if depot.fifo:
            count = holding_of(depot).total(connection, self.store.routes, depot.mark, self.engine.offset)
            settled = connection.execute("SELECT count(*) FROM eventbus_settled WHERE queue = ?", (id,)).fetchone()[0]
            if settled > count:
                raise JournalCorruptError(self.path, f"queue {queue.name!r} has settled more than it was sent")
            found = [(0, count - settled)]
        else:
            depot.start = 0
            found = connection.execute(
                "SELECT rank, count(*) FROM eventbus_unsettled WHERE queue = ? GROUP BY rank", (id,)
            ).fetchall()
        states = connection.execute(
            "SELECT offset, attempts, failures, error, due FROM eventbus_states WHERE queue = ?", (id,)
        ).fetchall()
        try:
            require_whole(*(number for pair in found for number in pair))
            require_whole(*(number for state in states for number in state[:3]))
        except ValueError as error:
            raise JournalCorruptError(self.path, f"what queue {queue.name!r} has cannot be read ({error})") from error
        with self.engine.lock:
            depot.states = {offset: state for offset, *rest in states for state in [tuple(rest)]}
            for rank, count in found:
                depot.found(rank, count)
        return depot


def require_whole(*numbers: object) -> None:
    """In a damaged file, columns may have what their type forbids."""
    for number in numbers:
        if not isinstance(number, int):
            raise ValueError(f"{number!r} stands where a whole number should")


def require_window(seconds: object) -> None:
    """The same for what ids are compared with."""
    if seconds is not None and not (isinstance(seconds, float) and seconds > 0):
        raise ValueError(f"{seconds!r} stands where seconds should")
