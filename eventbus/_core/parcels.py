"""Messages on their way, before they have offsets, with all that user code had to say about them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from eventbus._core.lots import Chunk, Facts
from eventbus.message import Headers, Key, Rare, Record
from eventbus.policy import Overflow

if TYPE_CHECKING:
    from eventbus._core.dedup import Seen
    from eventbus._core.lanes import Place
    from eventbus._core.posting import Posting
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
        "data",
        "due",
        "due_time",
        "head",
        "headers",
        "inside",
        "key",
        "letter",
        "name",
        "offset",
        "posting",
        "priority",
        "rare",
        "routes",
        "targets",
        "time",
        "topic",
    )

    offset: int
    """Set when it is admitted."""

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
        self.data: bytes | None = None
        """Its body for the journal; without it, it is in memory only."""
        self.head: str | None = None
        """Its headers for the journal, as JSON."""
        self.due_time: float | None = None
        """When it is to be ready, since the epoch."""
        self.letter = False
        """Whether it is a dead letter."""
        self.posting: Posting | None = None
        """What it is written with, once it was admitted."""

    @property
    def id(self) -> str | None:
        """What it is known by again, if anything. A dead letter that is put back enters all the same."""
        return None if self.rare is None or self.rare.deaths else self.rare.id

    @property
    def durable(self) -> bool:
        """Whether it is to be written before it reaches any queue."""
        if self.topic is not None and self.topic.durable:
            return True
        return any(target.queue.depot is not None for target in self.targets)

    def record(self, offset: int, body: Any) -> Record:
        return (offset, self.time, body, self.key, self.headers, self.priority, self.name, self.rare, None)

    def queues(self) -> list[QueueState]:
        return [target.queue for target in self.targets]

    def is_stale(self) -> bool:
        """Whether the topic's messages go elsewhere by now."""
        return self.topic is not None and self.topic.routes is not self.routes


class Batch:
    """Many messages on their way to the same queues, all of which want all of them as they are."""

    __slots__ = ("bodies", "data", "facts", "head", "inside", "keys", "posting", "queues", "routes", "topic")

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
        self.data: Sequence[bytes] = ()
        """Their bodies for the journal, if they are durable."""
        self.head: str | None = None
        self.posting: Posting | None = None
        """What the last of them were written with."""

    @property
    def durable(self) -> bool:
        """Whether they are to be written before they reach any queue."""
        return bool(self.data)

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


def memories(parcel: Parcel) -> list[Seen]:
    """Who is to remember the id of a message."""
    memories = [target.queue.seen for target in parcel.targets]
    if parcel.topic is not None:
        memories.append(parcel.topic.seen)
    return [seen for seen in memories if seen is not None]
