"""What takes effect in one step, once it is written."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eventbus._core.lanes import Place
    from eventbus._core.leases import Lease
    from eventbus._core.lots import Chunk
    from eventbus._core.parcels import Batch, Parcel
    from eventbus._core.queue import QueueState
    from eventbus._core.waiting import Waiter
    from eventbus.message import Record


class Posting:
    """What takes effect in one step, once it is written: messages, and acks and statements that belong to them."""

    __slots__ = (
        "batch",
        "change",
        "chunk",
        "done",
        "error",
        "lasting",
        "leases",
        "moves",
        "parcels",
        "repeated",
        "start",
        "statements",
        "waited",
        "waiters",
    )

    def __init__(
        self,
        parcels: Sequence[Parcel] = (),
        leases: Collection[Lease] = (),
        statements: Sequence[tuple[str, Any]] = (),
        batch: Batch | None = None,
        chunk: Chunk | None = None,
        change: object = None,
        lasting: bool = False,
    ) -> None:
        self.parcels = parcels
        self.leases = leases
        self.statements = statements
        self.batch = batch
        self.chunk = chunk
        """With `batch`: messages that enter together, in place of parcels."""
        self.start = 0
        """Where in the batch they begin."""
        self.change = change
        """What people declared, to be written down in its turn; opaque here."""
        self.lasting = lasting
        """Whether it is written some time if it can't be now: nobody would send it again."""
        self.moves: Sequence[tuple[QueueState, Record, Place]] = ()
        """Where its messages come from, and leave for good."""
        self.repeated: Sequence[Posting] = ()
        """What it takes for done, and fails with: in place of messages of its own that have the same ids."""
        self.done = False
        self.error: BaseException | None = None
        self.waited = False
        """Whether somebody learns of its end by waiting for it."""
        self.waiters: dict[Waiter, None] = {}

    def first_kept(self) -> int:
        """The offset of the first of its messages that a topic keeps, or 0."""
        if self.batch is not None:
            assert self.chunk is not None
            return self.chunk.first if self.batch.topic is not None else 0
        return next((parcel.offset for parcel in self.parcels if parcel.topic is not None), 0)
