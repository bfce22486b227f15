"""Three-valued answers, asked three ways: of the plain evaluation, of the fast form, and of the fast form negated."""

# ruff: noqa: E711, E712  # comparisons with a field build filters

from __future__ import annotations

import collections
import enum
import itertools
import types
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, NoReturn

import attrs
import pytest

from eventbus.filters import Filter, msg, values
from eventbus.filters import source as source_module
from eventbus.message import Death, Message, Rare, message_of


@attrs.frozen
class Order:
    total: Any = 100
    region: Any = "EU"
    tags: Any = ("new", "vip")


def answer(filter: Filter, message: Message[Any]) -> bool | None:
    """The filter's truth; checks that its fast form and its negation's agree, warm and cold."""
    truth = filter._truth(message._record)
    for _ in range(2):
        assert filter.matches(message) is (truth is True)
        assert (~filter).matches(message) is (truth is False)
    return truth


class Hostile:
    """Raises from whatever a filter may touch."""

    @property
    def total(self) -> NoReturn:
        raise ValueError

    def __eq__(self, other: object) -> NoReturn:
        raise ValueError

    def __lt__(self, other: object) -> NoReturn:
        raise ValueError

    def __bool__(self) -> NoReturn:
        raise ValueError

    __hash__ = None  # type: ignore[assignment]


class Undecided:
    """Compares to something that is no bool and has no truth."""

    def __eq__(self, other: object) -> Any:
        return Hostile()

    __hash__ = None  # type: ignore[assignment]


class Faceless:
    @property  # type: ignore[misc]
    def __class__(self) -> NoReturn:
        raise ValueError


class Loud(str):
    __slots__ = ()

    def startswith(self, *args: Any) -> NoReturn:
        raise ValueError

    def __contains__(self, part: object) -> NoReturn:
        raise ValueError


class Broken(list[Any]):
    def __iter__(self) -> Iterator[Any]:
        raise ValueError


class Level(enum.IntEnum):
    LOW = 1


class Kind(str, enum.Enum):  # noqa: UP042  # the older way, still common
    A = "a"


class Plain(enum.Enum):
    A = "a"


@pytest.mark.parametrize(
    ("value", "filter", "truth"),
    [
        (100, msg.body >= 100, True),
        (99.5, msg.body >= 100, False),
        (Decimal(100), msg.body == 100, True),
        (Decimal("0.5"), msg.body > 0.25, True),
        (Decimal("sNaN"), msg.body == 1, None),
        (Decimal("sNaN"), msg.body.isin(1, 2), None),
        (float("nan"), msg.body < 1, False),
        (float("nan"), msg.body != 1, True),
        (True, msg.body == 1, None),
        (1, msg.body == True, None),
        (True, msg.body == True, True),
        (Level.LOW, msg.body == 1, True),
        (Level.LOW, msg.body == True, None),
        (Kind.A, msg.body == "a", True),
        (Plain.A, msg.body == "a", None),
        (Plain.A, msg.body.value == "a", True),
        ("1", msg.body == 1, None),
        ("1", msg.body != 1, None),
        ("b", msg.body > "a", True),
        (b"b", msg.body > b"a", True),
        (b"b", msg.body > "a", None),
        (None, msg.body == None, True),
        (None, msg.body != None, False),
        (0, msg.body == None, False),
        (Order(), msg.body != None, True),
        (len, msg.body == None, None),
        (None, msg.body == 1, None),
        (None, msg.body < 1, None),
        (Hostile(), msg.body == 1, None),
        (Hostile(), msg.body == None, False),
        (Hostile(), msg.body.total == 1, None),
        (Hostile(), msg.body.total.exists(), False),
        (Faceless(), msg.body == 1, None),
        (Faceless(), msg.body.exists(), False),
        (Faceless(), msg.body.x.exists(), False),
        ("EU", msg.body.isin("EU", "UK"), True),
        ("US", msg.body.isin("EU", "UK"), False),
        (1, msg.body.isin("EU", "UK"), None),
        (1, msg.body.isin("EU", 1), True),
        (2, msg.body.isin("EU", 1), None),
        (1.0, msg.body.isin(1, 2.5), True),
        (None, msg.body.isin("EU", None), True),
        ("US", msg.body.isin("EU", None), False),
        (1, msg.body.isin(), False),
        (1, msg.body.x.isin(), None),
        ("eu-1", msg.body.startswith("eu"), True),
        ("eu-1", msg.body.endswith("2"), False),
        ("eu-1", msg.body.startswith(b"eu"), None),
        (b"eu-1", msg.body.startswith(b"eu"), True),
        (7, msg.body.startswith("eu"), None),
        (Loud("eu-1"), msg.body.startswith("eu"), True),
        (Loud("eu-1"), msg.body.contains("-"), True),
        ("abc", msg.body.contains("b"), True),
        ("abc", msg.body.contains(3), None),
        ("abc", msg.body.contains(None), None),
        (b"abc", msg.body.contains(b"x"), False),
        (["a", "b"], msg.body.contains("b"), True),
        (("a", "b"), msg.body.contains("c"), False),
        ({"a", 3}, msg.body.contains("c"), None),
        ([True], msg.body.contains(1), None),
        ([None], msg.body.contains(None), True),
        (frozenset(), msg.body.contains(1), False),
        (Broken("ab"), msg.body.contains("a"), None),
        ({"a": 1}, msg.body.contains("a"), None),
        ({"a": None}, msg.body.a.exists(), True),
        ({"a": None}, msg.body.b.exists(), False),
        ({"a": 1, "b": 1.0}, msg.body.a == msg.body.b, True),
        ({"a": 1, "b": "1"}, msg.body.a == msg.body.b, None),
        ({"a": None, "b": None}, msg.body.a == msg.body.b, True),
        ({"a": None, "b": 1}, msg.body.a == msg.body.b, None),
        ({"a": Plain.A, "b": Plain.A}, msg.body.a == msg.body.b, True),
        ({"a": (1, 2), "b": (1, 3)}, msg.body.a < msg.body.b, True),
        ({"a": Plain.A, "b": Plain.A}, msg.body.a < msg.body.b, None),
        ({"a": Hostile(), "b": Hostile()}, msg.body.a == msg.body.b, None),
        ({"a": Undecided(), "b": Undecided()}, msg.body.a == msg.body.b, None),
        ({"a": 1}, msg.body.a == msg.body.b, None),
    ],
    ids=itertools.count(),
)
def test_a_question_about_one_value_has_this_answer(value: Any, filter: Filter, truth: bool | None) -> None:
    assert answer(filter, Message(value)) is truth


class Surprise(collections.UserDict[str, Any]):
    total = 7


class Proxy:
    def __init__(self, value: Any) -> None:
        self.value = value

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return type(self.value)


class Unhashable(type):
    def __eq__(cls, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


class Strange(metaclass=Unhashable):
    total = 100


@pytest.mark.parametrize(
    ("body", "total"),
    [
        ({"total": 100}, True),
        (types.MappingProxyType({"total": 100}), True),
        (collections.OrderedDict(total=100), True),
        (Order(), True),
        (types.SimpleNamespace(total=100), True),
        (Strange(), None),  # whether it is a mapping cannot be found out
        (Surprise(total=100), True),
        (Surprise(), None),  # a mapping's items, not its attributes
        (Proxy({"total": 100}), None),
        ({}, None),
        (object(), None),
        (None, None),
        ([100], None),
        ({"total": len}, None),
        ({"total": {"total": 100}}, None),
    ],
    ids=itertools.count(),
)
def test_a_step_reads_a_mappings_item_or_an_attribute(body: Any, total: bool | None) -> None:
    assert answer(msg.body.total == 100, Message(body)) is total
    assert answer(msg.body["total"] == 100, Message(body)) is total


def test_steps_go_deep_through_mappings_objects_and_lists() -> None:
    body = {"orders": [Order(region={"name": "EU", "_id": 3, "x y": 1, 0: "zero"})]}
    assert answer(msg.body.orders[0].region.name == "EU", Message(body)) is True
    assert answer(msg.body.orders[-1].region["_id"] == 3, Message(body)) is True
    assert answer(msg.body.orders[0].region["x y"] == 1, Message(body)) is True
    assert answer(msg.body.orders[0].region[0] == "zero", Message(body)) is True
    assert answer(msg.body.orders[1].region.exists(), Message(body)) is False
    assert answer(msg.body.orders["0"].exists(), Message(body)) is False
    assert answer(msg.body[0].exists(), Message("text")) is False
    assert answer(msg.body["_id"].exists(), Message(types.SimpleNamespace(_id=3))) is False


def test_code_counts_as_missing_and_is_never_called() -> None:
    def generator() -> Iterator[int]:
        yield 1

    for body in (types.SimpleNamespace(f=generator), {"f": generator()}, {"f": Order}, {"f": types}):
        assert answer(msg.body.f.exists(), Message(body)) is False
        assert answer(msg.body.f.gi_frame.f_globals.exists(), Message(body)) is False
    assert answer(msg.body.upper == "X", Message("x")) is None
    assert answer(msg.body.upper.exists(), Message("x")) is False


def test_reading_a_defaultdict_does_not_fill_it() -> None:
    body: collections.defaultdict[str, int] = collections.defaultdict(int)
    assert answer(msg.body.total == 0, Message(body)) is None
    assert not body


def test_every_attribute_of_a_message_can_be_asked() -> None:
    death = Death("q", "expired", 1, 2, None, 3.0, 4.0)
    rare = Rare("the-id", 9.5, (death,), "correlated", "caused")
    message = message_of((3, 1.5, "body", "key", {"a": 1}, 7, "topic", rare, None))
    for filter in (
        (msg.offset == 3) & (msg.time == 1.5) & (msg.body == "body") & (msg.key == "key") & (msg.headers.a == 1),
        (msg.priority == 7) & (msg.topic == "topic") & (msg.id == "the-id") & (msg.expires == 9.5),
        (msg.deaths[0].reason == "expired") & (msg.correlation_id == "correlated") & (msg.causation_id == "caused"),
    ):
        assert answer(filter, message) is True
    plain = Message("body")
    for name in ("id", "expires", "correlation_id", "causation_id", "key", "offset"):
        assert answer(getattr(msg, name) == None, plain) is True
    assert answer(msg.deaths[0].exists(), plain) is False


def test_and_or_and_not_follow_kleene() -> None:
    parts: dict[bool | None, Filter] = {True: msg.body == 1, False: msg.body == 2, None: msg.body == "x"}
    order = {False: 0, None: 1, True: 2}
    for left, one in parts.items():
        for right, other in parts.items():
            assert answer(one & other, Message(1)) is min(left, right, key=order.__getitem__)
            assert answer(one | other, Message(1)) is max(left, right, key=order.__getitem__)
        assert answer(~one, Message(1)) is (None if left is None else not left)


def test_a_function_remembers_only_so_many_types() -> None:
    seen: set[type] = set()
    read = source_module._learning("total", seen)
    for number in range(3 * source_module.MOST_SEEN):
        assert read(type(f"Order{number}", (), {"total": number})()) == number
        assert 0 < len(seen) <= source_module.MOST_SEEN
    assert read({"total": 1}) == 1
    assert read(object()) is values.MISSING
    assert not {dict, object} & seen


def test_an_exception_that_is_no_error_passes_through() -> None:
    class Interrupted:
        @property
        def total(self) -> NoReturn:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        (msg.body.total == 1).matches(Message(Interrupted()))
