"""The ledger: what must happen to every order, and what the modules say did. It knows nothing of the bus.

It stands beside the shop to prove that nothing was lost, doubled or out of order, so it states the shop's rules in its
own words and counts by itself. It holds only the orders that are under way: an order whose last step is done is
forgotten, and memory stays flat however long the input is. If such an order came up again, it would be a surprise.

With a journal, a run may go on where another was killed. Of the orders that came in before, the ledger does not know
what was done, and some of it may be done again: their steps are counted apart, and `history.py` looks after them in the
journal. Of those that come in now, everything is to happen once, as without one.
"""

from __future__ import annotations

import enum
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from typing import Final

import attrs

from eventbus.demo.messages import PAID, PLACED, SHIPPED, Order

__all__ = ["AUDITED", "Ledger", "Step"]

MOST_SURPRISES: Final = 1000
"""How many surprises are kept in words; those beyond are only counted."""


class Step(enum.Enum):
    """What can happen to an order."""

    PLACED = "placed"
    BILLED = "billed"
    REFUSED = "refused"
    CANCELLED = "cancelled"
    PACKED = "packed"
    DELIVERED = "delivered"
    MAILED = "mailed"
    CHECKED = "checked for fraud"
    AUDITED_PLACED = "audited as placed"
    AUDITED_PAID = "audited as paid"
    AUDITED_SHIPPED = "audited as shipped"

    __hash__ = object.__hash__  # members are singletons, and Enum hashes their names each time


AUDITED: Final = {PLACED: Step.AUDITED_PLACED, PAID: Step.AUDITED_PAID, SHIPPED: Step.AUDITED_SHIPPED}

BILLING: Final = (Step.BILLED, Step.REFUSED)


def steps_of(order: Order) -> set[Step]:
    """All that must happen to an order, each once."""
    sold = {Step.BILLED, Step.PACKED, Step.DELIVERED, Step.MAILED}
    steps = {Step.REFUSED, Step.CANCELLED} if order.declined else sold
    if order.total >= 100:
        steps.add(Step.AUDITED_PLACED)
        if not order.declined:
            steps |= {Step.AUDITED_PAID, Step.AUDITED_SHIPPED}
        if order.total >= 250 and order.express:
            steps.add(Step.CHECKED)
    return steps


@attrs.frozen
class Case:
    """An order under way, and the steps that it still owes."""

    order: Order
    owed: set[Step]


class Ledger:
    """The books of the shop."""

    def __init__(self) -> None:
        self.counts: Counter[Step] = Counter()
        self.reasons: Counter[str] = Counter()
        self.before = 0
        """The last order that came in before this run."""
        self.recovered = 0
        """Steps done in this run of orders that came in before."""
        self._cases: dict[int, Case] = {}
        self._unbilled: dict[str, deque[int]] = {}
        self._surprises: list[str] = []
        self._more_surprises = 0

    def open(self, orders: Iterable[Order]) -> None:
        """Orders come in: from now on they owe their steps."""
        for order in orders:
            self.counts[Step.PLACED] += 1
            self._cases[order.number] = Case(order, steps_of(order))
            self._unbilled.setdefault(order.customer, deque()).append(order.number)

    def note(self, step: Step, order: Order) -> None:
        """A step is done."""
        self.counts[step] += 1
        if order.number <= self.before:
            self.recovered += 1
            return
        case = self._cases.get(order.number)
        if case is None or step not in case.owed:
            self._surprise(f"{order} was {step.value}, and that was not due: it came twice, or should not have come")
            return
        case.owed.remove(step)
        if not case.owed:
            del self._cases[order.number]
        if step in BILLING:
            self._note_turn(order)

    def note_reason(self, reason: str) -> None:
        """Why an order was cancelled."""
        self.reasons[reason] += 1

    def unaccounted(self) -> Iterator[str]:
        """What is wrong, in words: surprises, and steps still owed. Empty if every order went as it should."""
        yield from self._surprises
        if self._more_surprises:
            yield f"and {self._more_surprises} more surprises of these kinds"
        for case in self._cases.values():
            owed = " nor ".join(sorted(step.value for step in case.owed))
            yield f"{case.order} was never {owed}"

    def _note_turn(self, order: Order) -> None:
        """Each customer's orders are billed in the order in which they came in, through retries too."""
        waiting = self._unbilled[order.customer]
        if waiting[0] != order.number:
            self._surprise(f"{order} was billed before order {waiting[0]} of the same customer")
        waiting.remove(order.number)
        if not waiting:
            del self._unbilled[order.customer]

    def _surprise(self, text: str) -> None:
        if len(self._surprises) < MOST_SURPRISES:
            self._surprises.append(text)
        else:
            self._more_surprises += 1
