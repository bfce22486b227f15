"""Topics, patterns, filters, retention, seek and replay against the plainest model: lists.

The model keeps every message that was ever published, and for every queue a list of what is ready. After each step
the engine checks itself, every queue shows what its list says, and nothing has been lost or doubled.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import attrs
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from eventbus import EARLIEST, LATEST, Bus, DeclarationError, Delivery, Isolation, Overflow, Policy, Priority, Retention
from eventbus import Subscription as RealSubscription
from tests.kit import ManualClock, Steps

TOPICS = ["a", "b", "a.a", "a.b", "b.a.b"]
PATTERNS = ["a", "a.a", "*", "a.*", "#", "a.#", "#.b", "*.*", "b.a.b", "none"]
FILTERS: dict[str | None, Any] = {
    None: lambda m: True,
    "body >= 5": lambda m: m.body is not None and m.body >= 5,
    "body < 3 or key == 'k'": lambda m: (m.body is not None and m.body < 3) or m.key == "k",
    "priority == 1": lambda m: m.priority == 1,
    "body.missing == 1": lambda m: False,
}

RETENTIONS = st.sampled_from(
    [
        Retention(1),
        Retention(3),
        Retention(20),
        Retention(),
        Retention(age=2),
        Retention(3, age=4),
        Retention(compact=True),
        Retention(2, compact=True),
        Retention(age=3, compact=True),
    ]
)


def matches(pattern: str, topic: str) -> bool:
    """Patterns as a regular expression: another way than the trie."""
    words = ["#" if word == "#" else r"[^.]+" if word == "*" else re.escape(word) for word in pattern.split(".")]
    expression = "".join(rf"(?:\.{word})" if word != "#" else r"(?:\.[^.]+)*" for word in words)
    return re.fullmatch(expression, "." + topic) is not None


@attrs.frozen
class Sent:
    """One message, as the model knows it."""

    offset: int
    topic: str
    body: int | None
    key: str | None
    priority: int
    time: float


@attrs.define(eq=False)
class Subscriber:
    """One queue, as the model knows it."""

    real: RealSubscription[Any]
    policy: Policy
    bound: dict[str, str | None]
    ready: list[Sent] = attrs.field(factory=list)
    out: list[tuple[Sent, Delivery[Any]]] = attrs.field(factory=list)
    entered: int = 0
    acked: int = 0
    dead: int = 0
    purged: int = 0
    dropped: int = 0

    def wants(self, sent: Sent) -> bool:
        return any(matches(pattern, sent.topic) and FILTERS[where](sent) for pattern, where in self.bound.items())

    def hears(self, topic: str) -> bool:
        return any(matches(pattern, topic) for pattern in self.bound)

    def in_order(self) -> list[Sent]:
        by_priority = isinstance(self.policy.order, Priority)
        return sorted(self.ready, key=lambda sent: (-sent.priority if by_priority else 0, sent.offset))

    def receive(self, sent: Sent) -> None:
        self.entered += 1
        self.ready.append(sent)
        if self.policy.capacity is not None and len(self.ready) > self.policy.capacity:
            self.ready.remove(min(self.ready, key=lambda s: (s.priority, s.offset) if by_priority(self) else s.offset))
            self.dropped += 1

    def load(self, history: list[Sent]) -> None:
        """History always fits."""
        self.ready += history
        self.entered += len(history)


def by_priority(subscriber: Subscriber) -> bool:
    return isinstance(subscriber.policy.order, Priority)


class TopicsMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.steps = Steps()
        self.clock = ManualClock(0.0)
        self.bus = Bus(clock=self.clock)
        self.sent: list[Sent] = []
        self.retentions: dict[str, Retention] = {}
        self.kept: dict[str, list[Sent]] = {}
        self.declared: set[str] = set()
        self.subscribers: dict[str, Subscriber] = {}
        self.bodies = 0
        self.letters = 0

    @initialize(retentions=st.dictionaries(st.sampled_from(TOPICS), RETENTIONS, min_size=2))
    def some_topics_retain(self, retentions: dict[str, Retention]) -> None:
        for name, retention in retentions.items():
            self.retain(name, retention)

    def teardown(self) -> None:
        self.steps.close()

    # topics

    def retained(self, patterns: Any = ("#",)) -> list[Sent]:
        """What is kept of the topics that match."""
        kept = [sent for name, sents in self.kept.items() for sent in sents if any(matches(p, name) for p in patterns)]
        return sorted(kept, key=lambda sent: sent.offset)

    @rule(name=st.sampled_from(TOPICS), retention=RETENTIONS)
    def retain(self, name: str, retention: Retention) -> None:
        if self.retentions.get(name, retention) != retention:
            with pytest.raises(DeclarationError):
                self.bus.topic(name, retain=retention)
            return
        self.bus.topic(name, retain=retention)
        self.declared.add(name)
        self.retentions[name] = retention
        self.kept.setdefault(name, [])

    def keep(self, sent: Sent) -> None:
        """The topic keeps one more, and lets go of what it no longer keeps."""
        retention, kept = self.retentions[sent.topic], self.kept[sent.topic]
        if retention.compact and sent.key is not None:
            kept = [other for other in kept if other.key != sent.key]
        kept = [*kept, sent]
        self.kept[sent.topic] = kept if retention.count is None else kept[-retention.count :]

    @rule(
        name=st.sampled_from(TOPICS),
        many=st.integers(0, 4),
        key=st.sampled_from([None, "k"]),
        priority=st.integers(0, 1),
        way=st.sampled_from(["publish", "publish_nowait", "publish_many", "transaction"]),
        tombstone=st.sampled_from([False, False, False, True]),
    )
    def publish(self, name: str, many: int, key: str | None, priority: int, way: str, tombstone: bool) -> None:
        topic = self.bus.topic(name)
        self.declared.add(name)
        count = many if way in ("publish_many", "transaction") else 1
        bodies: list[Any] = [None if tombstone else (self.bodies + index) % 9 for index in range(count)]
        self.bodies += len(bodies)
        if way == "publish":
            offsets = [self.steps.call(topic.publish(bodies[0], key=key, priority=priority))]
        elif way == "publish_nowait":
            offsets = [topic.publish_nowait(bodies[0], key=key, priority=priority)]
        elif way == "publish_many":
            offsets = self.steps.call(topic.publish_many(bodies, key=key, priority=priority))
        else:
            before = self.bus.stats().offset
            self.steps.call(self.transact(name, bodies, key, priority))
            offsets = list(range(before + 1, before + 1 + count))
        for offset, body in zip(offsets, bodies, strict=True):
            sent = Sent(offset, name, body, key, priority, self.clock.time())
            assert not self.sent or offset > self.sent[-1].offset
            self.sent.append(sent)
            if name in self.retentions:
                self.keep(sent)
            for subscriber in self.subscribers.values():
                if subscriber.wants(sent):
                    subscriber.receive(sent)

    async def transact(self, name: str, bodies: list[Any], key: str | None, priority: int) -> None:
        async with self.bus.transaction() as tx:
            for body in bodies:
                tx.publish(name, body, key=key, priority=priority)

    @rule(seconds=st.integers(1, 3))
    def time_passes(self, seconds: int) -> None:
        self.clock.advance(seconds)
        for name, kept in self.kept.items():
            age = self.retentions[name].age
            self.kept[name] = [sent for sent in kept if age is None or sent.time + age > self.clock.time()]

    # subscriptions

    @precondition(lambda self: len(self.subscribers) < 4)
    @rule(
        name=st.sampled_from(["s1", "s2", "s3", "s4"]),
        patterns=st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=2, unique=True),
        where=st.sampled_from(list(FILTERS)),
        data=st.data(),
        policy=st.sampled_from(
            [
                Policy(capacity=None),
                Policy(Priority()),
                Policy(capacity=3, overflow=Overflow.DROP_OLDEST),
                Policy(Priority(), 3, Overflow.DROP_OLDEST),
            ]
        ),
    )
    def subscribe(self, name: str, patterns: list[str], where: str | None, data: st.DataObject, policy: Policy) -> None:
        if name in self.subscribers:
            return
        start, after = self.draw_start(data, patterns)
        real = self.bus.subscription(name, patterns, policy, where=where, start=start)
        subscriber = self.subscribers[name] = Subscriber(real, policy, dict.fromkeys(patterns, where))
        subscriber.load([sent for sent in self.retained(patterns) if sent.offset > after and subscriber.wants(sent)])

    def draw_start(self, data: st.DataObject, patterns: Any) -> tuple[Any, int]:
        """A start, and the offset after which it reads."""
        last = self.bus.stats().offset
        kind = data.draw(st.sampled_from(["earliest", "latest", "offset", "time"]))
        if kind == "earliest":
            return EARLIEST, 0
        if kind == "latest":
            return LATEST, last
        if kind == "offset":
            offset = data.draw(st.integers(-1, last + 2))
            return offset, offset - 1
        seconds = data.draw(st.integers(0, int(self.clock.time()) + 1))
        since = [sent.offset for sent in self.retained(patterns) if sent.time >= seconds]
        return datetime.fromtimestamp(seconds, UTC), min(since) - 1 if since else last

    def drawn(self, data: st.DataObject) -> Subscriber:
        return self.subscribers[data.draw(st.sampled_from(sorted(self.subscribers)))]

    @precondition(lambda self: self.subscribers)
    @rule(data=st.data(), where=st.sampled_from(list(FILTERS)))
    def declare_again(self, data: st.DataObject, where: str | None) -> None:
        """Another filter applies to what is ready, too; a filter left out changes nothing."""
        subscriber = self.drawn(data)
        if not subscriber.bound:
            return
        differs = where is not None and any(old != where for old in subscriber.bound.values())
        assert self.bus.subscription(subscriber.real.name, list(subscriber.bound), where=where) is subscriber.real
        if differs:
            subscriber.bound = dict.fromkeys(subscriber.bound, where)
            unwanted = [sent for sent in subscriber.ready if not FILTERS[where](sent)]
            subscriber.ready = [sent for sent in subscriber.ready if sent not in unwanted]
            subscriber.purged += len(unwanted)

    @precondition(lambda self: self.subscribers)
    @rule(data=st.data(), pattern=st.sampled_from(PATTERNS), where=st.sampled_from(list(FILTERS)))
    def bind(self, data: st.DataObject, pattern: str, where: str | None) -> None:
        subscriber = self.drawn(data)
        subscriber.real.bind(pattern, where=where)
        subscriber.bound[pattern] = where

    @precondition(lambda self: self.subscribers)
    @rule(data=st.data(), pattern=st.sampled_from(PATTERNS))
    def unbind(self, data: st.DataObject, pattern: str) -> None:
        subscriber = self.drawn(data)
        if pattern in subscriber.bound:
            subscriber.real.unbind(pattern)
            del subscriber.bound[pattern]
        else:
            with pytest.raises(DeclarationError):
                subscriber.real.unbind(pattern)

    @precondition(lambda self: self.subscribers)
    @rule(data=st.data())
    def unsubscribe(self, data: st.DataObject) -> None:
        subscriber = self.drawn(data)
        self.steps.call(subscriber.real.unsubscribe())
        del self.subscribers[subscriber.real.name]

    @precondition(lambda self: self.subscribers)
    @rule(data=st.data())
    def seek(self, data: st.DataObject) -> None:
        subscriber = self.drawn(data)
        start, after = self.draw_start(data, subscriber.bound)
        self.steps.call(subscriber.real.seek(start))
        subscriber.purged += len(subscriber.ready) + len(subscriber.out)
        subscriber.ready, subscriber.out = [], []
        history = [sent for sent in self.retained(subscriber.bound) if sent.offset > after and subscriber.wants(sent)]
        subscriber.load(history)

    # consuming

    @precondition(lambda self: any(s.ready for s in self.subscribers.values()))
    @rule(data=st.data(), limit=st.integers(1, 3))
    def get(self, data: st.DataObject, limit: int) -> None:
        subscriber = self.drawn(data)
        if not subscriber.ready:
            return
        expected = subscriber.in_order()[:limit]
        batch = self.steps.call(subscriber.real.get_many(limit))
        for sent, delivery in zip(expected, batch, strict=True):
            assert (delivery.offset, delivery.body, delivery.topic) == (sent.offset, sent.body, sent.topic)
            message = delivery.message
            assert (message.key, message.priority, message.time) == (sent.key, sent.priority, sent.time)
            subscriber.ready.remove(sent)
            subscriber.out.append((sent, delivery))

    @precondition(lambda self: any(s.out for s in self.subscribers.values()))
    @rule(data=st.data(), call=st.sampled_from(["ack", "nack", "release", "reject"]))
    def settle(self, data: st.DataObject, call: str) -> None:
        subscriber = self.drawn(data)
        if not subscriber.out:
            return
        sent, delivery = subscriber.out.pop(data.draw(st.integers(0, len(subscriber.out) - 1)))
        delivery.nack(delay=0) if call == "nack" else getattr(delivery, call)()
        if call in ("nack", "release"):
            subscriber.ready.append(sent)
        elif call == "ack":
            subscriber.acked += 1
        else:
            subscriber.dead += 1
            self.letters += 1

    # replaying

    @rule(
        data=st.data(),
        patterns=st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=2),
        where=st.sampled_from(list(FILTERS)),
        key=st.sampled_from([None, None, "k"]),
    )
    def replay(self, data: st.DataObject, patterns: list[str], where: str | None, key: str | None) -> None:
        start, after = self.draw_start(data, patterns)
        bounded = data.draw(st.booleans())
        stop, last = self.draw_start(data, patterns) if bounded else (None, self.bus.stats().offset)

        async def read() -> list[tuple[int, int]]:
            return [(m.offset, m.body) async for m in self.bus.replay(patterns, start, stop, where=where, key=key)]

        kept = [sent for sent in self.retained(patterns) if after < sent.offset <= last]
        chosen = [sent for sent in kept if FILTERS[where](sent) and (key is None or sent.key == key)]
        assert self.steps.call(read()) == [(sent.offset, sent.body) for sent in chosen]

    # after each step

    @invariant()
    def agrees(self) -> None:
        self.bus._engine.check()
        stats = self.bus.stats()
        assert set(stats.queues) - {"dead-letters"} == set(self.subscribers)
        for name, subscriber in self.subscribers.items():
            shown = [(m.offset, m.body) for m in subscriber.real.peek(10_000)]
            assert shown == [(sent.offset, sent.body) for sent in subscriber.in_order()]
            queue = stats.queues[name]
            assert (queue.published, queue.ready, queue.out) == (
                subscriber.entered, len(subscriber.ready), len(subscriber.out),
            )  # fmt: skip
            assert (queue.acked, queue.dead, queue.dropped, queue.purged) == (
                subscriber.acked, subscriber.dead, subscriber.dropped, subscriber.purged,
            )  # fmt: skip
            assert queue.published == (
                queue.acked + queue.dead + queue.dropped + queue.purged + queue.ready + queue.delayed + queue.out
            )

    @invariant()
    def topics_count(self) -> None:
        stats = self.bus.stats()
        assert set(stats.topics) == self.declared
        for name, topic in stats.topics.items():
            assert topic.published == sum(sent.topic == name for sent in self.sent)
            assert topic.retained == len(self.kept.get(name, ()))
        letters = stats.queues.get("dead-letters")
        assert (0 if letters is None else letters.ready) == self.letters


TestTopics = TopicsMachine.TestCase


class CopyingTopicsMachine(TopicsMachine):
    """The long way in: a bus that copies sends every message by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.bus = Bus(clock=self.clock, isolation=Isolation.COPY)


TestCopyingTopics = CopyingTopicsMachine.TestCase
