"""What both faces of a bus have in common: all that does not wait."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, TypeVar, get_args

from eventbus._core.engine import Engine
from eventbus._core.errands import run_errands
from eventbus._core.leases import Lease
from eventbus._core.matching import check_pattern, check_topic
from eventbus._core.queue import QueueState
from eventbus._core.topic import TopicState
from eventbus._faces.queue import queue_stats
from eventbus._runtime.clock import Clock
from eventbus._runtime.host import Host
from eventbus.causality import cause_in
from eventbus.codec import Codec, is_union
from eventbus.delivery import Delivery
from eventbus.errors import DeclarationError
from eventbus.filters.predicate import Where, as_predicate
from eventbus.history import Start, check_start, load_history, position_of
from eventbus.isolating import Isolating, isolating
from eventbus.message import Death, Key, Record, message_of
from eventbus.observer import Observer
from eventbus.policy import LATEST, Isolation, Policy, Retention, check_name, check_seconds
from eventbus.replaying import Replay
from eventbus.sending import check_key
from eventbus.stats import BusStats, TopicStats

if TYPE_CHECKING:
    from eventbus.handlers import Router

__all__ = ["BusFace", "Topics"]

Topics: TypeAlias = str | type | Iterable[str | type]
"""A topic by name, pattern or class, or several."""

logger = logging.getLogger("eventbus")

F = TypeVar("F", bound=Callable[..., Any])


class BusFace:
    """A bus as one kind of code holds it. The kinds of its handles are those of its face."""

    _kinds: ClassVar[tuple[type, type, type]]
    """Of queues, subscriptions and topics."""

    def __init__(
        self,
        *,
        isolation: Isolation = Isolation.NONE,
        codec: Codec | None = None,
        clock: Clock | None = None,
        drain: float = 30.0,
    ) -> None:
        if not isinstance(isolation, Isolation):
            raise TypeError(f"Bus.isolation takes an Isolation, but got {isolation!r}")
        if codec is not None and not _has(codec, "encode", "decode"):
            raise TypeError(
                f"Bus.codec takes an object with encode(body, type) and decode(data, type), or None, but got {codec!r}"
            )
        if clock is not None and not _has(clock, "time", "monotonic"):
            raise TypeError(f"Bus.clock takes an object with time() and monotonic(), or None, but got {clock!r}")
        check_seconds("Bus.drain", drain, optional=False)
        host = Host(Engine(Delivery, _report), clock or Clock(), isolating(isolation, codec), drain)
        host.faces[type(self)] = self
        self._stand_on(host)

    def _stand_on(self, host: Host) -> None:
        self._host = host
        self._engine = host.engine
        self._ports = host.ports
        self._threads = host.threads
        self._now = host.now
        self._timers = host.timers
        self._isolating: Isolating = host.isolating

    # declaring

    def _queue(self, name: str, policy: Policy | None, type: Any) -> Any:
        check_name("a queue", name)
        state = self._engine.declare_queue(name, _check_policy(policy))
        return self._handle(state, False, _news(state, type))

    def _topic(self, name: Any, type: Any, retain: Retention | None, dedup: float | None) -> Any:
        if dedup is not None:
            check_seconds("dedup", dedup, positive=True)
        if retain is not None and not isinstance(retain, Retention):
            raise TypeError(f"retain takes a Retention or None, but got {retain!r}")
        if retain is not None and retain.size is not None:
            raise DeclarationError(
                f"retain takes a Retention with a size only on a bus that has a journal, but got {retain}; "
                f"limit what is kept in memory by count or age",
                name=str(name),
                requested=retain,
            )
        engine = self._engine
        by_class = isinstance(name, _TYPE)
        if by_class:
            name, type = _topic_of(name), name
        type = _news(engine.wiring.topics.get(check_topic(name)), type, by_class)
        with engine.lock:
            known = engine.wiring.topics.get(name)
            if known is not None:
                _check_type(known, type)
            state = engine.wiring.declare(name, retain, dedup)
            state.type = state.type or type
            if self not in state.handles:
                state.handles[self] = self._kinds[2](self, state)
            return state.handles[self]

    def _subscribe(
        self, name: str | None, patterns: Sequence[str], policy: Policy | None, where: Where, start: Start, type: Any
    ) -> Any:
        since = check_start(start)
        predicate = as_predicate(where)
        policy = _check_policy(policy)
        engine = self._engine
        self._timers.look()
        with engine.lock:
            private = name is None
            name = self._private_name(patterns[0]) if name is None else check_name("a subscription", name)
            new = name not in engine.queues
            state = engine.declare_queue(name, policy, private=private)
            handle = self._handle(state, True, type)
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
            topics, after, upto, number = [], 0, 0, 0
            if new:
                topics = engine.wiring.topics_matching(patterns)
                after, upto = position_of(engine, topics, since), engine.offset
                number = state.start_loading()
        if new:
            try:
                load_history(engine, state, number, topics, after, upto, self._isolating, self._now())
            except BaseException:  # a filter's, a partitioner's or a body's own error: it is not half declared
                engine.remove(state)
                run_errands(engine.errands)
                raise
        elif refilter and predicate.test is not None:
            _refilter(state, predicate.test)
        run_errands(engine.errands)
        return handle

    def _private_name(self, topic: str) -> str:
        """A name that nobody has. It may be longer than those that people give."""
        while (
            name := f"{topic}/private-{self._host.private_names}"
        ) in self._engine.queues or not self._host.private_names:
            self._host.private_names += 1
        self._host.private_names += 1
        return name

    def _handle(self, state: QueueState, subscription: bool, type: Any) -> Any:
        with self._engine.lock:
            if state.subscription is None:
                state.subscription = subscription
            elif subscription and not state.subscription:
                raise DeclarationError(
                    f"{state.name!r} is a queue, not a subscription; bind it with queue.bind(), or choose another name",
                    name=state.name,
                )
            _check_type(state, type)
            state.type = state.type or type
            if self not in state.handles:
                state.handles[self] = self._kinds[state.subscription](self, state)
            return state.handles[self]

    def _patterns(self, topics: Topics) -> list[str]:
        """The patterns that a user named."""
        if not isinstance(topics, str | _TYPE | Iterable):
            raise TypeError(f"topics takes a topic's name, pattern or class, or several of them, but got {topics!r}")
        several = [topics] if isinstance(topics, str | _TYPE) else list(topics)
        patterns = [_topic_of(topic) if isinstance(topic, _TYPE) else check_pattern(topic) for topic in several]
        if not patterns:
            raise DeclarationError("topics takes at least one topic or pattern, but got none", name="")
        return list(dict.fromkeys(patterns))

    # handling

    def on(
        self,
        topic_or_class: str | type,
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
        """Decorate a function that is to handle a topic's messages; see `Topic.on`."""
        from eventbus.handlers import refuse_bare

        refuse_bare(topic_or_class, "@bus.on(topic)")
        options: dict[str, Any] = {"concurrency": concurrency, "inline": inline, "batch": batch, "within": within}
        on: Callable[[F], F] = self._topic(topic_or_class, None, None, None).on(
            name, policy, where=where, start=start, **options
        )
        return on

    def include(self, router: Router) -> None:
        """Register all handlers that a router has collected, or none if one of them cannot be."""
        from eventbus.handlers import Router

        if not isinstance(router, Router):
            raise TypeError(f"include takes a Router, but got {router!r}")
        router._register(self)

    def _trace(self) -> None:
        """From now on there are handlers, and what they publish has a cause."""
        engine = self._engine
        with engine.lock:
            if self._host.traced:
                return
            self._host.traced = True
            states: list[QueueState | TopicState] = [*engine.queues.values(), *engine.wiring.topics.values()]
            for handle in [handle for state in states for handle in state.handles.values()]:
                handle._trace()

    def _begins_to_drain(self) -> bool:
        """Refuse what comes from outside, if there are handlers: whether they are to be waited for."""
        engine, crew = self._engine, self._host.crew
        if engine.closed or not crew.at_work() or cause_in(engine) is not None:
            return False
        engine.drain()
        run_errands(engine.errands)
        return True

    def _drained(self, empty: bool) -> None:
        if not empty:
            left = {name: q.pending() for name, q in self._engine.queues.items() if q.handled() and q.pending()}
            _report(f"handlers did not empty their queues in {self._host.drain:g} s, and are cancelled: {left}", None)

    def _ends(self) -> bool:
        """Cancel the handlers and close: whether they are to be waited for."""
        crew = self._host.crew
        inside = cause_in(self._engine) is not None
        crew.dismiss()
        self._host.close()
        run_errands(self._engine.errands)
        return crew.at_work() and not inside

    # reading and watching

    def _replay(self, topics: Topics, start: Start, stop: Start | None, where: Where, key: Key, follow: bool) -> Replay:
        since = check_start(start)
        until = None if stop is None else check_start(stop, "stop")
        patterns = self._patterns(topics)
        self._engine.require_open()
        self._timers.look()
        if follow and all(_retains_nothing(self._engine, pattern) for pattern in patterns):
            raise DeclarationError(
                f"topic {patterns[0]!r} retains nothing, so there is nothing to follow; "
                f"declare it with retain=Retention(...), or subscribe to it",
                name=patterns[0],
            )
        test, key = as_predicate(where).test, check_key(key)

        def wants(record: Record) -> bool:
            return (key is None or record[3] == key) and (test is None or test(record))

        return Replay(self._engine, patterns, since, until, wants, follow, self._isolating)

    def stats(self) -> BusStats:
        """What the bus counts, as a frozen snapshot."""
        engine = self._engine
        with engine.lock:
            engine.require_open()
            self._timers.look()
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


def _has(thing: object, *methods: str) -> bool:
    return all(callable(getattr(thing, method, None)) for method in methods)


def _check_policy(policy: object) -> Policy | None:
    if policy is None or isinstance(policy, Policy):
        return policy
    raise TypeError(f"policy takes a Policy or None, but got {policy!r}; wrap an order: Policy(Priority())")


def _news(state: QueueState | TopicState | None, type: Any, by_class: bool = False) -> Any:
    """The type, unless it tells nothing new: it is the same, or one of several. Types compare outside the lock."""
    known = None if state is None else state.type
    return None if known == type or (by_class and is_union(known) and type in get_args(known)) else type


def _check_type(state: QueueState | TopicState, type: Any) -> None:
    """A type may be told late, but not twice in different ways."""
    if type is None or state.type is type:
        return
    if state.type is not None:
        raise DeclarationError(
            f"{state.name!r} is declared with the type {state.type!r}, which differs from {type!r}",
            name=state.name,
            declared=state.type,
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
