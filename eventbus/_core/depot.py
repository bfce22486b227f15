"""Where a durable queue stands in the journal: what is settled, and how far it has been read.

The backlog of a durable queue lies on disk; memory holds a window of it, and whoever keeps up never reads. A queue's
messages stand on *shelves*, each in the order of offsets: one for a FIFO, one for each priority, one for each group of
lanes. So the head of every shelf can be in memory however long the others are, and the queue's own order holds across
reading and restarts. What came to a shelf after its window was full is `unread`: it is counted, and its messages are on
disk only. Everything up to a shelf's `edge` has been read; what lies beyond and is in memory all the same, since it
waits for its time, is `ahead`.

A FIFO is, on disk, a mark below which all is settled, and what is settled above it; the others have a row for whatever
is unsettled. A depot collects what changed since the last commit, and says it when the next one is made.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final
from zlib import crc32

from eventbus._core.backlog import offset_of
from eventbus._core.ranks import PriorityBacklog
from eventbus._core.shelves import NEW, Cleared, Page, Saying, Shelf, State
from eventbus.message import Record
from eventbus.policy import Fifo, Priority

if TYPE_CHECKING:
    from eventbus._core.changes import Bound, Sought
    from eventbus._core.lanes import Place
    from eventbus._core.lots import Chunk
    from eventbus._core.outbox import Outbox
    from eventbus._core.queue import QueueState

WINDOW: Final = 8_192
"""How many messages of one shelf are in memory before the next are left on disk; of lanes, all shelves together."""

GROUPS: Final = 256
"""Of lanes: how many shelves they share, at most."""

LATER: Final = 1 << 62
"""The rank of no shelf: asked for, it is what is to come later, wherever that stands."""


class Depot:
    """One durable queue's place in the journal."""

    def __init__(self, queue: QueueState, outbox: Outbox) -> None:
        self.queue = queue
        self.outbox = outbox
        self.id = 0
        order = queue.policy.order
        self.fifo = isinstance(order, Fifo)
        self.by_priority = isinstance(order, Priority)
        self.window = WINDOW if self.fifo or self.by_priority else WINDOW // GROUPS
        self.shelves: dict[int, Shelf] = {}
        self.start = 0
        """The edge that a new shelf begins with."""
        self.last = 0
        """The last offset that came to it."""
        self.since = 0
        """Up to here its messages are what its `past` keeps; later ones were sent to it."""
        self.past: tuple[Bound, ...] = ()
        """What it was bound to when it was sought."""
        self.refilter = 0
        """Up to here a message must pass the filter of now, which was another then."""
        self.wish: Sought | None = None
        """Where it is to begin, should the journal not know it."""
        self.awake = False
        """Whether anybody in this process knows the queue, and so the type of its bodies."""
        self.late: list[int] = []
        """What had left the queue when it was sought, and is yet to be settled here, in the past before."""
        # of a FIFO
        self.mark = 0
        self.order: deque[int] = deque()
        """What has been read, from the mark on."""
        self.gone: set[int] = set()
        """What of it is settled."""
        # of the others
        self.ranks: dict[int, int] = {}
        """The shelf of whatever is in memory."""
        self.states: dict[int, State] = {}
        # since the last commit
        self.newly: list[tuple[int, int]] = []
        self.stated: dict[int, State] = {}
        self.ended: list[int] = []
        self.cleared: list[Cleared] = []

    def rank(self, record: Record, place: Place) -> int:
        """The shelf of a message."""
        if self.fifo:
            return 0
        if self.by_priority:
            return -record[5]
        if place is None:
            return offset_of(record) % GROUPS
        return (place if isinstance(place, int) else crc32(place)) % GROUPS

    def _shelf(self, rank: int) -> Shelf:
        shelf = self.shelves.get(rank)
        if shelf is None:
            shelf = self.shelves[rank] = Shelf(self.start)
        return shelf

    def begin(self, offset: int) -> None:
        """It is new: what was sent before does not concern it."""
        self.start = self.mark = self.last = offset

    # what enters

    def admit(self, record: Record, place: Place, later: bool = False) -> bool:
        """Whether a message that was just written is to be in memory; if not, it is unread."""
        rank, offset = self.rank(record, place), offset_of(record)
        self.last = offset
        if later:
            self.states[offset] = NEW  # when it is due is written with it, and to be forgotten with it
        shelf = self._shelf(rank)
        if not later and (shelf.unread or shelf.loaded >= self.window):
            shelf.unread += 1
            self.queue.unread += 1
            return False
        if shelf.unread:
            shelf.ahead.add(offset)
        else:
            shelf.edge = offset
            if self.fifo:
                self.order.append(offset)
        self._loads(shelf, rank, offset)
        return True

    def admit_chunk(self, chunk: Chunk) -> bool:
        """The same for messages that enter together, and stand on one shelf."""
        rank = 0 if self.fifo else -chunk.facts[2]
        self.last = chunk.first + chunk.size - 1
        shelf = self._shelf(rank)
        if shelf.unread or shelf.loaded >= self.window:
            shelf.unread += chunk.size
            self.queue.unread += chunk.size
            return False
        offsets = range(chunk.first, chunk.first + chunk.size)
        shelf.edge = offsets[-1]
        shelf.loaded += chunk.size
        if self.fifo:
            self.order.extend(offsets)
        else:
            self.ranks.update(dict.fromkeys(offsets, rank))
        return True

    def _loads(self, shelf: Shelf, rank: int, offset: int) -> None:
        shelf.loaded += 1
        if not self.fifo:
            self.ranks[offset] = rank

    # what leaves

    def shelve(self, record: Record, place: Place) -> bool:
        """Whether what has waited for its time, beyond what was read, is left to be read in its turn."""
        rank, offset = self.rank(record, place), offset_of(record)
        shelf = self.shelves[rank]
        if offset not in shelf.ahead:
            return False
        shelf.ahead.remove(offset)
        shelf.loaded -= 1
        self.ranks.pop(offset, None)
        shelf.unread += 1
        self.queue.unread += 1
        return True

    def take_unread(self, record: Record, place: Place, scheduled: bool = False) -> bool:
        """Whether a message is still on disk only, and so can be taken from there before its turn, or its time."""
        rank, offset = self.rank(record, place), offset_of(record)
        shelf = self.shelves.get(rank)
        if shelf is None or not shelf.unread or offset <= shelf.edge or offset in shelf.ahead:
            return False
        if self.states.get(offset, NEW)[3] is not None and not scheduled:  # it is to come later
            return False
        shelf.unread -= 1
        self.queue.unread -= 1
        shelf.ahead.add(offset)
        self._loads(shelf, rank, offset)
        if not shelf.unread:
            self._catch_up(shelf)
        return True

    def lendable(self) -> int:
        """Of priorities: how many may be lent before what is unread, since nothing may be overtaken."""
        first = min(rank for rank, shelf in self.shelves.items() if shelf.unread)
        backlog = self.queue.backlog
        assert isinstance(backlog, PriorityBacklog)
        return backlog.through(-first)

    def settle(self, record: Record) -> None:
        """A message has left the queue for good."""
        self.settle_all((offset_of(record),))

    def settle_all(self, offsets: Iterable[int]) -> None:
        """The same for several."""
        for offset in self._timely(offsets) if self.late else offsets:
            if self.fifo:
                rank = 0
                self.gone.add(offset)
            else:
                rank = self.ranks.pop(offset)
            self.newly.append((rank, offset))
            if self.states and self.states.pop(offset, None) is not None:
                self.stated.pop(offset, None)
                self.ended.append(offset)
            shelf = self.shelves[rank]
            shelf.loaded -= 1
            if shelf.unread and shelf.loaded < self.window >> 1:
                self.ask(rank, shelf)
        self.outbox.spoke(self)

    def _timely(self, offsets: Iterable[int]) -> list[int]:
        """Those that a seek has not overtaken.

        An ack takes no lock, and a dead letter is on its way for a while: a seek may come between that and its being
        settled here. Then it ends in the past before the seek, though the same offset was found anew. Should the new
        one end first, that is taken for the late one, and the late one for it: once both have come, all is right.
        """
        timely: list[int] = []
        for offset in offsets:
            if offset in self.late:
                self.late.remove(offset)
            else:
                timely.append(offset)
        return timely

    def state(self, offset: int, state: State) -> None:
        """A message has failed, or is to come later."""
        self.states[offset] = self.stated[offset] = state
        self.outbox.spoke(self)

    # reading

    def ask(self, rank: int, shelf: Shelf) -> None:
        """Have the next page of a shelf read."""
        if not shelf.asked and self.awake:
            shelf.asked = True
            self.outbox.want(self, rank)

    def ask_all(self) -> None:
        """Somebody could have what was not read yet."""
        for rank, shelf in self.shelves.items():
            if shelf.unread:
                self.ask(rank, shelf)

    def awaken(self) -> None:
        """It is known by now what the bodies are to be: read the first of them."""
        if not self.awake:
            self.awake = True
            if self.outbox.open:
                self.begin_to_read()
                self.queue.engine.declared(self.queue)

    def begin_to_read(self) -> None:
        """Read what is to come later, which may hold a lane, and then the first of what is ready."""
        if self.awake:
            if self.states:
                self.outbox.want(self, LATER)
            self.ask_all()
        self.queue.changed()

    def found(self, rank: int, unread: int) -> None:
        """So many unsettled messages are in the journal, beyond the edge of a shelf."""
        if unread:
            self._shelf(rank).unread += unread
            self.queue.unread += unread
            self.queue.recovered += unread

    def receive(self, page: Page) -> None:
        """What was asked for."""
        queue = self.queue
        shelf = self.shelves.get(page.rank)
        if shelf is None or shelf.edge != page.after:  # it was purged or sought meanwhile
            return
        shelf.asked = False
        came = 0
        for record, place in page.entries:
            offset = offset_of(record)
            if self.fifo:
                self.order.append(offset)
            if offset in shelf.ahead:
                shelf.ahead.remove(offset)
                continue
            came += 1
            self._loads(shelf, page.rank, offset)
            queue.unread -= 1
            queue.enter_again(record, place, self.states.get(offset, NEW), page.time)
        shelf.edge = page.edge
        passed_by = [offset for offset in page.missed if offset not in shelf.ahead]
        self._pass_by(page.rank, passed_by)
        missed = shelf.unread - came if page.last else len(passed_by)
        shelf.unread -= came + missed
        queue.unread -= missed
        queue.recovered -= missed
        if not shelf.unread:
            self._catch_up(shelf)
        queue.changed()

    def _pass_by(self, rank: int, offsets: Sequence[int]) -> None:
        """What counts and is not wanted is settled when it is read."""
        if offsets:
            self.newly += [(rank, offset) for offset in offsets]
            self._forget_states(offsets)
            self.outbox.spoke(self)

    def _forget_states(self, offsets: Iterable[int]) -> None:
        self.ended += [offset for offset in offsets if self.states.pop(offset, None) is not None]

    def receive_later(self, page: Page) -> None:
        """What is to come later."""
        queue = self.queue
        for record, place in page.entries:
            rank, offset = self.rank(record, place), offset_of(record)
            shelf = self.shelves.get(rank)
            if shelf is not None and shelf.unread and offset > shelf.edge and offset not in shelf.ahead:
                shelf.unread -= 1
                queue.unread -= 1
                shelf.ahead.add(offset)
                self._loads(shelf, rank, offset)
                queue.enter_again(record, place, self.states.get(offset, NEW), page.time)
                if not shelf.unread:
                    self._catch_up(shelf)
        queue.changed()

    def _catch_up(self, shelf: Shelf) -> None:
        """All that lies beyond the edge of a shelf is in memory, or is no more: the edge is the end."""
        if self.fifo:
            self.order.extend(sorted(offset for offset in shelf.ahead if offset > shelf.edge))
        shelf.ahead.clear()
        shelf.asked = False
        shelf.edge = max(shelf.edge, self.last)

    # saying

    def say(self) -> Saying | None:
        """What is new since it was last said."""
        if self.fifo:
            order, gone = self.order, self.gone
            while order and order[0] in gone:
                gone.discard(order.popleft())
            mark = order[0] - 1 if order else self._edge()
            newly = [entry for entry in self.newly if entry[1] > mark]
        else:
            mark, newly = 0, self.newly
        if not (self.newly or self.stated or self.ended or self.cleared or mark != self.mark) or not self.id:
            return None
        saying = Saying(self, mark, newly, self.stated, self.ended, self.cleared)
        self.mark, self.newly, self.stated, self.ended, self.cleared = mark, [], {}, [], []
        return saying

    def unsay(self, saying: Saying) -> None:
        """It could not be written."""
        self.mark = -1  # so that it is said again
        self.newly[:0] = saying.settled
        self.stated = {o: state for o, state in saying.states.items() if o in self.states} | self.stated
        self.ended[:0] = saying.ended
        self.cleared[:0] = saying.cleared

    def _edge(self) -> int:
        return self.shelves[0].edge if self.shelves else self.start

    def forget_unread(self) -> None:
        """Let go of all that is on disk only."""
        cleared: list[Cleared] = []
        lost = self.states.keys() - ({*self.order, *self._shelf(0).ahead} if self.fifo else self.ranks.keys())
        for rank, shelf in self.shelves.items():
            if shelf.unread:
                lives = [o for o in shelf.ahead if (o not in self.gone if self.fifo else o in self.ranks)]
                cleared.append((rank, shelf.edge, self.last, lives))
                shelf.unread = 0
                self._catch_up(shelf)
        if cleared:
            self.cleared += cleared
            self._forget_states(lost)
            self.outbox.spoke(self)
        self.queue.unread = 0

    def seek(self, after: int, upto: int, past: tuple[Bound, ...]) -> None:
        """Begin anew: what lies between two offsets is to be found again. What was ready has been purged."""
        self.late += [offset for offset in self.order if offset not in self.gone] if self.fifo else self.ranks
        self.queue.unread = 0
        self.shelves.clear()
        for things in (self.order, self.gone, self.ranks, self.states):
            things.clear()
        self.newly, self.stated, self.ended, self.cleared = [], {}, [], []
        self.start = self.mark = after
        self.last = self.since = upto
        self.past = past

    def check(self) -> None:
        """Assert all that must hold between any two calls."""
        queue = self.queue
        assert queue.unread == sum(shelf.unread for shelf in self.shelves.values())
        assert all(shelf.loaded >= 0 and shelf.unread >= 0 for shelf in self.shelves.values())
        loaded = sum(shelf.loaded for shelf in self.shelves.values())
        assert loaded == queue.in_memory() + queue.withheld, f"{queue.name}: {loaded} loaded"
        assert self.fifo or len(self.ranks) == loaded
