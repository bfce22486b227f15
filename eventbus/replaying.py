"""Reading what topics retain, page by page: what to read next, and when to wait. The faces do the waiting."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from eventbus._core.backlog import offset_of
from eventbus._core.engine import Engine
from eventbus._core.topic import TopicState
from eventbus._core.waiting import Waiter
from eventbus.errors import CodecError
from eventbus.history import PAGE, Since, page_of, position_of
from eventbus.isolating import Isolating, own
from eventbus.message import Key, Message, Record, Undecoded, message_of

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
        wants: Callable[[Record], bool],
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
        self.endless = follow and stop is None
        self.after = 0
        self.last: int | None = None

    def page(self) -> list[Message[Any]] | None:
        """What comes next, filtered; None if nothing does now."""
        topics = self.engine.wiring.topics_matching(self.patterns)
        if self.last is None:
            self.after = position_of(self.engine, topics, self.start, self.journaling)
            stop = self.stop
            last = self.engine.offset
            self.last = last if stop is None else position_of(self.engine, topics, stop, self.journaling)
        else:
            _warn_if_overtaken(topics, self.after)
        records = page_of(self.engine, topics, self.after, PAGE, self.journaling, self.key)
        records = [record for record in records if self.endless or offset_of(record) <= self.last]
        if not records:
            return None
        return self._messages(records, {topic.name: topic for topic in topics})

    def _messages(self, records: Sequence[Record], topics: Mapping[str, TopicState]) -> list[Message[Any]]:
        """Those that are wanted, for this reader, up to the first that can't be decoded; the next page tells of it."""
        messages: list[Message[Any]] = []
        for record in records:
            if self.wants(record):
                topic = topics[record[6]]
                mine = record if topic.durable else own(record, self.isolating, topic)
                if isinstance(mine[2], Undecoded):
                    if messages:
                        break
                    raise _undecodable(mine, topic)
                messages.append(message_of(mine))
            self.after = offset_of(record)
        return messages

    def ended(self) -> bool:
        """Whether nothing more can come, when nothing does now."""
        assert self.last is not None
        return not self.follow or (self.stop is not None and self.engine.offset >= self.last)

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
