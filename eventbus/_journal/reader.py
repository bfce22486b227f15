"""Reading a journal while its owner writes: for replays, and for people. It only reads, and holds nothing open."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from eventbus._core.shelves import Page
from eventbus._journal.pages import Decoder, Pages
from eventbus._journal.reading import first_since, rows_of_routes
from eventbus._journal.routes import Routes
from eventbus._journal.rows import Row, record_of
from eventbus._journal.schema import connect_to_read
from eventbus._journal.statements import TROUBLE, code_of, user_statements
from eventbus.errors import JournalCorruptError, JournalError
from eventbus.message import Key, Record

if TYPE_CHECKING:
    from eventbus._core.depot import Depot
    from eventbus._core.engine import Engine
    from eventbus._core.lanes import Place

__all__ = ["Reader", "told"]


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

    def connection(self) -> sqlite3.Connection:
        """Under the lock."""
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

    def page(self, topics: Sequence[str], after: int, limit: int, key: Key = None) -> list[Record]:
        """The next messages that these topics keep."""
        wanted = set(topics)
        rows = self.rows(wanted.__contains__, after, limit, key)
        return [self.record(row) for row in rows]

    def rows(self, wanted: Callable[[str], bool], after: int, limit: int, key: Key = None) -> list[Row]:
        """The same as rows, of all topics that are wanted."""
        with self._snapshot() as connection:
            return rows_of_routes(connection, self.routes.kept(wanted), after, limit, key=key)

    def record(self, row: Row) -> Record:
        """The message of a row."""
        channel = self.routes.channel(row[1])
        return record_of(row, channel, self.path, lambda data: self.decode(data, channel, None))

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

    def query(self, sql: str, parameters: Any) -> list[tuple[Any, ...]]:
        """The rows of a statement that reads."""
        with self.lock, told(self.path):
            connection = self.connection()
            with user_statements(connection):  # no transaction of its own would be left open
                return connection.execute(sql, parameters).fetchall()

    def close(self) -> None:
        """Let go of the file."""
        with self.lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()
