"""The messages of a journal for people: read in order from any process, whether or not another one writes.

Names and patterns choose. They stand for topics, of which it is what they keep, and for queues and subscriptions, of
which it is what they have not settled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from eventbus._core.matching import check_pattern, matches
from eventbus._journal.holdings import Holding, holdings
from eventbus._journal.reader import told
from eventbus._journal.reading import END, first_since, rows_of_routes
from eventbus._journal.routes import Routes
from eventbus._journal.rows import COLUMNS, Row, record_of
from eventbus._journal.schema import connect_to_read
from eventbus._journal.statements import LAST
from eventbus.errors import DeclarationError
from eventbus.message import Key, Record

__all__ = ["Log", "Stored"]

PAGE: Final = 512


class Stored(NamedTuple):
    """A message as it stands in the journal: `data` are the bytes of its body."""

    record: Record
    data: bytes


class Chosen(NamedTuple):
    """What is wanted: the routes of topics, the queues, and all routes by which something of that may have come."""

    kept: frozenset[int]
    held: list[Holding]
    routes: list[int]


class Log:
    """One journal, open to read. Without names it has what all topics keep."""

    def __init__(self, path: str, names: Sequence[str], decode: Callable[[bytes], Any]) -> None:
        self.patterns = [check_pattern(name) for name in names]
        self.path = path
        self.decode = decode
        self.routes = Routes(path)
        with told(path):
            self.connection = connect_to_read(path)
        try:
            self._require(names)
        except BaseException:
            self.connection.close()
            raise

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
            first = first_since(self.connection, self._chosen().routes, time)
            return self.last_offset() if first is None else first - 1

    def read(self, after: int, upto: int, key: Key = None) -> Iterator[Stored]:
        """What stands after an offset, up to another, in order; a page at a time."""
        while after < upto:
            with told(self.path):
                chosen = self._chosen()
                rows = rows_of_routes(self.connection, chosen.routes, after, PAGE, key=key, upto=upto)
                counted = self._counted(rows, chosen)
            after = rows[-1][0] if len(rows) == PAGE else upto
            for row in rows:
                yield from self._wanted(row, chosen, counted)

    def read_back(self, upto: int) -> Iterator[Stored]:
        """What stands up to an offset, the last first."""
        before = upto + 1
        while True:
            with told(self.path):
                chosen = self._chosen()
                rows = self.connection.execute(
                    f"SELECT {COLUMNS} FROM eventbus_messages m WHERE m.offset < ? "
                    f"AND +m.route IN ({','.join(map(str, chosen.routes))}) ORDER BY m.offset DESC LIMIT {PAGE}",
                    (before,),
                ).fetchall()
                counted = self._counted(rows[::-1], chosen)
            if not rows:
                return
            for row in rows:
                before = row[0]
                yield from self._wanted(row, chosen, counted)

    def _wanted(self, row: Row, chosen: Chosen, counted: list[tuple[Holding, set[int]]]) -> Iterator[Stored]:
        """A message, if one of the topics keeps it or one of the queues has it."""
        holders = [holding for holding, offsets in counted if row[0] in offsets]
        if holders or row[1] in chosen.kept:
            stored = Stored(record_of(row, self.routes.channel(row[1]), self.path, self.decode), row[3])
            if row[1] in chosen.kept or any(holding.passes(stored.record) for holding in holders):
                yield stored

    def _chosen(self) -> Chosen:
        self.routes.load(self.connection)
        if not self.patterns:
            kept = self.routes.kept(lambda channel: True)
            return Chosen(frozenset(kept), [], kept)
        names = dict(self.connection.execute("SELECT id, name FROM eventbus_queues").fetchall())
        kept = self.routes.kept(self._wants)
        held = [holding for id, holding in holdings(self.connection).items() if self._wants(names.get(id, ""))]
        routes = {*kept}
        for holding in held:
            routes.update(*(numbers for numbers, _, _ in holding.spans(self.routes, 0, END)))
        return Chosen(frozenset(kept), held, sorted(routes))

    def _wants(self, name: str) -> bool:
        return any(matches(pattern, name) for pattern in self.patterns)

    def _counted(self, rows: Sequence[Row], chosen: Chosen) -> list[tuple[Holding, set[int]]]:
        """What each queue has of some messages."""
        if not rows:
            return []
        return [(holding, holding.among(self.connection, self.routes, rows)) for holding in chosen.held]

    def _require(self, names: Sequence[str]) -> None:
        """Every name must be that of something; a pattern may match nothing."""
        with told(self.path):
            self.routes.load(self.connection)
            known = {self.routes.channel(number) for number in self.routes.kept(lambda channel: True)}
            for table in ("topics", "queues"):
                rows = self.connection.execute(f"SELECT name FROM eventbus_{table}").fetchall()
                known.update(name for (name,) in rows)
        for name in names:
            if name not in known and not {"*", "#"}.intersection(name):
                raise DeclarationError(
                    f"journal {self.path!r} has no topic or queue {name!r}; it has {sorted(known)}", name=name
                )
