"""Messages on their way, before they have offsets, with all that user code had to say about them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from eventbus.message import Headers, Key, Rare, Record

if TYPE_CHECKING:
    from eventbus._core.lanes import Place
    from eventbus._core.queue import QueueState
    from eventbus._core.topic import Route, TopicState


class Target:
    """One queue that a message goes to: the lane that it has there, and the body for this queue."""

    __slots__ = ("body", "place", "queue")

    def __init__(self, queue: QueueState, place: Place, body: Any) -> None:
        self.queue = queue
        self.place = place
        self.body = body


class Parcel:
    """One message. With a topic, `routes` are those that its targets were chosen from."""

    __slots__ = ("body", "headers", "key", "name", "priority", "rare", "routes", "targets", "time", "topic")

    def __init__(
        self,
        name: str,
        body: Any,
        key: Key,
        headers: Headers,
        priority: int,
        time: float,
        rare: Rare | None,
        targets: Sequence[Target],
        topic: TopicState | None = None,
        routes: tuple[Route, ...] | None = None,
    ) -> None:
        self.name = name
        self.body = body
        self.key = key
        self.headers = headers
        self.priority = priority
        self.time = time
        self.rare = rare
        self.targets = targets
        self.topic = topic
        self.routes = routes

    def record(self, offset: int, body: Any) -> Record:
        return (offset, self.time, body, self.key, self.headers, self.priority, self.name, self.rare, None)

    def queues(self) -> list[QueueState]:
        return [target.queue for target in self.targets]


class Batch:
    """Many messages on their way to the same queues, all of which want all of them as they are."""

    __slots__ = ("bodies", "headers", "keys", "name", "priority", "queues", "rare", "routes", "time", "topic")

    def __init__(
        self,
        name: str,
        queues: Sequence[QueueState],
        bodies: Sequence[Any],
        keys: Sequence[Key] | None,
        headers: Headers,
        priority: int,
        time: float,
        rare: Rare | None,
        topic: TopicState | None = None,
    ) -> None:
        self.name = name
        self.queues = queues
        self.bodies = bodies
        self.keys = keys
        self.headers = headers
        self.priority = priority
        self.time = time
        self.rare = rare
        self.topic = topic
        self.routes: tuple[Route, ...] | None = None

    def records(self, start: int, stop: int, offset: int) -> list[Record]:
        """The messages from `start` to `stop`, with offsets from `offset` on."""
        time, headers, priority, name, rare = self.time, self.headers, self.priority, self.name, self.rare
        bodies = self.bodies[start:stop]
        if self.keys is None:
            return [
                (offset, time, body, None, headers, priority, name, rare, None)
                for offset, body in enumerate(bodies, offset)
            ]
        return [
            (offset, time, body, key, headers, priority, name, rare, None)
            for offset, (body, key) in enumerate(zip(bodies, self.keys[start:stop], strict=True), offset)
        ]
