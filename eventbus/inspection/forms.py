"""A message as a line of JSON, and back: in a form of our own, or as a CloudEvent 1.0."""

from __future__ import annotations

import enum
import json
import os
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

import attrs

from eventbus._journal.log import Stored
from eventbus.codec import JsonCodec
from eventbus.inspection.moments import instant
from eventbus.message import Key, Undecoded, message_of

__all__ = ["Form", "Sent", "body_of", "line_of", "sent_of"]


class Form(enum.StrEnum):
    """How a line is to be read."""

    JSONL = "jsonl"
    CLOUDEVENTS = "cloudevents"


@attrs.frozen
class Sent:
    """What a line has of a message that is to be sent."""

    body: Any
    key: Key = None
    headers: Mapping[str, Any] | None = None
    priority: int = 0
    id: str | None = None


_json = JsonCodec()


def body_of(data: bytes) -> Any:
    """The body of such bytes; `Undecoded` if they are no JSON."""
    try:
        return _json.decode(data, None)
    except Exception as error:
        return Undecoded(data, str(error))


# to lines


def line_of(stored: Stored, form: Form, source: str) -> bytes:
    """The line of a message that stands in the journal `source`."""
    return _jsonl(stored) if form is Form.JSONL else _cloud_event(stored, source)


def _jsonl(stored: Stored) -> bytes:
    message = message_of(stored.record)
    facts: dict[str, Any] = {
        "offset": message.offset,
        "topic": message.topic,
        "time": instant(message.time),
        **_key(message.key),
    }
    if message.headers:
        facts["headers"] = dict(message.headers)
    if message.priority:
        facts["priority"] = message.priority
    for name in ("id", "correlation_id", "causation_id"):
        if (value := getattr(message, name)) is not None:
            facts[name] = value
    if message.expires is not None:
        facts["expires"] = instant(message.expires)
    if message.deaths:
        facts["deaths"] = [
            {**attrs.asdict(death), "first_time": instant(death.first_time), "time": instant(death.time)}
            for death in message.deaths
        ]
    return _with_body(facts, "body", stored)


def _key(key: Key) -> dict[str, str]:
    if isinstance(key, bytes):
        return {"key_base64": b64encode(key).decode()}
    return {} if key is None else {"key": key}


def _with_body(facts: dict[str, Any], name: str, stored: Stored) -> bytes:
    """The facts and the body, which stays the JSON that it is, to the last digit."""
    undecoded = isinstance(stored.record[2], Undecoded)
    if undecoded:
        facts[f"{name}_base64"] = b64encode(stored.data).decode()
    head = json.dumps(facts, ensure_ascii=False, separators=(",", ":")).encode()
    if undecoded:
        return head
    return b'%s,"%s":%s}' % (head[:-1], name.encode(), stored.data.replace(b"\n", b" ").replace(b"\r", b" "))


NAME: Final = re.compile("[a-z0-9]{1,20}")
"""What an attribute of a CloudEvent may be called."""

OWN: Final = {
    *("specversion", "id", "source", "type", "datacontenttype", "dataschema", "subject", "time", "data"),
    *("priority", "otherheaders", "subjectbase64"),
}
"""Those that have a meaning already, CloudEvents' own and ours."""

INTEGER: Final = range(-(1 << 31), 1 << 31)
"""The integers that an attribute may be."""


def _cloud_event(stored: Stored, source: str) -> bytes:
    message = message_of(stored.record)
    facts: dict[str, Any] = {
        "specversion": "1.0",
        "id": message.id or str(message.offset),
        "source": quote(os.fsencode(source)),
        "type": message.topic,
        "time": instant(message.time),
    }
    if isinstance(message.key, bytes):
        facts["subjectbase64"] = b64encode(message.key).decode()
    elif message.key:
        facts["subject"] = message.key
    if message.priority:
        facts["priority"] = message.priority
    others = {name: value for name, value in message.headers.items() if not _is_attribute(name, value)}
    facts.update((name, value) for name, value in message.headers.items() if name not in others)
    if others:
        facts["otherheaders"] = json.dumps(others, ensure_ascii=False, separators=(",", ":"))
    if not isinstance(stored.record[2], Undecoded):
        facts["datacontenttype"] = "application/json"
    return _with_body(facts, "data", stored)


def _is_attribute(name: str, value: Any) -> bool:
    """Whether a header can be an attribute as it is."""
    if name in OWN or not NAME.fullmatch(name):
        return False
    return isinstance(value, str | bool) or (isinstance(value, int) and value in INTEGER)


# from lines


def sent_of(line: bytes, form: Form) -> Sent:
    """What is to be sent; `ValueError` says what is wrong with the line."""
    try:
        facts = json.loads(line)
    except RecursionError:
        raise ValueError("nested too deep") from None
    except ValueError as error:
        raise ValueError(f"not JSON: {error}") from None
    if not isinstance(facts, dict):
        raise ValueError(f"takes a JSON object, but got {ascii(facts)[:60]}")
    sent = _of_jsonl(facts) if form is Form.JSONL else _of_cloud_event(facts)
    if sent.priority.__class__ is not int:
        raise ValueError(f'"priority" takes an integer, but got {sent.priority!r}')
    return sent


def _of_jsonl(facts: dict[str, Any]) -> Sent:
    if "body" not in facts:
        raise ValueError('"body" is missing; a line is {"body": ...}, and perhaps "key", "headers", "priority", "id"')
    headers = facts.get("headers")
    if headers is not None and not isinstance(headers, dict):
        raise ValueError(f'"headers" takes a JSON object, but got {headers!r}')
    key = _bytes(facts, "key_base64") if "key_base64" in facts else _text(facts, "key")
    return Sent(facts["body"], key, headers, facts.get("priority", 0), _text(facts, "id"))


def _of_cloud_event(facts: dict[str, Any]) -> Sent:
    if facts.get("specversion") != "1.0":
        raise ValueError(f'"specversion" takes "1.0", but got {facts.get("specversion")!r}')
    for name in ("id", "source", "type"):
        if not _text(facts, name):
            raise ValueError(f'"{name}" is missing')
    if "data_base64" in facts:
        raise ValueError('"data_base64" cannot be loaded, since bodies are JSON')
    key = _bytes(facts, "subjectbase64") if "subjectbase64" in facts else _text(facts, "subject")
    headers = {name: value for name, value in facts.items() if name not in OWN}
    if others := _text(facts, "otherheaders"):
        headers |= json.loads(others)
    return Sent(facts.get("data"), key, headers or None, facts.get("priority", 0), facts["id"])


def _text(facts: dict[str, Any], name: str) -> str | None:
    value = facts.get(name)
    if value is not None and not isinstance(value, str):
        raise ValueError(f'"{name}" takes a string, but got {value!r}')
    return value


def _bytes(facts: dict[str, Any], name: str) -> bytes:
    return b64decode(_text(facts, name) or "", validate=True)
