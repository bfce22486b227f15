"""What both faces of a consumer have in common: all that does not wait."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from eventbus._core.consumer import Holder
from eventbus._core.errands import run_errands
from eventbus._core.leases import Lease
from eventbus._core.waiting import Waiter

if TYPE_CHECKING:
    from eventbus._faces.queue import QueueFace

__all__ = ["ConsumerFace"]

T = TypeVar("T")


class ConsumerFace(Generic[T]):
    """A consumer as one kind of code holds it."""

    def __init__(self, queue: QueueFace[T], holder: Holder) -> None:
        self._queue = queue
        self._state = holder.queue
        self._holder = holder
        self._buffer = holder.buffer
        single = holder.prefetch == 1
        self._take = holder.queue.take if single else holder.queue.reserve
        self._timers = queue._timers
        self._take_in_turn = partial(holder.queue.take_in_turn if single else holder.queue.reserve_in_turn, holder)
        self._errands = holder.queue.errands
        self._entered = False

    @property
    def queue(self) -> Any:
        """The queue that it consumes."""
        return self._queue

    @property
    def partitions(self) -> tuple[int, ...]:
        """The lanes that it owns now, in a queue with sticky lanes; else none."""
        with self._state.lock:
            return () if self._state.lanes is None else self._state.lanes.partitions_of(self._holder)

    def _enter(self, home: object) -> None:
        if self._entered:
            raise RuntimeError("a consumer is entered once; make another with queue.consume()")
        self._entered = True
        self._holder.home = home
        self._state.attach(self._holder)
        run_errands(self._errands)

    def _handed_out(self, delivery: Lease) -> None:
        """It came from the buffer, and somebody has to look."""
        if self._state.timed:
            self._timers.look()
        self._state.handed_out(delivery)
        run_errands(self._errands)

    def _leave(self) -> None:
        self._state.detach(self._holder)
        self._holder.party = None  # what it lent keeps no task alive
        run_errands(self._errands)

    def _attempt(self, waiter: Waiter) -> Lease | bool:
        """A delivery, or whether the iteration has ended."""
        if self._state.timed:
            self._timers.look()
        return self._take_in_turn(waiter) or self._holder.closed
