"""The journal's peers: SQLite by itself, and the durable queues that people use, each as it is meant to be used."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, TypeAlias

import diskcache  # type: ignore[import-untyped]  # it has no types
import litequeue  # type: ignore[import-untyped]  # nor has it
import msgspec
import persistqueue
from persistqueue.serializers import json as persistqueue_json

from benchmarks.disk import scratch
from benchmarks.harness import Side
from benchmarks.workload import LostMessageError, Placed, placed

TABLE = """
CREATE TABLE messages (
    offset INTEGER PRIMARY KEY, route INTEGER NOT NULL, time REAL NOT NULL, body ANY NOT NULL, crc INTEGER NOT NULL,
    key ANY, headers TEXT, priority INTEGER NOT NULL, rare TEXT
) STRICT
"""
"""The columns of the journal's table of messages."""

INSERT = "INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"

decode = msgspec.json.Decoder(Placed).decode

Turn: TypeAlias = Callable[[str], str]
"""One message in, out and done with: what came out."""


def texts(count: int) -> list[str]:
    """The JSON of so many bodies."""
    return [msgspec.json.encode(body).decode() for body in placed(count)]


def bare(rows_of_a_commit: int) -> Side:
    """SQLite by itself: rows that are ready made, so many in a commit, with the journal's pragmas."""

    def side(count: int) -> float:
        all_rows = rows(count)
        commits = [all_rows[start : start + rows_of_a_commit] for start in range(0, count, rows_of_a_commit)]
        with scratch() as directory:
            connection = opened(directory)
            start = perf_counter()
            for some in commits:
                commit(connection, some)
            seconds = perf_counter() - start
            closed(connection, count)
        return seconds

    return side


def rows(count: int) -> list[Sequence[Any]]:
    """So many rows of the table."""
    return [(n, 1, 1.8e9, text, 0xDEADBEEF, None, None, 0, None) for n, text in enumerate(texts(count), 1)]


def opened(directory: Path) -> sqlite3.Connection:
    """An empty table in a new file, for any thread."""
    connection = sqlite3.connect(directory / "bare.db", isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(TABLE)
    return connection


def commit(connection: sqlite3.Connection, some: Sequence[Sequence[Any]]) -> None:
    """Some rows at once."""
    connection.execute("BEGIN IMMEDIATE")
    if len(some) == 1:
        connection.execute(INSERT, some[0])
    else:
        connection.executemany(INSERT, some)
    connection.execute("COMMIT")


def closed(connection: sqlite3.Connection, count: int) -> None:
    """Close it, and raise LostMessageError unless so many rows are there."""
    (there,) = connection.execute("SELECT count(*) FROM messages").fetchone()
    connection.close()
    if there != count:
        raise LostMessageError(f"{count} rows went in and {there} are there")


def read_and_decoded(path: Path, count: int) -> float:
    """Seconds of a bare SELECT over a journal's messages, whose bodies are decoded."""
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    found = 0
    start = perf_counter()
    for _, body in connection.execute("SELECT offset, body FROM eventbus_messages ORDER BY offset"):
        decode(body)
        found += 1
    seconds = perf_counter() - start
    connection.close()
    if found != count:
        raise LostMessageError(f"{found} of {count} rows were there")
    return seconds


def every(nth: int, open: Callable[[Path], tuple[Turn, Callable[[], Any]]]) -> Side:
    """A durable queue, one message at a time: seconds for `count`, of which it does every nth, being slow."""

    def side(count: int) -> float:
        bodies = texts(max(1, count // nth))
        with scratch() as directory:
            turn, close = open(directory)
            start = perf_counter()
            seen = turned(turn, bodies)
            seconds = perf_counter() - start
            close()
        if seen != bodies:
            raise LostMessageError(f"{len(bodies)} messages went in, and others came out")
        return seconds * count / len(bodies)

    return side


def turned(turn: Turn, bodies: Iterable[str]) -> Sequence[str]:
    return [turn(body) for body in bodies]


def persist_queue(directory: Path) -> tuple[Turn, Callable[[], Any]]:
    queue = persistqueue.SQLiteAckQueue(str(directory), serializer=persistqueue_json)

    def turn(body: str) -> str:
        queue.put(body)
        item: str = queue.get()
        queue.ack(item)
        return item

    return turn, queue.close


def lite_queue(directory: Path) -> tuple[Turn, Callable[[], Any]]:
    queue = litequeue.LiteQueue(str(directory / "queue.db"))

    def turn(body: str) -> str:
        queue.put(body)
        message = queue.pop()
        queue.done(message.message_id)
        item: str = message.data
        return item

    return turn, queue.conn.close


def disk_cache(directory: Path) -> tuple[Turn, Callable[[], Any]]:
    deque = diskcache.Deque(directory=str(directory))

    def turn(body: str) -> str:
        deque.append(body)
        item: str = deque.popleft()
        return item

    return turn, deque.cache.close
