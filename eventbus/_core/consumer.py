"""Who holds deliveries: a consumer, or a queue's anonymous receivers, who together are one holder too.

`out` is all that was lent to a holder and not settled; `buffer` is the part of it that a prefetching consumer has
reserved and not yet handed to its user. A handout is `buffer.popleft()` and an ack `out.remove()`, both atomic in
CPython, so neither needs the lock; what the engine takes back from a buffer, it takes with `pop()`, so that each
reservation goes either to the user or back to the queue. `lots` is what was lent in batches and is still whole: see
`lots`.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from eventbus._core.leases import Lease
from eventbus._core.lots import Lot
from eventbus._core.waiting import Line
from eventbus.message import Record

if TYPE_CHECKING:
    from eventbus._core.queue import QueueState


class Holder:
    """One consumer, or all plain `get()` calls of one face of a queue."""

    __slots__ = (
        "buffer",
        "closed",
        "exclusive",
        "handle",
        "home",
        "line",
        "lots",
        "out",
        "party",
        "prefetch",
        "priority",
        "queue",
        "serving",
        "uncommon",
        "until_empty",
    )

    def __init__(
        self,
        queue: QueueState,
        line: Line,
        *,
        prefetch: int = 1,
        priority: int = 0,
        exclusive: bool = False,
        until_empty: bool = False,
        home: object = None,
        handle: Any = None,
    ) -> None:
        self.queue = queue
        self.line = line
        self.prefetch = prefetch
        self.priority = priority
        self.exclusive = exclusive
        self.until_empty = until_empty
        self.uncommon = bool(priority) or until_empty
        """Whether its place in line, or its end, takes more than the common case."""
        self.home = home
        """The event loop or thread it lives on, opaque here: one that has ended takes its consumers with it."""
        self.handle = handle
        """The face's own queue that it takes from; opaque here."""
        self.serving = False
        """Whether it works for a handler."""
        self.party: object = None
        """The task or thread that takes from it, opaque here: what the search for cycles of waiting goes by."""
        self.closed = False
        self.out: set[Lease] = set()
        self.lots: set[Lot] = set()
        self.buffer: deque[Lease] = deque()

    def lent(self) -> int:
        """How many messages it has. Under the lock."""
        return len(self.out) + sum(map(len, list(self.lots))) if self.lots else len(self.out)

    def records(self) -> list[Record]:
        """The messages that it has. Under the lock."""
        lots = [record for lot in list(self.lots) for chunk in lot.chunks for record in chunk.records]
        return [*(lease.record for lease in list(self.out)), *lots]

    def part(self) -> None:
        """Let all its leases stand for themselves. Under the lock."""
        while self.lots:
            try:
                lot = self.lots.pop()
            except KeyError:  # acked in this moment, in another thread
                return
            self.out.update(lot.leases)
