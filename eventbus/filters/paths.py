"""Where in a message a value is read: one of the message's attributes, then steps into it.

A step is a name or an index. ``body.total`` and ``body['total']`` are one step and read the same: the item of a
mapping, the attribute of anything else.
"""

from __future__ import annotations

import re
from keyword import iskeyword
from typing import Any, Final, TypeAlias

import attrs

from eventbus.errors import FilterError
from eventbus.filters.values import constant, data, step
from eventbus.message import Record, message_of

Step: TypeAlias = str | int

ROOTS: Final = (
    "body",
    "key",
    "headers",
    "priority",
    "id",
    "time",
    "offset",
    "topic",
    "expires",
    "deaths",
    "correlation_id",
    "causation_id",
)
NESTED: Final = ("body", "headers", "deaths")
METHODS: Final = ("startswith", "endswith", "contains", "isin", "exists")
DEEPEST: Final = 32
"""How deep a filter may nest, and how many steps a path may have."""

# ASCII alone: Python normalizes other identifiers when it reads source, and the name would no longer be the same.
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


def is_name(key: Step) -> bool:
    """Whether a step can be written after a dot, in a filter's text and in generated source."""
    return isinstance(key, str) and _NAME.fullmatch(key) is not None and not iskeyword(key)


@attrs.frozen(repr=False)
class Path:
    """A place in a message; its repr is its text."""

    root: str
    steps: tuple[Step, ...] = ()

    def then(self, key: Step) -> Path:
        """The path one step further; FilterError for what is no step."""
        if type(key) not in (str, int):
            raise FilterError(f"{self}[...] takes a name or a whole number, but got a {type(key).__name__}")
        constant(key)
        if self.root not in NESTED:
            raise FilterError(
                f"{self.root} has no fields, so there is no {key!r} in it; it takes comparisons and {in_words(METHODS)}"
            )
        if len(self.steps) == DEEPEST:
            raise FilterError(f"a filter reads up to {DEEPEST} steps deep, but {self} goes on")
        return Path(self.root, (*self.steps, key))

    def read(self, record: Record) -> Any:
        """The value there, or `MISSING`."""
        value = data(getattr(message_of(record), self.root))
        for key in self.steps:
            value = step(value, key)
        return value

    def __repr__(self) -> str:
        return self.root + "".join(map(_step_text, self.steps))


def _step_text(key: Step) -> str:
    return f".{key}" if is_name(key) and key not in METHODS else f"[{key!r}]"


def in_words(names: tuple[str, ...]) -> str:
    """The names with commas and a final "and"."""
    return f"{', '.join(names[:-1])} and {names[-1]}"
