"""A topic: where its messages go, found once and kept until a binding changes, and what it retains."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from eventbus._core.dedup import Seen
from eventbus._core.errands import Errands
from eventbus._core.retention import Retained
from eventbus._core.schedule import Schedule
from eventbus.message import Record
from eventbus.policy import Retention

if TYPE_CHECKING:
    from eventbus._core.queue import QueueState


class Predicate(Protocol):
    """A filter as the engine needs it. ``source`` is what it was made from; no ``test`` lets everything through."""

    @property
    def source(self) -> object: ...
    @property
    def test(self) -> Callable[[Record], bool] | None: ...


class Binding:
    """A queue that wants the messages of the topics that a pattern matches, if its filter does too."""

    __slots__ = ("pattern", "predicate", "queue")

    def __init__(self, queue: QueueState, pattern: str, predicate: Predicate) -> None:
        self.queue = queue
        self.pattern = pattern
        self.predicate = predicate


class Route:
    """One queue that a topic's messages may go to: if any of `tests` says so, or always when there are none."""

    __slots__ = ("queue", "tests")

    def __init__(self, queue: QueueState, tests: tuple[Callable[[Record], bool], ...]) -> None:
        self.queue = queue
        self.tests = tests

    def wants(self, record: Record) -> bool:
        return not self.tests or any(test(record) for test in self.tests)


class TopicState:
    """One topic. `routes` is replaced, never changed, so that a publisher can see whether its own are still true."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.retained: Retained | None = None
        self.routes: tuple[Route, ...] | None = None
        self.plain: tuple[QueueState, ...] | None = None
        """The queues of `routes`, if every one of them takes every message as it is."""
        self.quick: tuple[QueueState, ...] | None = None
        """The same, if no journal is in the way."""
        self.posted: tuple[QueueState, ...] | None = None
        """The same, if one is."""
        self.seen: Seen | None = None
        """The ids of its last messages, if it is declared with `dedup`."""
        self.durable = False
        """Whether the journal keeps its messages."""
        self.retention: Retention | None = None
        """How many of them."""
        self.dormant = False
        """Whether the journal alone knows it: no module of this process has declared it yet."""
        self.last = 0
        """Of a durable topic, the offset of its last message."""
        self.published = 0
        self.unroutable = 0
        self.handles: dict[object, Any] = {}
        """The faces' own objects for this topic, and the type of its bodies; opaque here."""
        self.type: Any = None

    def route(self, bindings: list[Binding]) -> tuple[Route, ...]:
        """Find out anew where messages go."""
        self.routes = routes = routes_of(bindings)
        simple = all(not route.tests and route.queue.lanes is None for route in routes)
        self.plain = tuple(route.queue for route in routes) if simple else None
        durable = self.durable or any(route.queue.depot is not None for route in routes)
        self.quick, self.posted = (None, self.plain) if durable else (self.plain, None)
        return routes

    def forget_routes(self) -> None:
        self.routes = self.plain = self.quick = self.posted = None

    def last_kept(self) -> int:
        """The offset of the last message that it keeps, or 0."""
        if self.durable:
            return self.last
        return 0 if self.retained is None else self.retained.last_offset()

    @property
    def keeps(self) -> bool:
        """Whether it keeps messages for replay at all."""
        return self.durable or self.retained is not None

    def retain(self, retention: Retention, calendar: Schedule, errands: Errands) -> None:
        self.retained = Retained(retention, calendar, errands)


def routes_of(bindings: list[Binding]) -> tuple[Route, ...]:
    """One route for each queue: it wants what any of its bindings wants."""
    tests: dict[QueueState, list[Callable[[Record], bool] | None]] = {}
    for binding in bindings:
        tests.setdefault(binding.queue, []).append(binding.predicate.test)
    return tuple(
        Route(queue, () if None in wanted else tuple(test for test in wanted if test is not None))
        for queue, wanted in tests.items()
    )
