"""The end of the interpreter and the fork of a process: nothing hangs, and nothing is said that nobody asked for."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import warnings

import pytest

from eventbus import ClosedError
from eventbus._runtime.exits import LastOrders
from eventbus.blocking import Bus

PROGRAMS = {
    "a thread that waits for ever": """
        bus = Bus()
        queue = bus.queue("q")
        def work():
            try:
                queue.get()
            except ClosedError:
                print("closed")
        threading.Thread(target=work).start()
    """,
    "a consumer that waits for ever": """
        bus = Bus()
        queue = bus.queue("q")
        def work():
            with queue.consume() as consumer:
                for delivery in consumer:
                    delivery.ack()
            print("closed")
        threading.Thread(target=work).start()
        queue.put(1)
        queue.join()
    """,
    "a worker of an executor": """
        from concurrent.futures import ThreadPoolExecutor
        bus = Bus()
        queue = bus.queue("q")
        def work():
            try:
                queue.get()
            except ClosedError:
                print("closed")
        ThreadPoolExecutor(2).submit(work)
    """,
    "threads that still work are waited for": """
        bus = Bus()
        queue = bus.queue("q")
        def work():
            for _ in range(3):
                queue.get().ack()
            print("closed")
        def feed():
            threading.main_thread().join()
            for number in range(3):
                threading.Event().wait(0.15)
                queue.put(number)
        threading.Thread(target=work).start()
        threading.Thread(target=feed).start()
    """,
    "a daemon thread is let go": """
        bus = Bus()
        threading.Thread(target=bus.queue("q").get, daemon=True).start()
        print("closed")
    """,
    "threads that wake each other in turn are left alone": """
        bus = Bus()
        there, back = bus.queue("there"), bus.queue("back")
        def ping():
            threading.main_thread().join()
            for number in range(20_000):
                there.put(number)
                back.get().ack()
            print("closed")
        def pong():
            for _ in range(20_000):
                there.get().ack()
                back.put(1)
        threading.Thread(target=ping).start()
        threading.Thread(target=pong).start()
    """,
    "a thread that first waits when the main thread has ended": """
        bus = Bus()
        def work():
            threading.main_thread().join()
            try:
                bus.queue("q").get()
            except ClosedError:
                print("closed")
        threading.Thread(target=work).start()
    """,
    "what is remembered of ids holds up nobody": """
        bus = Bus()
        queue = bus.queue("q", Policy(dedup=300))
        queue.put(1, id="one")
        queue.get().ack()
        def work():
            try:
                queue.get()
            except ClosedError:
                print("closed")
        threading.Thread(target=work).start()
    """,
    "what is delayed is waited for": """
        bus = Bus()
        queue = bus.queue("q")
        queue.put("closed", delay=0.3)
        def work():
            print(queue.get().body)
        threading.Thread(target=work).start()
    """,
    "the last calls of all": """
        import atexit
        bus = Bus()
        queue = bus.queue("q")
        def last():
            try:
                queue.get(timeout=0.01)
            except TimeoutError:
                queue.put("closed", delay=0.01)
                threading.Event().wait(0.05)
                print(queue.get(timeout=30).body)
        atexit.register(last)
    """,
    "a bus of a forked child": """
        import os
        bus = Bus()
        def wait(bus, told):
            try:
                bus.queue("q").get()
            except ClosedError:
                print(told, flush=True)
        threading.Thread(target=wait, args=(bus, "closed")).start()
        while not len(bus.queue("q")._state.getters):
            pass
        import warnings
        warnings.simplefilter("ignore")
        child = os.fork()
        if child:
            assert os.waitpid(child, 0)[1] == 0
        else:
            threading.Thread(target=wait, args=(Bus(), "")).start()
    """,
    "what is out and what is reserved is let go": """
        bus = Bus()
        queue = bus.queue("q")
        queue.put_many([1, 2, 3])
        consumer = queue.consume(prefetch=2).__enter__()
        delivery = next(consumer)
        print("closed")
    """,
}


def run(program: str) -> subprocess.CompletedProcess[str]:
    lines = [line[8:] for line in program.splitlines()]
    head = "import threading\nfrom eventbus import ClosedError, Policy\nfrom eventbus.blocking import Bus\n"
    return subprocess.run(
        [sys.executable, "-c", head + "\n".join(lines)], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_a_forgotten_close_does_not_keep_the_interpreter_from_ending(program: str) -> None:
    done = run(program)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "closed", "")


def test_ctrl_c_in_a_waiting_script_ends_it_with_one_traceback() -> None:
    done = run("""
        import signal
        threading.Timer(0.2, lambda: signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)).start()
        with Bus() as bus:
            bus.queue("q").get()
    """)
    assert done.returncode != 0
    assert done.stderr.count("Traceback") == 1
    assert done.stderr.rstrip().endswith("KeyboardInterrupt")


def test_threads_that_first_sleep_at_the_same_time_are_all_watched() -> None:
    coming, watched = threading.Event(), list[bool]()
    begun = threading.Event()

    class Slow(LastOrders):
        def _register(self) -> None:
            begun.set()
            coming.wait(20)

    orders, bus = Slow(), Bus()
    sleepers = [threading.Thread(target=lambda: watched.append(orders.watch(bus._threads))) for _ in range(2)]
    sleepers[0].start()
    assert begun.wait(20)
    sleepers[1].start()
    sleepers[1].join(0.05)  # it would not wait, and be told that it is too late
    coming.set()
    for sleeper in sleepers:
        sleeper.join(20)
    orders.end()
    assert watched == [True, True]


def test_last_orders_close_what_is_watched() -> None:
    bus = Bus()
    orders = LastOrders()
    orders.watched.add(bus._threads)
    orders.close_all()
    with pytest.raises(ClosedError):
        bus.queue("q")


def test_at_the_end_whoever_sleeps_is_woken_and_whoever_works_is_not() -> None:
    bus = Bus()
    queue = bus.queue("q")
    orders = LastOrders()
    orders.watched.add(bus._threads)
    busy, ends = threading.Event(), list[str]()

    def wait() -> None:
        with pytest.raises(ClosedError):
            queue.get()
        ends.append("woken")

    threads = [threading.Thread(target=wait), threading.Thread(target=busy.wait)]
    for thread in threads:
        thread.start()
    orders.ending.set()
    server = threading.Thread(target=orders._serve, daemon=True)
    server.start()
    threading.Event().wait(0.15)
    assert ends == []
    busy.set()
    for thread in (*threads, server):
        thread.join(30)
        assert not thread.is_alive()
    assert ends == ["woken"]


def test_an_abandoned_bus_says_whose_it_is() -> None:
    bus = Bus()
    queue = bus.queue("q")
    queue.put(1)
    delivery = queue.get()
    bus._engine.abandon()
    for call in (lambda: queue.put(3), queue.get, delivery.ack, bus.stats):
        with pytest.raises(ClosedError, match="belongs to the process that this one was forked from"):
            call()
    assert not bus._engine.errands


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_after_a_fork_the_childs_bus_is_dead_and_says_so() -> None:
    with Bus() as bus:
        queue = bus.queue("q")
        queue.put_many([1, 2])
        delivery = queue.get()
        waiter = threading.Thread(target=lambda: bus.queue("other").get(), daemon=True)
        waiter.start()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # 3.12: the process has threads
            child = os.fork()
        if not child:  # pragma: no cover
            status = 1
            try:
                for call in (lambda: queue.put(3), queue.get, delivery.ack, delivery.nack, bus.stats, bus.join):
                    with pytest.raises(ClosedError, match="belongs to the process that this one was forked from"):
                        call()
                with Bus() as own:
                    own.queue("q").put(1)
                    own.queue("q").get().ack()
                bus.close()
                status = 0
            finally:
                os._exit(status)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        delivery.ack()
        queue.get().ack()
        bus.queue("other").put(1)
        waiter.join(30)
        assert not waiter.is_alive()
