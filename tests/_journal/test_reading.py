"""Reading by routes, few or many: what is found is the same."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest

from eventbus._journal.reading import MANY, count_rows, rows_of_routes
from eventbus._journal.schema import TABLES

ROUTES = MANY * 2


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    """A message of each route in turn, three times."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.executescript(TABLES)
    connection.executemany(
        "INSERT INTO eventbus_messages VALUES (?, ?, 0.0, '1', 0, NULL, NULL, 0, NULL)",
        [(offset, 1 + (offset - 1) % ROUTES) for offset in range(1, 3 * ROUTES + 1)],
    )
    yield connection
    connection.close()


@pytest.mark.parametrize("routes", [1, 2, MANY, MANY + 1, ROUTES])
def test_few_or_many(connection: sqlite3.Connection, routes: int) -> None:
    numbers = range(1, routes + 1)
    wanted = [offset for offset in range(1, 3 * ROUTES + 1) if 1 + (offset - 1) % ROUTES <= routes]
    assert [row[0] for row in rows_of_routes(connection, numbers, 0, 10_000)] == wanted
    assert [row[0] for row in rows_of_routes(connection, numbers, ROUTES, 7)] == [o for o in wanted if o > ROUTES][:7]
    assert count_rows(connection, numbers, 0, 3 * ROUTES) == len(wanted)
    assert count_rows(connection, numbers, ROUTES, 2 * ROUTES) == routes
