"""The two faces have the same names, the same signatures and the same docstrings, but for waiting."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest

import eventbus
from eventbus import blocking

PAIRS = [
    (getattr(eventbus, name), getattr(blocking, name))
    for name in ("Bus", "Queue", "Subscription", "Topic", "Consumer", "Transaction")
]
RENAMED = {
    "aclose": "close",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "__aiter__": "__iter__",
    "__anext__": "__next__",
}
WAITING = {"replay", "consume", "transaction"}
"""What waits though calling it does not."""
QUICK = {"seek", "unsubscribe", "aclose", "query", "execute", "__aenter__", "__aexit__", "__anext__"}
"""What never waits for others, or has no place for a timeout."""


def names(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")} | (
        vars(kind).keys() & (RENAMED.keys() | set(RENAMED.values()))
    )


def parameters(function: Any) -> list[tuple[str, Any, Any]]:
    return [(p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()]


def annotations(function: Any) -> dict[str, str]:
    text = {name: str(kind) for name, kind in function.__annotations__.items()}
    text["return"] = re.sub(r"AsyncGenerator\[(.*), None\]", r"Generator[\1, None, None]", text["return"])
    return {name: kind for name, kind in text.items() if name != "timeout"}


def plain(doc: str | None) -> str:
    return " ".join((doc or "").replace("async with", "with").split())


each = pytest.mark.parametrize(("mine", "theirs"), PAIRS, ids=lambda kind: kind.__name__)


@each
def test_they_have_the_same_names(mine: type, theirs: type) -> None:
    assert {RENAMED.get(name, name) for name in names(mine)} == names(theirs)


@each
def test_they_take_the_same_parameters_and_a_timeout_where_they_wait(mine: type, theirs: type) -> None:
    for name in names(mine):
        one, other = getattr(mine, name), getattr(theirs, RENAMED.get(name, name))
        if not inspect.isfunction(one):
            continue
        waits = (inspect.iscoroutinefunction(one) and name not in QUICK) or name in WAITING
        found = parameters(other)
        if name == "request":  # every request has a timeout, on both faces
            assert found == parameters(one)
            continue
        timeouts = [p for p in found if p[0] == "timeout"]
        assert (len(timeouts) == 1) == waits, name
        assert all(default is None for _, _, default in timeouts)
        assert [p for p in found if p[0] != "timeout"] == parameters(one), name
        assert annotations(other) == annotations(one), name


@each
def test_they_say_the_same(mine: type, theirs: type) -> None:
    for name in names(mine):
        one, other = getattr(mine, name), getattr(theirs, RENAMED.get(name, name))
        if name == "blocking" or name.startswith("_"):
            continue
        said = plain(inspect.getdoc(one)).replace(
            " On trio, who leaves one early closes it: `contextlib.aclosing`.", ""
        )
        assert said, name
        assert plain(inspect.getdoc(other)) == said, name


def test_the_blocking_module_has_the_classes_that_differ_and_those_that_do_not() -> None:
    assert set(blocking.__all__) == {kind.__name__ for _, kind in PAIRS} | {"Delivery", "Batch"}
    assert blocking.Delivery is eventbus.Delivery
    assert blocking.Batch is eventbus.Batch
