"""How far the bodies of one bus are kept apart: by reference, by deep copies, or through a codec.

A publisher's body is prepared once, in its own call and outside the lock; every receiver's own is made from that.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import suppress
from itertools import repeat
from typing import Any, ClassVar

from eventbus._core.topic import TopicState
from eventbus.codec import Codec, JsonCodec
from eventbus.errors import CodecError
from eventbus.message import Headers, Record, Undecoded, freeze
from eventbus.policy import Isolation

__all__ = ["Isolating", "isolating"]


class Isolating:
    """By reference: everybody has the same."""

    by_reference: ClassVar[bool] = True

    def prepare(self, body: Any, channel: str, type: Any) -> Any:
        """What copies are made from."""
        return body

    def copy(self, prepared: Any, channel: str, type: Any) -> Any:
        """A receiver's own body."""
        return prepared

    def keep(self, body: Any) -> Any:
        """A body as it is now, to be prepared later."""
        return body

    def headers(self, headers: Headers, channel: str) -> Headers:
        """The headers that receivers see."""
        return headers

    def again(self, body: Any, channel: str, type: Any, wanted: Any = None) -> Any:
        """One more receiver's own, of what a channel keeps: of the type that the receiver wants, or else as published.

        What could not be decoded is tried again, since the type may be known by now.
        """
        return self.copy(self.prepare(body, channel, type), channel, type if wanted is None else wanted)


class Copying(Isolating):
    """A deep copy for each."""

    by_reference = False

    def copy(self, prepared: Any, channel: str, type: Any) -> Any:
        return copy.deepcopy(prepared)

    def keep(self, body: Any) -> Any:
        return copy.deepcopy(body)


class Coding(Isolating):
    """Encoded once, decoded for each."""

    by_reference = False

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self.json = JsonCodec()
        self.form = codec.form if type(codec) is JsonCodec else None
        """How many bodies of a type are written, if one look is enough."""

    def prepare(self, body: Any, channel: str, type: Any) -> Any:
        if body.__class__ is Undecoded:
            return bytes(body)
        if self.form is not None:
            try:
                return self.form(type).encode(body)
            except Exception:  # noqa: S110  # what it was is said below
                pass
        return encoded(self.codec, body, channel, type)

    def prepare_all(self, bodies: Sequence[Any], channel: str, type: Any) -> list[bytes]:
        """The same for many, with one look for how the type is written."""
        if self.form is not None:
            with suppress(Exception):  # which of them it was is said below
                encode = self.form(type).encode
                return [encode(body) if body.__class__ is not Undecoded else bytes(body) for body in bodies]
        return [self.prepare(body, channel, type) for body in bodies]

    def copy(self, prepared: Any, channel: str, type: Any) -> Any:
        try:
            return self.codec.decode(prepared, type)
        except Exception as error:
            return Undecoded(prepared, f"{error.__class__.__name__}: {error}")

    def copies(self, prepared: Sequence[Any], channel: str, type: Any) -> list[Any]:
        """The same of many, which costs less."""
        try:
            if self.form is not None:
                return list(map(self.form(type).decode, prepared))
            return list(map(self.codec.decode, prepared, repeat(type)))
        except Exception:
            return [self.copy(data, channel, type) for data in prepared]

    def headers(self, headers: Headers, channel: str) -> Headers:
        """As JSON has them, whatever the codec of bodies is."""
        return headers and freeze(self.json.decode(encoded(self.json, dict(headers), channel, None), None))


def encoded(codec: Codec, body: Any, channel: str, type: Any) -> bytes:
    """The bytes of a body; CodecError if it has none."""
    try:
        data: object = codec.encode(body, type)
    except Exception as error:
        kind = body.__class__.__name__
        raise CodecError(
            f"a {kind} cannot be encoded for {channel!r}: {error.__class__.__name__}: {error}; "
            f"send what the codec takes, or make the bus with a codec that takes it: Bus(codec=...)",
            channel=channel,
            type=type,
        ) from error
    if not isinstance(data, bytes):
        kind = body.__class__.__name__
        raise CodecError(
            f"codec {codec!r} must encode to bytes, but made a {data.__class__.__name__} of a {kind} for {channel!r}",
            channel=channel,
            type=type,
        )
    return data


def isolating(isolation: Isolation, codec: Codec | None) -> Isolating:
    """What does it, for one bus."""
    if isolation is Isolation.NONE:
        return Isolating()
    return Copying() if isolation is Isolation.COPY else Coding(codec or JsonCodec())


def own(record: Record, isolating: Isolating, topic: TopicState, wanted: Any = None) -> Record:
    """A retained record for one more receiver."""
    if isolating.by_reference or topic.durable:  # what is read from the disk is the reader's own
        return record
    body = isolating.again(record[2], record[6], topic.type, wanted)
    return (*record[:2], body, *record[3:])
