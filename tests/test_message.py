"""A message is immutable, the same for everybody, and owns its headers."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import attrs
import pytest

from eventbus import Bus, Death, Message
from eventbus.message import NO_HEADERS, Past, Rare, message_of


def test_a_message_made_by_hand_has_what_it_was_given() -> None:
    message = Message({"n": 1}, topic="t", key=b"k", headers={"a": 1}, priority=3, id="x", time=5.0, offset=9)
    assert (message.body, message.topic, message.key, message.priority) == ({"n": 1}, "t", b"k", 3)
    assert (message.id, message.time, message.offset) == ("x", 5.0, 9)
    assert dict(message.headers) == {"a": 1}


def test_a_message_without_options_has_the_plain_ones() -> None:
    message = Message("b")
    assert (message.key, message.priority, message.topic, message.time) == (None, 0, "", 0.0)
    assert message.id is message.expires is message.correlation_id is message.causation_id is None
    assert message.deaths == ()
    assert message.headers is NO_HEADERS
    assert message.offset is None


def test_what_is_rare_is_read_from_where_it_is_kept() -> None:
    death = Death("q", "rejected", 3, 1, "why", 1.0, 2.0)
    rare = Rare(id="i", expires=9.0, deaths=(death,), correlation_id="c", causation_id="d")
    message = message_of((4, 0.0, "b", None, NO_HEADERS, 0, "t", rare, Past(1, 0)))
    assert (message.id, message.expires, message.deaths) == ("i", 9.0, (death,))
    assert (message.correlation_id, message.causation_id) == ("c", "d")


@pytest.mark.parametrize("name", ["body", "offset", "_record", "anything"])
def test_a_message_cannot_be_changed(name: str) -> None:
    message = Message("b")
    with pytest.raises(AttributeError, match=f"a message is immutable: cannot set '{name}'"):
        setattr(message, name, 1)
    with pytest.raises(AttributeError, match=f"a message is immutable: cannot delete '{name}'"):
        delattr(message, name)
    assert message.body == "b"


def test_headers_are_its_own_and_read_only() -> None:
    given = {"a": 1}
    message = Message("b", headers=given)
    given["a"] = 2
    assert message.headers["a"] == 1
    assert isinstance(message.headers, MappingProxyType)
    with pytest.raises(TypeError):
        message.headers["a"] = 3  # type: ignore[index]


def test_no_headers_are_one_shared_empty_mapping() -> None:
    assert Message("b").headers is Message("c", headers={}).headers
    assert dict(NO_HEADERS) == {}


def test_messages_are_equal_when_all_that_was_published_is() -> None:
    made = {"topic": "t", "key": "k", "headers": {"a": 1}, "priority": 1, "id": "i", "time": 1.0, "offset": 2}
    message = Message("b", **made)  # type: ignore[arg-type]
    assert message == Message("b", **made)  # type: ignore[arg-type]
    assert hash(message) == hash(Message("b", **made))  # type: ignore[arg-type]
    changed: dict[str, Any] = {
        "topic": "u", "key": "l", "headers": {}, "priority": 2, "id": None, "time": 2.0, "offset": 3,
    }  # fmt: skip
    for name, other in changed.items():
        assert message != Message("b", **{**made, name: other})
    assert message != Message("c", **made)  # type: ignore[arg-type]
    assert message != "b"


def test_what_happened_to_it_in_one_queue_does_not_make_it_another() -> None:
    fresh = (4, 0.0, "b", None, NO_HEADERS, 0, "t", None, None)
    assert message_of(fresh) == message_of((*fresh[:8], Past(2, 1)))  # type: ignore[arg-type]


def test_its_repr_names_offset_topic_and_body() -> None:
    assert repr(Message("b", topic="t", offset=3)) == "<Message 3 of 't': 'b'>"


@pytest.mark.parametrize("value", [Death("q", "failed", 1, 1, None, 0.0, 1.0), Rare(), Past(1, 0)])
def test_its_parts_are_frozen(value: Any) -> None:
    name = attrs.fields(type(value))[0].name
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(value, name, 1)


def test_the_bus_makes_the_message_that_was_put() -> None:
    queue = Bus().queue("q")
    offset = queue.put_nowait("b", key="k", headers={"a": 1}, priority=2, id="i")
    [message] = queue.peek()
    assert message == Message(
        "b", topic="q", key="k", headers={"a": 1}, priority=2, id="i", time=message.time, offset=offset
    )
