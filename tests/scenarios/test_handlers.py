"""Handlers of every kind (tasks, threads, in place) on every face (asyncio, trio, blocking), by public API."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from eventbus import (
    EARLIEST,
    Backoff,
    Bus,
    ClosedError,
    DeclarationError,
    FullError,
    Observer,
    Policy,
    Retention,
    Retry,
    Router,
    blocking,
)
from tests.kit.faces import Async, Blocking, run_through
from tests.kit.handling import KINDS, Kind, gate, tell
from tests.scenarios.conservation import conserved

Scenario = Callable[[Any, Kind], Awaitable[None]]
SCENARIOS: list[tuple[Scenario, Kind]] = []

AT_ONCE = Policy(retry=Retry(attempts=2, backoff=Backoff(first=0)))


def scenario(function: Scenario) -> Scenario:
    """For every kind of handler."""
    SCENARIOS.extend((function, kind) for kind in KINDS)
    return function


def waiting_scenario(function: Scenario) -> Scenario:
    """For those that may wait within a handler."""
    SCENARIOS.extend((function, kind) for kind in KINDS if kind.name != "inline")
    return function


async def told(bus: Any, name: str, count: int) -> list[Any]:
    """The next so many bodies that handlers put into a queue."""
    bodies = []
    for _ in range(count):
        delivery = await bus.queue(name).get()
        bodies.append(delivery.body)
        delivery.ack()
    return bodies


@scenario
async def each_message_is_handled_once_and_acked_in_order(face: Any, kind: Kind) -> None:
    seen: list[int] = []

    async def handle(body: int) -> None:
        seen.append(body)

    async with face.bus() as bus:
        queue = bus.queue("q", Policy(capacity=8))
        kind.handle(queue, handle)
        for number in range(600):
            await queue.put(number)
        await queue.join()
        assert queue.stats().acked == 600
    assert seen == list(range(600))


@scenario
async def a_function_of_two_gets_the_delivery_too(face: Any, kind: Kind) -> None:
    seen: list[Any] = []

    async def handle(body: Any, delivery: Any) -> None:
        seen.append((body, delivery.offset, delivery.attempt, delivery.queue.name, delivery.settled))

    async with face.bus() as bus:
        queue = bus.queue("q")
        kind.handle(queue, handle)
        offset = await queue.put("x")
        await bus.join()
    assert seen == [("x", offset, 1, "q", False)]


@scenario
async def what_is_registered_before_the_bus_is_entered_starts_then(face: Any, kind: Kind) -> None:
    seen: list[Any] = []

    async def handle(body: Any) -> None:
        seen.append(body)

    bus = face.bus()
    queue = bus.queue("q")
    kind.handle(queue, handle)
    gone = kind.handle(queue, handle)
    gone.cancel()
    await queue.put(1)
    assert queue.stats().ready == 1
    assert queue.stats().consumers == 0
    async with bus:
        assert queue.stats().consumers == 1
        await queue.join()
    assert seen == [1]


@scenario
async def a_failure_is_logged_nacked_and_disturbs_nobody(face: Any, kind: Kind) -> None:
    seen: list[Any] = []

    async def handle(body: Any, delivery: Any) -> None:
        seen.append((body, delivery.failures))
        if body == "the secret":
            raise ValueError("no good")

    async with face.bus() as bus:
        queue = bus.queue("q", AT_ONCE)
        kind.handle(queue, handle)
        await queue.put_many(["the secret", "fine"])
        await queue.join()
        letter = await bus.dead_letters.get()
        death = letter.message.deaths[0]
        assert (death.queue, death.reason, death.attempts) == ("q", "failed", 2)
        assert death.error == "ValueError: no good"
        letter.ack()
        assert queue.stats().acked == 1
        assert conserved(queue.stats())
    assert sorted(seen) == [("fine", 0), ("the secret", 0), ("the secret", 1)]


@scenario
async def whatever_it_raises_is_its_own_failure(face: Any, kind: Kind) -> None:
    class OddError(BaseException):
        pass

    seen: list[Any] = []

    async def handle(body: Any) -> None:
        seen.append(body)
        if body:
            raise body

    async with face.bus() as bus:
        queue = bus.queue("q", Policy(retry=Retry(attempts=1)))
        kind.handle(queue, handle)
        errors = [OddError(), SystemExit(1)]
        await queue.put_many([*errors, None])
        await queue.join()
        assert seen == [*errors, None]
        assert queue.stats().dead == 2


@scenario
async def what_it_settles_itself_stands(face: Any, kind: Kind) -> None:
    async def handle(body: str, delivery: Any) -> None:
        if body == "ack":
            delivery.ack()
        elif body == "reject":
            delivery.reject("not mine")
        elif body == "release" and delivery.attempt == 1:
            delivery.release()
        elif body == "reject and raise":
            delivery.reject("not mine either")
            raise ValueError

    async with face.bus() as bus:
        queue = bus.queue("q", AT_ONCE)
        kind.handle(queue, handle)
        await queue.put_many(["ack", "reject", "release", "reject and raise"])
        await queue.join()
        stats = queue.stats()
        assert (stats.acked, stats.dead, stats.failed) == (2, 2, 2)
        letters = await bus.dead_letters.get_many(9)
        assert sorted(d.message.deaths[0].error for d in letters) == ["not mine", "not mine either"]


@scenario
async def a_cancelled_handler_takes_no_more(face: Any, kind: Kind) -> None:
    seen: list[Any] = []

    async def handle(body: Any) -> None:
        seen.append(body)

    async with face.bus() as bus:
        queue = bus.queue("q")
        handler = kind.handle(queue, handle, concurrency=3)
        await queue.put(1)
        await queue.join()
        handler.cancel()
        handler.cancel()
        await queue.put(2)
        assert [message.body for message in queue.peek(9)] == [2]
        assert handler.queue.name == "q"
        assert callable(handler.function)
        kind.handle(queue, handle)
        await queue.join()
    assert seen == [1, 2]


@waiting_scenario
async def as_many_work_at_once_as_it_says(face: Any, kind: Kind) -> None:
    async def handle(body: Any, delivery: Any) -> None:
        tell(delivery, "begun", body)
        await gate(delivery)

    async with face.bus() as bus:
        queue = bus.queue("q")
        kind.handle(queue, handle, concurrency=3)
        await queue.put_many([1, 2, 3, 4])
        assert sorted(await told(bus, "begun", 3)) == [1, 2, 3]
        assert queue.stats().ready == 1
        assert queue.stats().consumers == 3
        await bus.queue("gate").put("key")
        await queue.join()


@scenario
async def batches_gather_and_are_settled_whole(face: Any, kind: Kind) -> None:
    seen: list[Any] = []

    async def handle(bodies: list[Any], deliveries: list[Any]) -> None:
        assert type(bodies) is type(deliveries) is list
        seen.append(bodies)
        if "late" in bodies:
            deliveries[0].reject()
            raise ValueError

    async with face.bus() as bus:
        queue = bus.queue("q", Policy(retry=Retry(attempts=1)))
        await queue.put_many(["a", "b", "c"])
        kind.handle(queue, handle, batch=2)
        await queue.join()
        assert seen == [["a", "b"], ["c"]]
        await queue.put_many(["x", "late"])
        await queue.join()
        assert seen[2:] == [["x", "late"]]
        assert (queue.stats().acked, queue.stats().dead) == (3, 2)
        reasons = [d.message.deaths[0].reason for d in await bus.dead_letters.get_many(9)]
        assert reasons == ["rejected", "failed"]


@scenario
async def a_batch_waits_for_more_for_a_while(face: Any, kind: Kind) -> None:
    seen: list[Any] = []

    async def handle(bodies: list[Any]) -> None:
        seen.append(bodies)

    async with face.bus() as bus:
        queue = bus.queue("q")
        kind.handle(queue, handle, batch=3, within=30)
        await queue.put(1)
        await queue.put(2)
        await queue.put(3)
        await queue.join()
        assert seen == [[1, 2, 3]]
        other = bus.queue("other")
        kind.handle(other, handle, batch=3, within=0.01)
        await other.put(4)
        await other.join()
        assert seen[1:] == [[4]]


@waiting_scenario
async def a_batch_that_gathers_goes_back_when_its_handler_is_cancelled(face: Any, kind: Kind) -> None:
    async def handle(bodies: list[Any], deliveries: list[Any]) -> None:
        for body in bodies:
            tell(deliveries[0], "handled", body)

    async with face.bus() as bus:
        queue = bus.queue("q")
        handler = kind.handle(queue, handle, batch=3, within=30)
        await queue.put(1)
        while queue.stats().out == 0:
            await face.breathe()
        handler.cancel()
        delivery = await queue.get()
        assert (delivery.body, delivery.attempt) == (1, 1)
        delivery.ack()
        assert "handled" not in bus.stats().queues


@scenario
async def leaving_empties_the_queues_and_takes_what_handlers_publish(face: Any, kind: Kind) -> None:
    seen: list[Any] = []

    async def first(body: int, delivery: Any) -> None:
        if body == 0 and delivery.attempt == 1:
            raise ValueError("once")
        delivery.bus.topic("t").publish_nowait(body)

    async def second(body: int, delivery: Any) -> None:
        tell(delivery, "last", body)

    async def last(body: int) -> None:
        seen.append(body)

    bus = face.bus()
    async with bus:
        queue, unhandled = bus.queue("q", AT_ONCE), bus.queue("unhandled")
        kind.handle(bus.topic("t").subscription("s"), second)
        kind.handle(bus.queue("last"), last)
        kind.handle(queue, first)
        await queue.put_many(list(range(5)))
        await queue.put("never", delay=3600)
        await unhandled.put("nobody's")
    assert sorted(seen) == list(range(5))
    await bus.aclose()
    with pytest.raises(ClosedError):
        await queue.put(1)


@waiting_scenario
async def while_it_drains_nothing_comes_in_from_outside(face: Any, kind: Kind) -> None:
    async def handle(body: Any, delivery: Any) -> None:
        seen.append(body)
        if body == "slow":
            tell(delivery, "begun", body)
            await gate(delivery)
            tell(delivery, "q", "from inside")

    seen: list[Any] = []
    refused: list[Any] = []
    bus = face.bus()
    queue, full = bus.queue("q"), bus.queue("full", Policy(capacity=1))

    async def begin_and_end() -> None:
        async with bus:
            kind.handle(queue, handle)
            await queue.put("slow")
            await full.put("there")
            await told(bus, "begun", 1)
            await bus.queue("ready").put("set")

    async def wait_for_room(key: Any) -> None:
        await told(bus, "ready", 1)
        with pytest.raises(ClosedError, match="takes no more messages but from its own handlers"):
            await full.put("from outside")
        for attempt in (
            lambda: queue.put(1),
            lambda: queue.put(1, headers={"a": 1}),
            lambda: queue.put_many([1, 2]),
            lambda: bus.topic("t").publish(1),
            lambda: bus.topic("t").publish_many([1, 2]),
            lambda: bus.queue("new").put(1),
            lambda: full.redrive(to="q"),
        ):
            with pytest.raises(ClosedError):
                await attempt()
            refused.append(attempt)
        key.release()

    await bus.queue("gate").put("key")
    key = await bus.queue("gate").get()
    await face.together(begin_and_end(), wait_for_room(key))
    assert seen == ["slow", "from inside"]
    assert len(refused) == 7


@waiting_scenario
async def a_drain_that_cannot_finish_ends_in_time(face: Any, kind: Kind) -> None:
    async def handle(body: Any, delivery: Any) -> None:
        tell(delivery, "begun", body)
        await gate(delivery)

    async with face.bus(drain=0.02) as bus:
        queue = bus.queue("q")
        kind.handle(queue, handle)
        await queue.put(1)
        await told(bus, "begun", 1)
    with pytest.raises(ClosedError):
        queue.stats()


@waiting_scenario
async def leaving_by_an_exception_ends_at_once_and_the_exception_is_itself(face: Any, kind: Kind) -> None:
    async def handle(body: Any, delivery: Any) -> None:
        tell(delivery, "begun", body)
        await gate(delivery)

    class OwnError(Exception):
        pass

    async def leave() -> None:
        async with face.bus() as bus:
            queue = bus.queue("q")
            kind.handle(queue, handle)
            await queue.put(1)
            await told(bus, "begun", 1)
            raise OwnError

    with pytest.raises(OwnError) as caught:
        await leave()
    assert caught.value.__context__ is None


@scenario
async def the_cause_of_a_message_is_followed(face: Any, kind: Kind) -> None:
    async def first(body: Any, delivery: Any) -> None:
        delivery.bus.queue("second").put_nowait(body, id="b")

    async def second(body: Any, delivery: Any) -> None:
        delivery.bus.topic("t").publish_nowait(body)

    async with face.bus() as bus:
        kind.handle(bus.queue("first"), first)
        kind.handle(bus.queue("second"), second)
        end = bus.topic("t").subscription("s")
        offset = await bus.queue("first").put("x")
        await bus.queue("first").put("y", id="a")
        chains = []
        for _ in range(2):
            delivery = await end.get()
            chains.append((delivery.body, delivery.message.correlation_id, delivery.message.causation_id))
            delivery.ack()
        assert chains == [("x", str(offset), "b"), ("y", "a", "b")]
        await bus.queue("after").put(1)
        outside = (await bus.queue("after").get()).message
        assert (outside.correlation_id, outside.causation_id) == (None, None)


@scenario
async def what_comes_later_names_its_cause_too(face: Any, kind: Kind) -> None:
    async def handle(body: Any, delivery: Any) -> None:
        put = delivery.bus.queue("after").put(body, delay=0.001)
        if inspect.isawaitable(put):
            await put

    async with face.bus() as bus:
        first = await bus.queue("q").put("x")
        await bus.queue("after").put("from outside", delay=0.0001)
        kind.handle(bus.queue("q"), handle)
        causes = {}
        for _ in range(2):
            delivery = await bus.queue("after").get()
            causes[delivery.body] = delivery.message.causation_id
            delivery.ack()
        await bus.queue("after").put("from outside again", delay=0.0001)
        delivery = await bus.queue("after").get()
        causes[delivery.body] = delivery.message.causation_id
        assert causes == {"x": str(first), "from outside": None, "from outside again": None}


@scenario
async def what_is_put_in_a_batch_names_its_cause_too(face: Any, kind: Kind) -> None:
    async def handle(body: Any, delivery: Any) -> None:
        put = delivery.bus.queue("after").put_many([body, body])
        if inspect.isawaitable(put):
            await put

    async with face.bus() as bus:
        await bus.queue("after").put_many(["from outside"])
        first = await bus.queue("q").put("x")
        kind.handle(bus.queue("q"), handle)
        await bus.queue("q").join()
        batch = await bus.queue("after").get_many(9)
        causes = [delivery.message.causation_id for delivery in batch]
        batch.ack()
        assert causes == [None, str(first), str(first)]


@scenario
async def a_batch_of_its_own_names_its_cause_too(face: Any, kind: Kind) -> None:
    async def handle(bodies: list[Any], deliveries: list[Any]) -> None:
        tell(deliveries[0], "after", bodies)

    async with face.bus() as bus:
        first, _ = await bus.queue("q").put_many([1, 2])
        kind.handle(bus.queue("q"), handle, batch=2)
        message = (await bus.queue("after").get()).message
        assert (message.body, message.causation_id) == ([1, 2], str(first))


@scenario
async def decorators_leave_the_function_as_it_was(face: Any, kind: Kind) -> None:
    seen: list[Any] = []
    inline = kind.name == "inline"

    async def by_queue(body: Any) -> None:
        seen.append(("queue", body))

    async def by_topic(body: Any, delivery: Any) -> None:
        seen.append(("topic", body, delivery.queue.name))

    async def by_bus(body: Any) -> None:
        seen.append(("bus", body))

    async def by_router(body: Any) -> None:
        seen.append(("router", body))

    class Placed:
        pass

    functions = [kind.wrap(f) for f in (by_queue, by_topic, by_bus, by_router)]
    router = Router()
    assert router.on(Placed, "r", inline=inline)(functions[3]) is functions[3]
    bus = face.bus()
    bus.include(router)
    async with bus:
        assert bus.queue("q").on(inline=inline)(functions[0]) is functions[0]
        assert bus.topic("t").on("named", where="body > 1", inline=inline)(functions[1]) is functions[1]
        assert bus.on(Placed, "b", inline=inline)(functions[2]) is functions[2]
        await bus.queue("q").put(1)
        await bus.topic("t").publish(1)
        await bus.topic("t").publish(2)
        event = Placed()
        await bus.publish(event)
        await bus.join()
    assert sorted(seen, key=repr) == sorted(
        [("queue", 1), ("topic", 2, "t/named"), ("bus", event), ("router", event)], key=repr
    )


@scenario
async def a_handler_of_a_topic_may_begin_with_its_past(face: Any, kind: Kind) -> None:
    seen: list[Any] = []

    async def handle(body: Any) -> None:
        seen.append(body)

    async with face.bus() as bus:
        topic = bus.topic("t", retain=Retention(count=9))
        await topic.publish_many([1, 2])
        topic.on("late", start=EARLIEST, inline=kind.name == "inline")(kind.wrap(handle))
    assert seen == [1, 2]


@scenario
async def a_handler_may_register_another(face: Any, kind: Kind) -> None:
    seen: list[Any] = []

    async def second(body: Any) -> None:
        seen.append(body)

    async def first(body: Any, delivery: Any) -> None:
        queue = delivery.bus.queue("second")
        kind.handle(queue, second)
        queue.put_nowait(body)

    async with face.bus() as bus:
        kind.handle(bus.queue("first"), first)
        await bus.queue("first").put(1)
    assert seen == [1]


@scenario
async def a_handler_may_cancel_itself(face: Any, kind: Kind) -> None:
    handlers: list[Any] = []

    async def handle(body: Any) -> None:
        handlers[0].cancel()

    async with face.bus() as bus:
        queue = bus.queue("q")
        handlers.append(kind.handle(queue, handle))
        await queue.put_many([1, 2])
        while queue.stats().consumers:
            await face.breathe()
        assert [message.body for message in queue.peek(9)] == [2]
        assert queue.stats().acked == 1


@scenario
async def a_handler_may_purge_its_queue_and_publish_to_it(face: Any, kind: Kind) -> None:
    seen: list[Any] = []

    async def handle(body: Any, delivery: Any) -> None:
        seen.append(body)
        if body == 1:
            delivery.queue.purge()
            delivery.queue.put_nowait("again")

    async with face.bus() as bus:
        queue = bus.queue("q")
        await queue.put_many([1, 2, 3])
        kind.handle(queue, handle)
        await queue.join()
        assert conserved(queue.stats())
        assert queue.stats().purged == 2
    assert seen == [1, "again"]


@waiting_scenario
async def a_handler_that_fills_its_own_queue_is_told_so(face: Any, kind: Kind) -> None:
    errors: list[Any] = []

    async def handle(body: Any, delivery: Any) -> None:
        if body != 1:
            return
        try:
            for number in (2, 3):
                waiting = delivery.queue.put(number)
                if inspect.isawaitable(waiting):
                    await waiting
        except FullError as error:
            errors.append(error.cycle)

    async with face.bus() as bus:
        queue = bus.queue("q", Policy(capacity=1))
        kind.handle(queue, handle)
        await queue.put(1)
    assert errors == [("q",)]


@waiting_scenario
async def a_handler_may_end_its_own_subscription(face: Any, kind: Kind) -> None:
    async def handle(body: Any, delivery: Any) -> None:
        ended = delivery.queue.unsubscribe()
        if inspect.isawaitable(ended):
            await ended

    async with face.bus() as bus:
        subscription = bus.topic("t").subscription("s")
        kind.handle(subscription, handle)
        await bus.topic("t").publish_many([1, 2])
        while "t/s" in bus.stats().queues:
            await face.breathe()
        with pytest.raises(ClosedError):
            kind.handle(subscription, handle)


@waiting_scenario
async def a_handler_may_close_the_bus(face: Any, kind: Kind) -> None:
    async def handle(body: Any, delivery: Any) -> None:
        bus = delivery.bus
        ended = bus.aclose() if hasattr(bus, "aclose") else bus.close()
        if inspect.isawaitable(ended):
            await ended

    async with face.bus() as bus:
        queue = bus.queue("q")
        kind.handle(queue, handle)
        await queue.put(1)
        while not bus._engine.closed:
            await face.breathe()
        with pytest.raises(ClosedError):
            await queue.put(2)


@waiting_scenario
async def a_lease_that_runs_out_under_a_handler_is_said(face: Any, kind: Kind) -> None:
    attempts: list[int] = []

    async def handle(body: Any, delivery: Any) -> None:
        attempts.append(delivery.attempt)
        if delivery.attempt == 1:
            while not delivery.settled:
                await face.breathe()
                delivery.bus.stats()

    async with face.bus() as bus:
        queue = bus.queue("q", Policy(lease=0.01, retry=Retry(backoff=Backoff(first=0))))
        kind.handle(queue, handle)
        await queue.put(1)
        await queue.join()
        assert (queue.stats().acked, queue.stats().failed) == (1, 1)
    assert attempts == [1, 2]


@scenario
async def registering_after_the_end_says_so(face: Any, kind: Kind) -> None:
    async def handle(body: Any) -> None: ...

    async with face.bus() as bus:
        queue = bus.queue("q")
    with pytest.raises(ClosedError):
        kind.handle(queue, handle)


@scenario
async def a_bus_whose_handler_cannot_start_is_not_half_open(face: Any, kind: Kind) -> None:
    async def handle(body: Any) -> None: ...

    bus = face.bus()
    kind.handle(bus.queue("free"), handle)
    async with bus.queue("taken").consume(exclusive=True):
        kind.handle(bus.queue("taken"), handle)
        with pytest.raises(DeclarationError, match="exclusive"):
            async with bus:
                raise AssertionError
    with pytest.raises(ClosedError):
        bus.queue("free")


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


# what one face alone has


@pytest.mark.anyio
async def test_a_cancelled_async_handler_releases_what_it_works_on() -> None:
    begun = anyio.Event()

    async def handle(body: Any) -> None:
        begun.set()
        await anyio.sleep_forever()

    async with Bus() as bus:
        queue = bus.queue("q")
        handler = queue.handle(handle)
        await queue.put(1)
        await begun.wait()
        handler.cancel()
        delivery = await queue.get()
        assert (delivery.attempt, delivery.failures) == (2, 0)
        delivery.ack()


def test_a_cancelled_plain_handler_finishes_what_it_works_on() -> None:
    async def handle(body: Any, delivery: Any) -> None:
        tell(delivery, "begun", body)
        await gate(delivery)

    with blocking.Bus() as bus:
        queue = bus.queue("q")
        handler = Kind("plain").handle(queue, handle)
        queue.put(1)
        bus.queue("begun").get().ack()
        handler.cancel()
        assert queue.stats().out == 1
        bus.queue("gate").put("key")
        queue.join(timeout=10)
        assert queue.stats().acked == 1


def test_a_task_that_is_cancelled_by_itself_is_replaced() -> None:
    async def main() -> None:
        seen = []

        async def handle(body: str) -> None:
            seen.append(body)
            if body == "cancel" and len(seen) == 1:
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
                await asyncio.sleep(0)
            if body == "await":
                future = asyncio.get_running_loop().create_future()
                future.cancel()
                await future  # this task is not cancelled, so that is a failure like any other

        async with Bus() as bus:
            queue = bus.queue("q", AT_ONCE)
            queue.handle(handle)
            await queue.put_many(["cancel", "await", "fine"])
        assert seen == ["cancel", "cancel", "await", "await", "fine"]

    asyncio.run(main())


def test_a_loop_that_ends_without_leaving_the_bus_ends_its_handlers() -> None:
    async def main(bus: Bus) -> None:
        await bus.__aenter__()
        await bus.queue("q").put(1)
        await anyio.lowlevel.checkpoint()

    bus = Bus()
    queue = bus.queue("q")

    async def handle(body: Any) -> None:
        await anyio.sleep_forever()

    handler = queue.handle(handle)
    asyncio.run(main(bus))
    handler.cancel()
    bus.blocking.close()


@pytest.mark.anyio
async def test_a_bus_may_be_left_in_another_task_than_it_was_entered_in() -> None:
    seen = []
    bus = Bus()

    async def handle(body: int) -> None:
        seen.append(body)

    bus.queue("q").handle(handle)
    async with anyio.create_task_group() as group:
        group.start_soon(bus.__aenter__)
    await bus.queue("q").put(1)
    async with anyio.create_task_group() as group:
        group.start_soon(bus.__aexit__, None, None, None)
    assert seen == [1]


@pytest.mark.anyio
async def test_both_faces_share_handlers() -> None:
    seen = []
    done = anyio.Event()

    async def in_a_task(body: Any, delivery: Any) -> None:
        assert isinstance(delivery.bus, Bus)
        await delivery.bus.queue("second").put(body)

    def in_a_thread(body: Any, delivery: Any) -> None:
        assert isinstance(delivery.bus, blocking.Bus)
        delivery.bus.queue("third").put(body)

    async def last(body: Any) -> None:
        seen.append(body)
        done.set()

    async with Bus() as bus:
        await anyio.to_thread.run_sync(bus.blocking.queue("first").handle, in_a_task)
        bus.queue("second").handle(in_a_thread)
        bus.blocking.queue("third").handle(last)
        await bus.queue("first").put(1)
        await done.wait()
    assert seen == [1]


@pytest.mark.anyio
async def test_the_cause_reaches_child_tasks_and_worker_threads() -> None:
    async def handle(body: Any) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(after.put, "child")
        await anyio.to_thread.run_sync(bus.blocking.queue("after").put, "thread")
        await after.put_many(["many", "more"])

    async with Bus() as bus:
        after = bus.queue("after")
        bus.queue("q").handle(handle)
        await bus.queue("q").put(1, id="the cause")
        batch = [await after.get() for _ in range(4)]
        assert [delivery.message.causation_id for delivery in batch] == ["the cause"] * 4
        other = Bus()
        await other.queue("q").put(2)
        assert (await other.queue("q").get()).message.causation_id is None


@pytest.mark.anyio
async def test_a_handler_of_one_bus_is_outside_of_another() -> None:
    other = Bus()
    done = anyio.Event()

    async def handle(body: Any) -> None:
        await other.queue("q").put(body)
        done.set()

    async with Bus() as bus:
        bus.queue("q").handle(handle)
        await bus.queue("q").put(1)
        await done.wait()
    message = other.queue("q").get_nowait().message
    assert (message.correlation_id, message.causation_id) == (None, None)


def test_failures_are_logged_with_all_but_the_body(caplog: pytest.LogCaptureFixture) -> None:
    def handle(body: str) -> None:
        raise ValueError("no good")

    def handle_many(bodies: list[str]) -> None:
        raise ValueError("no good either")

    with caplog.at_level(logging.WARNING, "eventbus"), blocking.Bus() as bus:
        one, many = (bus.queue(name, Policy(retry=Retry(attempts=1))) for name in ("one", "many"))
        one.put("the secret")
        many.put_many(["the secret", "the secret"])
        one.handle(handle)
        many.handle(handle_many, batch=2)
        bus.join(timeout=10)
    assert sorted(record.getMessage() for record in caplog.records) == [
        "deliveries 2 to 3 of queue 'many', attempt 1, failed",
        "delivery 1 of queue 'one', attempt 1, failed",
    ]
    assert all(record.exc_info for record in caplog.records)
    assert "in handle" in caplog.text
    assert "the secret" not in caplog.text


def test_what_does_not_end_is_said(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def handle(body: Any) -> None:
        begun.set()
        go_on.wait(10)

    with caplog.at_level(logging.WARNING, "eventbus"):
        with blocking.Bus(drain=0) as bus:
            bus.queue("q").handle(handle)
            bus.queue("q").put(1)
            begun.wait(10)
        go_on.set()
    drained, left = [record.getMessage() for record in caplog.records]
    assert drained == "handlers did not empty their queues in 0 s, and are cancelled: {'q': 1}"
    assert left.startswith("the bus is closed, and left behind what does not end: <Handler")


@pytest.mark.parametrize("batch", [None, 1])
def test_a_thread_that_is_done_with_its_message_is_waited_for(
    caplog: pytest.LogCaptureFixture, batch: int | None
) -> None:
    settling, go_on = threading.Event(), threading.Event()

    class Slow(Observer):
        def settled(self, delivery: Any, outcome: str) -> None:
            settling.set()
            go_on.wait(10)

    with caplog.at_level(logging.WARNING, "eventbus"), blocking.Bus() as bus:
        bus.observe(Slow())
        bus.queue("q").handle(lambda body: None, batch=batch)
        bus.queue("q").put(1)
        settling.wait(10)
        threading.Timer(0.05, go_on.set).start()
    assert not caplog.records


# how they are registered


def three(a: Any, b: Any, c: Any) -> None: ...
def none() -> None: ...
def keyword(body: Any, *, needed: Any) -> None: ...
def generator(body: Any) -> Any:
    yield


async def async_generator(body: Any) -> Any:
    yield


class Target:
    async def __call__(self, body: Any) -> None:
        self.body = body


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (three, "must take one required positional parameter, the body, or two, .* but takes 3"),
        (none, "but takes 0"),
        (keyword, "but takes 1 and the keyword 'needed'"),
        (generator, "is a generator"),
        (async_generator, "is a generator"),
        (type("Blank", (), {"__call__": type})(), "does not say what it takes"),
        (7, "a handler is a function, but got 7"),
    ],
)
def test_what_cannot_handle_a_message_is_refused_when_registered(function: Any, message: str) -> None:
    bus = Bus()
    for register in (bus.queue("q").handle, bus.queue("q").on(), bus.topic("t").on("n"), Router().on("t")):
        with pytest.raises(TypeError, match=message):
            register(function)
    assert bus.stats().queues["q"].consumers == 0


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"concurrency": 0}, ValueError),
        ({"concurrency": "2"}, TypeError),
        ({"inline": 1}, TypeError),
        ({"batch": 0}, ValueError),
        ({"batch": 2, "within": -1}, ValueError),
        ({"within": 1}, TypeError),
    ],
)
def test_wrong_handling_is_refused(options: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=next(reversed(options))):
        Bus().queue("q").handle(print_body, **options)


def print_body(body: Any) -> None: ...


def test_on_without_parentheses_says_so() -> None:
    bus = Bus()
    for on in (bus.queue("q").on, bus.topic("t").on, bus.on, Router().on, bus.blocking.queue("q").on):
        with pytest.raises(TypeError, match="needs parentheses"):
            on(print_body)  # type: ignore[arg-type,operator]


def test_optional_parameters_and_callable_objects_are_fine() -> None:
    def optional(body: Any, delivery: Any = None, *rest: Any, flag: bool = False) -> None:
        seen.append((body, delivery))

    seen: list[Any] = []
    target = Target()
    with blocking.Bus() as bus:
        bus.queue("q").handle(optional)
        bus.queue("object").handle(target)
        bus.queue("builtin").handle(seen.append)
        for name in ("q", "object", "builtin"):
            bus.queue(name).put(1)
    assert sorted(seen, key=repr) == [(1, None), 1]
    assert target.body == 1


def test_a_subscription_without_a_name_is_called_as_its_function() -> None:
    bus = Bus()
    bus.topic("t").on()(print_body)
    bus.topic("t").on()(print_body)  # the same function once more is two workers
    name = f"t/{__name__}.print_body"
    assert name in bus.stats().queues

    def other(body: Any) -> None: ...

    other.__qualname__ = "print_body"
    with pytest.raises(DeclarationError, match="give it a name of its own"):
        bus.topic("t").on()(other)
    bus.topic("t").on("other")(other)
    with pytest.raises(DeclarationError, match="has no name of its own"):
        bus.topic("t").on()(Target())


def test_a_router_is_included_whole_or_not_at_all() -> None:
    router = Router()
    router.on("t", "fine")(print_body)
    router.on("t", "x" * 300)(print_body)
    bus = Bus()
    with pytest.raises(DeclarationError):
        bus.include(router)
    assert not bus._host.crew.employers
    assert repr(router) == "<Router with 2 handlers>"
    with pytest.raises(TypeError, match="include takes a Router"):
        bus.include(bus)  # type: ignore[arg-type]


def test_a_plain_function_that_returns_a_coroutine_has_failed(caplog: pytest.LogCaptureFixture) -> None:
    async def work(body: Any) -> None: ...

    with blocking.Bus() as bus:
        for name, inline in (("thread", False), ("task", True)):
            queue = bus.queue(name, Policy(retry=Retry(attempts=1)))
            queue.handle(lambda body: work(body), inline=inline)
            queue.put(1)
            batches = bus.queue(f"{name} batches", Policy(retry=Retry(attempts=1)))
            batches.handle(lambda bodies: work(bodies), inline=inline, batch=2)
            batches.put(1)
        bus.join(timeout=10)
        errors = [delivery.message.deaths[0].error for delivery in bus.dead_letters.get_many(9)]
    assert len(errors) == 4
    assert all("which nobody awaits; make it an async function" in str(error) for error in errors)


def test_a_handler_has_a_repr() -> None:
    handler = Bus().queue("q").handle(print_body)
    assert repr(handler) == "<Handler print_body of queue 'q'>"


@pytest.mark.parametrize("drain", [-1, "30", None, float("inf")])
def test_drain_is_seconds(drain: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=r"Bus\.drain takes seconds"):
        Bus(drain=drain)
