"""What the modules of the shop tell each other: one kind of body, and the topics that it is published to."""

from __future__ import annotations

from typing import Final

import attrs

__all__ = ["PAID", "PLACED", "SHIPPED", "Order"]

PLACED: Final = "orders.placed"
PAID: Final = "orders.paid"
SHIPPED: Final = "orders.shipped"


@attrs.frozen
class Order:
    """An order. ``number`` is its place among the orders that came in, ``id`` what the customer calls it."""

    number: int
    id: str
    customer: str
    total: float
    express: bool = False
    declined: bool = False

    def __str__(self) -> str:
        return f"order {self.number} ({self.id!r} of {self.customer!r})"
