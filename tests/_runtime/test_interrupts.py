"""Ctrl-C: at once in a call that waits, and never in the middle of one that works."""

from __future__ import annotations

import asyncio
import gc
import random
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import FrameType
from typing import Any

import pytest
import trio

from eventbus import Bus as AsyncBus
from eventbus import EmptyError, Observer, Policy, Priority
from eventbus._runtime.forks import _engines
from eventbus._runtime.interrupts import SHIELD, at_work
from eventbus.blocking import Bus
from tests.kit.faces import Blocking, run_through
from tests.scenarios.conservation import intact
from tests.scenarios.test_conformance import SCENARIOS

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are sent to threads")


under_fire = pytest.mark.skipif(
    sys.gettrace() is not None, reason="a tracer in Python, such as coverage's, may itself be torn by an interrupt"
)


class Tapper:
    """Presses Ctrl-C again and again, at random moments, until told to stop."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.over = threading.Event()
        self.go = threading.Event()
        self.presses = 0
        self.thread = threading.Thread(target=self.tap, daemon=True)

    def tap(self) -> None:
        while not self.over.wait(self.dice.random() * 0.0008):
            if self.go.wait(0.01) and not self.over.is_set():
                self.go.clear()
                self.presses += 1
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    def __enter__(self) -> Tapper:
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.over.set()
        self.go.set()
        self.thread.join(30)


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    before = signal.getsignal(signal.SIGINT)
    callbacks = gc.callbacks[:]
    gc.callbacks.clear()  # Hypothesis has one; what is raised there, Python drops, and no handler can tell
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    gc.callbacks[:] = callbacks
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert not SHIELD.covered
    signal.signal(signal.SIGINT, before)


def interrupted(tapper: Tapper, step: Callable[[], object], presses: int) -> None:
    """Do a step over and over until so many interrupts came through."""
    caught = 0
    while caught < presses:
        try:
            tapper.go.set()
            while True:
                step()
        except KeyboardInterrupt:
            caught += 1


@under_fire
@pytest.mark.parametrize("policy", [Policy(capacity=50), Policy(Priority(), capacity=50)], ids=["fifo", "priority"])
def test_interrupts_at_random_moments_tear_nothing(policy: Policy, thorough: bool) -> None:
    with Bus() as bus, Tapper(1) as tapper:
        queue = bus.queue("q", policy)
        topic = bus.topic("t")
        queue.bind("t")
        dice = random.Random(2)
        held: list[Any] = []

        def step() -> None:
            choice = dice.randrange(6)
            if choice == 0 and queue.stats().ready < 40:
                queue.put(1, priority=dice.randrange(3))
            elif choice == 1 and queue.stats().ready < 40:
                topic.publish(2)
            elif choice == 2 and queue.stats().ready < 40:
                queue.put_many([1, 2, 3])
            elif choice == 3:
                with suppress(EmptyError):
                    held.append(queue.get_nowait())
            elif choice == 4 and held:
                held.pop().ack()
            elif held:
                held.pop().nack(delay=0)

        for _ in range(40 if thorough else 3):
            interrupted(tapper, step, 12)
            intact(bus)  # type: ignore[arg-type]
        assert tapper.presses >= 30


@under_fire
def test_a_call_that_waits_is_interrupted_at_once_and_passes_its_wake_on(thorough: bool) -> None:
    with Bus() as bus, Tapper(3) as tapper:
        queue = bus.queue("q")
        for _ in range(2_000 if thorough else 100):
            tapper.go.set()
            with pytest.raises(KeyboardInterrupt):
                queue.get()
            assert not len(queue._state.getters)
        queue.put(1)
        queue.get().ack()
        intact(bus)  # type: ignore[arg-type]


def test_a_signal_that_wakes_nobody_ends_a_wait_all_the_same() -> None:
    """As one does that comes between Python's last look for signals and the sleep, or that another thread receives."""
    with Bus() as bus:
        queue = bus.queue("q")

        def press() -> None:
            while not len(queue._state.getters):
                threading.Event().wait(0.001)
            signal.pthread_kill(threading.get_ident(), signal.SIGINT)

        for timeout in (None, 30.0):
            presser = threading.Thread(target=press)
            presser.start()
            with pytest.raises(KeyboardInterrupt):
                queue.get(timeout=timeout)
            presser.join(30)
        assert signal.set_wakeup_fd(-1) == -1
        intact(bus)  # type: ignore[arg-type]


def test_who_listens_for_signals_already_goes_on_to() -> None:
    ear, mouth = socket.socketpair()
    with ear, mouth, Bus() as bus:
        mouth.setblocking(False)
        signal.set_wakeup_fd(mouth.fileno())
        threading.Timer(0.01, signal.pthread_kill, [threading.get_ident(), signal.SIGINT]).start()
        with pytest.raises(KeyboardInterrupt):
            bus.queue("q").get(timeout=30)
        assert ear.recv(64)[0] == signal.SIGINT
        assert signal.set_wakeup_fd(-1) == mouth.fileno()


def test_a_signal_that_was_put_off_is_repeated_until_it_is_heard_and_then_no_more() -> None:
    pressed: list[int] = []
    signal.signal(signal.SIGINT, lambda *_: pressed.append(1))
    with Bus():
        SHIELD.owed = True  # as if a repeat had woken nobody
        SHIELD.bell.release()
        while not pressed:
            threading.Event().wait(0.001)
        SHIELD.repeated = True  # as if one more had been on its way
        signal.raise_signal(signal.SIGINT)
        assert len(pressed) == 1
        signal.raise_signal(signal.SIGINT)
        assert len(pressed) == 2
    signal.signal(signal.SIGINT, signal.default_int_handler)


@under_fire
def test_wakes_between_threads_survive_interrupts(thorough: bool) -> None:
    """The main thread puts under fire; another takes. Each message arrives, so no wake is lost with an interrupt."""
    with Bus() as bus, Tapper(5) as tapper:
        queue = bus.queue("q", Policy(capacity=3))
        seen: list[int] = []

        def consume() -> None:
            with queue.consume() as consumer:
                for delivery in consumer:
                    seen.append(delivery.offset)
                    delivery.ack()

        thread = threading.Thread(target=consume, daemon=True)
        thread.start()
        interrupted(tapper, lambda: queue.put(1), 1_000 if thorough else 100)
        tapper.over.set()
        queue.join(timeout=30)
        intact(bus)  # type: ignore[arg-type]
        assert len(seen) == queue.stats().published
    thread.join(30)


@under_fire
def test_asyncio_ends_in_good_order(thorough: bool) -> None:
    for seed in range(200 if thorough else 15):
        bus = AsyncBus()

        async def main(bus: AsyncBus = bus) -> None:
            async with bus:
                queue = bus.queue("q", Policy(capacity=5))

                async def consume() -> None:
                    async with queue.consume(prefetch=2) as consumer:
                        async for delivery in consumer:
                            with delivery:
                                await asyncio.sleep(0)

                async with asyncio.TaskGroup() as group:
                    group.create_task(consume())
                    try:
                        tapper.go.set()
                        while True:
                            await queue.put(1)
                    finally:
                        intact(bus)

        with Tapper(seed) as tapper, pytest.raises(KeyboardInterrupt):
            asyncio.run(main())
        bus._engine.check()


@under_fire
def test_trio_ends_in_good_order(thorough: bool) -> None:
    for seed in range(200 if thorough else 15):
        bus = AsyncBus()

        async def main(bus: AsyncBus = bus) -> None:
            async with bus:
                queue = bus.queue("q", Policy(capacity=5))

                async def consume() -> None:
                    async with queue.consume(prefetch=2) as consumer:
                        async for delivery in consumer:
                            with delivery:
                                await trio.lowlevel.checkpoint()

                async with trio.open_nursery() as nursery:
                    nursery.start_soon(consume)
                    try:
                        tapper.go.set()
                        while True:
                            await queue.put(1)
                    finally:
                        intact(bus)

        with Tapper(seed) as tapper, pytest.raises(BaseException) as caught:
            trio.run(main)
        assert (
            caught.group_contains(KeyboardInterrupt)
            if isinstance(caught.value, BaseExceptionGroup)
            else (caught.type is KeyboardInterrupt)
        )
        bus._engine.check()


def test_the_programs_own_code_is_interrupted_though_we_called_it() -> None:
    class Endless(Observer):
        def published(self, message: object, queues: object) -> None:
            signal.raise_signal(signal.SIGINT)
            for _ in range(10):
                pass

    with Bus() as bus:
        queue = bus.queue("q")
        got: list[int] = []
        thread = threading.Thread(target=lambda: got.append(queue.get().offset), daemon=True)
        stop = bus.observe(Endless())
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            queue.put(1)
        thread.join(30)
        assert got == [1], "the wake came though an observer before it let an interrupt through"
        stop()


def test_the_handler_of_the_program_is_kept_and_comes_back() -> None:
    calls: list[int] = []

    def own(number: int, frame: object) -> None:
        calls.append(number)

    signal.signal(signal.SIGINT, own)
    with Bus(), Bus():
        signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) == SHIELD.handle
    assert signal.getsignal(signal.SIGINT) is own
    assert calls == [signal.SIGINT]
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_a_handler_put_on_over_ours_is_left_alone() -> None:
    with Bus():
        signal.signal(signal.SIGINT, signal.default_int_handler)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("setting", [signal.SIG_IGN, signal.SIG_DFL])
def test_no_handler_is_no_handler_still(setting: Any) -> None:
    signal.signal(signal.SIGINT, setting)
    with Bus():
        assert signal.getsignal(signal.SIGINT) is setting
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_other_threads_leave_the_handler_alone() -> None:
    def other() -> None:
        with Bus():
            found.append(signal.getsignal(signal.SIGINT))

    found: list[object] = []
    thread = threading.Thread(target=other)
    thread.start()
    thread.join(30)
    assert found == [signal.default_int_handler]


def test_a_bus_that_another_thread_closes_leaves_a_handler_that_puts_nothing_off() -> None:
    bus = Bus()
    with bus:
        thread = threading.Thread(target=bus.close)
        thread.start()
        thread.join(30)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_what_interrupts_our_code_at_work_is_put_off_until_it_is_done() -> None:
    def press() -> None:
        signal.raise_signal(signal.SIGINT)
        after.append("finished")

    after: list[str] = []
    ours = type(press)(
        press.__code__, {"__name__": "eventbus._core.made_up", "signal": signal}, "press", None, press.__closure__
    )

    def work() -> None:
        ours()
        while True:
            threading.Event().wait(0.001)

    with Bus(), pytest.raises(KeyboardInterrupt):
        work()
    assert after == ["finished"]


@pytest.mark.parametrize("play", SCENARIOS, ids=lambda play: play.__name__)
def test_nobody_unknown_to_the_handler_is_called_under_the_lock(play: Any) -> None:
    """What it takes for the program's own code, it interrupts: so nothing that we call there may look like that."""
    strangers: set[str] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        locked = any(engine.lock._is_owned() for engine in list(_engines))  # type: ignore[attr-defined]
        if event == "call" and locked and not at_work(frame):
            strangers.add(f"{frame.f_globals['__name__']}.{frame.f_code.co_name}")

    sys.setprofile(note)
    try:
        run_through(play(Blocking()))
    finally:
        sys.setprofile(None)
    assert not strangers


def test_nothing_runs_where_nothing_runs() -> None:
    assert not at_work(None)


class Dying:
    """Its finalizer presses Ctrl-C."""

    def __init__(self, log: list[str]) -> None:
        self.log = log

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)
        self.log.append("finalized")


def test_ctrl_c_in_a_finalizer_is_not_lost() -> None:
    """Python drops what is raised in one, so it comes after."""
    log: list[str] = []

    def finalize() -> None:
        Dying(log)
        for _ in range(5000):
            threading.Event().wait(0.001)

    with Bus(), pytest.raises(KeyboardInterrupt):
        finalize()
    assert log == ["finalized"]
