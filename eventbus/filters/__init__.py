"""Which messages a subscription wants: filters built from `msg`, read from text, or a user's own callable.

The rooms, each knowing only those before it:

- `values`: three-valued comparison of what a message holds. Nothing in it raises.
- `paths`: where in a message a value is read.
- `source`: writes one Python function for a filter.
- `tree`: the filters themselves, each with its text, its plain evaluation and its fast one.
- `symbols`: `msg` and its fields, the only builders of filters.
- `language`: text to the same builders.
- `predicate`: what `where=` takes, made ready for the bus.

The names below are imported when first used: a quarter of the time to import the bus would go to filters otherwise.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eventbus.filters.language import parse
    from eventbus.filters.predicate import Predicate, as_predicate
    from eventbus.filters.symbols import Field, msg
    from eventbus.filters.tree import Filter, compile_filter

__all__ = ["Field", "Filter", "Predicate", "as_predicate", "compile_filter", "msg", "parse"]

_ROOMS = {
    "Field": "symbols",
    "Filter": "tree",
    "Predicate": "predicate",
    "as_predicate": "predicate",
    "compile_filter": "tree",
    "msg": "symbols",
    "parse": "language",
}


def __getattr__(name: str) -> object:
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_ROOMS[name]}"), name)
    return value
