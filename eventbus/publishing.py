"""Sending: try, then wait for room. What to try is the same in both faces; how async code waits stands here too."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from eventbus._core.engine import Engine
from eventbus._core.entry import STALE
from eventbus._core.errands import run_errands
from eventbus._core.parcels import Batch, Parcel
from eventbus._core.queue import QueueState
from eventbus._core.waiting import Waiter
from eventbus._runtime.parking import PATIENCE, Ports
from eventbus.errors import FullError

if TYPE_CHECKING:
    from eventbus._core.posting import Posting

__all__ = [
    "SLICE",
    "STRIDE",
    "Confirmation",
    "Crossing",
    "ParcelMaker",
    "Sending",
    "Steps",
    "confirm",
    "cross",
    "enter",
    "entering",
    "entering_prepared",
    "send_all",
    "send_nowait",
    "weight",
    "whole",
]

ParcelMaker: TypeAlias = Callable[[], Parcel]
"""Makes the parcel of a message, and makes it anew when the routes have changed."""

Steps: TypeAlias = "Generator[Crossing | None, None, list[int]]"
"""How many messages enter: what may have to wait, to be taken across, and None where others should get on."""

STRIDE: Final = 256
"""How many immediate successes of one handle go by between two checkpoints."""

SLICE: Final = 256
"""How many messages enter in one hold of the lock."""


def weight(count: int) -> int:
    """What a batch counts for between two checkpoints: a message in it costs about a quarter of one by itself."""
    return 1 + (count >> 2)


class Crossing(ABC):
    """Something on its way in: what to try, and what to do when it gives up."""

    __slots__ = ("engine", "sent")

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.sent: Posting | None = None
        """What is to be written before it has taken effect, once an attempt was successful."""

    @abstractmethod
    def attempt(self, waiter: Waiter | None = None) -> int:
        """What is true once it is in, or 0 if there is no room; then a waiter is parked."""

    @abstractmethod
    def needs(self) -> Mapping[QueueState, int]:
        """How much room it needs in each queue."""

    def give_up(self, waiter: Waiter) -> None:
        self.engine.entry.leave(waiter)

    def trouble(self) -> str | None:
        """Why waiting may be in vain."""
        with self.engine.lock:
            for queue, need in self.needs().items():
                if not queue.holders and not queue.received_from and queue.room() < need:
                    return f"a put waits since {PATIENCE:g} s for room in queue {queue.name!r}: {_why_full(queue)}"
        return None

    def what(self) -> str:
        """What is waited for."""
        return f"room in queue {self.full().name!r}"

    def full(self) -> QueueState:
        """The queue that has no room."""
        needs = self.needs()
        with self.engine.lock:
            return next((queue for queue, need in needs.items() if queue.room() < need), next(iter(needs)))


def _why_full(queue: QueueState) -> str:
    """Why nobody takes from a queue."""
    if queue.depot is None or queue.depot.awake:
        return "no consumer is attached"
    return (
        "it stands in the journal, and no module has declared it since that was opened, so no consumer is attached; "
        "declare it and consume, or declare it and unsubscribe() it"
    )


class Sending(Crossing):
    """One message on its way in; an attempt returns its offset."""

    __slots__ = ("entered", "make", "parcel")

    entered: Sequence[int] | None
    """The offsets of what has entered, once an attempt was successful."""

    def __init__(self, engine: Engine, make: ParcelMaker) -> None:
        super().__init__(engine)
        self.make = make
        self.parcel = make()

    def attempt(self, waiter: Waiter | None = None) -> int:
        while (offset := self.engine.entry.send(self.parcel, waiter)) == STALE:
            self.parcel = self.make()
        self.entered = (offset,)
        self.sent = self.parcel.posting
        return offset

    def needs(self) -> Mapping[QueueState, int]:
        return dict.fromkeys(self.parcel.queues(), 1)


class Confirmation(Crossing):
    """The wait until what was sent is written; an error if it can't be."""

    __slots__ = ("postings",)

    def __init__(self, engine: Engine, postings: Sequence[Posting]) -> None:
        super().__init__(engine)
        self.postings = list(postings)

    def attempt(self, waiter: Waiter | None = None) -> int:
        outbox = self.engine.outbox
        assert outbox is not None, "what is posted is posted there"
        while self.postings:
            if not outbox.confirmed(self.postings[0], waiter):
                return 0
            del self.postings[0]
        return 1

    def give_up(self, waiter: Waiter) -> None:
        assert self.engine.outbox is not None
        if self.postings:
            self.engine.outbox.give_up(self.postings[0], waiter)

    def needs(self) -> Mapping[QueueState, int]:
        return {}

    def what(self) -> str:
        return "the journal to have it written, which it may yet be"


class SliceCrossing(Sending):
    """Many messages on their way in together: as many at a time as there is room for.

    Where a queue does not make them wait, but drops or refuses, those for which there is no room go one by one.
    """

    __slots__ = ("batch", "late", "maker_of", "start", "stop", "waits")

    def __init__(
        self, engine: Engine, batch: Batch, start: int, stop: int, maker_of: Callable[[int], ParcelMaker], late: bool
    ) -> None:
        self.engine = engine
        self.sent = None
        self.batch = batch
        self.start = start
        self.stop = stop
        self.maker_of = maker_of
        self.waits = batch.waits
        self.late = late and self.waits
        """Whether others took the last room a moment ago, so that it has to wait: then it need not try before."""

    def attempt(self, waiter: Waiter | None = None) -> int:
        """How many entered, 0 if there is no room, or STALE, with None in `entered`, if the routes have changed."""
        if waiter is None and self.late:
            return 0
        if waiter is not None and not self.waits:
            return super().attempt(waiter)
        self.entered = self.engine.entry.send_slice(self.batch, self.start, self.stop, waiter)
        if self.entered is None:
            return STALE
        self.sent = self.batch.posting
        if self.entered or self.waits:
            return len(self.entered)
        self.make = self.maker_of(self.start)
        self.parcel = self.make()
        return super().attempt()

    def needs(self) -> Mapping[QueueState, int]:
        return dict.fromkeys(self.batch.queues, 1) if self.waits else super().needs()


async def cross(ports: Ports, crossing: Crossing, deadline: float | None = None) -> int:
    """Enter what is on its way, and have it written if it is durable: what its last attempt returned."""
    offset = await enter(ports, crossing, deadline)
    if crossing.sent is not None:
        await ports.written(crossing.sent)
    return offset


async def enter(ports: Ports, crossing: Crossing, deadline: float | None = None) -> int:
    """Enter what is on its way, waiting for room."""
    offset = crossing.attempt() or await ports.until(
        crossing.attempt, crossing.give_up, trouble=crossing.trouble, deadline=deadline
    )
    run_errands(crossing.engine.errands)
    return offset


async def confirm(ports: Ports, confirmation: Confirmation) -> None:
    """Wait until what was sent is written; an error if it can't be."""
    for posting in confirmation.postings:
        await ports.written(posting)


def send_nowait(engine: Engine, make: ParcelMaker) -> int:
    """Enter one message; its offset, or `FullError`."""
    if engine.outbox is not None:
        engine.outbox.require_room()
    crossing = Sending(engine, make)
    offset = crossing.attempt()
    run_errands(engine.errands)
    if not offset:
        full = crossing.full()
        raise FullError(full.name, full.policy.capacity)
    return offset


def entering(
    engine: Engine,
    count: int,
    batch_of: Callable[[], Batch | None],
    maker_of: Callable[[int], ParcelMaker],
    entered: Sequence[int] = (),
) -> Steps:
    """Enter `count` messages in order, as slices where the batch allows it and one by one where not; their offsets.

    Of the first, those whose offsets are in `entered` are in already, and there was no room for more.
    """
    offsets = list(entered)
    tight = bool(offsets)
    sent: list[Posting] = []
    batch = batch_of()
    pace = 0
    while (start := len(offsets)) < count:
        if pace > STRIDE:
            pace = 0
            yield None
        if batch is None:
            crossing = Sending(engine, maker_of(start))
        else:
            crossing = SliceCrossing(engine, batch, start, min(start + SLICE, count), maker_of, tight)
        try:
            yield crossing
        except TimeoutError as late:
            raise TimeoutError(f"{start} of {count} messages entered, put the others again: {late}") from None
        if crossing.entered is None:
            batch = batch_of()
        else:
            offsets += crossing.entered
            tight = len(offsets) < min(start + SLICE, count)
            pace += weight(len(crossing.entered))
            if crossing.sent is not None:
                sent.append(crossing.sent)
    if sent:
        yield Confirmation(engine, sent)
    return offsets


def entering_prepared(engine: Engine, count: int, maker_of: Callable[[int], ParcelMaker]) -> Steps:
    """Enter `count` messages in order, one by one, once all of them are prepared."""
    makers: list[ParcelMaker] = []
    for index in range(count):
        makers.append(maker_of(index))
        if not len(makers) % STRIDE:
            yield None
    return (yield from entering(engine, count, lambda: None, makers.__getitem__))


def whole(engine: Engine, parcels: Sequence[Parcel]) -> Steps:
    """Enter all messages at once, or none."""
    posting = None
    if engine.outbox is not None and any(parcel.durable for parcel in parcels):
        posting = engine.outbox.posting(parcels)
    engine.entry.commit(parcels, posting=posting)
    run_errands(engine.errands)
    if posting is not None:
        yield Confirmation(engine, (posting,))
    return [parcel.offset for parcel in parcels]


async def send_all(ports: Ports, steps: Steps) -> list[int]:
    """Enter many messages, waiting for room."""
    while True:
        try:
            crossing = next(steps)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]
        if crossing is None:
            await ports.checkpoint()
        elif isinstance(crossing, Confirmation):
            await confirm(ports, crossing)
        else:
            await enter(ports, crossing)
