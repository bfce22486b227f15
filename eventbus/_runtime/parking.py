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
from collections.abc import Awaitable, Callable, Generator
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import anyio
import anyio.lowlevel

from eventbus._core.consumer import Holder
from eventbus._core.errands import run_errands
from eventbus._core.waiting import Waiter

if TYPE_CHECKING:
    import trio

    from eventbus._core.engine import Engine

__all__ = ["Port", "Ports", "Sleeper"]

R = TypeVar("R")

# Before CPython 3.12 `current_task` is written in Python, and every message that a consumer takes would pay for it.
_task_of: Callable[[Any], object] = (
    asyncio.current_task if sys.version_info >= (3, 12) else vars(asyncio.tasks)["_current_tasks"].get
)

PATIENCE = 5.0
"""Seconds that a put waits with no consumer attached before a warning says so."""


class Sleeper(Waiter, ABC):
    """A waiter that is a task of one event loop. A wake that finds it awake ends its next sleep at once."""

    __slots__ = ("port", "woken")

    port: Port
    woken: bool

    @abstractmethod
    def sleep(self) -> Awaitable[None]:
        """Until it is woken; cancellable."""

    @abstractmethod
    def rise(self) -> None:
        """Wake it, in its own loop."""


class Port(ABC):
    """One event loop, as the place of its sleepers."""

    party: Callable[[], object]
    """The current task."""

    def __init__(self, forget: Callable[[Port], None]) -> None:
        self.forget = forget
        """What to do when the loop turns out to have ended."""
        self.wakes: deque[Sleeper] = deque()
        self.asked = False
        self.idle: list[Sleeper] = []
        """Sleepers that nobody uses now."""

    @abstractmethod
    def ended(self) -> bool:
        """Whether the loop is closed, so that nobody will ever wake there."""

    @abstractmethod
    def here(self) -> bool:
        """Whether this is the loop that is running now."""

    @abstractmethod
    def sleeper(self) -> Sleeper:
        """A new sleeper of this loop."""

    @abstractmethod
    def ask(self, call: Callable[[], None]) -> None:
        """Have the loop call this soon, from any thread; RuntimeError if it has ended."""

    def post(self, sleeper: Sleeper) -> None:
        """Wake a sleeper from another thread."""
        self.wakes.append(sleeper)
        if not self.asked:
            self.asked = True
            try:
                self.ask(self._rise_all)
            except RuntimeError:  # the loop has ended: the wake goes to the next in line
                self.wakes.clear()
                self.forget(self)

    def _rise_all(self) -> None:
        self.asked = False
        while self.wakes:
            self.wakes.popleft().rise()


class Awake:
    """What is awaited instead of a sleep that is over before it begins."""

    def __await__(self) -> Generator[None, None, None]:
        yield from ()


AWAKE: Final = Awake()


class AsyncioSleeper(Sleeper):
    __slots__ = ("future", "loop")

    def __init__(self, port: AsyncioPort) -> None:
        super().__init__(port)
        self.port = port
        self.woken = False
        self.loop = port.loop
        self.future: asyncio.Future[None] | None = None

    def sleep(self) -> Awaitable[None]:
        if self.woken:
            self.woken = False
            return AWAKE
        self.future = future = self.loop.create_future()
        return future

    def run(self) -> None:
        if _get_running_loop() is self.loop:
            self.rise()
        else:
            self.port.post(self)

    def rise(self) -> None:
        future = self.future
        if future is None or future.done():
            self.woken = True  # a wake too many ends one sleep too early, a wake too few might end none
        else:
            future.set_result(None)


class AsyncioPort(Port):
    def __init__(self, loop: asyncio.AbstractEventLoop, forget: Callable[[Port], None]) -> None:
        super().__init__(forget)
        self.loop = loop
        self.party = partial(_task_of, loop)

    def ended(self) -> bool:
        return self.loop.is_closed()

    def here(self) -> bool:
        return _get_running_loop() is self.loop

    def sleeper(self) -> Sleeper:
        return AsyncioSleeper(self)

    def ask(self, call: Callable[[], None]) -> None:
        self.loop.call_soon_threadsafe(call)


class TrioSleeper(Sleeper):
    __slots__ = ("asleep",)

    party: trio.lowlevel.Task

    def __init__(self, port: TrioPort) -> None:
        super().__init__(port)
        self.port = port
        self.woken = False
        self.asleep = False

    async def sleep(self) -> None:
        from trio.lowlevel import Abort, wait_task_rescheduled

        if self.woken:
            self.woken = False
            return

        def abort(_: Any) -> Abort:
            self.asleep = False
            return Abort.SUCCEEDED

        self.asleep = True
        await wait_task_rescheduled(abort)

    def run(self) -> None:
        if self.port.here():
            self.rise()
        else:
            self.port.post(self)

    def rise(self) -> None:
        from trio.lowlevel import reschedule

        if self.asleep:
            self.asleep = False
            reschedule(self.party)
        else:
            self.woken = True


class TrioPort(Port):
    def __init__(self, token: trio.lowlevel.TrioToken, forget: Callable[[Port], None]) -> None:
        from trio.lowlevel import current_task

        super().__init__(forget)
        self.token = token
        self.thread = threading.get_ident()
        self.party = current_task

    def ended(self) -> bool:
        try:
            self.token.run_sync_soon(int, idempotent=True)
        except RuntimeError:  # trio.RunFinishedError
            return True
        return False

    def here(self) -> bool:
        from trio.lowlevel import current_trio_token

        if threading.get_ident() != self.thread:
            return False
        try:
            return current_trio_token() is self.token
        except RuntimeError:  # trio has finished, and this thread goes on
            return False

    def sleeper(self) -> Sleeper:
        return TrioSleeper(self)

    def ask(self, call: Callable[[], None]) -> None:
        self.token.run_sync_soon(call)


class Ports:
    """The loops that wait for one bus, and how they wait."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.by_native: dict[object, Port] = {}

    def here(self) -> Port:
        """The port of the running loop."""
        native: Any = _get_running_loop()
        if native is None or _task_of(native) is None:  # trio, or trio as asyncio's guest
            native = anyio.lowlevel.current_token().native_token
        port = self.by_native.get(native)
        if port is None:
            asyncio_loop = isinstance(native, asyncio.AbstractEventLoop)
            kind: Any = AsyncioPort if asyncio_loop else TrioPort
            port = self.by_native[native] = kind(native, self.forget)
        return port

    async def until(
        self,
        attempt: Callable[[Waiter], R],
        give_up: Callable[[Waiter], None],
        holder: Holder | None = None,
        trouble: Callable[[], str | None] | None = None,
    ) -> R:
        """Try, sleep until woken, try again: what `attempt` returns once that is true.

        An attempt that fails has parked its waiter. Whoever leaves in any other way gives up, which passes a wake on.
        If there is `trouble` and it sleeps for `PATIENCE` seconds in spite of it, that is reported once.
        """
        native: Any = _get_running_loop()
        task = None if native is None else _task_of(native)
        port = self.by_native.get(native) if task is not None else None
        if port is None:
            port = self.here()
            task = port.party()
        if len(self.by_native) > 1:
            self._bury()
        sleeper = port.idle.pop() if port.idle else port.sleeper()
        sleeper.begin(task, holder)
        errands = self.engine.errands
        try:
            while not (result := attempt(sleeper)):
                if errands:
                    run_errands(errands)
                if trouble is None or not trouble():
                    await sleeper.sleep()
                    continue
                with anyio.move_on_after(PATIENCE) as patience:
                    await sleeper.sleep()
                if patience.cancelled_caught and (text := trouble()):
                    self.engine.report(text, None)
                    trouble = None
        except BaseException:
            give_up(sleeper)
            raise
        finally:
            if errands:
                run_errands(errands)
            sleeper.party = sleeper.holder = None  # so that it keeps no task alive
            port.idle.append(sleeper)
        return result

    def _bury(self) -> None:
        """Before it waits for others, a task looks whether their loops still live.

        A loop that ends while its consumers hold deliveries is found out here or when it is to be woken, no sooner:
        event loops tell nobody that they end.
        """
        for port in list(self.by_native.values()):
            if not port.here() and port.ended():
                self.forget(port)

    def forget(self, port: Port) -> None:
        """A loop has ended: its consumers are gone."""
        for native in [native for native, other in list(self.by_native.items()) if other is port]:
            self.by_native.pop(native, None)
        self.engine.forsake(port)
