"""Consumers as async code holds them."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import anyio.lowlevel

from eventbus._core.consumer import Holder
from eventbus._core.leases import Lease
from eventbus._core.waiting import Waiter, run_errands
from eventbus.delivery import Delivery
from eventbus.errors import ClosedError
from eventbus.publishing import STRIDE

if TYPE_CHECKING:
    from eventbus.channels import Queue

__all__ = ["Consumer"]

T = TypeVar("T")

class Consumer(Generic[T]):
    """One of the competing consumers of a queue: iterate it inside ``async with``.

    Leaving the block ends it: what it reserved goes back as if it had never been taken, and what it holds unsettled is
    released. It passes a checkpoint at least once in 128 messages.
    """

    def __init__(self, queue: Queue[T], holder: Holder) -> None:
        self._queue = queue
        self._state = holder.queue
        self._holder = holder
        self._buffer = holder.buffer
        self._single = holder.prefetch == 1
        self._pace = 0
        self._port: Any = None

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
        self._port = self._holder.home = self._state.engine.handle._ports.here()
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
        return await self._fetch()

    async def _fetch(self) -> Delivery[T]:
        if self._port is None:
            raise RuntimeError("enter the consumer before you iterate it: async with queue.consume() as consumer: ...")
        self._pace += self._holder.prefetch
        if self._pace >= STRIDE:
            self._pace = 0
            await anyio.lowlevel.checkpoint()
        self._holder.party = self._port.party()
        lease = self._state.take(self._holder) if self._single else None
        if lease is None:
            lease = await self._reserve()
        if self._state.errands:
            run_errands(self._state.errands)
        return lease  # type: ignore[return-value]  # the engine's leases are this face's deliveries

    async def _reserve(self) -> Lease:
        holder, state = self._holder, self._state

        def attempt(waiter: Waiter | None = None) -> Lease | bool:
            return state.reserve(holder, waiter) or holder.closed

        try:
            lease = attempt()
            if not lease:
                lease = await state.engine.handle._ports.until(attempt, state.leave, holder)
        except ClosedError:
            lease = True
        if isinstance(lease, bool):
            raise StopAsyncIteration
        return lease
