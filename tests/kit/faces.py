"""One way to write a scenario for every face: what waits is awaited, and on the blocking face never suspends."""

from __future__ import annotations

import inspect
import itertools
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import anyio

import eventbus
from eventbus import Journal, Sync, blocking


def journals_in(folder: Path | None) -> Iterator[Journal | None]:
    """A new journal for each bus; without a folder none."""
    for number in itertools.count():
        yield None if folder is None else Journal(folder / f"{number}.db", sync=Sync.OFF)


class Async:
    """The async face, as it is; with a folder, every bus has a journal of its own there."""

    def __init__(self, folder: Path | None = None) -> None:
        self.journals = journals_in(folder)

    def bus(self, **options: Any) -> Any:
        return eventbus.Bus(next(self.journals), **options)

    async def together(self, *works: Coroutine[Any, Any, Any]) -> None:
        """Run them all at once."""
        async with anyio.create_task_group() as group:
            for work in works:
                group.start_soon(lambda work=work: work)

    async def breathe(self) -> None:
        """Let others go on, threads among them."""
        await anyio.sleep(0.001)


class Blocking:
    """The blocking face, dressed for the same scenarios: each coroutine has a thread, and never suspends."""

    def __init__(self, folder: Path | None = None) -> None:
        self.journals = journals_in(folder)

    def bus(self, **options: Any) -> Any:
        return Dressed(blocking.Bus(next(self.journals), **options))

    async def together(self, *works: Coroutine[Any, Any, Any]) -> None:
        errors: list[BaseException] = []

        def run(work: Coroutine[Any, Any, Any]) -> None:
            try:
                run_through(work)
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=run, args=(work,), daemon=True) for work in works]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive(), "a thread hangs"
        if errors:
            raise errors[0]

    async def breathe(self) -> None:
        threading.Event().wait(0.001)


def run_through(work: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine that never suspends."""
    try:
        work.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it suspended")


HANDLES = (blocking.Bus, blocking.Queue, blocking.Topic, blocking.Consumer, blocking.Transaction)


class Dressed:
    """A handle of the blocking face with the manners of the async one."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.inner, "close" if name == "aclose" else name)
        if not callable(value):
            return dress(value)
        return self._calling(value, name)

    def _calling(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        counterpart = getattr(getattr(eventbus, type(self.inner).__name__), name)

        def call(*args: Any, **options: Any) -> Any:
            args = tuple(arg.inner if isinstance(arg, Dressed) else arg for arg in args)
            if name == "replay":
                return each(function(*args, **options))
            if not inspect.iscoroutinefunction(counterpart):
                return dress(function(*args, **options))

            async def wait() -> Any:
                return dress(function(*args, **options))

            return wait()

        return call

    async def __aenter__(self) -> Dressed:
        self.inner.__enter__()
        return self

    async def __aexit__(self, *error: Any) -> Any:
        return self.inner.__exit__(*error)

    def __aiter__(self) -> Any:
        return each(self.inner)


async def each(iterable: Any) -> Any:
    for item in iterable:
        yield item


def dress(value: Any) -> Any:
    return Dressed(value) if isinstance(value, HANDLES) else value
