"""One way to write a handler for every kind of worker: an async function, or a plain one that never suspends."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from typing import Any

import attrs

from tests.kit.faces import run_through

__all__ = ["KINDS", "Kind", "gate", "tell"]


@attrs.frozen
class Kind:
    """How handlers run: async functions in tasks, plain ones in threads, or plain ones in tasks (inline)."""

    name: str

    def wrap(self, function: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
        """The function as this kind has it."""
        if self.name == "async":
            return function
        if len(inspect.signature(function).parameters) == 1:
            return lambda body: run_through(function(body))
        return lambda body, delivery: run_through(function(body, delivery))

    def handle(self, queue: Any, function: Callable[..., Coroutine[Any, Any, Any]], **handling: Any) -> Any:
        if self.name == "inline":
            handling["inline"] = True
        return queue.handle(self.wrap(function), **handling)


KINDS = [Kind("async"), Kind("plain"), Kind("inline")]


def tell(delivery: Any, name: str, body: Any) -> None:
    """Put something into another queue of the bus, from within a handler of any kind."""
    delivery.bus.queue(name).put_nowait(body)


async def gate(delivery: Any, name: str = "gate") -> None:
    """Wait within a handler, of any kind but inline, until there is something in a queue; and leave it there."""
    found = delivery.bus.queue(name).get()
    if inspect.isawaitable(found):
        found = await found
    found.release()
