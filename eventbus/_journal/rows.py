"""A message as a row, and back. Whatever is read is checked against the row's CRC."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from struct import Struct
from struct import error as StructError  # noqa: N812  # `error` alone says nothing
from typing import Any, Final, TypeAlias
from zlib import crc32

import msgspec

from eventbus.errors import JournalCorruptError
from eventbus.message import NO_HEADERS, Death, Key, Rare, Record, freeze

__all__ = [
    "COLUMNS",
    "PLAIN",
    "PLAIN_COLUMNS",
    "WHOLE",
    "Decode",
    "DecodeMany",
    "Row",
    "bodies_of",
    "crc_of",
    "pack",
    "plain_rows_of",
    "record_of",
    "records_of",
    "row_of",
]

COLUMNS: Final = "m.offset, m.route, m.time, CAST(m.body AS BLOB), m.crc, m.key, m.headers, m.priority, m.rare"
"""What is read, in the order of a `Row`."""

Row: TypeAlias = tuple[int, int, float, Any, int, Any, "str | None", int, "str | None"]

PLAIN_COLUMNS: Final = "m.offset, m.time, CAST(m.body AS BLOB), m.crc"
"""What is read of messages that are taken to be plain: with neither key nor headers, priority or anything rare."""

WHOLE: Final = 9
"""How many values a row has."""

PLAIN: Final = 5
"""How many of them, the first, the row of a plain message has."""

NOT_PLAIN: Final = 1 << 32
"""Added to the CRC of a message that is not plain, which so is never taken for one that is."""

Decode: TypeAlias = Callable[[bytes], Any]

DecodeMany: TypeAlias = Callable[[Sequence[bytes], str], list[Any]]
"""Makes the bodies of one topic or queue."""

pack: Final = Struct("<qd").pack


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
    """The values of a message's row, its headers being JSON already: `PLAIN` or `WHOLE`."""
    more = None if rare is None else _rare_text(rare)
    if key is None and head is None and more is None and not priority:
        return plain_rows_of(offset, route, (time,), (data,))
    crc = crc_of(offset, route, time, data, key, head, priority, more)
    return [offset, route, time, _readable(data), crc, key, head, priority, more]


def plain_rows_of(offset: int, route: int, times: Iterable[float], bodies: Sequence[bytes]) -> list[Any]:
    """The values of the rows of plain messages, one after another."""
    values: list[Any] = []
    for time, data in zip(times, bodies, strict=False):
        crc = crc32(data, crc32(pack(offset, time), route))
        values += (offset, route, time, _readable(data), crc)
        offset += 1
    return values


def crc_of(
    offset: int, route: int, time: float, data: bytes, key: Key, head: str | None, priority: int, rare: str | None
) -> int:
    """What a row is checked against."""
    crc = crc32(data, crc32(pack(offset, time), route))
    if key is None and head is None and rare is None and not priority:
        return crc
    return NOT_PLAIN + crc32(repr((key, head, priority, rare)).encode(), crc)


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


def records_of(rows: Sequence[Row], channel: Callable[[int], str], path: str, decode: DecodeMany) -> list[Record]:
    """The records of many rows."""
    raw = [record_of(row, channel(row[1]), path, bytes) for row in rows]
    bodies = bodies_of([record[2] for record in raw], [record[6] for record in raw], decode)
    return [(*record[:2], body, *record[3:]) for record, body in zip(raw, bodies, strict=True)]


def bodies_of(datas: Sequence[bytes], channels: Sequence[str], decode: DecodeMany) -> list[Any]:
    """The bodies of messages, those of each topic or queue decoded at once."""
    if channels and channels.count(channels[0]) == len(channels):
        return decode(datas, channels[0])
    bodies: list[Any] = [None] * len(datas)
    for channel in set(channels):
        places = [place for place, other in enumerate(channels) if other == channel]
        for place, body in zip(places, decode([datas[place] for place in places], channel), strict=True):
            bodies[place] = body
    return bodies


def _rare_of(text: str) -> Rare:
    row = decode_rare(text)
    return Rare(row.id, row.expires, row.deaths, row.correlation_id, row.causation_id)
