"""What both faces of a transaction have in common: gathering, and the one step in which all of it takes effect."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from eventbus._core.engine import Engine
from eventbus._core.entry import STALE
from eventbus._core.leases import Lease, require_out
from eventbus._core.parcels import Parcel, needs_of
from eventbus._core.queue import QueueState
from eventbus._core.waiting import Waiter
from eventbus._faces.queue import QueueFace
from eventbus._faces.topic import TopicFace
from eventbus._runtime.timers import Timers
from eventbus.delivery import Batch, Delivery
from eventbus.errors import DeclarationError, JournalError
from eventbus.message import Headers, Key
from eventbus.publishing import Crossing, ParcelMaker
from eventbus.sending import Options

if TYPE_CHECKING:
    from eventbus._core.posting import Posting
    from eventbus._faces.bus import BusFace

__all__ = ["TransactionFace"]


class Stage(enum.Enum):
    """How far a transaction has come. The values say so."""

    NEW = "has not begun; enter it before you use it: with bus.transaction() as tx"
    OPEN = "is open already; begin another with bus.transaction()"
    ENDED = "has ended; begin another with bus.transaction()"


class Commit(Crossing):
    """All that a transaction gathered, on its way."""

    __slots__ = ("leases", "makers", "parcels", "statements", "timers")

    def __init__(self, engine: Engine, timers: Timers) -> None:
        super().__init__(engine)
        self.timers = timers
        self.makers: list[ParcelMaker] = []
        self.parcels: list[Parcel] = []
        self.leases: dict[Lease, None] = {}
        """Each once, in order: to ack the same again is harmless."""
        self.statements: list[tuple[str, Any]] = []
        """What it does to tables in the journal's file."""

    def add(self, make: ParcelMaker) -> None:
        self.parcels.append(make())
        self.makers.append(make)

    def attempt(self, waiter: Waiter | None = None) -> int:
        self.timers.look()  # a lease may have run out
        while (done := self.engine.entry.commit(self.parcels, self.leases, waiter, self._posting())) == STALE:
            made = zip(self.parcels, self.makers, strict=True)
            self.parcels = [make() if parcel.is_stale() else parcel for parcel, make in made]
        return done

    def _posting(self) -> Posting | None:
        """What is to be written, if anything of it is durable."""
        outbox = self.engine.outbox
        durable = outbox is not None and (
            bool(self.statements)
            or any(parcel.durable for parcel in self.parcels)
            or any(lease._holder.queue.depot is not None for lease in self.leases)
        )
        self.sent = outbox.posting(self.parcels, self.leases, self.statements) if outbox and durable else None
        return self.sent

    def needs(self) -> Mapping[QueueState, int]:
        return needs_of(self.parcels)


class TransactionFace:
    """A transaction as one kind of code holds it."""

    def __init__(self, bus: BusFace) -> None:
        self._bus = bus
        self._stage = Stage.NEW
        self._commit = Commit(bus._engine, bus._timers)

    def publish(
        self,
        topic: TopicFace[Any] | str | type,
        body: Any,
        mandatory: bool = False,
        key: Key = None,
        headers: Headers | None = None,
        priority: int = 0,
        id: str | None = None,
        delay: float | None = None,
        ttl: float | None = None,
    ) -> None:
        """Publish a message to a topic, given as such, by its name or by its class, when the block ends.

        A delay and a time to live count from now. ``mandatory``: `UnroutableError` when no queue wants it.
        """
        self._require(Stage.OPEN)
        own = topic if isinstance(topic, TopicFace) else self._bus._topic(topic, None, None, None)
        self._require_same_bus(own)
        options = Options(self._bus._timers, key, headers, priority, id, delay, ttl)
        body = self._bus._isolating.keep(body)  # should the routes change, each receiver's is made anew from this one
        self._commit.add(own._parcel_maker(body, options, mandatory))

    def put(
        self,
        queue: QueueFace[Any] | str,
        body: Any,
        key: Key = None,
        headers: Headers | None = None,
        priority: int = 0,
        id: str | None = None,
        delay: float | None = None,
        ttl: float | None = None,
    ) -> None:
        """Put a message into a queue, given as such or by its name, when the block ends.

        A delay and a time to live count from now.
        """
        self._require(Stage.OPEN)
        own = queue if isinstance(queue, QueueFace) else self._bus._queue(queue, None, None)
        self._require_same_bus(own)
        own._state.require_open()
        options = Options(self._bus._timers, key, headers, priority, id, delay, ttl)
        self._commit.add(own._parcel_maker(body, options))

    def ack(self, delivery: Delivery[Any] | Batch[Any]) -> None:
        """Ack a delivery, or a whole batch, when the block ends.

        One that is settled already raises `SettlementError`, one that went elsewhere `StaleDeliveryError`: now, or at
        the end, where it makes the whole transaction fail.
        """
        self._require(Stage.OPEN)
        deliveries = delivery if isinstance(delivery, Batch) else (delivery,)
        with self._bus._engine.lock:
            for one in deliveries:
                if not isinstance(one, Delivery):
                    raise TypeError(f"tx.ack takes a delivery or a batch of them, but got {one!r}")
                self._require_same_bus(one.queue)
                require_out(one)
        self._commit.leases.update(dict.fromkeys(deliveries))

    def _execute(self, sql: str, parameters: Any) -> None:
        """Have a statement executed when the block ends."""
        self._require(Stage.OPEN)
        if self._bus._host.journaling is None:
            raise JournalError("the bus has no journal to execute it in; make it with Bus(journal=path)")
        if not isinstance(sql, str):
            raise TypeError(f"tx.execute takes a statement as text, but got {sql!r}")
        self._commit.statements.append((sql, parameters))

    def _require(self, stage: Stage) -> None:
        if self._stage is not stage:
            raise RuntimeError(f"this transaction {self._stage.value}")

    def _require_same_bus(self, handle: Any) -> None:
        if handle._engine is not self._bus._engine:
            raise DeclarationError(
                f"{handle!r} is of another bus, and a transaction is of one; begin another there", name=handle.name
            )

    def _begin(self) -> None:
        self._require(Stage.NEW)
        self._bus._engine.require_open()
        self._stage = Stage.OPEN

    def _end(self, error: BaseException | None) -> Commit | None:
        """What to commit, unless an exception discards it."""
        self._stage = Stage.ENDED
        return None if error is not None else self._commit

    def __repr__(self) -> str:
        commit = self._commit
        return (
            f"<{type(self).__name__} of {len(commit.parcels)} messages and {len(commit.leases)} acks, "
            f"{self._stage.name.lower()}>"
        )
