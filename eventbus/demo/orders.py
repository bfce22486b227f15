"""Orders: takes them in at one end, and cancels those that nobody could bill at the other."""

from __future__ import annotations

import anyio
from anyio.abc import TaskStatus

from eventbus import Bus
from eventbus.demo.input import Source
from eventbus.demo.ledger import Ledger, Step
from eventbus.demo.messages import PLACED, Order
from eventbus.demo.position import Position


async def take(bus: Bus, source: Source, ledger: Ledger, position: Position | None) -> None:
    """Publish every order of the source, until it ends.

    The key chooses the lane in a keyed queue: all orders of a customer share one. Where a subscription is full,
    `publish_many` waits for room, so the source is read no faster than the shop works. So does a transaction; with a
    journal, it keeps together the orders and how far the source was read.
    """
    placed = bus.topic(PLACED, type=Order)
    while (batch := await source.read()) is not None:
        if position is not None:
            ledger.open(order for order in batch.orders if order.number > position.orders)
            await position.publish(bus, placed, batch.orders)
            continue
        ledger.open(batch.orders)
        await placed.publish_many(batch.orders, key=lambda order: order.customer)


async def cancel(bus: Bus, ledger: Ledger, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
    """Cancel the orders that came to the dead letters. Each one knows where and why it died."""
    async with bus.dead_letters.consume() as consumer:
        task_status.started()
        async for delivery in consumer:
            with delivery:
                ledger.note(Step.CANCELLED, delivery.body)
                ledger.note_reason(delivery.message.deaths[-1].error or "no reason given")
