"""What the writer deletes when nothing comes, and what it must not."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from eventbus import EARLIEST, Journal, JournalError, Keyed, Policy, Priority, Retention, Sync, blocking
from eventbus._core import depot
from eventbus._journal import tidying, wal
from tests.kit.clock import ManualClock
from tests.kit.journals import Plan, be_quiet, check, drain, inject, sqlite_error, writer_of

DAY = 86_400.0


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@contextmanager
def opened(path: Path, clock: ManualClock | None = None, sync: Sync = Sync.FULL) -> Iterator[blocking.Bus]:
    bus = blocking.Bus(journal=Journal(path, sync), clock=clock)
    writer_of(bus).run._tidy = lambda: False  # here it is done when the test says so
    with bus:
        yield bus
        check(bus)


def tidy(bus: blocking.Bus) -> int:
    """To the end: in how many steps."""
    bus.flush()
    be_quiet(bus)
    writer = writer_of(bus)
    steps = 1
    while writer.run.tidying.step(writer.look()):
        steps += 1
    return steps


def offsets(bus: blocking.Bus) -> list[int]:
    return [offset for (offset,) in bus.query("SELECT offset FROM eventbus_messages ORDER BY offset")]


def test_what_every_queue_has_settled_goes(tmp_path: Path) -> None:
    with opened(tmp_path / "a.db") as bus:
        queues = [bus.queue(str(order), Policy(order)) for order in (Priority(), Keyed())] + [bus.queue("fifo")]
        for queue in queues:
            queue.put_many(range(5))
            first, second, third = (queue.get(timeout=30) for _ in range(3))
            first.ack()
            third.ack()
            second.release()
        tidy(bus)
        assert [n % 5 for n in offsets(bus)] == [2, 3, 4, 0] * 3  # from the first that is not settled
        for queue in queues:
            drain(queue)
        tidy(bus)
        assert offsets(bus) == []


def test_what_was_sent_to_a_queue_that_ended_goes(tmp_path: Path) -> None:
    with opened(tmp_path / "a.db") as bus:
        topic = bus.topic("orders", retain=Retention(count=1))
        queue = topic.subscription("all")
        topic.publish_many(range(10))
        tidy(bus)
        assert len(offsets(bus)) == 10
        queue.unsubscribe()
        tidy(bus)
        assert offsets(bus) == [10]


def test_without_a_retention_a_topic_keeps_all(tmp_path: Path) -> None:
    with opened(tmp_path / "a.db") as bus:
        bus.topic("orders").publish_many(range(10))
        tidy(bus)
        assert [m.body for m in bus.topic("orders").replay()] == list(range(10))


@pytest.mark.parametrize(
    ("retention", "left"),
    [
        (Retention(count=3), [7, 8, 9]),
        (Retention(count=30), list(range(10))),
        (Retention(age=25.0), [8, 9]),
        (Retention(age=1.0), []),
        (Retention(age=1000.0), list(range(10))),
        (Retention(size=4), [6, 7, 8, 9]),
        (Retention(size=1000), list(range(10))),
        (Retention(count=8, age=85.0, size=5), [5, 6, 7, 8, 9]),
    ],
    ids=str,
)
def test_a_retention_lets_go(tmp_path: Path, clock: ManualClock, retention: Retention, left: list[int]) -> None:
    with opened(tmp_path / "a.db", clock) as bus:
        bus.topic("orders", retain=retention)
        other = bus.topic("others")
        for n in range(10):
            bus.topic("orders").publish(n)
            other.publish(n)
            clock.advance(10)
        tidy(bus)
        assert [m.body for m in bus.topic("orders").replay()] == left
        assert len(list(other.replay())) == 10
    with opened(tmp_path / "a.db", clock) as bus:  # it is in force though nobody has said so in this life
        bus.topic("orders").publish("new")
        tidy(bus)
        kept = [m.body for m in bus.topic("orders").replay()]
        assert kept[-1:] == ["new"] or retention.size == 4
        if retention.count == 3:
            assert kept == [8, 9, "new"]


def test_a_retention_that_changed_is_in_force(tmp_path: Path) -> None:
    with opened(tmp_path / "a.db") as bus:
        bus.topic("orders", retain=Retention(count=5)).publish_many(range(10))
        tidy(bus)
        bus.topic("orders", retain=Retention(count=2))
        tidy(bus)
        assert [m.body for m in bus.topic("orders").replay()] == [8, 9]
    bus = blocking.Bus(journal=tmp_path / "a.db")
    topic = bus.topic("orders", retain=Retention(count=1))
    with bus:
        tidy(bus)
        assert [m.body for m in topic.replay()] == [9]


@pytest.mark.parametrize("order", [None, Priority(), Keyed()], ids=str)
def test_a_retention_never_takes_what_a_subscription_needs(tmp_path: Path, order: Any) -> None:
    policy = None if order is None else Policy(order)
    with opened(tmp_path / "a.db") as bus:
        topic = bus.topic("orders", retain=Retention(count=1))
        queue = topic.subscription("slow", policy)
        topic.publish_many(range(10))
        queue.get(timeout=30).ack()
        tidy(bus)
    with opened(tmp_path / "a.db") as bus:  # nor if it is dormant
        bus.topic("orders").publish(10)
        tidy(bus)
        queue = bus.queue("orders/slow")
        assert sorted(body for _, body in drain(queue)) == list(range(1, 11))
        tidy(bus)
        assert len(offsets(bus)) == 1


@pytest.mark.parametrize("order", [None, Priority(), Keyed()], ids=str)
def test_nor_what_it_goes_back_to(tmp_path: Path, order: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(depot, "WINDOW", 256)
    policy = None if order is None else Policy(order)
    with opened(tmp_path / "a.db") as bus:
        topic = bus.topic("orders", retain=Retention(count=1000))
        topic.publish_many(range(1000))
        queue = topic.subscription("late", policy, start=EARLIEST)
        bus.flush()
        topic.publish_many(range(1000, 1500))
        tidy(bus)
        assert sorted(body for _, body in drain(queue)) == list(range(1500))
        tidy(bus)
        assert len(offsets(bus)) == 1000
        queue.seek(EARLIEST)
        topic.publish_many(range(1500, 1600))
        tidy(bus)
    with opened(tmp_path / "a.db") as bus:
        tidy(bus)
        assert sorted(body for _, body in drain(bus.queue("orders/late"))) == list(range(500, 1600))
        tidy(bus)
        assert len(offsets(bus)) == 1000


def test_compaction_keeps_the_last_of_each_key(tmp_path: Path, clock: ManualClock) -> None:
    with opened(tmp_path / "a.db", clock) as bus:
        topic = bus.topic("state", retain=Retention(compact=True))
        for n in range(12):
            topic.publish(n, key="abc"[n % 3])
        topic.publish("keyless")
        topic.publish(None, key="b")
        bus.topic("others").publish(1, key="a")
        tidy(bus)
        assert [(m.key, m.body) for m in topic.replay()] == [("a", 9), ("c", 11), (None, "keyless"), ("b", None)]
        slow = topic.subscription("slow")
        topic.publish(20, key="a")
        topic.publish(21, key="a")
        tidy(bus)
        assert [m.body for m in topic.replay(key="a")] == [20, 21]
        assert [body for _, body in drain(slow)] == [20, 21]
        clock.advance(DAY + 1)
        topic.publish(22, key="c")
        tidy(bus)
        assert [m.body for m in topic.replay() if m.key == "b"] == []
        drain(slow)
        tidy(bus)
        assert [(m.key, m.body) for m in topic.replay()] == [(None, "keyless"), ("a", 21), ("c", 22)]


def test_it_deletes_in_small_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tidying, "STEP", 100)
    with opened(tmp_path / "a.db") as bus:
        queue = bus.queue("jobs")
        queue.put_many(["x" * 1000] * 1000)
        queue.purge()
        bus.flush()
        be_quiet(bus)
        connection = writer_of(bus).run.connection
        before = connection.execute("PRAGMA page_count").fetchone()[0]
        assert tidy(bus) == 11
        assert connection.execute("PRAGMA page_count").fetchone()[0] < before / 3


@pytest.mark.parametrize("sync", Sync)
def test_the_log_stays_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sync: Sync) -> None:
    monkeypatch.setattr(tidying, "LONG", 100_000)
    path = tmp_path / "a.db"
    with opened(path, sync=sync) as bus:
        for _ in range(200):
            bus.queue("jobs").put("x" * 10_000)
            assert os.stat(f"{path}-wal").st_size < 300_000 + wal.AHEAD
    assert not Path(f"{path}-wal").exists()


def test_a_log_that_was_long_is_moved_into_the_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tidying, "LONG", 100_000)
    with opened(tmp_path / "a.db") as bus:
        bus.queue("jobs").put("x" * 200_000)
        be_quiet(bus)
        upkeep, moved = writer_of(bus).run.tidying, []
        upkeep._checkpoint = lambda: moved.append(True)
        for _ in range(5):
            bus.queue("jobs").put("x")
        be_quiet(bus)
    assert not moved


def test_the_writer_tidies_when_nothing_comes(tmp_path: Path) -> None:
    with blocking.Bus(journal=tmp_path / "a.db") as bus:
        bus.queue("jobs").put_many(range(10))
        drain(bus.queue("jobs"))
        while offsets(bus):
            be_quiet(bus)
        check(bus)


def spread(bus: blocking.Bus, count: int) -> list[Any]:
    """Messages that go by as many routes as there are sets of three queues, or so."""
    topic = bus.topic("t", durable=False)
    queues = [topic.subscription(f"s{n}", where=f"body.b{n} == 1") for n in range(3)]
    for number in range(count):
        topic.publish({f"b{n}": number >> n & 1 for n in range(3)})
    return queues


def routes(bus: blocking.Bus) -> list[int]:
    return [id for (id,) in bus.query("SELECT id FROM eventbus_routes ORDER BY id")]


def test_a_step_looks_at_a_few_routes_and_goes_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tidying, "ROUTES", 3)
    with opened(tmp_path / "a.db") as bus:
        queues = spread(bus, 8)
        assert len(routes(bus)) == 7  # what nobody wants is not written
        be_quiet(bus)
        upkeep, looked = writer_of(bus).run.tidying, []
        delete = upkeep._delete
        upkeep._delete = lambda where, facts: looked.append(where) or delete(where, facts)
        assert upkeep.step(0.0)
        assert len(looked) == 3
        for queue in queues:
            drain(queue)
        assert tidy(bus) == 4
        assert offsets(bus) == []


def test_what_was_settled_while_it_went_round_is_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tidying, "ROUTES", 1)
    with opened(tmp_path / "a.db") as bus:
        one, two = bus.queue("one"), bus.queue("two")
        one.put(1)
        two.put(2)
        be_quiet(bus)
        upkeep = writer_of(bus).run.tidying
        assert upkeep.step(0.0)
        drain(two)
        bus.flush()
        be_quiet(bus)
        assert upkeep.step(0.0)  # that of the other queue, which needs it
        assert offsets(bus) == [1, 2]
        tidy(bus)
        assert offsets(bus) == [1]


def test_routes_without_messages_go_and_their_numbers_are_not_given_again(tmp_path: Path) -> None:
    with opened(tmp_path / "a.db") as bus:
        for queue in spread(bus, 8):
            drain(queue)
        tidy(bus)
        assert routes(bus) == [7]
        spread(bus, 3)
        assert routes(bus) == [7, 8, 9]
    with opened(tmp_path / "a.db") as bus:
        queues = spread(bus, 8)
        assert len(routes(bus)) == 7
        assert [len(drain(queue)) for queue in queues] == [1 + 4, 1 + 4, 4]
        tidy(bus)
        assert len(routes(bus)) == 1


def test_who_reads_knows_no_route_by_another_number(tmp_path: Path) -> None:
    with opened(tmp_path / "a.db") as bus:
        topic = bus.topic("kept", retain=Retention(count=1))
        queue = topic.subscription("s", where="body > 0")
        topic.publish(1)
        topic.publish(0)
        assert [m.body for m in topic.replay()] == [1, 0]
        drain(queue)
        tidy(bus)
        assert routes(bus) == [2]
        topic.publish(2)
        assert routes(bus) == [2, 3]
        assert [m.body for m in topic.replay()] == [0, 2]
        assert drain(queue) == [(3, 2)]


def test_a_commit_that_fails_forgets_its_routes_and_a_step_that_fails_none(tmp_path: Path) -> None:
    bus = blocking.Bus(journal=tmp_path / "a.db")
    plan = Plan(1, sqlite3.SQLITE_FULL, wanted="COMMIT".__eq__)
    plan.armed = False
    writer_of(bus).run._tidy = lambda: False
    with inject(bus, plan):
        bus.queue("one").put(1)
        drain(bus.queue("one"))
        bus.flush()
        be_quiet(bus)
        plan.armed = True
        with pytest.raises(JournalError, match="is full"):
            bus.topic("t").publish(1)
        bus.queue("two").put(2)
        bus.queue("three").put(3)
        drain(bus.queue("three"))
        bus.flush()
        be_quiet(bus)
        plan.seen = 0
        with pytest.raises(sqlite3.OperationalError):
            writer_of(bus).run.tidying.step(0.0)
        assert len(routes(bus)) == 3
        tidy(bus)
        assert len(routes(bus)) == 2
        bus.queue("one").put(4)
        assert [body for name in ("one", "two") for _, body in drain(bus.queue(name))] == [4, 2]
        check(bus)


def test_a_step_of_which_nobody_knows_whether_it_was_done(tmp_path: Path) -> None:
    bus = blocking.Bus(journal=tmp_path / "a.db")
    plan = Plan(1, sqlite3.SQLITE_IOERR, wanted="COMMIT".__eq__, late=True)
    plan.armed = False
    run = writer_of(bus).run
    tidy_later, run._tidy = run._tidy, lambda: False
    with inject(bus, plan):
        bus.queue("jobs").put(1)
        be_quiet(bus)
        plan.armed = True
        assert not tidy_later()
        assert bus._engine.closed
    with blocking.Bus(journal=tmp_path / "a.db") as bus:
        assert [body for _, body in drain(bus.queue("jobs"))] == [1]


def test_many_routes_of_a_topic_that_is_compacted(tmp_path: Path) -> None:
    with opened(tmp_path / "a.db") as bus:
        topic = bus.topic("t", retain=Retention(compact=True))
        queues = [topic.subscription(f"s{n}", where=f"body.b{n} == 1") for n in range(5)]
        for number in range(64):
            topic.publish({f"b{n}": number >> n & 1 for n in range(5)}, key=str(number % 2))
        for queue in queues:
            drain(queue)
        tidy(bus)
        assert [message.offset for message in topic.replay()] == [63, 64]
        assert len(routes(bus)) == 2
    with opened(tmp_path / "a.db") as bus:
        bus.topic("t").subscription("s0").seek(EARLIEST)
        assert [offset for offset, _ in drain(bus.queue("t/s0"))] == [64]


def test_a_step_whose_transaction_sqlite_has_undone_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it does when the disk is full."""

    def undo(connection: sqlite3.Connection, *facts: Any) -> int:
        connection.execute("ROLLBACK")
        raise sqlite_error(sqlite3.SQLITE_FULL)

    with opened(tmp_path / "a.db") as bus:
        bus.queue("jobs").put(1)
        bus.flush()
        be_quiet(bus)
        with monkeypatch.context() as patch:
            patch.setattr(tidying, "delete_what_ran_out", undo)
            with pytest.raises(sqlite3.OperationalError):
                writer_of(bus).run.tidying.step(0.0)
        tidy(bus)
        assert offsets(bus) == [1]
