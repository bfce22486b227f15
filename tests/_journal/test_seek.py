"""A seek takes effect in its turn, whole or not at all."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from eventbus import EARLIEST, LATEST, JournalError, Keyed, Policy, Priority, StaleDeliveryError, blocking
from tests._journal.test_store import held
from tests.kit.journals import Plan, be_quiet, check, drain, inject, writer_of

ORDERS = pytest.mark.parametrize(
    "policy", [None, Policy(Priority()), Policy(Keyed())], ids=lambda p: str(p and p.order)
)


@contextmanager
def failing(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[blocking.Bus, Plan]]:
    """A bus whose disk is full when it comes to such a statement, once it is armed."""
    plan = Plan(1, sqlite3.SQLITE_FULL, wanted=wanted)
    plan.armed = False
    with inject(blocking.Bus(journal=path), plan) as bus:
        yield bus, plan
        check(bus)


def is_of_seeking(sql: str) -> bool:
    return sql.startswith("UPDATE eventbus_queues SET mark = ?, since")


@ORDERS
@pytest.mark.parametrize("commit", [True, False], ids=["with its commit", "by itself"])
def test_a_seek_that_fails_leaves_the_queue_where_it_was(tmp_path: Path, policy: Policy | None, commit: bool) -> None:
    path = tmp_path / "j.db"
    with failing(path, "COMMIT".__eq__ if commit else is_of_seeking) as (bus, plan):
        queue = bus.topic("t").subscription("s", policy)
        bus.topic("t").publish_many([1, 2, 3, 4], key="k")
        queue.get().ack()
        out = queue.get()
        bus.flush()
        plan.armed = True
        with pytest.raises(JournalError, match="is full"):
            queue.seek(EARLIEST)
        check(bus)
        with pytest.raises(StaleDeliveryError):
            out.ack()
        bus.topic("t").publish(5, key="k")
        again = queue.get()
        assert (again.body, again.attempt) == (2, 2)
        again.ack()
        assert [body for _, body in drain(queue)] == [3, 4, 5]
        queue.seek(EARLIEST)
        assert [body for _, body in drain(queue)] == [1, 2, 3, 4, 5]
        queue.put("to it alone")
    with blocking.Bus(path) as bus:
        assert [body for _, body in drain(bus.subscription("t/s", "t", policy))] == ["to it alone"]


@ORDERS
def test_what_was_sent_to_a_queue_alone_is_not_found_again(tmp_path: Path, policy: Policy | None) -> None:
    with blocking.Bus(tmp_path / "j.db") as bus:
        queue = bus.topic("t").subscription("s", policy)
        queue.put("settled", key="k")
        bus.topic("t").publish(1, key="k")
        queue.put("ready", key="k")
        queue.get().ack()
        queue.seek(EARLIEST)
        assert queue.stats().ready == 1
        queue.put("after", key="k")
    with blocking.Bus(tmp_path / "j.db") as bus:
        queue = bus.subscription("t/s", "t", policy)
        assert queue.stats().ready == 2
        assert [body for _, body in drain(queue)] == [1, "after"]
        check(bus)


def test_a_new_subscription_whose_past_cannot_be_read_begins_with_nothing_else(tmp_path: Path) -> None:
    with failing(tmp_path / "j.db", is_of_seeking) as (bus, plan):
        bus.topic("t").publish_many([1, 2])
        plan.armed = True
        queue = bus.topic("t").subscription("s", start=EARLIEST)
        with pytest.raises(JournalError, match="is full"):
            bus.flush()
        bus.topic("t").publish(3)
        with pytest.raises(TimeoutError):
            queue.get(timeout=0)
        queue.seek(EARLIEST)
        assert [body for _, body in drain(queue)] == [1, 2, 3]


@ORDERS
@pytest.mark.parametrize("good", [True, False], ids=["written", "undone"])
def test_a_transaction_that_came_before_a_seek_is_done_before(
    tmp_path: Path, policy: Policy | None, good: bool
) -> None:
    with blocking.Bus(tmp_path / "j.db") as bus:
        outbox = writer_of(bus).outbox
        queue = bus.topic("t").subscription("s", policy)
        bus.topic("t").publish_many([1, 2, 3])
        delivery, late = queue.get(), queue.get()
        errors: list[BaseException] = []

        def transact(acked: Any) -> None:
            try:
                with bus.transaction() as tx:
                    tx.ack(acked)
                    tx.execute("CREATE TABLE IF NOT EXISTS done (n)" if good else "gibberish")
            except Exception as error:
                errors.append(error)

        threads = [threading.Thread(target=transact, args=(delivery,)), threading.Thread(target=queue.seek, args=(2,))]
        with held(bus):
            for count, thread in enumerate(threads, 1):
                thread.start()
                while len(outbox.items) < count:
                    threading.Event().wait(0.001)
            transact(late)
        for thread in threads:
            thread.join(30)
        check(bus)
        assert [type(error) for error in errors] == [StaleDeliveryError] + [JournalError] * (not good)
        assert [body for _, body in drain(queue)] == [2, 3]
        check(bus)


def test_while_a_queue_is_sought_nothing_is_moved_out_of_it(tmp_path: Path) -> None:
    with blocking.Bus(tmp_path / "j.db") as bus:
        queue = bus.topic("t").subscription("s")
        bus.queue("other")
        bus.topic("t").publish_many([1, 2])
        with held(bus):
            seek = threading.Thread(target=queue.seek, args=(LATEST,))
            seek.start()
            while not queue._state.loading:
                threading.Event().wait(0.001)
            assert queue.redrive(to="other") == 0
        seek.join(30)
        assert (queue.stats().ready, queue.stats().purged) == (0, 2)
        check(bus)


def test_a_subscription_that_ends_while_it_is_sought(tmp_path: Path) -> None:
    with blocking.Bus(tmp_path / "j.db") as bus:
        queue = bus.topic("t").subscription("s")
        bus.topic("t").publish_many([1, 2])
        be_quiet(bus)
        seeking = writer_of(bus).run.seeking
        after = seeking._after

        def end_first(*facts: Any) -> Any:
            queue.unsubscribe()
            return after(*facts)

        seeking._after = end_first
        queue.seek(EARLIEST)
        bus.topic("t").publish(3)
        check(bus)
        assert bus.query("SELECT * FROM eventbus_queues") == []
