"""Reading what topics retain, page by page: what to read next, and when to wait. The faces do the waiting."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from eventbus._core.backlog import offset_of
from eventbus._core.engine import Engine
from eventbus._core.topic import TopicState
from eventbus._core.waiting import Waiter
from eventbus.errors import CodecError
from eventbus.history import Since, page_of, position_of
from eventbus.isolating import Isolating, own
from eventbus.message import Key, Message, Record, Undecoded, messages_of

if TYPE_CHECKING:
    from eventbus.journaling import Journaling

__all__ = ["Replay"]

logger = logging.getLogger("eventbus")


class Replay:
    """One reading. It begins at its first page, where the place is found from which and up to which it reads."""

    def __init__(
        self,
        engine: Engine,
        patterns: Sequence[str],
        start: Since,
        stop: Since | None,
        wants: Callable[[Record], bool] | None,
        follow: bool,
        isolating: Isolating,
        journaling: Journaling | None,
        key: Key,
    ) -> None:
        self.engine = engine
        self.archive = engine.archive
        self.patterns = patterns
        self.start = start
        self.stop = stop
        self.wants = wants
        self.follow = follow
        self.isolating = isolating
        self.journaling = journaling
        self.key = key
        self.after = 0
        self.edge = 0
        """If it follows: up to here nothing was still to come when the last page was read, so it goes no further."""
        self.last: int | None = None
        self.topics: dict[str, TopicState] = {}
        self.batches: Iterator[list[Record]] = iter(())
        """What was read, and is not decoded yet."""
        self.pace = 0
        """How many messages were looked at since somebody else had a turn."""

    def page(self) -> list[Message[Any]] | None:
        """What comes next, filtered; None if nothing does now."""
        self.engine.require_open()
        records = next(self.batches, None)
        if records is None:
            self.batches = self._read()
            records = next(self.batches, None)
        upto = self._upto()
        if records is not None and offset_of(records[-1]) > upto:
            records = [record for record in records if offset_of(record) <= upto]
            self.batches = iter(())
        if not records:
            self.after = max(self.after, upto)
            return None
        self.pace += len(records)
        return self._messages(records)

    def _upto(self) -> int:
        """How far it may go by now."""
        assert self.last is not None
        if not self.follow:
            return self.last
        return self.edge if self.stop is None else min(self.edge, self.last)

    def _read(self) -> Iterator[list[Record]]:
        """What topics keep after the place that it has come to."""
        if self.follow:
            self.edge = self.archive.edge()
        topics = self.engine.wiring.topics_matching(self.patterns)
        self.topics = {topic.name: topic for topic in topics}
        if self.last is None:
            self.after = position_of(self.engine, topics, self.start, self.journaling)
            stop = self.stop
            last = self.engine.offset
            self.last = last if stop is None else position_of(self.engine, topics, stop, self.journaling)
        else:
            _warn_if_overtaken(topics, self.after)
        return page_of(self.engine, topics, self.after, self.journaling, self.key)

    def _messages(self, records: list[Record]) -> list[Message[Any]]:
        """Those that are wanted, for this reader, up to the first that can't be decoded; the next page tells of it."""
        self.after = offset_of(records[-1])
        if self.wants is not None:
            records = [record for record in records if self.wants(record)]
        if not self.isolating.by_reference:
            records = [own(record, self.isolating, self.topics[record[6]]) for record in records]
        if Undecoded in {record[2].__class__ for record in records}:
            records = self._decoded(records)
        return messages_of(records)

    def _decoded(self, records: list[Record]) -> list[Record]:
        """Those before the first that can't be decoded. If there are none, that is raised."""
        nth = next(nth for nth, record in enumerate(records) if isinstance(record[2], Undecoded))
        if not nth:
            raise _undecodable(records[0], self.topics[records[0][6]])
        self.after = offset_of(records[nth - 1])
        self.batches = iter(())
        return records[:nth]

    def ended(self) -> bool:
        """Whether nothing more can come, when nothing does now."""
        assert self.last is not None
        return not self.follow or (self.stop is not None and self.edge >= self.last)

    def attempt(self, waiter: Waiter) -> bool:
        """Whether something more has come; parks the waiter if not."""
        return self.archive.follow(self.patterns, self.after, None if self.stop is None else self.last, waiter)


def _undecodable(record: Record, topic: TopicState) -> CodecError:
    offset, body = offset_of(record), record[2]
    return CodecError(
        f"message {offset} of topic {topic.name!r} cannot be decoded as {topic.type!r}: {body.error}; its raw bytes "
        f"are this error's data; declare the topic with the type that was published, or go on with start={offset + 1}",
        channel=topic.name,
        type=topic.type,
        data=bytes(body),
        offset=offset,
    )


def _warn_if_overtaken(topics: Sequence[TopicState], after: int) -> None:
    """What is let go before a slow reader came to it is not lost silently."""
    for topic in topics:
        if topic.retained is not None and topic.retained.lost_through > after:
            logger.warning(
                "a replay is slower than topic %r forgets: messages from offset %d to %d are no longer retained",
                topic.name,
                after + 1,
                topic.retained.lost_through,
            )
