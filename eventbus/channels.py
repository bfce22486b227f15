"""Queues and subscriptions as async code holds them: thin handles over the engine's state.

Every call tries first, and waits only if the engine said so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import Any, TypeVar

import anyio

from eventbus._core.consumer import Holder
from eventbus._core.errands import run_errands
from eventbus._core.lots import Lot
from eventbus._core.queue import QueueState
from eventbus._core.waiting import Waiter
from eventbus._faces.bus import BusFace
from eventbus._faces.queue import QueueFace, SubscriptionFace, check_count, check_within
from eventbus.causality import current
from eventbus.consuming import Consumer
from eventbus.delivery import Batch, Delivery
from eventbus.filters.predicate import Where
from eventbus.history import Start
from eventbus.message import Headers, Key
from eventbus.publishing import STRIDE, Confirmation, Sending, confirm, cross, send_all, weight
from eventbus.sending import KeyOf, Options, check_bodies

__all__ = ["Queue", "Subscription"]

T = TypeVar("T")


class Queue(QueueFace[T]):
    """A queue: each message goes to one of its competing consumers.

    A handle; the bus keeps the queue. Its calls pass a checkpoint once in 256 immediate successes, so that no loop of
    them starves the others of its event loop, and not at every call. All may be cancelled at any moment: a cancelled
    put has not happened, and a cancelled get loses nothing.
    """

    def __init__(self, bus: BusFace, state: QueueState) -> None:
        super().__init__(bus, state)
        self._pace = 0

    async def put(
        self,
        body: T,
        key: Key = None,
        headers: Headers | None = None,
        priority: int = 0,
        id: str | None = None,
        delay: float | None = None,
        ttl: float | None = None,
    ) -> int:
        """Put a message, and return its offset. A full queue makes it wait or raise `FullError`, as its policy says."""
        self._pace = pace = self._pace + 1
        if pace > STRIDE:
            self._pace = 0
            await self._ports.checkpoint()
        offset = 0
        if (
            headers is None
            and id is None
            and ttl is None
            and priority.__class__ is int
            and (key is None or key.__class__ is str)
            and (swift := self._swift) is not None
        ):
            if delay is None:
                now = self._now
                rare = self._heir() if self._traced and current() is not None else None
                offset = swift(body, key, priority, now(), rare)
            else:
                offset = self._swift_later(body, key, priority, delay)
        elif posted := self._gathered(body, priority, key, headers, id, delay, ttl):
            run_errands(self._errands)
            await self._ports.written(posted[1])
            return posted[0]
        if not offset:
            options = Options(self._timers, key, headers, priority, id, delay, ttl)
            offset = await cross(self._ports, Sending(self._engine, self._parcel_maker(body, options)))
        if self._errands:
            run_errands(self._errands)
        return offset

    async def put_many(
        self,
        bodies: Sequence[T],
        key: KeyOf = None,
        headers: Headers | None = None,
        priority: int = 0,
        id: str | None = None,
        delay: float | None = None,
        ttl: float | None = None,
    ) -> list[int]:
        """Put many messages, in order, as room appears; returns their offsets. ``key`` may be a function of the body.

        Not atomic: other messages may come between, and if it is cancelled those that entered stay. A queue whose
        overflow is FAIL takes all or raises `FullError` and takes none.
        """
        bodies = check_bodies(bodies)
        self._pace += weight(len(bodies))
        if self._pace > STRIDE:
            self._pace = 0
            await self._ports.checkpoint()
        offsets: list[int] = []
        if key is None and headers is None and id is None and delay is None and ttl is None:
            offsets = self._swift_many(bodies, priority)
            if offsets and len(offsets) == len(bodies):
                return offsets
        options = Options(self._timers, key, headers, priority, id, delay, ttl)
        return await send_all(self._ports, self._entering(bodies, options, offsets))

    async def get(self) -> Delivery[T]:
        """Take the next message, waiting for one. It stays out until you settle it or the bus closes."""
        self._pace = pace = self._pace + 1
        if pace > STRIDE:
            self._pace = 0
            await self._ports.checkpoint()
        state = self._state
        state.received_from = True
        lease: Any = state.take(self._receivers) if state.spare else None
        if lease is None and state.timed:
            lease = state.take_timed(self._receivers, self._monotonic(), self._now())
        if lease is None:
            self._receiving()
            lease = await self._ports.until(self._take_in_turn, state.leave, self._receivers)
        if self._errands:
            run_errands(self._errands)
        return lease  # type: ignore[no-any-return]  # the engine's leases are this face's deliveries

    async def get_many(self, limit: int, *, within: float | None = None) -> Batch[T]:
        """Take one message, waiting for it, and up to ``limit`` in all: those ready, or coming ``within`` seconds."""
        check_count("limit", limit)
        check_within(within)
        self._pace += weight(limit)
        if self._pace > STRIDE:
            self._pace = 0
            await self._ports.checkpoint()
        self._receiving().received_from = True
        lot = None if within is not None else self._take_many(self._receivers, limit)
        if lot is None:
            return Batch(await self._gather(self._receivers, limit, within))
        if self._errands:
            run_errands(self._errands)
        return Batch([lot])

    async def _gather(self, holder: Holder, limit: int, within: float | None) -> list[Lot]:
        """Some messages, and more of what comes in time; none once the holder has ended."""
        lots = await self._receive(holder, limit)
        if within is not None and lots:
            await self._fill(holder, lots, limit, within)
        return lots

    async def _receive(self, holder: Holder, limit: int) -> list[Lot]:
        self._timers.look()
        lot = self._take_many(holder, limit)
        if lot is not None:
            run_errands(self._errands)
            return [lot]
        attempt: Callable[[Waiter], Any] = partial(self._attempt_many, holder, limit)
        lot = await self._ports.until(attempt, self._state.leave, holder)
        return [lot] if isinstance(lot, Lot) else []

    async def _fill(self, holder: Holder, lots: list[Lot], limit: int, within: float) -> None:
        """If that is cancelled, or the holder ends, all goes back as if it had never been taken."""
        try:
            with anyio.move_on_after(within):
                while (left := limit - sum(map(len, lots))) > 0:
                    more = await self._receive(holder, left)
                    if not more:
                        self._give_back(lots)
                        return
                    lots += more
        except BaseException:
            self._give_back(lots)
            raise

    def consume(
        self, prefetch: int = 1, *, until_empty: bool = False, exclusive: bool = False, priority: int = 0
    ) -> Consumer[T]:
        """A consumer, to be entered with ``async with`` and iterated; it competes with the others.

        ``prefetch``: 1 takes each message when it is asked for; more reserves up to that many, for speed, never more
        than a fair share. ``until_empty`` ends the iteration when nothing is ready, or out with another consumer.
        ``exclusive`` refuses to share the queue. Of consumers that wait, the higher ``priority`` is served first.
        """
        return Consumer(self, self._holder(prefetch, until_empty, exclusive, priority))

    async def join(self) -> None:
        """Wait until all that was put is settled."""
        await self._ports.until(self._state.join, self._state.leave)

    async def redrive(
        self, where: Where = None, to: str | QueueFace[Any] | None = None, limit: int | None = None
    ) -> int:
        """Put dead letters back at the tail of the queue in which they died, or of ``to``; how many were put back.

        Of what is ready now, all that the filter ``where`` wants, up to ``limit``. It waits for room, and each message
        is in one of the two queues at every moment. What died in a queue that is no more stays.
        """
        from eventbus.redriving import GONE

        moved = 0
        for move in self._redriving(where, to, limit):
            await self._ports.checkpoint()
            moved += await cross(self._ports, move) != GONE
        return moved


class Subscription(Queue[T], SubscriptionFace[T]):
    """A queue bound to topics: it gets a copy of each of their messages that its filter lets through.

    A private one, made without a name, is gone when its last consumer closes, or at the end of ``async with``.
    """

    async def seek(self, start: Start) -> None:
        """Go back or forth in what the topics retain: EARLIEST, LATEST, an offset or a datetime.

        What is ready is forgotten, what is out becomes stale, and what is retained from there on comes, filtered.
        With a journal, `JournalError` if that could not be written: then it goes on where it was, with what was out.
        """
        await self._ports.checkpoint()
        sought = self._seek(start)
        if sought is not None:
            await confirm(self._ports, Confirmation(self._engine, (sought,)))

    async def unsubscribe(self) -> None:
        """End it: its bindings, its messages, its consumers. Harmless when done twice."""
        await self._ports.checkpoint()
        self._remove()

    async def __aenter__(self) -> Subscription[T]:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._state.private:
            self._remove()
