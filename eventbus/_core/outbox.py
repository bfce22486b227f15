"""What a bus with a journal has decided and not yet written down: in order, and all of it or nothing.

A durable message is admitted under the lock like any other: it gets its offset, and its place is pledged in every queue
that it goes to. Then it waits here, in a `Posting`, until the journal's writer has committed it; only then does it
reach its queues, so nobody ever sees what a crash could take back. What is settled gathers in the queues' own depots
and goes with the next commit. So a commit takes two things in one hold of the lock, the postings and what the depots
have to say, and what belongs together, such as a dead letter and the end of the message that died, is never parted.

Nothing here knows how it is written down.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, Final

from eventbus._core.changes import QueueRemoved, Sought, queue_declared, topic_declared
from eventbus._core.depot import LATER, Depot
from eventbus._core.dispatch import Dispatch
from eventbus._core.gathering import Gathering
from eventbus._core.posting import Posting
from eventbus.errors import EventBusError, FullError, JournalError

if TYPE_CHECKING:
    from eventbus._core.engine import Engine
    from eventbus._core.errands import Errand
    from eventbus._core.leases import Lease
    from eventbus._core.parcels import Parcel
    from eventbus._core.queue import QueueState
    from eventbus._core.shelves import Page, Saying
    from eventbus._core.topic import TopicState
    from eventbus._core.waiting import Waiter

CAPACITY: Final = 65_536
"""How many postings may wait to be written before those who cannot wait are refused."""

SLICE: Final = 256
"""How many postings are delivered in one hold of the lock."""


class Haul:
    """What one commit is made of."""

    __slots__ = ("items", "offset", "pages", "sayings")

    def __init__(
        self, items: list[Posting], sayings: list[Saying], pages: list[tuple[Depot, int]], offset: int
    ) -> None:
        self.items = items
        self.sayings = sayings
        self.pages = pages
        """What the queues want to read next, and is to be read after this."""
        self.offset = offset

    def __bool__(self) -> bool:
        return bool(self.items or self.sayings or self.pages)


class Outbox:
    """What waits to be written. `bell` is an errand that tells the writer so."""

    def __init__(self, engine: Engine, bell: Errand, hum: Errand) -> None:
        self.engine = engine
        self.lock = engine.lock
        self.dispatch = Dispatch(engine, self)
        self.gathering = Gathering(self)
        self.bell = bell
        self.hum = hum
        """The same as the bell, for what has time."""
        self.forget: Callable[[], None] = _nothing
        """What to do in a forked child."""
        self.is_writer: Callable[[], bool] = lambda: False
        """Whether the running thread is the one that writes."""
        self.rung = False
        self.hummed = False
        self.haul: Haul | None = None
        """What the writer has taken."""
        self.open = False
        """Whether the journal is there: from when the bus is entered."""
        self.began = 0
        """The last offset that was in the journal then."""
        self.broken: str | None = None
        """Why nothing more can be written, if so."""
        self.items: list[Posting] = []
        self.coming: dict[int, Posting] = {}
        """By offset, what messages that have an id are being written with: who repeats one waits for that."""
        self.kept: deque[tuple[int, Posting]] = deque()
        """What is to be written of topics, by the offset of its first message; from the first that is not done on."""
        self.dirty: dict[Depot, None] = {}
        """The depots that have something to say."""
        self.wanted: dict[tuple[Depot, int], None] = {}
        """Shelves that want a page."""
        self.failure: BaseException | None = None
        """The first that failed of what nobody waited for, since the last look."""
        self.next_id = 1
        """Of queues and topics."""

    # what the engine says, under the lock

    def depot(self, queue: QueueState) -> Depot:
        """The place of a queue that is durable."""
        return Depot(queue, self)

    def declared(self, queue: QueueState) -> None:
        """Have written what is to be known of a queue."""
        depot = queue.depot
        if depot is not None and self.open:
            if not depot.id:
                depot.id = self.new_id()
                depot.begin(self.engine.offset)
            self.note(queue_declared(self.engine, queue))

    def declared_topic(self, topic: TopicState) -> None:
        """Have written what is to be known of a topic that keeps its messages."""
        if topic.durable:
            self.note(topic_declared(topic))

    def removed(self, queue: QueueState) -> None:
        """Have forgotten what was known of a queue."""
        if queue.depot is not None:
            self.note(QueueRemoved(queue.depot.id))
            queue.depot.id = 0

    def sought(self, depot: Depot, after: int | float, number: int, again: bool) -> Posting | None:
        """Have found anew what a queue's topics keep: what to wait for, if the journal is there."""
        bindings = self.engine.wiring.bindings_of(depot.queue)
        past = tuple((binding.pattern, binding.predicate) for binding in bindings)
        sought = Sought(depot, after, number, self.engine.offset, past, again)
        if not self.open:
            depot.wish = sought
            return None
        return self.note(sought, lasting=False)

    def posting(
        self, parcels: Sequence[Parcel], leases: Collection[Lease] = (), statements: Sequence[tuple[str, Any]] = ()
    ) -> Posting:
        """What is to take effect together."""
        return Posting(parcels, leases, statements)

    # what the engine does, under the lock

    def require(self) -> None:
        """Refuse what could not be written down."""
        if not self.open:
            raise JournalError(
                "the journal is opened when the bus is entered, so nothing durable can be sent before; "
                "enter it first: async with bus (or, in threads, with bus)"
            )

    def new_id(self) -> int:
        """For a queue or topic."""
        self.next_id += 1
        return self.next_id - 1

    def post(self, posting: Posting) -> None:
        """It was admitted: have it written."""
        if self.broken is not None:
            self.fail([posting], JournalError(self.broken))
            return
        self.items.append(posting)
        if first := posting.first_kept():
            self.kept.append((first, posting))
        self.ring()

    def written(self) -> int:
        """The offset up to which topics have all that they are to keep."""
        return self.kept[0][0] - 1 if self.kept else self.engine.offset

    def note(self, change: object, lasting: bool = True) -> Posting | None:
        """Something was declared: have it written, if the journal is there; else it is when that is opened."""
        if not self.open or self.broken is not None:
            return None
        posting = Posting(change=change, lasting=lasting)
        self.post(posting)
        return posting

    def spoke(self, depot: Depot) -> None:
        """Something left a queue, or failed there."""
        self.dirty[depot] = None
        if not self.hummed and self.open:
            self.hummed = True
            self.engine.errands.append(self.hum)

    def want(self, depot: Depot, rank: int) -> None:
        """A queue runs out of what is in memory."""
        self.wanted[depot, rank] = None
        self.ring()

    def ring(self) -> None:
        if not self.rung and self.open:
            self.rung = True
            self.engine.errands.append(self.bell)

    def urgent(self) -> bool:
        """Whether somebody may wait for what is to be written."""
        return bool(self.items or self.wanted)

    def at_work(self) -> bool:
        """The same of what is being written too."""
        return self.urgent() or self.haul is not None

    # for those who wait

    def confirmed(self, posting: Posting, waiter: Waiter | None) -> bool:
        """Whether it is written; what it failed with is raised. Parks the waiter if neither."""
        if not posting.done:
            with self.lock:
                if not posting.done:
                    if waiter is not None:
                        if self.is_writer():
                            self.require_another_thread("what was sent here is written without that")
                        posting.waited = True
                        posting.waiters[waiter] = None
                    return False
        error = posting.error
        if error is None:
            return True
        if type(error) is JournalError or not isinstance(error, EventBusError):
            raise JournalError(str(error)) from error  # each who waits has an error of his own
        raise error

    def require_another_thread(self, instead: str = "what this call waits for was not there") -> None:
        """Refuse to wait in the writer's own thread: it would wait for itself, and all others for it."""
        if self.is_writer():
            raise JournalError(
                f"nothing can wait in the journal's own thread, which tells observers and log handlers of what it has "
                f"written; {instead}: use put_nowait, publish_nowait or get_nowait there, or a thread of your own"
            )

    def give_up(self, posting: Posting, waiter: Waiter) -> None:
        """Somebody waits no longer; it takes its course."""
        with self.lock:
            posting.waiters.pop(waiter, None)

    def require_room(self) -> None:
        """For those who cannot wait."""
        with self.lock:
            if len(self.items) >= CAPACITY:
                raise FullError("(the journal's inbox)", CAPACITY)

    def flush(self) -> Posting | None:
        """What is written after all that was sent and settled until now, if there is anything of that."""
        with self.lock:
            if not (self.items or self.dirty or self.haul or self.broken) or not self.open:
                return None
            posting = Posting()
            posting.waited = True
            self.post(posting)
            return posting

    def settled(self) -> BaseException | None:
        """The first failure that nobody has learnt of, which is told once."""
        with self.lock:
            failure, self.failure = self.failure, None
            return failure

    # what the writer does

    def take(self) -> Haul:
        """All that is to be written now."""
        with self.lock:
            self.rung = self.hummed = False
            items, sayings, pages = self._taken(), [], []
            if self.dirty:
                dirty, self.dirty = self.dirty, {}
                sayings = [saying for depot in dirty if (saying := depot.say())]
            if self.wanted:
                pages = list(self.wanted)
                self.wanted.clear()
            haul = Haul(items, sayings, pages, self.engine.offset)
            self.haul = haul or None
            return haul

    def rests(self) -> bool:
        """What was taken is done: whether nobody has rung since. A third of what it costs to take nothing."""
        if self.rung or self.hummed:
            return False
        self.haul = None
        return True

    def _taken(self) -> list[Posting]:
        items, self.items = self.items, []
        self.gathering.end()
        return items

    def put_back(self, sayings: Sequence[Saying], postings: Sequence[Posting]) -> None:
        """What lasts could not be written; the next commit tries again."""
        with self.lock:
            if self.broken is None:
                self.items[:0] = [
                    Posting(posting.parcels, change=posting.change, lasting=True)
                    for posting in postings
                    if posting.lasting
                ]
            for saying in sayings:
                saying.depot.unsay(saying)
                self.dirty[saying.depot] = None

    def deliver(self, postings: Sequence[Posting]) -> None:
        """They are written: let their messages reach their queues, and wake whoever waits."""
        for start in range(0, len(postings), SLICE):
            with self.lock:
                for posting in postings[start : start + SLICE]:
                    self.dispatch.deliver(posting)
                    self._end(posting)

    def fail(self, postings: Sequence[Posting], error: BaseException) -> None:
        """They could not be written: undo what was pledged, and tell whoever waits."""
        with self.lock:
            for posting in postings:
                if posting.done:
                    continue
                posting.error = error
                if not posting.lasting or self.broken is not None:
                    self.dispatch.retract(posting)
                if not posting.waited and not posting.lasting:
                    self.failure = self.failure or error
                self._end(posting)

    def finish(self, posting: Posting, error: BaseException | None) -> None:
        """Somebody waits for something else than messages, and it is done."""
        with self.lock:
            posting.error = error
            self._end(posting)

    def _end(self, posting: Posting) -> None:
        posting.done = True
        errands = self.engine.errands
        errands.extend(posting.waiters)
        posting.waiters.clear()
        while self.kept and self.kept[0][1].done:
            self.kept.popleft()
            self.engine.archive.followers.rouse_all(errands)

    def paged(self, depot: Depot, page: Page) -> None:
        """What a queue wanted has been read."""
        with self.lock:
            if not depot.queue.closed:
                depot.receive_later(page) if page.rank == LATER else depot.receive(page)

    def break_down(self, why: str) -> None:
        """Nothing can be written any more, until the journal is opened again: it is the end of the bus."""
        with self.lock:
            self.broken = why
            rest = self._taken()
            taken = [] if self.haul is None else self.haul.items
            self.fail([*taken, *rest], JournalError(why))
            self.engine.close()


def _nothing() -> None:
    """Before there is a writer."""
