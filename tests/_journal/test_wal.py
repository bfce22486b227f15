"""The log that is made longer before SQLite needs it to be, and what it has by then."""

from __future__ import annotations

import io
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventbus import Journal, Sync, blocking
from eventbus._journal import wal
from eventbus._journal.schema import connect
from eventbus._journal.wal import Wal
from tests.kit.journals import be_quiet, is_sound, writer_of

PAGES = [bytes([n]) * 3_000 for n in range(100)]


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "a.db")


@pytest.fixture
def connection(path: str) -> Iterator[sqlite3.Connection]:
    connection = connect(path, Sync.FULL)
    connection.execute("CREATE TABLE pages (page BLOB)")
    yield connection
    connection.close()


def write(connection: sqlite3.Connection, count: int = 100) -> None:
    connection.execute("BEGIN")
    connection.executemany("INSERT INTO pages VALUES (?)", [(page,) for page in PAGES[:count]])
    connection.execute("COMMIT")


def test_it_is_made_longer_once_and_again_before_its_end(connection: sqlite3.Connection, path: str) -> None:
    log = Wal(path, True)
    log.look()
    first = log.size
    assert first == os.stat(log.path).st_size > wal.AHEAD
    log.look()
    assert log.size == first
    while not log.reaches(first - wal.NEAR):
        write(connection, 1)
        assert os.stat(log.path).st_size == first, "SQLite uses what is there"
    log.look()
    assert log.size == os.stat(log.path).st_size == first + wal.AHEAD
    log.close()


def test_a_commit_may_go_beyond_what_was_made(
    connection: sqlite3.Connection, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wal, "AHEAD", 10_000)
    monkeypatch.setattr(wal, "NEAR", 1_000)
    log = Wal(path, True)
    log.look()
    write(connection)
    end = os.stat(log.path).st_size
    assert end > log.size
    log.look()
    assert log.size == end + 10_000
    log.close()


def test_it_reaches_as_far_as_its_last_restart_has_filled_it(connection: sqlite3.Connection, path: str) -> None:
    log = Wal(path, True)
    assert not log.reaches(0), "nobody has looked"
    log.look()
    write(connection)
    assert log.reaches(0)
    assert log.reaches(100_000)
    assert not log.reaches(800_000)
    connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
    write(connection, 2)
    assert log.reaches(0)
    assert not log.reaches(100_000), "those are frames of before"
    log.close()


def test_without_syncs_it_is_left_as_it_is(connection: sqlite3.Connection, path: str) -> None:
    log = Wal(path, False)
    before = os.stat(log.path).st_size
    log.look()
    write(connection, 1)
    assert log.size == before
    assert os.stat(log.path).st_size < before + 50_000
    log.close()


def test_one_that_is_not_there_has_nothing(tmp_path: Path) -> None:
    log = Wal(str(tmp_path / "none.db"), True)
    log.look()
    assert not log.reaches(0)
    log.close()


def test_what_it_cannot_have_it_does_without(connection: sqlite3.Connection, path: str) -> None:
    log = Wal(path, True)
    log.file = io.FileIO(log.path, "r")  # it cannot be written
    log.look()
    assert log.size == os.stat(log.path).st_size < wal.AHEAD
    log.close()
    write(connection)


def test_what_it_cannot_read_is_left_to_sqlite(connection: sqlite3.Connection, path: str) -> None:
    log = Wal(path, True)
    write(connection)
    log.file = io.FileIO(log.path, "a")
    assert not log.reaches(0)
    log.close()


def test_an_empty_one_reaches_nowhere(connection: sqlite3.Connection, path: str) -> None:
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    log = Wal(path, False)
    log.look()
    assert not log.reaches(0)
    log.close()


@pytest.mark.parametrize("sync", Sync)
def test_zeros_behind_it_are_nothing_after_a_crash(tmp_path: Path, sync: Sync) -> None:
    path, copy = tmp_path / "a.db", tmp_path / "b.db"
    with blocking.Bus(journal=Journal(path, sync)) as bus:
        bus.queue("jobs").put_many(range(10))
        be_quiet(bus)
        writer_of(bus).run._look_at_the_log()
        for end in ("", "-wal"):
            Path(f"{copy}{end}").write_bytes(Path(f"{path}{end}").read_bytes())
    assert (os.stat(f"{copy}-wal").st_size > wal.AHEAD) is (sync is Sync.FULL)
    with blocking.Bus(journal=copy) as bus:
        assert [bus.queue("jobs").get(timeout=30).body for _ in range(10)] == list(range(10))
    assert is_sound(copy)
    assert not Path(f"{copy}-wal").exists()
