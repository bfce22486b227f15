"""Policies: what they cost where they are set and nothing of theirs happens, and what a delay costs."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from time import perf_counter

from benchmarks import queues
from benchmarks.harness import Figure
from benchmarks.workload import CAPACITY, Order, account, looped, orders, together
from eventbus import Backoff, Bus, Clock, Policy, Retry

EVERYTHING = Policy(
    capacity=CAPACITY,
    retry=Retry(attempts=3, backoff=Backoff(first=0.5, limit=30.0)),
    dead_letter="letters",
    lease=60.0,
    ttl=600.0,
    dedup=60.0,
)

LONGEST = 3_600
"""Seconds within which the delayed messages become due, by a clock that leaps over them."""


class Leaping(Clock):
    """A clock that stands still until it is told to leap."""

    def __init__(self) -> None:
        self.now = 0.0
        self.leapt: list[Callable[[], None]] = []

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    def watch(self, leapt: Callable[[], None]) -> None:
        self.leapt.append(leapt)

    def leap(self, seconds: float) -> None:
        self.now += seconds
        for leapt in self.leapt:
            leapt()


def delays(count: int) -> list[float]:
    """A delay for each message, the same for both sides."""
    dice = random.Random(count)
    return [dice.uniform(1, LONGEST) for _ in range(count)]


@looped
async def with_everything(count: int) -> float:
    async with Bus() as bus:
        queue = bus.queue("orders", EVERYTHING, type=Order)
        with queues.conserving(queue, count) as (bodies, seen):
            return await together(queues.produce(queue, bodies), queues.take(queue, count, seen))


@looped
async def delayed(count: int) -> float:
    clock = Leaping()
    async with Bus(clock=clock) as bus:
        queue = bus.queue("orders", Policy(capacity=None), type=Order)
        with queues.conserving(queue, count, ordered=False) as (bodies, seen):
            waits = delays(count)
            start = perf_counter()
            for body, wait in zip(bodies, waits, strict=True):
                await queue.put(body, delay=wait)
            clock.leap(LONGEST)
            await queues.take(queue, count, seen)
            return perf_counter() - start


def heaped(count: int) -> float:
    bodies, seen = orders(count), list[object]()
    waits = delays(count)
    heap: list[tuple[float, int]] = []
    start = perf_counter()
    for number, wait in enumerate(waits):
        heapq.heappush(heap, (wait, number))
    while heap:
        _, number = heapq.heappop(heap)
        seen.append(bodies[number])
    seconds = perf_counter() - start
    account(bodies, seen, ordered=False)
    return seconds


FIGURES = (
    Figure("all policies set and unused", "the bare queue", with_everything, queues.one_by_one, 0.7, 0.9),
    Figure("a delayed message, of 100,000", "heapq, push and pop", delayed, heaped, 0.25, 0.4, count=100_000),
)
