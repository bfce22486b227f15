"""The shop: its modules wired on one bus, and run until every order is done."""

from __future__ import annotations

from collections.abc import Mapping

import anyio
import attrs

from eventbus import Bus, BusStats, Clock, Subscription
from eventbus.demo import audit, billing, mailing, orders, shipping
from eventbus.demo.input import Source
from eventbus.demo.ledger import Ledger

__all__ = ["Outcome", "run"]


@attrs.frozen
class Outcome:
    """What a run came to: the bus's counts at its end, and the seconds it took. ``kinds`` says what each queue is."""

    stats: BusStats
    kinds: Mapping[str, str]
    seconds: float


async def run(source: Source, ledger: Ledger, seed: int = 0) -> Outcome:
    """Open the shop, take all orders of the source, and close when all is done.

    Each module is started by `start`, which returns when the module listens: so no order is published before, and
    `join` sees every consumer. A module publishes before it acks, so work is always somewhere on the bus, and `join`
    waits for what follows from it too. When the bus closes, every consumer's loop ends, and with it every task.
    """
    clock = Clock()
    begin = clock.monotonic()
    async with anyio.create_task_group() as modules, Bus() as bus:
        await modules.start(billing.run, bus, ledger, seed)
        await modules.start(shipping.run, bus, ledger)
        await modules.start(mailing.run, bus, ledger, seed)
        await modules.start(audit.run, bus, ledger)
        await modules.start(orders.cancel, bus, ledger)
        await orders.take(bus, source, ledger)
        await bus.join()
        await mailing.try_again(bus)
        await bus.join()
        await bus.dead_letters.join()  # bus.join() leaves dead letters out: most programs keep them for a person
        return Outcome(bus.stats(), kinds_of(bus), clock.monotonic() - begin)
    raise AssertionError("a bus lets every exception through")


def kinds_of(bus: Bus) -> dict[str, str]:
    """Of each queue, whether it is one or a subscription."""
    return {
        name: "subscription" if isinstance(bus.queue(name), Subscription) else "queue" for name in bus.stats().queues
    }
