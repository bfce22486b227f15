"""The plainest models of what a queue promises: lists, looked through from the front at every question."""

from __future__ import annotations

from collections import Counter
from typing import Any
from zlib import crc32

import attrs

from eventbus import Fifo, Keyed, Overflow, Policy, Priority


@attrs.define(eq=False)
class Entry:
    """One message, as the model knows it."""

    offset: int
    body: Any
    key: str | None = None
    priority: int = 0
    attempts: int = 0
    failures: int = 0


class OrderModel:
    """Which message comes next, by offset."""

    lanes = False

    def __init__(self, queue: QueueModel) -> None:
        self.queue = queue

    def next(self) -> Entry | None:
        return min(self.queue.ready, key=lambda e: e.offset, default=None)

    def may(self, entry: Entry) -> bool:
        """Whether a consumer that reserves ahead may be handed this one."""
        return entry in self.queue.ready

    def victim(self, newcomer: Entry) -> Entry:
        return min([*self.queue.ready, newcomer], key=lambda e: e.offset)

    def line_up(self, entry: Entry) -> None:
        """It entered, or came back."""

    def line_up_again(self, entry: Entry) -> None:
        """It was taken, withdrawn or settled."""


class PriorityModel(OrderModel):
    def next(self) -> Entry | None:
        return min(self.queue.ready, key=lambda e: (-e.priority, e.offset), default=None)

    def victim(self, newcomer: Entry) -> Entry:
        return min([*self.queue.ready, newcomer], key=lambda e: (e.priority, e.offset))


class KeyedModel(OrderModel):
    """Lanes in turn: a row of lanes that are free and have something ready."""

    lanes = True

    def __init__(self, queue: QueueModel, partitions: int | None) -> None:
        super().__init__(queue)
        self.partitions = partitions
        self.row: list[Any] = []

    def lane(self, entry: Entry) -> Any:
        if entry.key is None:
            return ("alone", entry.offset)
        return entry.key if self.partitions is None else crc32(entry.key.encode()) % self.partitions

    def busy(self, lane: Any) -> bool:
        return any(self.lane(e) == lane for e in self.queue.out)

    def of_lane(self, lane: Any) -> list[Entry]:
        return sorted((e for e in self.queue.ready if self.lane(e) == lane), key=lambda e: e.offset)

    def next(self) -> Entry | None:
        return self.of_lane(self.row[0])[0] if self.row else None

    def may(self, entry: Entry) -> bool:
        lane = self.lane(entry)
        return entry in self.queue.ready and not self.busy(lane) and self.of_lane(lane)[0] is entry

    def line_up(self, entry: Entry) -> None:
        lane = self.lane(entry)
        if lane not in self.row and not self.busy(lane):
            self.row.append(lane)

    def line_up_again(self, entry: Entry) -> None:
        lane = self.lane(entry)
        waits = bool(self.of_lane(lane)) and not self.busy(lane)
        if lane in self.row and not waits:
            self.row.remove(lane)
        elif waits and lane not in self.row:
            self.row.append(lane)


def order_model(queue: QueueModel, policy: Policy) -> OrderModel:
    match policy.order:
        case Priority():
            return PriorityModel(queue)
        case Keyed(partitions=partitions):
            return KeyedModel(queue, partitions)
        case Fifo():
            return OrderModel(queue)
    raise AssertionError


class QueueModel:
    """A queue as lists. It counts for itself."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.capacity = policy.capacity or 1 << 62
        self.ready: list[Entry] = []
        self.out: list[Entry] = []
        self.letters: list[tuple[Any, str, int, int]] = []
        self.counts: Counter[str] = Counter()
        self.peak = 0
        self.paused = False
        self.order = order_model(self, policy)

    def room(self) -> int:
        return self.capacity - len(self.ready)

    def enter(self, entry: Entry) -> Entry | None:
        """A new message: what was dropped for it, if anything."""
        self.counts["published"] += 1
        dropped = None
        if self.room() <= 0:
            overflow = self.policy.overflow
            assert overflow in (Overflow.DROP_OLDEST, Overflow.DROP_NEWEST), "it entered a full queue"
            dropped = self.order.victim(entry) if overflow is Overflow.DROP_OLDEST else entry
            self.counts["dropped"] += 1
            if dropped is entry:
                return dropped
            self.withdraw(dropped)
        self.back(entry)
        return dropped

    def back(self, entry: Entry) -> None:
        self.ready.append(entry)
        self.order.line_up(entry)
        self.peak = max(self.peak, len(self.ready))

    def withdraw(self, entry: Entry) -> None:
        self.ready.remove(entry)
        self.order.line_up_again(entry)

    def take(self, entry: Entry) -> None:
        self.ready.remove(entry)
        self.out.append(entry)
        self.order.line_up_again(entry)
        self.counts["redelivered"] += entry.attempts > 0
        entry.attempts += 1

    def settle(self, entry: Entry, call: str) -> None:
        self.out.remove(entry)
        self.counts["failed"] += call in ("nack", "reject")
        if call == "ack":
            self.counts["acked"] += 1
        elif call == "reject":
            self.counts["dead"] += 1
            self.letters.append((entry.body, "rejected", entry.offset, entry.attempts))
        else:
            entry.failures += call == "nack"
            self.back(entry)
            return
        self.order.line_up_again(entry)

    def unsee(self, entry: Entry) -> None:
        """Taken, and given back unseen."""
        self.out.remove(entry)
        entry.attempts -= 1
        self.counts["redelivered"] -= entry.attempts > 0
        self.back(entry)

    def deliverable(self) -> bool:
        return not self.paused and any(self.order.may(entry) for entry in self.ready)
