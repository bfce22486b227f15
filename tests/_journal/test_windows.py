"""Memory holds a window of a durable queue: its order is that of the plainest model, across paging and restarts."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from eventbus import Backoff, EmptyError, Fifo, Keyed, Policy, Priority, Retry, blocking
from eventbus._core import depot
from tests.kit.clock import ManualClock
from tests.kit.journals import be_quiet, check

WINDOWS = {"fifo": 8, "priority": 8, "keyed": 8 * 256, "partitions": 256}
ORDERS = {"fifo": Fifo(), "priority": Priority(), "keyed": Keyed(), "partitions": Keyed(partitions=3)}


class Message:
    """One message, as the model knows it."""

    def __init__(self, offset: int, body: int, key: str | None, priority: int, due: float) -> None:
        self.offset = offset
        self.body = body
        self.key = key
        self.priority = priority
        self.due = due
        self.failures = 0
        self.retry = False


class Model:
    """A queue as a list."""

    def __init__(self, order: Any, clock: ManualClock) -> None:
        self.order = order
        self.clock = clock
        self.unsettled: dict[int, Message] = {}
        self.out: dict[int, Any] = {}

    def lane(self, message: Message) -> Any:
        if not isinstance(self.order, Keyed) or message.key is None:
            return "its own", message.offset
        place = depot.crc32(message.key.encode())
        return message.key if self.order.partitions is None else place % self.order.partitions

    def next(self) -> set[int]:
        """The offsets of which one comes next."""
        now = self.clock.time()
        waiting = [m for m in self.unsettled.values() if m.offset not in self.out]
        ready = sorted((m for m in waiting if m.due <= now), key=lambda m: m.offset)
        if not isinstance(self.order, Keyed):
            by_priority = isinstance(self.order, Priority)
            first = min(ready, key=lambda m: (-m.priority if by_priority else 0, m.offset), default=None)
            return set() if first is None else {first.offset}
        held = {self.lane(self.unsettled[offset]) for offset in self.out}
        held |= {self.lane(m) for m in waiting if m.retry and m.due > now}  # a lane waits for its retry
        heads: dict[Any, int] = {}
        for message in ready:
            if self.lane(message) not in held:
                heads.setdefault(self.lane(message), message.offset)
        return set(heads.values())


class Walk:
    """A random walk over a queue and its model."""

    def __init__(self, path: Path, name: str, seed: int) -> None:
        self.path = path
        self.random = random.Random(f"{name} {seed}")
        self.clock = ManualClock()
        self.policy = Policy(ORDERS[name], retry=Retry(3, Backoff(20.0, jitter=0.0)), capacity=None)
        self.model = Model(ORDERS[name], self.clock)
        self.dead: list[int] = []
        self.count = 0
        self.open()

    def open(self) -> None:
        self.bus = blocking.Bus(journal=self.path, clock=self.clock)
        if self.random.random() < 0.5:
            self.queue = self.bus.queue("jobs", self.policy)
            self.bus.__enter__()
        else:  # nobody has said anything about it until then
            self.bus.__enter__()
            self.queue = self.bus.queue("jobs", self.policy)

    def reopen(self) -> None:
        self.bus.close()
        self.model.out.clear()
        self.open()

    def put(self) -> None:
        key = self.random.choice(["a", "b", "c", None])
        priority = self.random.randrange(3)
        if self.random.random() < 0.3:
            bodies = [self.count + n for n in range(self.random.randrange(1, 40))]
            offsets = self.queue.put_many(bodies, key=key, priority=priority)
            delay = 0.0
        else:
            bodies = [self.count]
            delay = self.random.choice([0, 0, 0, 5, 15])
            offsets = [self.queue.put(self.count, key=key, priority=priority, delay=delay or None)]
        self.count += len(bodies)
        for offset, body in zip(offsets, bodies, strict=True):
            self.model.unsettled[offset] = Message(offset, body, key, priority, self.clock.time() + delay)

    def get(self) -> None:
        wanted = self.model.next()
        if not wanted:
            with pytest.raises(EmptyError):
                self.queue.get_nowait()
            return
        delivery = self.queue.get(timeout=30)
        assert delivery.offset in wanted
        message = self.model.unsettled[delivery.offset]
        assert (delivery.body, delivery.key, delivery.failures) == (message.body, message.key, message.failures)
        self.model.out[delivery.offset] = delivery

    def get_many(self) -> None:
        """All at once, by the same order."""
        if not isinstance(self.model.order, Fifo) or not self.model.next():
            return
        batch = self.queue.get_many(self.random.randrange(1, 12), timeout=30)
        for delivery in batch:
            assert {delivery.offset} == self.model.next()
            self.model.out[delivery.offset] = delivery
        if self.random.random() < 0.7:
            batch.ack()
            for delivery in batch:
                del self.model.out[delivery.offset], self.model.unsettled[delivery.offset]

    def settle(self) -> None:
        if not self.model.out:
            return
        offset = self.random.choice(list(self.model.out))
        delivery = self.model.out.pop(offset)
        message = self.model.unsettled[offset]
        choice = self.random.random()
        if choice < 0.6:
            delivery.ack()
            del self.model.unsettled[offset]
        elif choice < 0.7:
            delivery.release()
        elif choice < 0.75:
            delivery.reject()
            self.dead.append(self.model.unsettled.pop(offset).body)
        else:
            delay = self.random.choice([0, 10, None])
            delivery.nack(delay=delay)
            message.failures += 1
            if message.failures == 3:
                self.dead.append(self.model.unsettled.pop(offset).body)
            else:
                message.due = self.clock.time() + (delay if delay is not None else 20.0 * 2 ** (message.failures - 1))
                message.retry = True

    def advance(self) -> None:
        be_quiet(self.bus)
        self.clock.advance(self.random.choice([1, 7, 30]))

    def cancel(self) -> None:
        waiting = [offset for offset in self.model.unsettled if offset not in self.model.out]
        if waiting:
            offset = self.random.choice(waiting)
            if self.queue.cancel(offset):  # what is on the disk only is not found
                del self.model.unsettled[offset]

    def purge(self) -> None:
        self.queue.purge()
        self.model.unsettled = {o: m for o, m in self.model.unsettled.items() if o in self.model.out}

    def step(self) -> None:
        steps = [self.put, self.get, self.get_many, self.settle, self.advance, self.cancel, self.purge, self.reopen]
        (step,) = self.random.choices(steps, [8, 20, 3, 16, 3, 1, 0.1, 1])
        step()
        check(self.bus)
        stats = self.queue.stats()
        assert stats.ready + stats.delayed + stats.out == len(self.model.unsettled)
        assert stats.out == len(self.model.out)

    def end(self) -> None:
        """All of it, to the last, after one more restart."""
        self.reopen()
        while self.model.unsettled:
            if not self.model.next():
                be_quiet(self.bus)
                self.clock.advance(100)
            self.get()
            (offset,) = self.model.out
            self.model.out.pop(offset).ack()
            del self.model.unsettled[offset]
        check(self.bus)
        letters = [self.bus.dead_letters.get(timeout=30) for _ in self.dead]
        assert sorted(letter.body for letter in letters) == sorted(self.dead)
        assert all(letter.message.deaths[-1].queue == "jobs" for letter in letters)
        self.bus.close()


@pytest.mark.parametrize("name", ORDERS)
def test_its_order_is_that_of_the_model(
    tmp_path: Path, name: str, thorough: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(depot, "WINDOW", WINDOWS[name])
    for seed in range(300 if thorough else 3):
        walk = Walk(tmp_path / f"{seed}.db", name, seed)
        try:
            for _ in range(250):
                walk.step()
            walk.end()
        except BaseException as error:
            error.add_note(f"seed {seed}")
            walk.bus.close()
            raise


@pytest.mark.parametrize("name", ORDERS)
def test_thousands_keep_their_order(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(depot, "WINDOW", 256)
    policy = Policy(ORDERS[name], capacity=None)
    total = 3000
    with blocking.Bus(journal=tmp_path / "a.db") as bus:
        queue = bus.queue("jobs", policy)
        for start in range(0, total, 250):
            for key in "abcde":
                bodies = [[key, n] for n in range(start, start + 50)]
                queue.put_many(bodies, key=key, priority=ord(key))
        assert queue.stats().ready == total
        assert queue.stats().lag > total / 4
        check(bus)
        found = []
        for _ in range(3):
            with queue.get(timeout=30) as delivery:
                found.append(delivery.body)
        assert queue.stats().peak == total
    with blocking.Bus(journal=tmp_path / "a.db") as bus:
        queue = bus.queue("jobs", policy)
        while len(found) < total:
            with queue.get(timeout=30) as delivery:
                found.append(delivery.body)
            if len(found) % 100 == 0:
                check(bus)
        assert queue.stats().peak == total - 3, "also what is on disk only waits"
        check(bus)
    for key in "abcde":
        assert [n for k, n in found if k == key] == [n for s in range(0, total, 250) for n in range(s, s + 50)]
    if name == "priority":
        assert [k for k, _ in found] == sorted((k for k, _ in found), reverse=True)


@pytest.mark.parametrize("order", [Fifo(), Priority(), Keyed(partitions=1)], ids=str)
def test_what_is_due_behind_the_window_waits_on_the_disk(
    tmp_path: Path, order: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(depot, "WINDOW", 256)
    clock = ManualClock()
    with blocking.Bus(journal=tmp_path / "a.db", clock=clock) as bus:
        queue = bus.queue("jobs", Policy(order))
        queue.put_many(range(600), key="k")
        queue.put_many(range(600, 1200), key="k")
        queue.put("late", key="k", delay=5)
        queue.put("last", key="k")
        be_quiet(bus)
        lag = queue.stats().lag
        assert lag > 500
        check(bus)
        clock.advance(5)
        check(bus)
        assert queue.stats().lag == lag + 1
        found = []
        while len(found) < 1202:
            with queue.get(timeout=30) as delivery:
                found.append(delivery.body)
        assert found == [*range(1200), "late", "last"]
        check(bus)
