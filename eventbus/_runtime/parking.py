"""Suspending a task, and waking it from any thread: the one file that knows asyncio and trio by name.

A native future costs half of an `anyio.Event`, and a round trip between two tasks is little else.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from asyncio import _get_running_loop
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import anyio

from eventbus._core.consumer import Holder
from eventbus._core.errands import Errands, run_errands
from eventbus._core.schedule import NEVER
from eventbus._core.waiting import Waiter
from eventbus._runtime.ports import Port, Sleeper

if TYPE_CHECKING:
    import trio

    from eventbus._core.engine import Engine
    from eventbus._core.posting import Posting

__all__ = ["Port", "Ports", "Sleeper"]

R = TypeVar("R")

# Before CPython 3.12 `current_task` is written in Python, and every message that a consumer takes would pay for it.
_task_of: Callable[[Any], object] = (
    asyncio.current_task if sys.version_info >= (3, 12) else vars(asyncio.tasks)["_current_tasks"].get
)

PATIENCE = 5.0
"""Seconds that a put waits with no consumer attached before a warning says so."""


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

    async def doze(self, seconds: float) -> None:
        alarm = self.loop.call_later(seconds, self.rise)  # a third of what a cancel scope with a deadline costs
        try:
            await self.sleep()
        finally:
            alarm.cancel()

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
    brief = True
    replaces = True

    def __init__(self, loop: asyncio.AbstractEventLoop, errands: Errands, forget: Callable[[Port], None]) -> None:
        super().__init__(errands, forget)
        self.loop = loop
        self.party = partial(_task_of, loop)
        self.time = loop.time
        self.tasks: set[asyncio.Task[None]] = set()
        """A loop keeps its tasks weakly."""

    def ended(self) -> bool:
        return self.loop.is_closed()

    def here(self) -> bool:
        return _get_running_loop() is self.loop

    def sleeper(self) -> Sleeper:
        return AsyncioSleeper(self)

    def ask(self, call: Callable[[], None]) -> None:
        self.loop.call_soon_threadsafe(call)

    def spawn(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        task = self.loop.create_task(work())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def cancelling(self) -> bool:
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0


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

    async def doze(self, seconds: float) -> None:
        with anyio.move_on_after(seconds):
            await self.sleep()

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
    def __init__(self, token: trio.lowlevel.TrioToken, errands: Errands, forget: Callable[[Port], None]) -> None:
        from trio import current_time
        from trio.lowlevel import current_task

        super().__init__(errands, forget)
        self.time = current_time
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

    def spawn(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        from trio.lowlevel import spawn_system_task

        spawn_system_task(work, context=copy_context())

    def cancelling(self) -> bool:
        return True  # what raises Cancelled in a task of trio is a scope around it


class Ports:
    """The loops that wait for one bus, and how they wait."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.by_native: dict[object, Port] = {}

    def here(self) -> Port:
        """The port of the running loop."""
        native: Any = _get_running_loop()
        if native is None or _task_of(native) is None:  # trio, or trio as asyncio's guest
            from anyio.lowlevel import current_token

            native = current_token().native_token
        port = self.by_native.get(native)
        if port is None:
            self._bury()
            asyncio_loop = isinstance(native, asyncio.AbstractEventLoop)
            kind: Any = AsyncioPort if asyncio_loop else TrioPort
            port = self.by_native[native] = kind(native, self.engine.errands, self.forget)
        return port

    async def checkpoint(self) -> None:
        """Let the others get on, and be cancelled if that is due: as anyio's, for half the cost on asyncio."""
        native: Any = _get_running_loop()
        if native is not None and _task_of(native) is not None:
            await asyncio.sleep(0)
        else:
            from anyio.lowlevel import checkpoint

            await checkpoint()

    async def until(
        self,
        attempt: Callable[[Waiter], R | None],
        give_up: Callable[[Waiter], None],
        holder: Holder | None = None,
        trouble: Callable[[], str | None] | None = None,
        deadline: float | None = None,
    ) -> R:
        """Try, sleep until woken, try again: what `attempt` returns once that is true; `TimeoutError` at the deadline.

        An attempt that fails has parked its waiter. Whoever leaves in any other way gives up, which passes a wake on.
        Where a turn of the loop is brief, the first attempt comes after one: mostly what it waits for comes in that
        turn, and standing in line and being woken costs ten times as much.
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
        if port.brief:
            await asyncio.sleep(0)
        sleeper = port.idle.pop() if port.idle else port.sleeper()
        sleeper.begin(task, holder)
        errands = self.engine.errands
        try:
            while not (result := attempt(sleeper)):
                if errands:
                    run_errands(errands)
                self._require_another_thread()
                if deadline is None and (trouble is None or not trouble()):
                    await sleeper.sleep()
                elif await self._doze(sleeper, trouble, deadline):
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

    async def written(self, posting: Posting) -> None:
        """Sleep until a posting has come to its end; what it failed with is raised.

        That comes by itself and wakes whoever waits, so there is nothing to look after, and takes more than a turn.
        """
        outbox = self.engine.outbox
        assert outbox is not None, "what is posted is posted there"
        port = self.here()
        sleeper = port.idle.pop() if port.idle else port.sleeper()
        sleeper.begin(port.party(), None)
        try:
            if not outbox.confirmed(posting, sleeper):
                while not posting.done:
                    await sleeper.sleep()
                outbox.confirmed(posting, None)
        except BaseException:
            outbox.give_up(posting, sleeper)
            raise
        finally:
            sleeper.party = None
            port.idle.append(sleeper)

    def _require_another_thread(self) -> None:
        """Whoever waits where the journal is written would wait for ever."""
        if self.engine.outbox is not None:
            self.engine.outbox.require_another_thread()

    async def _doze(self, sleeper: Sleeper, trouble: Callable[[], str | None] | None, deadline: float | None) -> bool:
        """Sleep until woken, or until there is something to look after: whether trouble was reported."""
        time = sleeper.port.time
        start = time()
        left = NEVER if deadline is None else deadline - start
        if left <= 0:
            raise TimeoutError
        if trouble is None or not trouble():
            await sleeper.doze(left)
            return False
        await sleeper.doze(min(left, PATIENCE))
        if time() - start < PATIENCE or (text := trouble()) is None:
            return False
        self.engine.report(text, None)
        return True

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
