"""What people change about a bus that has a journal, as it is to be written down."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import attrs

if TYPE_CHECKING:
    from eventbus._core.depot import Depot
    from eventbus._core.engine import Engine
    from eventbus._core.queue import QueueState
    from eventbus._core.topic import Predicate, TopicState
    from eventbus.policy import Policy, Retention

Bound: TypeAlias = "tuple[str, Predicate]"
"""A pattern that a queue is bound to, and the filter."""


@attrs.frozen
class QueueDeclared:
    """All that is to be known of a queue, in place of what was known."""

    depot: Depot
    name: str
    policy: Policy
    subscription: bool
    bindings: tuple[tuple[str, object], ...]
    """Patterns, and what their filters were made from."""
    refilter: int


@attrs.frozen
class TopicDeclared:
    """The same of a topic that keeps its messages."""

    name: str
    retention: Retention | None
    dedup: float | None


@attrs.frozen
class QueueRemoved:
    """A queue is no more, and its messages are nobody's."""

    id: int


@attrs.frozen
class Sought:
    """A queue is to have what its topics keep, as its bindings want it."""

    depot: Depot
    start: int | float
    """The offset after which that begins, or the time of day at which."""
    number: int
    """Of the load that ends with it."""
    upto: int
    """The last offset of the past; what comes after it is sent to the queue as ever."""
    past: tuple[Bound, ...]
    """What the queue is bound to."""
    again: bool
    """Whether the queue had begun before, and goes on as it was if this fails."""


def queue_declared(engine: Engine, queue: QueueState) -> QueueDeclared:
    """What is to be known of a queue now. Under the lock."""
    depot = queue.depot
    assert depot is not None
    bindings = tuple((b.pattern, b.predicate.source) for b in engine.wiring.bound.get(queue, ()))
    return QueueDeclared(depot, queue.name, queue.policy, bool(queue.subscription), bindings, depot.refilter)


def topic_declared(topic: TopicState) -> TopicDeclared:
    """The same of a topic."""
    return TopicDeclared(topic.name, topic.retention, None if topic.seen is None else topic.seen.window)
