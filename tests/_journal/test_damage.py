"""A damaged journal gives a typed error or right data: never another error, and never a body that nobody sent."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eventbus import JournalCorruptError, JournalError, blocking
from tests._journal.make_golden import BODIES, GOLDEN, NOW, declare, make
from tests.kit.clock import ManualClock
from tests.kit.journals import drain

PAGE = 4096


def read(path: Path) -> dict[str, list[Any]]:
    """All that can be read, by where it was."""
    bus = blocking.Bus(journal=path, clock=ManualClock(NOW))
    things = declare(bus)
    found: dict[str, list[Any]] = {}
    with bus:
        for name in ("jobs", "ranks", "lanes", "orders/eu", "all", "odd", "dead-letters"):
            found[name] = drain(things[name])
        found["replay"] = [(m.offset, m.body, m.key, m.headers, m.topic) for m in bus.replay("#")]
        found["invoices"] = bus.query("SELECT id, what FROM invoices")
    return found


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[int, Any]]:
    path = tmp_path_factory.mktemp("truth") / "shop.db"
    path.write_bytes(GOLDEN.read_bytes())
    return {name: {entry[0]: entry for entry in entries} for name, entries in read(path).items()}


def looks(path: Path, content: bytes, truth: dict[str, dict[int, Any]]) -> bool:
    """Whether such a file gives right data; else it gives a typed error."""
    for old in path.parent.glob(f"{path.name}*"):
        old.unlink()
    path.write_bytes(content)
    try:
        found = read(path)
    except JournalError:
        return False
    for name in ("jobs", "ranks", "lanes", "orders/eu", "all", "odd"):
        for offset, body in found[name]:
            assert body == BODIES[offset], f"{name}: a body that nobody sent"
    for entry in found["replay"]:
        assert entry == truth["replay"][entry[0]], "a message that nobody sent"
    return True


def flips(content: bytes, thorough: bool) -> Iterator[tuple[int, int]]:
    """Places, and what to flip there."""
    chance = random.Random(5)
    if thorough:
        yield from ((at, 1 << chance.randrange(8)) for at in range(len(content)))
        return
    used = [at for at in range(len(content)) if content[at]]  # where nothing is, hardly anything is to be broken
    yield from ((at, 1 << chance.randrange(8)) for at in range(0, 100, 3))
    yield from ((at, 1 << chance.randrange(8)) for at in chance.sample(used, 250))


def test_a_byte_that_is_flipped_gives_an_error_or_right_data(
    tmp_path: Path, thorough: bool, truth: dict[str, dict[int, Any]]
) -> None:
    content = GOLDEN.read_bytes()
    for at, bit in flips(content, thorough):
        damaged = content[:at] + bytes([content[at] ^ bit]) + content[at + 1 :]
        try:
            looks(tmp_path / "shop.db", damaged, truth)
        except BaseException as error:
            error.add_note(f"with byte {at} (page {at // PAGE + 1}, {at % PAGE}) ^ {bit}")
            raise


def test_a_file_that_is_cut_gives_an_error_or_right_data(tmp_path: Path, truth: dict[str, dict[int, Any]]) -> None:
    content = GOLDEN.read_bytes()
    ours = len(content) - PAGE  # the last page is that of the user's own table, which has no checksums
    for size in (*range(PAGE, len(content), PAGE), *range(1000, ours, 7000)):
        assert not looks(tmp_path / "shop.db", content[:size], truth), f"cut at {size}, and nothing is missed"


def test_a_page_that_was_never_written_gives_an_error_or_right_data(
    tmp_path: Path, truth: dict[str, dict[int, Any]]
) -> None:
    content = GOLDEN.read_bytes()
    for at in range(0, len(content), PAGE):
        for page in (bytes(PAGE), b"\xff" * PAGE, content[:PAGE]):
            looks(tmp_path / "shop.db", content[:at] + page + content[at + PAGE :], truth)


def changed(path: Path, *statements: str) -> Path:
    """A journal that somebody has written to with a tool."""
    make(path)
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()
    return path


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE eventbus_messages SET body = '{\"n\": 99}' WHERE offset = 4",
        "UPDATE eventbus_messages SET time = 1.0 WHERE offset = 4",
        "UPDATE eventbus_messages SET priority = 5 WHERE offset = 4",
        "UPDATE eventbus_messages SET key = 'another' WHERE offset = 4",
        "UPDATE eventbus_messages SET headers = '{}' WHERE offset = 9",
        "UPDATE eventbus_messages SET rare = NULL WHERE offset = 9",
        "UPDATE eventbus_messages SET rare = 'x' WHERE offset = 9",
        "UPDATE eventbus_messages SET route = (SELECT max(route) FROM eventbus_messages) WHERE offset = 4",
        "UPDATE eventbus_messages SET crc = 1 WHERE offset = 4",
        "UPDATE eventbus_routes SET channel = 'others' WHERE channel = 'orders'",
        "UPDATE eventbus_routes SET queues = '[]' WHERE id = 1",
        "UPDATE eventbus_routes SET queues = 'x' WHERE id = 1",
        "UPDATE eventbus_routes SET kept = 1 - kept",
        "UPDATE eventbus_queues SET policy = 'x'",
        "UPDATE eventbus_queues SET policy = '{}'",
        "UPDATE eventbus_queues SET policy = replace(policy, 'fifo', 'lifo')",
        "UPDATE eventbus_queues SET policy = replace(policy, '65536', '-1')",
        "UPDATE eventbus_queues SET name = '' WHERE id = 1",
        "UPDATE eventbus_topics SET retention = '{\"count\": -1}'",
        "UPDATE eventbus_topics SET retention = 'x'",
        "UPDATE eventbus_topics SET name = '*' WHERE name = 'orders'",
        "UPDATE eventbus_bindings SET filter = 'x +' WHERE filter IS NOT NULL",
        "UPDATE eventbus_bindings SET pattern = '' WHERE pattern = 'other.*'",
        "DELETE FROM eventbus_bus",
        "DELETE FROM eventbus_routes",
        "DROP TABLE eventbus_messages",
        "DROP TABLE eventbus_queues",
        "PRAGMA application_id = 0",
        "PRAGMA user_version = 9",
    ],
)
@pytest.mark.parametrize("known", [True, False], ids=["declared", "dormant"])
def test_what_does_not_fit_gives_an_error_that_names_the_file(tmp_path: Path, statement: str, known: bool) -> None:
    path = changed(tmp_path / "shop.db", statement)
    said = str(path)
    try:
        if known:
            read(path)
        else:
            with blocking.Bus(journal=path) as bus:
                for name in ("jobs", "ranks", "lanes", "orders/eu", "all", "odd"):
                    drain(bus.queue(name))
                list(bus.replay("#"))
    except JournalError as error:
        said = str(error)
    assert str(path) in said


def test_what_is_no_number_where_one_should_be_is_damage(tmp_path: Path) -> None:
    path = changed(
        tmp_path / "shop.db",
        "CREATE TABLE spoilt AS SELECT queue, offset, 'x' AS attempts, failures, error, due FROM eventbus_states",
        "DROP TABLE eventbus_states",
        "ALTER TABLE spoilt RENAME TO eventbus_states",
    )
    with pytest.raises(JournalCorruptError, match="'x' stands where a whole number should"):
        read(path)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE eventbus_messages SET body = '{\"n\": 99}' WHERE offset = 4",
        "UPDATE eventbus_messages SET route = (SELECT max(route) FROM eventbus_messages) WHERE offset = 19",
        "UPDATE eventbus_routes SET channel = 'others' WHERE channel = 'orders'",
    ],
)
def test_a_message_that_was_changed_is_found_out(tmp_path: Path, statement: str) -> None:
    path = changed(tmp_path / "shop.db", statement)
    with pytest.raises(JournalError, match="is damaged") as caught:
        read(path)
    assert "damaged" in str(caught.value)


def test_after_an_unclean_end_the_whole_file_is_checked(tmp_path: Path) -> None:
    path = changed(tmp_path / "shop.db", "UPDATE eventbus_bus SET clean = 0")
    connection = sqlite3.connect(path, isolation_level=None)
    root = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'invoices'").fetchone()[0]
    connection.close()
    content = bytearray(path.read_bytes())
    content[(root - 1) * PAGE : root * PAGE] = bytes(PAGE)
    path.write_bytes(bytes(content))
    with pytest.raises(JournalCorruptError, match="is damaged") as caught, blocking.Bus(journal=path):
        pass
    assert caught.value.path == str(path)
    assert caught.value.detail
