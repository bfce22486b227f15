"""How bodies become bytes and come back: what a codec is, and the one that is there without asking.

A name found in data is looked up among the classes that the channel was declared with, and never imported.
"""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, Protocol

__all__ = ["Codec", "JsonCodec"]

NAME: Final = "@type"
"""Where the JSON of one of several classes has the name of its class; no field of a class can be called so."""


class Codec(Protocol):
    """Turns bodies into bytes and back. Any object with these two methods is one; both may run in any thread.

    ``type`` is what the channel was declared with, ``bus.queue("x", type=T)`` or ``bus.topic(T)``, and None if it was
    declared with none. What either method raises becomes a `CodecError`.
    """

    def encode(self, body: Any, type: Any, /) -> bytes:
        """The bytes of a body."""
        ...

    def decode(self, data: bytes, type: Any, /) -> Any:
        """A new body from such bytes."""
        ...


class JsonCodec:
    """JSON, by msgspec: attrs classes, dataclasses, msgspec's Structs and builtins, to arbitrary depth.

    A union of classes that JSON could not tell apart, as in ``bus.topic("orders", type=Placed | Cancelled)``, is
    written with the name of each body's class: its ``__event__``, or else its ``__name__``. Without a type, what comes
    back is what JSON has: dicts, lists, str, numbers, bools and None.
    """

    def __init__(self) -> None:
        self._forms: dict[Any, Plain | Named] = {}

    def encode(self, body: Any, type: Any, /) -> bytes:
        return self._form(type).encode(body)

    def decode(self, data: bytes, type: Any, /) -> Any:
        return self._form(type).decode(data)

    def decoder(self, type: Any) -> Callable[[bytes], Any]:
        """What decodes bodies of one type, looked up once for many."""
        return self._form(type).decode

    def _form(self, type: Any) -> Plain | Named:
        form = self._forms.get(type)
        if form is None:
            form = self._forms[type] = form_of(type)
        return form


def form_of(type: Any) -> Plain | Named:
    """How bodies of this type are written; TypeError if they can't be."""
    try:
        return Plain(Any if type is None else type)
    except TypeError:
        if not is_union(type):
            raise
        return Named(typing.get_args(type))


class Plain:
    """Bodies of one type, or of several that JSON tells apart."""

    def __init__(self, type: Any) -> None:
        from msgspec import json

        self.decode: Callable[[bytes], Any] = json.Decoder(type).decode
        self._encode = json.encode

    def encode(self, body: Any) -> bytes:
        data = self._encode(body)
        if b"null" in data:  # which is how msgspec writes what JSON has no number for
            refuse_what_is_no_number(body)
        return data


class Named:
    """Bodies of several classes, each a JSON object with the name of its class before its fields."""

    def __init__(self, classes: Collection[type]) -> None:
        from msgspec import defstruct, json

        self.names = {kind: getattr(kind, "__event__", kind.__name__) for kind in classes}
        self.forms = {name: Plain(kind) for kind, name in self.names.items()}
        if len(self.forms) < len(self.names):
            raise TypeError(f"two classes have the same name, {sorted(self.names.values())}; give one an __event__")
        label = defstruct("Label", [("name", str)], rename={"name": NAME})
        self.label: Callable[[bytes], Any] = json.Decoder(label).decode
        self.heads = {name: b'{"%s":%s' % (NAME.encode(), json.encode(name)) for name in self.forms}

    def encode(self, body: Any) -> bytes:
        name = self.names.get(type(body))
        if name is None:
            raise TypeError(f"it is none of {sorted(self.forms)}")
        data = self.forms[name].encode(body)
        if not data.startswith(b"{"):
            raise TypeError(f"{name} is written as no JSON object, so it can have no name")
        return self.heads[name] + (b"}" if data == b"{}" else b"," + data[1:])

    def decode(self, data: bytes) -> Any:
        name = self.label(data).name
        form = self.forms.get(name)
        if form is None:
            raise TypeError(f"it is called {name!r}, which is none of {sorted(self.forms)}")
        return form.decode(data)


def is_union(type: Any) -> bool:
    """Whether it is ``A | B``, in whichever way it is written."""
    return typing.get_origin(type) in (types.UnionType, typing.Union)


def refuse_what_is_no_number(body: Any) -> None:
    """JSON has neither NaN nor infinity: better an error than a null."""
    from msgspec import to_builtins

    parts = [to_builtins(body)]
    while parts:
        part = parts.pop()
        if isinstance(part, float) and not math.isfinite(part):
            raise ValueError(f"JSON has no number for {part!r}")
        if isinstance(part, Mapping):
            parts += [*part.keys(), *part.values()]
        elif isinstance(part, Collection) and not isinstance(part, str | bytes):
            parts += part
