"""A message as a row, and back. Whatever is read is checked against the row's CRC."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from struct import Struct
from struct import error as StructError  # noqa: N812
from typing import Any, Final, TypeAlias
from zlib import crc32

import msgspec

from eventbus.errors import JournalCorruptError
from eventbus.message import NO_HEADERS, Death, Key, Rare, Record, freeze

__all__ = ["BARE", "COLUMNS", "WHOLE", "Decode", "Row", "bare_rows_of", "crc_of", "record_of", "row_of"]

COLUMNS: Final = "m.offset, m.route, m.time, CAST(m.body AS BLOB), m.crc, m.key, m.headers, m.priority, m.rare"
"""What is read, in the order of a `Row`."""

Row: TypeAlias = tuple[int, int, float, Any, int, Any, "str | None", int, "str | None"]

WHOLE: Final = 9
"""The width of a row."""

BARE: Final = 6
"""The width of one that has neither key nor headers nor what is rare, without these."""

Decode: TypeAlias = Callable[[bytes], Any]

pack: Final = Struct("<qqdq").pack


class RareRow(msgspec.Struct, omit_defaults=True):
    """What few messages have, as JSON."""

    id: str | None = None
    expires: float | None = None
    deaths: tuple[Death, ...] = ()
    correlation_id: str | None = None
    causation_id: str | None = None


encode: Final = msgspec.json.Encoder().encode
decode_rare: Final = msgspec.json.Decoder(RareRow).decode
decode_headers: Final = msgspec.json.Decoder(dict[str, Any]).decode


def row_of(
    offset: int, route: int, time: float, data: bytes, key: Key, head: str | None, priority: int, rare: Rare | None
) -> list[Any]:
    """The values of a message's row, its headers being JSON already: `BARE` or `WHOLE`."""
    more = None if rare is None else _rare_text(rare)
    if key is None and head is None and more is None:
        return bare_rows_of(offset, route, (time,), (data,), priority)
    crc = crc_of(offset, route, time, data, key, head, priority, more)
    return [offset, route, time, _readable(data), crc, key, head, priority, more]


def bare_rows_of(offset: int, route: int, times: Iterable[float], bodies: Sequence[bytes], priority: int) -> list[Any]:
    """The values of the rows of messages that have neither key nor headers nor what is rare, one after another."""
    values: list[Any] = []
    for time, data in zip(times, bodies, strict=False):
        crc = crc32(data, crc32(pack(offset, route, time, priority)))
        values += (offset, route, time, _readable(data), crc, priority)
        offset += 1
    return values


def crc_of(
    offset: int, route: int, time: float, data: bytes, key: Key, head: str | None, priority: int, rare: str | None
) -> int:
    """What a row is checked against."""
    crc = crc32(data, crc32(pack(offset, route, time, priority)))
    if key is None and head is None and rare is None:
        return crc
    return crc32(repr((key, head, rare)).encode(), crc)


def _readable(data: bytes) -> str | bytes:
    """JSON as text, so that people can read it with any tool."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def _rare_text(rare: Rare) -> str | None:
    row = RareRow(rare.id, rare.expires, rare.deaths, rare.correlation_id, rare.causation_id)
    text = encode(row).decode()
    return None if text == "{}" else text


def record_of(row: Row, channel: str, path: str, decode: Decode) -> Record:
    """The record of a row, with what `decode` makes of its body."""
    offset, route, time, data, crc, key, head, priority, more = row
    try:
        if crc_of(offset, route, time, data, key, head, priority, more) != crc:
            raise JournalCorruptError(path, f"message {offset} is not what was written (its CRC differs)")
        headers = NO_HEADERS if head is None else freeze(decode_headers(head))
        rare = None if more is None else _rare_of(more)
    except (msgspec.MsgspecError, StructError, TypeError, ValueError, AttributeError) as error:
        raise JournalCorruptError(path, f"message {offset} cannot be read ({error})") from error
    return (offset, time, decode(data), key, headers, priority, channel, rare, None)


def _rare_of(text: str) -> Rare:
    row = decode_rare(text)
    return Rare(row.id, row.expires, row.deaths, row.correlation_id, row.causation_id)
