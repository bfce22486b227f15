"""Statements of the user's own, on tables of the user's own, in the journal's file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

__all__ = [
    "GRAVE",
    "KEEP_LAST",
    "LAST",
    "MENDABLE",
    "OURS",
    "TROUBLE",
    "code_of",
    "nothing_becomes_ours",
    "user_statements",
]

OURS: Final = "eventbus_"
"""What the names of the journal's own tables begin with."""

LAST: Final = "SELECT max(offset, ifnull((SELECT max(offset) FROM eventbus_messages), 0)) FROM eventbus_bus"
"""The last offset: a message that is there says its own, so a commit of messages need not write it down again."""

KEEP_LAST: Final = f"UPDATE eventbus_bus SET offset = ({LAST}) WHERE offset < ({LAST})"
"""Write it down, before messages are deleted."""

TROUBLE: Final = (sqlite3.Error, UnicodeDecodeError)
"""What sqlite3 raises, also when what a damaged file makes it say is no text."""

GRAVE: Final = {
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_NOMEM,
}
"""After which nobody knows what was written, but for a full disk."""

MENDABLE: Final = {*GRAVE, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED} - {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
"""What may be well at the next try, when it was to be opened; anything else that SQLite says is the file's fault."""

NEVER: Final = {
    sqlite3.SQLITE_ATTACH,
    sqlite3.SQLITE_DETACH,
    sqlite3.SQLITE_PRAGMA,
    sqlite3.SQLITE_TRANSACTION,
    sqlite3.SQLITE_SAVEPOINT,
}
READS: Final = {sqlite3.SQLITE_READ, sqlite3.SQLITE_SELECT, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}


def _only_their_own(action: int, first: str | None, second: str | None, base: str | None, inner: str | None) -> int:
    if action in NEVER:
        return sqlite3.SQLITE_DENY
    if action in READS:
        return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY if _is_ours(first) or _is_ours(second) else sqlite3.SQLITE_OK


def _is_ours(name: str | None) -> bool:
    return name is not None and name.lower().startswith(OURS)


@contextmanager
def user_statements(connection: sqlite3.Connection) -> Iterator[None]:
    """Here, what would change the journal's tables or its transaction is refused, and so is another file."""
    connection.set_authorizer(_only_their_own)
    try:
        yield
    finally:
        connection.set_authorizer(None)


@contextmanager
def nothing_becomes_ours(connection: sqlite3.Connection, statements: Sequence[tuple[str, Any]]) -> Iterator[None]:
    """Here, no table may be renamed to what would be the journal's: of a new name the authorizer is told nothing."""
    if not any("alter" in sql.lower() for sql, _ in statements):
        yield
        return
    before = _names_of_ours(connection)
    yield
    if taken := _names_of_ours(connection) - before:
        raise sqlite3.DatabaseError(f"{min(taken)!r} would be one of the journal's tables; give it another name")


def _names_of_ours(connection: sqlite3.Connection) -> set[str]:
    names = connection.execute("SELECT name FROM sqlite_master UNION SELECT name FROM sqlite_temp_master").fetchall()
    return {name for (name,) in names if _is_ours(name)}


def code_of(error: BaseException) -> int | None:
    """SQLite's own primary code of what went wrong, if it was SQLite that said so."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF
