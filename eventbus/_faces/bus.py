"""What both faces of a bus have in common: all that does not wait."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, TypeVar

from eventbus._core.engine import Engine
from eventbus._core.errands import run_errands
from eventbus._core.matching import check_pattern, check_topic
from eventbus._core.queue import QueueState
from eventbus._core.topic import TopicState
from eventbus._faces.declaring import check_policy, check_type, news, retains_nothing, take_out_unwanted, topic_of
from eventbus._runtime.clock import Clock
from eventbus._runtime.host import Host
from eventbus.causality import cause_in
from eventbus.codec import Codec
from eventbus.delivery import Delivery
from eventbus.errors import DeclarationError, JournalError
from eventbus.filters.predicate import Where, as_predicate
from eventbus.history import Past, Start, check_start
from eventbus.isolating import Isolating, isolating
from eventbus.message import Key, Record
from eventbus.observer import Observer
from eventbus.policy import LATEST, Isolation, Policy, Retention, check_name, check_seconds
from eventbus.sending import check_key

if TYPE_CHECKING:
    from eventbus._journal.reader import Stop
    from eventbus.durability import Journal
    from eventbus.handlers import Router
    from eventbus.replaying import Replay
    from eventbus.stats import BusStats

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
        journal: str | os.PathLike[str] | Journal | None = None,
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
        if journal is not None:
            from eventbus.durability import Journal
            from eventbus.journaling import Journaling

            own = journal if isinstance(journal, Journal) else Journal(journal)
            host.journaling = Journaling(host.engine, own, codec, host.timers)
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
        self._check_durable(check_policy(policy), "queue", name)
        state = self._engine.declare_queue(name, policy)
        run_errands(self._engine.errands)
        return self._handle(state, False, news(state, type))

    def _check_durable(self, policy: Policy | None, what: str, name: str) -> None:
        if policy is not None and policy.durable and self._host.journaling is None:
            raise DeclarationError(
                f"{what} {name!r} is declared durable, and this bus has no journal; make it with Bus(journal=path)",
                name=name,
            )

    def _topic(
        self, name: Any, type: Any, retain: Retention | None, dedup: float | None, durable: bool | None = None
    ) -> Any:
        if durable is not None and not isinstance(durable, bool):
            raise TypeError(f"durable takes True, False or None, but got {durable!r}")
        journaled = self._host.journaling is not None
        if durable and not journaled:
            raise DeclarationError(
                f"topic {name!r} is declared durable, and this bus has no journal; make it with Bus(journal=path)",
                name=str(name),
            )
        if dedup is not None:
            check_seconds("dedup", dedup, positive=True)
        if retain is not None and not isinstance(retain, Retention):
            raise TypeError(f"retain takes a Retention or None, but got {retain!r}")
        if retain is not None and retain.size is not None and (not journaled or durable is False):
            raise DeclarationError(
                f"retain takes a Retention with a size only on a bus that has a journal, but got {retain}; "
                f"limit what is kept in memory by count or age",
                name=str(name),
                requested=retain,
            )
        engine = self._engine
        by_class = isinstance(name, _TYPE)
        if by_class:
            name, type = topic_of(name), name
        type = news(engine.wiring.topics.get(check_topic(name)), type, by_class)
        with engine.lock:
            known = engine.wiring.topics.get(name)
            if known is not None:
                check_type(known, type)
            state = engine.wiring.declare(name, retain, dedup, durable)
            state.type = state.type or type
            if self not in state.handles:
                state.handles[self] = self._kinds[2](self, state)
            handle = state.handles[self]
        run_errands(engine.errands)
        return handle

    def _subscribe(
        self, name: str | None, patterns: Sequence[str], policy: Policy | None, where: Where, start: Start, type: Any
    ) -> Any:
        since = check_start(start)
        predicate = as_predicate(where)
        policy = check_policy(policy)
        self._check_durable(policy, "subscription", str(name))
        engine = self._engine
        self._timers.look()
        past = Past(engine, patterns, since, self._host.journaling)
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
                if refilter and state.depot is not None:
                    state.depot.refilter = engine.offset
                    engine.declared(state)
            number = 0
            if new and (state.depot is None or since is not LATEST):
                number = state.start_loading()
                past.begin(state, number, again=False)
        if number:
            try:
                past.load(state, number, self._isolating, self._now)
            except BaseException:  # a filter's, a partitioner's or a body's own error: it is not half declared
                engine.remove(state)
                run_errands(engine.errands)
                raise
        elif refilter and predicate.test is not None:
            take_out_unwanted(state, predicate.test)
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
            check_type(state, type)
            state.type = state.type or type
            if self not in state.handles:
                state.handles[self] = self._kinds[state.subscription](self, state)
            return state.handles[self]

    def _patterns(self, topics: Topics) -> list[str]:
        """The patterns that a user named."""
        if not isinstance(topics, str | _TYPE | Iterable):
            raise TypeError(f"topics takes a topic's name, pattern or class, or several of them, but got {topics!r}")
        several = [topics] if isinstance(topics, str | _TYPE) else list(topics)
        patterns = [topic_of(topic) if isinstance(topic, _TYPE) else check_pattern(topic) for topic in several]
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
                handle._traced = True

    def _require_another_thread_to_close(self) -> None:
        """Refuse it before anything is done: the journal's own thread would have to wait for its last commit."""
        if self._engine.outbox is not None:
            self._engine.outbox.require_another_thread("the bus was not closed")

    def _begins_to_drain(self) -> bool:
        """Refuse what comes from outside, if there are handlers: whether they are to be waited for."""
        engine, crew = self._engine, self._host.crew
        if engine.closed or not crew.at_work() or cause_in(engine) is not None:
            return False
        engine.drain()
        run_errands(engine.errands)
        return True

    def _drained(self, empty: bool) -> None:
        if empty:
            return
        left = {name: q.pending() for name, q in self._engine.queues.items() if q.handled() and q.pending()}
        if left:
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

    def _query(self, sql: str, parameters: Any, stop: Stop) -> list[tuple[Any, ...]]:
        if self._host.journaling is None:
            raise JournalError("the bus has no journal to query; make it with Bus(journal=path)")
        self._engine.require_open()
        rows: list[tuple[Any, ...]] = self._host.journaling.reader.query(sql, parameters, stop)
        return rows

    def _replay(self, topics: Topics, start: Start, stop: Start | None, where: Where, key: Key, follow: bool) -> Replay:
        from eventbus.replaying import Replay

        since = check_start(start)
        until = None if stop is None else check_start(stop, "stop")
        patterns = self._patterns(topics)
        self._engine.require_open()
        self._timers.look()
        if follow and all(retains_nothing(self._engine, pattern) for pattern in patterns):
            raise DeclarationError(
                f"topic {patterns[0]!r} retains nothing, so there is nothing to follow; "
                f"declare it with retain=Retention(...), or subscribe to it",
                name=patterns[0],
            )
        test, key = as_predicate(where).test, check_key(key)

        def wants(record: Record) -> bool:
            return (key is None or record[3] == key) and (test is None or test(record))

        return Replay(
            self._engine,
            patterns,
            since,
            until,
            wants if key is not None or test is not None else None,
            follow,
            self._isolating,
            self._host.journaling,
            key,
        )

    def stats(self) -> BusStats:
        """What the bus counts, as a frozen snapshot."""
        from eventbus._faces.counting import bus_stats

        engine = self._engine
        with engine.lock:
            engine.require_open()
            self._timers.look()
            return bus_stats(engine, self._now())

    def observe(self, observer: Observer) -> Callable[[], None]:
        """Tell an observer what happens from now on; returns the function that ends it.

        It is told in the thread that caused it: of what is durable, in the journal's own. See `Observer`.
        """
        if not isinstance(observer, Observer):
            raise TypeError(f"observe takes an Observer, but got {observer!r}")
        from eventbus._faces.watching import Watching

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


def _has(thing: object, *methods: str) -> bool:
    return all(callable(getattr(thing, method, None)) for method in methods)
