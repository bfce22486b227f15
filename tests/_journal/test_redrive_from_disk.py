"""Dead letters that are on disk only go back too, and are on disk again where they go."""

from __future__ import annotations

import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from eventbus import FullError, Journal, JournalError, Keyed, Overflow, Policy, Priority, Sync, blocking
from eventbus._core import depot as depots
from eventbus._journal.pages import Pages
from tests.kit.journals import be_quiet, sqlite_error, writer_of
from tests.scenarios.conservation import intact


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "j.db", sync=Sync.OFF)


def kill(bus: Any, count: int, queue: str = "q", **options: Any) -> None:
    bus.queue(queue).put_many(list(range(count)), key="k", **options)
    for _ in range(count):
        bus.queue(queue).get().reject("no")
    bus.flush()


def bodies(queue: Any) -> list[Any]:
    found = []
    with queue.consume(until_empty=True) as consumer:
        for delivery in consumer:
            with delivery:
                found.append(delivery.body)
    return found


def test_what_was_put_back_survives_a_restart(journal: Journal) -> None:
    with blocking.Bus(journal) as bus:
        kill(bus, 3)
        assert bus.dead_letters.redrive(where="body != 1") == 2
    with blocking.Bus(journal) as bus:
        assert bodies(bus.queue("q")) == [0, 2]
        assert bodies(bus.dead_letters) == [1]
        intact(bus)


def test_what_no_one_has_read_since_the_restart_is_put_back(journal: Journal) -> None:
    with blocking.Bus(journal) as bus:
        kill(bus, 3)
    with blocking.Bus(journal) as bus:
        bus.queue("q")
        assert bus.dead_letters.redrive(limit=2) == 2
        assert bodies(bus.queue("q")) == [0, 1]
        assert bodies(bus.dead_letters) == [2]
        intact(bus)
    with blocking.Bus(journal) as bus:
        assert bus.stats().queues["q"].ready == bus.dead_letters.stats().ready == 0


@pytest.mark.parametrize("policy", [None, Policy(Priority(), capacity=None), Policy(Keyed(), capacity=None)])
def test_what_lies_beyond_the_window_is_found_by_the_filter_in_constant_memory(
    journal: Journal, policy: Policy | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(depots, "WINDOW", 8)
    with blocking.Bus(journal) as bus:
        bus.queue("grave", policy)
        bus.queue("q", Policy(dead_letter="grave"))
        kill(bus, 300)
        grave = bus.queue("grave")
        assert grave.redrive(where="body >= 250") == 50
        intact(bus)
        assert sorted(bodies(bus.queue("q"))) == list(range(250, 300))
        assert sorted(bodies(grave)) == list(range(250))
        intact(bus)


def test_what_finds_no_room_stays_on_disk(journal: Journal) -> None:
    with blocking.Bus(journal) as bus:
        bus.queue("q", Policy(capacity=3, overflow=Overflow.FAIL))
        kill(bus, 3)
        bus.queue("q").put_many([7, 8])
    with blocking.Bus(journal) as bus:
        with pytest.raises(FullError):
            bus.dead_letters.redrive()
        intact(bus)
        assert bodies(bus.queue("q")) == [7, 8, 0]
        assert bodies(bus.dead_letters) == [1, 2]
        intact(bus)


def test_the_last_that_is_on_disk_stays_there_too_when_it_finds_no_room(journal: Journal) -> None:
    with blocking.Bus(journal) as bus:
        bus.queue("q", Policy(capacity=1, overflow=Overflow.FAIL))
        kill(bus, 1)
        bus.queue("q").put(7)
    with blocking.Bus(journal) as bus:
        for _ in range(2):
            with pytest.raises(FullError):
                bus.dead_letters.redrive()
            intact(bus)
        bus.queue("q").get().reject("too")
        bus.flush()
        assert bodies(bus.dead_letters) == [0, 7]
        intact(bus)


def test_the_last_that_is_on_disk_is_not_lost_when_it_cannot_be_moved_and_another_comes(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(depots, "WINDOW", 300)
    with blocking.Bus(journal) as bus:
        queue, outbox, store = bus.queue("q"), writer_of(bus).outbox, writer_of(bus).run.store
        bus.queue("other")
        queue.put_many(range(300))
        queue.put("last")
        queue.get_many(20).ack()
        assert queue.stats().lag == 1
        be_quiet(bus)
        write, gate, hauls = store.write, threading.Event(), []

        def write_one_and_no_more(*facts: Any) -> Any:
            hauls.append(facts)
            gate.wait(30)
            if len(hauls) == 2:
                raise sqlite_error(sqlite3.SQLITE_FULL)
            return write(*facts)

        store.write = write_one_and_no_more
        queue.put_nowait("another")
        errors: list[JournalError] = []

        def redrive() -> None:
            try:
                queue.redrive(where="body == 'last'", to="other")
            except JournalError as error:
                errors.append(error)

        while not hauls:
            threading.Event().wait(0.001)
        thread = threading.Thread(target=redrive)
        thread.start()
        while not outbox.items:
            threading.Event().wait(0.001)
        gate.set()
        thread.join(30)
        intact(bus)
        queue.get_many(280).ack()
        last, another = queue.get(), queue.get()
        assert (last.body, another.body, len(errors)) == ("last", "another", 1)
        another.ack()
    with blocking.Bus(journal) as bus:
        assert bodies(bus.queue("q")) == ["last"]


@pytest.mark.parametrize("read", [True, False])
def test_what_is_to_come_later_stays(journal: Journal, read: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    with blocking.Bus(journal) as bus:
        bus.queue("q").put(1, delay=3600.0)
    if not read:  # as if the reader were slow
        monkeypatch.setattr(Pages, "later", lambda *_: None)
    with blocking.Bus(journal) as bus:
        bus.queue("other")
        while read and not bus.queue("q").stats().delayed:
            time.sleep(0.001)
        assert bus.queue("q").redrive(to="other") == 0
        assert bus.queue("q").stats().delayed + bus.queue("q").stats().lag == 1
        intact(bus)
