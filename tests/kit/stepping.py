"""Async calls made from a synchronous test: start one, let it run as far as it can, and look what became of it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

__all__ = ["Steps"]


class Steps:
    """A private event loop that runs only when it is told to. Close it at the end."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, call: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start a call and run until nothing can go on."""
        task = self._loop.create_task(call)
        self._tasks.add(task)
        self.run()
        return task

    def call(self, call: Coroutine[Any, Any, Any]) -> Any:
        """A call that must end at once: its result."""
        task = self.start(call)
        assert task.done(), "the call waits"
        return task.result()

    def cancel(self, task: asyncio.Task[Any]) -> None:
        """Cancel a call, and let it end."""
        task.cancel()
        self.run()

    def run(self) -> None:
        """Until nothing can go on without something new from outside."""
        while self._loop._ready:  # type: ignore[attr-defined]
            self._loop.call_soon(self._loop.stop)
            self._loop.run_forever()

    def close(self) -> None:
        """Cancel what still waits, and close the loop."""
        for task in self._tasks:
            task.cancel()
        self.run()
        for task in self._tasks:
            if task.done() and not task.cancelled():
                task.exception()
        self._loop.close()
