"""Messages on their way, before they have offsets, with all that user code had to say about them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from eventbus._core.lots import Chunk, Facts
from eventbus.message import Headers, Key, Rare, Record
from eventbus.policy import Overflow

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

    __slots__ = (
        "body",
        "due",
        "headers",
        "inside",
        "key",
        "name",
        "offset",
        "priority",
        "rare",
        "routes",
        "targets",
        "time",
        "topic",
    )

    offset: int
    """Set by `Entry.commit`."""

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
        due: float = 0.0,
        inside: bool = False,
    ) -> None:
        self.name = name
        self.due = due
        """When it is to be ready, by the monotonic clock; 0 for at once."""
        self.inside = inside
        """Whether it comes from a handler, which may still publish while the bus drains."""
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

    def is_stale(self) -> bool:
        """Whether the topic's messages go elsewhere by now."""
        return self.topic is not None and self.topic.routes is not self.routes


class Batch:
    """Many messages on their way to the same queues, all of which want all of them as they are."""

    __slots__ = ("bodies", "facts", "inside", "keys", "queues", "routes", "topic")

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
        inside: bool = False,
    ) -> None:
        self.inside = inside
        self.queues = queues
        self.bodies = bodies
        self.keys = keys
        self.facts: Facts = (time, headers, priority, name, rare)
        self.topic = topic
        self.routes: tuple[Route, ...] | None = None

    @property
    def waits(self) -> bool:
        """Whether every one of its queues makes a publisher wait when it is full."""
        return all(queue.policy.overflow is Overflow.WAIT for queue in self.queues)

    def chunk(self, start: int, stop: int, offset: int) -> Chunk:
        """The messages from `start` to `stop`, with offsets from `offset` on."""
        if stop - start == len(self.bodies):
            return Chunk(offset, self.bodies, self.keys, self.facts)
        return Chunk(offset, self.bodies[start:stop], self.keys and self.keys[start:stop], self.facts)


def needs_of(parcels: Sequence[Parcel]) -> dict[QueueState, int]:
    """How many of these messages go to each queue."""
    needs: dict[QueueState, int] = {}
    for parcel in parcels:
        for target in parcel.targets:
            needs[target.queue] = needs.get(target.queue, 0) + 1
    return needs
