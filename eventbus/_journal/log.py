"""The messages of a journal for people: read in order from any process, whether or not another one writes.

Names and patterns choose. They stand for topics, and for queues: of a queue it is what was sent to it or died into it,
and is not settled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from eventbus._core.matching import check_pattern, matches
from eventbus._journal.reader import told
from eventbus._journal.reading import first_since, rows_of_routes
from eventbus._journal.routes import Routes
from eventbus._journal.rows import COLUMNS, Row, record_of
from eventbus._journal.schema import connect_to_read
from eventbus._journal.statements import LAST
from eventbus.message import Key, Record

__all__ = ["Log", "Stored"]

PAGE: Final = 512


class Stored(NamedTuple):
    """A message as it stands in the journal: `data` are the bytes of its body."""

    record: Record
    data: bytes


class Log:
    """One journal, open to read. Without names it has what all topics keep."""

    def __init__(self, path: str, names: Sequence[str], decode: Callable[[bytes], Any]) -> None:
        self.patterns = [check_pattern(name) for name in names]
        self.path = path
        self.decode = decode
        self.routes = Routes(path)
        with told(path):
            self.connection = connect_to_read(path)

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def version(self) -> int:
        """Another number whenever something was committed."""
        with told(self.path):
            (version,) = self.connection.execute("PRAGMA data_version").fetchone()
            return int(version)

    def last_offset(self) -> int:
        """The last offset that was given."""
        with told(self.path):
            (offset,) = self.connection.execute(LAST).fetchone()
            return int(offset)

    def after_of(self, time: float) -> int:
        """The offset after which the messages of a time, and all later ones, stand."""
        with told(self.path):
            first = first_since(self.connection, [*self._chosen()], time)
            return self.last_offset() if first is None else first - 1

    def read(self, after: int, upto: int, key: Key = None) -> Iterator[Stored]:
        """What stands after an offset, up to another, in order; a page at a time."""
        rows: Sequence[Row] = ()
        while after < upto:
            with told(self.path):
                chosen = self._chosen()
                rows = rows_of_routes(self.connection, [*chosen], after, PAGE, key=key)
                unsettled = self._unsettled(rows, chosen)
            after = rows[-1][0] if len(rows) == PAGE else upto
            for row in rows:
                if row[0] <= upto and row[0] in unsettled:
                    yield self._stored(row)

    def read_back(self, upto: int) -> Iterator[Stored]:
        """What stands up to an offset, the last first."""
        before = upto + 1
        while True:
            with told(self.path):
                chosen = self._chosen()
                rows = self.connection.execute(
                    f"SELECT {COLUMNS} FROM eventbus_messages m WHERE m.offset < ? "
                    f"AND +m.route IN ({','.join(map(str, chosen))}) ORDER BY m.offset DESC LIMIT {PAGE}",
                    (before,),
                ).fetchall()
                unsettled = self._unsettled(rows[::-1], chosen)
            if not rows:
                return
            for row in rows:
                before = row[0]
                if before in unsettled:
                    yield self._stored(row)

    def _stored(self, row: Row) -> Stored:
        return Stored(record_of(row, self.routes.channel(row[1]), self.path, self.decode), row[3])

    def _chosen(self) -> dict[int, list[int]]:
        """The routes that are wanted, and of those that no topic keeps the queues that are."""
        self.routes.load(self.connection)
        if not self.patterns:
            return {number: [] for number, (_, kept, _) in self.routes.routes.items() if kept}
        names = dict(self.connection.execute("SELECT id, name FROM eventbus_queues").fetchall())
        chosen: dict[int, list[int]] = {}
        for number, (channel, kept, ids) in self.routes.routes.items():
            queues = [] if kept else [id for id in ids if id in names and self._wants(names[id])]
            if queues or (kept and self._wants(channel)):
                chosen[number] = queues
        return chosen

    def _wants(self, name: str) -> bool:
        return any(matches(pattern, name) for pattern in self.patterns)

    def _unsettled(self, rows: Sequence[Row], chosen: dict[int, list[int]]) -> set[int]:
        """The offsets of those that a topic keeps, or of which one of the queues that are wanted is not done."""
        if not rows:
            return set()
        span = rows[0][0], rows[-1][0]
        left = {id: self._left(id, *span) for id in {id for queues in chosen.values() for id in queues}}
        return {
            offset for offset, route, *_ in rows if not chosen[route] or any(left[id](offset) for id in chosen[route])
        }

    def _left(self, id: int, first: int, last: int) -> Callable[[int], bool]:
        """Whether an offset between two is unsettled in a queue."""
        execute = self.connection.execute
        found = execute("SELECT mark, policy FROM eventbus_queues WHERE id = ?", (id,)).fetchone()
        mark, fifo = (0, False) if found is None else (found[0], '"kind":"fifo"' in found[1])
        table = "settled" if fifo else "unsettled"
        offsets = {
            offset
            for (offset,) in execute(
                f"SELECT offset FROM eventbus_{table} WHERE queue = ? AND offset BETWEEN ? AND ?", (id, first, last)
            )
        }
        if fifo:
            return lambda offset: offset > mark and offset not in offsets
        return offsets.__contains__
