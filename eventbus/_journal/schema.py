"""The file: what stands in it, and whether it is one of ours.

A message is written once, however many queues it goes to. Its *route* says which topic or queue it was sent to, whether
a topic keeps it, and which queues it went to; there are few routes and many messages. Where a FIFO stands is a mark,
up to which all is settled, and what is settled above it; of other queues every unsettled message has a row, on the
shelf on which it stands. `holdings` says which messages those are; a past is what a queue was bound to when it was
sought. An id that is known again for a while stands apart from its message, which may go before, with
who knows it: a queue by its number, a topic by its name. Bodies are readable with any SQLite tool: JSON is text.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from pathlib import Path
from typing import Final

from eventbus._journal.statements import MENDABLE, TROUBLE, code_of
from eventbus.durability import Sync
from eventbus.errors import JournalCorruptError, JournalError

__all__ = ["APPLICATION_ID", "VERSION", "connect", "connect_to_read", "prepare"]

APPLICATION_ID: Final = 0x65766273  # "evbs"
VERSION: Final = 1

HEAD: Final = 100
"""Bytes at the beginning of a SQLite file that say what it is."""

BUSY: Final = 5_000
"""Milliseconds that a connection waits for another to let go."""

TABLES: Final = """
CREATE TABLE eventbus_bus (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    offset INTEGER NOT NULL,
    clean INTEGER NOT NULL
) STRICT;
CREATE TABLE eventbus_routes (
    id INTEGER PRIMARY KEY,
    channel TEXT NOT NULL,
    kept INTEGER NOT NULL,
    queues TEXT NOT NULL,
    crc INTEGER NOT NULL,
    UNIQUE (channel, kept, queues)
) STRICT;
CREATE TABLE eventbus_messages (
    offset INTEGER PRIMARY KEY,
    route INTEGER NOT NULL,
    time REAL NOT NULL,
    body ANY NOT NULL,
    crc INTEGER NOT NULL,
    key ANY,
    headers TEXT,
    priority INTEGER NOT NULL,
    rare TEXT
) STRICT;
CREATE INDEX eventbus_messages_by_route ON eventbus_messages (route);
CREATE INDEX eventbus_messages_by_key ON eventbus_messages (key, route) WHERE key IS NOT NULL;
CREATE TABLE eventbus_topics (
    name TEXT PRIMARY KEY,
    retention TEXT,
    dedup REAL,
    declared REAL NOT NULL
) STRICT;
CREATE TABLE eventbus_queues (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    subscription INTEGER NOT NULL,
    policy TEXT NOT NULL,
    mark INTEGER NOT NULL,
    since INTEGER NOT NULL,
    refilter INTEGER NOT NULL,
    declared REAL NOT NULL
) STRICT;
CREATE TABLE eventbus_bindings (
    queue INTEGER NOT NULL,
    pattern TEXT NOT NULL,
    filter TEXT,
    opaque INTEGER NOT NULL,
    PRIMARY KEY (queue, pattern)
) STRICT, WITHOUT ROWID;
CREATE TABLE eventbus_pasts (
    queue INTEGER NOT NULL,
    pattern TEXT NOT NULL,
    filter TEXT,
    PRIMARY KEY (queue, pattern)
) STRICT, WITHOUT ROWID;
CREATE TABLE eventbus_settled (
    queue INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    PRIMARY KEY (queue, offset)
) STRICT, WITHOUT ROWID;
CREATE TABLE eventbus_unsettled (
    queue INTEGER NOT NULL,
    rank INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    PRIMARY KEY (queue, rank, offset)
) STRICT, WITHOUT ROWID;
CREATE TABLE eventbus_states (
    queue INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    error TEXT,
    due REAL,
    PRIMARY KEY (queue, offset)
) STRICT, WITHOUT ROWID;
CREATE TABLE eventbus_ids (
    until REAL NOT NULL,
    channel ANY NOT NULL,
    id TEXT NOT NULL,
    offset INTEGER NOT NULL,
    PRIMARY KEY (until, channel, id)
) STRICT, WITHOUT ROWID;
INSERT INTO eventbus_bus VALUES (1, 0, 1);
"""


def connect(path: str, sync: Sync) -> sqlite3.Connection:
    """The connection that writes, to a file that its owner alone can read; made if it is not there.

    The path is absolute: a name such as ":memory:" would be no file to SQLite.
    """
    file = Path(path)
    if file.is_symlink():
        raise JournalError(f"journal {path!r} is a symbolic link, which may lead anywhere; name the file itself")
    try:
        os.close(os.open(file, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600))
        if not stat.S_ISREG(file.stat().st_mode):
            raise JournalError(f"journal {path!r} is not a regular file; name one")
        with open(file, "rb") as journal:
            _require_ours_at_a_glance(journal.read(HEAD), path)
    except OSError as error:
        raise JournalError(
            f"journal {path!r} cannot be opened: {error}; name a file that this process may write"
        ) from error
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)
    try:
        _require_ours(connection, path)
        connection.execute(f"PRAGMA busy_timeout = {BUSY}")
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # heeded by a file that is new
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {sync.value}")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
    except BaseException:
        connection.close()
        raise
    return connection


def connect_to_read(path: str) -> sqlite3.Connection:
    """A connection that only reads, also while the owner, in whatever process, writes."""
    if not Path(path).is_file():
        raise JournalError(f"there is no journal {path!r}; name the file that a bus was made with")
    uri = f"{Path(path).absolute().as_uri()}?mode=ro"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, cached_statements=256)
    try:
        connection.execute(f"PRAGMA busy_timeout = {BUSY}")
        if not _require_ours(connection, path):
            raise JournalError(f"{path!r} is an empty file, not a journal; name the file that a bus was made with")
    except BaseException:
        connection.close()
        raise
    return connection


def _require_ours_at_a_glance(head: bytes, path: str) -> None:
    """The same by the file's first bytes: SQLite itself may change a file when it is only opened, and closed again."""
    if not head:
        return
    if len(head) < HEAD or not head.startswith(b"SQLite format 3\0"):
        raise _no_journal(path, "it is no SQLite file")
    pages, version, application = (int.from_bytes(head[at : at + 4], "big") for at in (28, 60, 68))
    if application or version or pages > 1:  # else ours may still be in its log alone
        _require_known(application, version, path)


def _require_ours(connection: sqlite3.Connection, path: str) -> bool:
    """Refuse a file that is another's, before anything is changed: whether anything is in it yet."""
    try:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except TROUBLE as error:
        code = code_of(error)
        if code == sqlite3.SQLITE_NOTADB:
            raise _no_journal(path, f"it is no SQLite file ({error})") from error
        if code in MENDABLE:
            raise JournalError(
                f"journal {path!r} cannot be opened: {error}; look whether this process may read it and what stands "
                f"beside it, {path}-wal and {path}-shm"
            ) from error
        raise JournalCorruptError(path, str(error)) from error
    if application == 0 and version == 0 and tables == 0:
        return False
    _require_known(application, version, path)
    return True


def _no_journal(path: str, detail: str) -> JournalCorruptError:
    return JournalCorruptError(
        path,
        detail,
        f"{path!r} is not a journal: {detail}; name the file that a bus was made with, or a new one; "
        f"if it was a journal, restore it from a copy",
    )


def _require_known(application: int, version: int, path: str) -> None:
    if application != APPLICATION_ID:
        raise JournalError(
            f"{path!r} is a SQLite file of another application (application_id {application:#x}), and is left as it "
            f"is; give the journal a file of its own"
        )
    if version > VERSION:
        raise JournalError(
            f"journal {path!r} has format {version}, and this version of eventbus knows formats up to {VERSION}; "
            f"open it with a newer version"
        )


def prepare(connection: sqlite3.Connection, path: str) -> int:
    """Make the tables if they are not there, and look whether the file is sound if it was not closed: its last offset.

    Inside a transaction.
    """
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if application == 0:
        for statement in TABLES.split(";")[:-1]:
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {VERSION}")
    row = connection.execute("SELECT offset, clean FROM eventbus_bus").fetchone()
    if row is None:
        raise JournalCorruptError(path, "it has no last offset")
    offset, clean = row
    (last,) = connection.execute("SELECT ifnull(max(offset), 0) FROM eventbus_messages").fetchone()
    if not clean:
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise JournalCorruptError(path, verdict)
    connection.execute("UPDATE eventbus_bus SET clean = 0")
    return int(max(offset, last))
