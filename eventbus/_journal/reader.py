"""Reading a journal while its owner writes: for replays, and for people. It only reads, and holds nothing open."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from eventbus._core.shelves import Page
from eventbus._journal.pages import Decoder, Pages
from eventbus._journal.plain import BATCH, Columns, columns_of_routes, records_of_columns, solid_columns
from eventbus._journal.reading import first_since, rows_of_routes
from eventbus._journal.routes import Routes
from eventbus._journal.rows import NOT_PLAIN, Row, records_of
from eventbus._journal.schema import connect_to_read
from eventbus._journal.statements import TROUBLE, code_of, user_statements
from eventbus.errors import ClosedError, JournalCorruptError, JournalError
from eventbus.message import Key, Record

if TYPE_CHECKING:
    from eventbus._core.depot import Depot
    from eventbus._core.engine import Engine
    from eventbus._core.lanes import Place

__all__ = ["Reader", "Stop", "told"]

Stop: TypeAlias = "list[None]"
"""Empty, until what it was made for is to end."""

STRIDE: Final = 10_000
"""Steps of SQLite's machine between two looks whether a query is to end: some hundred microseconds."""


@contextmanager
def told(path: str) -> Iterator[None]:
    """Here, what SQLite says is said as an error of ours."""
    try:
        yield
    except TROUBLE as error:
        no_text = code_of(error) is None and not isinstance(error, sqlite3.ProgrammingError)
        if no_text or code_of(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise JournalCorruptError(path, str(error)) from error
        raise JournalError(f"journal {path!r} could not be read: {error}") from error


class Reader:
    """One connection that reads, opened when first needed, for any thread."""

    def __init__(self, path: str, decode: Decoder) -> None:
        self.path = path
        self.decode = decode
        self.routes = Routes(path)
        self.lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self.plain = True
        """Whether all messages of the page before were plain, and so may be those of the next."""
        self.solid = True
        """Whether nothing lay between them."""
        self._closed = False
        self._stop: Stop = []
        """What ends the query that runs."""

    def connection(self) -> sqlite3.Connection:
        """Under the lock."""
        if self._closed:
            raise ClosedError("the bus")
        if self._connection is None:
            self._connection = connect_to_read(self.path)
        return self._connection

    @contextmanager
    def _snapshot(self) -> Iterator[sqlite3.Connection]:
        """Several statements that see the same commits, and all routes of what they see."""
        with self.lock, told(self.path):
            connection = self.connection()
            connection.execute("BEGIN")
            try:
                self.routes.load(connection)
                yield connection
            finally:
                connection.execute("ROLLBACK")

    def page(self, topics: Sequence[str], after: int, limit: int, key: Key = None) -> Iterator[list[Record]]:
        """The next messages that these topics keep, in batches that are decoded when they are asked for."""
        with self._snapshot() as connection:
            numbers = self.routes.kept(set(topics).__contains__)
            if self.plain and key is None:
                columns = self._columns(connection, numbers, after, limit)
                if columns is not None:
                    return records_of_columns(columns, self._decoded)
            rows = rows_of_routes(connection, numbers, after, limit, key=key)
        self.plain = all(row[4] < NOT_PLAIN for row in rows)
        return self._records(rows)

    def _columns(
        self, connection: sqlite3.Connection, numbers: Sequence[int], after: int, limit: int
    ) -> Columns | None:
        """The next messages if they are plain, in the way that is likely to be the fastest."""
        if self.solid and len(numbers) == 1:
            columns = solid_columns(connection, self.routes, numbers[0], after, limit)
            if columns is not None:
                return columns
        columns = columns_of_routes(connection, self.routes, numbers, after, limit)
        self.solid = columns is not None and columns.are_solid()
        return columns

    def _records(self, rows: Sequence[Row]) -> Iterator[list[Record]]:
        for start in range(0, len(rows), BATCH):
            yield records_of(rows[start : start + BATCH], self.routes.channel, self.path, self._decoded)

    def _decoded(self, datas: Sequence[bytes], channel: str) -> list[Any]:
        return self.decode(datas, channel, None)

    def rows(self, wanted: Callable[[str], bool], after: int, limit: int, key: Key = None) -> list[Row]:
        """The same as rows, of all topics that are wanted."""
        with self._snapshot() as connection:
            return rows_of_routes(connection, self.routes.kept(wanted), after, limit, key=key)

    def first_since(self, topics: Sequence[str], time: float) -> int | None:
        """The offset of the first message of this time or later that these topics keep, if there is one."""
        with self._snapshot() as connection:
            return first_since(connection, self.routes.kept(set(topics).__contains__), time)

    def unread(self, engine: Engine, depot: Depot) -> Iterator[tuple[Record, Place]]:
        """The messages of a queue that are on disk only, shelf by shelf: those that were there when it came to them."""
        with engine.lock:
            edges = sorted((rank, shelf.edge) for rank, shelf in depot.shelves.items() if shelf.unread)
        for rank, edge in edges:
            page = Page(rank, edge, (), edge, (), False, 0.0)
            while not page.last:
                with self._snapshot() as connection:
                    pages = Pages(connection, self.routes, self.path, self.decode)
                    page = pages.after(depot, rank, page.edge, 0.0)
                yield from page.entries

    def one(self, depot: Depot, offset: int) -> tuple[Record, Place] | None:
        """A message of a queue, if it has one of this offset that is not settled."""
        with self._snapshot() as connection:
            return Pages(connection, self.routes, self.path, self.decode).one(depot, offset)

    def query(self, sql: str, parameters: Any, stop: Stop) -> list[tuple[Any, ...]]:
        """The rows of a statement that reads; an error, soon after there is something in `stop`."""
        with self.lock, told(self.path):
            self._stop = stop  # before it looks whether it is closed, as `close` does after
            connection = self.connection()
            # `interrupt()` would be lost on a statement that is about to begin; and of a handler in Python a signal's
            # exception would be lost
            connection.set_progress_handler(stop.__len__, STRIDE)
            try:
                with user_statements(connection):  # no transaction of its own would be left open
                    return connection.execute(sql, parameters).fetchall()
            except (OverflowError, UnicodeEncodeError) as error:  # what SQLite has no value or text for
                raise JournalError(f"journal {self.path!r} could not be read: {error}") from error
            except sqlite3.OperationalError:
                if self._closed:
                    raise ClosedError("the bus") from None
                raise
            finally:
                connection.set_progress_handler(None, 0)

    def close(self) -> None:
        """Let go of the file. A query that is at work ends early."""
        self._closed = True
        self._stop.append(None)
        with self.lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()
