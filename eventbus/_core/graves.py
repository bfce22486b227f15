"""Where dead messages go."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from eventbus._core.errands import LetGo
from eventbus.message import Death, Rare, Record
from eventbus.policy import DEAD_LETTERS, Overflow, Policy

if TYPE_CHECKING:
    from eventbus._core.flow import Flow


class Burial:
    """An errand: put a dead letter into its queue."""

    __slots__ = ("letter", "queue")

    def __init__(self, queue: Flow, letter: Record) -> None:
        self.queue = queue
        self.letter = letter

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


def bury(queue: Flow, record: Record, reason: str, attempts: int, error: str | None, time: float) -> None:
    """Send a dead message to its queue's dead letters, where it never waits; without any it is let go."""
    engine = queue.engine
    offset, entered, body, key, headers, priority, topic, rare, _ = record
    death = Death(queue.name, reason, offset or 0, attempts, error, entered, time)
    rare = attrs.evolve(rare or Rare(), deaths=((rare.deaths if rare else ()) + (death,)))
    if queue.policy.dead_letter is None:
        engine.errands.append(LetGo([record]))
    else:
        grave = engine.queues.get(queue.policy.dead_letter)
        if grave is None:
            grave = engine.declare_queue(queue.policy.dead_letter, Policy(overflow=Overflow.DROP_OLDEST))
        engine.offset += 1
        letter: Record = (engine.offset, time, body, key, headers, priority, topic, rare, None)
        burial = Burial(grave, letter)
        if grave.place is None:
            burial.run()
        else:
            engine.errands.append(burial)  # finding its lane may be the user's code
    engine.tell("died", record, death)


def lose(queue: Flow, record: Record, time: float) -> None:
    """What becomes of a message that a full queue dropped."""
    engine = queue.engine
    engine.tell("dropped", record, queue.name)
    ends = {None, DEAD_LETTERS, queue.name, *(death.queue for death in (record[7].deaths if record[7] else ()))}
    if queue.policy.dead_letter in ends:  # so that no ring of dead-letter queues goes round for ever
        engine.errands.append(LetGo([record]))
    else:
        past = record[8]
        bury(queue, record, "overflow", past.attempts if past else 0, None, time)
