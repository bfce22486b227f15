"""Consumers as async code holds them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import anyio.lowlevel

from eventbus._core.consumer import Holder
from eventbus._core.errands import run_errands
from eventbus._core.leases import Lease
from eventbus._core.waiting import Waiter
from eventbus.delivery import Delivery
from eventbus.errors import ClosedError
from eventbus.publishing import STRIDE, weight

if TYPE_CHECKING:
    from eventbus.channels import Queue

__all__ = ["Consumer"]

T = TypeVar("T")


class Consumer(Generic[T]):
    """One of the competing consumers of a queue: iterate it inside ``async with``.

    Leaving the block ends it: what it reserved goes back as if it had never been taken, and what it holds unsettled is
    released. It passes a checkpoint once in 256 messages that it takes singly, or about a thousand that it reserves.
    """

    def __init__(self, queue: Queue[T], holder: Holder) -> None:
        self._queue = queue
        self._state = holder.queue
        self._holder = holder
        self._buffer = holder.buffer
        single = holder.prefetch == 1
        self._take = holder.queue.take if single else holder.queue.reserve
        self._take_in_turn = partial(holder.queue.take_in_turn if single else holder.queue.reserve_in_turn, holder)
        self._pace = 0
        self._step = 1 if holder.prefetch == 1 else weight(min(holder.prefetch, STRIDE))
        self._errands = holder.queue.errands
        self._party: Callable[[], object] = _not_entered

    @property
    def queue(self) -> Queue[T]:
        """The queue that it consumes."""
        return self._queue

    @property
    def partitions(self) -> tuple[int, ...]:
        """The lanes that it owns now, in a queue with sticky lanes; else none."""
        with self._state.lock:
            return () if self._state.lanes is None else self._state.lanes.partitions_of(self._holder)

    async def __aenter__(self) -> Consumer[T]:
        if self._party is not _not_entered:
            raise RuntimeError("a consumer is entered once; make another with queue.consume()")
        port = self._state.engine.handle._ports.here()
        self._holder.home = port
        self._party = port.party
        self._state.attach(self._holder)
        run_errands(self._state.errands)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._state.detach(self._holder)
        run_errands(self._state.errands)

    def __aiter__(self) -> Consumer[T]:
        return self

    async def __anext__(self) -> Delivery[T]:
        if self._buffer:
            try:
                delivery: Any = self._buffer.popleft()
            except IndexError:  # taken back in this moment, in another thread
                pass
            else:
                if self._state.eager:
                    self._state.handed_out()
                    run_errands(self._state.errands)
                return delivery  # type: ignore[no-any-return]
        self._pace += self._step
        if self._pace > STRIDE:
            self._pace = 0
            await anyio.lowlevel.checkpoint()
        holder = self._holder
        holder.party = self._party()
        lease: Any = self._take(holder)
        if lease is None:
            lease = await self._wait()
        if self._errands:
            run_errands(self._errands)
        return lease  # type: ignore[no-any-return]  # the engine's leases are this face's deliveries

    async def _wait(self) -> Lease:
        holder = self._holder
        try:
            lease: Any = await self._state.engine.handle._ports.until(self._attempt, self._state.leave, holder)
        except ClosedError:
            raise StopAsyncIteration from None
        if isinstance(lease, bool):
            raise StopAsyncIteration
        return lease  # type: ignore[no-any-return]

    def _attempt(self, waiter: Waiter) -> Lease | bool:
        """A delivery, or whether the iteration has ended."""
        return self._take_in_turn(waiter) or self._holder.closed


def _not_entered() -> object:
    raise RuntimeError("enter the consumer before you iterate it: async with queue.consume() as consumer: ...")
