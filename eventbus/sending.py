"""From what a publisher says to what the engine takes: options checked, and all user code run before the lock."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from eventbus._core.parcels import Batch, Parcel, Target
from eventbus._core.queue import QueueState
from eventbus._core.requests import Request
from eventbus._core.topic import Route, TopicState
from eventbus._runtime.timers import Timers
from eventbus.causality import cause_in, heir
from eventbus.isolating import Isolating
from eventbus.message import NO_HEADERS, Headers, Key, Record, freeze
from eventbus.policy import check_seconds

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


def check_id(id: object) -> str | None:
    """An id is a str, not empty."""
    if id is not None and not isinstance(id, str):
        raise TypeError(f"id takes a str or None, but got {id!r}")
    if id == "":
        raise ValueError("id takes a str that is not empty, or None, but got ''")
    return id


def check_bodies(bodies: object) -> list[Any]:
    """Many bodies are a sequence, so that their number is known; a str is surely a mistake."""
    if type(bodies) is not list and (
        isinstance(bodies, str | bytes | bytearray | memoryview) or not isinstance(bodies, Sequence)
    ):
        raise TypeError(f"bodies takes a sequence such as a list, but got {type(bodies).__name__}")
    return list(bodies)  # the caller may change its own while this waits


class Options:
    """What a publisher said about a message, checked."""

    __slots__ = ("due", "due_time", "headers", "inside", "key", "priority", "rare", "time")

    def __init__(
        self,
        timers: Timers,
        key: object,
        headers: object,
        priority: object,
        id: object,
        delay: object = None,
        ttl: object = None,
        request: Request | None = None,
    ) -> None:
        self.time = timers.time()
        self.due = 0.0
        self.due_time: float | None = None
        """When it is to be ready, since the epoch."""
        expires = None
        if ttl is not None:
            expires = self.time + check_seconds("ttl", ttl, positive=True)
        if delay is not None and (wait := check_seconds("delay", delay)):
            timers.look()
            self.due = timers.engine.now + wait
            self.due_time = self.time + wait
            expires = None if expires is None else expires + wait
        self.key = key
        self.headers = check_headers(headers)
        self.priority = check_priority(priority)
        cause = cause_in(timers.engine)
        self.inside = cause is not None
        self.rare = heir(cause, check_id(id), expires, request)
        if id is not None:
            timers.look()

    @property
    def common(self) -> bool:
        """Whether such messages may enter as a slice: nothing has to be looked up or watched for each of them."""
        return not self.due and (self.rare is None or (self.rare.id is None and self.rare.expires is None))

    def key_of(self, body: Any) -> Key:
        return check_key(self.key(body) if callable(self.key) else self.key)


def target(queue: QueueState, key: Key, prepared: Any, isolating: Isolating, type: Any) -> Target:
    """A queue as the target of a message; runs the partitioner and makes the copy."""
    wanted = type if queue.type is None else queue.type
    place = None if queue.place is None else queue.place(key)
    return Target(queue, place, isolating.copy(prepared, queue.name, wanted))


def parcel_for_queue(
    queue: QueueState, body: Any, prepared: Any, options: Options, key: Key, isolating: Isolating
) -> Parcel:
    """One message for one queue. What is observed is a copy of its own."""
    headers, priority, time, rare = options.headers, options.priority, options.time, options.rare
    headers = isolating.headers(headers, queue.name)
    targets = [target(queue, key, prepared, isolating, None)]
    seen = isolating.copy(prepared, queue.name, queue.type) if queue.engine.watched else body
    return Parcel(queue.name, seen, key, headers, priority, time, rare, targets, due=options.due, inside=options.inside)


def parcel_for_topic(
    topic: TopicState,
    routes: tuple[Route, ...],
    body: Any,
    prepared: Any,
    options: Options,
    key: Key,
    isolating: Isolating,
    watched: bool,
) -> Parcel:
    """One message for all queues whose filters match; runs them. What is retained or observed is a copy of its own."""
    headers, priority, time, rare = options.headers, options.priority, options.time, options.rare
    headers = isolating.headers(headers, topic.name)
    record: Record = (None, time, body, key, headers, priority, topic.name, rare, None)
    targets = [target(route.queue, key, prepared, isolating, topic.type) for route in routes if route.wants(record)]
    seen = isolating.copy(prepared, topic.name, topic.type) if topic.retained is not None or watched else body
    return Parcel(
        topic.name, seen, key, headers, priority, time, rare, targets, topic, routes, options.due, options.inside
    )


def batch_for(
    name: str,
    queues: Sequence[QueueState],
    bodies: Sequence[Any],
    options: Options,
    topic: TopicState | None = None,
) -> Batch:
    """Many messages for the same queues."""
    keys = None if options.key is None else [options.key_of(body) for body in bodies]
    headers, priority, time, rare = options.headers, options.priority, options.time, options.rare
    return Batch(name, queues, bodies, keys, headers, priority, time, rare, topic, options.inside)
