"""The peers' sides, for everything that has the four methods of asyncio.Queue: its own, janus's and culsans's."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

import anyio
import culsans
import janus
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from benchmarks.workload import CAPACITY, Order, account, looped, orders, priorities, together, until_joined


class AwaitedQueue(Protocol):
    """What the peers have in common."""

    async def put(self, item: Any, /) -> None: ...
    async def get(self) -> Any: ...
    def task_done(self) -> None: ...
    async def join(self) -> None: ...


async def produce(queue: AwaitedQueue, bodies: Sequence[Order]) -> None:
    for body in bodies:
        await queue.put(body)


async def take(queue: AwaitedQueue, count: int, seen: list[object]) -> None:
    for _ in range(count):
        seen.append(await queue.get())
        queue.task_done()


async def serve(queue: AwaitedQueue, seen: list[object]) -> None:
    while True:
        seen.append(await queue.get())
        queue.task_done()


async def through(queue: AwaitedQueue, count: int) -> float:
    """One producer, one consumer, one message at a time, and all of it settled."""
    bodies = orders(count)
    seen: list[object] = []
    seconds = await together(produce(queue, bodies), take(queue, count, seen))
    await queue.join()
    account(bodies, seen)
    return seconds


@looped
async def asyncio_queue(count: int) -> float:
    return await through(asyncio.Queue(CAPACITY), count)


@looped
async def janus_queue(count: int) -> float:
    queue: janus.Queue[Order] = janus.Queue(CAPACITY)
    seconds = await through(queue.async_q, count)
    await queue.aclose()
    return seconds


@looped
async def culsans_queue(count: int) -> float:
    queue: culsans.Queue[Order] = culsans.Queue(CAPACITY)
    seconds = await through(queue.async_q, count)
    await queue.aclose()
    return seconds


@looped
async def anyio_stream(count: int) -> float:
    """A stream has no acknowledgement: there is none to make."""
    bodies = orders(count)
    seen: list[object] = []
    sender, receiver = anyio.create_memory_object_stream[Order](CAPACITY)
    async with sender, receiver:
        seconds = await together(send(sender, bodies), receive(receiver, count, seen))
    account(bodies, seen)
    return seconds


async def send(stream: MemoryObjectSendStream[Order], bodies: Sequence[Order]) -> None:
    for body in bodies:
        await stream.send(body)


async def receive(stream: MemoryObjectReceiveStream[Order], count: int, seen: list[object]) -> None:
    for _ in range(count):
        seen.append(await stream.receive())  # noqa: PERF401  # one by one, as all sides do


@looped
async def asyncio_four_getters(count: int) -> float:
    bodies = orders(count)
    seen: list[object] = []
    queue: asyncio.Queue[Order] = asyncio.Queue(CAPACITY)
    consumers = [serve(queue, seen) for _ in range(4)]
    seconds = await until_joined(produce(queue, bodies), consumers, [queue.join])
    account(bodies, seen)
    return seconds


@looped
async def asyncio_fan_out(count: int) -> float:
    bodies = orders(count)
    queues: list[asyncio.Queue[Order]] = [asyncio.Queue(CAPACITY) for _ in range(10)]
    notes: list[list[object]] = [[] for _ in queues]

    async def publish() -> None:
        for body in bodies:
            for queue in queues:
                await queue.put(body)

    consumers = [serve(queue, seen) for queue, seen in zip(queues, notes, strict=True)]
    seconds = await until_joined(publish(), consumers, [queue.join for queue in queues])
    for seen in notes:
        account(bodies, seen)
    return seconds


@looped
async def asyncio_priority_queue(count: int) -> float:
    """Made as one has to make it: a lower number goes first, and a serial keeps bodies from being compared."""
    bodies = orders(count)
    seen: list[object] = []
    queue: asyncio.PriorityQueue[tuple[int, int, Order]] = asyncio.PriorityQueue(CAPACITY)

    async def produce_ranked() -> None:
        for serial, (body, priority) in enumerate(zip(bodies, priorities(count), strict=True)):
            await queue.put((-priority, serial, body))

    async def take_ranked() -> None:
        for _ in range(count):
            seen.append((await queue.get())[2])
            queue.task_done()

    seconds = await together(produce_ranked(), take_ranked())
    await queue.join()
    account(bodies, seen, ordered=False)
    return seconds


@looped
async def asyncio_ping_pong(count: int) -> float:
    bodies = orders(count)
    seen: list[object] = []
    there: asyncio.Queue[Order] = asyncio.Queue()
    back: asyncio.Queue[Order] = asyncio.Queue()

    async def ping() -> None:
        for body in bodies:
            await there.put(body)
            seen.append(await back.get())
            back.task_done()

    async def pong() -> None:
        for _ in range(count):
            body = await there.get()
            await back.put(body)
            there.task_done()

    seconds = await together(ping(), pong())
    account(bodies, seen)
    return seconds
