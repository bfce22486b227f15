"""Queues and subscriptions as threads hold them: thin handles over the engine's state.

Every call tries first, and waits only if the engine said so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import Any, TypeVar

from eventbus._core.consumer import Holder
from eventbus._core.errands import run_errands
from eventbus._core.lots import Lot
from eventbus._core.waiting import Waiter
from eventbus._faces.queue import QueueFace, SubscriptionFace, check_count, check_within
from eventbus._runtime.clock import monotonic
from eventbus.blocking.consuming import Consumer
from eventbus.blocking.waits import Timeout, check_timeout, cross, enter, send_all
from eventbus.causality import current
from eventbus.delivery import Batch, Delivery
from eventbus.filters.predicate import Where
from eventbus.history import Start
from eventbus.message import Headers, Key
from eventbus.publishing import Confirmation, Sending
from eventbus.sending import KeyOf, Options, check_bodies

__all__ = ["Queue", "Subscription"]

T = TypeVar("T")


class Queue(QueueFace[T]):
    """A queue: each message goes to one of its competing consumers.

    A handle; the bus keeps the queue. Any thread may use it. All of its calls may be interrupted, and those that wait
    given a timeout: a put that raised has not happened, and a get that raised loses nothing.
    """

    # putting

    def put(
        self,
        body: T,
        key: Key = None,
        headers: Headers | None = None,
        priority: int = 0,
        id: str | None = None,
        delay: float | None = None,
        ttl: float | None = None,
        timeout: Timeout = None,
    ) -> int:
        """Put a message, and return its offset. A full queue makes it wait or raise `FullError`, as its policy says."""
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
            check_timeout(timeout)
            enter(self._threads, Confirmation(self._engine, posted[1:]), timeout)
            return posted[0]
        if not offset:
            check_timeout(timeout)
            options = Options(self._timers, key, headers, priority, id, delay, ttl)
            offset = cross(self._threads, Sending(self._engine, self._parcel_maker(body, options)), timeout)
        if self._errands:
            run_errands(self._errands)
        return offset

    def put_many(
        self,
        bodies: Sequence[T],
        key: KeyOf = None,
        headers: Headers | None = None,
        priority: int = 0,
        id: str | None = None,
        delay: float | None = None,
        ttl: float | None = None,
        timeout: Timeout = None,
    ) -> list[int]:
        """Put many messages, in order, as room appears; returns their offsets. ``key`` may be a function of the body.

        Not atomic: other messages may come between, and if it is cancelled those that entered stay. A queue whose
        overflow is FAIL takes all or raises `FullError` and takes none.
        """
        check_timeout(timeout)
        bodies = check_bodies(bodies)
        offsets: list[int] = []
        if key is None and headers is None and id is None and delay is None and ttl is None:
            offsets = self._swift_many(bodies, priority)
            if offsets and len(offsets) == len(bodies):
                return offsets
        options = Options(self._timers, key, headers, priority, id, delay, ttl)
        return send_all(self._threads, self._entering(bodies, options, offsets), timeout)

    # getting

    def get(self, timeout: Timeout = None) -> Delivery[T]:
        """Take the next message, waiting for one. It stays out until you settle it or the bus closes."""
        state = self._state
        state.received_from = True
        lease: Any = state.take(self._receivers) if state.spare else None
        if lease is None and state.timed:
            lease = state.take_timed(self._receivers, self._monotonic(), self._now())
        if lease is None:
            if timeout is not None or state.separate:  # else what is due comes by itself
                check_timeout(timeout)
                self._receiving()
            lease = self._threads.until(
                self._take_in_turn, state.leave, self._receivers, timeout=timeout, what=self._wanted
            )
        if self._errands:
            run_errands(self._errands)
        return lease  # type: ignore[no-any-return]  # the engine's leases are this face's deliveries

    def get_many(self, limit: int, *, within: float | None = None, timeout: Timeout = None) -> Batch[T]:
        """Take one message, waiting for it, and up to ``limit`` in all: those ready, or coming ``within`` seconds."""
        state = self._state
        state.received_from = True
        if state.free and within is None and limit.__class__ is int and limit > 0:
            lot = state.take_many(self._receivers, limit)
            if lot is not None:
                if self._errands:
                    run_errands(self._errands)
                return Batch([lot])
        check_count("limit", limit)
        check_within(within)
        check_timeout(timeout)
        self._receiving()
        return Batch(self._gather(self._receivers, limit, within, timeout))

    def _gather(self, holder: Holder, limit: int, within: float | None, timeout: Timeout) -> list[Lot]:
        """Some messages, and more of what comes in time; none once the holder has ended."""
        lots = self._receive(holder, limit, timeout)
        if within is not None and lots:
            self._fill(holder, lots, limit, within)
        return lots

    def _receive(self, holder: Holder, limit: int, timeout: Timeout) -> list[Lot]:
        self._timers.look()
        lot = self._take_many(holder, limit) if len(self._state.backlog) else None
        if lot is None:
            attempt: Callable[[Waiter], Any] = partial(self._attempt_many, holder, limit)
            lot = self._threads.until(attempt, self._state.leave, holder, timeout=timeout, what=self._wanted)
        run_errands(self._errands)
        return [lot] if isinstance(lot, Lot) else []

    def _fill(self, holder: Holder, lots: list[Lot], limit: int, within: float) -> None:
        """If that is interrupted, or the holder ends, all goes back as if it had never been taken."""
        deadline = monotonic() + within
        try:
            while (left := limit - sum(map(len, lots))) > 0:
                more = self._receive(holder, left, max(0.0, deadline - monotonic()))
                if not more:
                    self._give_back(lots)
                    return
                lots += more
        except TimeoutError:
            return
        except BaseException:
            self._give_back(lots)
            raise

    def _wanted(self) -> str:
        return f"a message in queue {self.name!r}"

    def consume(
        self,
        prefetch: int = 1,
        *,
        until_empty: bool = False,
        exclusive: bool = False,
        priority: int = 0,
        timeout: Timeout = None,
    ) -> Consumer[T]:
        """A consumer, to be entered with ``with`` and iterated; it competes with the others.

        ``prefetch``: 1 takes each message when it is asked for; more reserves up to that many, for speed, never more
        than a fair share. ``until_empty`` ends the iteration when nothing is ready, or out with another consumer.
        ``exclusive`` refuses to share the queue. Of consumers that wait, the higher ``priority`` is served first.
        """
        check_timeout(timeout)
        return Consumer(self, self._holder(prefetch, until_empty, exclusive, priority), timeout)

    def join(self, timeout: Timeout = None) -> None:
        """Wait until all that was put is settled."""
        check_timeout(timeout)
        self._threads.until(
            self._state.join, self._state.leave, timeout=timeout, what=lambda: f"queue {self.name!r} to be settled"
        )

    def redrive(
        self,
        where: Where = None,
        to: str | QueueFace[Any] | None = None,
        limit: int | None = None,
        timeout: Timeout = None,
    ) -> int:
        """Put dead letters back at the tail of the queue in which they died, or of ``to``; how many were put back.

        Of what is ready now, all that the filter ``where`` wants, up to ``limit``. It waits for room, and each message
        is in one of the two queues at every moment. What died in a queue that is no more stays.
        """
        from eventbus.redriving import GONE

        check_timeout(timeout)
        deadline = None if timeout is None else monotonic() + timeout
        moved = 0
        for move in self._redriving(where, to, limit):
            left = None if deadline is None else max(0.0, deadline - monotonic())
            moved += cross(self._threads, move, left) != GONE
        return moved


class Subscription(Queue[T], SubscriptionFace[T]):
    """A queue bound to topics: it gets a copy of each of their messages that its filter lets through.

    A private one, made without a name, is gone when its last consumer closes, or at the end of ``with``.
    """

    def seek(self, start: Start) -> None:
        """Go back or forth in what the topics retain: EARLIEST, LATEST, an offset or a datetime.

        What is ready is forgotten, what is out becomes stale, and what is retained from there on comes, filtered.
        With a journal, `JournalError` if that could not be written: then it goes on where it was, with what was out.
        """
        sought = self._seek(start)
        if sought is not None:
            enter(self._threads, Confirmation(self._engine, (sought,)), None)

    def unsubscribe(self) -> None:
        """End it: its bindings, its messages, its consumers. Harmless when done twice."""
        self._remove()

    def __enter__(self) -> Subscription[T]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._state.private:
            self._remove()
