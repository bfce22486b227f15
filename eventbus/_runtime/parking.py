"""Suspending a task, and waking it from any thread: the one file that knows asyncio and trio by name.

A `Port` stands for one running event loop. A sleeping task is woken by its port: at once if the waker runs in the same
loop, else through a queue that the loop is asked to empty, once however many wakes have gathered, so a waker in another
thread never blocks and never asks twice. All that a sleeper's state needs is that `wake` runs in its own loop.

A native future costs half of an `anyio.Event`, and a round trip between two tasks is little else.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from abc import ABC, abstractmethod
from asyncio import _get_running_loop
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import anyio.lowlevel

from eventbus._core.consumer import Holder
from eventbus._core.waiting import Waiter, run_errands

if TYPE_CHECKING:
    import trio

    from eventbus._core.engine import Engine

__all__ = ["Port", "Ports", "Sleeper"]

R = TypeVar("R")


class Sleeper(Waiter, ABC):
    """A waiter that is a task of one event loop. A wake that comes while it is not asleep ends its next sleep at once."""

    __slots__ = ("port", "woken")

    def __init__(self, port: Port, party: object, holder: Holder | None) -> None:
        super().__init__(port, party, holder)
        self.port = port
        self.woken = False

    def run(self) -> None:
        """Wake it, from any thread."""
        self.port.wake(self)

    @abstractmethod
    async def sleep(self) -> None:
        """Until it is woken; cancellable."""

    @abstractmethod
    def rise(self) -> None:
        """Wake it, in its own loop."""


class Port(ABC):
    """One event loop, as the place of its sleepers."""

    def __init__(self) -> None:
        self.wakes: deque[Sleeper] = deque()
        self.asked = False

    @abstractmethod
    def sleeper(self, holder: Holder | None = None) -> Sleeper:
        """A sleeper for the current task."""

    @abstractmethod
    def party(self) -> object:
        """The current task."""

    @abstractmethod
    def here(self) -> bool:
        """Whether this is the thread, and the loop, that is running now."""

    @abstractmethod
    def ended(self) -> bool:
        """Whether the loop is closed, so that nobody will ever wake there."""

    @abstractmethod
    def ask(self, call: Callable[[], None]) -> None:
        """Have the loop call this soon, from any thread; RuntimeError if it has ended."""

    def wake(self, sleeper: Sleeper) -> None:
        if self.here():
            sleeper.rise()
            return
        self.wakes.append(sleeper)
        if not self.asked:
            self.asked = True
            try:
                self.ask(self._rise_all)
            except RuntimeError:  # the loop has ended; `Ports.bury` finds out
                self.wakes.clear()

    def _rise_all(self) -> None:
        self.asked = False
        while self.wakes:
            self.wakes.popleft().rise()


class AsyncioSleeper(Sleeper):
    __slots__ = ("future",)

    port: AsyncioPort

    def __init__(self, port: AsyncioPort, party: object, holder: Holder | None) -> None:
        super().__init__(port, party, holder)
        self.future: asyncio.Future[None] | None = None

    async def sleep(self) -> None:
        if self.woken:
            self.woken = False
            return
        self.future = self.port.loop.create_future()
        try:
            await self.future
        finally:
            self.future = None

    def rise(self) -> None:
        if self.future is None:
            self.woken = True
        elif not self.future.done():
            self.future.set_result(None)


class AsyncioPort(Port):
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self.loop = loop

    def sleeper(self, holder: Holder | None = None) -> Sleeper:
        return AsyncioSleeper(self, asyncio.current_task(self.loop), holder)

    def party(self) -> object:
        return asyncio.current_task(self.loop)

    def here(self) -> bool:
        return _get_running_loop() is self.loop

    def ended(self) -> bool:
        return self.loop.is_closed()

    def ask(self, call: Callable[[], None]) -> None:
        self.loop.call_soon_threadsafe(call)


class TrioSleeper(Sleeper):
    __slots__ = ("asleep",)

    party: trio.lowlevel.Task

    def __init__(self, port: TrioPort, party: object, holder: Holder | None) -> None:
        super().__init__(port, party, holder)
        self.asleep = False

    async def sleep(self) -> None:
        import trio

        if self.woken:
            self.woken = False
            return

        def abort(_: Any) -> trio.lowlevel.Abort:
            self.asleep = False
            return trio.lowlevel.Abort.SUCCEEDED

        self.asleep = True
        await trio.lowlevel.wait_task_rescheduled(abort)

    def rise(self) -> None:
        import trio

        if self.asleep:
            self.asleep = False
            trio.lowlevel.reschedule(self.party)
        else:
            self.woken = True


class TrioPort(Port):
    def __init__(self, token: trio.lowlevel.TrioToken) -> None:
        super().__init__()
        self.token = token
        self.thread = threading.get_ident()
        self.over = False

    def sleeper(self, holder: Holder | None = None) -> Sleeper:
        return TrioSleeper(self, self.party(), holder)

    def party(self) -> object:
        return sys.modules["trio"].lowlevel.current_task()

    def here(self) -> bool:
        return threading.get_ident() == self.thread and _is_current(self.token)

    def ended(self) -> bool:
        try:
            self.token.run_sync_soon(int, idempotent=True)
        except RuntimeError:  # trio.RunFinishedError
            return True
        return False

    def ask(self, call: Callable[[], None]) -> None:
        self.token.run_sync_soon(call)


def _is_current(token: trio.lowlevel.TrioToken) -> bool:
    try:
        return sys.modules["trio"].lowlevel.current_trio_token() is token  # type: ignore[no-any-return]
    except RuntimeError:
        return False


class Ports:
    """The loops that wait for one bus, and how they wait."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.by_native: dict[object, Port] = {}

    def here(self) -> Port:
        """The port of the running loop."""
        native: Any = _get_running_loop()
        if native is None or asyncio.current_task(native) is None:  # trio, or trio as asyncio's guest
            native = anyio.lowlevel.current_token().native_token
        port = self.by_native.get(native)
        if port is None:
            asyncio_loop = isinstance(native, asyncio.AbstractEventLoop)
            port = self.by_native[native] = AsyncioPort(native) if asyncio_loop else TrioPort(native)
        return port

    async def until(
        self, attempt: Callable[[Waiter], R], give_up: Callable[[Waiter], None], holder: Holder | None = None
    ) -> R:
        """Try, sleep until woken, try again: what `attempt` returns once that is true.

        An attempt that fails has parked its waiter. Whoever leaves in any other way gives up, which passes a wake on.
        """
        self._bury()
        sleeper = self.here().sleeper(holder)
        errands = self.engine.errands
        try:
            while not (result := attempt(sleeper)):
                run_errands(errands)
                await sleeper.sleep()
        except BaseException:
            give_up(sleeper)
            raise
        finally:
            run_errands(errands)
        return result

    def _bury(self) -> None:
        """Before it waits for others, a task looks whether their loops still live."""
        if len(self.by_native) < 2:
            return
        for native, port in list(self.by_native.items()):
            if not port.here() and port.ended():
                self.by_native.pop(native, None)
                self.engine.forsake(port)
