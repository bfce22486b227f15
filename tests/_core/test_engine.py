"""The engine as a whole: declared names, one row of offsets, errands left for later, loops that ended, the end."""

from __future__ import annotations

from typing import Any

import pytest

from eventbus import ClosedError, DeclarationError, Delivery, Overflow, Policy, Priority
from eventbus._core.consumer import Holder
from eventbus._core.engine import Engine
from eventbus._core.errands import run_errands
from eventbus._core.waiting import Waiter


class Sleeper(Waiter):
    """A parked call that counts its wakes."""

    def __init__(self, home: str = "home", party: object = None) -> None:
        super().__init__(home)
        self.wakes = 0
        self.begin(party, None)

    def run(self) -> None:
        self.wakes += 1


@pytest.fixture
def engine() -> Engine:
    return Engine(Delivery, lambda text, error: None)


def put(engine: Engine, name: str, body: Any = "b") -> int:
    return engine.declare_queue(name, None).put(body, None, 0, 0.0)


def test_a_queue_is_declared_once(engine: Engine) -> None:
    policy = Policy(Priority())
    queue = engine.declare_queue("q", policy)
    assert engine.declare_queue("q", None) is engine.declare_queue("q", Policy(Priority())) is queue
    with pytest.raises(DeclarationError, match="queue 'q' is declared with") as caught:
        engine.declare_queue("q", Policy())
    assert (caught.value.declared, caught.value.requested) == (policy, Policy())


def test_the_dead_letters_drop_unless_they_are_declared_otherwise(engine: Engine) -> None:
    assert engine.declare_queue("q", None).policy.overflow is Overflow.WAIT
    assert engine.declare_queue("dead-letters", None).policy.overflow is Overflow.DROP_OLDEST


def test_offsets_grow_over_all_queues(engine: Engine) -> None:
    assert [put(engine, name) for name in ("a", "b", "a")] == [1, 2, 3]
    engine.check()


def test_what_must_happen_outside_the_lock_is_left_as_an_errand(engine: Engine) -> None:
    queue = engine.declare_queue("q", None)
    sleeper = Sleeper()
    sleeper.begin("task", queue.receivers())
    assert queue.take_in_turn(queue.receivers(), sleeper) is None
    put(engine, "q")
    assert sleeper.wakes == 0
    run_errands(engine.errands)
    assert sleeper.wakes == 1
    engine.check()


def test_telling_leaves_nothing_to_do_while_nobody_watches(engine: Engine) -> None:
    engine.tell("dropped", "record", "q")
    engine.tell_each("settled", [], "ack")
    assert not engine.errands


def test_joining_waits_for_queues_that_have_a_consumer(engine: Engine) -> None:
    queue = engine.declare_queue("q", None)
    put(engine, "q")
    sleeper = Sleeper()
    assert engine.join(sleeper), "nobody consumes it"
    holder = Holder(queue, queue.getters)
    queue.attach(holder)
    assert not engine.join(sleeper)
    lease = queue.take_one(holder)
    assert lease is not None
    queue.ack_many([lease])
    run_errands(engine.errands)
    assert sleeper.wakes == 1
    assert engine.join(sleeper)
    engine.stop_joining(sleeper)
    engine.check()


def test_removing_ends_a_queue_once(engine: Engine) -> None:
    queue = engine.declare_queue("q", None)
    put(engine, "q")
    engine.remove(queue)
    assert queue.closed
    assert "q" not in engine.queues
    again = engine.declare_queue("q", None)
    engine.remove(queue)
    assert engine.queues["q"] is again
    with pytest.raises(ClosedError, match="queue 'q'"):
        queue.require_open()
    engine.check()


def test_a_loop_that_ended_leaves_every_line_and_its_consumers_end(engine: Engine) -> None:
    queue = engine.declare_queue("q", None)
    gone, stays = Holder(queue, queue.getters, home="ended"), Holder(queue, queue.getters, home="lives")
    sleepers = {home: Sleeper(home, f"task of {home}") for home in ("ended", "lives")}
    for holder in (gone, stays):
        queue.attach(holder)
        sleepers[holder.home].begin(f"task of {holder.home}", holder)  # type: ignore[index]
        assert queue.take_in_turn(holder, sleepers[holder.home]) is None  # type: ignore[index]
    engine.forsake("ended")
    assert list(queue.holders) == [stays]
    put(engine, "q")
    run_errands(engine.errands)
    assert (sleepers["ended"].wakes, sleepers["lives"].wakes) == (0, 1)
    engine.check()


def test_after_the_end_nothing_is_declared(engine: Engine) -> None:
    put(engine, "q")
    engine.close()
    engine.close()
    for call in (
        lambda: engine.declare_queue("q", None),
        lambda: engine.wiring.declare("t", None),
        lambda: engine.join(Sleeper()),
        engine.require_open,
        engine.queues["q"].require_open,
    ):
        with pytest.raises(ClosedError, match="the bus"):
            call()
    engine.remove(engine.queues["q"])
    engine.check()


def test_a_bus_that_is_closed_has_nothing_to_drain(engine: Engine) -> None:
    queue = engine.declare_queue("q", None)
    queue.retire(Holder(queue, queue.getters))  # has never been attached
    engine.close()
    assert engine.drained(Sleeper())
