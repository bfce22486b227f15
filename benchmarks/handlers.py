"""Handlers: what calling a function costs, against signals, event buses and thread pools; and requests."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from time import perf_counter
from typing import Any

from benchmarks import queues
from benchmarks.harness import Figure
from benchmarks.workload import Order, account, looped, orders, until_joined
from eventbus import Bus
from eventbus.blocking import Bus as BlockingBus

STRIDE = 50
"""How many events a peer is given before they are awaited: those that keep a history refuse more."""


# ours


@looped
async def handled(count: int) -> float:
    async with Bus() as bus:
        queue = bus.queue("orders", queues.FIFO, type=Order)
        with queues.conserving(queue, count) as (bodies, seen):

            @queue.on()
            async def handle(order: Order) -> None:
                seen.append(order)

            return await until_joined(queues.produce(queue, bodies), [], [queue.join])


@looped
async def published(count: int) -> float:
    async with Bus() as bus:
        topic = bus.topic("orders", type=Order)
        bodies, seen = orders(count), list[object]()

        @topic.on("seen", queues.FIFO)
        async def handle(order: Order) -> None:
            seen.append(order)

        async def publish() -> None:
            for body in bodies:
                await topic.publish(body)

        seconds = await until_joined(publish(), [], [bus.join])
        account(bodies, seen)
        return seconds


def in_a_thread(count: int) -> float:
    with BlockingBus() as bus:
        queue = bus.queue("orders", type=Order)
        bodies, seen = orders(count), list[object]()
        queue.handle(seen.append)
        start = perf_counter()
        for body in bodies:
            queue.put(body)
        queue.join()
        seconds = perf_counter() - start
        account(bodies, seen)
        queues.settled(queue, count)
        return seconds


@looped
async def requested(count: int) -> float:
    async with Bus() as bus:
        queue = bus.queue("orders", queues.FIFO, type=Order)
        with queues.conserving(queue, count) as (bodies, seen):

            @queue.on()
            async def answer(order: Order) -> Order:
                return order

            start = perf_counter()
            for body in bodies:
                seen.append(await bus.request(queue, body, timeout=60))  # one by one, as all sides do
            return perf_counter() - start


# theirs


@looped
async def looped_over(count: int) -> float:
    async with Bus() as bus:
        queue = bus.queue("orders", queues.FIFO, type=Order)
        with queues.conserving(queue, count) as (bodies, seen):
            return await until_joined(queues.produce(queue, bodies), [queues.serve(queue, 1, seen)], [queue.join])


@looped
async def blinker_signal(count: int) -> float:
    from blinker import Signal

    bodies, seen = orders(count), list[object]()

    async def receive(sender: object, order: Order) -> None:
        seen.append(order)

    signal = Signal()
    signal.connect(receive)
    start = perf_counter()
    for body in bodies:
        await signal.send_async(None, order=body)
    seconds = perf_counter() - start
    account(bodies, seen)
    return seconds


def event_bus(module: str, options: dict[str, Any]) -> Callable[[int], float]:
    """A side for bubus and for abxbus, its successor: events are models, dispatched or emitted, and awaited."""

    @looped
    async def side(count: int) -> float:
        peer: Any = __import__(module)
        logging.getLogger(module).setLevel(logging.CRITICAL)
        base: Any = peer.BaseEvent
        placed = type("Placed", (base,), {"__annotations__": {"number": int}, "__module__": __name__})
        bus = peer.EventBus(name="Orders", **options)
        seen: list[object] = []

        async def handle(event: Any) -> None:
            seen.append(event.number)

        bus.on(placed, handle)
        send = bus.emit if module == "abxbus" else bus.dispatch
        start = perf_counter()
        for first in range(0, count, STRIDE):
            for event in [send(placed(number=number)) for number in range(first, min(first + STRIDE, count))]:
                await event
        seconds = perf_counter() - start
        account(list(range(count)), seen)
        if hasattr(bus, "stop"):
            await bus.stop()
        return seconds

    return side


@looped
async def faststream_broker(count: int) -> float:
    from faststream.rabbit import RabbitBroker, TestRabbitBroker

    broker = RabbitBroker(logger=None)
    seen: list[object] = []

    @broker.subscriber("orders")
    async def handle(number: int) -> None:
        seen.append(number)

    async with TestRabbitBroker(broker) as test:
        start = perf_counter()
        for number in range(count):
            await test.publish(number, "orders")
        seconds = perf_counter() - start
    account(list(range(count)), seen)
    return seconds


def submitted(count: int) -> float:
    bodies, seen = orders(count), list[object]()
    with ThreadPoolExecutor(1) as pool:
        start = perf_counter()
        for future in [pool.submit(seen.append, body) for body in bodies]:
            future.result()
        seconds = perf_counter() - start
    account(bodies, seen)
    return seconds


@looped
async def ping_pong(count: int) -> float:
    bodies, seen = orders(count), list[object]()
    there: asyncio.Queue[Order] = asyncio.Queue()
    back: asyncio.Queue[Order] = asyncio.Queue()

    async def pong() -> None:
        for _ in range(count):
            await back.put(await there.get())

    task = asyncio.create_task(pong())
    start = perf_counter()
    for body in bodies:
        await there.put(body)
        seen.append(await back.get())
    seconds = perf_counter() - start
    await task
    account(bodies, seen)
    return seconds


PUBLISH = "publish to one async handler"
FEW: dict[str, Any] = {"count": 200, "smoke_count": 20, "most_rounds": 5}

_ALL: tuple[tuple[str | None, Figure], ...] = (
    (None, Figure("async handler, concurrency 1", "async for over the same queue", handled, looped_over, 0.7, 0.9)),
    ("blinker", Figure(PUBLISH, "blinker send_async", published, blinker_signal, 0.4, 0.6)),
    ("bubus", Figure(PUBLISH, "bubus", published, event_bus("bubus", {}), 200, 500, **FEW)),
    ("abxbus", Figure(PUBLISH, "abxbus", published, event_bus("abxbus", {"max_history_drop": True}), 200, 500, **FEW)),
    ("faststream", Figure(PUBLISH, "FastStream's test broker", published, faststream_broker, 200, 500, **FEW)),
    (None, Figure("plain handler on its thread", "concurrent.futures submit", in_a_thread, submitted, 3, 6)),
    (None, Figure("request and reply", "two asyncio.Queues, ping-pong", requested, ping_pong, 0.3, 0.5, count=5_000)),
)

FIGURES = tuple(figure for peer, figure in _ALL if peer is None or find_spec(peer) is not None)
"""All whose peers are installed."""
