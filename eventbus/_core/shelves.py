"""What a durable queue's place in the journal is made of: its shelves, the pages that are read, and what is said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from eventbus.message import Record

if TYPE_CHECKING:
    from eventbus._core.depot import Depot
    from eventbus._core.lanes import Place

State: TypeAlias = tuple[int, int, "str | None", "float | None"]
"""Of a message that has failed, or comes later: attempts, failures, error, and when it is due, since the epoch."""


NEW: Final[State] = (0, 0, None, None)
"""Of one that has not."""

Cleared: TypeAlias = tuple[int, int, int, list[int]]
"""A shelf that was purged, by its rank: all that lies beyond one offset, up to another, is settled, but for these."""


class Shelf:
    """The messages of one queue that are in line behind each other."""

    __slots__ = ("ahead", "asked", "edge", "loaded", "unread")

    def __init__(self, edge: int) -> None:
        self.edge = edge
        """The last offset that has been read."""
        self.unread = 0
        """How many are on disk only."""
        self.loaded = 0
        """How many are in memory and not settled."""
        self.ahead: set[int] = set()
        """What has been in memory, beyond the edge."""
        self.asked = False


class Page:
    """The next messages of one shelf, as the reader found them."""

    __slots__ = ("after", "edge", "entries", "last", "missed", "rank", "time")

    def __init__(
        self,
        rank: int,
        after: int,
        entries: Sequence[tuple[Record, Place]],
        edge: int,
        missed: Sequence[int],
        last: bool,
        time: float,
    ) -> None:
        self.rank = rank
        self.after = after
        """The edge of the shelf when this was asked for."""
        self.time = time
        """When it was read, since the epoch."""
        self.entries = entries
        self.edge = edge
        """The offset up to which this is all."""
        self.missed = missed
        """What counts and is not wanted, which may be in memory all the same."""
        self.last = last
        """Whether nothing is left."""


class Saying:
    """What one queue has to say in one commit."""

    __slots__ = ("cleared", "depot", "ended", "mark", "settled", "states")

    def __init__(
        self,
        depot: Depot,
        mark: int,
        settled: list[tuple[int, int]],
        states: dict[int, State],
        ended: list[int],
        cleared: list[Cleared],
    ) -> None:
        self.depot = depot
        self.cleared = cleared
        self.mark = mark
        """Of a FIFO: all up to here is settled."""
        self.settled = settled
        """By rank and offset; of a FIFO, only what is above the mark."""
        self.states = states
        self.ended = ended
        """Whose states are to be forgotten."""
