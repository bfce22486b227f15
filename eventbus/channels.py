"""Queues and subscriptions as async code holds them: thin handles over the engine's state.

Every call tries first, and waits only if the engine said so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import anyio
import anyio.lowlevel

from eventbus._core.consumer import Holder
from eventbus._core.engine import Engine
from eventbus._core.errands import run_errands
from eventbus._core.leases import Lease
from eventbus._core.parcels import Parcel
from eventbus._core.queue import QueueState
from eventbus._core.waiting import Line
from eventbus._runtime.parking import Ports
from eventbus.consuming import Consumer
from eventbus.delivery import Batch, Delivery
from eventbus.errors import DeclarationError, EmptyError
from eventbus.filters.predicate import Where, as_predicate
from eventbus.history import Start, check_start, load_history, position_of
from eventbus.message import Headers, Key, Message, message_of
from eventbus.policy import Isolation, Overflow
from eventbus.publishing import STRIDE, send, send_all, send_nowait, weight
from eventbus.sending import KeyOf, Options, batch_for, check_bodies, parcel_for_queue
from eventbus.stats import QueueStats

if TYPE_CHECKING:
    from eventbus.bus import Bus, Topics

__all__ = ["Queue", "Subscription"]

T = TypeVar("T")


class Queue(Generic[T]):
    """A queue: each message goes to one of its competing consumers.

    A handle; the bus keeps the queue. Its calls pass a checkpoint once in 256 immediate successes, so that no loop of
    them starves the others of its event loop, and not at every call. All may be cancelled at any moment: a cancelled
    put has not happened, and a cancelled get loses nothing.
    """

    def __init__(self, bus: Bus, state: QueueState, type: Any = None) -> None:
        self._bus = bus
        self._state = state
        self._type = type
        self._engine: Engine = state.engine
        self._ports: Ports = bus._ports
        self._errands = state.errands
        self._now = bus._now
        self._isolation = bus._isolation
        self._by_reference = bus._isolation is Isolation.NONE
        self._swift: Callable[[T, Key, int, float], int] | None = None
        """The short way in, for messages of the common kind."""
        if self._by_reference:
            self._swift = state.put if state.place is None else state.put_in_lane
        self._take_in_turn = partial(state.take_in_turn, state.receivers)
        self._pace = 0

    @property
    def name(self) -> str:
        """Its name."""
        return self._state.name

    @property
    def policy(self) -> Any:
        """What it promises."""
        return self._state.policy

    # putting

    async def put(
        self, body: T, key: Key = None, headers: Headers | None = None, priority: int = 0, id: str | None = None
    ) -> int:
        """Put a message, and return its offset. A full queue makes it wait or raise `FullError`, as its policy says."""
        self._pace = pace = self._pace + 1
        if pace > STRIDE:
            self._pace = 0
            await anyio.lowlevel.checkpoint()
        offset = 0
        if (
            headers is None
            and id is None
            and priority.__class__ is int
            and (key is None or key.__class__ is str)
            and self._swift
        ):
            offset = self._swift(body, key, priority, self._now())
        if not offset:
            options = Options(key, headers, priority, id, self._now())
            offset = await send(self._ports, self._parcel_maker(body, options))
        if self._errands:
            run_errands(self._errands)
        return offset

    def put_nowait(
        self, body: T, key: Key = None, headers: Headers | None = None, priority: int = 0, id: str | None = None
    ) -> int:
        """Put a message without waiting, and return its offset; `FullError` if there is no room."""
        options = Options(key, headers, priority, id, self._now())
        return send_nowait(self._engine, self._parcel_maker(body, options))

    async def put_many(
        self,
        bodies: Sequence[T],
        key: KeyOf = None,
        headers: Headers | None = None,
        priority: int = 0,
        id: str | None = None,
    ) -> list[int]:
        """Put many messages, in order, as room appears; returns their offsets. ``key`` may be a function of the body.

        Not atomic: other messages may come between, and if it is cancelled those that entered stay. A queue whose
        overflow is FAIL takes all or raises `FullError` and takes none.
        """
        options = Options(key, headers, priority, id, self._now())
        bodies = check_bodies(bodies)
        self._pace += weight(len(bodies))
        if self._pace > STRIDE:
            self._pace = 0
            await anyio.lowlevel.checkpoint()
        queue = self._state
        queue.require_open()
        if queue.policy.overflow is Overflow.FAIL:
            offsets = self._engine.entry.send_whole([self._parcel_maker(body, options)() for body in bodies])
            run_errands(self._errands)
            return offsets
        in_slices = self._by_reference and queue.lanes is None
        batch = batch_for(queue.name, [queue], bodies, options) if in_slices else None
        return await send_all(
            self._ports, len(bodies), lambda: batch, lambda index: self._parcel_maker(bodies[index], options)
        )

    def _parcel_maker(self, body: T, options: Options) -> Callable[[], Parcel]:
        key = options.key_of(body)
        parcel = parcel_for_queue(self._state, body, options, key, self._isolation)
        return lambda: parcel

    # getting

    async def get(self) -> Delivery[T]:
        """Take the next message, waiting for one. It stays out until you settle it or the bus closes."""
        self._pace = pace = self._pace + 1
        if pace > STRIDE:
            self._pace = 0
            await anyio.lowlevel.checkpoint()
        state = self._state
        state.received_from = True
        lease: Any = state.take(state.receivers) if state.spare else None
        if lease is None:
            self._receiving()
            lease = await self._ports.until(self._take_in_turn, state.leave, state.receivers)
        if self._errands:
            run_errands(self._errands)
        return lease  # type: ignore[no-any-return]  # the engine's leases are this face's deliveries

    def get_nowait(self) -> Delivery[T]:
        """Take the next message; `EmptyError` if there is none to take."""
        state = self._receiving()
        state.received_from = True
        leases: Any = state.take_many(state.receivers, 1)
        run_errands(self._errands)
        if not leases:
            raise EmptyError(state.name)
        return leases[0]  # type: ignore[no-any-return]

    async def get_many(self, limit: int, *, within: float | None = None) -> Batch[T]:
        """Take one message, waiting for it, and up to ``limit`` in all: those ready, or coming ``within`` seconds."""
        check_count("limit", limit)
        if within is not None and (isinstance(within, bool) or not isinstance(within, int | float)):
            raise TypeError(f"within takes seconds of at least 0, or None, but got {within!r}")
        if within is not None and not within >= 0:
            raise ValueError(f"within takes seconds of at least 0, or None, but got {within!r}")
        self._pace += weight(limit)
        if self._pace > STRIDE:
            self._pace = 0
            await anyio.lowlevel.checkpoint()
        leases: Any = await self._receive(limit)
        if within is not None and len(leases) < limit:
            await self._gather(leases, limit, within)
        return Batch(leases)

    async def _receive(self, limit: int) -> list[Lease]:
        state = self._receiving()
        state.received_from = True
        leases = state.take_many(state.receivers, limit)
        if leases:
            run_errands(self._errands)
            return leases
        return await self._ports.until(
            lambda waiter: state.take_many(state.receivers, limit, waiter), state.leave, state.receivers
        )

    async def _gather(self, leases: list[Lease], limit: int, within: float) -> None:
        """More of what comes in time. If that is cancelled, all goes back as if it had never been taken."""
        try:
            with anyio.move_on_after(within):
                while len(leases) < limit:
                    leases += await self._receive(limit - len(leases))
        except BaseException:
            self._state.unlend(leases)
            run_errands(self._errands)
            raise

    def _receiving(self) -> QueueState:
        if self._state.sticky:
            raise DeclarationError(
                f"queue {self.name!r} keeps its lanes with their consumers, so it has no plain get(); use consume()",
                name=self.name,
            )
        return self._state

    def consume(
        self, prefetch: int = 1, *, until_empty: bool = False, exclusive: bool = False, priority: int = 0
    ) -> Consumer[T]:
        """A consumer, to be entered with ``async with`` and iterated; it competes with the others.

        ``prefetch``: 1 takes each message when it is asked for; more reserves up to that many, for speed, never more
        than a fair share. ``until_empty`` ends the iteration when nothing is ready, or out with another consumer.
        ``exclusive`` refuses to share the queue. Of consumers that wait, the higher ``priority`` is served first.
        """
        check_count("prefetch", prefetch)
        if isinstance(priority, bool) or not isinstance(priority, int):
            raise TypeError(f"priority takes an integer, but got {priority!r}")
        state = self._state
        state.require_open()
        holder = Holder(
            state,
            Line() if state.sticky else state.getters,
            prefetch=prefetch,
            priority=priority,
            exclusive=exclusive,
            until_empty=until_empty,
        )
        return Consumer(self, holder)

    # looking and managing

    async def join(self) -> None:
        """Wait until all that was put is settled."""
        await self._ports.until(self._state.join, self._state.leave)

    def peek(self, limit: int = 1) -> list[Message[T]]:
        """Up to ``limit`` messages that are ready, in order, without taking them."""
        check_count("limit", limit)
        messages = [message_of(record) for record in self._state.peek(limit)]
        run_errands(self._errands)
        return messages

    def purge(self) -> int:
        """Throw away all that is ready, and return how many that were. What is out stays out."""
        count = len(self._state.purge())
        run_errands(self._errands)
        return count

    def cancel(self, offset: int) -> bool:
        """Withdraw a message that is ready: whether it did. What is out, or gone, is not withdrawn."""
        found = self._state.cancel(offset) is not None
        run_errands(self._errands)
        return found

    def pause(self) -> None:
        """Deliver nothing until `resume`; puts go on."""
        self._state.pause()
        run_errands(self._errands)

    def resume(self) -> None:
        """Deliver again."""
        self._state.resume()
        run_errands(self._errands)

    def stats(self) -> QueueStats:
        """What it counts, as a frozen snapshot."""
        self._state.require_open()
        return queue_stats(self._state, self._now())

    def bind(self, topics: Topics, *, where: Where = None) -> None:
        """Receive from topics too, named or by pattern; a topic that is bound already gets the new filter."""
        self._engine.wiring.bind(self._state, self._bus._patterns(topics), as_predicate(where))
        run_errands(self._errands)

    def unbind(self, topics: Topics) -> None:
        """Receive from these topics or patterns no longer; what has arrived stays."""
        self._engine.wiring.unbind(self._state, self._bus._patterns(topics))
        run_errands(self._errands)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"


class Subscription(Queue[T]):
    """A queue bound to topics: it gets a copy of each of their messages that its filter lets through.

    A private one, made without a name, is gone when its last consumer closes, or at the end of ``async with``.
    """

    async def seek(self, start: Start) -> None:
        """Go back or forth in what the topics retain: EARLIEST, LATEST, an offset or a datetime.

        What is ready is forgotten, what is out becomes stale, and what is retained from there on comes, filtered.
        """
        since = check_start(start)
        await anyio.lowlevel.checkpoint()
        state, engine = self._state, self._engine
        patterns = [binding.pattern for binding in engine.wiring.bindings_of(state)]
        with engine.lock:
            topics = engine.wiring.topics_matching(patterns)
            after, upto = position_of(engine, topics, since), engine.offset
            forgotten = state.restart()
        load_history(engine, state, topics, after, upto, self._isolation)
        run_errands(self._errands)
        del forgotten

    async def unsubscribe(self) -> None:
        """End it: its bindings, its messages, its consumers. Harmless when done twice."""
        await anyio.lowlevel.checkpoint()
        self._engine.remove(self._state)
        run_errands(self._errands)

    async def __aenter__(self) -> Subscription[T]:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._state.private:
            self._engine.remove(self._state)
            run_errands(self._errands)


def check_count(name: str, value: object) -> None:
    """A whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} takes a whole number of at least 1, but got {value!r}")
    if value < 1:
        raise ValueError(f"{name} takes a whole number of at least 1, but got {value!r}")


def queue_stats(state: QueueState, now: float) -> QueueStats:
    """The snapshot of one queue."""
    with state.lock:
        state.note_level()
        oldest = state.oldest()
        return QueueStats(
            published=state.published(),
            ready=state.ready(),
            delayed=0,
            out=state.out(),
            acked=state.acked(),
            failed=state.failed,
            redelivered=state.backlog.redelivered,
            dead=state.dead,
            dropped=state.dropped,
            purged=state.purged,
            lag=0,
            peak=state.peak,
            oldest=None if oldest is None else max(0.0, now - oldest[1]),
            consumers=len(state.holders),
            waiting_putters=len(state.putters),
        )
