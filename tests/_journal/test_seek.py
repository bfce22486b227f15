"""A seek takes effect in its turn, whole or not at all."""

from __future__ import annotations

import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from eventbus import EARLIEST, LATEST, Fifo, JournalError, Keyed, Policy, Priority, StaleDeliveryError, blocking
from eventbus._core.errands import run_errands
from eventbus._core.graves import Burial
from eventbus._core.leases import Fate
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
        for table in ("queues", "pasts", "settled", "unsettled"):
            assert bus.query(f"SELECT * FROM eventbus_{table}") == []


@ORDERS
@pytest.mark.parametrize("late", [False, True], ids=["before it is done", "while it is done"])
def test_a_subscription_whose_bus_is_closed_before_it_has_its_past_has_it_next_time(
    tmp_path: Path, policy: Policy | None, late: bool
) -> None:
    with blocking.Bus(tmp_path / "j.db") as bus:
        bus.topic("t").publish_many([1, 2])
        be_quiet(bus)
        seeking = writer_of(bus).run.seeking
        seek, after = seeking.seek, seeking._after
        closed = threading.Event()

        def once_closed(call: Callable[..., Any], *facts: Any) -> Any:
            assert closed.wait(30)
            return call(*facts)

        if late:
            seeking._after = partial(once_closed, after)
        else:
            seeking.seek = partial(once_closed, seek)
        bus.topic("t").subscription("s", policy, start=EARLIEST)
        close = bus._engine.close
        bus._engine.close = lambda: (close(), closed.set())
    with blocking.Bus(tmp_path / "j.db") as bus:
        assert [body for _, body in drain(bus.topic("t").subscription("s", policy, start=EARLIEST))] == [1, 2]
        check(bus)


def held_back(queue: Any, what: str) -> Callable[[], None]:
    """Settle the first two, as by a thread that is stopped on its way to the journal: what lets it go on."""
    state = queue._state
    if what == "lot":
        queue.get_many(2)
        lot = queue._receivers.lots.pop()
        return lambda: state.after_lot(lot)
    deliveries = [queue.get(timeout=10), queue.get(timeout=10)]
    if what == "ack":
        for delivery in deliveries:
            delivery._holder.out.remove(delivery)
        return lambda: [state.after_ack(delivery) for delivery in deliveries] and None
    errands = state.engine.errands
    state.settle(deliveries, Fate.REJECTED, "no", 0.0)
    burials = [errand for errand in errands if isinstance(errand, Burial)]
    for burial in burials:
        errands.remove(burial)
    return lambda: run_errands(deque(burials))


@pytest.mark.parametrize("then", ["stays", "is settled", "is sought again", "is purged"])
@pytest.mark.parametrize(
    ("what", "policy"),
    [
        *((what, policy) for what in ("ack", "reject") for policy in (None, Policy(Priority()), Policy(Keyed()))),
        *(("lot", policy) for policy in (None, Policy(Priority()))),
    ],
    ids=lambda value: value if isinstance(value, str) else str(value and value.order),
)
def test_what_a_seek_overtakes_is_settled_in_the_past_before_it(
    tmp_path: Path, policy: Policy | None, what: str, then: str
) -> None:
    path = tmp_path / "j.db"
    left = [1, 2, 3, 4]
    with blocking.Bus(path) as bus:
        queue = bus.topic("t").subscription("s", policy)
        bus.topic("t").publish_many(left)
        go_on = held_back(queue, what)
        queue.seek(EARLIEST)
        be_quiet(bus)
        if then == "is settled" and queue._state.lanes is None:
            for delivery in [queue.get(timeout=10) for _ in range(3)]:
                delivery.ack()
            left = [4]
        elif then == "is sought again":
            queue.seek(2)
            left = [2, 3, 4]
        elif then == "is purged":
            assert queue.purge() == 4
            left = []
        go_on()
        bus.flush()
        check(bus)
        assert not queue._state.depot.late
    with blocking.Bus(path) as bus:
        queue = bus.subscription("t/s", "t", policy)
        assert [body for _, body in drain(queue)] == left
        assert bus.dead_letters.stats().ready == 2 * (what == "reject")
        check(bus)


@pytest.mark.parametrize("order", [Fifo(), Priority(), Keyed()], ids=str)
def test_a_bus_that_ends_at_once_has_found_the_past_of_what_was_declared(tmp_path: Path, order: Any) -> None:
    path, policy = tmp_path / "j.db", Policy(order)
    with blocking.Bus(path) as bus:
        bus.topic("t").publish_many([1, 2, 3], key="k")
        bus.topic("t").subscription("late", policy, start=EARLIEST)
    with blocking.Bus(path) as bus:
        late = bus.topic("t").subscription("late", policy)
        found = []
        for _ in range(3):
            with late.get(timeout=30) as delivery:
                found.append(delivery.body)
        assert found == [1, 2, 3]
        check(bus)
