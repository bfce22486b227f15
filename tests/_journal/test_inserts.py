"""Many rows to a statement: all of them, as they are, whatever their number and kinds."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from eventbus import CodecError, blocking
from eventbus._journal.inserts import STEPS, Inserts
from eventbus._journal.rows import PLAIN, WHOLE
from eventbus.codec import JsonCodec

TABLE = (
    "CREATE TABLE eventbus_messages (offset INTEGER PRIMARY KEY, route, time, body, crc, key, headers, priority, rare)"
)


def plain(offset: int) -> tuple[Any, ...]:
    return (offset, 1, 0.5, f"body {offset}", 7)


def whole(offset: int) -> tuple[Any, ...]:
    return (offset, 1, 0.5, f"body {offset}", 7, f"key {offset}", "{}", 3, None)


def row_of(values: tuple[Any, ...]) -> tuple[Any, ...]:
    return values if len(values) == WHOLE else (*values, None, None, 0, None)


def written(rows: list[tuple[Any, ...]]) -> list[Any]:
    connection = sqlite3.connect(":memory:")
    connection.execute(TABLE)
    inserts = Inserts()
    assert inserts.last() == 0
    for row in rows:
        inserts.add(len(row), row)
        assert inserts.last() == row[0]
    inserts.write(connection)
    assert not inserts.runs
    found = connection.execute("SELECT * FROM eventbus_messages ORDER BY offset").fetchall()
    connection.close()
    return found


@pytest.mark.parametrize("count", [0, 1, *(step + more for step in STEPS for more in (-1, 0, 1)), 3 * STEPS[0] + 23])
@pytest.mark.parametrize("make", [plain, whole])
def test_any_number_of_rows(make: Any, count: int) -> None:
    rows = [make(offset) for offset in range(1, count + 1)]
    assert written(rows) == [row_of(row) for row in rows]


def test_rows_of_both_kinds_in_their_order() -> None:
    rows = [(whole if offset % 7 in (2, 3) else plain)(offset) for offset in range(1, 150)]
    assert {len(row) for row in rows} == {PLAIN, WHOLE}
    assert written(rows) == [row_of(row) for row in rows]


@pytest.mark.parametrize("keyed", [False, True])
def test_a_batch_with_a_body_that_cannot_be_encoded_is_refused_whole(tmp_path: Path, keyed: bool) -> None:
    with blocking.Bus(journal=tmp_path / "shop.db") as bus:
        bodies = [{"n": 1}, {"n": object()}, {"n": 3}]
        with pytest.raises(CodecError, match="a dict cannot be encoded for 'orders'"):
            bus.topic("orders").publish_many(bodies, key="k" if keyed else None)
        assert list(bus.topic("orders").replay()) == []


def test_a_codec_that_only_looks_like_json_has_its_own_say(tmp_path: Path) -> None:
    class Loud(JsonCodec):
        def encode(self, body: Any, type: Any, /) -> bytes:
            return super().encode(body.upper(), type)

    with blocking.Bus(journal=tmp_path / "shop.db", codec=Loud()) as bus:
        bus.queue("jobs").put_many(["a", "b"])
        bus.queue("jobs").put("c")
        assert bus.query("SELECT body FROM eventbus_messages") == [('"A"',), ('"B"',), ('"C"',)]


def test_what_was_not_decoded_goes_on_as_the_bytes_it_was(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    with blocking.Bus(journal=path) as bus:
        bus.queue("jobs", type=str).put("no number")
    with blocking.Bus(journal=path) as bus:
        bus.queue("jobs", type=int)
        dead = bus.dead_letters.get(timeout=30).body
        bus.queue("others", type=str).put_many([dead, "text"])
        assert bus.query("SELECT body FROM eventbus_messages ORDER BY offset DESC LIMIT 2") == [
            ('"text"',),
            ('"no number"',),
        ]
