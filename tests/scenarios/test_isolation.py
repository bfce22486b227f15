"""Handlers and requests where bodies are kept apart, by copies or a codec: every kind of handler, every face."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import attrs
import pytest

from eventbus import CodecError, EventBusError, Isolation, Keyed, Policy, Retention, Retry
from eventbus.codec import JsonCodec
from tests.kit.faces import Async, Blocking, run_through
from tests.kit.handling import KINDS, Kind, tell
from tests.scenarios.conservation import intact

Scenario = Callable[[Any, Kind, Isolation], Awaitable[None]]
SCENARIOS: list[tuple[Scenario, Kind, Isolation]] = []


def scenario(function: Scenario) -> Scenario:
    """For both ways to keep bodies apart."""
    SCENARIOS.extend((function, kind, isolation) for kind in KINDS for isolation in (Isolation.COPY, Isolation.CODEC))
    return function


def coded_scenario(function: Scenario) -> Scenario:
    SCENARIOS.extend((function, kind, Isolation.CODEC) for kind in KINDS)
    return function


@attrs.define
class Placed:
    id: int
    notes: list[str] = attrs.field(factory=list)


class Half(JsonCodec):
    """Writes what it cannot read."""

    def decode(self, data: bytes, type: Any, /) -> Any:
        if data == b'"half"':
            raise ValueError("not today")
        return super().decode(data, type)


@scenario
async def each_handler_gets_a_body_of_its_own(face: Any, kind: Kind, isolation: Isolation) -> None:
    seen: dict[str, Any] = {}

    def scribe(name: str) -> Any:
        async def handle(body: Placed) -> None:
            body.notes.append(name)
            seen[name] = body

        return handle

    async def gather(bodies: list[Placed]) -> None:
        for body in bodies:
            body.notes.append("batch")
        seen["batch"] = bodies[0]

    async with face.bus(isolation=isolation) as bus:
        topic = bus.topic(Placed, retain=Retention(9))
        for name in ("one", "two"):
            kind.handle(topic.subscription(name), scribe(name))
        kind.handle(topic.subscription("batch", Policy(Keyed())), gather, batch=9)
        event = Placed(1)
        await topic.publish(event)
        await bus.join()
        assert seen == {name: Placed(1, [name]) for name in ("one", "two", "batch")}
        assert event == Placed(1)
        assert [message.body async for message in topic.replay()] == [event]
        intact(bus)


@scenario
async def what_a_handler_publishes_is_its_own_and_names_its_cause(face: Any, kind: Kind, isolation: Isolation) -> None:
    sent: list[Any] = []

    async def handle(body: list[int], delivery: Any) -> None:
        sent.append(body)
        tell(delivery, "next", body)
        delivery.bus.topic("t").publish_nowait(body)
        body.append(2)

    async with face.bus(isolation=isolation) as bus:
        queue, after = bus.queue("q"), bus.queue("next")
        after.bind("t")
        kind.handle(queue, handle)
        offset = await queue.put([1], id="cause")
        await queue.join()
        first, second = (await after.get()).message, (await after.get()).message
        assert (first.body, second.body, sent) == ([1], [1], [[1, 2]])
        assert (first.causation_id, second.correlation_id) == ("cause", "cause")
        assert first.offset > offset
        intact(bus)


@scenario
async def handlers_may_publish_while_the_bus_drains(face: Any, kind: Kind, isolation: Isolation) -> None:
    seen: list[Any] = []

    async def first(body: Any, delivery: Any) -> None:
        tell(delivery, "second", body)

    async def second(body: Any) -> None:
        seen.append(body)

    async with face.bus(isolation=isolation) as bus:
        kind.handle(bus.queue("first"), first)
        kind.handle(bus.queue("second"), second)
        await bus.queue("first").put_many([[number] for number in range(50)])
    assert seen == [[number] for number in range(50)]


@scenario
async def an_answer_is_the_askers_own(face: Any, kind: Kind, isolation: Isolation) -> None:
    given: list[Any] = []
    answers: list[Any] = []

    async def handle(body: list[int]) -> Any:
        body.append(2)
        given.append(body)
        return body

    async def handle_many(bodies: list[Any]) -> Any:
        given.append(bodies)
        return bodies

    async with face.bus(isolation=isolation) as bus:
        kind.handle(bus.queue("one"), handle)
        kind.handle(bus.topic("t").subscription("s"), handle)
        question = [1]
        for asked in ("one", bus.topic("t")):
            answer = await bus.request(asked, question, timeout=10)
            assert (question, answer) == ([1], given[-1])
            assert answer is not given[-1]

        many, by_hand = bus.queue("many"), bus.queue("by hand")

        async def ask(name: str) -> None:
            answers.append(await bus.request(name, 7, timeout=10))

        async def answer_both() -> None:
            while many.stats().ready < 2:
                await face.breathe()
            kind.handle(many, handle_many, batch=2)
            delivery = await by_hand.get()
            reply = [7, 7]
            delivery.reply(reply)
            reply.append(8)

        await face.together(ask("many"), ask("many"), ask("by hand"), answer_both())
        assert answers == [[7, 7]] * 3
        assert len({id(answer) for answer in (*answers, given[-1])}) == 4
        intact(bus)


@coded_scenario
async def a_handler_gets_the_class_that_was_declared(face: Any, kind: Kind, isolation: Isolation) -> None:
    async def handle(body: Placed) -> Any:
        return [type(body).__name__, body]

    async with face.bus(isolation=isolation) as bus:
        kind.handle(bus.queue("q", type=Placed), handle)
        kind.handle(bus.topic(Placed).subscription("s"), handle)
        for asked in ("q", Placed):
            assert await bus.request(asked, {"id": 7}, timeout=10) == ["Placed", {"id": 7, "notes": []}], "no type"


@coded_scenario
async def what_cannot_pass_is_an_error_of_who_asked(face: Any, kind: Kind, isolation: Isolation) -> None:
    async def handle(body: Any) -> Any:
        return object() if body == 1 else "half"

    async with face.bus(isolation=isolation, codec=Half()) as bus:
        queue = bus.queue("q", Policy(retry=Retry(attempts=1)), type=int)
        kind.handle(queue, handle)
        with pytest.raises(CodecError, match="a object cannot be encoded for 'q'"):
            await bus.request(queue, object(), timeout=10)
        assert queue.stats().published == 0
        with pytest.raises(EventBusError, match="rejected in queue 'q': ValidationError: Expected `int`, got `str`"):
            await bus.request(queue, "one", timeout=10)
        with pytest.raises(CodecError, match="a object cannot be encoded for 'q'"):
            await bus.request(queue, 1, timeout=10)
        with pytest.raises(CodecError, match="the answer of queue 'q' cannot be decoded: ValueError: not") as caught:
            await bus.request(queue, 2, timeout=10)
        assert (caught.value.channel, caught.value.type, caught.value.data) == ("q", None, b'"half"')
        await queue.join()
        assert (queue.stats().dead, queue.stats().acked) == (1, 2)
        assert "dead-letters" not in bus.stats().queues
        intact(bus)


@coded_scenario
async def what_no_handler_can_read_reaches_none_and_dies(face: Any, kind: Kind, isolation: Isolation) -> None:
    seen: list[Any] = []

    async def handle(body: Any) -> None:
        seen.append(body)

    async with face.bus(isolation=isolation) as bus:
        queue = bus.queue("q", type=int)
        kind.handle(queue, handle)
        await queue.put_many([1, "two", 3])
        await queue.join()
        assert (await bus.dead_letters.get()).body == b'"two"'
        intact(bus)
    assert seen == [1, 3]


each = pytest.mark.parametrize(
    ("play", "kind", "isolation"),
    SCENARIOS,
    ids=[f"{play.__name__}-{kind.name}-{isolation.value}" for play, kind, isolation in SCENARIOS],
)


@each
@pytest.mark.anyio
async def test_async(play: Scenario, kind: Kind, isolation: Isolation) -> None:
    with anyio.fail_after(30):
        await play(Async(), kind, isolation)


@each
def test_blocking(play: Any, kind: Kind, isolation: Isolation) -> None:
    run_through(play(Blocking(), kind, isolation))
