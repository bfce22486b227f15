"""Shipping: packers pack what is paid, express first, and couriers compete for the parcels."""

from __future__ import annotations

from typing import Final

import anyio
from anyio.abc import TaskStatus

from eventbus import Bus, Policy, Priority, Queue, Topic
from eventbus.demo.ledger import Ledger, Step
from eventbus.demo.messages import PAID, SHIPPED, Order

PACKERS: Final = 4
COURIERS: Final = 4

EXPRESS_FIRST: Final = Policy(Priority(), capacity=2000)
AS_THEY_COME: Final = Policy(capacity=2000)


async def run(bus: Bus, ledger: Ledger, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
    """Ship what is paid."""
    paid = bus.topic(PAID, type=Order).subscription("packing", EXPRESS_FIRST)
    parcels = bus.queue("parcels", AS_THEY_COME, type=Order)
    shipped = bus.topic(SHIPPED, type=Order)
    async with anyio.create_task_group() as crew:
        for _ in range(PACKERS):
            await crew.start(pack, paid, parcels, ledger)
        for _ in range(COURIERS):
            await crew.start(carry, parcels, shipped, ledger)
        task_status.started()


async def pack(
    paid: Queue[Order],
    parcels: Queue[Order],
    ledger: Ledger,
    *,
    task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """One packer. Takes one order at a time, so that an express order never waits behind what is already reserved."""
    async with paid.consume() as consumer:
        task_status.started()
        async for delivery in consumer:
            with delivery:
                ledger.note(Step.PACKED, delivery.body)
                await parcels.put(delivery.body)


async def carry(
    parcels: Queue[Order],
    shipped: Topic[Order],
    ledger: Ledger,
    *,
    task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """One courier. Reserves up to 64 parcels at a time, for speed, and gives them up to a courier who is idle."""
    async with parcels.consume(prefetch=64) as consumer:
        task_status.started()
        async for delivery in consumer:
            with delivery:
                ledger.note(Step.DELIVERED, delivery.body)
                await shipped.publish(delivery.body)
