"""Topics: fan-out to ten private subscriptions."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks import peers
from benchmarks.harness import Figure
from benchmarks.queues import FIFO, serve
from benchmarks.workload import Order, account, looped, orders, until_joined
from eventbus import Bus, Topic


@looped
async def fan_out(count: int) -> float:
    bodies = orders(count)
    async with Bus() as bus:
        topic = bus.topic("orders", type=Order)
        subscriptions = [topic.subscription(policy=FIFO) for _ in range(10)]
        notes: list[list[object]] = [[] for _ in subscriptions]
        consumers = [serve(one, 64, seen) for one, seen in zip(subscriptions, notes, strict=True)]
        seconds = await until_joined(publish(topic, bodies), consumers, [one.join for one in subscriptions])
    for seen in notes:  # the private subscriptions went with their consumers
        account(bodies, seen)
    return seconds


async def publish(topic: Topic[Order], bodies: Sequence[Order]) -> None:
    for body in bodies:
        await topic.publish(body)


FIGURES = (
    Figure(
        "fan-out to 10 subscriptions, prefetch 64",
        "a loop over ten asyncio.Queues",
        fan_out,
        peers.asyncio_fan_out,
        0.8,
        1.2,
        count=4_000,
        smoke_count=200,
    ),
)
