"""Mailing: tells the customers that their orders are on the way, by mail that fails now and then.

What fails is tried again after a while, as the policy says, and holds up nobody meanwhile. What has failed three times
is a dead letter in a queue of its own; once the mail works again, all of it is put back by one call.
"""

from __future__ import annotations

import zlib
from typing import Final

import anyio
from anyio.abc import TaskStatus

from eventbus import Backoff, Bus, Policy, Retry
from eventbus.demo.ledger import Ledger, Step
from eventbus.demo.messages import SHIPPED, Order

UNSENT: Final = "unsent"
"""The queue of what could not be sent."""

PATIENT: Final = Policy(
    capacity=2000, retry=Retry(attempts=3, backoff=Backoff(first=0.01, limit=0.1)), dead_letter=UNSENT
)


async def run(
    bus: Bus, ledger: Ledger, seed: int, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
) -> None:
    """Write to the customer of every order that was shipped."""
    shipped = bus.topic(SHIPPED, type=Order).subscription("mailing", PATIENT)
    async with shipped.consume(prefetch=64) as consumer:
        task_status.started()
        async for delivery in consumer:
            order = delivery.body
            with delivery:
                failures = failures_of(order, seed)
                if failures > delivery.failures and not delivery.message.deaths:
                    delivery.nack(error="the mail server did not answer")
                else:
                    ledger.note(Step.MAILED, order)


async def try_again(bus: Bus) -> None:
    """The mail server was mended: send what could not be sent, once all of it is in the journal, if there is one."""
    await bus.flush()
    await bus.queue(UNSENT).redrive()


def failures_of(order: Order, seed: int) -> int:
    """How often mail about an order fails: for one in 200 more often than it is tried, for four once or twice."""
    return {0: 3, 1: 1, 2: 1, 3: 2, 4: 2}.get(zlib.crc32(b"mail %d/%d" % (seed, order.number)) % 200, 0)
