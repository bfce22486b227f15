"""Requests to handlers of every kind and to pull consumers, on every face, by public API."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from eventbus import (
    Bus,
    ClosedError,
    DeclarationError,
    EventBusError,
    FullError,
    Isolation,
    Keyed,
    Overflow,
    Policy,
    Retention,
    SettlementError,
    UnroutableError,
    blocking,
)
from tests.kit import ManualClock
from tests.kit.faces import Async, Blocking, run_through
from tests.kit.handling import KINDS, Kind, gate, tell
from tests.scenarios.conservation import intact

Scenario = Callable[[Any, Kind], Awaitable[None]]
SCENARIOS: list[tuple[Scenario, Kind]] = []


def scenario(function: Scenario) -> Scenario:
    SCENARIOS.extend((function, kind) for kind in KINDS)
    return function


def once(function: Scenario) -> Scenario:
    """Where it does not matter what kind of handler there is."""
    SCENARIOS.append((function, KINDS[0]))
    return function


async def double(body: int) -> int:
    return 2 * body


@scenario
async def what_the_handler_returns_is_the_answer(face: Any, kind: Kind) -> None:
    async with face.bus() as bus:
        queue = bus.queue("q")
        kind.handle(queue, double)
        assert await bus.request(queue, 4, timeout=10) == 8
        assert await bus.request("q", 4, timeout=None, headers={"a": 1}, key="k", priority=1) == 8
        assert await bus.request(queue, 4, timeout=10, mandatory=True, ttl=10) == 8
        kind.handle(bus.queue("lanes", Policy(Keyed())), double)
        assert await bus.request("lanes", 4, timeout=10, key="k") == 8
        await queue.join()
        assert queue.stats().acked == 3
        intact(bus)


@scenario
async def an_error_of_the_handler_is_raised_where_it_was_asked(
    face: Any, kind: Kind, caplog: pytest.LogCaptureFixture | None = None
) -> None:
    error = LookupError("no such order")

    async def handle(body: Any) -> None:
        raise SystemExit(3) if body == "exit" else error

    async with face.bus() as bus:
        queue = bus.queue("q")
        kind.handle(queue, handle)
        with pytest.raises(LookupError) as caught:
            await bus.request(queue, 1, timeout=10)
        assert caught.value is error
        with pytest.raises(EventBusError, match="failed in queue 'q': SystemExit: 3"):
            await bus.request(queue, "exit", timeout=10)
        await queue.join()
        assert queue.stats().dead == 2
        assert "dead-letters" not in bus.stats().queues
        intact(bus)


@scenario
async def a_batch_answers_all_who_asked(face: Any, kind: Kind) -> None:
    async def handle(bodies: list[int], deliveries: list[Any]) -> str:
        deliveries[0].reply("first")
        return "others"

    async with face.bus() as bus:
        queue = bus.queue("q")
        answers: list[str] = []

        async def ask() -> None:
            answers.append(await bus.request(queue, 1, timeout=10))

        async def answer() -> None:
            while queue.stats().ready < 3:
                await face.breathe()
            kind.handle(queue, handle, batch=9)

        await face.together(ask(), ask(), ask(), answer())
        assert sorted(answers) == ["first", "others", "others"]


@once
async def a_consumer_replies(face: Any, kind: Kind) -> None:
    answers: list[Any] = []

    async with face.bus() as bus:
        queue = bus.queue("q")

        async def ask() -> None:
            answers.append(await bus.request(queue, "four", timeout=10))
            with pytest.raises(ZeroDivisionError):
                await bus.request(queue, "zero", timeout=10)
            with pytest.raises(EventBusError, match="request 3 to 'q' rejected in queue 'q': not mine"):
                await bus.request(queue, "reject", timeout=10)

        async def serve() -> None:
            delivery = await queue.get()
            delivery.reply(4)
            delivery.reply(5)  # the first counts
            with pytest.raises(SettlementError):
                delivery.nack()
            with pytest.raises(ZeroDivisionError), await queue.get():
                1 / 0  # noqa: B018
            (await queue.get()).reject("not mine")

        await face.together(ask(), serve())
        assert answers == [4]
        await queue.put("an event")
        delivery = await queue.get()
        with pytest.raises(SettlementError, match="is no request, so nobody waits for a reply"):
            delivery.reply(1)
        delivery.ack()
        intact(bus)


@once
async def a_batch_that_is_refused_tells_all_who_asked(face: Any, kind: Kind) -> None:
    async with face.bus() as bus:
        queue = bus.queue("q")
        await queue.put("an event")

        async def ask() -> None:
            with pytest.raises(KeyError):
                await bus.request(queue, 1, timeout=10)

        async def refuse() -> None:
            while queue.stats().ready < 3:
                await face.breathe()
            (await queue.get_many(9)).nack(error=KeyError("no"))

        await face.together(ask(), ask(), refuse())


@once
async def a_request_that_nobody_takes_in_time_is_withdrawn(face: Any, kind: Kind) -> None:
    async with face.bus() as bus:
        queue = bus.queue("q")
        with pytest.raises(TimeoutError, match=r"waited 0.01 s for the answer of 'q'"):
            await bus.request(queue, 1, timeout=0.01)
        with pytest.raises(TimeoutError):
            await bus.request(queue, 1, timeout=0)
        assert (queue.stats().ready, queue.stats().purged) == (0, 2)
        full = bus.queue("full", Policy(capacity=1))
        await full.put("there")
        with pytest.raises(TimeoutError):
            await bus.request(full, 1, timeout=0.01)
        assert full.stats().published == 1
        intact(bus)


@once
async def one_that_was_taken_is_not_withdrawn(face: Any, kind: Kind) -> None:
    async def handle(body: Any, delivery: Any) -> None:
        await gate(delivery)
        tell(delivery, "done", body)

    async with face.bus() as bus:
        queue = bus.queue("q")
        kind.handle(queue, handle)
        with pytest.raises(TimeoutError):
            await bus.request(queue, 1, timeout=0.02)
        assert queue.stats().out == 1
        await bus.queue("gate").put("key")
        (await bus.queue("done").get()).ack()
        await queue.join()
        assert queue.stats().acked == 1


@once
async def mandatory_needs_a_consumer_now(face: Any, kind: Kind) -> None:
    async with face.bus() as bus:
        for name, policy in (("q", Policy()), ("lanes", Policy(Keyed()))):
            queue = bus.queue(name, policy)
            with pytest.raises(UnroutableError, match="has no consumer and no running handler"):
                await bus.request(queue, 1, timeout=10, mandatory=True)
            assert queue.stats().published == 0


@once
async def a_topic_is_asked_if_exactly_one_wants_it(face: Any, kind: Kind) -> None:
    class Asked:
        pass

    async with face.bus() as bus:
        topic = bus.topic("t", retain=Retention(count=9))
        with pytest.raises(UnroutableError, match=r"these want it: \[\]"):
            await bus.request(topic, 1, timeout=10)
        kind.handle(topic.subscription("one"), double)
        large = topic.subscription("large", where="body > 5")
        assert await bus.request(topic, 4, timeout=10) == 8
        assert await bus.request("t", 4, timeout=10, mandatory=True) == 8
        with pytest.raises(UnroutableError, match=r"\['t/one', 't/large'\]"):
            await bus.request(topic, 6, timeout=10)
        assert large.stats().published == 0
        assert [message.body async for message in topic.replay()] == []
        kind.handle(bus.topic(Asked).subscription("s"), name_of)
        assert await bus.request(Asked, Asked(), timeout=10) == "Asked"


async def name_of(body: Any) -> str:
    return type(body).__name__


@once
async def what_cannot_be_asked_is_said(face: Any, kind: Kind) -> None:
    async with face.bus() as bus:
        queue = bus.queue("q")
        with pytest.raises(DeclarationError, match="there is no queue and no topic 'nothing'"):
            await bus.request("nothing", 1, timeout=1)
        with pytest.raises(TypeError, match="is asked, but got 7"):
            await bus.request(7, 1, timeout=1)
        for timeout in ("1", True):
            with pytest.raises(TypeError, match="timeout takes seconds"):
                await bus.request(queue, 1, timeout=timeout)
        with pytest.raises(ValueError, match="timeout takes seconds"):
            await bus.request(queue, 1, timeout=-1)
        with pytest.raises(TypeError, match="key takes"):
            await bus.request(queue, 1, timeout=1, key=3)
        with pytest.raises(TypeError, match="priority takes"):
            await bus.request(queue, 1, timeout=1, priority="3")
    with pytest.raises(ClosedError):
        await bus.request(queue, 1, timeout=1)


@once
async def whatever_becomes_of_a_request_its_asker_learns_it(face: Any, kind: Kind) -> None:
    async with face.bus() as bus:
        queue = bus.topic("t").subscription("s")

        async def ask(why: str, error: type[Exception] = EventBusError) -> None:
            with pytest.raises(error, match=why):
                await bus.request(queue, 1, timeout=10)

        async def when_ready(action: Callable[[], Any]) -> None:
            while not queue.stats().ready:
                await face.breathe()
            await action()

        async def purge() -> None:
            queue.purge()

        async def cancel() -> None:
            assert queue.cancel(queue.peek(1)[0].offset)

        async def seek() -> None:
            await queue.get()
            await queue.seek(0)

        await face.together(ask("was purged from queue"), when_ready(purge))
        await face.together(ask("was withdrawn from queue"), when_ready(cancel))
        await face.together(ask("was given up, since queue 't/s' was sought"), when_ready(seek))
        await face.together(ask("ended with queue 't/s'"), when_ready(queue.unsubscribe))


@once
async def the_end_of_the_bus_is_an_answer_too(face: Any, kind: Kind) -> None:
    async with face.bus() as bus:
        queue = bus.queue("q")

        async def ask() -> None:
            with pytest.raises(ClosedError):
                await bus.request(queue, 1, timeout=10)

        async def end() -> None:
            while not queue.stats().ready:
                await face.breathe()
            await bus.aclose()

        await face.together(ask(), end())


@once
async def a_dropped_request_is_an_answer(face: Any, kind: Kind) -> None:
    async with face.bus() as bus:
        queue = bus.queue("q", Policy(capacity=1, overflow=Overflow.DROP_NEWEST, dead_letter="own"))
        await queue.put(1)
        with pytest.raises(EventBusError, match="was dropped, since queue 'q' is full"):
            await bus.request(queue, 2, timeout=10)
        full = bus.queue("full", Policy(capacity=1, overflow=Overflow.FAIL))
        await full.put(1)
        with pytest.raises(FullError):
            await bus.request(full, 2, timeout=10)
        assert "own" not in bus.stats().queues
        intact(bus)


@once
async def a_copy_of_the_answer_is_given(face: Any, kind: Kind) -> None:
    given: list[Any] = []

    class Uncopyable:
        def __deepcopy__(self, memo: Any) -> Any:
            raise ValueError("one of a kind")

    async def handle(body: str) -> Any:
        given.append([body] if body == "list" else Uncopyable())
        return given[-1]

    async with face.bus(isolation=Isolation.COPY) as bus:
        kind.handle(bus.queue("q"), handle)
        answer = await bus.request("q", "list", timeout=10)
        assert answer == given[0]
        assert answer is not given[0]
        with pytest.raises(ValueError, match="one of a kind"):
            await bus.request("q", "unique", timeout=10)


@once
async def a_thousand_at_once_are_no_problem(face: Any, kind: Kind) -> None:
    count = 50 if isinstance(face, Blocking) else 1_000  # each takes a thread there
    async with face.bus() as bus:
        queue = bus.queue("q")
        kind.handle(queue, double, concurrency=4)
        answers: dict[int, int] = {}

        async def ask(number: int) -> None:
            answers[number] = await bus.request(queue, number, timeout=20)

        await face.together(*(ask(number) for number in range(count)))
        assert answers == {number: 2 * number for number in range(count)}
        assert not bus._engine.askers
        intact(bus)


@scenario
async def a_handler_may_ask_another(face: Any, kind: Kind) -> None:
    async def ask(body: int, delivery: Any) -> Any:
        answer = delivery.bus.request("second", body, timeout=10)
        return (await answer if hasattr(answer, "__await__") else answer) + 1

    async with face.bus() as bus:
        kind.handle(bus.queue("second"), double)
        if kind.name != "inline":
            kind.handle(bus.queue("first"), ask)
            assert await bus.request("first", 4, timeout=10) == 9


each = pytest.mark.parametrize(
    ("play", "kind"), SCENARIOS, ids=[f"{play.__name__}-{kind.name}" for play, kind in SCENARIOS]
)


@each
@pytest.mark.anyio
async def test_async(play: Scenario, kind: Kind) -> None:
    with anyio.fail_after(30):
        await play(Async(), kind)


@each
def test_blocking(play: Any, kind: Kind) -> None:
    run_through(play(Blocking(), kind))


@pytest.mark.anyio
async def test_a_cancelled_request_is_withdrawn_and_leaks_nothing() -> None:
    bus = Bus()
    queue = bus.queue("q")
    for moment in range(4):
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(lambda: bus.request(queue, 1, timeout=10))
                for _ in range(moment):
                    await anyio.lowlevel.checkpoint()
                scope.cancel()
        assert queue.stats().ready == 0
        assert not bus._engine.askers
    intact(bus)


@pytest.mark.anyio
async def test_what_runs_out_or_expires_is_an_answer() -> None:
    clock = ManualClock()
    bus = Bus(clock=clock)
    leased, mortal = bus.queue("leased", Policy(lease=1)), bus.queue("mortal", Policy(ttl=1))
    caught: list[str] = []

    async def ask(name: str) -> None:
        with pytest.raises(EventBusError) as error:
            await bus.request(name, 1, timeout=10)
        caught.append(str(error.value))

    async with anyio.create_task_group() as group:
        group.start_soon(ask, "leased")
        group.start_soon(ask, "mortal")
        delivery = await leased.get()
        while not mortal.stats().ready:
            await anyio.lowlevel.checkpoint()
        clock.advance(2)
    assert delivery.settled
    assert sorted(text.split(" to ")[1] for text in caught) == [
        "'leased' failed in queue 'leased': its lease of 1 s ran out",
        "'mortal' expired in queue 'mortal'",
    ]
    assert "dead-letters" not in bus.stats().queues


@pytest.mark.anyio
async def test_the_request_of_another_bus_is_refused() -> None:
    bus, other = Bus(), Bus()
    with pytest.raises(DeclarationError, match="is of another bus; ask that bus"):
        await bus.request(other.queue("q"), 1, timeout=1)
    with pytest.raises(DeclarationError, match="is of another bus; ask that bus"):
        await bus.request(other.topic("t"), 1, timeout=1)


@pytest.mark.anyio
async def test_a_request_carries_its_cause_and_a_handle_of_the_other_face_may_be_asked() -> None:
    seen: list[Any] = []

    async def first(body: Any) -> None:
        seen.append(await bus.request(bus.blocking.queue("second"), body, timeout=10))

    def second(body: Any, delivery: Any) -> str | None:
        return delivery.message.causation_id  # type: ignore[no-any-return]

    async with Bus() as bus:
        bus.queue("second").handle(second)
        bus.queue("first").handle(first)
        await bus.queue("first").put(1, id="cause")
    assert seen == ["cause"]


def test_a_plain_thread_asks_an_async_handler() -> None:
    async def handle(body: int) -> int:
        await anyio.lowlevel.checkpoint()
        return body + 1

    with blocking.Bus() as bus:
        bus.queue("q").handle(handle)
        assert bus.request("q", 1, timeout=10) == 2
