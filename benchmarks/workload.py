"""What both sides share: the bodies, the clock around the work, and the account of what came out.

Every consumer notes each body that it took in a list, ours and theirs alike; after the clock has stopped the list is
held against what went in. So a figure cannot be fast by losing a message, or by never looking at it.
"""

from __future__ import annotations

import asyncio
import functools
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from time import perf_counter
from typing import Any, TypeAlias

import attrs

CAPACITY = 1_000
PATIENCE = 60.0  # seconds after which a run that hangs is a figure that failed

Work: TypeAlias = Coroutine[Any, Any, None]


@attrs.frozen
class Order:
    """The body of the figures: small, and made before the clock starts."""

    total: int
    region: str


@attrs.frozen
class Placed:
    """The body of the journal's figures: about 100 bytes of JSON."""

    order: int
    customer: str
    region: str
    total: float
    items: list[str]


class LostMessageError(Exception):
    """What came out is not what went in."""


@functools.lru_cache(maxsize=4)
def orders(count: int) -> list[Order]:
    """The same bodies for both sides of a figure."""
    dice = random.Random(count)
    return [Order(dice.randrange(200), dice.choice(("EU", "US"))) for _ in range(count)]


@functools.lru_cache(maxsize=4)
def placed(count: int) -> list[Placed]:
    """The same bodies for both sides of a figure."""
    dice = random.Random(count)
    return [
        Placed(n, f"customer-{dice.randrange(1_000):04}", dice.choice(("EU", "US")), 19.95, ["tea", "mug", "saucer"])
        for n in range(count)
    ]


@functools.lru_cache(maxsize=4)
def priorities(count: int) -> list[int]:
    """A priority from 0 to 9 for each body."""
    dice = random.Random(count)
    return [dice.randrange(10) for _ in range(count)]


@functools.lru_cache(maxsize=4)
def keys(count: int) -> list[str]:
    """The key of one of 1,000 customers for each body."""
    dice = random.Random(count)
    return [f"customer-{dice.randrange(1_000)}" for _ in range(count)]


def looped(work: Callable[[int], Coroutine[Any, Any, float]]) -> Callable[[int], float]:
    """A side that runs in a plain asyncio loop of its own, and measures itself there."""

    @functools.wraps(work)
    def side(count: int) -> float:
        async def patiently() -> float:
            async with asyncio.timeout(PATIENCE):
                return await work(count)

        return asyncio.run(patiently())

    return side


async def together(*works: Work) -> float:
    """Seconds until all of the works, a task each, are done."""
    start = perf_counter()
    async with asyncio.TaskGroup() as group:
        for work in works:
            group.create_task(work)
    return perf_counter() - start


async def until_joined(
    producer: Work, consumers: Iterable[Work], joins: Iterable[Callable[[], Awaitable[None]]]
) -> float:
    """Seconds until the producer is done and every queue joined, while consumers without an end of their own serve."""

    async def whole() -> None:
        await producer
        for join in joins:
            await join()

    start = perf_counter()
    serving = [asyncio.create_task(consumer) for consumer in consumers]
    main = asyncio.create_task(whole())
    try:
        await asyncio.wait([main, *serving], return_when=asyncio.FIRST_COMPLETED)
        return perf_counter() - start
    finally:
        await dismiss([main, *serving])


async def dismiss(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancel what still runs, wait for it, and raise what failed."""
    for task in tasks:
        task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, Exception):
            raise outcome


def account(sent: Sequence[object], seen: Sequence[object], *, ordered: bool = True) -> None:
    """Raise LostMessageError unless the very objects sent were seen, each once and, unless told, in order."""
    if len(sent) != len(seen):
        raise LostMessageError(f"{len(sent)} messages went in and {len(seen)} came out")
    if ordered and any(one is not other for one, other in zip(sent, seen, strict=True)):
        raise LostMessageError("messages came out in another order than they went in")
    if not ordered and Counter(map(id, sent)) != Counter(map(id, seen)):
        raise LostMessageError("what came out is not what went in")
