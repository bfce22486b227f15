"""What waits in a queue, in the order of its policy.

A backlog answers one question, "which message next?", and knows nothing of who asks or waits. What comes back enters by
`restore` and takes its original place. There is one for each order: `fifo`, `ranks` (priorities) and `lanes` (keys).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from eventbus._core.leases import Lease
from eventbus.message import Record

if TYPE_CHECKING:
    from eventbus._core.consumer import Holder
    from eventbus._core.lanes import Lane, Place


class Backlog(ABC):
    """The messages of one queue that are ready, in the order in which they are to be delivered."""

    __slots__ = ("redelivered",)

    redelivered: int

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __iter__(self) -> Iterator[Record]:
        """All of it, in the order in which it would be delivered."""

    @abstractmethod
    def lend(self, holder: Holder) -> Lease | None:
        """Take the next message out, as a lease for this holder."""

    @abstractmethod
    def lend_many(self, holder: Holder, limit: int) -> list[Lease]:
        """Take up to `limit` messages out, as a lease for each."""

    @abstractmethod
    def restore(self, record: Record, lane: Lane | None) -> None:
        """Put back what a lease had taken out of `lane`, at its original place."""

    @abstractmethod
    def insert(self, record: Record, place: Place) -> None:
        """A message from the past, at the place that its offset gives it."""

    @abstractmethod
    def overtaken(self, offset: int, priority: int, place: Place) -> bool:
        """Whether a message that is yet to be put has an older offset than the last of those it would come after."""

    @abstractmethod
    def remove(self, offset: int) -> Record | None:
        """Take out one message, wherever it is."""

    @abstractmethod
    def remove_many(self, offsets: Sequence[int]) -> list[Record]:
        """Take out those of these messages that are here, in any order; cheaper than one by one."""

    @abstractmethod
    def drop_oldest(self, newcomer: Record) -> Record:
        """Take out what a full queue gives up for the newcomer, or name the newcomer itself."""

    @abstractmethod
    def clear(self) -> list[Record]: ...

    @abstractmethod
    def oldest(self) -> Record | None: ...

    @abstractmethod
    def check(self) -> None: ...

    def available(self, holder: Holder | None) -> int:
        """How many messages this holder could take now."""
        return len(self)

    # what only lanes care for

    def settled(self, lane: Lane | None) -> None:  # noqa: B027  # to be left as it is by the others
        """What a lease had taken out of `lane` will not come back."""

    def attach(self, holder: Holder) -> None:  # noqa: B027  # to be left as it is by the others
        """A consumer came."""

    def detach(self, holder: Holder) -> None:  # noqa: B027  # to be left as it is by the others
        """A consumer went; all that it had out has come back."""


def offset_of(record: Record) -> int:
    """The offset of a record that has entered, as all in a backlog have."""
    return record[0]  # type: ignore[return-value]  # whatever is in a queue has one
