"""Plain messages are read in bulk, and nobody can tell: what is read is what was written, or is said to be damaged."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from eventbus import CodecError, JournalCorruptError, Policy, Retention, blocking, journaling
from eventbus._journal import plain, reader
from eventbus._journal.plain import columns_of_routes, records_of_columns, solid_columns
from eventbus._journal.routes import Routes
from eventbus._journal.rows import PLAIN, plain_rows_of, record_of, row_of
from eventbus._journal.schema import TABLES
from tests.kit.journals import check


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shop.db"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages and batches of few messages."""
    monkeypatch.setattr(journaling, "PAGE_ON_DISK", 7)
    monkeypatch.setattr(plain, "BATCH", 3)
    monkeypatch.setattr(reader, "BATCH", 3)


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    """A journal's tables, which take anything."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.executescript(TABLES.replace(" STRICT", "").replace(", WITHOUT", " WITHOUT"))
    yield connection
    connection.close()


def plain_row(offset: int, route: int, time: float, body: bytes) -> list[Any]:
    """A row as it stands in the table."""
    return [*plain_rows_of(offset, route, (time,), (body,)), None, None, 0, None]


def written(connection: sqlite3.Connection, *rows: Sequence[Any]) -> Routes:
    """The routes 1 and 2, to `a` and `b`, and such messages."""
    routes = Routes("shop.db")
    for channel in "ab":
        routes.number((channel, True, ()), connection)
    connection.executemany("INSERT INTO eventbus_messages VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
    return routes


def test_a_replay_is_what_was_published_whatever_lies_between(path: Path, small: None) -> None:
    chance = random.Random(7)
    truth: list[tuple[Any, ...]] = []
    with blocking.Bus(journal=path) as bus:
        bus.queue("jobs", Policy(capacity=None))
        bus.topic("orders.1").subscription("odd", Policy(capacity=None), where="body > 500")
        while len(truth) < 900:
            name = f"orders.{chance.randrange(3)}"
            options: dict[str, Any] = chance.choice(
                [{}, {}, {}, {"key": "k"}, {"headers": {"a": 1}}, {"priority": 3}, {"id": f"i{len(truth)}"}]
            )
            bodies = list(range(len(truth), len(truth) + chance.choice([1, 2, 30])))
            offsets = bus.topic(name).publish_many(bodies, **{k: v for k, v in options.items() if k != "id"})
            truth += [
                (offset, body, name, options.get("key"), dict(options.get("headers", {})), options.get("priority", 0))
                for offset, body in zip(offsets, bodies, strict=True)
            ]
            if chance.random() < 0.2:
                bus.queue("jobs").put(0)

        def replayed(*topics: str, **options: Any) -> list[tuple[Any, ...]]:
            return [
                (m.offset, m.body, m.topic, m.key, dict(m.headers), m.priority)
                for m in bus.replay(list(topics), **options)
            ]

        assert replayed("orders.*") == truth
        for name in ("orders.0", "orders.1", "orders.2"):
            assert replayed(name) == [entry for entry in truth if entry[2] == name]
        assert replayed("orders.*", key="k") == [entry for entry in truth if entry[3] == "k"]
        assert replayed("orders.*", where="body > 400") == [entry for entry in truth if entry[1] > 400]
        middle = truth[450][0]
        assert replayed("orders.*", start=middle, stop=middle + 100) == [
            entry for entry in truth if middle <= entry[0] < middle + 100
        ]
        check(bus)


def test_what_lies_together_is_read_again_after_a_gap(path: Path, small: None) -> None:
    with blocking.Bus(journal=path) as bus:
        topic = bus.topic("orders")
        for n in range(3):
            topic.publish_many(list(range(n * 20, n * 20 + 20)))
            bus.queue("jobs").put(n)
        assert [m.body for m in topic.replay()] == list(range(60))
        assert [m.body for m in topic.replay(where="body >= 30")] == list(range(30, 60))


def test_a_forgotten_beginning_leaves_no_gap(path: Path, small: None) -> None:
    with blocking.Bus(journal=path) as bus:
        topic = bus.topic("orders", retain=Retention(count=30))
        topic.publish_many(list(range(100)))
        bus.flush()
        assert [m.body for m in topic.replay()][-30:] == list(range(70, 100))


@pytest.mark.parametrize(
    "change", ["body = '99'", "time = time + 1", "route = 2", "priority = 1", "key = 'k'", "crc = crc + 1"]
)
@pytest.mark.parametrize("topics", [["a"], ["a", "b"]], ids=["one", "two"])
def test_what_was_changed_is_never_taken_for_what_was_written(
    path: Path, change: str, topics: list[str], small: None
) -> None:
    with blocking.Bus(journal=path) as bus:
        bus.topic("a").publish_many(list(range(20)))
        bus.topic("b").publish_many(list(range(5)))
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(f"UPDATE eventbus_messages SET {change} WHERE offset = 16")
    connection.close()
    seen = list[Any]()
    with blocking.Bus(journal=path) as bus:
        found = ""
        try:
            seen.extend((m.body, m.key, m.priority) for m in bus.replay(topics))
        except JournalCorruptError as error:
            found = error.detail
    rest = [*range(15, 20), *(range(5) if topics == ["a", "b"] else [])]
    if change in ("priority = 1", "key = 'k'") and not found:  # the CRC says that it was plain, so that it had neither
        assert seen == [(n, None, 0) for n in [*range(15), *rest]]
    elif change == "route = 2" and topics == ["a"]:  # where it is no longer found
        assert not found
        assert seen == [(n, None, 0) for n in [*range(15), *rest[1:]]]
    else:
        assert "message 16 is not what was written" in found
        assert seen == [(n, None, 0) for n in range(len(seen))]
        assert 12 <= len(seen) <= 15


def test_messages_that_are_not_plain_are_never_taken_for_such(connection: sqlite3.Connection) -> None:
    """Even if the CRC of all of it is that of a plain message, by chance."""
    row = row_of(1, 1, 5.0, b"{}", "key", None, 0, None)
    assert row[4] >= 1 << 32
    assert plain_row(1, 1, 5.0, b"{}")[4] < 1 << 32
    assert row_of(1, 1, 5.0, b"{}", None, None, 0, None) == plain_row(1, 1, 5.0, b"{}")[:PLAIN]
    routes = written(connection, row)
    assert columns_of_routes(connection, routes, [1], 0, 5) is None
    assert solid_columns(connection, routes, 1, 0, 1) is None


def test_columns_are_of_the_routes_that_were_asked_for(connection: sqlite3.Connection) -> None:
    routes = written(connection, *(plain_row(n, 1 + n // 5, float(n), b"%d" % n) for n in range(1, 9)))

    def bodies(columns: plain.Columns | None) -> list[Any]:
        assert columns is not None
        found = [*records_of_columns(columns, lambda datas, channel: [(channel, data) for data in datas])]
        return [record[2] for records in found for record in records]

    assert bodies(columns_of_routes(connection, routes, [1], 0, 9)) == [("a", b"%d" % n) for n in (1, 2, 3, 4)]
    assert bodies(columns_of_routes(connection, routes, [1, 2], 2, 4)) == [
        ("a", b"3"), ("a", b"4"), ("b", b"5"), ("b", b"6"),
    ]  # fmt: skip
    assert bodies(columns_of_routes(connection, routes, [2], 8, 9)) == []
    assert bodies(columns_of_routes(connection, routes, [], 0, 9)) == []
    assert bodies(solid_columns(connection, routes, 1, 0, 4)) == [("a", b"%d" % n) for n in (1, 2, 3, 4)]
    assert solid_columns(connection, routes, 1, 0, 5) is None
    assert solid_columns(connection, routes, 1, 4, 2) is None
    assert solid_columns(connection, routes, 2, 4, 9) is None


@pytest.mark.parametrize("column", ["time", "body"])
def test_columns_that_have_what_they_cannot_have_are_for_their_rows_to_tell(
    connection: sqlite3.Connection, column: str
) -> None:
    routes = written(connection, plain_row(1, 1, 5.0, b"{}"))
    connection.execute("PRAGMA writable_schema = ON")
    connection.execute("UPDATE sqlite_master SET sql = replace(sql, ' NOT NULL', '') WHERE name = 'eventbus_messages'")
    connection.execute("PRAGMA writable_schema = RESET")
    connection.execute(f"UPDATE eventbus_messages SET {column} = NULL")
    assert columns_of_routes(connection, routes, [1], 0, 5) is None


def test_a_row_that_has_what_it_cannot_have_is_said_to_be_damaged() -> None:
    row: Any = (1, 1, "now", b"{}", 5, None, None, 0, None)
    with pytest.raises(JournalCorruptError, match="message 1 cannot be read"):
        record_of(row, "a", "shop.db", bytes)


def test_a_route_that_is_not_there_is_said_to_be_damage(connection: sqlite3.Connection) -> None:
    with pytest.raises(JournalCorruptError, match="there is no route 3"):
        written(connection).channel(3)


def test_a_replay_tells_all_that_can_be_decoded_before_what_cannot(path: Path, small: None) -> None:
    with blocking.Bus(journal=path) as bus:
        bus.topic("orders").publish_many([*range(16), "x", *range(17, 30)])
    with blocking.Bus(journal=path) as bus:
        topic = bus.topic("orders", type=int)
        seen = []
        with pytest.raises(CodecError) as caught:
            for message in topic.replay():
                seen.append(message.body)
        assert seen == list(range(16))
        assert caught.value.data == b'"x"'
        assert [m.body for m in topic.replay(start=18)] == list(range(17, 30))
        assert len(list(topic.replay(where=lambda message: message.body != b'"x"'))) == 29


def test_a_replay_ends_soon_after_its_bus_is_closed(path: Path) -> None:
    bus = blocking.Bus(journal=path)
    with bus:
        topic = bus.topic("orders")
        topic.publish_many(list(range(1000)))
        replay = topic.replay()
        assert next(replay).body == 0
    assert len(list(replay)) < plain.BATCH
