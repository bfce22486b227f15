"""Where dead messages go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs

from eventbus._core.errands import LetGo
from eventbus._core.requests import refuse, request_of
from eventbus.message import Death, Rare, Record
from eventbus.policy import DEAD_LETTERS, Overflow, Policy

if TYPE_CHECKING:
    from eventbus._core.flow import Flow
    from eventbus._core.queue import QueueState
    from eventbus._core.timing import Timed


class Burial:
    """An errand: put a dead letter into its queue.

    It gets its offset there, since what entered on the way there has one already, and its queue may have it before.
    With a journal, the end of the message where it died is written together with the letter.
    """

    __slots__ = ("letter", "queue", "record", "source")

    def __init__(self, queue: QueueState, letter: Record, source: Timed, record: Record) -> None:
        self.queue = queue
        self.letter = letter
        self.source = source
        self.record = record

    def run(self) -> None:
        queue = self.queue
        try:
            place = queue.place(self.letter[3]) if queue.place is not None else None
        except Exception as error:
            queue.engine.report(f"the partitioner of queue {queue.name!r} failed for a dead letter", error)
            place = None
        data = None if queue.depot is None else queue.engine.data_of(self.letter, queue)
        with queue.lock:
            if self.source.depot is not None:
                self.source.depot.settle(self.record)
            if queue.closed:
                return
            if queue.depot is not None:
                queue.depot.outbox.dispatch.post_letter(queue, self.letter, place, data)
            else:
                queue.engine.offset += 1
                queue.accept((queue.engine.offset, *self.letter[1:]), place, letter=True)


def plain(error: str | None) -> str | None:
    """What is kept of an error, as text that can be written: an error may quote what is no Unicode."""
    return None if error is None else error.encode("utf-8", "backslashreplace").decode()


def bury(queue: Timed, record: Record, reason: str, attempts: int, error: str | None, time: float) -> None:
    """Send a dead message to its queue's dead letters, where it never waits; without any it is let go."""
    engine = queue.engine
    error = plain(error)
    if request_of(record) is not None:
        refuse(record, f"{reason} in queue {queue.name!r}" + ("" if error is None else f": {error}"))
    offset, entered, body, key, headers, priority, topic, rare, _ = record
    death = Death(queue.name, reason, offset or 0, attempts, error, entered, time)
    deaths = rare.deaths if rare else ()
    name = None if request_of(record) is not None else _grave_of(queue, deaths)
    if name == queue.name and deaths and deaths[-1].queue == name:
        deaths = deaths[:-1]  # it stays there, however often it dies
    rare = attrs.evolve(rare or Rare(), deaths=(*deaths, death), expires=None)
    if name is None:
        if queue.depot is not None:
            queue.depot.settle(record)
        engine.errands.append(LetGo([record]))
    else:
        grave = engine.queues.get(name)
        if grave is None:
            grave = engine.declare_queue(name, None if name == DEAD_LETTERS else Policy(overflow=Overflow.DROP_OLDEST))
        letter: Record = (None, time, body, key, headers, priority, topic, rare, None)
        engine.errands.append(Burial(grave, letter, queue, record))
    engine.tell("died", record, death)


def _grave_of(queue: Timed, deaths: Sequence[Death]) -> str | None:
    """Where a message goes that dies in a queue. One that came there dead stays, unless the policy names another.

    A ring of dead-letter queues ends in the bus's own.
    """
    name = queue.policy.dead_letter
    if name == DEAD_LETTERS and _came_dead(queue, deaths):
        return queue.name
    if name is None or name == queue.name or all(death.queue != name for death in deaths):
        return name
    return queue.name if queue.name == DEAD_LETTERS else DEAD_LETTERS


def _came_dead(queue: Timed, deaths: Sequence[Death]) -> bool:
    """Whether a message is in this queue because it is the dead-letter queue of where it died before."""
    before = next((death.queue for death in reversed(deaths) if death.queue != queue.name), None)
    source = None if before is None else queue.engine.queues.get(before)
    return source is not None and source.policy.dead_letter == queue.name


def lose(queue: Flow, record: Record, time: float) -> None:
    """What becomes of a message that a full queue dropped."""
    engine = queue.engine
    refuse(record, f"was dropped, since queue {queue.name!r} is full")
    engine.tell("dropped", record, queue.name)
    ends = {None, DEAD_LETTERS, queue.name, *(death.queue for death in (record[7].deaths if record[7] else ()))}
    if (
        queue.policy.dead_letter in ends or request_of(record) is not None
    ):  # so that no ring of dead-letter queues goes round for ever
        if queue.depot is not None:
            queue.depot.settle(record)
        engine.errands.append(LetGo([record]))
    else:
        past = record[8]
        bury(queue, record, "overflow", past.attempts if past else 0, None, time)
