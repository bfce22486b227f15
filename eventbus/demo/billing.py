"""Billing: four clerks charge the customers' cards, each customer's orders one after another."""

from __future__ import annotations

import zlib
from typing import Final

import anyio
from anyio.abc import TaskStatus

from eventbus import Bus, Keyed, Policy, Queue, Topic
from eventbus.demo.ledger import Ledger, Step
from eventbus.demo.messages import PAID, PLACED, Order

CLERKS: Final = 4

IN_TURN: Final = Policy(Keyed(partitions=64), capacity=2000)
"""Of each lane one order is out at a time, so a customer's orders are billed in order, whoever bills them."""

EXPRESS: Final = 1
"""The priority of a paid order that is to be sent by express. Others have 0."""


async def run(
    bus: Bus, ledger: Ledger, seed: int, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
) -> None:
    """Bill what is placed, and publish what is paid."""
    placed = bus.topic(PLACED, type=Order).subscription("billing", IN_TURN)
    paid = bus.topic(PAID, type=Order)
    async with anyio.create_task_group() as clerks:
        for _ in range(CLERKS):
            await clerks.start(bill, placed, paid, ledger, seed)
        task_status.started()


async def bill(
    placed: Queue[Order],
    paid: Topic[Order],
    ledger: Ledger,
    seed: int,
    *,
    task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """One clerk. Leaving ``with delivery`` acks what was not settled inside."""
    async with placed.consume(prefetch=64) as consumer:
        task_status.started()
        async for delivery in consumer:
            order = delivery.body
            with delivery:
                if delivery.attempt == 1 and terminal_fails(order, seed):
                    delivery.nack(error="the card terminal did not answer")  # comes again; its lane waits for it
                elif order.declined:
                    ledger.note(Step.REFUSED, order)
                    delivery.reject("the card was declined")  # never comes again: to the dead letters
                else:
                    ledger.note(Step.BILLED, order)
                    await paid.publish(order, key=order.customer, priority=EXPRESS if order.express else 0)


def terminal_fails(order: Order, seed: int) -> bool:
    """Whether the card terminal fails at first: for one order in a hundred, the same ones whenever the seed is."""
    return zlib.crc32(b"%d/%d" % (seed, order.number)) % 100 == 0
