"""The writer's thread at its edges: what comes at the wrong moment, and what fails beside the commits."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest

from eventbus import EARLIEST, Fifo, JournalError, Keyed, Policy, Priority, blocking
from eventbus._core import depot
from eventbus._journal import tidying
from tests._journal.test_store import held
from tests.kit.clock import ManualClock
from tests.kit.journals import Plan, be_quiet, check, drain, inject, writer_of

IOERR, FULL = sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shop.db"


def disarmed(path: Path, code: int, wanted: Any, **how: Any) -> tuple[blocking.Bus, Plan]:
    plan = Plan(1, code, wanted=wanted, **how)
    plan.armed = False
    return inject(blocking.Bus(journal=path), plan), plan


def test_in_a_forked_child_it_lets_go(path: Path) -> None:
    bus = blocking.Bus(journal=path)
    writer_of(bus).forget()
    with bus:
        bus.queue("jobs").put(1)
        writer, released = writer_of(bus), []

        class Lock:
            def release(self) -> None:
                released.append(True)

        thread, lock, writer.ownership = writer.thread, writer.ownership, Lock()
        writer.forget()
        assert released
        with pytest.raises(JournalError):
            bus.queue("jobs").put(2)
        writer.thread, writer.ownership, writer.outbox.open = thread, lock, True


def test_whatever_fails_at_the_opening_is_said(path: Path) -> None:
    bus = blocking.Bus(journal=path)

    def fail(*facts: object) -> Any:
        raise RuntimeError("a slip of ours")

    writer_of(bus).connect = fail
    with pytest.raises(JournalError, match="a slip of ours"):
        bus.__enter__()
    bus.close()


@pytest.mark.parametrize("code", [FULL, IOERR, sqlite3.SQLITE_BUSY])
def test_a_checkpoint_that_fails(path: Path, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tidying, "LONG", 1)
    bus, plan = disarmed(path, code, lambda sql: "checkpoint(RESTART)" in sql)
    with bus:
        plan.armed = True
        bus.queue("jobs").put(1)
        while not plan.failed:
            threading.Event().wait(0.001)
        if code == IOERR:
            with pytest.raises(JournalError):
                bus.queue("jobs").get(timeout=30)
                bus.queue("jobs").get(timeout=30)
        else:
            bus.queue("jobs").put(2)
    with blocking.Bus(journal=path) as bus:
        assert [body for _, body in drain(bus.queue("jobs"))] == ([1] if code == IOERR else [1, 2])


@pytest.mark.parametrize("code", [FULL, IOERR])
def test_tidying_that_fails(path: Path, code: int) -> None:
    bus, plan = disarmed(path, code, lambda sql: sql.startswith("DELETE FROM eventbus_messages"))
    with bus:
        plan.armed = True
        queue = bus.queue("jobs")
        queue.put(1)
        while not plan.failed:
            threading.Event().wait(0.001)
        if code == IOERR:
            with pytest.raises(JournalError, match="has failed"):
                while True:
                    queue.put(2)
        else:
            queue.put(2)
    with blocking.Bus(journal=path) as bus:
        assert drain(bus.queue("jobs"))[0] == (1, 1)


def test_who_waits_while_tidying_fails_is_told(path: Path) -> None:
    tidies = threading.Event()

    def fails(sql: str) -> bool:
        if not sql.startswith("DELETE FROM eventbus_messages"):
            return False
        tidies.set()
        while not any(posting.waiters for posting in writer_of(bus).outbox.items):
            threading.Event().wait(0.001)
        return True

    bus, plan = disarmed(path, IOERR, fails)
    with bus:
        plan.armed = True
        bus.queue("jobs").put(1)
        assert tidies.wait(30)
        with pytest.raises(JournalError, match="has failed"):
            bus.queue("jobs").put(2)


def test_a_commit_that_takes_long_is_still_to_come(path: Path) -> None:
    """So that whoever waits for it as the last does not count as asleep for good."""
    writing, gate = threading.Event(), threading.Event()
    with blocking.Bus(journal=path) as bus:
        queue, store = bus.queue("jobs"), writer_of(bus).run.store
        be_quiet(bus)
        assert not bus._engine.expecting()
        write = store.write

        def slowly(*facts: Any) -> Any:
            writing.set()
            gate.wait(30)
            return write(*facts)

        store.write = slowly
        thread = threading.Thread(target=queue.put, args=(1,))
        thread.start()
        assert writing.wait(30)
        assert bus._engine.expecting()
        gate.set()
        thread.join(30)
        be_quiet(bus)
        assert not bus._engine.expecting()


def test_a_broken_journal_is_not_tidied(path: Path) -> None:
    bus, plan = disarmed(path, IOERR, "COMMIT".__eq__)
    with bus:
        plan.armed = True
        with pytest.raises(JournalError):
            bus.queue("jobs").put(1)
        assert not writer_of(bus).run._tidy()


@pytest.mark.parametrize("code", [FULL, IOERR])
def test_a_last_commit_that_fails(path: Path, code: int) -> None:
    bus, plan = disarmed(path, code, lambda sql: sql.startswith("UPDATE eventbus_bus SET clean = 1"))
    with bus:
        bus.queue("jobs").put(1)
        plan.armed = True
    assert plan.failed
    with blocking.Bus(journal=path) as bus:
        assert [body for _, body in drain(bus.queue("jobs"))] == [1]


def test_a_page_that_cannot_be_read_ends_the_bus(path: Path) -> None:
    with blocking.Bus(journal=path) as bus:
        bus.queue("jobs").put_many(range(5))
    bus, plan = disarmed(path, IOERR, lambda sql: "CAST(m.body AS BLOB)" in sql)
    with bus:
        plan.armed = True
        with pytest.raises(JournalError, match="has failed"):
            bus.queue("jobs").get(timeout=30)


def test_an_io_error_in_a_statement_of_the_users_own_is_the_journals(path: Path) -> None:
    bus, plan = disarmed(path, IOERR | 3 << 8, lambda sql: sql.startswith("INSERT INTO mine"))
    with bus:
        with bus.transaction() as tx:
            tx.execute("CREATE TABLE mine (n)")
        plan.armed = True
        with pytest.raises(JournalError, match="has failed"), bus.transaction() as tx:
            tx.execute("INSERT INTO mine VALUES (1)")
        with pytest.raises(JournalError, match="has failed"):
            bus.queue("jobs").put(1)


def test_what_fails_otherwise_fails_that_commit(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with blocking.Bus(journal=path) as bus:
        queue = bus.queue("jobs")
        queue.put(1)
        store = writer_of(bus).run.store
        flush = store._flush

        def fail() -> None:
            store._flush = flush
            raise RuntimeError("a slip of ours")

        store._flush = fail
        with pytest.raises(JournalError, match="nothing of this was written"):
            queue.put(2)
        queue.put(3)
        assert "a slip of ours" in caplog.text
        assert [body for _, body in drain(queue)] == [1, 3]
        check(bus)


def test_who_waits_no_longer_leaves_no_trace_and_it_takes_its_course(path: Path) -> None:
    with blocking.Bus(journal=path) as bus:
        queue = bus.queue("jobs")
        queue.put("before")
        with held(bus), pytest.raises(TimeoutError, match="which it may yet be"):
            queue.put("late", timeout=0.001)
        assert [body for _, body in drain(queue)] == ["before", "late"]


def test_a_request_is_never_written(path: Path) -> None:
    with blocking.Bus(journal=path) as bus:
        queue = bus.queue("jobs")

        @queue.on()
        def answer(body: int) -> int:
            return body + 1

        assert bus.request(queue, 1, timeout=30) == 2
        bus.flush()
        assert bus.query("SELECT count(*) FROM eventbus_messages") == [(0,)]


# at the wrong moment


def test_a_queue_that_ends_or_is_sought_while_it_is_read(path: Path) -> None:
    for order in (Fifo(), Priority()):
        name = str(order)
        with blocking.Bus(journal=path) as bus:
            queue = bus.subscription(name, "orders", Policy(order))
            bus.topic("orders").publish_many(range(20))
        with blocking.Bus(journal=path) as bus:
            be_quiet(bus)
            with held(bus):
                queue = bus.queue(name)
                seeks = [threading.Thread(target=queue.seek, args=(start,)) for start in (5, EARLIEST)]
                for seek in seeks:
                    seek.start()
                    while not queue._state.loading:
                        threading.Event().wait(0.001)
                while queue._state.loading < 2:
                    threading.Event().wait(0.001)
            for seek in seeks:
                seek.join(30)
            check(bus)
            assert len(drain(queue)) >= 20
            with held(bus):
                queue.purge()
                queue.unsubscribe()
            bus.flush()
            check(bus)
            assert bus.query("SELECT count(*) FROM eventbus_unsettled") == [(0,)]


def test_what_was_settled_in_a_queue_that_ends_is_not_said(path: Path) -> None:
    with blocking.Bus(journal=path) as bus:
        queue = bus.subscription("all", "orders")
        bus.topic("orders").publish(1)
        delivery = queue.get(timeout=30)
        with held(bus):
            delivery.ack()
            saying = queue._state.depot.say()
            queue._state.depot.unsay(saying)
            queue.unsubscribe()
        bus.flush()
        writer_of(bus).run.store.say(saying)
        check(bus)


def test_what_a_retention_of_another_life_took_is_not_missed(path: Path) -> None:
    """A file from which somebody has deleted messages by hand."""
    clock = ManualClock()
    with blocking.Bus(journal=path, clock=clock) as bus:
        bus.queue("jobs", Policy(Priority())).put_many(range(4))
        bus.queue("jobs").put("late", delay=10)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("DELETE FROM eventbus_messages WHERE offset IN (2, 5)")
    connection.close()
    for order in (Priority(), Keyed(), Fifo()):
        bus = blocking.Bus(journal=path, clock=clock)
        queue = bus.queue("jobs", Policy(order))
        with bus:
            assert [body for _, body in drain(queue, ack=False)][:3] == [0, 2, 3]
            check(bus)


def test_a_message_with_deaths_passes_a_filter_that_changed(path: Path) -> None:
    with blocking.Bus(journal=path) as bus:
        graves = bus.subscription("graves", "orders", where="body > 5")
        jobs = bus.queue("jobs", Policy(dead_letter="graves"))
        jobs.put(1)
        jobs.get(timeout=30).reject("no")
        bus.topic("orders").publish(7)
        graves.put(2)
    bus = blocking.Bus(journal=path)
    graves = bus.subscription("graves", "orders", where="body > 9")
    with bus:
        assert [body for _, body in drain(graves)] == [1, 2]
        check(bus)


def test_letters_of_a_queue_that_ended(path: Path) -> None:
    with blocking.Bus(journal=path) as bus:
        graves = bus.subscription("graves", "orders")
        jobs = bus.queue("jobs", Policy(dead_letter="graves"))
        jobs.put(1)
        delivery = jobs.get(timeout=30)
        with held(bus):
            delivery.reject("no")
            graves.unsubscribe()
        bus.flush()
        check(bus)


def test_a_transaction_and_a_move_whose_queue_ended_before_they_failed(path: Path) -> None:
    bus, plan = disarmed(path, FULL, "COMMIT".__eq__)
    with bus:
        queue = bus.subscription("all", "orders", Policy(dedup=60.0))
        bus.topic("orders").publish_many([1, 2, 3], id=None)
        delivery = queue.get(timeout=30)
        errors: list[BaseException] = []

        def attempt(call: Any) -> None:
            try:
                call()
            except JournalError as error:
                errors.append(error)

        def transact() -> None:
            with bus.transaction() as tx:
                tx.ack(delivery)
                tx.put("others", 4, id="four")

        calls = [transact, lambda: queue.redrive(to=bus.queue("more")), lambda: bus.queue("many").put_many([5, 6])]
        threads = [threading.Thread(target=attempt, args=(call,)) for call in calls]
        bus.queue("others", Policy(dedup=60.0))
        with held(bus):
            for thread in threads:
                thread.start()
            while len(writer_of(bus).outbox.items) < 3 or queue._state.withheld < 2:
                threading.Event().wait(0.001)
            queue.unsubscribe()
            plan.armed = True
        for thread in threads:
            thread.join(30)
        assert len(errors) >= 2
        plan.armed = False
        with bus.transaction() as tx:
            tx.put("others", 4, id="four")
        assert [body for _, body in drain(bus.queue("others"))] == [4]
        check(bus)


def test_a_page_that_comes_too_late_is_dropped(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(depot, "WINDOW", 8)
    with blocking.Bus(journal=path) as bus:
        queue = bus.queue("jobs")
        queue.put_many(range(100))
        queue.put_many(range(100, 200))
        be_quiet(bus)
        run = writer_of(bus).run
        state = queue._state
        with bus._engine.lock:
            page = run.pages.next(state.depot, 0, 0.0)
            gone = run.pages.next(state.depot, 77, 0.0)
        assert gone is None
        with bus._engine.lock:
            writer_of(bus).outbox.want(state.depot, 77)
        bus.flush()
        be_quiet(bus)
        queue.purge()
        writer_of(bus).outbox.paged(state.depot, page)
        check(bus)
        assert queue.stats().ready == 0
        queue.put("after")
        assert [body for _, body in drain(queue)] == ["after"]


def test_a_transaction_whose_queue_ended_before_it_was_written(path: Path) -> None:
    with blocking.Bus(journal=path) as bus:
        queue = bus.subscription("all", "orders")
        bus.topic("orders").publish(1)
        delivery = queue.get(timeout=30)

        def transact() -> None:
            with bus.transaction() as tx:
                tx.ack(delivery)
                tx.put("others", 2)

        thread = threading.Thread(target=transact)
        with held(bus):
            thread.start()
            while not queue._state.withheld:
                threading.Event().wait(0.001)
            queue.unsubscribe()
        thread.join(30)
        check(bus)
        assert [body for _, body in drain(bus.queue("others"))] == [2]
