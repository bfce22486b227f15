"""Whatever is wrong is refused by an error that names it, and leaves the bus as it was."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from eventbus import (
    Bus,
    DeclarationError,
    FilterError,
    FullError,
    Isolation,
    Keyed,
    Overflow,
    Policy,
    Priority,
    Retention,
    SettlementError,
    msg,
)
from tests.kit import ManualClock

pytestmark = pytest.mark.anyio


class Event:
    __topic__ = "events"


class BadEvent:
    __topic__ = "a.*"


class Odd:
    __topic__ = 5


class World:
    """A bus with some of everything, and a picture of all that it shows."""

    def __init__(self) -> None:
        self.bus = Bus(clock=ManualClock())
        self.queue = self.bus.queue("q", Policy(capacity=5), type=int)
        self.keyed = self.bus.queue("keyed", Policy(Keyed(3)))
        self.single = self.bus.queue("single", Policy(single_active=True))
        self.sticky = self.bus.queue("sticky", Policy(Keyed(3, sticky=True)))
        self.full = self.bus.queue("full", Policy(capacity=1, overflow=Overflow.FAIL))
        self.topic = self.bus.topic("t", type=int, retain=Retention(5))
        self.bare = self.bus.topic("bare", type=str)
        self.subscription = self.topic.subscription("s", Policy(Priority()), where="body > 0")
        self.queue.put_nowait(1)
        self.full.put_nowait(1)
        self.topic.publish_nowait(2)
        self.queue.put_nowait(3)
        self.released = self.queue.get_nowait()
        self.released.release()
        self.delivery = self.queue.get_nowait()

    def picture(self) -> Any:
        stats = self.bus.stats()
        handles = [self.bus.queue(name) for name in stats.queues]
        return (
            stats,
            [(q.name, type(q), q.policy, [(m.offset, m.body) for m in q.peek(99)]) for q in handles],
            [(b.pattern, b.predicate.source) for b in self.bus._engine.wiring.bindings_of(self.subscription._state)],
            {name: getattr(topic.retained, "retention", None) for name, topic in self.topics().items()},
            {name: topic.type for name, topic in self.topics().items()},
            {name: queue._state.type for name, queue in zip(stats.queues, handles, strict=True)},
        )

    def topics(self) -> Any:
        return self.bus._engine.wiring.topics


Case = tuple[str, Callable[[World], Any], type[Exception], tuple[str, ...]]

CASES: list[Case] = [
    # names
    ("empty queue", lambda w: w.bus.queue(""), DeclarationError, ("a queue", "1 to 255 bytes", "0 bytes")),
    ("long queue", lambda w: w.bus.queue("x" * 256), DeclarationError, ("a queue", "256 bytes")),
    ("long utf-8 queue", lambda w: w.bus.queue("ä" * 200), DeclarationError, ("a queue", "400 bytes")),
    ("unprintable queue", lambda w: w.bus.queue("a\x07"), DeclarationError, ("a queue", r"'a\x07'")),
    ("queue by number", lambda w: w.bus.queue(5), TypeError, ("a queue", "a name", "5")),
    ("queue by class", lambda w: w.bus.queue(Event), TypeError, ("a queue", "Event")),
    ("empty topic", lambda w: w.bus.topic(""), DeclarationError, ("a topic", "0 bytes")),
    ("topic by None", lambda w: w.bus.topic(None), TypeError, ("a topic", "None")),
    ("topic with wildcard", lambda w: w.bus.topic("a.*"), DeclarationError, ("no wildcards", "'a.*'")),
    ("topic with hash", lambda w: w.bus.topic("a#"), DeclarationError, ("no wildcards", "'a#'")),
    ("class with a bad topic", lambda w: w.bus.topic(BadEvent), DeclarationError, ("no wildcards", "'a.*'")),
    ("class with a topic of no str", lambda w: w.bus.topic(Odd), TypeError, ("a topic", "5")),
    ("publish of such a class", lambda w: w.bus.publish(BadEvent()), DeclarationError, ("no wildcards",)),
    ("empty subscription", lambda w: w.bus.subscription("", "t"), DeclarationError, ("a subscription", "0 bytes")),
    ("empty subscription name", lambda w: w.topic.subscription("\n"), DeclarationError, ("a subscription", r"'t/\n'")),
    ("long subscription", lambda w: w.topic.subscription("x" * 254), DeclarationError, ("a subscription", "256 bytes")),
    # topics and patterns
    ("no topics", lambda w: w.bus.subscription("x", []), DeclarationError, ("at least one topic or pattern",)),
    ("half a wildcard", lambda w: w.bus.subscription("x", "a.b*"), DeclarationError, ("whole words", "'b*'")),
    ("half a hash", lambda w: w.bus.subscription("x", ["t", "##"]), DeclarationError, ("whole words", "'##'")),
    ("topics of numbers", lambda w: w.bus.subscription("x", [1]), TypeError, ("a topic pattern", "1")),
    ("topics of no iterable", lambda w: w.bus.subscription("x", 5), TypeError, ("topics", "5")),
    ("bad bind", lambda w: w.queue.bind("a.b#"), DeclarationError, ("whole words", "'b#'")),
    ("empty bind", lambda w: w.queue.bind(()), DeclarationError, ("at least one topic",)),
    ("unbind what is not bound", lambda w: w.queue.unbind("t"), DeclarationError, ("'q' is not bound to 't'",)),
    ("unbind half", lambda w: w.subscription.unbind(["t", "u"]), DeclarationError, ("not bound to 'u'", "['t']")),
    ("bad replay", lambda w: w.bus.replay("a*"), DeclarationError, ("whole words", "'a*'")),
    ("follow nothing", lambda w: w.bare.replay(follow=True), DeclarationError, ("'bare' retains nothing", "retain=")),
    # policies, types, retentions
    ("order for a policy", lambda w: w.bus.queue("x", Priority()), TypeError, ("policy", "Policy(Priority())")),
    ("subscription policy", lambda w: w.topic.subscription("x", 5), TypeError, ("policy", "5")),
    ("another policy", lambda w: w.bus.queue("q", Policy()), DeclarationError, ("'q'", "capacity=5", "65536")),
    ("subscription's policy", lambda w: w.topic.subscription("s", Policy()), DeclarationError, ("'t/s'", "differs")),
    ("another type", lambda w: w.bus.queue("q", type=str), DeclarationError, ("'q'", "int", "str")),
    ("another topic type", lambda w: w.bus.topic("t", type=str), DeclarationError, ("'t'", "int", "str")),
    (
        "another topic type and a first retention",
        lambda w: w.bus.topic("bare", type=int, retain=Retention(3)), DeclarationError, ("'bare'", "int", "str"),
    ),
    ("no retention", lambda w: w.bus.topic("x", retain=5), TypeError, ("retain", "Retention or None", "5")),
    ("another retention", lambda w: w.bus.topic("t", retain=Retention(6)), DeclarationError, ("count=5", "count=6")),
    ("other topics", lambda w: w.bus.subscription("t/s", ["t", "u"]), DeclarationError, ("'t/s'", "['t']", "'u']")),
    ("subscription of a queue's name", lambda w: w.bus.subscription("q", "t"), DeclarationError, ("'q' is a queue",)),
    # filters
    ("no filter", lambda w: w.topic.subscription("x", where="body >"), FilterError, ("body >",)),
    ("code for a filter", lambda w: w.topic.subscription("x", where="__import__('os')"), FilterError, ("__import__",)),
    ("assignment", lambda w: w.topic.subscription("x", where="body = 1"), FilterError, ("body = 1",)),
    ("deep filter", lambda w: w.topic.subscription("x", where="(" * 500 + "key"), FilterError, ("deep",)),
    ("long filter", lambda w: w.queue.bind("t", where="key or " * 99_999 + "key"), FilterError, ("characters",)),
    ("field for a filter", lambda w: w.queue.bind("t", where=msg.body.x), FilterError, ("where=", "body.x")),
    ("number for a filter", lambda w: w.topic.subscription("s", where=5), FilterError, ("where=", "5")),
    ("new filter that is none", lambda w: w.topic.subscription("s", where="body ="), FilterError, ("body =",)),
    # positions
    ("bad start", lambda w: w.topic.subscription("x", start="earliest"), TypeError, ("start", "'earliest'")),
    ("bad replay start", lambda w: w.topic.replay(1.5), TypeError, ("start", "1.5")),
    ("bad stop", lambda w: w.topic.replay(0, "now"), TypeError, ("stop", "'now'")),
    ("far start", lambda w: w.topic.replay(10**30), ValueError, ("start", "63 bits", repr(10**30))),
    ("far stop", lambda w: w.topic.replay(0, -(10**30)), ValueError, ("stop", "63 bits", repr(-(10**30)))),
    ("far seek", lambda w: w.subscription.seek(1 << 63), ValueError, ("start", "63 bits", repr(1 << 63))),
    ("far subscription", lambda w: w.topic.subscription("x", start=1 << 63), ValueError, ("start", repr(1 << 63))),
    ("bad seek", lambda w: w.subscription.seek(None), TypeError, ("start", "None")),
    # options
    *(
        (f"{call} {name}", lambda w, call=call, options=options: CALLS[call](w, **options), kind, parts)
        for call in ("put", "put_nowait", "put_many", "keyed put", "keyed put_many", "publish", "publish_nowait",
                     "publish_many", "publish by class")
        for name, options, kind, parts in (
            ("key", {"key": 5}, TypeError, ("key takes str, bytes or None", "5")),
            ("headers", {"headers": [1]}, TypeError, ("headers takes a mapping", "[1]")),
            ("header name", {"headers": {1: 2}}, TypeError, ("headers takes a mapping of str", "the name 1")),
            ("priority", {"priority": "high"}, TypeError, ("priority takes an integer", "'high'")),
            ("bool priority", {"priority": True}, TypeError, ("priority takes an integer", "True")),
            ("no priority", {"priority": None}, TypeError, ("priority takes an integer", "None")),
            ("id", {"id": 7}, TypeError, ("id takes a str or None", "7")),
            ("empty id", {"id": ""}, ValueError, ("id takes a str that is not empty", "''")),
            ("huge ttl", {"ttl": 10**400}, ValueError, ("ttl takes seconds, more than 0", repr(10**400))),
            ("huge delay", {"delay": 10**400}, ValueError, ("delay takes seconds, at least 0", repr(10**400))),
        )
    ),
    ("key of the body", lambda w: w.queue.put_many([1], key=lambda body: body), TypeError, ("key takes", "1")),
    ("bodies as str", lambda w: w.queue.put_many("abc"), TypeError, ("bodies takes a sequence", "str")),
    ("bodies as bytes", lambda w: w.topic.publish_many(b"abc"), TypeError, ("bodies takes a sequence", "bytes")),
    ("bodies as iterator", lambda w: w.queue.put_many(iter([1])), TypeError, ("bodies takes a sequence", "iterator")),
    ("bodies as set", lambda w: w.topic.publish_many({1}), TypeError, ("bodies takes a sequence", "set")),
    ("unknown option", lambda w: w.queue.put(1, keys="k"), TypeError, ("keys",)),
    # getting
    *(
        (f"{call} {value!r}", lambda w, call=call, value=value: CALLS[call](w, value), kind, (field, repr(value)))
        for call, field in (("peek", "limit"), ("get_many", "limit"), ("consume", "prefetch"))
        for value, kind in ((0, ValueError), (-1, ValueError), (1.5, TypeError), ("3", TypeError), (True, TypeError))
    ),
    ("negative within", lambda w: w.queue.get_many(3, within=-1), ValueError, ("within", "-1")),
    ("within of no number", lambda w: w.queue.get_many(3, within="1"), TypeError, ("within", "'1'")),
    ("huge within", lambda w: w.queue.get_many(3, within=10**400), ValueError, ("within", repr(10**400))),
    ("huge timeout", lambda w: w.bus.request(w.queue, 1, timeout=10**400), ValueError, ("timeout", repr(10**400))),
    ("within nan", lambda w: w.queue.get_many(3, within=float("nan")), ValueError, ("within", "nan")),
    ("consumer priority", lambda w: w.queue.consume(priority="high"), TypeError, ("priority", "'high'")),
    ("bool consumer priority", lambda w: w.queue.consume(priority=True), TypeError, ("priority", "True")),
    ("plain get of one at a time", lambda w: w.single.get(), DeclarationError, ("'single'", "consume()")),
    ("plain get of sticky lanes", lambda w: w.sticky.get(), DeclarationError, ("'sticky'", "consume()")),
    # what is full, settled or not the right thing
    ("full", lambda w: w.full.put(1), FullError, ("'full' is full (1 messages)",)),
    ("other settlement", lambda w: w.released.ack(), SettlementError, ("release()", "ack()")),
    ("observer", lambda w: w.bus.observe(print), TypeError, ("observe takes an Observer", "print")),
    ("observer class", lambda w: w.bus.observe(World), TypeError, ("observe takes an Observer", "World")),
]  # fmt: skip

CALLS: dict[str, Callable[..., Any]] = {
    "put": lambda w, **options: w.queue.put(1, **options),
    "put_nowait": lambda w, **options: w.queue.put_nowait(1, **options),
    "put_many": lambda w, **options: w.queue.put_many([1, 2], **options),
    "keyed put": lambda w, **options: w.keyed.put(1, **options),
    "keyed put_many": lambda w, **options: w.keyed.put_many([1, 2], **options),
    "publish": lambda w, **options: w.topic.publish(1, **options),
    "publish_nowait": lambda w, **options: w.topic.publish_nowait(1, **options),
    "publish_many": lambda w, **options: w.topic.publish_many([1, 2], **options),
    "publish by class": lambda w, **options: (w.bus.topic(Event), w.bus.publish(Event(), **options))[1],
    "peek": lambda w, value: w.queue.peek(value),
    "get_many": lambda w, value: w.queue.get_many(value),
    "consume": lambda w, value: w.queue.consume(value),
}


async def finished(call: Callable[[World], Any], world: World) -> None:
    result = call(world)
    if inspect.isawaitable(result):
        with anyio.fail_after(5):
            await result


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
async def test_what_is_wrong_is_named_and_leaves_the_bus_as_it_was(case: Case) -> None:
    name, call, kind, parts = case
    world = World()
    if "by class" in name:
        world.bus.topic(Event)
    before = world.picture()
    with pytest.raises(kind) as caught:
        await finished(call, world)
    assert isinstance(caught.value, kind)
    for part in parts:
        assert part in str(caught.value)
    assert world.picture() == before
    world.bus._engine.check()


async def test_a_bus_names_what_it_cannot_take() -> None:
    with pytest.raises(TypeError, match=r"Bus\.isolation takes an Isolation, but got 'copy'"):
        Bus(isolation="copy")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"Bus\.clock takes an object with time"):
        Bus(clock=5)  # type: ignore[arg-type]
    assert Bus(isolation=Isolation.COPY, clock=None).stats().offset == 0


@pytest.mark.parametrize("where", ["body >", 5, msg.body.x])
async def test_a_replay_with_a_bad_filter_says_so(where: Any) -> None:
    topic = Bus().topic("t", retain=Retention(3))
    with pytest.raises(FilterError):
        await anext(topic.replay(where=where), None)


async def test_a_replay_with_a_bad_key_says_so() -> None:
    topic = Bus().topic("t", retain=Retention(3))
    with pytest.raises(TypeError, match="key takes str, bytes or None, but got 5"):
        await anext(topic.replay(key=5), None)  # type: ignore[arg-type]


async def test_an_exclusive_consumer_that_is_refused_leaves_the_queue_as_it_was() -> None:
    world = World()
    async with world.queue.consume() as consumer:
        before = world.picture()
        with pytest.raises(DeclarationError, match="'q' has 1 consumer"):
            await world.queue.consume(exclusive=True).__aenter__()
        assert world.picture() == before
        world.bus._engine.check()
        assert (await anext(consumer)).body == 3
