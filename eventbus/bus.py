"""The bus as async code holds it."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from types import MappingProxyType, TracebackType
from typing import Any, TypeAlias, TypeVar, overload

from eventbus._core.engine import Engine
from eventbus._core.errands import run_errands
from eventbus._core.leases import Lease
from eventbus._core.matching import check_pattern, check_topic
from eventbus._core.queue import QueueState
from eventbus._runtime.clock import Clock, time_of
from eventbus._runtime.parking import Ports
from eventbus.channels import Queue, Subscription, queue_stats
from eventbus.delivery import Delivery
from eventbus.errors import DeclarationError
from eventbus.filters.predicate import Where, as_predicate
from eventbus.history import Start, check_start, load_history, position_of
from eventbus.message import Death, Headers, Key, Message, Record, message_of
from eventbus.observer import Observer
from eventbus.policy import DEAD_LETTERS, EARLIEST, LATEST, Isolation, Policy, Retention, check_name
from eventbus.sending import check_key
from eventbus.stats import BusStats, TopicStats
from eventbus.topics import Topic, replay

__all__ = ["Bus", "Topics"]

T = TypeVar("T")

Topics: TypeAlias = str | type | Iterable[str | type]
"""A topic by name, pattern or class, or several."""

logger = logging.getLogger("eventbus")


class Bus:
    """An event bus inside this process: it owns every queue and topic, and gives their messages one order.

    ``isolation`` says how far bodies are kept apart; ``clock`` replaces the system's clocks. ``async with`` closes it
    at the end; in memory, declaring, putting and getting work without. Any number of event loops may use one bus, each
    in its own thread, asyncio's and trio's alike.
    """

    def __init__(self, *, isolation: Isolation = Isolation.NONE, clock: Clock | None = None) -> None:
        if not isinstance(isolation, Isolation):
            raise TypeError(f"Bus.isolation takes an Isolation, but got {isolation!r}")
        if clock is not None and not (
            callable(getattr(clock, "time", None)) and callable(getattr(clock, "monotonic", None))
        ):
            raise TypeError(f"Bus.clock takes an object with time() and monotonic(), or None, but got {clock!r}")
        self._isolation = isolation
        self._clock = clock or Clock()
        self._now = time_of(self._clock)
        self._engine = Engine(Delivery, _report)
        self._engine.handle = self
        self._ports = Ports(self._engine)
        self._private = 0

    async def __aenter__(self) -> Bus:
        self._engine.require_open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    # declaring

    @overload
    def queue(self, name: str, policy: Policy | None = None, *, type: type[T]) -> Queue[T]: ...
    @overload
    def queue(self, name: str, policy: Policy | None = None, *, type: None = None) -> Queue[Any]: ...
    def queue(self, name: str, policy: Policy | None = None, *, type: Any = None) -> Queue[Any]:
        """Declare a queue, or get the one that is there.

        ``policy`` None means what was declared, or the default; one that differs raises `DeclarationError`. ``type`` is
        the type of its bodies, for type checkers.
        """
        check_name("a queue", name)
        state = self._engine.declare_queue(name, _check_policy(policy))
        handle: Queue[Any] = self._handle(state, Queue, type)
        return handle

    @overload
    def topic(self, name: type[T], *, type: None = None, retain: Retention | None = None) -> Topic[T]: ...
    @overload
    def topic(self, name: str, *, type: type[T], retain: Retention | None = None) -> Topic[T]: ...
    @overload
    def topic(self, name: str, *, type: None = None, retain: Retention | None = None) -> Topic[Any]: ...
    def topic(self, name: Any, *, type: Any = None, retain: Retention | None = None) -> Topic[Any]:
        """Declare a topic, or get the one that is there, by name or by the class of its bodies.

        A class has the topic of its ``__topic__``, or else of its name. ``retain`` is how much of its past it keeps for
        replay: nothing unless a `Retention` says so; one that differs from what was declared raises `DeclarationError`.
        """
        if retain is not None and not isinstance(retain, Retention):
            raise TypeError(f"retain takes a Retention or None, but got {retain!r}")
        if isinstance(name, _TYPE):
            name, type = _topic_of(name), name
        engine = self._engine
        with engine.lock:
            known = engine.wiring.topics.get(check_topic(name))
            if known is not None:
                _check_type(known.handle, type)
            state = engine.wiring.declare(name, retain)
            if known is None:
                state.handle = Topic(self, state, type)
            state.handle._type = state.handle._type or type
        return state.handle  # type: ignore[no-any-return]

    def subscription(
        self, name: str, topics: Topics, policy: Policy | None = None, *, where: Where = None, start: Start = LATEST
    ) -> Subscription[Any]:
        """A queue that gets the messages of several topics, or of all that match a pattern, also those to come.

        Patterns are as RabbitMQ's: ``*`` stands for one word, ``#`` for any number. See `Topic.subscription`.
        """
        check_name("a subscription", name)
        return self._subscribe(name, self._patterns(topics), policy, where, start, None)

    @property
    def dead_letters(self) -> Queue[Any]:
        """The queue of dead messages, ``dead-letters``."""
        return self.queue(DEAD_LETTERS)

    def _subscribe(
        self, name: str | None, patterns: Sequence[str], policy: Policy | None, where: Where, start: Start, type: Any
    ) -> Subscription[Any]:
        since = check_start(start)
        predicate = as_predicate(where)
        policy = _check_policy(policy)
        engine = self._engine
        with engine.lock:
            private = name is None
            name = self._private_name(patterns[0]) if name is None else check_name("a subscription", name)
            new = name not in engine.queues
            state = engine.declare_queue(name, policy, private=private)
            handle: Subscription[Any] = self._handle(state, Subscription, type)
            bound = engine.wiring.bindings_of(state)
            if bound and {binding.pattern for binding in bound} != set(patterns):
                raise DeclarationError(
                    f"subscription {name!r} is bound to {sorted(b.pattern for b in bound)}, not to {sorted(patterns)}; "
                    f"change that with bind() and unbind(), or declare it under another name",
                    name=name,
                    declared=sorted(b.pattern for b in bound),
                    requested=sorted(patterns),
                )
            refilter = bool(bound) and where is not None and any(b.predicate.source != predicate.source for b in bound)
            if not bound or refilter:
                engine.wiring.bind(state, patterns, predicate)
            topics, after, upto = [], 0, 0
            if new:
                topics = engine.wiring.topics_matching(patterns)
                after, upto = position_of(engine, topics, since), engine.offset
                state.start_loading()
        if new:
            load_history(engine, state, topics, after, upto, self._isolation)
        elif refilter and predicate.test is not None:
            _refilter(state, predicate.test)
        run_errands(engine.errands)
        return handle

    def _private_name(self, topic: str) -> str:
        """A name that nobody has. It may be longer than those that people give."""
        while (name := f"{topic}/private-{self._private}") in self._engine.queues or not self._private:
            self._private += 1
        self._private += 1
        return name

    def _handle(self, state: QueueState, kind: Any, type: Any) -> Any:
        if state.handle is None:
            state.handle = kind(self, state, type)
        elif kind is Subscription and not isinstance(state.handle, Subscription):
            raise DeclarationError(
                f"{state.name!r} is a queue, not a subscription; bind it with queue.bind(), or choose another name",
                name=state.name,
            )
        _check_type(state.handle, type)
        state.handle._type = state.handle._type or type
        return state.handle

    def _patterns(self, topics: Topics) -> list[str]:
        """The patterns that a user named."""
        if not isinstance(topics, str | _TYPE | Iterable):
            raise TypeError(f"topics takes a topic's name, pattern or class, or several of them, but got {topics!r}")
        several = [topics] if isinstance(topics, str | _TYPE) else list(topics)
        patterns = [_topic_of(topic) if isinstance(topic, _TYPE) else check_pattern(topic) for topic in several]
        if not patterns:
            raise DeclarationError("topics takes at least one topic or pattern, but got none", name="")
        return list(dict.fromkeys(patterns))

    # publishing and reading

    async def publish(
        self,
        event: Any,
        mandatory: bool = False,
        key: Key = None,
        headers: Headers | None = None,
        priority: int = 0,
        id: str | None = None,
    ) -> int:
        """Publish an object to the topic of its class; see `Topic.publish`."""
        return await self.topic(type(event)).publish(event, mandatory, key, headers, priority, id)

    def replay(
        self,
        topics: Topics,
        start: Start = EARLIEST,
        stop: Start | None = None,
        *,
        where: Where = None,
        key: Key = None,
        follow: bool = False,
    ) -> AsyncGenerator[Message[Any], None]:
        """What topics retain, in the order of offsets: from ``start`` on, up to but not including ``stop``.

        It ends at the last message that was there at the first step, unless it follows: then it goes on with what
        comes. ``where`` and ``key`` choose. On trio, who leaves one early closes it: `contextlib.aclosing`.
        """
        since = check_start(start)
        until = None if stop is None else check_start(stop, "stop")
        patterns = self._patterns(topics)
        self._engine.require_open()
        if follow and all(_retains_nothing(self._engine, pattern) for pattern in patterns):
            raise DeclarationError(
                f"topic {patterns[0]!r} retains nothing, so there is nothing to follow; "
                f"declare it with retain=Retention(count=...), or subscribe to it",
                name=patterns[0],
            )
        test, key = as_predicate(where).test, check_key(key)

        def wants(record: Record) -> bool:
            return (key is None or record[3] == key) and (test is None or test(record))

        return replay(self, patterns, since, until, wants, follow)

    # watching and ending

    async def join(self) -> None:
        """Wait until every queue that has a consumer is settled; dead-letter queues aside."""
        await self._ports.until(self._engine.join, self._engine.stop_joining)

    def stats(self) -> BusStats:
        """What the bus counts, as a frozen snapshot."""
        engine = self._engine
        with engine.lock:
            engine.require_open()
            now = self._now()
            queues = {name: queue_stats(state, now) for name, state in engine.queues.items()}
            topics = {
                name: TopicStats(t.published, t.unroutable, 0 if t.retained is None else len(t.retained))
                for name, t in engine.wiring.topics.items()
            }
            return BusStats(MappingProxyType(queues), MappingProxyType(topics), engine.offset)

    def observe(self, observer: Observer) -> Callable[[], None]:
        """Tell an observer what happens from now on; returns the function that ends it."""
        if not isinstance(observer, Observer):
            raise TypeError(f"observe takes an Observer, but got {observer!r}")
        watch = Watching(observer)
        engine = self._engine

        def stop() -> None:
            engine.unwatch(watch)
            run_errands(engine.errands)

        engine.watch(watch)
        run_errands(engine.errands)
        return stop

    async def aclose(self) -> None:
        """End the bus: whoever waits gets `ClosedError`, iterations end, what is out is nobody's. Twice is harmless."""
        self._engine.close()
        run_errands(self._engine.errands)

    def __repr__(self) -> str:
        return f"<Bus with {len(self._engine.queues)} queues and {len(self._engine.wiring.topics)} topics>"


_TYPE = type


def _report(text: str, error: BaseException | None) -> None:
    logger.warning(text, exc_info=error)


class Watching:
    """An observer as the engine tells it: records become messages, and what it raises is logged."""

    def __init__(self, observer: Observer) -> None:
        self.observer = observer

    def published(self, record: Record, queues: Sequence[str]) -> None:
        self._tell(self.observer.published, message_of(record), queues)

    def delivered(self, lease: Lease) -> None:
        self._tell(self.observer.delivered, lease)

    def settled(self, lease: Lease, outcome: str) -> None:
        self._tell(self.observer.settled, lease, outcome)

    def dropped(self, record: Record, queue: str) -> None:
        self._tell(self.observer.dropped, message_of(record), queue)

    def died(self, record: Record, death: Death) -> None:
        self._tell(self.observer.died, message_of(record), death)

    def _tell(self, method: Callable[..., None], *facts: Any) -> None:
        try:
            method(*facts)
        except Exception:
            logger.exception("observer %r failed in %s", self.observer, method.__name__)


def _check_policy(policy: object) -> Policy | None:
    if policy is None or isinstance(policy, Policy):
        return policy
    raise TypeError(f"policy takes a Policy or None, but got {policy!r}; wrap an order: Policy(Priority())")


def _check_type(handle: Any, type: Any) -> None:
    """A type may be told late, but not twice in different ways."""
    if type is None or handle._type is type:
        return
    if handle._type is not None:
        raise DeclarationError(
            f"{handle.name!r} is declared with the type {handle._type!r}, which differs from {type!r}",
            name=handle.name,
            declared=handle._type,
            requested=type,
        )


def _topic_of(kind: type) -> str:
    """The topic of a class."""
    return check_topic(kind.__dict__.get("__topic__", kind.__name__))


def _retains_nothing(engine: Engine, pattern: str) -> bool:
    """Whether a pattern names one topic, which retains nothing; one with wildcards may yet match others."""
    topic = engine.wiring.topics.get(pattern)
    return "*" not in pattern and "#" not in pattern and (topic is None or topic.retained is None)


def _refilter(state: QueueState, test: Callable[[Record], bool]) -> None:
    """Take out what is ready and the new filter does not want."""
    for record in state.peek(1 << 62):
        if not test(record):
            state.cancel(record[0] or 0)
