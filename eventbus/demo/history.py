"""What the journal says of all runs together: its topics keep every order that was placed, paid and shipped."""

from __future__ import annotations

from collections.abc import Iterator

from eventbus import Bus
from eventbus.demo.messages import PAID, PLACED, SHIPPED, Order

__all__ = ["History", "read_history"]

DECLINED = 8
BITS = {PLACED: 1, PAID: 2, SHIPPED: 4}


class History:
    """One byte for each order, with a bit for each topic that has it. ``again`` counts what came twice."""

    def __init__(self, orders: int) -> None:
        self.orders = bytearray(orders + 1)
        self.again = 0
        self._wrong: list[str] = []

    def add(self, topic: str, order: Order) -> None:
        """A message that a topic keeps."""
        if order.number >= len(self.orders):
            self._wrong.append(f"{order} was never published, but is in {topic!r}")
        elif self.orders[order.number] & BITS[topic]:
            self.again += 1
            if topic == PLACED:
                self._wrong.append(f"{order} was published twice")
        else:
            self.orders[order.number] |= BITS[topic] | (DECLINED if order.declined else 0)

    def unaccounted(self) -> Iterator[str]:
        """What is wrong: each order was placed once, and paid and shipped, at least once, unless it was declined."""
        yield from self._wrong
        for number, bits in enumerate(self.orders):
            if number and bits not in (7, BITS[PLACED] | DECLINED):
                was = [topic for topic, bit in BITS.items() if bits & bit]
                yield f"order {number} is kept by {was}, and is{'' if bits & DECLINED else ' not'} declined"


async def read_history(bus: Bus, orders: int) -> History:
    """Read the whole journal."""
    history = History(orders)
    async for message in bus.replay(list(BITS)):
        history.add(message.topic, message.body)
    return history
