"""One bus: its lock, its offsets, its queues and topics, and the one path by which a message enters.

A message goes to its targets all or nothing: `send` finds room in every target or parks the sender in the line of
each, which keeps its place in all of them. Before that, outside the lock, the face has run all that is user code (the
filters, partitioners and copies) against the topic's routes, and put the outcome in a `Parcel`; `send` refuses a
parcel whose routes are no longer the topic's.

What has to happen outside the lock (waking, observing, letting go of bodies) is put in `errands`, which the face runs
after each call.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from threading import RLock
from typing import Any, Final, Protocol, TypeAlias

import attrs

from eventbus._core.lanes import Place
from eventbus._core.leases import Fate, Lease
from eventbus._core.matching import Trie, matches
from eventbus._core.queue import QueueState
from eventbus._core.topic import Binding, Predicate, Route, TopicState
from eventbus._core.waiting import Errands, Line, Waiter
from eventbus.errors import ClosedError, DeclarationError, FullError
from eventbus.message import Death, Headers, Key, Rare, Record
from eventbus.policy import DEAD_LETTERS, Overflow, Policy, Retention

STALE: Final = -1
"""What `send` returns when the routes have changed since the parcel was made."""


class Watch(Protocol):
    """Who is told what happens."""

    def published(self, record: Record, queues: Sequence[str]) -> None: ...
    def delivered(self, lease: Lease) -> None: ...
    def settled(self, lease: Lease, outcome: str) -> None: ...
    def dropped(self, record: Record, queue: str) -> None: ...
    def died(self, record: Record, death: Death) -> None: ...


@attrs.frozen(eq=False)
class Told:
    """An errand: tell every watch."""

    watches: tuple[Watch, ...]
    event: str
    facts: tuple[Any, ...]

    def run(self) -> None:
        for watch in self.watches:
            getattr(watch, self.event)(*self.facts)


Report: TypeAlias = Callable[[str, BaseException | None], None]


@attrs.frozen(eq=False)
class Note:
    """An errand: say something."""

    report: Report
    text: str

    def run(self) -> None:
        self.report(self.text, None)


@attrs.frozen(eq=False)
class LetGo:
    """An errand: drop the last reference to bodies, whose ``__del__`` is user code, outside the lock."""

    records: Sequence[Record]

    def run(self) -> None:
        """Nothing: to be forgotten is all."""


@attrs.frozen(eq=False)
class Burial:
    """Put a dead letter into its queue."""

    queue: QueueState
    letter: Record

    def run(self) -> None:
        queue = self.queue
        try:
            place = queue.place(self.letter[3]) if queue.place is not None else None
        except Exception as error:
            queue.engine.report(f"the partitioner of queue {queue.name!r} failed for a dead letter", error)
            place = None
        with queue.lock:
            if not queue.closed:
                queue.accept(self.letter, place, letter=True)


@attrs.define(eq=False)
class Target:
    """One queue that a message goes to, with what user code had to say about it."""

    queue: QueueState
    place: Place
    body: Any


@attrs.define(eq=False)
class Parcel:
    """One message on its way, before it has an offset."""

    name: str
    body: Any
    key: Key
    headers: Headers
    priority: int
    time: float
    rare: Rare | None
    targets: Sequence[Target]
    topic: TopicState | None = None
    routes: tuple[Route, ...] | None = None

    def record(self, offset: int, body: Any) -> Record:
        return (offset, self.time, body, self.key, self.headers, self.priority, self.name, self.rare, None)


@attrs.define(eq=False)
class Batch:
    """Many messages on their way to the same queues, all of which want all of them as they are."""

    name: str
    bodies: Sequence[Any]
    keys: Sequence[Key] | None
    headers: Headers
    priority: int
    time: float
    rare: Rare | None
    queues: Sequence[QueueState]
    topic: TopicState | None = None
    routes: tuple[Route, ...] | None = None

    def records(self, start: int, stop: int, offset: int) -> list[Record]:
        time, headers, priority, name, rare = self.time, self.headers, self.priority, self.name, self.rare
        bodies = self.bodies[start:stop]
        if self.keys is None:
            return [
                (offset, time, body, None, headers, priority, name, rare, None)
                for offset, body in enumerate(bodies, offset)
            ]
        return [
            (offset, time, body, key, headers, priority, name, rare, None)
            for offset, (body, key) in enumerate(zip(bodies, self.keys[start:stop], strict=True), offset)
        ]


class Engine:
    """The state of one bus."""

    def __init__(self, kind: type[Lease], report: Report) -> None:
        self.report = report
        """How the face says what nobody asked about, such as that messages are dropped."""
        self.kind = kind
        """The class of the leases that it makes: the face's `Delivery`."""
        self.lock = RLock()
        self.errands: Errands = deque()
        self.offset = 0
        self.queues: dict[str, QueueState] = {}
        self.topics: dict[str, TopicState] = {}
        self.bindings: Trie[Binding] = Trie()
        self.bound: dict[QueueState, list[Binding]] = {}
        self.joiners = Line()
        self.followers = Line()
        """Replays that wait for something new to be retained, in whichever topic."""
        self.blocked: dict[object, Sequence[QueueState]] = {}
        """Which queues' room each waiting publisher's task waits for."""
        self.watches: tuple[Watch, ...] = ()
        self.watched = False
        self.closed = False
        self.handle: Any = None
        """The face's bus; opaque here."""

    # declaring

    def require_open(self) -> None:
        if self.closed:
            raise ClosedError("the bus")

    def declare_queue(self, name: str, policy: Policy | None, *, private: bool = False) -> QueueState:
        with self.lock:
            self.require_open()
            queue = self.queues.get(name)
            if queue is None:
                default = Policy(overflow=Overflow.DROP_OLDEST) if name == DEAD_LETTERS else Policy()
                queue = self.queues[name] = QueueState(self, name, policy or default, private=private)
            elif policy is not None and policy != queue.policy:
                raise DeclarationError(
                    f"queue {name!r} is declared with {queue.policy}, which differs from {policy}; "
                    f"declare it once, or leave the policy out to get what is there",
                    name=name,
                    declared=queue.policy,
                    requested=policy,
                )
            return queue

    def declare_topic(self, name: str, retention: Retention | None) -> TopicState:
        with self.lock:
            self.require_open()
            topic = self.topics.get(name)
            if topic is None:
                topic = self.topics[name] = TopicState(name)
            if retention is not None:
                if topic.retained is None:
                    topic.retain(retention)
                elif topic.retained.retention != retention:
                    raise DeclarationError(
                        f"topic {name!r} is declared with {topic.retained.retention}, which differs from {retention}; "
                        f"declare it once, or leave retain out to get what is there",
                        name=name,
                        declared=topic.retained.retention,
                        requested=retention,
                    )
            return topic

    def bind(self, queue: QueueState, patterns: Sequence[str], predicate: Predicate) -> None:
        """Bind a queue to patterns; one that is bound already gets the new filter."""
        with self.lock:
            queue.require_open()
            self._unbind([b for b in self.bound.get(queue, ()) if b.pattern in patterns])
            for pattern in patterns:
                binding = Binding(queue, pattern, predicate)
                self.bindings.add(pattern, binding)
                self.bound.setdefault(queue, []).append(binding)
            self._forget_routes(patterns)

    def unbind(self, queue: QueueState, patterns: Sequence[str]) -> None:
        with self.lock:
            queue.require_open()
            bound = {b.pattern: b for b in self.bound.get(queue, ())}
            if missing := [pattern for pattern in patterns if pattern not in bound]:
                raise DeclarationError(
                    f"queue {queue.name!r} is not bound to {missing[0]!r}; it is bound to {sorted(bound)}",
                    name=queue.name,
                    declared=sorted(bound),
                    requested=list(patterns),
                )
            self._unbind([bound[pattern] for pattern in patterns])

    def _unbind(self, bindings: Sequence[Binding]) -> None:
        for binding in bindings:
            self.bindings.remove(binding.pattern, binding)
            self.bound[binding.queue].remove(binding)
            binding.queue.putters.rouse_all(self.errands)  # a publisher may wait for room that it needs no more
        self._forget_routes([binding.pattern for binding in bindings])

    def bindings_of(self, queue: QueueState) -> list[Binding]:
        with self.lock:
            return list(self.bound.get(queue, ()))

    def _forget_routes(self, patterns: Sequence[str]) -> None:
        for topic in self.topics.values():
            if any(matches(pattern, topic.name) for pattern in patterns):
                topic.forget_routes()

    def routes(self, topic: TopicState) -> tuple[Route, ...]:
        with self.lock:
            self.require_open()
            return topic.route(self.bindings.match(topic.name)) if topic.routes is None else topic.routes

    def topics_matching(self, patterns: Sequence[str]) -> list[TopicState]:
        with self.lock:
            self.require_open()
            return [t for t in self.topics.values() if any(matches(pattern, t.name) for pattern in patterns)]

    def remove(self, queue: QueueState) -> None:
        """End a subscription: its bindings, its messages, and whoever waits on it."""
        with self.lock:
            if queue.closed:
                return
            self._unbind(list(self.bound.get(queue, ())))
            self.bound.pop(queue, None)
            if self.queues.get(queue.name) is queue:
                del self.queues[queue.name]
            queue.close(Fate.STALE)
            self.joiners.rouse_all(self.errands)

    # entering

    def send(self, parcel: Parcel, waiter: Waiter | None = None) -> int:
        """Enter one message: its offset, 0 if the sender must wait (and is parked), or STALE."""
        with self.lock:
            self.require_open()
            topic = parcel.topic
            if topic is not None and topic.routes is not parcel.routes:
                if waiter is not None:
                    self.leave(waiter, [target.queue for target in parcel.targets])
                return STALE
            queues = [target.queue for target in parcel.targets]
            if not self._admitted(queues, waiter):
                return 0
            self.offset = offset = self.offset + 1
            for target in parcel.targets:
                target.queue.accept(parcel.record(offset, target.body), target.place)
            if topic is not None or self.watched:
                self._published(topic, [parcel.record(offset, parcel.body)], [queues])
            return offset

    def broadcast(self, topic: TopicState, body: Any, headers: Headers, priority: int, time: float) -> int:
        """Enter one message in every queue of a topic, if that takes no more than pushes; 0 to go the long way, `send`."""
        lock = self.lock
        try:
            lock.acquire()
            queues = topic.plain
            if queues is None or self.watched or self.closed:
                return 0
            for queue in queues:
                if not queue.credit and not queue.grant():
                    return 0
            self.offset = offset = self.offset + 1
            record: Record = (offset, time, body, None, headers, priority, topic.name, None, None)
            for queue in queues:
                queue.credit -= 1
                queue.backlog.push(record)
                if queue.getters.parked:
                    queue.rouse_getters()
            self._published(topic, (record,), (queues,))
            return offset
        finally:
            lock.release()

    def send_slice(self, batch: Batch, start: int, stop: int) -> range:
        """Enter as many of the messages from `start` to `stop` as fit now, moved as slices: their offsets."""
        with self.lock:
            self.require_open()
            topic = batch.topic
            if topic is not None and topic.routes is not batch.routes:
                return range(0)
            count = stop - start
            for queue in batch.queues:
                queue.require_open()
                count = min(count, queue.room() - len(queue.putters))
            if count <= 0:
                return range(0)
            first = self.offset + 1
            self.offset += count
            records = batch.records(start, start + count, first)
            for queue in batch.queues:
                queue.accept_many(records)
            if topic is not None or self.watched:
                self._published(topic, records, [batch.queues] * count)
            return range(first, first + count)

    def send_whole(self, parcels: Sequence[Parcel]) -> list[int]:
        """Enter all the parcels, which are for one queue that fails when full, or none."""
        with self.lock:
            self.require_open()
            for queue in {target.queue for parcel in parcels for target in parcel.targets}:
                queue.require_open()
                if queue.room() < len(parcels):
                    raise FullError(queue.name, queue.policy.capacity)
            return [self.send(parcel) for parcel in parcels]

    def _published(
        self, topic: TopicState | None, records: Sequence[Record], queues: Sequence[Sequence[QueueState]]
    ) -> None:
        """What else happens when messages enter: counting, keeping, telling."""
        if topic is not None:
            topic.published += len(records)
            topic.unroutable += sum(not reached for reached in queues)
            if topic.retained is not None:
                gone = [old for record in records if (old := topic.retained.keep(record)) is not None]
                if gone:
                    self.errands.append(LetGo(gone))
                self.followers.rouse_all(self.errands)
        if self.watched:
            for record, reached in zip(records, queues, strict=True):
                self.tell("published", record, [queue.name for queue in reached])

    def _admitted(self, queues: Sequence[QueueState], waiter: Waiter | None) -> bool:
        """Whether a message may enter all the queues; if not, the waiter stands in the line of each that it waits for."""
        blocking = []
        for queue in queues:
            queue.require_open()
            if not queue.admits(waiter):
                if queue.policy.overflow is Overflow.FAIL:
                    self._stop_waiting(waiter, queues)
                    raise FullError(queue.name, queue.policy.capacity)
                blocking.append(queue)
        if not blocking:
            self._stop_waiting(waiter, queues)
            return True
        if waiter is not None:
            self._park(waiter, queues, blocking)
        return False

    def _park(self, waiter: Waiter, queues: Sequence[QueueState], blocking: Sequence[QueueState]) -> None:
        for queue in queues:
            if queue in blocking:
                queue.putters.park(waiter)
            elif queue.policy.overflow is Overflow.WAIT:
                queue.putters.claim(waiter)
            queue.refresh()
        self.blocked[waiter.party] = blocking
        if cycle := self._cycle(blocking):
            self._stop_waiting(waiter, queues)
            raise FullError(cycle[0].name, cycle[0].policy.capacity, [queue.name for queue in cycle])

    def _stop_waiting(self, waiter: Waiter | None, queues: Sequence[QueueState]) -> None:
        if waiter is not None:
            self.blocked.pop(waiter.party, None)
            for queue in queues:
                queue.putters.leave(waiter)
                queue.changed()

    def leave(self, waiter: Waiter, queues: Sequence[QueueState]) -> None:
        """A publisher gave up; its claims go to those behind it."""
        with self.lock:
            self._stop_waiting(waiter, queues)

    def _cycle(self, blocking: Sequence[QueueState]) -> list[QueueState]:
        """A ring of full queues all of whose consumers wait for room in the ring, if waiting has closed one.

        The greatest set of queues in which each is full, has consumers, and each consumer's task waits for another of
        the set: what is not in it can be served by somebody.
        """
        reach: dict[QueueState, list[list[QueueState]]] = {}
        todo = list(blocking)
        while todo:
            queue = todo.pop()
            if queue not in reach:
                waits = [self.blocked.get(holder.party) for holder in queue.holders]
                stuck = bool(waits) and None not in waits and not queue.received_from
                reach[queue] = [[q for q in w if q.room() <= 0] for w in waits if w is not None] if stuck else []
                todo += [q for w in reach[queue] for q in w]
        while live := [q for q, waits in reach.items() if not waits or any(not set(w) & reach.keys() for w in waits)]:
            for queue in live:
                del reach[queue]
        path = [queue for queue in blocking if queue in reach][:1]
        while path:
            following = next(q for q in reach[path[-1]][0] if q in reach)
            if following in path:
                return path[path.index(following) :]
            path.append(following)
        return []

    # dead letters

    def bury(self, queue: QueueState, record: Record, reason: str, attempts: int, error: str | None, time: float) -> None:
        """Send a dead message to its queue's dead letters, where it never waits; without any it is let go."""
        offset, entered, body, key, headers, priority, topic, rare, _ = record
        death = Death(queue.name, reason, offset or 0, attempts, error, entered, time)
        rare = attrs.evolve(rare or Rare(), deaths=((rare.deaths if rare else ()) + (death,)))
        if queue.policy.dead_letter is not None:
            graveyard = self.queues.get(queue.policy.dead_letter)
            if graveyard is None:
                policy = Policy(overflow=Overflow.DROP_OLDEST)
                graveyard = self.declare_queue(queue.policy.dead_letter, policy)
            self.offset += 1
            letter: Record = (self.offset, time, body, key, headers, priority, topic, rare, None)
            burial = Burial(graveyard, letter)
            if graveyard.place is None:
                burial.run()
            else:
                self.errands.append(burial)  # finding its lane may be the user's code
        else:
            self.errands.append(LetGo([record]))
        self.tell("died", record, death)

    def lose(self, queue: QueueState, record: Record, time: float) -> None:
        """What becomes of a message that a full queue dropped."""
        self.tell("dropped", record, queue.name)
        ends = {None, DEAD_LETTERS, queue.name, *(death.queue for death in (record[7].deaths if record[7] else ()))}
        if queue.policy.dead_letter not in ends:  # and no ring of dead-letter queues goes round for ever
            past = record[8]
            self.bury(queue, record, "overflow", past.attempts if past else 0, None, time)
        else:
            self.errands.append(LetGo([record]))

    # reading what is retained

    def page(self, topics: Iterable[TopicState], after: int, limit: int) -> list[Record]:
        """The next retained records after an offset, over several topics, in the order of offsets."""
        with self.lock:
            self.require_open()
            pages = [t.retained.page(after, limit) for t in topics if t.retained is not None]
            merged = pages[0] if len(pages) == 1 else heapq.merge(*pages, key=lambda record: record[0] or 0)
            return [record for _, record in zip(range(limit), merged, strict=False)]

    def follow(self, patterns: Sequence[str], after: int, last: int | None, waiter: Waiter) -> bool:
        """Whether something newer than an offset is retained, or `last` has gone by; parks the waiter if neither."""
        with self.lock:
            topics = self.topics_matching(patterns)
            found = (last is not None and self.offset >= last) or any(t.retained is not None and t.retained.last_offset() > after for t in topics)
            if found:
                self.followers.leave(waiter)
            else:
                self.followers.park(waiter)
            return found

    def stop_following(self, waiter: Waiter) -> None:
        with self.lock:
            self.followers.leave(waiter)

    def stop_joining(self, waiter: Waiter) -> None:
        with self.lock:
            self.joiners.leave(waiter)

    # joining, observing, ending

    def join(self, waiter: Waiter) -> bool:
        """Whether every queue that has a consumer is settled; parks the waiter if not."""
        with self.lock:
            self.require_open()
            graves = {queue.policy.dead_letter for queue in self.queues.values()}
            busy = any(q.holders and q.unsettled() and name not in graves for name, q in self.queues.items())
            if busy:
                self.joiners.park(waiter)
            else:
                self.joiners.leave(waiter)
            for queue in self.queues.values():
                queue.refresh()
            return not busy

    def watch(self, watch: Watch) -> None:
        with self.lock:
            self.require_open()
            self._watch((*self.watches, watch))

    def unwatch(self, watch: Watch) -> None:
        with self.lock:
            self._watch(tuple(other for other in self.watches if other is not watch))

    def _watch(self, watches: tuple[Watch, ...]) -> None:
        self.watches = watches
        self.watched = bool(watches)
        for queue in self.queues.values():
            queue.reclaim()  # what is reserved was lent untold
        self._refresh_all()

    def _refresh_all(self) -> None:
        for queue in self.queues.values():
            queue.changed()

    def note(self, text: str) -> None:
        """Have something said once the lock is released."""
        self.errands.append(Note(self.report, text))

    def tell(self, event: str, *facts: Any) -> None:
        if self.watched:
            self.errands.append(Told(self.watches, event, facts))

    def tell_delivered(self, leases: Iterable[Lease]) -> None:
        for lease in leases:
            self.tell("delivered", lease)

    def forsake(self, home: object) -> None:
        """An event loop has ended: its consumers are gone, and nobody sleeps there any more."""
        with self.lock:
            for queue in list(self.queues.values()):
                lines = {queue.getters, queue.putters, queue.joiners, *(holder.line for holder in queue.holders)}
                for line in lines:
                    for waiter in _forsake_line(line, home):
                        self.blocked.pop(waiter.party, None)
                for holder in [h for h in queue.holders if h.home is home]:
                    queue.detach(holder)
                queue.changed()
            _forsake_line(self.followers, home)
            _forsake_line(self.joiners, home)

    def close(self) -> None:
        with self.lock:
            self.closed = True
            for queue in self.queues.values():
                queue.close(Fate.CLOSED)
            self.followers.rouse_all(self.errands)
            self.joiners.rouse_all(self.errands)
            self.blocked.clear()

    def check(self) -> None:
        """Assert all that must hold between any two calls, in every queue."""
        with self.lock:
            for name, queue in self.queues.items():
                assert queue.name == name
                queue.check()
            for topic in self.topics.values():
                assert topic.routes is None or {r.queue for r in topic.routes} == {
                    b.queue for b in self.bindings.match(topic.name)
                }, f"{topic.name}: its routes are not its bindings"
                if topic.retained is not None:
                    topic.retained.check()
                    assert len(topic.retained) <= topic.retained.retention.count
            waiting = {w.party for q in self.queues.values() for w in (*q.putters.parked, *q.putters.woken)}
            assert self.blocked.keys() <= waiting, "somebody is taken for blocked who waits nowhere"


def _forsake_line(line: Line, home: object) -> list[Waiter]:
    gone = [waiter for waiter in (*line.parked, *line.woken) if waiter.home is home]
    for waiter in gone:
        line.leave(waiter)
    return gone
