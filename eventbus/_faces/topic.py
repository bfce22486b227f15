"""What both faces of a topic have in common: all that does not wait."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from eventbus._core.engine import Engine
from eventbus._core.parcels import Batch, Parcel
from eventbus._core.topic import TopicState
from eventbus._runtime.parking import Ports
from eventbus._runtime.threads import Threads
from eventbus.causality import cause_in, heir
from eventbus.errors import UnroutableError
from eventbus.filters.predicate import Where
from eventbus.history import Start
from eventbus.message import Headers, Key, Rare
from eventbus.policy import LATEST, Policy
from eventbus.publishing import Steps, entering, entering_prepared, send_nowait
from eventbus.sending import Options, batch_for, parcel_for_topic

if TYPE_CHECKING:
    from eventbus._faces.bus import BusFace
    from eventbus.handlers import Handler, Job
    from eventbus.journaling import Journaling

__all__ = ["TopicFace"]

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


class TopicFace(Generic[T]):
    """A topic as one kind of code holds it."""

    def __init__(self, bus: BusFace, state: TopicState) -> None:
        self._bus = bus
        self._state = state
        self._engine: Engine = bus._engine
        self._ports: Ports = bus._ports
        self._threads: Threads = bus._threads
        self._errands = bus._engine.errands
        self._now = bus._now
        self._timers = bus._timers
        self._isolating = bus._isolating
        self._by_reference = bus._isolating.by_reference
        self._journaling: Journaling = bus._host.journaling
        self._broadcast = bus._engine.entry.broadcast
        """The short way into all its queues."""
        self._traced: bool = bus._host.traced
        """Whether there are or were handlers, so that what is published may have a cause."""

    @property
    def name(self) -> str:
        """Its name."""
        return self._state.name

    def publish_nowait(
        self,
        body: T,
        mandatory: bool = False,
        key: Key = None,
        headers: Headers | None = None,
        priority: int = 0,
        id: str | None = None,
        delay: float | None = None,
        ttl: float | None = None,
    ) -> int:
        """Publish a message without waiting, and return its offset; `FullError` if a queue has no room."""
        options = Options(self._timers, key, headers, priority, id, delay, ttl)
        return send_nowait(self._engine, self._parcel_maker(body, options, mandatory))

    def _entering(self, bodies: Sequence[T], options: Options, mandatory: bool) -> Steps:
        """The steps by which many messages enter."""
        self._engine.require_open()
        if mandatory:
            for body in bodies:
                self._parcel_maker(body, options, mandatory)()

        def maker_of(index: int) -> Callable[[], Parcel]:
            return self._parcel_maker(bodies[index], options)

        if not self._by_reference:
            return entering_prepared(self._engine, len(bodies), maker_of)
        batch = batch_for(self.name, [], bodies, options, self._state)
        in_slices = options.common

        def batch_of() -> Batch | None:
            """The batch, with the routes of now, if they take every message as it is."""
            batch.routes = self._engine.wiring.routes(self._state)
            batch.queues = queues = self._state.plain or ()
            if not in_slices or self._state.plain is None:
                return None
            if not batch.data and (self._state.durable or any(queue.depot is not None for queue in queues)):
                self._journaling.stamp_all(batch, self._state.type)
            return batch

        return entering(self._engine, len(bodies), batch_of, maker_of)

    def _parcel_maker(self, body: T, options: Options, mandatory: bool = False) -> Callable[[], Parcel]:
        key = options.key_of(body)
        prepared = self._isolating.prepare(body, self.name, self._state.type)

        def make() -> Parcel:
            routes = self._engine.wiring.routes(self._state)
            parcel = parcel_for_topic(
                self._state, routes, body, prepared, options, key, self._isolating, self._engine.watched
            )
            if mandatory and not parcel.targets:
                raise UnroutableError(self.name)
            if parcel.durable:
                self._journaling.stamp(parcel, body, self._state.type, options)
            return parcel

        return make

    # handling

    def on(
        self,
        name: str | None = None,
        policy: Policy | None = None,
        *,
        where: Where = None,
        start: Start = LATEST,
        concurrency: int = 1,
        inline: bool = False,
        batch: int | None = None,
        within: float | None = None,
    ) -> Callable[[F], F]:
        """Decorate a function that is to handle this topic's messages, by a subscription; see `Queue.handle`.

        The subscription is shared under ``topic/name``; without a name, under the function's module and qualified name.
        """
        from eventbus.handlers import job_of, refuse_bare

        refuse_bare(name, "@topic.on()")

        def register(function: F) -> F:
            self._attend(name, policy, where, start, job_of(function, concurrency, inline, batch, within))
            return function

        return register

    def _attend(self, name: str | None, policy: Policy | None, where: Where, start: Start, job: Job) -> Handler:
        from eventbus.handlers import default_name

        called = f"{self.name}/{default_name(job.function) if name is None else name}"
        subscription = self._bus._subscribe(called, [self.name], policy, where, start, self._state.type)
        if name is None:
            self._bus._host.crew.require_own(subscription._state, job.function)
        handler: Handler = subscription._attend(job)
        return handler

    def _heir(self) -> Rare | None:
        """What a message has from its cause."""
        return heir(cause_in(self._engine))

    def __repr__(self) -> str:
        return f"<Topic {self.name!r}>"
