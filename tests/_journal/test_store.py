"""Tables of the user's own in the journal's file: one commit with what is published and acked, or nothing of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from eventbus import ClosedError, FullError, JournalError, Keyed, Policy, Priority, blocking
from eventbus._core import outbox
from tests.kit.journals import be_quiet, check, drain, writer_of


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shop.db"


@contextmanager
def opened(path: Path) -> Iterator[blocking.Bus]:
    with blocking.Bus(journal=path) as bus:
        yield bus
        check(bus)


@contextmanager
def held(bus: blocking.Bus) -> Iterator[None]:
    """Here the writer commits nothing, so that what is sent goes into one commit."""
    be_quiet(bus)
    gate, writer = threading.Event(), writer_of(bus)
    take = writer.outbox.take

    def wait() -> Any:
        gate.wait(30)
        return take()

    writer.outbox.take = wait
    try:
        yield
    finally:
        writer.outbox.take = take
        gate.set()


def table(bus: blocking.Bus) -> None:
    with bus.transaction() as tx:
        tx.execute("CREATE TABLE done (n INTEGER UNIQUE, what TEXT)")


@pytest.mark.parametrize(
    "policy", [Policy(), Policy(Priority()), Policy(Keyed())], ids=lambda policy: str(policy.order)
)
def test_rows_publishes_and_acks_are_one_commit(path: Path, policy: Policy) -> None:
    with opened(path) as bus:
        table(bus)
        queue, other = bus.queue("jobs", policy), bus.topic("orders").subscription("all", policy)
        queue.put_many([1, 2, 3], key="k")
        delivery = queue.get(timeout=30)
        with bus.transaction() as tx:
            tx.execute("INSERT INTO done VALUES (:n, :what)", {"n": 1, "what": "one"})
            tx.execute("SELECT 1")
            tx.publish("orders", "sent")
            tx.ack(delivery)
        check(bus)
        with pytest.raises(ValueError), bus.transaction() as tx:
            tx.execute("INSERT INTO done VALUES (2, 'two')")
            raise ValueError
    with opened(path) as bus:
        assert bus.query("SELECT * FROM done") == [(1, "one")]
        assert [body for _, body in drain(bus.queue("jobs"))] == [2, 3]
        assert [body for _, body in drain(bus.queue(other.name))] == ["sent"]


@pytest.mark.parametrize("policy", [None, Policy(Priority()), Policy(Keyed())], ids=lambda p: str(p and p.order))
def test_to_ack_the_same_delivery_again_in_a_transaction_is_harmless(path: Path, policy: Policy | None) -> None:
    with opened(path) as bus:
        queue = bus.queue("jobs", policy)
        queue.put_many([1, 2, 3, 4])
        delivery, batch = queue.get(timeout=30), queue.get_many(2, timeout=30)
        with bus.transaction() as tx:
            tx.ack(delivery)
            tx.ack(delivery)
            tx.ack(batch)
            tx.ack(batch[1])
        check(bus)
        assert (queue.stats().acked, queue.stats().out, queue.stats().ready) == (3, 0, 1)
    with opened(path) as bus:
        assert [body for _, body in drain(bus.queue("jobs"))] == [4]


@pytest.mark.parametrize(
    ("sql", "parameters", "match"),
    [
        ("INSERT INTO done VALUES (1, 'again')", (), "UNIQUE"),
        ("INSERT OR ROLLBACK INTO done VALUES (1, 'again')", (), "UNIQUE"),
        ("INSERT INTO nowhere VALUES (1)", (), "no such table"),
        ("gibberish", (), "syntax error"),
        ("INSERT INTO done VALUES (?, ?)", (1,), "binding"),
        ("INSERT INTO done VALUES (?, ?)", (1 << 70, ""), "too large"),
        ("INSERT INTO done VALUES (?, ?)", (2, "\ud800"), "surrogates"),
        ("INSERT INTO done VALUES (?, ?)", (2, object()), "type"),
        ("INSERT INTO done VALUES (2, '2'); SELECT 1", (), "one statement"),
        ("DELETE FROM eventbus_messages", (), "not authorized"),
        ("UPDATE EventBus_Queues SET mark = 0", (), "not authorized"),
        ("INSERT INTO eventbus_settled VALUES (1, 1)", (), "not authorized"),
        ("DROP TABLE eventbus_states", (), "not authorized"),
        ("ALTER TABLE eventbus_states RENAME TO states", (), "not authorized"),
        ("CREATE TABLE eventbus_mine (n)", (), "not authorized"),
        ("alter table done rename to EventBus_mine", (), "'EventBus_mine' would be one of the journal's tables"),
        ("CREATE INDEX mine ON eventbus_messages (time)", (), "not authorized"),
        ("COMMIT", (), "not authorized"),
        ("SAVEPOINT own", (), "not authorized"),
        ("ROLLBACK TO own", (), "not authorized"),
        ("PRAGMA user_version = 7", (), "not authorized"),
        ("ATTACH ':memory:' AS other", (), "not authorized"),
    ],
)
def test_a_statement_that_fails_undoes_its_transaction_alone(path: Path, sql: str, parameters: Any, match: str) -> None:
    with opened(path) as bus:
        table(bus)
        with bus.transaction() as tx:
            tx.execute("INSERT INTO done VALUES (1, 'one')")
        queue = bus.queue("jobs")
        queue.put_many([1, 2])
        delivery = queue.get(timeout=30)
        errors: list[BaseException] = []

        def fail() -> None:
            try:
                with bus.transaction() as tx:
                    tx.execute("INSERT INTO done VALUES (3, 'three')")
                    tx.execute(sql, parameters)
                    tx.put(queue, "never")
                    tx.ack(delivery)
            except JournalError as error:
                errors.append(error)

        def good() -> None:
            with bus.transaction() as tx:
                tx.execute("INSERT INTO done VALUES (4, 'four')")
                tx.put(bus.queue("new"), "good")

        threads = [threading.Thread(target=call) for call in (good, fail)]
        with held(bus):
            queue.put_nowait("before")
            for thread in threads:
                thread.start()
            while len(writer_of(bus).outbox.items) < 3:
                threading.Event().wait(0.001)
        for thread in threads:
            thread.join(30)
        (error,) = errors
        assert "the transaction was undone" in str(error)
        assert match in str(error)
        bus.flush()
        check(bus)
        assert bus.query("SELECT n FROM done ORDER BY n") == [(1,), (4,)]
        assert [body for _, body in drain(queue)] == [1, 2, "before"]
        assert [body for _, body in drain(bus.queue("new"))] == ["good"]


def test_what_has_no_journal_has_no_tables() -> None:
    with blocking.Bus() as bus:
        with pytest.raises(JournalError, match="no journal to execute"), bus.transaction() as tx:
            tx.execute("SELECT 1")
        with pytest.raises(JournalError, match="no journal to query"):
            bus.query("SELECT 1")
        bus.flush()


def test_a_table_may_be_altered_and_renamed_to_what_is_not_the_journals(path: Path) -> None:
    with opened(path) as bus:
        table(bus)
        with bus.transaction() as tx:
            tx.execute("INSERT INTO done VALUES (1, 'one')")
            tx.execute("ALTER TABLE done RENAME TO finished")
            tx.execute("ALTER TABLE finished ADD COLUMN more")
        assert bus.query("SELECT * FROM finished") == [(1, "one", None)]


def test_nothing_durable_is_sent_before_the_journal_is_open(path: Path) -> None:
    bus = blocking.Bus(journal=path)
    with pytest.raises(JournalError, match="enter it first"):
        bus.queue("jobs").put(1)
    with pytest.raises(JournalError, match="enter it first"):
        bus.queue("jobs").put_many([1])
    bus.queue("memory", Policy(durable=False)).put(1)
    bus.flush()
    with bus:
        bus.queue("jobs").put(1)
    bus.close()
    with pytest.raises(ClosedError):
        bus.queue("jobs").put(1)


def test_a_bus_may_be_entered_twice(path: Path) -> None:
    bus = blocking.Bus(journal=path)
    with bus, bus:
        bus.queue("jobs").put(1)


def test_who_cannot_wait_is_refused_when_too_much_waits_to_be_written(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "CAPACITY", 3)
    with opened(path) as bus:
        bus.queue("jobs").put("first")
        with held(bus):
            for n in range(3):
                bus.queue("jobs").put_nowait(n)
            with pytest.raises(FullError, match="the journal's inbox"):
                bus.queue("jobs").put_nowait(3)
        bus.flush()
        bus.queue("jobs").put_nowait(3)


def test_a_subscription_that_ends_while_messages_are_on_their_way_gets_none(path: Path) -> None:
    with opened(path) as bus:
        topic = bus.topic("orders")
        graves = topic.subscription("graves")
        jobs = bus.queue("jobs", Policy(dead_letter="orders/graves"))
        jobs.put_many([1, 2])
        one, two = jobs.get(timeout=30), jobs.get(timeout=30)
        fresh = None
        with held(bus):
            topic.publish_nowait(1)
            one.reject("no")
            fresh = topic.subscription("fresh")
            topic.publish_nowait(2)
            graves.unsubscribe()
            fresh.unsubscribe()
            for _ in range(2):
                bus.queue("more").put_nowait(1)
            errors: list[BaseException] = []

            def move() -> None:
                try:
                    with bus.transaction() as tx:
                        tx.ack(two)
                        tx.put("more", 2)
                except BaseException as error:
                    errors.append(error)

            thread = threading.Thread(target=move)
            thread.start()
            while writer_of(bus).outbox.items and jobs._state.withheld == 0:
                threading.Event().wait(0.001)
        thread.join(30)
        bus.flush()
        check(bus)
        assert not errors
        assert [body for _, body in drain(bus.queue("more"))] == [1, 1, 2]
    with opened(path) as bus:
        assert set(bus.stats().queues) == {"jobs", "more"}
        assert bus.stats().queues["jobs"].ready == 0
