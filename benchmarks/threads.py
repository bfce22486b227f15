"""Threads: one to another, many to many, and between a thread and an event loop."""

from __future__ import annotations

import asyncio
import queue as stdlib
import threading
from collections.abc import Callable, Coroutine, Sequence
from time import perf_counter
from typing import Any

import culsans
import janus

from benchmarks import queues
from benchmarks.harness import Figure, Kind
from benchmarks.workload import CAPACITY, PATIENCE, LostMessageError, Order, account, looped, orders
from eventbus import Bus as AsyncBus
from eventbus.blocking import Bus, Queue

BATCH = 64
CREW = 8

Job = Callable[[], None]


def crew(*jobs: Job) -> float:
    """Seconds until all of the jobs, a thread each, are done; what one of them raises is raised here."""
    errors: list[BaseException] = []
    gate = threading.Barrier(len(jobs) + 1)

    def run(job: Job) -> None:
        gate.wait()
        try:
            job()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(job,), daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    gate.wait()
    start = perf_counter()
    for thread in threads:
        thread.join(PATIENCE)
        if thread.is_alive():
            raise LostMessageError(f"a thread still waits after {PATIENCE:g} s")
    if errors:
        raise errors[0]
    return perf_counter() - start


# ours


def produce(queue: Queue[Order], bodies: Sequence[Order]) -> None:
    for body in bodies:
        queue.put(body)


def take(queue: Queue[Order], count: int, seen: list[object]) -> None:
    for _ in range(count):
        delivery = queue.get()
        seen.append(delivery.body)
        delivery.ack()


def conserved(queue: Queue[Order], bodies: Sequence[Order], seen: Sequence[object], *, ordered: bool = True) -> None:
    account(bodies, seen, ordered=ordered)
    queues.settled(queue, len(bodies))


def thread_to_thread(count: int) -> float:
    with Bus() as bus:
        queue = bus.queue("orders", queues.FIFO, type=Order)
        bodies, seen = orders(count), list[object]()
        seconds = crew(lambda: produce(queue, bodies), lambda: take(queue, count, seen))
        conserved(queue, bodies, seen)
        return seconds


def in_batches(count: int) -> float:
    with Bus() as bus:
        queue = bus.queue("orders", queues.FIFO, type=Order)
        bodies, seen = orders(count), list[object]()

        def send() -> None:
            for start in range(0, count, BATCH):
                queue.put_many(bodies[start : start + BATCH])

        def receive() -> None:
            while len(seen) < count:
                batch = queue.get_many(BATCH)
                for delivery in batch:
                    seen.append(delivery.body)  # one by one, as all sides do
                batch.ack()

        seconds = crew(send, receive)
        conserved(queue, bodies, seen)
        return seconds


def alone(count: int) -> float:
    with Bus() as bus:
        queue = bus.queue("orders", queues.FIFO, type=Order)
        bodies, seen = orders(count), list[object]()
        start = perf_counter()
        for body in bodies:
            queue.put(body)
            delivery = queue.get()
            seen.append(delivery.body)
            delivery.ack()
        seconds = perf_counter() - start
        conserved(queue, bodies, seen)
        return seconds


def many_to_many(count: int) -> float:
    with Bus() as bus:
        queue = bus.queue("orders", queues.FIFO, type=Order)
        bodies, notes = orders(count), [list[object]() for _ in range(CREW)]
        producers = [lambda n=n: produce(queue, bodies[n::CREW]) for n in range(CREW)]
        shares = [len(bodies[n::CREW]) for n in range(CREW)]
        consumers = [lambda n=n: take(queue, shares[n], notes[n]) for n in range(CREW)]
        seconds = crew(*producers, *consumers)
        conserved(queue, bodies, [body for seen in notes for body in seen], ordered=False)
        return seconds


def round_trip(count: int) -> float:
    with Bus() as bus:
        there = bus.queue("there", queues.FIFO, type=Order)
        back = bus.queue("back", queues.FIFO, type=Order)
        bodies, seen = orders(count), list[object]()

        def ping() -> None:
            for body in bodies:
                there.put(body)
                take(back, 1, seen)

        def pong() -> None:
            for _ in range(count):
                delivery = there.get()
                back.put(delivery.body)
                delivery.ack()

        seconds = crew(ping, pong)
        conserved(back, bodies, seen)
        return seconds


def beside_a_loop(work: Coroutine[Any, Any, None], job: Job) -> float:
    """Seconds until a task and a thread are done."""
    return crew(lambda: asyncio.run(work), job)


def thread_to_task(count: int) -> float:
    bus = AsyncBus()
    queue = bus.queue("orders", queues.FIFO, type=Order)
    bodies, seen = orders(count), list[object]()
    threads = bus.blocking.queue("orders")
    seconds = beside_a_loop(queues.take(queue, count, seen), lambda: produce(threads, bodies))
    conserved(threads, bodies, seen)
    bus.blocking.close()
    return seconds


def task_to_thread(count: int) -> float:
    bus = AsyncBus()
    queue = bus.queue("orders", queues.FIFO, type=Order)
    bodies, seen = orders(count), list[object]()
    threads = bus.blocking.queue("orders")
    seconds = beside_a_loop(queues.produce(queue, bodies), lambda: take(threads, count, seen))
    conserved(threads, bodies, seen)
    bus.blocking.close()
    return seconds


# theirs


def fill(queue: Any, bodies: Sequence[Order]) -> None:
    for body in bodies:
        queue.put(body)


def drain(queue: Any, count: int, seen: list[object]) -> None:
    for _ in range(count):
        seen.append(queue.get())
        queue.task_done()


def stdlib_queue(count: int) -> float:
    queue: stdlib.Queue[Order] = stdlib.Queue(CAPACITY)
    bodies, seen = orders(count), list[object]()
    seconds = crew(lambda: fill(queue, bodies), lambda: drain(queue, count, seen))
    queue.join()
    account(bodies, seen)
    return seconds


def stdlib_many(count: int) -> float:
    queue: stdlib.Queue[Order] = stdlib.Queue(CAPACITY)
    bodies, notes = orders(count), [list[object]() for _ in range(CREW)]
    producers = [lambda n=n: fill(queue, bodies[n::CREW]) for n in range(CREW)]
    shares = [len(bodies[n::CREW]) for n in range(CREW)]
    consumers = [lambda n=n: drain(queue, shares[n], notes[n]) for n in range(CREW)]
    seconds = crew(*producers, *consumers)
    queue.join()
    account(bodies, [body for seen in notes for body in seen], ordered=False)
    return seconds


def stdlib_round_trip(count: int) -> float:
    there: stdlib.Queue[Order] = stdlib.Queue(CAPACITY)
    back: stdlib.Queue[Order] = stdlib.Queue(CAPACITY)
    bodies, seen = orders(count), list[object]()

    def ping() -> None:
        for body in bodies:
            there.put(body)
            drain(back, 1, seen)

    def pong() -> None:
        for _ in range(count):
            back.put(there.get())
            there.task_done()

    seconds = crew(ping, pong)
    account(bodies, seen)
    return seconds


def across(make: Callable[[], Any], *, to_task: bool) -> Callable[[int], float]:
    """A side for a library whose queue has a face for threads and one for tasks."""

    @looped
    async def side(count: int) -> float:
        queue = make()
        bodies, seen = orders(count), list[object]()
        start = perf_counter()
        if to_task:
            thread = asyncio.to_thread(fill, queue.sync_q, bodies)
            await asyncio.gather(thread, drain_async(queue.async_q, count, seen))
        else:
            thread = asyncio.to_thread(drain, queue.sync_q, count, seen)
            await asyncio.gather(thread, fill_async(queue.async_q, bodies))
        seconds = perf_counter() - start
        await queue.aclose()
        account(bodies, seen)
        return seconds

    return side


async def fill_async(queue: Any, bodies: Sequence[Order]) -> None:
    for body in bodies:
        await queue.put(body)


async def drain_async(queue: Any, count: int, seen: list[object]) -> None:
    for _ in range(count):
        seen.append(await queue.get())
        queue.task_done()


def janus_queue() -> Any:
    return janus.Queue(CAPACITY)


def culsans_queue() -> Any:
    return culsans.Queue(CAPACITY)


ONE_TO_ONE = "thread to thread: put, get, ack"
TO_TASK = "thread to async task"
TO_THREAD = "async task to thread"

FIGURES = (
    Figure(ONE_TO_ONE, "queue.Queue", thread_to_thread, stdlib_queue, 1.0, 1.5),
    Figure("thread to thread in batches of 64", "queue.Queue, per message", in_batches, stdlib_queue, 5, 10),
    Figure(TO_TASK, "janus", thread_to_task, across(janus_queue, to_task=True), 1.5, 3, count=5_000),
    Figure(TO_TASK, "culsans", thread_to_task, across(culsans_queue, to_task=True), 1.0, 2, count=5_000),
    Figure(TO_THREAD, "janus", task_to_thread, across(janus_queue, to_task=False), 1.5, 3, count=5_000),
    Figure(TO_THREAD, "culsans", task_to_thread, across(culsans_queue, to_task=False), 1.0, 2, count=5_000),
    Figure("one thread alone: put, get, ack", "own async face", alone, queues.one_by_one, 1.0, 1.3),
    Figure("8 producers, 8 consumers, threads", "queue.Queue", many_to_many, stdlib_many, 1.0, 1.5),
    Figure(
        "wake-up, round trip of two threads",
        "queue.Queue",
        round_trip,
        stdlib_round_trip,
        1.3,
        1.0,
        Kind.COST,
        count=2_000,
        smoke_count=200,
    ),
)
