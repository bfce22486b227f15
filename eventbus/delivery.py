"""A delivery: one message lent to one consumer, to be settled once. The same for async code and for threads."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from eventbus._core.errands import run_errands
from eventbus._core.leases import SETTLEMENTS, Fate, Lease, repeat
from eventbus._core.lots import Lot
from eventbus._core.queue import QueueState
from eventbus._core.requests import request_of
from eventbus.answering import answer, answer_failure
from eventbus.errors import ClosedError, SettlementError
from eventbus.message import Headers, Key, Message, Record, message_of, mortal
from eventbus.policy import check_seconds

if TYPE_CHECKING:
    from eventbus.bus import Bus
    from eventbus.channels import Queue

__all__ = ["Batch", "Delivery"]

T = TypeVar("T")

logger = logging.getLogger("eventbus")

SLICE: Final = 256
"""How many deliveries of a batch are settled in one hold of the lock."""


class Delivery(Lease, Generic[T]):
    """One message lent to you. Settle it once: ack, nack, release or reject.

    ``with delivery:`` acks on success; on an exception it nacks and lets it through; on cancellation it releases. If
    you settled it inside, it does nothing. Settling again in the same way is harmless, in another way raises
    `SettlementError`; after the message went elsewhere, `StaleDeliveryError`.
    """

    __slots__ = ()
    body: T

    def ack(self) -> None:
        """It is done."""
        holder = self._holder
        queue = holder.queue
        try:
            holder.out.remove(self)
        except KeyError:
            queue.ack_apart(self)
        else:
            if queue.alert:
                queue.after_ack(self)
        if queue.errands:
            run_errands(queue.errands)

    def nack(self, delay: float | None = None, error: str | BaseException | None = None) -> None:
        """It failed: back to its original place after ``delay`` seconds, or after the backoff of the retry policy.

        After the last attempt that the policy allows it goes to the dead letters. ``error`` says what went wrong.
        """
        if delay is not None:
            check_seconds("delay", delay)
        self._settle(Fate.NACKED, error, delay)

    def extend(self, seconds: float) -> None:
        """Let its lease run out so many ``seconds`` from now; without a lease there is nothing to extend."""
        check_seconds("seconds", seconds, positive=True, optional=False)
        queue = self._holder.queue
        self.bus._timers.look()
        if not queue.extend(self, seconds):
            repeat(self, Fate.OUT, "extend")
        run_errands(queue.errands)

    def release(self) -> None:
        """Give it back to its original place; no failure."""
        self._settle(Fate.RELEASED, None)

    def reject(self, reason: str | BaseException | None = None) -> None:
        """To the dead letters, now. ``reason`` is kept as the ``error`` of its death."""
        self._settle(Fate.REJECTED, reason)

    def reply(self, body: Any) -> None:
        """Answer the request that it is, and ack it. What is no request raises `SettlementError`."""
        if request_of(self.record) is None:
            raise SettlementError(
                self._holder.queue.name,
                self.offset,
                self.fate.value,
                "reply",
                f"delivery {self.offset} of queue {self._holder.queue.name!r} is no request, so nobody waits for a "
                f"reply; ack it, and publish to whom it concerns",
            )
        self.ack()
        answer(self, body)

    def _settle(self, call: Fate, error: str | BaseException | None, delay: float | None = None) -> None:
        queue = self._holder.queue
        if self.record[7] is not None and not self.settled:
            answer_failure(self, error)
        self.bus._timers.look()
        try:
            queue.settle((self,), call, text_of(error), self.bus._now(), delay)
        finally:
            run_errands(queue.errands)

    @property
    def message(self) -> Message[T]:
        """The message itself."""
        return message_of(mortal_in(self._holder.queue, self.record))

    @property
    def failures(self) -> int:
        """How many deliveries of it failed before this one."""
        return super().failures

    @property
    def offset(self) -> int:
        """The message's offset."""
        return self.record[0]  # type: ignore[return-value]  # what is lent has one

    @property
    def key(self) -> Key:
        """The message's key."""
        return self.record[3]

    @property
    def headers(self) -> Headers:
        """The message's headers."""
        return self.record[4]

    @property
    def topic(self) -> str:
        """The topic or queue that the message was sent to."""
        return self.record[6]

    @property
    def redelivered(self) -> bool:
        """Whether this queue has delivered the message before."""
        return self.record[8] is not None

    @property
    def partition(self) -> int | None:
        """The number of its lane, in a queue with a fixed number of them."""
        return None if self.lane is None else self.lane.partition

    @property
    def settled(self) -> bool:
        """Whether it is no longer out."""
        return not self.is_out()

    @property
    def queue(self) -> Queue[T]:
        """The queue that lent it."""
        return self._holder.handle  # type: ignore[no-any-return]

    @property
    def bus(self) -> Bus:
        """The bus of that queue."""
        return self._holder.handle._bus  # type: ignore[no-any-return]

    def contain(self) -> Contained[T]:
        """``with delivery.contain():`` is ``with delivery:``, but logs an exception and goes on. For loops."""
        return Contained(self)

    def __enter__(self) -> Delivery[T]:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.fate in SETTLEMENTS:
            return
        if error is None:
            self.ack()
            return
        try:
            if isinstance(error, Exception):
                self.nack(error=error)
            else:
                self.release()
        except (SettlementError, ClosedError):
            pass  # the message went elsewhere meanwhile; what is on its way up matters more

    def __repr__(self) -> str:
        return f"<Delivery {self.offset} of {self._holder.queue.name!r}, attempt {self.attempt}, {self.fate.value}>"


class Contained(Generic[T]):
    """What `Delivery.contain` returns."""

    __slots__ = ("_delivery",)

    def __init__(self, delivery: Delivery[T]) -> None:
        self._delivery = delivery

    def __enter__(self) -> Delivery[T]:
        return self._delivery

    def __exit__(self, kind: object, error: BaseException | None, trace: TracebackType | None) -> bool:
        try:
            self._delivery.__exit__(kind, error, trace)
        except (SettlementError, ClosedError) as stale:
            self._log(stale)
        if isinstance(error, Exception):
            self._log(error)
            return True
        return False

    def _log(self, error: Exception) -> None:
        delivery = self._delivery
        logger.error(
            "delivery %d of queue %r, attempt %d, failed",
            delivery.offset,
            delivery._holder.queue.name,
            delivery.attempt,
            exc_info=error,
        )


class Batch(Sequence[Delivery[T]], Generic[T]):
    """Deliveries taken together: a sequence of them, to be settled one by one or whole."""

    __slots__ = ("_lots",)

    def __init__(self, lots: list[Lot]) -> None:
        self._lots = lots

    def __len__(self) -> int:
        return sum(map(len, self._lots))

    def __iter__(self) -> Iterator[Delivery[T]]:
        return iter(self._deliveries())

    def __getitem__(self, index: Any) -> Any:
        return self._deliveries()[index]

    def _deliveries(self) -> list[Delivery[T]]:
        leases: Any = self._lots[0].leases if len(self._lots) == 1 else [d for lot in self._lots for d in lot.leases]
        return leases  # type: ignore[no-any-return]  # the engine's leases are this face's deliveries

    @property
    def bodies(self) -> list[T]:
        """The bodies, in order."""
        return [body for lot in self._lots for chunk in lot.chunks for body in chunk.bodies]

    def ack(self) -> None:
        """Ack every delivery of the batch that is still out; then the first of the others that refuses raises."""
        if len(self._lots) == 1 and self._acked(self._lots[0]):
            return
        parted = [lot for lot in self._lots if not self._acked(lot)]
        if parted:
            Batch[T](parted)._settle(QueueState.ack_many)

    def _acked(self, lot: Lot) -> bool:
        """Ack a lot that is still whole; whether it was."""
        holder = lot.holder
        try:
            holder.lots.remove(lot)
        except KeyError:
            return False
        if holder.queue.alert:
            holder.queue.after_lot(lot)
            run_errands(holder.queue.errands)
        return True

    def nack(self, delay: float | None = None, error: str | BaseException | None = None) -> None:
        """Nack every delivery of the batch, in the same way."""
        if delay is not None:
            check_seconds("delay", delay)
        self._refuse(Fate.NACKED, error, delay)

    def release(self) -> None:
        """Release every delivery of the batch, in the same way."""
        self._refuse(Fate.RELEASED, None)

    def reject(self, reason: str | BaseException | None = None) -> None:
        """Reject every delivery of the batch, in the same way."""
        self._refuse(Fate.REJECTED, reason)

    def _refuse(self, call: Fate, error: str | BaseException | None, delay: float | None = None) -> None:
        bus = self[0].bus
        bus._timers.look()
        text, now = text_of(error), bus._now()
        for delivery in self:
            if delivery.record[7] is not None and not delivery.settled:
                answer_failure(delivery, error)
        self._settle(lambda queue, leases: queue.settle(leases, call, text, now, delay))

    def _settle(self, settle: Callable[[QueueState, Sequence[Delivery[T]]], None]) -> None:
        """In slices, so that no batch is large enough to hold up the others."""
        queue = self._lots[0].holder.queue
        deliveries = self._deliveries()
        refused: Exception | None = None
        for start in range(0, len(deliveries), SLICE):
            try:
                settle(queue, deliveries[start : start + SLICE])
            except (SettlementError, ClosedError) as error:
                refused = refused or error
        run_errands(queue.errands)
        if refused is not None:
            raise refused


def mortal_in(queue: QueueState, record: Record) -> Record:
    """A record as its queue has it, which may let it expire."""
    expires = queue.expires(record)
    return record if expires is None else mortal(record, expires)


def text_of(error: str | BaseException | None) -> str | None:
    """What is kept of the reason for a failure."""
    return f"{type(error).__name__}: {error}" if isinstance(error, BaseException) else error
