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
    """Waiters by rank: higher priority first, then the order of arrival. `parked` sleep, `woken` were told to try.

    Both say how much each waiter needs: one message or place, or as many places as a transaction fills.
    """

    __slots__ = ("extra", "parked", "woken")

    def __init__(self) -> None:
        self.parked: OrderedDict[Waiter, int] = OrderedDict()
        self.woken: dict[Waiter, int] = {}
        self.extra = 0
        """What all in line need beyond one each."""

    def __len__(self) -> int:
        return len(self.parked) + len(self.woken)

    def needed(self) -> int:
        """How much all in line need together."""
        return len(self.parked) + len(self.woken) + self.extra

    def __contains__(self, waiter: Waiter) -> bool:
        return waiter in self.parked or waiter in self.woken

    def ahead(self, priority: int) -> int:
        """How many a newcomer of this priority finds before it."""
        if priority == 0 and not self.parked and not self.woken:
            return 0
        return sum(waiter.priority >= priority for group in (self.parked, self.woken) for waiter in group)

    def before(self, waiter: Waiter | None) -> int:
        """How much those need who have to go before this one; before a newcomer, all.

        Who was woken goes before who sleeps, unless the sleeper came first. So among those who stand in several lines,
        and hold a place in one while they wait in another, the first to come is never held up by a later one.
        """
        if waiter is None or not waiter.ticket:
            return self.needed()
        rank = waiter.rank()
        before = 0 if waiter in self.woken else self._woken_before(waiter)
        for other, need in self.parked.items():
            if other.rank() >= rank:
                break
            before += need
        return before

    def park(self, waiter: Waiter, need: int = 1) -> None:
        """Put to sleep: at its place, which is the end unless it was here before or its priority is higher."""
        parked = self.parked
        if not waiter.ticket:
            waiter.ticket = next(_tickets)
            if need == 1 and not parked:
                parked[waiter] = 1
                return
        elif parked.get(waiter) == need:
            return
        else:
            self.leave(waiter)
        last = next(reversed(parked)) if parked else None
        parked[waiter] = need
        self.extra += need - 1
        if last is not None and last.rank() > waiter.rank():
            self.parked = OrderedDict(sorted(parked.items(), key=_rank))

    def claim(self, waiter: Waiter, need: int = 1) -> None:
        """Count as woken: what it waits for is there, but it needs more than this line can give."""
        self.leave(waiter)
        _arrive(waiter)  # else it would take itself for a newcomer who has to go behind itself
        self.woken[waiter] = need
        self.extra += need - 1

    def leave(self, waiter: Waiter | None) -> None:
        """Stand here no longer, if it did."""
        need = self.parked.pop(waiter, 0) or self.woken.pop(waiter, 1)  # type: ignore[arg-type]  # None never stands here
        self.extra -= need - 1

    def rouse_first(self, errands: Errands) -> None:
        """Wake the next in line; there is one."""
        waiter, need = self.parked.popitem(last=False)
        self.woken[waiter] = need
        errands.append(waiter)

    def rouse(self, available: int, errands: Errands) -> None:
        """Wake the next in line while more is available than waiters have been woken for it."""
        while self.parked and len(self.woken) < available:
            self.rouse_first(errands)

    def rouse_in_order(self, available: int, errands: Errands) -> None:
        """The same, where a woken one may hold its place for long: it does not count before who came first."""
        while self.parked and self._enough_for_head(available):
            self.rouse_first(errands)

    def _enough_for_head(self, available: int) -> bool:
        head, need = next(iter(self.parked.items()))
        if len(self.woken) + self.extra + need <= available:  # even if all that is extra went before it
            return True
        return self._woken_before(head) + need <= available

    def _woken_before(self, waiter: Waiter) -> int:
        rank = waiter.rank()
        return sum(need for other, need in self.woken.items() if other.rank() < rank)

    def rouse_one(self, waiter: Waiter, errands: Errands) -> None:
        """Wake this one, out of turn."""
        if waiter in self.parked:
            self.woken[waiter] = self.parked.pop(waiter)
            errands.append(waiter)

    def rouse_all(self, errands: Errands) -> None:
        while self.parked:
            self.rouse_first(errands)

    def check(self, available: int, name: str, *, in_order: bool = False) -> None:
        assert not self.parked.keys() & self.woken.keys()
        assert self.needed() == sum(self.parked.values()) + sum(self.woken.values()), f"{name}: counted wrongly"
        assert list(self.parked) == sorted(self.parked, key=Waiter.rank), f"{name}: the line is out of order"
        assert not in_order or not self.parked or not self._enough_for_head(available), f"{name}: the first is held up"
        assert in_order or not self.parked or len(self.woken) >= available, (
            f"{name}: {len(self.parked)} sleep while {available} are available and {len(self.woken)} were woken"
        )


def _arrive(waiter: Waiter) -> None:
    if not waiter.ticket:
        waiter.ticket = next(_tickets)


def _rank(entry: tuple[Waiter, int]) -> tuple[int, int]:
    return entry[0].rank()
