"""Who holds deliveries: a consumer, or a queue's anonymous receivers, who together are one holder too.

`out` is all that was lent to a holder and not settled; `buffer` is the part of it that a prefetching consumer has
reserved and not yet handed to its user. A handout is `buffer.popleft()` and an ack `out.remove()`, both atomic in
CPython, so neither needs the lock; what the engine takes back from a buffer, it takes with `pop()`, so that each
reservation goes either to the user or back to the queue.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from eventbus._core.leases import Lease
from eventbus._core.waiting import Line

if TYPE_CHECKING:
    from eventbus._core.queue import QueueState


class Holder:
    """One consumer, or all plain `get()` calls of a queue."""

    __slots__ = (
        "buffer",
        "closed",
        "exclusive",
        "home",
        "line",
        "out",
        "party",
        "prefetch",
        "priority",
        "queue",
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
        """The event loop it lives on, opaque here: a loop that has ended takes its consumers with it."""
        self.party: object = None
        """The task that takes from it, opaque here: what the search for cycles of waiting goes by."""
        self.closed = False
        self.out: set[Lease] = set()
        self.buffer: deque[Lease] = deque()
