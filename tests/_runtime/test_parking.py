"""Suspending a task and waking it: from its own loop, from another thread, or when its loop has ended."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import anyio
import anyio.to_thread
import pytest

from eventbus import Bus, Policy, Queue, Retention
from eventbus._core.errands import run_errands
from eventbus._runtime.parking import Port, Ports, Sleeper
from tests.kit import turns

trio = pytest.importorskip("trio")


def ports_of(bus: Bus) -> Ports:
    return bus._ports


def sleeper_of(port: Port) -> Sleeper:
    sleeper = port.sleeper()
    sleeper.begin(port.party(), None)
    return sleeper


def in_thread(function: Callable[[], Any]) -> Any:
    """What the function returns, run in a thread that ends."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()
    thread.join(30)
    assert results, "the thread did not end well"
    return results[0]


# sleepers


@pytest.mark.anyio
async def test_one_loop_has_one_port() -> None:
    ports = ports_of(Bus())
    port = ports.here()
    assert ports.here() is port
    assert port.here()
    assert not port.ended()
    assert not in_thread(port.here)


@pytest.mark.anyio
async def test_a_party_is_the_task() -> None:
    port = ports_of(Bus()).here()
    parties = [port.party()]

    async def other() -> None:
        parties.append(port.party())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(other)
    assert port.party() is parties[0] is not parties[1]


@pytest.mark.anyio
async def test_a_sleeper_sleeps_until_it_is_woken() -> None:
    port = ports_of(Bus()).here()
    woken = []

    async def sleep(number: int) -> None:
        sleeper = sleeper_of(port)
        sleepers.append(sleeper)
        await sleeper.sleep()
        woken.append(number)

    sleepers: list[Sleeper] = []
    async with anyio.create_task_group() as tasks:
        for number in range(3):
            tasks.start_soon(sleep, number)
            await turns()
        assert not woken
        for expected in (1, 0, 2):
            sleepers[expected].run()
            await turns()
            assert woken[-1] == expected
    assert len(woken) == 3


@pytest.mark.anyio
async def test_a_wake_before_the_sleep_ends_it_at_once_and_counts_once() -> None:
    port = ports_of(Bus()).here()
    sleeper = sleeper_of(port)
    sleeper.run()
    sleeper.run()
    await sleeper.sleep()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await sleeper.sleep()
    assert scope.cancelled_caught


@pytest.mark.anyio
async def test_a_second_wake_of_one_sleep_ends_the_next_one_early() -> None:
    port = ports_of(Bus()).here()
    sleeper = sleeper_of(port)

    async with anyio.create_task_group() as tasks:
        ended = []

        async def sleep() -> None:
            sleeper.begin(port.party(), None)
            for number in range(2):
                await sleeper.sleep()
                ended.append(number)

        tasks.start_soon(sleep)
        await turns()
        sleeper.run()
        sleeper.run()
        await turns()
        assert ended == [0, 1]


@pytest.mark.anyio
async def test_a_cancelled_sleep_is_over() -> None:
    port = ports_of(Bus()).here()
    sleeper = sleeper_of(port)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await sleeper.sleep()
    assert scope.cancelled_caught
    sleeper.run()
    await sleeper.sleep()


@pytest.mark.anyio
async def test_wakes_from_another_thread_all_arrive() -> None:
    bus = Bus()
    port = ports_of(bus).here()
    woken = 0

    async def sleep() -> None:
        nonlocal woken
        sleeper = sleeper_of(port)
        sleepers.append(sleeper)
        await sleeper.sleep()
        woken += 1

    sleepers: list[Sleeper] = []
    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(sleep)
        await turns()
        bus._engine.errands.extend(sleepers)
        await anyio.to_thread.run_sync(run_errands, bus._engine.errands)
    assert woken == 20


# waiting


@pytest.mark.anyio
async def test_until_tries_again_after_each_wake_and_no_more() -> None:
    ports = ports_of(Bus())
    tries: list[Any] = []
    given_up: list[Any] = []
    answer = 0

    def attempt(waiter: Any) -> int:
        tries.append(waiter)
        return answer

    async def wait() -> None:
        assert await ports.until(attempt, given_up.append) == 7

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await turns()
        assert len(tries) == 1
        tries[0].run()
        await turns()
        assert len(tries) == 2
        answer = 7
        tries[0].run()
    assert len(tries) == 3
    assert not given_up


@pytest.mark.anyio
async def test_until_gives_up_when_it_is_cancelled_or_the_attempt_raises() -> None:
    ports = ports_of(Bus())
    given_up: list[Any] = []
    with anyio.CancelScope() as scope:
        await ports.until(lambda waiter: scope.cancel() or 0, given_up.append)
    assert len(given_up) == 1
    with pytest.raises(ZeroDivisionError):
        await ports.until(lambda waiter: 1 // 0, given_up.append)
    assert len(given_up) == 2


@pytest.mark.anyio
async def test_a_sleeper_that_nobody_uses_is_used_again() -> None:
    ports = ports_of(Bus())
    seen: list[Any] = []
    for _ in range(3):
        await ports.until(lambda waiter: not seen.append(waiter), lambda waiter: None)  # type: ignore[func-returns-value]
    assert len(set(map(id, seen))) == 1


# threads and loops


@pytest.mark.anyio
@pytest.mark.parametrize("other", ["asyncio", "trio"])
async def test_loops_in_two_threads_share_a_bus(other: str) -> None:
    bus = Bus()
    there, back = bus.queue("there", Policy(capacity=1)), bus.queue("back", Policy(capacity=1))

    async def echo() -> None:
        async with there.consume() as consumer:
            async for delivery in consumer:
                await back.put(delivery.body)
                delivery.ack()
                if delivery.body == 49:
                    return

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(anyio.to_thread.run_sync, lambda: anyio.run(echo, backend=other))

        async def put() -> None:
            for body in range(50):
                await there.put(body)

        tasks.start_soon(put)
        for expected in range(50):
            (delivery := await back.get()).ack()
            assert delivery.body == expected
    bus._engine.check()


@pytest.mark.anyio
async def test_a_plain_thread_wakes_a_task() -> None:
    queue = Bus().queue("q")
    got = []

    async def receive() -> None:
        got.append((await queue.get()).body)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(receive)
        await turns()
        await anyio.to_thread.run_sync(queue.put_nowait, "b")
    assert got == ["b"]


ABANDONED: list[Any] = []
"""What loops that ended left behind, kept so that the garbage collector does not end it after all."""


def abandon(function: Callable[[], Any]) -> None:
    """Run a coroutine on a loop that is closed while the coroutine, and what it started, still wait."""
    loop = asyncio.new_event_loop()
    ABANDONED.append(loop.create_task(function()))
    for _ in range(50):
        loop.call_soon(loop.stop)
        loop.run_forever()
    for task in asyncio.all_tasks(loop):
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        ABANDONED.append(task)
    loop.close()


@pytest.mark.anyio
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
async def test_a_loop_that_ended_takes_its_consumers_with_it(backend: str) -> None:
    """What they held comes back as soon as somebody waits for it."""
    bus = Bus()
    queue = bus.queue("q")
    await queue.put_many([1, 2, 3])

    async def hold() -> None:
        consumer = queue.consume(2)
        await consumer.__aenter__()
        await anext(consumer)
        ABANDONED.append(consumer)

    await anyio.to_thread.run_sync(lambda: anyio.run(hold, backend=backend))
    assert (queue.stats().out, queue.stats().consumers) == (1, 1)
    bodies = []
    async with queue.consume(until_empty=True) as consumer:
        async for delivery in consumer:
            bodies.append(delivery.body)
            delivery.ack()
    assert sorted(bodies) == [1, 2, 3]
    assert queue.stats().consumers == 0
    assert len(ports_of(bus).by_native) == 1
    bus._engine.check()


@pytest.mark.anyio
async def test_a_wake_for_a_loop_that_ended_goes_to_the_next_in_line() -> None:
    bus = Bus()
    queue = bus.queue("q")
    await anyio.to_thread.run_sync(abandon, queue.get)
    got = []

    async def receive() -> None:
        got.append((await queue.get()).body)

    assert len(queue._state.getters) == 1
    await queue.put("b")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(receive)
    assert got == ["b"]
    assert len(queue._state.getters) == 0
    bus._engine.check()


@pytest.mark.anyio
async def test_publishers_joiners_and_replays_of_a_loop_that_ended_are_forgotten() -> None:
    bus = Bus()
    queue = bus.queue("q", Policy(capacity=1))
    topic = bus.topic("t", retain=Retention(1))
    await queue.put(1)

    async def everything() -> None:
        async with anyio.create_task_group() as tasks, queue.consume() as consumer:
            ABANDONED.append(consumer)
            replay = topic.replay(follow=True)
            ABANDONED.append(replay)
            for call in (lambda: queue.put(2), queue.join, bus.join, replay.__anext__):
                tasks.start_soon(call)
            await anyio.sleep_forever()

    await anyio.to_thread.run_sync(abandon, everything)
    assert queue.stats().waiting_putters == 1
    async with queue.consume() as consumer:
        (await anext(consumer)).ack()
        with anyio.CancelScope() as scope:
            scope.cancel()
            await anext(consumer)
    stats = queue.stats()
    assert (stats.waiting_putters, stats.consumers, stats.ready, stats.out) == (0, 0, 0, 0)
    await queue.join()
    await bus.join()
    bus._engine.check()


@pytest.mark.anyio
async def test_a_trio_port_in_the_thread_of_a_run_that_ended_is_not_here() -> None:
    def run() -> tuple[bool, bool]:
        bus = Bus()
        ports: list[Port] = []

        async def main() -> None:
            ports.append(ports_of(bus).here())

        trio.run(main)
        return ports[0].here(), ports[0].ended()

    assert await anyio.to_thread.run_sync(run) == (False, True)


@pytest.mark.anyio
async def test_a_wake_for_a_trio_run_that_ended_goes_to_the_next_in_line() -> None:
    bus = Bus()
    queue = bus.queue("q")
    kept: list[Any] = []

    async def main() -> None:
        port = ports_of(bus).here()
        sleeper = sleeper_of(port)
        sleeper.begin(port.party(), queue._receivers)
        queue._state.take_in_turn(queue._receivers, sleeper)
        kept.append(sleeper)

    await anyio.to_thread.run_sync(lambda: trio.run(main))
    assert len(queue._state.getters) == 1
    queue.put_nowait("b")
    assert len(queue._state.getters) == 0
    assert queue.get_nowait().body == "b"
    bus._engine.check()


def test_trio_as_the_guest_of_asyncio_waits_by_trio() -> None:
    """Code that trio runs inside asyncio's loop has no asyncio task."""
    bus = Bus()
    queue: Queue[Any] = bus.queue("q")
    got: list[Any] = []

    async def guest() -> None:
        got.append((await queue.get()).body)

    async def host() -> None:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Any] = loop.create_future()
        trio.lowlevel.start_guest_run(
            guest,
            run_sync_soon_threadsafe=loop.call_soon_threadsafe,
            done_callback=done.set_result,
            host_uses_signal_set_wakeup_fd=True,
        )
        while not len(queue._state.getters):
            await anyio.lowlevel.checkpoint()
        await queue.put("b")
        (await done).unwrap()

    asyncio.run(host())
    assert got == ["b"]
