"""How far the input was read: a row in a table of the shop's own, in the journal's file.

It is written in one transaction with the orders themselves, so whenever the shop is killed, an order was published if,
and only if, the row says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs

from eventbus import Bus, Topic
from eventbus.demo.messages import Order

__all__ = ["OtherInputError", "Position", "find_position"]

TABLE: Final = "CREATE TABLE IF NOT EXISTS shop_input (one INTEGER PRIMARY KEY, what TEXT, orders INTEGER)"


class OtherInputError(Exception):
    """The journal was begun with another input."""


@attrs.define
class Position:
    """``orders`` is the number of orders that were published."""

    orders: int

    async def publish(self, bus: Bus, placed: Topic[Order], orders: Sequence[Order]) -> None:
        """Publish those of these orders that were not, all of them or none."""
        new = [order for order in orders if order.number > self.orders]
        if new:
            async with bus.transaction() as tx:
                for order in new:
                    tx.publish(placed, order, key=order.customer)
                await tx.execute("UPDATE shop_input SET orders = ?", (new[-1].number,))
            self.orders = new[-1].number


async def find_position(bus: Bus, what: str) -> Position:
    """Where an earlier run ended, or the beginning. ``what`` says what the input is; it must be as it was."""
    async with bus.transaction() as tx:
        await tx.execute(TABLE)
        await tx.execute("INSERT OR IGNORE INTO shop_input VALUES (1, ?, 0)", (what,))
    ((known, orders),) = await bus.query("SELECT what, orders FROM shop_input")
    if known != what:
        raise OtherInputError(f"it was begun with {known}, not with {what}")
    return Position(orders)
