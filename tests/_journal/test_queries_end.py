"""A query that nobody waits for any more, or whose bus is closed, ends early."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

import eventbus
from eventbus import ClosedError, Journal, JournalError, Sync, blocking
from eventbus._journal.reader import Reader

ENDLESS = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) FROM c"


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "j.db", sync=Sync.OFF)


def reader_of(bus: Any) -> Reader:
    reader: Reader = bus._host.journaling.reader
    return reader


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(20):
        while not condition():  # noqa: ASYNC110  # a thread makes it true
            await anyio.sleep(0.001)


@pytest.mark.anyio
async def test_a_cancelled_query_ends_and_holds_up_nobody(journal: Journal) -> None:
    async with eventbus.Bus(journal) as bus:
        await bus.queue("q").put(1)
        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                group.start_soon(bus.query, ENDLESS)
                await until(reader_of(bus).lock.locked)
                group.cancel_scope.cancel()
            assert await bus.query("SELECT count(*) FROM eventbus_messages") == [(1,)]


@pytest.mark.anyio
async def test_one_that_waits_for_its_turn_when_it_is_cancelled_is_not_begun(journal: Journal) -> None:
    async with eventbus.Bus(journal) as bus:
        lock = reader_of(bus).lock
        with anyio.fail_after(20), lock:
            async with anyio.create_task_group() as group:
                group.start_soon(bus.query, ENDLESS)
                await anyio.wait_all_tasks_blocked()
                group.cancel_scope.cancel()
        with anyio.fail_after(20):
            assert await bus.query("SELECT 1") == [(1,)]


@pytest.mark.anyio
async def test_closing_ends_a_query_that_is_at_work_and_says_so(journal: Journal) -> None:
    ended = []

    async def ask() -> None:
        with pytest.raises(ClosedError):
            await bus.query(ENDLESS)
        ended.append(True)

    bus = eventbus.Bus(journal)
    with anyio.fail_after(20):
        async with anyio.create_task_group() as group, bus:
            group.start_soon(ask)
            await until(reader_of(bus).lock.locked)
    assert ended


def test_closing_ends_the_queries_of_all_threads(journal: Journal) -> None:
    ended = []

    def ask(bus: blocking.Bus) -> None:
        try:
            bus.query(ENDLESS)
        except ClosedError:
            ended.append(True)

    with blocking.Bus(journal) as bus:
        threads = [threading.Thread(target=ask, args=(bus,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        while not reader_of(bus).lock.locked():
            threading.Event().wait(0.001)
    for thread in threads:
        thread.join(20)
    assert ended == [True] * 3


def test_nothing_is_opened_again_after_the_end(journal: Journal) -> None:
    with blocking.Bus(journal) as bus:
        reader = reader_of(bus)
    for call in (lambda: reader.query("SELECT 1", (), []), lambda: reader.page(["t"], 0, 1)):
        with pytest.raises(ClosedError):
            call()


@pytest.mark.parametrize(("sql", "parameters"), [("SELECT ?", (1 << 70,)), ("SELECT '\ud800'", ()), ("SELECT 1 +", ())])
def test_what_sqlite_cannot_take_is_an_error_of_the_journal(journal: Journal, sql: str, parameters: Any) -> None:
    with blocking.Bus(journal) as bus:
        with pytest.raises(JournalError, match="could not be read"):
            bus.query(sql, parameters)
        assert bus.query("SELECT 1") == [(1,)]
