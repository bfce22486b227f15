"""The shop: its modules wired on one bus, and run until every order is done."""

from __future__ import annotations

from collections.abc import Mapping

import anyio
import attrs

from eventbus import Bus, BusStats, Clock, Journal, Subscription, Sync
from eventbus.demo import audit, billing, mailing, orders, shipping
from eventbus.demo.history import History, read_history
from eventbus.demo.input import Source
from eventbus.demo.ledger import Ledger
from eventbus.demo.position import find_position

__all__ = ["Outcome", "run"]


@attrs.frozen
class Outcome:
    """What a run came to: the bus's counts at its end, and the seconds it took. ``kinds`` says what each queue is.

    With a journal: ``resumed`` is the number of orders that came in in earlier runs, ``recovered`` of messages that
    these had not settled, and ``history`` what the journal says of all runs.
    """

    stats: BusStats
    kinds: Mapping[str, str]
    seconds: float
    resumed: int = 0
    recovered: int = 0
    history: History | None = None


async def run(source: Source, ledger: Ledger, seed: int = 0, journal: str | None = None, what: str = "") -> Outcome:
    """Open the shop, take all orders of the source, and close when all is done.

    Each module is started by `start`, which returns when the module listens: so no order is published before, and
    `join` sees every consumer. A module publishes before it acks, so work is always somewhere on the bus, and `join`
    waits for what follows from it too. When the bus closes, every consumer's loop ends, and with it every task.

    With a journal, all of this survives the process, however that ends: `run` goes on where the last one was. ``what``
    says what the source is.
    """
    clock = Clock()
    begin = clock.monotonic()
    own = None if journal is None else Journal(journal, sync=Sync.NORMAL)  # a power cut may take the last moment
    async with anyio.create_task_group() as modules, Bus(own) as bus:
        recovered = sum(queue.published for queue in bus.stats().queues.values())
        position = None if journal is None else await find_position(bus, what)
        resumed = ledger.before = 0 if position is None else position.orders
        await modules.start(billing.run, bus, ledger, seed)
        await modules.start(shipping.run, bus, ledger)
        await modules.start(mailing.run, bus, ledger, seed)
        await modules.start(audit.run, bus, ledger)
        await modules.start(orders.cancel, bus, ledger)
        await orders.take(bus, source, ledger, position)
        await bus.join()
        await mailing.try_again(bus)
        await bus.join()
        await bus.dead_letters.join()  # bus.join() leaves dead letters out: most programs keep them for a person
        stats, kinds, seconds = bus.stats(), kinds_of(bus), clock.monotonic() - begin
        history = None if position is None else await read_history(bus, position.orders)
        return Outcome(stats, kinds, seconds, resumed, recovered, history)
    raise AssertionError("a bus lets every exception through")


def kinds_of(bus: Bus) -> dict[str, str]:
    """Of each queue, whether it is one or a subscription."""
    return {
        name: "subscription" if isinstance(bus.queue(name), Subscription) else "queue" for name in bus.stats().queues
    }
