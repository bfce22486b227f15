"""Consumers as async code holds them."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from eventbus._core.consumer import Holder
from eventbus._core.errands import run_errands
from eventbus._core.leases import Lease
from eventbus._faces.consumer import ConsumerFace
from eventbus._runtime.parking import Port
from eventbus.delivery import Delivery
from eventbus.errors import ClosedError, JournalError
from eventbus.publishing import STRIDE, weight

if TYPE_CHECKING:
    from eventbus.channels import Queue

__all__ = ["Consumer"]

T = TypeVar("T")


class Consumer(ConsumerFace[T]):
    """One of the competing consumers of a queue: iterate it inside ``async with``.

    Leaving the block ends it: what it reserved goes back as if it had never been taken, and what it holds unsettled is
    released. It passes a checkpoint once in 256 messages that it takes singly, or about a thousand that it reserves.
    """

    def __init__(self, queue: Queue[T], holder: Holder) -> None:
        super().__init__(queue, holder)
        self._ports = queue._ports
        self._pace = 0
        self._step = 1 if holder.prefetch == 1 else weight(min(holder.prefetch, STRIDE))
        self._party: Callable[[], object] = _not_entered

    async def __aenter__(self) -> Consumer[T]:
        self._enter_at(self._ports.here())
        return self

    def _enter_at(self, port: Port) -> None:
        self._enter(port)
        self._party = port.party

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

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
                    self._handed_out(delivery)
                return delivery  # type: ignore[no-any-return]
        self._pace = pace = self._pace + self._step
        if pace > STRIDE:
            self._pace = 0
            await self._ports.checkpoint()
        holder, take, party = self._holder, self._take, self._party
        holder.party = party()  # every time: a generator around a consumer may go from task to task
        lease: Any = take(holder)
        if lease is None:
            lease = await self._wait()
        if self._errands:
            run_errands(self._errands)
        return lease  # type: ignore[no-any-return]  # the engine's leases are this face's deliveries

    async def _wait(self) -> Lease:
        try:
            lease: Any = await self._ports.until(self._attempt, self._state.leave, self._holder)
        except JournalError:
            raise
        except ClosedError:
            raise StopAsyncIteration from None
        if isinstance(lease, bool):
            raise StopAsyncIteration
        return lease  # type: ignore[no-any-return]


def _not_entered() -> NoReturn:
    raise RuntimeError("enter the consumer before you iterate it: async with queue.consume() as consumer: ...")
