"""The ids that a queue or a topic knows again outlive the process, and no longer than their window."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from eventbus import DeclarationError, JournalCorruptError, JournalError, Keyed, Policy, Priority, blocking
from eventbus._journal import tidying
from tests._journal.test_store import held, table
from tests._journal.test_tidying import tidy
from tests.kit.clock import ManualClock
from tests.kit.journals import Plan, check, drain, inject, writer_of


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shop.db"


@contextmanager
def opened(path: Path, clock: ManualClock | None = None) -> Iterator[blocking.Bus]:
    bus = blocking.Bus(journal=path, clock=clock)
    writer_of(bus).run._tidy = lambda: False  # here it is done when the test says so
    with bus:
        yield bus
        check(bus)


def rows(bus: blocking.Bus) -> list[Any]:
    return bus.query("SELECT id, offset FROM eventbus_ids ORDER BY offset")


def ways(bus: blocking.Bus, queue: Any, id: str) -> list[int]:
    """The offset of a message that is sent again in every way."""
    offsets = [queue.put("again", id=id), queue.put_nowait("again", id=id), queue.put("again", id=id, delay=9)]
    offsets += queue.put_many(["again", "again"], id=id)
    before = bus.stats().offset
    with bus.transaction() as tx:
        tx.put(queue, "again", id=id)
        tx.put(queue, "again", id=id)
    assert bus.stats().offset == before
    return offsets


@pytest.mark.parametrize("order", [None, Priority(), Keyed()], ids=str)
def test_a_queue_knows_an_id_again_after_a_restart_though_its_message_is_long_gone(
    path: Path, clock: ManualClock, order: Any
) -> None:
    policy = Policy(dedup=60) if order is None else Policy(order, dedup=60)
    with opened(path, clock) as bus:
        queue = bus.queue("jobs", policy)
        firsts = [queue.put(1, id="a"), queue.put(2, id="b", delay=5), queue.put_many([3, 4], id="c")[0]]
        with bus.transaction() as tx:
            tx.put(queue, 5, id="d")
        firsts.append(bus.stats().offset)
        clock.advance(5)
        assert len(drain(queue)) == 4
        tidy(bus)
        assert bus.query("SELECT * FROM eventbus_messages") == []
        assert rows(bus) == list(zip("abcd", firsts, strict=True))
    clock.advance(10)
    with opened(path, clock) as bus:
        queue = bus.queue("jobs", policy)
        for id, first in zip("abcd", firsts, strict=True):
            assert set(ways(bus, queue, id)) == {first}
        assert queue.stats().published == 0
        clock.advance(45)  # the window of what has entered 60 seconds ago is over
        assert queue.put("anew", id="a") > firsts[-1]


@pytest.mark.parametrize("late", [False, True], ids=["declared before", "declared after"])
def test_a_topic_knows_an_id_again_after_a_restart(path: Path, clock: ManualClock, late: bool) -> None:
    with opened(path, clock) as bus:
        topic = bus.topic("t", dedup=60)
        topic.subscription("s")
        first = topic.publish(1, id="a")
        assert topic.publish_many([2, 3], id="a") == [first, first]
    bus = blocking.Bus(journal=path, clock=clock)
    if not late:
        bus.topic("t", dedup=60)
    with bus:
        topic = bus.topic("t", dedup=60)
        assert topic.publish(4, id="a") == topic.publish_nowait(4, id="a") == first
        assert topic.publish_many([4, 5], id="a") == [first, first]
        with bus.transaction() as tx:
            tx.publish("t", 6, id="a")
        assert [body for _, body in drain(bus.queue("t/s"))] == [1]
        with pytest.raises(DeclarationError, match="dedup=60"):
            bus.topic("t", dedup=61)
    with opened(path, clock) as bus:
        assert bus.topic("t").publish(7, id="a") == first, "its window stands in the journal"


def test_a_subscription_may_know_an_id_alone(path: Path) -> None:
    with opened(path) as bus:
        topic = bus.topic("t")
        topic.subscription("knows", Policy(dedup=60))
        topic.subscription("takes")
        topic.publish(1, id="a")
    with opened(path) as bus:  # no module has declared it yet
        bus.topic("t").publish(2, id="a")
        knows, takes = (bus.subscription(f"t/{name}", "t") for name in ("knows", "takes"))
        assert [body for _, body in drain(knows)] == [1]
        assert [body for _, body in drain(takes)] == [1, 2]
        takes.unsubscribe()
        knows.unsubscribe()
        bus.flush()
        assert rows(bus) == []


def test_only_what_has_a_window_and_lasts_is_written(path: Path) -> None:
    with opened(path) as bus:
        bus.queue("plain").put(1, id="a")
        bus.queue("memory", Policy(dedup=60, durable=False)).put(1, id="a")
        bus.topic("passing", durable=False, dedup=60).publish(1, id="a")
        bus.queue("jobs", Policy(dedup=60)).put(1)
        assert rows(bus) == []
        bus.queue("jobs").put(1, id="a")
        bus.queue("jobs").get().reject("a dead letter enters again, with its id")
        bus.dead_letters.redrive()
        assert len(rows(bus)) == 1


def test_who_is_not_durable_any_more_knows_what_it_sees_itself(path: Path) -> None:
    with opened(path) as bus:
        bus.queue("q", Policy(dedup=60)).put(1, id="a")
        bus.topic("t", dedup=60).publish(1, id="a")
    with opened(path) as bus:
        pass
    bus = blocking.Bus(journal=path)
    queue, topic = bus.queue("q", Policy(dedup=60, durable=False)), bus.topic("t", dedup=60, durable=False)
    with bus:
        assert queue.put(2, id="a") > 2
        assert topic.publish(2, id="a") > 2
        assert len(rows(bus)) == 2


def test_a_window_that_is_declared_anew_counts(path: Path, clock: ManualClock) -> None:
    with opened(path, clock) as bus:
        bus.queue("q", Policy(dedup=60)).put(1, id="a")
    bus = blocking.Bus(journal=path, clock=clock)
    queue = bus.queue("q", Policy(dedup=10))
    with bus:
        assert queue.put(2, id="a") == 1
        clock.advance(10)
        assert queue.put(3, id="a") == 2
    bus = blocking.Bus(journal=path, clock=clock)
    queue = bus.queue("q", Policy(dedup=60))
    with bus:
        assert queue.put(4, id="a") == 2, "the later of two counts"
        clock.advance(10)
        assert queue.put(5, id="a") == 3
        clock.advance(60)
        assert len(queue._state.seen.row) == 0


def test_what_ran_out_is_deleted_in_small_steps(
    path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tidying, "STEP", 3)
    with opened(path, clock) as bus:
        queue = bus.queue("q", Policy(dedup=60))
        for n in range(10):
            queue.put(n, id=str(n))
            clock.advance(1)
        assert tidy(bus) == 1
        assert len(rows(bus)) == 10
        clock.advance(57)
        assert tidy(bus) == 4
        assert [offset for _, offset in rows(bus)] == [9, 10]


def test_what_could_not_be_written_is_not_known(path: Path) -> None:
    plan = Plan(1, sqlite3.SQLITE_FULL, wanted="COMMIT".__eq__)
    plan.armed = False
    with inject(blocking.Bus(journal=path), plan) as bus:
        queue = bus.queue("q", Policy(dedup=60))
        plan.armed = True
        with pytest.raises(JournalError, match="is full"):
            queue.put(1, id="a")
        first = queue.put(2, id="a")
        assert rows(bus) == [("a", first)]
    with opened(path) as bus:
        assert bus.queue("q").put(3, id="a") == first
        assert [body for _, body in drain(bus.queue("q"))] == [2]


# while the first one is on its way


def at_once(*calls: Callable[[], Any]) -> tuple[list[threading.Thread], list[Any]]:
    """Each call in a thread of its own: the threads, and where what they end with is put."""
    ends: list[Any] = []

    def run(call: Callable[[], Any]) -> None:
        try:
            ends.append(call())
        except JournalError as error:
            ends.append(error)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    return threads, ends


def wait_for(looks: Callable[[], bool]) -> None:
    while not looks():
        threading.Event().wait(0.001)


def test_who_repeats_an_id_waits_for_the_first_one_and_for_no_other(path: Path) -> None:
    with opened(path) as bus:
        queue, outbox = bus.queue("q", Policy(dedup=60)), writer_of(bus).outbox
        written = queue.put(1, id="written")
        with held(bus):
            queue.put_nowait(2)
            assert queue.put(1, id="written", timeout=5) == written
            threads, ends = at_once(lambda: queue.put(3, id="a"))
            wait_for(lambda: len(outbox.items) == 2)
            more, _ = at_once(lambda: ends.append(queue.put(4, id="a")))
            wait_for(lambda: len(outbox.items[1].waiters) == 2)
            queue.put_nowait(5)
            assert not outbox.items[2].waited
        for thread in (*threads, *more):
            thread.join(30)
        assert ends[0] == ends[1] == 3
        assert not outbox.coming


def test_who_repeats_an_id_fails_with_the_first_one(path: Path) -> None:
    plan = Plan(1, sqlite3.SQLITE_FULL, wanted="COMMIT".__eq__)
    plan.armed = False
    with inject(blocking.Bus(journal=path), plan) as bus:
        queue, outbox = bus.queue("q", Policy(dedup=60)), writer_of(bus).outbox

        def transact() -> None:
            with bus.transaction() as tx:
                tx.put(queue, 3, id="a")

        with held(bus):
            first, ends = at_once(lambda: queue.put(1, id="a"))
            wait_for(lambda: len(outbox.items) == 1)
            others, more = at_once(lambda: queue.put(2, id="a"), transact)
            wait_for(lambda: len(outbox.items) == 2 and len(outbox.items[0].waiters) == 2)
            plan.armed = True
        for thread in (*first, *others):
            thread.join(30)
        assert all(isinstance(end, JournalError) for end in (*ends, *more))
        check(bus)
        assert not outbox.coming
        assert queue.put(4, id="a") == 2
        assert [body for _, body in drain(queue)] == [4]


@pytest.mark.parametrize("together", [True, False], ids=["in one commit", "in the next"])
def test_a_transaction_that_repeats_what_was_undone_is_undone(path: Path, together: bool) -> None:
    with opened(path) as bus:
        table(bus)
        queue, outbox = bus.queue("q", Policy(dedup=60)), writer_of(bus).outbox

        def transact(number: int, sql: str) -> None:
            with bus.transaction() as tx:
                tx.put(queue, number, id="a")
                tx.put(queue, number, id="a")
                tx.execute(sql)

        failing, also = (lambda: transact(1, "gibberish")), (lambda: transact(2, "INSERT INTO done VALUES (1, '')"))
        with held(bus):
            first, ends = at_once(failing)
            wait_for(lambda: len(outbox.items) == 1)
            second, more = at_once(also)
            wait_for(lambda: len(outbox.items) == 2)
            if not together:  # the first alone is taken now
                (posting,) = outbox.items[1:]
                del outbox.items[1:]
        for thread in first:
            thread.join(30)
        if not together:
            with bus._engine.lock:
                outbox.post(posting)
            bus.flush()
        for thread in second:
            thread.join(30)
        assert ["undone" in str(end) for end in (*ends, *more)] == [True, True]
        assert bus.query("SELECT * FROM done") == []
        transact(3, "INSERT INTO done VALUES (3, '')")
        assert [body for _, body in drain(queue)] == [3]


# damage


@pytest.mark.parametrize(
    "row", ["'soon', 1, 'a', 1", "9e12, 1, x'61', 1", "9e12, 1, 'a', 'first'"], ids=["until", "id", "offset"]
)
def test_ids_that_cannot_be_read_are_damage(path: Path, row: str) -> None:
    with opened(path) as bus:
        bus.queue("q", Policy(dedup=60)).put(1, id="a")
    spoil(path, "DROP TABLE eventbus_ids", "CREATE TABLE eventbus_ids (until, channel, id, offset)")
    spoil(path, "INSERT INTO eventbus_ids VALUES (1.0, 1, 'old', 1)", f"INSERT INTO eventbus_ids VALUES ({row})")
    with pytest.raises(JournalCorruptError, match="cannot be read"), blocking.Bus(journal=path):
        pass


def test_ids_of_nobody_are_passed_over(path: Path) -> None:
    with opened(path) as bus:
        bus.queue("q", Policy(dedup=60)).put(1, id="a")
    spoil(path, "UPDATE eventbus_ids SET channel = 'q'")
    with opened(path) as bus:
        assert bus.queue("q").put(2, id="a") == 2


@pytest.mark.parametrize("window", ["-1.0", "0"])
def test_a_window_that_cannot_be_is_damage(path: Path, window: str) -> None:
    with opened(path) as bus:
        bus.topic("t", dedup=60)
    spoil(path, f"UPDATE eventbus_topics SET dedup = {window}")
    with pytest.raises(JournalCorruptError, match="cannot be read"), blocking.Bus(journal=path):
        pass


def spoil(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()
