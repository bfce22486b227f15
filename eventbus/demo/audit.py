"""Audit: follows large orders through the whole shop, and looks closely at the suspicious ones."""

from __future__ import annotations

from typing import Final

import anyio
from anyio.abc import TaskStatus

from eventbus import Bus, Policy, Queue, msg
from eventbus.demo.ledger import AUDITED, Ledger, Step
from eventbus.demo.messages import PLACED, Order

LARGE: Final = msg.body.total >= 100
"""A filter as an expression: `msg` stands for the message."""

SUSPICIOUS: Final = "body.total >= 250 and body.express == True"
"""A filter as text: a safe subset of Python's own syntax."""

POLICY: Final = Policy(capacity=2000)


async def run(bus: Bus, ledger: Ledger, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
    """Hear of every large order, whatever happens to it, and check the suspicious ones."""
    story = bus.subscription("audit", "orders.*", POLICY, where=LARGE)
    suspects = bus.topic(PLACED, type=Order).subscription("fraud", POLICY, where=SUSPICIOUS)
    async with anyio.create_task_group() as auditors:
        await auditors.start(follow, story, ledger)
        await auditors.start(check, suspects, ledger)
        task_status.started()


async def follow(
    story: Queue[Order], ledger: Ledger, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
) -> None:
    """Write down what happened to an order: the topic says what."""
    async with story.consume(prefetch=64) as consumer:
        task_status.started()
        async for delivery in consumer:
            with delivery:
                ledger.note(AUDITED[delivery.topic], delivery.body)


async def check(
    suspects: Queue[Order], ledger: Ledger, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
) -> None:
    """Look at one suspect after another."""
    async with suspects.consume() as consumer:
        task_status.started()
        async for delivery in consumer:
            with delivery:
                ledger.note(Step.CHECKED, delivery.body)
