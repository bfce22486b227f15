"""Sending as async code does it: try, then wait for room."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, TypeAlias

import anyio
import anyio.lowlevel

from eventbus._core.engine import STALE, Batch, Engine, Parcel
from eventbus._core.queue import QueueState
from eventbus._core.waiting import Waiter, run_errands
from eventbus._runtime.parking import Ports
from eventbus.errors import FullError
from eventbus.policy import Overflow

__all__ = ["PATIENCE", "STRIDE", "ParcelMaker", "send", "send_all", "send_nowait"]

logger = logging.getLogger("eventbus")

ParcelMaker: TypeAlias = Callable[[], Parcel]
"""Makes the parcel of a message, and makes it anew when the routes have changed."""

PATIENCE: Final = 5.0
"""Seconds that a put waits with no consumer attached before a warning says so."""

STRIDE: Final = 128
"""How many immediate successes of one handle go by between two checkpoints."""

SLICE: Final = 256
"""How many messages enter in one hold of the lock."""


async def send(ports: Ports, make: ParcelMaker) -> int:
    """Enter one message, waiting for room; its offset."""
    engine = ports.engine
    parcel = make()
    patience: float | None = PATIENCE

    def attempt(waiter: Waiter | None = None) -> int:
        nonlocal parcel
        while (offset := engine.send(parcel, waiter)) == STALE:
            parcel = make()
        return offset

    def give_up(waiter: Waiter) -> None:
        engine.leave(waiter, [target.queue for target in parcel.targets])

    offset = attempt()
    while not offset:
        if any(target.queue.holders for target in parcel.targets):
            patience = None
        with anyio.move_on_after(patience):
            offset = await ports.until(attempt, give_up)
        if not offset:
            _warn([target.queue for target in parcel.targets])
            patience = None
    run_errands(engine.errands)
    return offset


def _warn(queues: list[QueueState]) -> None:
    full = [queue.name for queue in queues if queue.room() <= 0]
    if full and not any(queue.holders for queue in queues):
        logger.warning(
            "a put has waited %g seconds for room in queue %r, which has no consumer attached", PATIENCE, full[0]
        )


def send_nowait(engine: Engine, make: ParcelMaker) -> int:
    """Enter one message; its offset, or `FullError`."""
    while (offset := engine.send(parcel := make())) == STALE:
        pass
    run_errands(engine.errands)
    if not offset:
        queues = [target.queue for target in parcel.targets]
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
    size = SLICE
    if batch is not None and any(queue.policy.overflow is Overflow.FAIL for queue in batch.queues):
        size = count  # all or none
    since_checkpoint = 0
    while (start := len(offsets)) < count:
        if not start or since_checkpoint >= STRIDE:
            since_checkpoint = 0
            await anyio.lowlevel.checkpoint()
        entered = range(0) if batch is None else engine.send_slice(batch, start, min(start + size, count))
        if entered:
            offsets += entered
            run_errands(engine.errands)
        else:
            offsets.append(await send(ports, maker_of(start)))
            batch = batch_of()
        since_checkpoint += len(entered) or 1
    return offsets


def refuse_unless_fits(queue: QueueState, count: int) -> None:
    """A queue that fails when full takes many messages whole or not at all."""
    if queue.policy.overflow is Overflow.FAIL and queue.room() < count:
        raise FullError(queue.name, queue.policy.capacity)
