"""How messages go in and out of a queue in batches: see `lots`.

`put_many` and `take_many` are short ways like `put` and `take`; what they refuse goes the long way, `Entry.send_slice`.
"""

from __future__ import annotations

from typing import Any

from eventbus._core.consumer import Holder
from eventbus._core.flow import Flow
from eventbus._core.lots import Chunk, Lot
from eventbus._core.waiting import Waiter
from eventbus.message import NO_HEADERS, Rare
from eventbus.policy import Overflow


class Bulk(Flow):
    """Many messages at once."""

    __slots__ = ()

    def put_many(self, bodies: list[Any], priority: int, time: float, rare: Rare | None = None) -> range:
        """Enter as many of these messages as fit, if nobody has to look at each: their offsets."""
        lock = self.lock
        try:
            lock.acquire()
            if self.barred or self.plain is None:
                return range(0)
            room = self.room() - self.putters.needed()
            if len(bodies) > room:
                if room <= 0 or self.policy.overflow is not Overflow.WAIT:
                    return range(0)
                bodies = bodies[:room]
            engine = self.engine
            first = engine.offset + 1
            engine.offset = last = engine.offset + len(bodies)
            self.accept_chunk(Chunk(first, bodies, None, (time, NO_HEADERS, priority, self.name, rare)))
            return range(first, last + 1)
        finally:
            lock.release()

    def takes_whole(self, chunk: Chunk) -> bool:
        """Whether nothing has happened since it was admitted, and it can be put in as it came.

        Meanwhile something may have come back, somebody may have looked what expires by the policy, and what needs no
        writing may have overtaken it.
        """
        assert self.plain is not None, "with lanes, every message finds its own"
        if (self.drops and chunk.size > self.vacant()) or (self.ttl is not None and chunk.first <= self.noted):
            return False
        return self.depot is not None or not self.plain.overtaken(chunk.first, chunk.facts[2], None)

    def accept_chunk(self, chunk: Chunk) -> None:
        """Put in messages that fit, as they came."""
        assert self.plain is not None, "with lanes, every message finds its own"
        self.granted += chunk.size
        if self.depot is not None and not self.depot.admit_chunk(chunk):
            self.refresh()
            return
        if self.ttl is None and chunk.size > 1:
            self.plain.push_chunk(chunk)
            if self.chunks:
                self.simple = False
                self.spare = 0
        else:
            for record in chunk.records:
                self.push(record)
        self.note_level()
        if self.getters.parked or self.separate:
            self.rouse_getters()

    def take_many(self, holder: Holder, limit: int, waiter: Waiter | None = None) -> Lot | None:
        """Lend up to `limit` messages together, or park the waiter."""
        lock = self.lock
        try:
            lock.acquire()
            if self.free and waiter is None and not holder.closed:
                level = len(self.backlog)
                if level > self.peak:
                    self.peak = level
                lot = self._lend_lot(holder, limit)
                if lot.chunks:
                    return lot
            count = min(limit, self._free_for(holder, waiter))
            if count <= 0:
                return None
            self.note_level()
            lot = self._lend_lot(holder, count)
            holder.line.leave(waiter)
            self.changed()
            return lot
        finally:
            lock.release()

    def _lend_lot(self, holder: Holder, count: int) -> Lot:
        """Lend messages as a whole, unless somebody has to know of each."""
        if self.plain is None or self.lease is not None or self.engine.watched:
            leases = self._lend(holder, count)
            self._hand_out(leases)
            return Lot(holder, [Chunk.of([lease.record for lease in leases])] if leases else [], leases)
        lot = Lot(holder, self.plain.pull_chunks(count))
        if lot.chunks:
            holder.lots.add(lot)
        return lot
