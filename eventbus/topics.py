"""Topics as async code holds them: publishing, subscribing, and reading what they retain."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import anyio.lowlevel

from eventbus._core.backlog import offset_of
from eventbus._core.engine import Engine
from eventbus._core.errands import run_errands
from eventbus._core.parcels import Batch, Parcel
from eventbus._core.topic import TopicState
from eventbus._runtime.parking import Ports
from eventbus.errors import ClosedError, UnroutableError
from eventbus.history import PAGE, Since, Start, own, position_of
from eventbus.message import NO_HEADERS, Headers, Key, Message, Record, message_of
from eventbus.policy import EARLIEST, LATEST, Isolation, Policy
from eventbus.publishing import STRIDE, send, send_all, send_nowait, weight
from eventbus.sending import KeyOf, Options, batch_for, check_bodies, parcel_for_topic

if TYPE_CHECKING:
    from eventbus.bus import Bus
    from eventbus.channels import Subscription
    from eventbus.filters.predicate import Where

__all__ = ["Topic"]

T = TypeVar("T")

logger = logging.getLogger("eventbus")


class Topic(Generic[T]):
    """A topic: a message goes to every queue that is bound to it and whose filter matches.

    A publish is all or nothing: it waits until every such queue that waits when full has room, then reaches all.
    A handle; the bus keeps the topic. It passes a checkpoint once in 256 immediate successes.
    """

    def __init__(self, bus: Bus, state: TopicState, type: Any = None) -> None:
        self._bus = bus
        self._state = state
        self._type = type
        self._engine: Engine = bus._engine
        self._ports: Ports = bus._ports
        self._errands = bus._engine.errands
        self._now = bus._now
        self._by_reference = bus._isolation is Isolation.NONE
        self._broadcast = bus._engine.entry.broadcast
        self._pace = 0

    @property
    def name(self) -> str:
        """Its name."""
        return self._state.name

    async def publish(
        self,
        body: T,
        mandatory: bool = False,
        key: Key = None,
        headers: Headers | None = None,
        priority: int = 0,
        id: str | None = None,
    ) -> int:
        """Publish a message, and return its offset. ``mandatory``: `UnroutableError` when no queue wants it."""
        self._pace = pace = self._pace + 1
        if pace > STRIDE:
            self._pace = 0
            await anyio.lowlevel.checkpoint()
        offset = 0
        if (
            key is None
            and headers is None
            and id is None
            and priority.__class__ is int
            and self._by_reference
            and not mandatory
        ):
            offset = self._broadcast(self._state, body, NO_HEADERS, priority, self._now())
        if not offset:
            options = Options(key, headers, priority, id, self._now())
            offset = await send(self._ports, self._parcel_maker(body, options, mandatory))
        if self._errands:
            run_errands(self._errands)
        return offset

    def publish_nowait(
        self,
        body: T,
        mandatory: bool = False,
        key: Key = None,
        headers: Headers | None = None,
        priority: int = 0,
        id: str | None = None,
    ) -> int:
        """Publish a message without waiting, and return its offset; `FullError` if a queue has no room."""
        options = Options(key, headers, priority, id, self._now())
        return send_nowait(self._engine, self._parcel_maker(body, options, mandatory))

    async def publish_many(
        self,
        bodies: Sequence[T],
        mandatory: bool = False,
        key: KeyOf = None,
        headers: Headers | None = None,
        priority: int = 0,
        id: str | None = None,
    ) -> list[int]:
        """Publish many messages, in order, as room appears; returns their offsets.

        ``key`` may be a function of the body. Each is all or nothing, the whole is not. With ``mandatory``, one that
        no queue wants raises `UnroutableError` before any is published.
        """
        options = Options(key, headers, priority, id, self._now())
        bodies = check_bodies(bodies)
        self._pace += weight(len(bodies))
        if self._pace > STRIDE:
            self._pace = 0
            await anyio.lowlevel.checkpoint()
        self._engine.require_open()
        if mandatory:
            for body in bodies:
                self._parcel_maker(body, options, mandatory)()

        batch = batch_for(self.name, [], bodies, options, self._state)

        def batch_of() -> Batch | None:
            """The batch, with the routes of now, if they take every message as it is."""
            batch.routes = self._engine.wiring.routes(self._state)
            batch.queues = self._state.plain or ()
            return None if self._state.plain is None or not self._by_reference else batch

        def maker_of(index: int) -> Callable[[], Parcel]:
            return self._parcel_maker(bodies[index], options, False)

        return await send_all(self._ports, len(bodies), batch_of, maker_of)

    def _parcel_maker(self, body: T, options: Options, mandatory: bool) -> Callable[[], Parcel]:
        key = options.key_of(body)

        def make() -> Parcel:
            routes = self._engine.wiring.routes(self._state)
            parcel = parcel_for_topic(
                self._state, routes, body, options, key, self._bus._isolation, self._engine.watched
            )
            if mandatory and not parcel.targets:
                raise UnroutableError(self.name)
            return parcel

        return make

    def subscription(
        self,
        name: str | None = None,
        policy: Policy | None = None,
        *,
        where: Where = None,
        start: Start = LATEST,
    ) -> Subscription[T]:
        """A queue that gets this topic's messages: shared under ``topic/name``, or private without a name.

        ``where`` is a filter, its text or a function of the message; given again and differing, it replaces the first
        and applies to what was not delivered yet. ``start`` is where in what is retained a new one begins.
        """
        return self._bus._subscribe(
            None if name is None else f"{self.name}/{name}", [self.name], policy, where, start, self._type
        )

    def replay(
        self,
        start: Start = EARLIEST,
        stop: Start | None = None,
        *,
        where: Where = None,
        key: Key = None,
        follow: bool = False,
    ) -> AsyncGenerator[Message[T], None]:
        """What the topic retains, from ``start`` on, in order; see `Bus.replay`."""
        return self._bus.replay(self.name, start, stop, where=where, key=key, follow=follow)

    def __repr__(self) -> str:
        return f"<Topic {self.name!r}>"


async def replay(
    bus: Bus,
    patterns: Sequence[str],
    start: Since,
    stop: Since | None,
    wants: Callable[[Record], bool],
    follow: bool,
) -> AsyncGenerator[Message[Any], None]:
    """Page through what the topics retain; with `follow`, wait for more. It ends with the bus."""
    async with aclosing(_pages(bus, patterns, start, stop, follow)) as pages:
        async for page in pages:
            for record in page:
                if wants(record):
                    yield message_of(own(record, bus._isolation))


async def _pages(
    bus: Bus, patterns: Sequence[str], start: Since, stop: Since | None, follow: bool
) -> AsyncGenerator[list[Record], None]:
    engine, archive = bus._engine, bus._engine.archive
    try:
        topics = engine.wiring.topics_matching(patterns)
        with engine.lock:
            after = position_of(engine, topics, start)
            last = engine.offset if stop is None else position_of(engine, topics, stop)
        endless = follow and stop is None
        started = False
        while True:
            await anyio.lowlevel.checkpoint()
            topics = engine.wiring.topics_matching(patterns)
            if started:
                _warn_if_overtaken(topics, after)
            started = True
            page = [record for record in archive.page(topics, after, PAGE) if endless or offset_of(record) <= last]
            if page:
                after = offset_of(page[-1])
                yield page
            elif not follow or (stop is not None and engine.offset >= last):
                return
            else:
                attempt = partial(archive.follow, patterns, after, None if stop is None else last)
                await bus._ports.until(attempt, archive.leave)
    except ClosedError:
        return


def _warn_if_overtaken(topics: Sequence[TopicState], after: int) -> None:
    """What is let go before a slow reader came to it is not lost silently."""
    for topic in topics:
        if topic.retained is not None and topic.retained.lost_through > after:
            logger.warning(
                "a replay is slower than topic %r forgets: messages from offset %d to %d are no longer retained",
                topic.name,
                after + 1,
                topic.retained.lost_through,
            )
