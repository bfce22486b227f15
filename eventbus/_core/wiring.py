"""Which topics there are, and which queues want their messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from eventbus._core.dedup import Seen
from eventbus._core.matching import Trie, matches
from eventbus._core.topic import Binding, Predicate, Route, TopicState
from eventbus.errors import DeclarationError
from eventbus.policy import Retention

if TYPE_CHECKING:
    from eventbus._core.engine import Engine
    from eventbus._core.queue import QueueState


class Wiring:
    """The topics and bindings of one bus. Whatever changes a topic's bindings makes it find its routes anew."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.topics: dict[str, TopicState] = {}
        self.bindings: Trie[Binding] = Trie()
        self.bound: dict[QueueState, list[Binding]] = {}

    def declare(
        self, name: str, retention: Retention | None, dedup: float | None = None, durable: bool | None = None
    ) -> TopicState:
        """The topic of this name, made if it is not there."""
        with self.engine.lock:
            self.engine.require_open()
            topic = self.topics.get(name)
            written = None if topic is None or topic.dormant else (topic.retention, topic.seen)
            if topic is None:
                topic = self.topics[name] = TopicState(name)
                topic.durable = self.engine.outbox is not None and durable is not False
            elif durable is not None and durable is not topic.durable:
                raise DeclarationError(
                    f"topic {name!r} is declared with durable={topic.durable}, which differs from {durable}; "
                    f"{self.engine.advice('durable')}",
                    name=name,
                    declared=topic.durable,
                    requested=durable,
                )
            if retention is not None:
                self._retain(topic, retention)
            if dedup is not None:
                if topic.seen is None:
                    topic.seen = Seen(dedup, self.engine.schedule)
                elif topic.seen.window != dedup:
                    raise DeclarationError(
                        f"topic {name!r} is declared with dedup={topic.seen.window:g}, which differs from {dedup:g}; "
                        f"{self.engine.advice('dedup')}",
                        name=name,
                        declared=topic.seen.window,
                        requested=dedup,
                    )
            topic.dormant = False
            if written != (topic.retention, topic.seen) and self.engine.outbox is not None:
                self.engine.outbox.declared_topic(topic)
            return topic

    def _retain(self, topic: TopicState, retention: Retention) -> None:
        if topic.durable:  # the journal lets go of what it keeps too much
            topic.retention = retention
        elif topic.retained is None:
            topic.retain(retention, self.engine.calendar, self.engine.errands)
        elif topic.retained.retention != retention:
            raise DeclarationError(
                f"topic {topic.name!r} is declared with {topic.retained.retention}, which differs from {retention}; "
                f"{self.engine.advice('retain')}",
                name=topic.name,
                declared=topic.retained.retention,
                requested=retention,
            )

    def bind(self, queue: QueueState, patterns: Sequence[str], predicate: Predicate) -> None:
        """Bind a queue to patterns; one that is bound already gets the new filter."""
        with self.engine.lock:
            queue.require_open()
            self._unbind([b for b in self.bound.get(queue, ()) if b.pattern in patterns])
            for pattern in patterns:
                binding = Binding(queue, pattern, predicate)
                self.bindings.add(pattern, binding)
                self.bound.setdefault(queue, []).append(binding)
            self._forget_routes(patterns)
            self.engine.declared(queue)

    def unbind(self, queue: QueueState, patterns: Sequence[str]) -> None:
        """Take bindings away; all of them must be there."""
        with self.engine.lock:
            queue.require_open()
            bound = {b.pattern: b for b in self.bound.get(queue, ())}
            if missing := [pattern for pattern in patterns if pattern not in bound]:
                raise DeclarationError(
                    f"queue {queue.name!r} is not bound to {missing[0]!r}; it is bound to {sorted(bound)}",
                    name=queue.name,
                    declared=sorted(bound),
                    requested=list(patterns),
                )
            self._unbind([bound[pattern] for pattern in patterns])
            self.engine.declared(queue)

    def unbind_all(self, queue: QueueState) -> None:
        """A queue is gone."""
        self._unbind(list(self.bound.get(queue, ())))
        self.bound.pop(queue, None)

    def _unbind(self, bindings: Sequence[Binding]) -> None:
        for binding in bindings:
            self.bindings.remove(binding.pattern, binding)
            self.bound[binding.queue].remove(binding)
            # a publisher may wait for room that it needs no more
            binding.queue.putters.rouse_all(self.engine.errands)
        self._forget_routes([binding.pattern for binding in bindings])

    def bindings_of(self, queue: QueueState) -> list[Binding]:
        """What a queue is bound to."""
        with self.engine.lock:
            return list(self.bound.get(queue, ()))

    def routes(self, topic: TopicState) -> tuple[Route, ...]:
        """The queues that a topic's messages may go to."""
        with self.engine.lock:
            self.engine.require_open()
            return self.known_routes(topic)

    def known_routes(self, topic: TopicState) -> tuple[Route, ...]:
        """The same, also at the end. Under the lock."""
        return topic.route(self.bindings.match(topic.name)) if topic.routes is None else topic.routes

    def topics_matching(self, patterns: Sequence[str]) -> list[TopicState]:
        """The topics that there are now."""
        with self.engine.lock:
            self.engine.require_open()
            return [t for t in self.topics.values() if any(matches(pattern, t.name) for pattern in patterns)]

    def _forget_routes(self, patterns: Sequence[str]) -> None:
        for topic in self.topics.values():
            if any(matches(pattern, topic.name) for pattern in patterns):
                topic.forget_routes()

    def check(self) -> None:
        """Assert that every topic's routes are its bindings."""
        for topic in self.topics.values():
            assert topic.routes is None or {r.queue for r in topic.routes} == {
                b.queue for b in self.bindings.match(topic.name)
            }, f"{topic.name}: its routes are not its bindings"
            if topic.retained is not None:
                topic.retained.check()
