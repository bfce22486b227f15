"""Whatever write fails, and however: nothing that was promised is lost, and whoever waits learns of it."""

from __future__ import annotations

import sqlite3
import threading
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eventbus import (
    EARLIEST,
    Backoff,
    Fifo,
    JournalError,
    Keyed,
    Policy,
    Priority,
    Retry,
    blocking,
)
from tests.kit.journals import Plan, be_quiet, check, drain, inject, is_sound, writer_of

FULL, IOERR = sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR
IOERR_WRITE = IOERR | 3 << 8
"""As SQLite says it: the primary code, and which call of the system it was."""

ORDERS = {"fifo": Fifo(), "ranks": Priority(), "lanes": Keyed(partitions=3)}
RETRY = Retry(2, Backoff(0.0, jitter=0.0))


class Story:
    """A program that goes on whatever fails, and notes down what it was promised."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sent: defaultdict[str, set[str]] = defaultdict(set)
        """By queue: what must come."""
        self.may: defaultdict[str, set[str]] = defaultdict(set)
        """What may come too: of this nobody knows."""
        self.rows: set[int] = set()
        self.rows_maybe: set[int] = set()
        self.errors: list[Exception] = []

    def bus(self) -> blocking.Bus:
        bus = blocking.Bus(journal=self.path)
        self.queues = {name: bus.queue(name, Policy(order, retry=RETRY)) for name, order in ORDERS.items()}
        self.topic = bus.topic("orders")
        self.queues["all"] = bus.subscription("all", "orders", Policy(retry=RETRY))
        self.queues["big"] = bus.subscription("big", "#", Policy(Priority(), retry=RETRY), where="body.n >= 5")
        return bus

    def attempt(self, call: Callable[[], Any]) -> Any:
        """What it returned, or None if the journal failed."""
        try:
            return call()
        except JournalError as error:
            self.errors.append(error)
            return None

    def send(self, call: Callable[[], Any], goes: dict[str, set[str]]) -> None:
        for queue, names in goes.items():
            self.may[queue].update(names)
        if self.attempt(call) is not None:
            for queue, names in goes.items():
                self.sent[queue].update(names)

    def take(self, name: str, settle: Callable[[Any], Any]) -> None:
        """Take a message and settle it; one that is settled durably may not come again, one that is not may."""

        def call() -> Any:
            delivery = self.queues[name].get(timeout=30)
            settle(delivery)
            self.sent[name].discard(delivery.body["id"])
            return delivery.body["id"]

        took = self.attempt(call) if self.sent[name] else None
        if took is not None and self.attempt(lambda: (self.bus_now.flush(), 1)) is not None:
            self.may[name].discard(took)

    def tell(self, bus: blocking.Bus) -> None:
        """Every kind of commit."""
        self.bus_now = bus
        queues, send = self.queues, self.send
        for name in ("fifo", "ranks", "lanes"):
            queue = queues[name]
            send(lambda: queue.put({"id": f"{name}1"}, key="k", priority=1), {name: {f"{name}1"}})  # noqa: B023
            bodies = [{"id": f"{name}{n}"} for n in range(2, 6)]
            send(lambda: queue.put_many(bodies, key="k"), {name: {body["id"] for body in bodies}})  # noqa: B023
        for n in (4, 5, 6):
            goes = {"all": {f"o{n}"}} | ({"big": {f"o{n}"}} if n >= 5 else {})
            send(lambda: self.topic.publish({"id": f"o{n}", "n": n}, headers={"a": 1}), goes)  # noqa: B023
        for name in queues:
            self.take(name, lambda delivery: delivery.ack())
        self.take("fifo", lambda delivery: delivery.reject("no"))
        self.attempt(lambda: bus.dead_letters.redrive())
        self.transact(bus, 1)
        self.attempt(lambda: self.take_and_fail("ranks"))
        self.attempt(lambda: queues["all"].seek(EARLIEST))
        self.transact(bus, 2)

    def take_and_fail(self, name: str) -> None:
        if self.sent[name]:
            self.queues[name].get(timeout=30).nack(error="oh")

    def transact(self, bus: blocking.Bus, number: int) -> None:
        """A delivery becomes a row and another message: all or nothing."""
        if not self.sent["lanes"]:
            return
        self.rows_maybe.add(number)

        def call() -> int:
            delivery = self.queues["lanes"].get(timeout=30)
            self.sent["lanes"].discard(delivery.body["id"])  # until it is known, it may be either
            with bus.transaction() as tx:
                tx.execute("CREATE TABLE IF NOT EXISTS done (number INTEGER, id TEXT)")
                tx.execute("INSERT INTO done VALUES (?, ?)", (number, delivery.body["id"]))
                tx.put(self.queues["fifo"], {"id": f"tx{number}"})
                tx.ack(delivery)
            return 1

        self.may["fifo"].add(f"tx{number}")
        if self.attempt(call):
            self.sent["fifo"].add(f"tx{number}")
            self.rows.add(number)

    def verify(self) -> None:
        """Open it again: all that was promised is there, once, and nothing else."""
        assert is_sound(self.path)
        with self.bus() as bus:
            check(bus)
            found = {name: [body["id"] for _, body in drain(queue)] for name, queue in self.queues.items()}
            found["dead-letters"] = [body["id"] for _, body in drain(bus.dead_letters)]
            check(bus)
            made = bus.query("SELECT count(*) FROM sqlite_master WHERE name = 'done'")[0][0]
            rows = bus.query("SELECT number, id FROM done") if made else []
        for name, ids in found.items():
            assert len(set(ids)) == len(ids), f"{name}: something came twice in {ids}"
        assert set(found["all"]) >= self.sent["all"]
        for name in ("ranks", "lanes", "big"):
            assert self.sent[name] <= set(found[name]) <= self.may[name], name
        # what was rejected is a dead letter, or was put back, or is where it was
        fifo = {*found["fifo"], *found["dead-letters"]}
        assert self.sent["fifo"] <= fifo, "something is lost on its way to the dead letters or back"
        numbers = {number for number, _ in rows}
        assert self.rows <= numbers <= self.rows_maybe
        for number, id in rows:
            assert f"tx{number}" in fifo, "half a transaction"
            assert id not in found["lanes"], "half a transaction"
        assert {id for id in fifo if id.startswith("tx")} == {f"tx{number}" for number in numbers}


def is_write(sql: str) -> bool:
    return not sql.startswith(("SELECT", "PRAGMA", "ROLLBACK", "RELEASE"))


def count_of(path: Path) -> int:
    """How many writes the story makes when nothing fails."""
    plan = Plan(1 << 30, FULL, wanted=is_write)
    story = Story(path)
    with inject(story.bus(), plan) as bus:
        story.tell(bus)
        check(bus)
    assert not story.errors
    story.verify()
    return plan.seen


def test_without_a_fault_all_is_well(tmp_path: Path) -> None:
    assert count_of(tmp_path / "a.db") > 50


def places(count: int, thorough: bool) -> range:
    return range(1, count + 1, 1 if thorough else 5)


def told(path: Path, plan: Plan) -> tuple[Story, bool]:
    """The story with a fault: whether the bus opened."""
    story = Story(path)
    bus = inject(story.bus(), plan)
    try:
        with bus:
            story.tell(bus)
            if writer_of(bus).outbox.broken is None:
                check(bus)
    except JournalError as error:
        story.errors.append(error)
    return story, plan.failed > 0


def test_when_the_disk_is_full_for_a_moment_nothing_that_was_promised_is_lost(tmp_path: Path, thorough: bool) -> None:
    for at in places(count_of(tmp_path / "a.db"), thorough):
        story, _ = told(tmp_path / f"{at}.db", Plan(at, FULL, wanted=is_write))
        assert all("full" in str(error) for error in story.errors)
        story.verify()


def test_when_the_disk_stays_full_for_a_while_nothing_that_was_promised_is_lost(tmp_path: Path, thorough: bool) -> None:
    for at in places(count_of(tmp_path / "a.db"), thorough):
        story, _ = told(tmp_path / f"{at}.db", Plan(at, FULL, times=1 + at % 7, wanted=is_write))
        assert all("full" in str(error) for error in story.errors)
        story.verify()


@pytest.mark.parametrize("late", [False, True], ids=["not done", "done"])
def test_an_io_error_ends_the_bus_and_nothing_that_was_promised_is_lost(
    tmp_path: Path, thorough: bool, late: bool, caplog: pytest.LogCaptureFixture
) -> None:
    for at in places(count_of(tmp_path / "a.db"), thorough):
        story, failed = told(tmp_path / f"{at}.db", Plan(at, IOERR_WRITE, late=late, wanted=is_write))
        assert not failed or story.errors or "has failed" in caplog.text
        caplog.clear()
        story.verify()


def test_an_error_at_every_commit_alone(tmp_path: Path) -> None:
    wanted: Callable[[str], bool] = "COMMIT".__eq__
    for code in (FULL, IOERR_WRITE, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_ERROR):
        for late in (False, True):
            for at in range(1, 30, 3):
                story, failed = told(tmp_path / f"{code}{late}{at}.db", Plan(at, code, late=late, wanted=wanted))
                if not late or code == IOERR_WRITE:
                    story.verify()
                if not failed:
                    break


# what whoever is there learns of it


def broken(path: Path, **how: Any) -> tuple[blocking.Bus, Plan]:
    plan = Plan(1, IOERR_WRITE, wanted="COMMIT".__eq__, **how)
    plan.armed = False
    return inject(blocking.Bus(journal=path), plan), plan


def test_after_an_io_error_every_call_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    bus, plan = broken(path)
    with bus:
        queue, topic = bus.queue("jobs"), bus.topic("orders")
        everyone = topic.subscription("everyone")
        queue.put_many([1, 2, 3])
        delivery, batch = queue.get(timeout=30), queue.get_many(1, timeout=30)
        errors: list[Exception] = []

        def wait(call: Callable[[], Any]) -> None:
            try:
                call()
            except JournalError as error:
                errors.append(error)

        waits = [
            threading.Thread(target=wait, args=(call,), daemon=True)
            for call in (everyone.get, lambda: list(everyone.consume().__enter__()), queue.join)
        ]
        for thread in waits:
            thread.start()
        plan.armed = True
        with pytest.raises(JournalError, match="close the bus, look after the disk, and open it again"):
            queue.put(4)
        for thread in waits:
            thread.join(30)
            assert not thread.is_alive()
        assert len(errors) == len(waits)
        for call in (
            lambda: queue.put(5),
            lambda: queue.put_nowait(5),
            lambda: queue.put_many([5, 6]),
            lambda: topic.publish(5),
            queue.get,
            queue.get_nowait,
            delivery.ack,
            delivery.nack,
            batch.ack,
            bus.flush,
            bus.stats,
            queue.purge,
            lambda: everyone.seek(EARLIEST),
            lambda: list(topic.replay()),
            lambda: bus.queue("another"),
        ):
            with pytest.raises(JournalError, match="has failed"):
                call()
        bus._engine.check()
    with blocking.Bus(journal=path) as bus:
        assert [body for _, body in drain(bus.queue("jobs"))] == [1, 2, 3]
        check(bus)


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_handlers_and_async_waits_end_with_the_journal(tmp_path: Path, anyio_backend: str) -> None:
    from eventbus import Bus

    plan = Plan(1, IOERR_WRITE, wanted="COMMIT".__eq__)
    plan.armed = False
    bus = inject(Bus(journal=tmp_path / "a.db"), plan)

    @bus.on("orders")
    async def task(order: int) -> None: ...

    @bus.on("orders", batch=10)
    async def tasks(orders: list[int]) -> None: ...

    @bus.on("orders")
    def thread(order: int) -> None: ...

    @bus.on("orders", batch=10)
    def threads(orders: list[int]) -> None: ...

    async with bus:
        await bus.topic("orders").publish(1)
        await bus.join()
        async with bus.queue("jobs").consume() as consumer:
            plan.armed = True
            with pytest.raises(JournalError):
                await bus.topic("orders").publish(2)
            with pytest.raises(JournalError):
                async for _ in consumer:
                    raise AssertionError
        with pytest.raises(JournalError):
            async for _ in bus.topic("orders").replay():
                raise AssertionError


def test_a_replay_that_waits_ends_with_the_journal(tmp_path: Path) -> None:
    bus, plan = broken(tmp_path / "a.db")
    with bus:
        bus.topic("orders").publish(1)
        plan.armed = True
        replay = bus.replay("orders", follow=True)
        assert next(replay).body == 1
        with pytest.raises(JournalError):
            bus.topic("orders").publish(2)
        with pytest.raises(JournalError):
            next(replay)


def test_a_full_disk_that_has_room_again_takes_all_that_lasts(tmp_path: Path) -> None:
    """The real thing: SQLite may have no more pages."""
    path = tmp_path / "a.db"
    retry = Policy(retry=Retry(1))
    with blocking.Bus(journal=path) as bus:
        queue = bus.queue("jobs", retry)
        queue.put_many(range(200))
        connection = writer_of(bus).run.connection
        bus.flush()
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages + 1}")
        with pytest.raises(JournalError, match="is full"):
            queue.put("x" * 100_000)
        with pytest.raises(JournalError, match="is full"):
            queue.put_many(["x" * 100_000] * 3)
        queue.put_nowait("x" * 100_000)
        with pytest.raises(JournalError, match="is full"):
            bus.flush()
        for _ in range(50):
            queue.get(timeout=30).nack(error="e" * 1000)  # 50 letters
        late = bus.topic("orders").subscription("late", Policy(Priority()))
        with pytest.raises(JournalError, match="is full"):
            bus.flush()
        check(bus)
        connection.execute("PRAGMA max_page_count = 1000000")
        bus.topic("orders").publish("after")
        bus.flush()
        check(bus)
        assert bus.stats().queues["dead-letters"].ready == 50
        assert late.get(timeout=30).body == "after"
    with blocking.Bus(journal=path) as bus:
        assert [body for _, body in drain(bus.queue("jobs"))] == list(range(50, 200))
        assert [body for _, body in drain(bus.dead_letters)] == list(range(50))
        assert [body for _, body in drain(bus.queue("orders/late"))] == ["after"]
        check(bus)


def test_the_bus_closes_while_the_disk_is_full(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    plan = Plan(1, FULL, times=1 << 30, wanted=is_write)
    plan.armed = False
    with inject(blocking.Bus(journal=path), plan) as bus:
        queue = bus.queue("jobs")
        queue.put_many([1, 2, 3])
        plan.armed = True
        queue.get(timeout=30).ack()
        queue.get(timeout=30).reject("no")
        bus.topic("orders").subscription("late")
    with blocking.Bus(journal=path) as bus:
        assert [body for _, body in drain(bus.queue("jobs"))] == [1, 2, 3]  # what was not settled durably


def test_what_failed_while_nobody_came_is_written_when_there_is_room(tmp_path: Path) -> None:
    plan = Plan(1, FULL, times=1, wanted="COMMIT".__eq__)
    plan.armed = False
    with inject(blocking.Bus(journal=tmp_path / "a.db"), plan) as bus:
        queue = bus.queue("jobs")
        queue.put_many([1, 2])
        queue.get(timeout=30).ack()
        plan.armed = True
        queue.get(timeout=30).ack()
        done = threading.Event()
        while not done.wait(0.01) and bus.query("SELECT mark FROM eventbus_queues WHERE name = 'jobs'") != [(2,)]:
            check(bus)
        assert plan.failed == 1


def test_a_message_that_is_moved_while_the_disk_is_full_stays(tmp_path: Path) -> None:
    plan = Plan(1, FULL, wanted="COMMIT".__eq__)
    plan.armed = False
    with inject(blocking.Bus(journal=tmp_path / "a.db"), plan) as bus:
        queue = bus.queue("jobs", Policy(Keyed()))
        memory = bus.queue("memory", Policy(durable=False))
        queue.put_many([1, 2], key="k")
        memory.put_many([3, 4])
        others = bus.queue("others")
        be_quiet(bus)  # else that it was declared may be in the commit that fails, by itself
        for name in ("jobs", "memory"):
            plan.seen = 0
            plan.armed = True
            with pytest.raises(JournalError, match="is full"):
                bus.queue(name).redrive(to=others)
            plan.armed = False
            check(bus)
        assert queue.redrive(to=bus.queue("others")) == 2
        assert memory.redrive(to=bus.queue("others")) == 2
        check(bus)
        assert [body for _, body in drain(bus.queue("others"))] == [1, 2, 3, 4]
        assert queue.stats().ready == memory.stats().ready == 0
        check(bus)


def test_an_error_in_eventbus_itself_ends_the_bus_and_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with blocking.Bus(journal=tmp_path / "a.db") as bus:
        queue = bus.queue("jobs")
        queue.put(1)

        def fail(*facts: object) -> None:
            raise RuntimeError("a slip of ours")

        writer_of(bus).outbox.deliver = fail
        with pytest.raises(JournalError, match="ended by an error"):
            queue.put(2)
        with pytest.raises(JournalError, match="ended by an error"):
            queue.get()
    assert "a slip of ours" in caplog.text


def test_what_fails_when_the_journal_is_opened_is_said_and_leaves_the_lock(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.db"
    count = Plan(1 << 30, FULL)
    with inject(blocking.Bus(journal=path), count):
        pass
    for code in (FULL, IOERR_WRITE, sqlite3.SQLITE_CORRUPT):
        for at in range(1, count.seen + 1):
            try:
                with inject(blocking.Bus(journal=path), Plan(at, code)):
                    pass
            except JournalError:
                pass
    with blocking.Bus(journal=path) as bus:
        bus.queue("jobs").put(1)
