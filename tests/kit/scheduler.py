"""Interleaving on purpose: which task goes on next is a matter of a seed, not of who came first.

On asyncio the loop runs one ready callback at a time, chosen at random. On trio, which reverses its batches at random
already, that randomness is seeded.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import anyio
import anyio.lowlevel

__all__ = ["ShufflingLoop", "interleave", "turns"]

T = TypeVar("T")


class ShufflingLoop(asyncio.SelectorEventLoop):
    """An event loop that runs one callback at each turn, chosen at random by a seed."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._chance = random.Random(seed)
        self._ready: Any

    def _run_once(self) -> None:
        ready = self._ready
        if len(ready) < 2:
            super()._run_once()  # type: ignore[misc]
            return
        ready.rotate(-self._chance.randrange(len(ready)))
        chosen, others = ready.popleft(), list(ready)
        ready.clear()
        ready.append(chosen)
        try:
            super()._run_once()  # type: ignore[misc]
        finally:
            ready.extendleft(reversed(others))


def seed_trio(seed: int) -> None:
    """Let trio's scheduling depend on nothing but the seed."""
    import trio._core._run as run

    run._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]
    run._r.seed(seed)


def interleave(seed: int, function: Callable[[], Awaitable[T]], backend: str = "asyncio") -> T:
    """Run an async function, and all tasks that it starts, in an order that the seed decides."""
    options = {"loop_factory": lambda: ShufflingLoop(seed)} if backend == "asyncio" else {}
    if backend == "trio":
        seed_trio(seed)
    return anyio.run(function, backend=backend, backend_options=options)


async def turns(count: int = 10) -> None:
    """Let the other tasks go on for some turns: all that can run runs, unless it takes more."""
    for _ in range(count):
        await anyio.lowlevel.checkpoint()
