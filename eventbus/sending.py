"""From what a publisher says to what the engine takes: options checked, and all user code run before the lock."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from eventbus._core.parcels import Batch, Parcel, Target
from eventbus._core.queue import QueueState
from eventbus._core.topic import Route, TopicState
from eventbus.message import NO_HEADERS, Headers, Key, Rare, Record, freeze
from eventbus.policy import Isolation

__all__ = ["KeyOf", "Options", "parcel_for_queue", "parcel_for_topic"]

KeyOf: TypeAlias = Key | Callable[[Any], Key]
"""A key, or for many messages a function of the body."""


def check_key(key: object) -> Key:
    """A key is str, bytes or None."""
    if key is None or isinstance(key, str | bytes):
        return key
    raise TypeError(f"key takes str, bytes or None, but got {key!r}; convert it, for instance with str()")


def check_headers(headers: object) -> Headers:
    """Headers are a mapping with str keys."""
    if headers is None:
        return NO_HEADERS
    if not isinstance(headers, Mapping):
        raise TypeError(f"headers takes a mapping of str to values, or None, but got {headers!r}")
    for name in headers:
        if not isinstance(name, str):
            raise TypeError(f"headers takes a mapping of str to values, but got the name {name!r}")
    return freeze(headers)


def check_priority(priority: object) -> int:
    """A priority is any integer."""
    if isinstance(priority, bool) or not isinstance(priority, int):
        raise TypeError(f"priority takes an integer, but got {priority!r}")
    return priority


def check_id(id: object) -> Rare | None:
    """An id is a str, not empty."""
    if id is None:
        return None
    if not isinstance(id, str):
        raise TypeError(f"id takes a str or None, but got {id!r}")
    if not id:
        raise ValueError("id takes a str that is not empty, or None, but got ''")
    return Rare(id=id)


def check_bodies(bodies: object) -> list[Any]:
    """Many bodies are a sequence, so that their number is known; a str is surely a mistake."""
    if not isinstance(bodies, list | tuple) and (
        isinstance(bodies, str | bytes | bytearray | memoryview) or not isinstance(bodies, Sequence)
    ):
        raise TypeError(f"bodies takes a sequence such as a list, but got {type(bodies).__name__}")
    return list(bodies)  # the caller may change its own while this waits


class Options:
    """What a publisher said about a message, checked."""

    __slots__ = ("headers", "key", "priority", "rare", "time")

    def __init__(self, key: object, headers: object, priority: object, id: object, time: float) -> None:
        self.key = key
        self.headers = check_headers(headers)
        self.priority = check_priority(priority)
        self.rare = check_id(id)
        self.time = time

    def key_of(self, body: Any) -> Key:
        return check_key(self.key(body) if callable(self.key) else self.key)


def isolated(isolation: Isolation, body: Any) -> Any:
    """The body for one queue."""
    return body if isolation is Isolation.NONE else copy.deepcopy(body)


def target(queue: QueueState, key: Key, body: Any, isolation: Isolation) -> Target:
    """A queue as the target of a message; runs the partitioner and makes the copy."""
    return Target(queue, None if queue.place is None else queue.place(key), isolated(isolation, body))


def parcel_for_queue(queue: QueueState, body: Any, options: Options, key: Key, isolation: Isolation) -> Parcel:
    """One message for one queue."""
    targets = [target(queue, key, body, isolation)]
    seen = isolated(isolation, body) if queue.engine.watched else body
    return Parcel(queue.name, seen, key, options.headers, options.priority, options.time, options.rare, targets)


def parcel_for_topic(
    topic: TopicState,
    routes: tuple[Route, ...],
    body: Any,
    options: Options,
    key: Key,
    isolation: Isolation,
    watched: bool,
) -> Parcel:
    """One message for all queues whose filters match; runs them. What is retained or observed is a copy of its own."""
    headers, priority, time, rare = options.headers, options.priority, options.time, options.rare
    record: Record = (None, time, body, key, headers, priority, topic.name, rare, None)
    targets = [target(route.queue, key, body, isolation) for route in routes if route.wants(record)]
    kept = isolated(isolation, body) if topic.retained is not None or watched else body
    return Parcel(topic.name, kept, key, headers, priority, time, rare, targets, topic, routes)


def batch_for(
    name: str,
    queues: Sequence[QueueState],
    bodies: Sequence[Any],
    options: Options,
    topic: TopicState | None = None,
) -> Batch:
    """Many messages for the same queues."""
    keys = None if options.key is None else [options.key_of(body) for body in bodies]
    return Batch(name, queues, bodies, keys, options.headers, options.priority, options.time, options.rare, topic)
