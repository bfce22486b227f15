"""Finding a subscription's past anew: where it begins is moved, and what lies between is counted or put on shelves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventbus._core.backlog import offset_of
from eventbus._core.changes import Sought
from eventbus._core.errands import LetGo
from eventbus._core.matching import matches
from eventbus._journal.holdings import Holding
from eventbus._journal.reading import first_since, rows_of_routes

if TYPE_CHECKING:
    from eventbus._core.engine import Engine
    from eventbus._journal.pages import Pages
    from eventbus._journal.store import Store

__all__ = ["Seeking"]

PAGE = 2_048


class Seeking:
    """Seeks, in the writer's thread."""

    def __init__(self, engine: Engine, store: Store, pages: Pages) -> None:
        self.engine = engine
        self.store = store
        self.pages = pages

    def seek(self, sought: Sought) -> None:
        """Do it, in a commit of its own, and let the queue lend again. If that fails, the queue is as it was.

        If the bus is being closed, it is done all the same, for the next time.
        """
        depot, upto = sought.depot, sought.upto
        queue = depot.queue
        with self.engine.lock:
            id = depot.id
            if not id or queue.loading != sought.number:  # it was removed, or another seek came after
                return
        connection = self.store.connection
        routes = self.store.routes
        kept = routes.kept(lambda channel: any(matches(pattern, channel) for pattern, _ in sought.past))
        after = self._after(sought.start, kept, upto)
        connection.execute("BEGIN IMMEDIATE")
        try:
            for table in ("settled", "unsettled", "states"):
                connection.execute(f"DELETE FROM eventbus_{table} WHERE queue = ? AND offset <= ?", (id, upto))
            self.store.sought(id, after, upto, sought.past)
            if depot.fifo:
                found = {0: Holding(id, True, after, upto, sought.past).total(connection, routes, after, upto)}
            else:
                found = self._shelve(id, sought, kept, after)
            connection.execute("COMMIT")
        except BaseException:
            self.store.forget()
            raise
        with self.engine.lock:
            if queue.closed:  # with the bus: what is found is for the next one
                depot.seek(after, upto, sought.past)
                return
            self.engine.errands.append(LetGo(queue.purge()))  # what was on its way when it was sought is found again
            depot.seek(after, upto, sought.past)
            for rank, count in found.items():
                depot.found(rank, count)
            depot.ask_all()
            queue.loaded(sought.number)

    def _after(self, start: int | float, routes: list[int], upto: int) -> int:
        """The offset after which it begins."""
        if not isinstance(start, float):
            return min(start, upto)
        first = first_since(self.store.connection, routes, start)
        return upto if first is None else first - 1

    def _shelve(self, id: int, sought: Sought, routes: list[int], after: int) -> dict[int, int]:
        """Put on its shelves what the queue's filter lets through: how many are on each."""
        connection, depot = self.store.connection, sought.depot
        found: dict[int, int] = {}
        while rows := rows_of_routes(connection, routes, after, PAGE, upto=sought.upto):
            unsettled = []
            for entry in self.pages.past(depot, sought.past, rows):
                rank = depot.rank(*entry)
                found[rank] = found.get(rank, 0) + 1
                unsettled.append((id, rank, offset_of(entry[0])))
            connection.executemany("INSERT INTO eventbus_unsettled VALUES (?, ?, ?)", unsettled)
            after = rows[-1][0]
        return found
