"""Reading a journal while its owner writes: replays and queries."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from eventbus import JournalCorruptError, JournalError, Retention, blocking
from eventbus._journal import writer
from eventbus._journal.reader import Reader
from tests.kit.clock import ManualClock
from tests.kit.journals import be_quiet, check


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shop.db"


@contextmanager
def opened(path: Path, **options: Any) -> Iterator[blocking.Bus]:
    with blocking.Bus(journal=path, **options) as bus:
        yield bus
        check(bus)


def test_a_page_has_no_gap_whatever_is_committed_between_two_statements(path: Path) -> None:
    """A page of several routes takes several statements; a commit between two must not be seen by the second alone."""
    with opened(path) as bus:
        one, two = bus.topic("one"), bus.topic("two")
        one.publish(1)
        two.publish(2)
        left = [30]

        class Racing:
            def __init__(self, connection: sqlite3.Connection) -> None:
                self.connection = connection

            def execute(self, sql: str, *facts: Any) -> Any:
                found = self.connection.execute(sql, *facts).fetchall()
                if left[0]:
                    left[0] -= 1
                    bus.topic(f"new{left[0]}").publish(0)
                    one.publish(0)
                    two.publish(0)

                class Found:
                    def fetchall(self) -> Any:
                        return found

                return Found()

            def close(self) -> None:
                self.connection.close()

        reader = bus._host.journaling.reader
        reader._connection = Racing(reader.connection())
        after = 0
        while page := reader.rows(lambda channel: True, after, 7):
            assert [row[0] for row in page] == list(range(after + 1, page[-1][0] + 1))
            after = page[-1][0]
        assert after == 2 + 3 * 30


def test_a_replay_over_many_routes_is_in_order(path: Path) -> None:
    with opened(path) as bus:
        for n in range(600):
            bus.topic(f"t{n % 40}").publish_nowait(n, key=str(n % 7))
        bus.topic("memory", durable=False, retain=Retention(count=5)).publish(600)
        bus.flush()
        assert [m.body for m in bus.replay("#")] == list(range(601))
        assert [m.body for m in bus.replay("#", key="3")] == list(range(3, 600, 7))
        assert [m.body for m in bus.replay(["t1", "t2"], start=300, stop=400)] == [
            n for n in range(299, 399) if n % 40 in (1, 2)
        ]
        assert [m.body for m in bus.replay("none")] == []


def test_a_replay_from_a_time(path: Path) -> None:
    clock = ManualClock()
    with opened(path, clock=clock) as bus:
        topic = bus.topic("orders")
        for n in range(5):
            topic.publish(n)
            clock.advance(10)
        at = datetime.fromtimestamp(1_000_000_000.0 + 25, UTC)
        assert [m.body for m in topic.replay(at)] == [3, 4]
        assert [m.body for m in topic.replay(stop=at)] == [0, 1, 2]
        assert [m.body for m in topic.replay(datetime.fromtimestamp(2e9, UTC))] == []
        memory = bus.topic("memory", durable=False, retain=Retention(count=5))
        assert [m.body for m in memory.replay(at)] == []


def test_a_query_reads_and_does_nothing_else(path: Path) -> None:
    with opened(path) as bus:
        bus.queue("jobs").put({"a": 1})
        bus.queue("jobs").put({"a": 2}, key=b"\xff")
        assert bus.query("SELECT body ->> 'a' FROM eventbus_messages WHERE offset = :o", {"o": 2}) == [(2,)]
        for sql in (
            "DELETE FROM eventbus_messages",
            "BEGIN",
            "SAVEPOINT a",
            "ATTACH ':memory:' AS x",
            "PRAGMA locking_mode = EXCLUSIVE",
            "CREATE TABLE mine (n)",
            "SELECT * FROM none",
            "SELECT ?",
        ):
            with pytest.raises(JournalError, match=r"could not be read") as caught:
                bus.query(sql)
            assert not isinstance(caught.value, JournalCorruptError)
        assert bus.query("SELECT count(*) FROM eventbus_messages") == [(2,)]


def test_a_codec_that_makes_no_text(path: Path) -> None:
    class Reversed:
        def encode(self, body: Any, type: Any, /) -> bytes:
            return b"\xff" + bytes(body, "utf-8")

        def decode(self, data: bytes, type: Any, /) -> Any:
            return data[1:].decode()

    with opened(path, codec=Reversed()) as bus:
        bus.queue("jobs").put("größer")
        bus.topic("orders").publish("x\0y")
    with opened(path, codec=Reversed()) as bus:
        assert bus.queue("jobs").get(timeout=30).body == "größer"
        assert [m.body for m in bus.topic("orders").replay()] == ["x\0y"]


def test_another_process_may_read_while_the_owner_writes(path: Path) -> None:
    with opened(path) as bus:
        reader = Reader(str(path), lambda datas, channel, kind: list(datas))
        bus.topic("orders").publish(1)
        assert [record[2] for batch in reader.page(["orders"], 0, 10) for record in batch] == [b"1"]
        bus.topic("orders").publish(2)
        assert [record[2] for batch in reader.page(["orders"], 1, 10) for record in batch] == [b"2"]
        reader.close()
        reader.close()


def test_what_is_damaged_is_said_to_whoever_reads(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "IDLE", 60)  # else it may find out itself, and end the bus
    with opened(path) as bus:
        bus.topic("orders").publish_many(["x" * 3000] * 20)
    content = bytearray(path.read_bytes())
    with blocking.Bus(journal=path) as bus:
        bus.topic("orders")
        be_quiet(bus)  # by now it is declared, which reads one of these pages
        for page in range(8, len(content) // 4096):
            content[page * 4096 : page * 4096 + 100] = b"\xff" * 100
        path.write_bytes(bytes(content))
        for call in (
            lambda: list(bus.topic("orders").replay()),
            lambda: list(bus.topic("orders").replay(datetime.fromtimestamp(1.0, UTC))),
            lambda: bus.query("SELECT sum(length(body)) FROM eventbus_messages"),
        ):
            with pytest.raises(JournalCorruptError) as caught:
                call()
            assert caught.value.path == str(path)


def test_threads_read_together(path: Path) -> None:
    with opened(path) as bus:
        topic = bus.topic("orders")
        topic.publish_many(range(2000))
        found: list[list[int]] = []

        def read() -> None:
            found.append([m.body for m in topic.replay()])

        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert found == [list(range(2000))] * 4
