"""The codec: what is written comes back, what can't be says so, and a bus that uses it is as honest as a broker."""

from __future__ import annotations

import dataclasses
import enum
import json
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, Union
from uuid import UUID

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventbus import (
    EARLIEST,
    Bus,
    CodecError,
    DeclarationError,
    Isolation,
    Keyed,
    Message,
    Observer,
    Overflow,
    Policy,
    Priority,
    Retention,
    msg,
)
from eventbus.codec import JsonCodec
from tests.kit import ManualClock
from tests.scenarios.conservation import intact

anyio = pytest.mark.anyio


class Colour(enum.Enum):
    RED = "red"


@attrs.frozen
class Item:
    name: str
    price: Decimal | None = None


@attrs.frozen
class Placed:
    id: int
    items: list[Item] = attrs.field(factory=list)
    colour: Colour = Colour.RED


@dataclasses.dataclass(frozen=True)
class Cancelled:
    id: int
    at: datetime | None = None


class Shipped(msgspec.Struct, frozen=True):
    id: UUID
    tags: tuple[str, ...] = ()


@attrs.frozen
class Nothing:
    pass


SEVERAL = Placed | Cancelled | Shipped | Nothing

items = st.builds(Item, st.text(), st.none() | st.decimals(allow_nan=False, allow_infinity=False))
placed = st.builds(Placed, st.integers(), st.lists(items))
cancelled = st.builds(Cancelled, st.integers(), st.none() | st.datetimes(timezones=st.just(UTC)))
shipped = st.builds(Shipped, st.uuids(), st.lists(st.text()).map(tuple))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda parts: st.lists(parts) | st.dictionaries(st.text(), parts),
)


def back(body: Any, type: Any) -> Any:
    codec = JsonCodec()
    data = codec.encode(body, type)
    assert isinstance(data, bytes)
    return JsonCodec().decode(data, type)


# the codec by itself


@given(json_values)
def test_what_json_has_comes_back_without_a_type(body: Any) -> None:
    assert back(body, None) == body


@given(
    st.one_of(
        placed.map(lambda b: (b, Placed)), cancelled.map(lambda b: (b, Cancelled)), shipped.map(lambda b: (b, Shipped))
    )
)
def test_classes_come_back_by_their_type(pair: tuple[Any, Any]) -> None:
    body, kind = pair
    assert back(body, kind) == body
    assert type(back(body, kind)) is kind


@given(placed | cancelled | shipped | st.just(Nothing()))
def test_several_classes_on_one_channel_are_told_apart_by_name(body: Any) -> None:
    assert back(body, SEVERAL) == body
    assert type(back(body, SEVERAL)) is type(body)


@given(st.lists(st.integers()) | st.sets(st.integers()) | st.binary())
def test_builtins_come_back_by_their_type(body: Any) -> None:
    kind = bytes if isinstance(body, bytes) else type(body)[int]  # type: ignore[index]
    assert back(body, kind) == body


def test_the_name_of_a_class_is_in_the_json_and_may_be_chosen() -> None:
    @attrs.frozen
    class Renamed:
        __event__ = "order-refunded"
        id: int

    codec = JsonCodec()
    assert codec.encode(Placed(1), SEVERAL).startswith(b'{"@type":"Placed",')
    assert json.loads(codec.encode(Placed(1), SEVERAL)) == {"@type": "Placed", "id": 1, "items": [], "colour": "red"}
    assert codec.encode(Nothing(), SEVERAL) == b'{"@type":"Nothing"}'
    assert codec.encode(Renamed(2), Renamed | Placed) == b'{"@type":"order-refunded","id":2}'
    assert codec.decode(b'{"id":2,"@type":"order-refunded"}', Renamed | Placed) == Renamed(2)
    assert codec.decode(codec.encode(Placed(1), SEVERAL), Placed) == Placed(1), "who wants one class needs no name"


def test_a_union_may_be_written_in_both_ways() -> None:
    for union in (Placed | Cancelled, Union[Placed, Cancelled]):  # noqa: UP007
        assert back(Cancelled(1), union) == Cancelled(1)


def test_what_json_can_tell_apart_needs_no_name() -> None:
    assert JsonCodec().encode(Placed(1), Placed | None) == JsonCodec().encode(Placed(1), Placed)
    assert back(None, Placed | None) is None
    assert [back(body, int | str) for body in (1, "1")] == [1, "1"]


def test_a_name_found_in_data_is_looked_up_and_never_imported() -> None:
    for name in ("os.system", "Item", "placed"):
        with pytest.raises(TypeError, match=f"called '{name}', which is none of"):
            JsonCodec().decode(b'{"@type":"%s"}' % name.encode(), SEVERAL)
    with pytest.raises(msgspec.ValidationError):
        JsonCodec().decode(b'{"id":1}', SEVERAL)


def test_what_is_none_of_the_classes_is_refused() -> None:
    with pytest.raises(TypeError, match="none of"):
        JsonCodec().encode(Item("x"), SEVERAL)


def test_classes_that_cannot_be_told_apart_by_name_are_refused() -> None:
    def another() -> type:
        @attrs.frozen
        class Placed:
            pass

        return Placed

    with pytest.raises(TypeError, match="same name"):
        JsonCodec().encode(Placed(1), Placed | another())


def test_only_an_object_has_room_for_a_name() -> None:
    class Row(msgspec.Struct, array_like=True):
        id: int

    with pytest.raises(TypeError, match="no JSON object"):
        JsonCodec().encode(Row(1), Row | Placed | Cancelled)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_in_json_is_no_null(number: float) -> None:
    for body in (number, [None, {"a": (1, number)}], {"a": {1.5, number}}, {"a": number, "b": b"x"}):
        with pytest.raises(ValueError, match="JSON has no number"):
            JsonCodec().encode(body, None)
    assert back([None, "null", {"null": [1.5]}], None) == [None, "null", {"null": [1.5]}]


@pytest.mark.parametrize("type", [5, "Placed"])
def test_what_is_no_type_is_refused(type: Any) -> None:
    with pytest.raises(TypeError):
        JsonCodec().encode(1, type)


def test_msgspec_is_imported_when_first_needed() -> None:
    code = """
import sys
from eventbus import Isolation
from eventbus.blocking import Bus
bus = Bus()
bus.queue("q").put(1)
assert "msgspec" not in sys.modules
Bus(isolation=Isolation.CODEC).queue("q").put(1)
assert "msgspec" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


# a bus that passes bodies through it


def coded(**options: Any) -> Bus:
    return Bus(isolation=Isolation.CODEC, **options)


@anyio
@pytest.mark.parametrize(
    "policy", [Policy(), Policy(Priority()), Policy(Keyed(3)), Policy(capacity=2, overflow=Overflow.DROP_OLDEST)]
)
async def test_every_queue_and_the_topics_past_get_what_the_codec_makes(policy: Policy) -> None:
    bus = coded()
    topic = bus.topic(Placed, retain=Retention(9))
    one, two = topic.subscription("one", policy), topic.subscription("two", where=msg.body.id == 7)
    raw = bus.queue("raw")
    raw.bind("Placed")
    body = Placed(7, [Item("apple", Decimal("0.10"))])
    await bus.publish(body)
    await topic.publish_many([body])
    late = topic.subscription("late", start=EARLIEST)
    replayed = [m.body async for m in topic.replay()]
    bodies = [*replayed, *(m.body for queue in (one, two, late) for m in queue.peek(9))]
    assert bodies == [body] * 8
    assert len({id(each) for each in [body, *bodies]}) == 9
    assert len({id(each.items) for each in [body, *bodies]}) == 9
    as_json = {"id": 7, "items": [{"name": "apple", "price": "0.10"}], "colour": "red"}
    assert [m.body for m in raw.peek(9)] == [body] * 2, "an untyped queue gets the type of the topic"
    untyped = coded().queue("q")
    await untyped.put(body)
    assert (await untyped.get()).body == as_json
    intact(bus)


@anyio
async def test_a_receiver_gets_the_type_that_it_declares() -> None:
    bus = coded()
    queue = bus.queue("ids", type=Nothing)
    queue.bind("Placed")
    bus.queue("plain", type=dict).bind("Placed")
    await bus.publish(Placed(1))
    assert (await queue.get()).body == Nothing()
    assert (await bus.queue("plain").get()).body["id"] == 1


@anyio
async def test_several_classes_share_a_topic() -> None:
    @attrs.frozen
    class Opened:
        __topic__ = "shop"
        id: int

    @attrs.frozen
    class Closed:
        __topic__ = "shop"
        id: int

    bus = coded()
    topic = bus.topic("shop", type=Opened | Closed)
    assert bus.topic("shop", type=Closed | Opened) is topic
    assert bus.topic(Opened) is topic
    everything = topic.subscription("all")
    await bus.publish(Opened(1))
    await bus.publish(Closed(1))
    assert [m.body for m in everything.peek(9)] == [Opened(1), Closed(1)]
    with pytest.raises(DeclarationError, match="differs from"):
        bus.topic("shop", type=Opened)


@anyio
async def test_the_bus_encodes_once_for_any_number_of_receivers_and_decodes_for_each() -> None:
    class Counting(JsonCodec):
        encoded = decoded = 0

        def encode(self, body: Any, type: Any, /) -> bytes:
            self.encoded += 1
            return super().encode(body, type)

        def decode(self, data: bytes, type: Any, /) -> Any:
            self.decoded += 1
            return super().decode(data, type)

    codec = Counting()
    bus = coded(codec=codec)
    topic = bus.topic("t")
    for name in "abc":
        topic.subscription(name)
    await topic.publish({"a": 1}, headers={"h": 1})
    assert (codec.encoded, codec.decoded) == (1, 3)
    await topic.publish_many([1, 2])
    assert (codec.encoded, codec.decoded) == (3, 9)


@anyio
async def test_headers_come_as_json_has_them() -> None:
    bus = coded()
    queue = bus.queue("q")
    headers = {"list": [1], "tuple": (1, 2)}
    await queue.put(1, headers=headers)
    delivery = await queue.get()
    assert dict(delivery.headers) == {"list": [1], "tuple": [1, 2]}
    assert delivery.headers["list"] is not headers["list"]
    with pytest.raises(CodecError, match="a dict cannot be encoded for 'q'"):
        await queue.put(1, headers={"thing": object()})
    assert queue.stats().published == 1


# what cannot be encoded


class Opaque:
    pass


@anyio
async def test_what_cannot_be_encoded_fails_its_publisher_and_nothing_has_happened() -> None:
    bus = coded()
    queue, topic = bus.queue("q"), bus.topic("t", retain=Retention(9))
    subscription = topic.subscription("s", where=lambda message: False)
    fails = bus.queue("fails", Policy(overflow=Overflow.FAIL))
    loop: list[Any] = []
    loop.append(loop)
    for body in (Opaque(), "\ud800", float("nan"), loop):
        for call in (
            lambda: queue.put(body),  # noqa: B023
            lambda: topic.publish(body),  # noqa: B023
            lambda: queue.put_many([1] * 600 + [body]),  # noqa: B023
            lambda: topic.publish_many([1, body]),  # noqa: B023
            lambda: topic.publish_many([1, body], mandatory=False),  # noqa: B023
            lambda: fails.put_many([1, body]),  # noqa: B023
        ):
            with pytest.raises(CodecError, match=r"cannot be encoded for '(q|t|fails)'") as caught:
                await call()
            assert caught.value.channel in ("q", "t", "fails")
            assert caught.value.__cause__ is not None
            assert (caught.value.data, caught.value.offset, caught.value.type) == (None, None, None)
    for nowait in (queue.put_nowait, topic.publish_nowait):
        with pytest.raises(CodecError):
            nowait(Opaque())
    assert bus.stats().offset == subscription.stats().published == 0
    intact(bus)


@anyio
async def test_a_codec_that_makes_no_bytes_is_named() -> None:
    class Wrong(JsonCodec):
        def encode(self, body: Any, type: Any, /) -> Any:
            return "text"

    with pytest.raises(CodecError, match="must encode to bytes, but made a str of a int for 'q'"):
        await coded(codec=Wrong()).queue("q", type=int).put(1)


@anyio
async def test_what_interrupts_a_codec_is_no_error_of_its() -> None:
    class Interrupted(JsonCodec):
        def encode(self, body: Any, type: Any, /) -> bytes:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await coded(codec=Interrupted()).queue("q").put(1)


# what cannot be decoded


@anyio
@pytest.mark.parametrize("policy", [Policy(), Policy(Priority()), Policy(Keyed()), Policy(ttl=9)])
async def test_what_cannot_be_decoded_goes_to_the_dead_letters_with_its_raw_bytes(policy: Policy) -> None:
    clock = ManualClock(5.0)
    bus = coded(clock=clock)
    queue = bus.queue("q", policy, type=Placed)
    offset = await queue.put({"id": "seven"}, key="k", headers={"h": 1})  # type: ignore[arg-type]
    await queue.put({"id": []}, delay=3)  # type: ignore[arg-type]
    await queue.put(Placed(1))
    assert (await queue.get()).body == Placed(1)
    stats = queue.stats()
    assert (stats.published, stats.dead, stats.out, stats.ready, stats.delayed) == (3, 2, 1, 0, 0)
    letter = await bus.dead_letters.get()
    assert bytes(letter.body) == b'{"id":"seven"}'
    assert isinstance(letter.body, bytes)
    assert (letter.key, letter.headers["h"]) == ("k", 1)
    death = letter.message.deaths[0]
    assert (death.queue, death.reason, death.offset, death.attempts, death.time) == ("q", "rejected", offset, 0, 5.0)
    assert death.error == "ValidationError: Expected `int`, got `str` - at `$.id`"
    intact(bus)


@anyio
async def test_those_who_can_read_a_message_get_it_though_another_cannot() -> None:
    bus = coded()
    topic = bus.topic("t")
    reads = topic.subscription("reads")
    strict = bus.queue("strict", Policy(capacity=1), type=Placed)
    strict.bind("t")
    await topic.publish({"total": 1})
    await topic.publish({"total": 2})  # what is dead on arrival takes no room
    assert [m.body for m in reads.peek(9)] == [{"total": 1}, {"total": 2}]
    assert (strict.stats().dead, bus.dead_letters.stats().ready) == (2, 2)
    intact(bus)


@anyio
async def test_a_queue_without_dead_letters_discards_what_cannot_be_decoded() -> None:
    bus = coded()
    queue = bus.queue("q", Policy(dead_letter=None), type=int)
    await queue.put("x")  # type: ignore[arg-type]
    assert (queue.stats().dead, queue.stats().ready) == (1, 0)
    intact(bus)


class Moody(JsonCodec):
    """Decodes only when it likes."""

    likes = True

    def decode(self, data: bytes, type: Any, /) -> Any:
        if not self.likes:
            raise ValueError("not today")
        return super().decode(data, type)


@anyio
async def test_what_could_not_be_decoded_is_tried_again_when_it_is_redriven() -> None:
    codec = Moody()
    bus = coded(codec=codec)
    queue = bus.topic(Placed).subscription("s")
    codec.likes = False
    await bus.publish(Placed(1))
    assert await bus.dead_letters.redrive() == 1
    letter = bus.dead_letters.peek(9)
    assert [death.error for death in letter[0].deaths] == ["ValueError: not today"] * 2
    codec.likes = True
    assert await bus.dead_letters.redrive() == 1
    assert (await queue.get()).body == Placed(1)
    intact(bus)


@anyio
async def test_a_dead_letter_that_could_be_decoded_is_moved_as_it_is() -> None:
    bus = coded(codec=(codec := Moody()))
    queue = bus.queue("q")
    await queue.put([1])
    (await queue.get()).reject()
    codec.likes = False
    assert await bus.dead_letters.redrive() == 1
    assert (await queue.get()).body == [1]


@anyio
async def test_history_that_cannot_be_decoded_goes_to_the_dead_letters_of_who_wanted_it() -> None:
    clock = ManualClock(5.0)
    bus = coded(clock=clock)
    topic = bus.topic("t", retain=Retention(9), type=Placed)
    bus.topic(Cancelled, retain=Retention(9))
    first = await topic.publish({"id": "x"})  # type: ignore[arg-type]
    await topic.publish(Placed(1))
    clock.advance(10)
    late = topic.subscription("late", start=EARLIEST)
    assert [m.body for m in late.peek(9)] == [Placed(1)]
    other = bus.subscription("other", "t", start=EARLIEST, where=msg.body.id == 1)
    assert [m.body for m in other.peek(9)] == [Placed(1)]
    letters = bus.dead_letters.peek(9)
    assert [(m.body, m.deaths[0].queue, m.deaths[0].offset, m.deaths[0].time) for m in letters] == [
        (b'{"id":"x"}', "t/late", first, 15.0)
    ]
    await late.seek(EARLIEST)
    assert len(bus.dead_letters.peek(9)) == 2
    intact(bus)


@anyio
async def test_a_replay_says_what_it_cannot_read_and_goes_on_after_it() -> None:
    bus = coded()
    topic = bus.topic("t", retain=Retention(9), type=Placed)
    await topic.publish(Placed(1))
    bad = await topic.publish({"id": "x"})  # type: ignore[arg-type]
    await topic.publish(Placed(2))
    reading = topic.replay()
    assert (await anext(reading)).body == Placed(1)
    with pytest.raises(CodecError, match=rf"message {bad} of topic 't' cannot be decoded.*start={bad + 1}") as caught:
        await anext(reading)
    error = caught.value
    assert (error.channel, error.type, error.data, error.offset) == ("t", Placed, b'{"id":"x"}', bad)
    assert [m.body async for m in topic.replay(bad + 1)] == [Placed(2)]
    assert [m.body async for m in topic.replay(where=msg.body.id == 2)] == [Placed(2)], "nobody asked for it"


@anyio
async def test_an_observer_sees_a_copy_of_its_own() -> None:
    class Watcher(Observer):
        def __init__(self) -> None:
            self.seen: list[Any] = []

        def published(self, message: Message[Any], queues: Sequence[str]) -> None:
            self.seen.append(message.body)

    bus, watcher = coded(), Watcher()
    bus.observe(watcher)
    queue, topic = bus.queue("q", type=list), bus.topic("t", type=list)
    body = [1]
    await queue.put(body)
    await topic.publish(body)
    assert watcher.seen == [[1], [1]]
    assert all(seen is not body for seen in (*watcher.seen, (await queue.get()).body))


@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), json_values), max_size=8))
def test_what_goes_in_comes_out_in_order(sent: list[tuple[str, Any]]) -> None:
    bus = coded().blocking
    topic = bus.topic("t", retain=Retention(100))
    queues = [topic.subscription("fifo"), topic.subscription("keyed", Policy(Keyed()))]
    for key, body in sent:
        topic.publish(body, key=key)
    for queue in queues:
        got = []
        while queue.stats().ready:
            with queue.get() as delivery:
                got.append((delivery.key, delivery.body))
        assert sorted(got, key=lambda pair: str(pair[0])) == sorted(sent, key=lambda pair: pair[0])
    assert [m.body for m in topic.replay()] == [body for _, body in sent]
    intact(bus)  # type: ignore[arg-type]


@pytest.mark.parametrize("codec", [5, object(), SimpleNamespace(encode=JsonCodec().encode)])
def test_what_is_no_codec_is_refused(codec: Any) -> None:
    with pytest.raises(TypeError, match=r"Bus\.codec takes an object with encode\(body, type\) and decode"):
        Bus(codec=codec)
