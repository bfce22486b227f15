"""Consumers as threads hold them."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from eventbus._core.consumer import Holder
from eventbus._core.errands import run_errands
from eventbus._core.leases import Lease
from eventbus._faces.consumer import ConsumerFace
from eventbus._runtime.threads import this_thread
from eventbus.blocking.waits import Timeout
from eventbus.delivery import Delivery
from eventbus.errors import ClosedError, JournalError

if TYPE_CHECKING:
    from eventbus.blocking.channels import Queue

__all__ = ["Consumer"]

T = TypeVar("T")


class Consumer(ConsumerFace[T]):
    """One of the competing consumers of a queue: iterate it inside ``with``.

    Leaving the block ends it: what it reserved goes back as if it had never been taken, and what it holds unsettled is
    released; the end of its thread does the same. With a timeout, a message that does not come in time raises
    `TimeoutError`, and the iteration may go on.
    """

    def __init__(self, queue: Queue[T], holder: Holder, timeout: Timeout) -> None:
        super().__init__(queue, holder)
        self._threads = queue._threads
        self._timeout = timeout

    def __enter__(self) -> Consumer[T]:
        self._enter(self._threads.here())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    def __iter__(self) -> Consumer[T]:
        return self

    def __next__(self) -> Delivery[T]:
        if self._buffer:
            try:
                delivery: Any = self._buffer.popleft()
            except IndexError:  # taken back in this moment, in another thread
                pass
            else:
                if self._state.eager:
                    self._handed_out(delivery)
                return delivery  # type: ignore[no-any-return]  # the engine's leases are this face's deliveries
        if not self._entered:
            raise RuntimeError("enter the consumer before you iterate it: with queue.consume() as consumer: ...")
        holder, take = self._holder, self._take
        holder.party = this_thread()
        lease: Any = take(holder)
        if lease is None:
            lease = self._wait()
        if self._errands:
            run_errands(self._errands)
        return lease  # type: ignore[no-any-return]  # the engine's leases are this face's deliveries

    def _wait(self) -> Lease:
        try:
            lease: Any = self._threads.until(
                self._attempt,
                self._state.leave,
                self._holder,
                timeout=self._timeout,
                what=lambda: f"a message in queue {self._state.name!r}",
            )
        except JournalError:
            raise
        except ClosedError:
            raise StopIteration from None
        if isinstance(lease, bool):
            raise StopIteration
        return lease  # type: ignore[no-any-return]
