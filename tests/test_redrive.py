"""Dead letters go back to where they died, and are in one place at every moment."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from eventbus import Bus, DeclarationError, FullError, Keyed, Overflow, Policy, blocking
from tests.kit import ManualClock
from tests.scenarios.conservation import intact


@pytest.fixture
def bus() -> Any:
    return blocking.Bus(clock=ManualClock())


def kill(queue: Any, *bodies: Any) -> None:
    for body in bodies:
        queue.put(body, key="k", headers={"h": 1}, id=f"id {body}")
        queue.get().reject()


def bodies(queue: Any) -> list[Any]:
    return [message.body for message in queue.peek(1000)]


@pytest.mark.parametrize("policy", [None, Policy(Keyed())], ids=["fifo", "keyed"])
def test_a_dead_letter_goes_back_to_the_tail_of_where_it_died(bus: Any, policy: Any) -> None:
    queue = bus.queue("q", policy)
    kill(queue, 1, 2)
    queue.put(3, key="k")
    assert bus.dead_letters.redrive() == 2
    assert bodies(queue) == [3, 1, 2]
    back = queue.peek(3)[1]
    assert (back.key, back.headers["h"], back.id, back.topic, len(back.deaths)) == ("k", 1, "id 1", "q", 1)
    assert (bus.dead_letters.stats().acked, bus.dead_letters.stats().ready) == (2, 0)
    intact(bus)


def test_what_died_again_among_the_dead_goes_back_to_where_it_died_first(bus: Any) -> None:
    queue = bus.queue("q")
    kill(queue, 1)
    bus.dead_letters.get().reject("not mine")
    assert [death.queue for death in bus.dead_letters.peek()[0].deaths] == ["q", "dead-letters"]
    assert bus.dead_letters.redrive() == 1
    assert (bodies(queue), bodies(bus.dead_letters)) == ([1], [])
    queue.get().reject()
    assert bodies(bus.dead_letters) == [1]
    intact(bus)


def test_of_a_queue_that_is_its_own_dead_letter_queue_nothing_is_moved(bus: Any) -> None:
    queue = bus.queue("q", Policy(dead_letter="q"))
    kill(queue, 1)
    assert queue.redrive() == 0
    assert bodies(queue) == [1]


def test_one_that_was_gone_does_not_count_towards_the_limit(bus: Any) -> None:
    queue = bus.queue("q")
    kill(queue, 1, 2, 3)

    def wants(message: Any) -> bool:
        if message.body == 2:
            assert bus.dead_letters.cancel(message.offset)
        return True

    assert bus.dead_letters.redrive(wants, limit=2) == 2
    assert (bodies(queue), bodies(bus.dead_letters)) == ([1, 3], [])
    intact(bus)


def test_a_filter_a_limit_and_another_queue(bus: Any) -> None:
    queue, other = bus.queue("q"), bus.queue("other")
    kill(queue, 1, 2, 3, 4)
    assert bus.dead_letters.redrive("body > 1", to="other", limit=2) == 2
    assert bodies(other) == [2, 3]
    assert bus.dead_letters.redrive(lambda message: message.body == 4, to=queue) == 1
    assert bodies(bus.dead_letters) == [1]
    intact(bus)


def test_what_has_nowhere_to_go_back_to_stays(bus: Any) -> None:
    gone = bus.topic("t").subscription("s")
    bus.topic("t").publish(1)
    gone.get().reject()
    gone.unsubscribe()
    bus.dead_letters.put("never died")
    assert bus.dead_letters.redrive() == 0
    assert bodies(bus.dead_letters) == [1, "never died"]


def test_it_is_known_by_its_id_and_goes_back_all_the_same(bus: Any) -> None:
    queue = bus.queue("q", Policy(dedup=60))
    kill(queue, 1)
    assert bus.dead_letters.redrive() == 1
    assert bodies(queue) == [1]


def test_a_full_queue_makes_it_wait_and_loses_nothing(bus: Any) -> None:
    queue = bus.queue("q", Policy(capacity=1))
    kill(queue, 1, 2)
    queue.put(0)
    with pytest.raises(TimeoutError):
        bus.dead_letters.redrive(timeout=0)
    assert (bodies(queue), bodies(bus.dead_letters)) == ([0], [1, 2])
    moved: list[int] = []
    thread = threading.Thread(target=lambda: moved.append(bus.dead_letters.redrive(limit=1, timeout=10)))
    thread.start()
    while not queue.stats().waiting_putters:
        pass
    queue.get().ack()
    thread.join(10)
    assert (moved, bodies(queue), bodies(bus.dead_letters)) == ([1], [1], [2])
    intact(bus)


def test_one_that_is_taken_meanwhile_is_not_moved(bus: Any) -> None:
    queue = bus.queue("q", Policy(capacity=1))
    kill(queue, 1)
    queue.put(0)
    moved: list[int] = []
    thread = threading.Thread(target=lambda: moved.append(bus.dead_letters.redrive(timeout=10)))
    thread.start()
    while not queue.stats().waiting_putters:
        pass
    bus.dead_letters.get().ack()
    queue.get().ack()
    thread.join(10)
    assert moved == [0]
    assert queue.stats().waiting_putters == 0
    intact(bus)


@pytest.mark.parametrize("policy", [Policy(), Policy(Keyed())], ids=["fifo", "keyed"])
def test_a_queue_that_fails_when_full_keeps_them_dead(bus: Any, policy: Any) -> None:
    graves = bus.queue("graves", policy)
    queue = bus.queue("q", Policy(capacity=1, overflow=Overflow.FAIL, dead_letter="graves"))
    kill(queue, 1, 2)
    with pytest.raises(FullError):
        graves.redrive()
    assert (bodies(queue), bodies(graves)) == ([1], [2])
    intact(bus)


def test_wrong_arguments_say_so(bus: Any) -> None:
    with pytest.raises(DeclarationError, match="no queue 'nowhere'"):
        bus.dead_letters.redrive(to="nowhere")
    with pytest.raises(DeclarationError, match="of another bus"):
        bus.dead_letters.redrive(to=blocking.Bus().queue("q"))
    with pytest.raises(TypeError, match="to takes a queue"):
        bus.dead_letters.redrive(to=7)
    with pytest.raises(ValueError, match="limit"):
        bus.dead_letters.redrive(limit=0)


@pytest.mark.anyio
async def test_tasks_redrive_too() -> None:
    async with Bus() as bus:
        queue = bus.queue("q")
        await queue.put(1)
        (await queue.get()).reject()
        assert await bus.dead_letters.redrive(to=queue) == 1
        assert (await queue.get()).body == 1


def test_who_joins_the_dead_letters_does_not_take_a_move_that_failed_for_the_end(bus: Any) -> None:
    queue = bus.queue("q", Policy(capacity=1))
    kill(queue, 1)
    queue.put(2)
    letters, ends = bus.dead_letters, list[int]()

    def join() -> None:
        letters.join(timeout=30)
        ends.append(letters.stats().ready)

    thread = threading.Thread(target=join)
    thread.start()
    while not len(letters._state.joiners):
        threading.Event().wait(0.001)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            letters.redrive(timeout=0)
    assert letters._state.joiners.parked
    letters.get().ack()
    thread.join(30)
    assert ends == [0]
    intact(bus)
