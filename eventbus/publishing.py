"""Sending as async code does it: try, then wait for room."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

import anyio.lowlevel

from eventbus._core.engine import Engine
from eventbus._core.entry import STALE
from eventbus._core.errands import run_errands
from eventbus._core.parcels import Batch, Parcel
from eventbus._core.waiting import Waiter
from eventbus._runtime.parking import PATIENCE, Ports
from eventbus.errors import FullError

__all__ = ["STRIDE", "ParcelMaker", "send", "send_all", "send_nowait", "weight"]

ParcelMaker: TypeAlias = Callable[[], Parcel]
"""Makes the parcel of a message, and makes it anew when the routes have changed."""

STRIDE: Final = 256
"""How many immediate successes of one handle go by between two checkpoints."""

SLICE: Final = 256
"""How many messages enter in one hold of the lock."""


def weight(count: int) -> int:
    """What a batch counts for between two checkpoints: a message in it costs about a quarter of one by itself."""
    return 1 + (count >> 2)


async def send(ports: Ports, make: ParcelMaker) -> int:
    """Enter one message, waiting for room; its offset."""
    engine = ports.engine
    parcel = make()

    def attempt(waiter: Waiter | None = None) -> int:
        nonlocal parcel
        while (offset := engine.entry.send(parcel, waiter)) == STALE:
            parcel = make()
        return offset

    def give_up(waiter: Waiter) -> None:
        engine.entry.leave(waiter, parcel.queues())

    def trouble() -> str | None:
        with engine.lock:
            for queue in parcel.queues():
                if not queue.holders and not queue.received_from and queue.room() <= 0:
                    return f"a put waits since {PATIENCE:g} s for room in queue {queue.name!r}: no consumer is attached"
        return None

    offset = attempt() or await ports.until(attempt, give_up, trouble=trouble)
    if engine.errands:
        run_errands(engine.errands)
    return offset


def send_nowait(engine: Engine, make: ParcelMaker) -> int:
    """Enter one message; its offset, or `FullError`."""
    while (offset := engine.entry.send(parcel := make())) == STALE:
        pass
    run_errands(engine.errands)
    if not offset:
        queues = parcel.queues()
        with engine.lock:
            full = next((queue for queue in queues if queue.room() <= 0), queues[0])
        raise FullError(full.name, full.policy.capacity)
    return offset


async def send_all(
    ports: Ports, count: int, batch_of: Callable[[], Batch | None], maker_of: Callable[[int], ParcelMaker]
) -> list[int]:
    """Enter `count` messages in order, as slices where the batch allows it and one by one where not; their offsets."""
    engine = ports.engine
    offsets: list[int] = []
    batch = batch_of()
    pace = 0
    while (start := len(offsets)) < count:
        if pace > STRIDE:
            pace = 0
            await anyio.lowlevel.checkpoint()
        entered = range(0) if batch is None else engine.entry.send_slice(batch, start, min(start + SLICE, count))
        if entered:
            offsets += entered
            run_errands(engine.errands)
        else:
            offsets.append(await send(ports, maker_of(start)))
            batch = batch_of()
        pace += weight(len(entered))
    return offsets
