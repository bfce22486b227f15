"""What durable subscriptions have, against the plainest model: a list for each, whatever happens to it between.

Each walk has topics that are kept and one that is not, and subscriptions, each with an order and a filter. They are
published to, put to directly, sought, bound and unbound; orders and filters may be others when the bus is opened again.
The order in which messages come is looked at in `test_windows`; here it is which ones.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import attrs
import pytest

from eventbus import EARLIEST, LATEST, Fifo, Keyed, Policy, Priority, blocking
from eventbus._core import depot
from eventbus._journal.log import Log
from eventbus._journal.verification import verify
from eventbus.inspection.forms import body_of
from tests.kit.clock import ManualClock
from tests.kit.journals import be_quiet, check, drain, writer_of

ORDERS = [Fifo(), Fifo(), Priority(), Keyed(), Keyed(partitions=3)]
TOPICS = ["a", "b", "c.x", "c.memory"]
PATTERNS = ["a", "b", "c.*", "#"]


def is_odd(message: Any) -> bool:
    """A filter that the file cannot have."""
    return bool(message.body % 2)


FILTERS: dict[Any, Any] = {
    None: lambda body: True,
    "body > 20": lambda body: body > 20,
    "body < 400": lambda body: body < 400,
    is_odd: lambda body: body % 2 == 1,
}


def matches(pattern: str, topic: str) -> bool:
    return pattern in ("#", topic) or (pattern == "c.*" and topic.startswith("c."))


@attrs.define(eq=False)
class Sent:
    """One message."""

    offset: int
    body: int
    topic: str | None
    due: float = 0.0


@attrs.define(eq=False)
class Subscriber:
    """One subscription, as the model knows it."""

    name: str
    order: Any
    bound: dict[str, Any]
    queue: Any = None
    has: list[Sent] = attrs.field(factory=list)
    out: dict[int, Any] = attrs.field(factory=dict)
    passed_by: list[Sent] = attrs.field(factory=list)
    """What a filter has taken out. It comes all the same if it was not read until the next filter wants it."""

    def wants(self, sent: Sent) -> bool:
        assert sent.topic is not None
        return any(matches(pattern, sent.topic) and FILTERS[where](sent.body) for pattern, where in self.bound.items())

    def filter_again(self) -> None:
        """What the filter of now does not want is taken out, but for what came from where it is bound no longer."""
        left = [sent for sent in self.has if not self.is_bound(sent) or self.wants(sent)]
        self.passed_by += [sent for sent in self.has if sent not in left]
        self.has = left

    def begin(self, kept: list[Sent]) -> None:
        """It is sought. What a function has let through then, no file knows."""
        self.has = [sent for sent in kept if self.wants(sent)]
        self.passed_by = [sent for sent in kept if is_odd in self.bound.values() and self.is_bound(sent)]
        self.passed_by = [sent for sent in self.passed_by if sent not in self.has]

    def is_bound(self, sent: Sent) -> bool:
        return sent.topic is not None and any(matches(pattern, sent.topic) for pattern in self.bound)

    def may_have(self) -> list[Sent]:
        return [sent for sent in self.passed_by if not self.is_bound(sent) or self.wants(sent)]


class Walk:
    """A random walk over a bus and its model."""

    def __init__(self, path: Path, seed: int) -> None:
        self.path = path
        self.random = random.Random(seed)
        self.clock = ManualClock()
        self.kept: list[Sent] = []
        self.body = 0
        self.subscribers: list[Subscriber] = []
        self.open()
        for number in range(3):
            self.subscribe(f"s{number}")

    def open(self) -> None:
        """Most are declared before, some after, some by nobody until they are used."""
        self.bus = blocking.Bus(journal=self.path, clock=self.clock)
        self.bus.topic("c.memory", durable=False)
        early = [subscriber for subscriber in self.subscribers if self.random.random() < 0.7]
        for subscriber in early:
            self.change(subscriber)
            self.declare(subscriber)
        self.bus.__enter__()
        for subscriber in self.subscribers:
            if subscriber not in early:
                self.declare(subscriber)

    def declare(self, subscriber: Subscriber, start: Any = LATEST) -> None:
        (where,) = set(subscriber.bound.values())
        patterns = list(subscriber.bound)
        policy = Policy(subscriber.order, capacity=None)
        subscriber.queue = self.bus.subscription(subscriber.name, patterns, policy, where=where, start=start)

    def change(self, subscriber: Subscriber) -> None:
        """What may be another when it is opened again."""
        if self.random.random() < 0.4:
            subscriber.order = self.random.choice(ORDERS)
        if self.random.random() < 0.3:
            where = self.random.choice([*FILTERS])
            subscriber.bound = dict.fromkeys(subscriber.bound, where)
            subscriber.filter_again()

    def subscribe(self, name: str) -> None:
        patterns = self.random.sample(PATTERNS, self.random.randrange(1, 3))
        subscriber = Subscriber(
            name, self.random.choice(ORDERS), dict.fromkeys(patterns, self.random.choice([*FILTERS]))
        )
        start = self.random.choice([EARLIEST, LATEST])
        self.subscribers.append(subscriber)
        self.declare(subscriber, start)
        if start is EARLIEST:
            subscriber.begin(self.kept)

    def any(self) -> Subscriber:
        return self.random.choice(self.subscribers)

    # steps

    def publish(self) -> None:
        name = self.random.choice(TOPICS)
        count, delay = self.random.choice([(1, None), (1, None), (1, 5.0), (self.random.randrange(2, 30), None)])
        bodies = range(self.body, self.body + count)
        self.body += count
        facts: Any = {"key": self.random.choice(["k", "l", None]), "priority": self.random.randrange(2)}
        topic = self.bus.topic(name)
        offsets = topic.publish_many(bodies, **facts) if count > 1 else [topic.publish(*bodies, delay=delay, **facts)]
        for offset, body in zip(offsets, bodies, strict=True):
            sent = Sent(offset, body, name, self.clock.time() + (delay or 0.0))
            if name != "c.memory":
                self.kept.append(attrs.evolve(sent, due=0.0))
            for subscriber in self.subscribers:
                if subscriber.wants(sent):
                    subscriber.has.append(sent)

    def put(self) -> None:
        subscriber, delay = self.any(), self.random.choice([None, None, 5.0])
        offset = subscriber.queue.put(self.body, key=self.random.choice(["k", None]), delay=delay)
        subscriber.has.append(Sent(offset, self.body, None, self.clock.time() + (delay or 0.0)))
        self.body += 1

    def get(self) -> None:
        subscriber = self.any()
        try:
            delivery = subscriber.queue.get(timeout=0.05 if self.is_held(subscriber) else 30)
        except TimeoutError:
            return
        found = [sent for sent in subscriber.may_have() if sent.offset == delivery.offset]
        subscriber.passed_by = [sent for sent in subscriber.passed_by if sent not in found]
        subscriber.has += found
        found = [sent for sent in subscriber.has if sent.offset == delivery.offset]
        assert [sent.body for sent in found] == [delivery.body], subscriber
        assert found[0].due <= self.clock.time()
        assert delivery.offset not in subscriber.out
        subscriber.out[delivery.offset] = delivery

    def is_held(self, subscriber: Subscriber) -> bool:
        """Whether there may be nothing to get."""
        now = self.clock.time()
        ready = [sent for sent in subscriber.has if sent.due <= now and sent.offset not in subscriber.out]
        return not ready or isinstance(subscriber.order, Keyed)

    def settle(self) -> None:
        subscriber = self.any()
        for offset in self.random.sample([*subscriber.out], self.random.randrange(len(subscriber.out) + 1)):
            delivery = subscriber.out.pop(offset)
            if self.random.random() < 0.8:
                delivery.ack()
                subscriber.has = [sent for sent in subscriber.has if sent.offset != offset]
            else:
                delivery.release()

    def seek(self) -> None:
        subscriber = self.any()
        start = self.random.choice([EARLIEST, LATEST, self.random.randrange(1, self.body + 2)])
        subscriber.queue.seek(start)
        first = {EARLIEST: 0, LATEST: 1 << 62}.get(start, start) if not isinstance(start, int) else start
        subscriber.out.clear()
        subscriber.begin([sent for sent in self.kept if sent.offset >= first])

    def bind(self) -> None:
        subscriber = self.any()
        (where,) = set(subscriber.bound.values())
        pattern = self.random.choice([pattern for pattern in PATTERNS if pattern not in subscriber.bound])
        old = [sent for sent in subscriber.has if sent.topic is not None and matches(pattern, sent.topic)]
        # what it has from a topic that was unbound would be filtered, if not read yet and the filter was another before
        if len(subscriber.bound) < 3 and all(FILTERS[where](sent.body) for sent in old):
            subscriber.queue.bind(pattern, where=where)
            subscriber.bound[pattern] = where

    def unbind(self) -> None:
        subscriber = self.any()
        if len(subscriber.bound) > 1:
            pattern = self.random.choice([*subscriber.bound])
            subscriber.queue.unbind(pattern)
            del subscriber.bound[pattern]

    def purge(self) -> None:
        subscriber = self.any()
        subscriber.queue.purge()
        subscriber.passed_by.clear()
        subscriber.has = [sent for sent in subscriber.has if sent.offset in subscriber.out]

    def unsubscribe(self) -> None:
        subscriber = self.any()
        self.subscribers.remove(subscriber)
        subscriber.queue.unsubscribe()
        self.subscribe(subscriber.name)
        self.bus.flush()  # its past is there

    def advance(self) -> None:
        be_quiet(self.bus)
        self.clock.advance(3.0)

    def reopen(self) -> None:
        self.bus.close()
        for subscriber in self.subscribers:
            subscriber.out.clear()
            self.look_into_the_file(subscriber)
        assert list(verify(str(self.path), True, lambda *_: None)) == []
        self.open()

    def look_into_the_file(self, subscriber: Subscriber) -> None:
        """The journal's command line says the same, but for filters of functions, which it cannot know."""
        with Log(str(self.path), [subscriber.name], body_of) as log:
            found = {stored.record[0] for stored in log.read(0, log.last_offset())}
        assert found.issuperset(sent.offset for sent in subscriber.has)

    def step(self) -> None:
        steps = {
            self.publish: 14,
            self.put: 5,
            self.get: 20,
            self.settle: 10,
            self.seek: 2,
            self.bind: 1,
            self.unbind: 1,
            self.purge: 0.2,
            self.unsubscribe: 0.2,
            self.advance: 3,
            self.reopen: 2,
        }
        (step,) = self.random.choices([*steps], [*steps.values()])
        step()
        check(self.bus)
        for subscriber in self.subscribers:
            stats = subscriber.queue.stats()
            assert stats.out == len(subscriber.out)
            assert stats.ready + stats.delayed + stats.out >= len(subscriber.has), subscriber  # more, before it is read

    def end(self) -> None:
        """Each has what the model has, to the last."""
        self.reopen()
        be_quiet(self.bus)
        self.clock.advance(100.0)
        for subscriber in self.subscribers:
            found = sorted(drain(subscriber.queue))
            more = {(sent.offset, sent.body) for sent in subscriber.may_have()}.intersection(found)
            assert found == sorted([*more, *((sent.offset, sent.body) for sent in subscriber.has)]), subscriber
        check(self.bus)
        self.bus.flush()
        be_quiet(self.bus)
        for name in ("settled", "unsettled", "states"):
            assert self.bus.query(f"SELECT * FROM eventbus_{name}") == []
        self.bus.close()


@pytest.mark.parametrize("window", [8, 64])
def test_each_has_what_the_model_has(
    tmp_path: Path, window: int, thorough: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(depot, "WINDOW", window)
    for seed in range(300 if thorough else 3):
        walk = Walk(tmp_path / f"{seed}.db", seed * 1000 + window)
        try:
            for _ in range(150):
                walk.step()
            walk.end()
        except BaseException as error:
            error.add_note(f"seed {seed}")
            walk.bus.close()
            raise
        assert writer_of(walk.bus).outbox.broken is None
