"""Those who must wait, in the order of arrival.

*Wake, then pop.* A wake is a hint that carries nothing: whoever is woken tries again. So a waiter can give up at any
moment and nothing is lost with it, and all that a `Line` has to keep is this: while more is available than waiters
have been woken for it, the next waiter is woken. A woken waiter stays in line, and counts, until it got what it came
for or gave up; a newcomer gets through only if there is more than all in the line could take. Prior art: the wait
queues of `Semaphore` in Java and trio's `ParkingLot`, with barging ruled out.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from typing import TYPE_CHECKING

from eventbus._core.errands import Errands

if TYPE_CHECKING:
    from eventbus._core.consumer import Holder


# One row of tickets for all lines, so that a publisher that waits in several has the same place in each.
_tickets = itertools.count(1)


class Waiter:
    """One parked call. The runtime gives it `run`, which wakes it.

    ``home`` is the event loop it sleeps in and ``party`` its task, both opaque here; ``holder`` is who receives, if it
    waits for a message.
    """

    __slots__ = ("holder", "home", "party", "priority", "ticket")

    def __init__(self, home: object) -> None:
        self.home = home

    def begin(self, party: object, holder: Holder | None) -> None:
        """Stand for a new call. A waiter that left all lines may be used again: a wake too many does no harm."""
        self.party = party
        self.holder = holder
        self.priority = 0 if holder is None else holder.priority
        self.ticket = 0

    def rank(self) -> tuple[int, int]:
        """What decides who is served first."""
        return (-self.priority, self.ticket)

    def run(self) -> None:
        raise NotImplementedError


class Line:
    """Waiters by rank: higher priority first, then the order of arrival. `parked` sleep, `woken` were told to try."""

    __slots__ = ("parked", "woken")

    def __init__(self) -> None:
        self.parked: OrderedDict[Waiter, None] = OrderedDict()
        self.woken: dict[Waiter, None] = {}

    def __len__(self) -> int:
        return len(self.parked) + len(self.woken)

    def __contains__(self, waiter: Waiter) -> bool:
        return waiter in self.parked or waiter in self.woken

    def ahead(self, priority: int) -> int:
        """How many a newcomer of this priority finds before it."""
        if priority == 0 and not self.parked and not self.woken:
            return 0
        return sum(waiter.priority >= priority for group in (self.parked, self.woken) for waiter in group)

    def before(self, waiter: Waiter | None) -> int:
        """How many have to go before this one; before a newcomer, all.

        Who was woken goes before who sleeps, unless the sleeper came first. So among those who stand in several lines,
        and hold a place in one while they wait in another, the first to come is never held up by a later one.
        """
        if waiter is None or not waiter.ticket:
            return len(self)
        rank = waiter.rank()
        count = 0 if waiter in self.woken else sum(other.rank() < rank for other in self.woken)
        for other in self.parked:
            if other.rank() >= rank:
                break
            count += 1
        return count

    def park(self, waiter: Waiter) -> None:
        """Put to sleep: at its place, which is the end unless it was here before or its priority is higher."""
        parked = self.parked
        if waiter in parked:
            return
        if not waiter.ticket:
            waiter.ticket = next(_tickets)
        self.woken.pop(waiter, None)
        last = next(reversed(parked)) if parked else None
        parked[waiter] = None
        if last is not None and last.rank() > waiter.rank():
            self.parked = OrderedDict.fromkeys(sorted(parked, key=Waiter.rank))

    def claim(self, waiter: Waiter) -> None:
        """Count as woken: what it waits for is there, but it needs more than this line can give."""
        self.parked.pop(waiter, None)
        self.woken[waiter] = None

    def leave(self, waiter: Waiter | None) -> None:
        """Stand here no longer, if it did."""
        self.parked.pop(waiter, None)  # type: ignore[arg-type]  # None never stands in line
        self.woken.pop(waiter, None)  # type: ignore[arg-type]

    def rouse_first(self, errands: Errands) -> None:
        """Wake the next in line; there is one."""
        waiter, _ = self.parked.popitem(last=False)
        self.woken[waiter] = None
        errands.append(waiter)

    def rouse(self, available: int, errands: Errands) -> None:
        """Wake the next in line while more is available than waiters have been woken for it."""
        while self.parked and len(self.woken) < available:
            self.rouse_first(errands)

    def rouse_in_order(self, available: int, errands: Errands) -> None:
        """The same, where a woken one may hold its place for long: it does not count before who came first."""
        while self.parked and (len(self.woken) < available or self._woken_before_head() < available):
            self.rouse_first(errands)

    def _woken_before_head(self) -> int:
        head = next(iter(self.parked)).rank()
        return sum(other.rank() < head for other in self.woken)

    def rouse_one(self, waiter: Waiter, errands: Errands) -> None:
        """Wake this one, out of turn."""
        if waiter in self.parked:
            del self.parked[waiter]
            self.woken[waiter] = None
            errands.append(waiter)

    def rouse_all(self, errands: Errands) -> None:
        self.rouse(len(self), errands)

    def check(self, available: int, name: str, *, in_order: bool = False) -> None:
        assert not self.parked.keys() & self.woken.keys()
        assert list(self.parked) == sorted(self.parked, key=Waiter.rank), f"{name}: the line is out of order"
        assert not in_order or not self.parked or self._woken_before_head() >= available, (
            f"{name}: the first is held up"
        )
        assert not self.parked or len(self.woken) >= available, (
            f"{name}: {len(self.parked)} sleep while {available} are available and {len(self.woken)} were woken"
        )
