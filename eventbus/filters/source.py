"""Writes the one Python function that decides a filter for a record.

A filter only has to tell true from the rest, so Kleene's logic needs no third value at run time: every part is asked
either "is it true?" or "is it false?", "not" swaps the question, and "and" turns to "or" where falsehood is asked.

The code is optimistic: each test is guarded by the exact type that makes it plain Python (``v >= c if type(v) is
int``); another type goes to the tree's own evaluation of that test, and an exception to that of the whole tree.

Nothing that a user wrote becomes source except names that `is_name` passed: constants and keys are bound in the
function's namespace, which has no builtins.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

from eventbus.filters.paths import ROOTS, Path, Step, is_name
from eventbus.filters.values import MISSING, is_mapping, step
from eventbus.message import NOTHING_RARE, Record

Test: TypeAlias = Callable[[Record], bool]

MOST_SEEN: Final = 64
"""How many types a function remembers per name, so that classes made at run time do not pile up in it."""

_PLACES: Final = {
    root: f"record[{place}]"
    for place, root in enumerate(("offset", "time", "body", "key", "headers", "priority", "topic"))
} | {
    root: f"(record[7] or nothing_rare).{root}"
    for root in ("id", "expires", "deaths", "correlation_id", "causation_id")
}

_TEMPLATE: Final = """\
def matches(record):
    {roots}
    try:
        return {expression}
    except Exception:
        return by_tree(record)
"""


class Source:
    """The function being written: the names bound in it, and the message's attributes that it reads."""

    def __init__(self) -> None:
        self._roots: dict[str, str] = {}
        self._steps: dict[Step, tuple[str, str, str]] = {}
        self._names: dict[str, Any] = {
            "__builtins__": {},
            "Exception": Exception,
            "dict": dict,
            "missing": MISSING,
            "nothing_rare": NOTHING_RARE,
            "type": type,
        }

    def bind(self, value: object) -> str:
        """A name for the value in the function."""
        name = f"n{len(self._names)}"
        self._names[name] = value
        return name

    def read(self, path: Path) -> str:
        """An expression for the value at a path, raw: it may be code, which counts as missing."""
        self._roots[path.root] = f"{path.root} = {_PLACES[path.root]}"
        expression = path.root
        for key in path.steps:
            expression = self._step(expression, key)
        return expression

    def _step(self, value: str, key: Step) -> str:
        bound, seen, other = self._bind_step(key)
        if value == "headers":  # always a mapping
            return f"headers.get({bound}, missing)"
        x, first = (value, value) if value in ROOTS else ("x", f"x := {value}")
        if not is_name(key):
            return f"({x}.get({bound}, missing) if type({first}) is dict else {other}({x}))"
        item = f"{x}.get({bound}, missing) if type({x}) is dict else {other}({x})"
        return f"({x}.{key} if type({first}) in {seen} else {item})"

    def _bind_step(self, key: Step) -> tuple[str, str, str]:
        if key not in self._steps:
            seen: set[type] = set()
            self._steps[key] = self.bind(key), self.bind(seen), self.bind(_learning(key, seen))
        return self._steps[key]

    def function(self, expression: str, by_tree: Test) -> Test:
        """The function that returns the expression's value, or asks `by_tree` when that raises."""
        source = _TEMPLATE.format(roots="; ".join(self._roots.values()), expression=expression)
        namespace = {**self._names, "by_tree": by_tree}
        exec(compile(source, "<eventbus filter>", "exec"), namespace)  # noqa: S102  # see the head of this file
        matches: Test = namespace["matches"]
        return matches


def _learning(key: Step, seen: set[type]) -> Callable[[Any], Any]:
    """A step that remembers the types whose attribute it found, so that the next such object is read directly."""

    def other(value: Any) -> Any:
        found = step(value, key)
        if found is not MISSING and not is_mapping(type(value)):
            if len(seen) >= MOST_SEEN:
                seen.clear()
            seen.add(type(value))
        return found

    return other
