"""Delays, leases, expiry and retries, on a clock that the test moves."""

from __future__ import annotations

import gc
import threading
import time
from typing import Any

import pytest

from eventbus import (
    Backoff,
    Bus,
    Clock,
    EmptyError,
    Fifo,
    FullError,
    Isolation,
    Keyed,
    Observer,
    Overflow,
    Policy,
    Priority,
    Retention,
    Retry,
    SettlementError,
    StaleDeliveryError,
    blocking,
)
from tests.kit import ManualClock
from tests.scenarios.conservation import intact

ORDERS = [Fifo(), Priority(), Keyed(), Keyed(partitions=3)]
ONE_SECOND = Retry(attempts=3, backoff=Backoff(first=1, factor=2, jitter=0))


class World:
    """A bus whose clock the test moves."""

    def __init__(self, **options: Any) -> None:
        self.clock = ManualClock()
        self.bus: Any = blocking.Bus(clock=self.clock, **options)

    def after(self, seconds: float) -> None:
        self.clock.advance(seconds)
        intact(self.bus)

    def deaths(self) -> list[tuple[Any, str, int]]:
        letters = self.bus.dead_letters.peek(1000)
        return [(letter.body, letter.deaths[-1].reason, letter.deaths[-1].attempts) for letter in letters]


def bodies(queue: Any) -> list[Any]:
    return [message.body for message in queue.peek(1000)]


@pytest.fixture
def world() -> World:
    return World()


# delays


@pytest.mark.parametrize("order", ORDERS, ids=repr)
def test_a_delayed_message_comes_when_it_is_due_at_its_original_place(world: World, order: Any) -> None:
    queue = world.bus.queue("q", Policy(order))
    queue.put("late", key="k", delay=10)
    queue.put("soon", key="k", delay=5)
    queue.put("now", key="k")
    assert (queue.stats().ready, queue.stats().delayed) == (1, 2)
    world.after(4.999)
    assert bodies(queue) == ["now"]
    world.after(0.001)
    assert bodies(queue) == ["soon", "now"]
    world.after(5)
    got = []
    for _ in range(3):
        with queue.get_nowait() as delivery:
            got.append(delivery.body)
    assert got == ["late", "soon", "now"]
    assert queue.stats().redelivered == 0


def test_a_delayed_message_wakes_who_waits(world: World) -> None:
    queue = world.bus.queue("q")
    queue.put("x", delay=5)
    got: list[Any] = []
    thread = threading.Thread(target=lambda: got.append(queue.get(timeout=10).body))
    thread.start()
    while not len(queue._state.getters.parked):
        time.sleep(0.001)
    world.after(5)
    thread.join(10)
    assert got == ["x"]


def test_a_delayed_message_can_be_withdrawn(world: World) -> None:
    queue = world.bus.queue("q")
    offset = queue.put("x", delay=5)
    assert queue.cancel(offset)
    assert not queue.cancel(offset)
    world.after(9)
    assert queue.stats().purged == 1
    assert bodies(queue) == []


def test_a_purge_takes_what_is_scheduled_too(world: World) -> None:
    queue = world.bus.queue("q")
    queue.put(1)
    queue.put(2, delay=5)
    assert queue.purge() == 2
    world.after(9)
    assert bodies(queue) == []


def test_a_delay_takes_no_room_and_always_fits_when_it_is_due(world: World) -> None:
    queue = world.bus.queue("q", Policy(capacity=1, overflow=Overflow.FAIL))
    queue.put(1, delay=5)
    queue.put(2)
    with pytest.raises(FullError):
        queue.put(3, delay=5)
    world.after(5)
    assert bodies(queue) == [1, 2]
    assert queue.stats().peak == 2


@pytest.mark.parametrize("delay", [0, 0.0, 3, 3.0, None], ids=repr)
@pytest.mark.parametrize("policy", [Policy(), Policy(Keyed()), Policy(Priority()), Policy(ttl=60)])
def test_a_delay_is_any_number_of_seconds(world: World, policy: Policy, delay: float | None) -> None:
    queue = world.bus.queue("q", policy)
    assert queue.put("x", "key", priority=2, delay=delay) == 1
    assert queue.stats().delayed == bool(delay)
    world.after(3)
    message = queue.get_nowait().message
    assert (message.body, message.key, message.priority, message.offset) == ("x", "key", 2, 1)
    assert message.expires == (policy.ttl and message.time + (delay or 0) + policy.ttl)


@pytest.mark.parametrize("delay", [True, "3", -1, float("inf"), float("nan")], ids=repr)
def test_what_is_no_delay_is_refused(world: World, delay: Any) -> None:
    queue = world.bus.queue("q")
    with pytest.raises((TypeError, ValueError), match="delay takes seconds"):
        queue.put("x", delay=delay)
    assert queue.stats().published == 0


def test_much_that_is_due_at_once_becomes_ready_in_slices(world: World) -> None:
    queue = world.bus.queue("q")
    for number in range(600):
        queue.put(number, delay=1 + number % 2)
    engine = world.bus._engine
    left = [600]
    while left[-1]:
        engine.fire(world.clock.monotonic() + 5, world.clock.time())
        engine.check()
        left.append(len(queue._state.delayed))
    assert left == [600, 600 - 256, 600 - 512, 0]
    assert bodies(queue) == list(range(600))
    queue.put(600)
    assert queue.stats().peak == 601
    for number in range(200):
        queue.get().ack()
        queue.get_nowait().release()
        with queue.get() as delivery:
            assert delivery.body == 2 * number + 1
        engine.check()
    assert queue.cancel(501)
    engine.check()
    assert bodies(queue) == [*range(400, 500), *range(501, 601)]


def test_so_it_is_with_many_queues_in_which_something_is_due(world: World) -> None:
    queues = [world.bus.queue(f"q{number}") for number in range(300)]
    for queue in queues:
        queue.put("x", delay=1)
    engine = world.bus._engine
    assert engine.fire(world.clock.monotonic() + 5, world.clock.time()) <= 0
    assert sum(len(queue._state.delayed) for queue in queues) == 300 - 256
    world.after(1)
    assert sum(queue.stats().ready for queue in queues) == 300


def test_a_topic_delays_for_all_its_queues(world: World) -> None:
    topic = world.bus.topic("t", retain=Retention(count=9))
    queues = [topic.subscription("a"), topic.subscription("b", Policy(Keyed()))]
    assert topic.publish_many([1, 2], delay=3, key="k") == [1, 2]
    assert topic.publish_nowait(3) == 3
    assert [bodies(queue) for queue in queues] == [[3], [3]]
    world.after(3)
    assert [bodies(queue) for queue in queues] == [[1, 2, 3], [1, 2, 3]]


def test_join_waits_for_what_is_delayed_and_until_empty_does_not(world: World) -> None:
    queue = world.bus.queue("q")
    queue.put(1, delay=5)
    with queue.consume(until_empty=True) as consumer:
        assert list(consumer) == []
    with pytest.raises(TimeoutError):
        queue.join(timeout=0)


def test_until_empty_waits_for_a_retry(world: World) -> None:
    queue = world.bus.queue("q", Policy(retry=ONE_SECOND))
    queue.put(1)
    with queue.consume(until_empty=True, timeout=0) as consumer:
        next(consumer).nack()
        with pytest.raises(TimeoutError):
            next(consumer)
        world.after(1)
        next(consumer).ack()
        assert list(consumer) == []


def test_the_end_lets_go_of_what_is_scheduled(world: World) -> None:
    queue = world.bus.queue("q", Policy(ttl=9, lease=9))
    queue.put(1, delay=5)
    queue.put(2)
    queue.get()
    world.bus.close()
    assert len(world.bus._engine.schedule) == 0
    assert len(world.bus._engine.calendar) == 0


# retries


def test_a_failure_waits_longer_each_time_and_the_last_is_dead(world: World) -> None:
    queue = world.bus.queue("q", Policy(retry=ONE_SECOND))
    queue.put("x")
    for wait in (1, 2):
        queue.get().nack(error=ValueError("no"))
        world.after(wait - 0.001)
        with pytest.raises(EmptyError):
            queue.get_nowait()
        world.after(0.001)
    queue.get().nack()
    assert world.deaths() == [("x", "failed", 3)]
    stats = queue.stats()
    assert (stats.failed, stats.dead, stats.redelivered) == (3, 1, 2)


def test_an_explicit_delay_wins(world: World) -> None:
    queue = world.bus.queue("q", Policy(retry=ONE_SECOND))
    queue.put("x")
    queue.get().nack(delay=0)
    queue.get().nack(delay=7)
    world.after(6.9)
    assert queue.stats().delayed == 1
    world.after(0.1)
    assert queue.get().failures == 2


def test_attempts_may_have_no_limit(world: World) -> None:
    queue = world.bus.queue("q", Policy(retry=Retry(attempts=None, backoff=Backoff(limit=2, jitter=0))))
    queue.put("x")
    for _ in range(2_000):
        queue.get().nack()
        world.clock.advance(2)
    assert queue.get().failures == 2_000


@pytest.mark.parametrize("order", [Keyed(), Keyed(partitions=3), Keyed(partitions=3, sticky=True)], ids=repr)
def test_a_lane_waits_with_its_message(world: World, order: Any) -> None:
    queue = world.bus.queue("q", Policy(order, retry=ONE_SECOND))
    with queue.consume(timeout=0) as consumer:
        queue.put_many([1, 2], key="k")
        first = next(consumer)
        first.nack()
        with pytest.raises(TimeoutError):
            next(consumer)
        world.after(1)
        got = []
        for _ in range(2):
            with next(consumer) as delivery:
                got.append(delivery.body)
    assert got == [1, 2]


def test_a_lane_goes_on_when_what_it_waits_for_is_withdrawn(world: World) -> None:
    queue = world.bus.queue("q", Policy(Keyed(), retry=ONE_SECOND))
    queue.put_many([1, 2], key="k")
    first = queue.get()
    first.nack()
    assert queue.cancel(first.offset)
    assert queue.get(timeout=1).body == 2


def test_a_backoff_grows_to_its_limit_and_is_jittered() -> None:
    plain = Backoff(first=0.5, factor=3, limit=10, jitter=0)
    assert [plain.after(n) for n in (1, 2, 3, 4, 5_000)] == [0.5, 1.5, 4.5, 10, 10]
    waits = {Backoff(first=1, jitter=0.5).after(1) for _ in range(50)}
    assert all(1 <= wait <= 1.5 for wait in waits)
    assert len(waits) > 1


# leases


@pytest.mark.parametrize("prefetch", [1, 4])
def test_a_lease_that_runs_out_is_a_failure(world: World, prefetch: int) -> None:
    queue = world.bus.queue("q", Policy(lease=10, retry=ONE_SECOND))
    queue.put_many([1, 2, 3])
    with queue.consume(prefetch, timeout=0) as consumer:
        late = next(consumer)
        assert late.body == 1
        world.after(9)
        fresh = next(consumer)
        world.after(1)
        with pytest.raises(StaleDeliveryError, match="lease"):
            late.ack()
        fresh.ack()
        next(consumer).ack()
        world.after(1)
        again = next(consumer)
        assert (again.body, again.attempt, again.failures) == (1, 2, 1)
        again.ack()
    assert queue.stats().failed == 1


def test_a_lease_can_be_extended(world: World) -> None:
    queue = world.bus.queue("q", Policy(lease=10))
    queue.put(1)
    delivery = queue.get()
    world.after(9)
    delivery.extend(5)
    world.after(4.9)
    assert not delivery.settled
    world.after(0.1)
    assert delivery.settled
    with pytest.raises(StaleDeliveryError):
        delivery.extend(5)


def test_only_what_is_out_can_be_extended(world: World) -> None:
    queue = world.bus.queue("q")
    queue.put(1)
    delivery = queue.get()
    delivery.extend(1)
    world.after(5)
    delivery.ack()
    with pytest.raises(SettlementError, match=r"extend\(\)"):
        delivery.extend(1)


def test_an_ack_in_time_ends_a_lease(world: World) -> None:
    queue = world.bus.queue("q", Policy(lease=10))
    queue.put_many([1, 2])
    kept = queue.get()
    kept.ack()
    queue.get().ack()  # and nobody keeps this one
    world.after(11)
    assert (queue.stats().failed, queue.stats().acked) == (0, 2)


def test_an_ack_after_others_ran_out_ends_a_lease_too(world: World) -> None:
    queue = world.bus.queue("q", Policy(lease=10, retry=Retry(attempts=1)))
    queue.put_many([1, 2])
    late = queue.get()
    world.after(5)
    kept = queue.get()
    world.after(5)
    assert world.deaths() == [(1, "failed", 1)]
    kept.ack()
    world.after(10)
    assert (queue.stats().failed, queue.stats().acked) == (1, 1)
    with pytest.raises(StaleDeliveryError):
        late.ack()


def test_a_lease_that_is_extended_after_others_ran_out_runs_on(world: World) -> None:
    queue = world.bus.queue("q", Policy(lease=10, retry=Retry(attempts=1)))
    queue.put_many([1, 2])
    queue.get()
    world.after(5)
    kept = queue.get()
    world.after(5)
    kept.extend(20)
    world.after(19)
    assert not kept.settled
    world.after(1)
    assert world.deaths() == [(1, "failed", 1), (2, "failed", 1)]


def test_a_message_that_is_delayed_expires_once_it_was_ready_for_long_enough(world: World) -> None:
    queue = world.bus.queue("q")
    queue.put("x", delay=10, ttl=5)
    assert queue.stats().delayed == 1
    world.after(14)
    assert queue.stats().ready == 1
    world.after(1)
    assert world.deaths() == [("x", "expired", 0)]


def test_many_leases_leave_no_litter(world: World) -> None:
    queue = world.bus.queue("q", Policy(lease=1_000, ttl=1_000))
    for number in range(5_000):
        queue.put(number)
        queue.get().ack()
    assert not queue._state.terms.known
    assert len(queue._state.expiry) == 0
    intact(world.bus)


# expiry


@pytest.mark.parametrize("order", ORDERS, ids=repr)
def test_a_message_expires_when_its_time_is_over_wherever_it_waits(world: World, order: Any) -> None:
    queue = world.bus.queue("q", Policy(order))
    queue.put_many(["a", "b"], key="k")
    queue.put("c", key="k", ttl=5)
    queue.put("d", key="k", ttl=5, delay=1)
    queue.put("e", key="k")
    world.after(4.9)
    assert "c" in bodies(queue)
    world.after(0.1)
    assert world.deaths() == [("c", "expired", 0)]
    world.after(1)
    assert world.deaths()[1:] == [("d", "expired", 0)]
    assert bodies(queue) == ["a", "b", "e"]
    assert world.bus.dead_letters.peek()[0].expires is None


@pytest.mark.parametrize("order", ORDERS, ids=repr)
def test_a_policy_lets_every_message_expire(world: World, order: Any) -> None:
    queue = world.bus.queue("q", Policy(order, ttl=5))
    queue.put(1, key="k")
    queue.put_many([2, 3], key="k")
    queue.put(4, key="k", delay=3)
    queue.put(5, key="k", ttl=1)
    assert queue.peek()[0].expires == world.clock.time() + 5
    world.after(1)
    assert bodies(queue) == [1, 2, 3]
    world.after(4)
    assert bodies(queue) == [4]
    world.after(3)
    assert bodies(queue) == []
    assert queue.stats().dead == 5


@pytest.mark.parametrize("order", ORDERS, ids=repr)
def test_of_what_expires_by_its_policy_each_has_its_own_time(world: World, order: Any) -> None:
    queue = world.bus.queue("q", Policy(order, ttl=10))
    for number in range(8):
        queue.put(number, key="k")
        world.after(3)
    assert [letter[0] for letter in world.deaths()] == [0, 1, 2, 3, 4]
    queue.put("own", ttl=1)
    queue.put("taken", key="t")
    with queue.consume(prefetch=9, timeout=0) as consumer:
        next(consumer)
        assert queue.stats().out == 1
        reserved = queue.stats().ready
        world.after(1)
        assert queue.stats().ready < reserved
    for _ in range(10):
        world.after(1)
    assert len(world.deaths()) == 10
    assert bodies(queue) == []


class Unwatched(Clock):
    """A clock that tells nobody when it leaps."""

    def __init__(self) -> None:
        self.now = 1.0

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now


@pytest.mark.parametrize("order", [Fifo(), Priority(), Keyed()], ids=repr)
def test_a_get_does_what_is_due_first(order: Any) -> None:
    clock = Unwatched()
    bus = blocking.Bus(clock=clock)
    queue = bus.queue("q", Policy(order, ttl=5, lease=5, retry=Retry(backoff=Backoff(first=0))))
    for body in ("taken", "too old", "also"):
        queue.put(body)
    assert queue.get().body == "taken"
    clock.now += 4
    queue.put("young")
    clock.now += 1
    assert (queue.get().body, queue.stats().dead) == ("young", 3)
    queue.put("again")
    first = queue.get()
    clock.now += 4.9
    assert not first.settled
    queue.put("more")
    assert queue.get().body == "more"
    first.release()
    again = queue.get()
    assert (again.body, again.redelivered) == ("again", True)
    bus.close()


@pytest.mark.parametrize("order", ORDERS, ids=repr)
def test_a_message_lives_no_longer_than_its_policy_allows(world: World, order: Any) -> None:
    topic = world.bus.topic("t", retain=Retention(count=9))
    queue = topic.subscription("s", Policy(order, ttl=2))
    queue.put(1, ttl=9)
    topic.publish(2, ttl=9)
    queue.put(3, ttl=9, delay=1)
    late = topic.subscription("late", Policy(order, ttl=2), start=1)
    assert [message.expires - world.clock.time() for message in queue.peek(9)] == [2, 2]
    world.after(2)
    assert (bodies(queue), bodies(late)) == ([3], [])
    world.after(1)
    assert bodies(queue) == []


def test_what_is_out_when_it_expires_dies_when_it_comes_back(world: World) -> None:
    queue = world.bus.queue("q", Policy(ttl=5))
    queue.put_many([1, 2])
    done, back = queue.get(), queue.get()
    assert back.message.expires == world.clock.time() + 5
    world.after(6)
    done.ack()
    back.release()
    assert world.deaths() == [(2, "expired", 1)]


def test_a_retry_may_expire_before_it_is_due(world: World) -> None:
    queue = world.bus.queue("q", Policy(Keyed(), ttl=5))
    queue.put_many([1, 2], key="k")
    world.after(4)
    queue.put(3, key="k")
    queue.get().nack(delay=60)
    world.after(1)
    assert sorted(world.deaths()) == [(1, "expired", 1), (2, "expired", 0)]
    assert queue.get(timeout=0).body == 3


def test_what_a_consumer_has_reserved_can_expire(world: World) -> None:
    queue = world.bus.queue("q", Policy(ttl=5))
    queue.put_many([1, 2, 3])
    with queue.consume(3, timeout=0) as consumer:
        next(consumer).ack()
        world.after(5)
        with pytest.raises(TimeoutError):
            next(consumer)
    assert queue.stats().dead == 2


def test_what_was_reserved_when_another_expired_holds_up_no_third(world: World) -> None:
    queue = world.bus.queue("q")
    for body, ttl in (("out", None), ("reserved", 30), ("first", 10), ("second", 20)):
        queue.put(body, ttl=ttl)
    with queue.consume(prefetch=2) as consumer:
        assert next(consumer).body == "out"
        world.after(10)
        world.after(10)
        assert world.deaths() == [("first", "expired", 0), ("second", "expired", 0)]


@pytest.mark.parametrize("order", ORDERS, ids=repr)
def test_a_great_many_that_came_back_expire_in_good_time(world: World, order: Any) -> None:
    """One by one, each in a search over all, they took minutes, and held the lock for most of it; a run ends before."""
    count = 20_000
    queue = world.bus.queue("q", Policy(order, dead_letter=None))
    for body in range(count):
        queue.put(body, key=str(body), priority=body % 10, ttl=1 + (body * 7919 % count) / count)
    queue.get_many(count).release()
    world.clock.advance(2)
    assert queue.stats().dead == count


def test_room_that_expiry_makes_wakes_a_publisher(world: World) -> None:
    queue = world.bus.queue("q", Policy(capacity=1))
    queue.put(1, ttl=5)
    thread = threading.Thread(target=queue.put, args=(2,))
    thread.start()
    while not queue.stats().waiting_putters:
        time.sleep(0.001)
    world.after(5)
    thread.join(10)
    assert bodies(queue) == [2]


def test_history_that_is_too_old_expires(world: World) -> None:
    topic = world.bus.topic("t", retain=Retention(count=9))
    topic.publish("old")
    world.after(6)
    topic.publish("new")
    subscription = topic.subscription("s", Policy(ttl=5), start=1)
    assert bodies(subscription) == ["new"]
    intact(world.bus)


@pytest.mark.parametrize("order", ORDERS, ids=repr)
def test_many_may_be_due_at_once(world: World, order: Any) -> None:
    queue = world.bus.queue("q", Policy(order, capacity=None))
    for number in range(700):
        queue.put(number, delay=5, key=str(number % 7))
        queue.put(number, ttl=5, key=str(number % 7))
    world.after(5)
    assert bodies(queue) == list(range(700))
    assert len(world.deaths()) == 700


# dead letters


def test_what_dies_among_the_dead_letters_stays_there(world: World) -> None:
    queue = world.bus.queue("q")
    queue.put("x")
    queue.get().reject("bad")
    for _ in range(3):
        world.bus.dead_letters.get().reject("worse")
    letter = world.bus.dead_letters.peek()[0]
    assert [death.queue for death in letter.deaths] == ["q", "dead-letters"]


def test_what_dies_in_a_dead_letter_queue_of_ones_own_stays_there_too(world: World) -> None:
    queue, graves = world.bus.queue("q", Policy(dead_letter="graves")), world.bus.queue("graves")
    queue.put("x")
    queue.get().reject("bad")
    for _ in range(3):
        graves.get().reject("worse")
    [letter] = graves.peek(9)
    assert [(death.queue, death.error) for death in letter.deaths] == [("q", "bad"), ("graves", "worse")]
    assert "dead-letters" not in world.bus.stats().queues
    graves.put("never died")
    assert graves.cancel(letter.offset)
    graves.get().reject()
    assert bodies(world.bus.dead_letters) == ["never died"], "for a message like any other it is a queue like any other"


def test_what_dies_in_a_dead_letter_queue_that_names_another_goes_on(world: World) -> None:
    queue, graves = (
        world.bus.queue(*pair) for pair in (("q", Policy(dead_letter="g")), ("g", Policy(dead_letter="h")))
    )
    queue.put("x")
    queue.get().reject()
    graves.get().reject()
    [letter] = world.bus.queue("h").peek(9)
    assert [death.queue for death in letter.deaths] == ["q", "g"]


def test_a_dead_letter_that_fails_again_where_it_was_put_back_is_dead_again(world: World) -> None:
    queue = world.bus.queue("q")
    queue.put("x")
    for _ in range(3):
        queue.get().reject()
        assert world.bus.dead_letters.redrive() == 1
    assert bodies(queue) == ["x"]
    assert [death.queue for death in queue.peek()[0].deaths] == ["q"] * 3


def test_a_ring_of_dead_letter_queues_ends(world: World) -> None:
    first = world.bus.queue("a", Policy(dead_letter="b"))
    second = world.bus.queue("b", Policy(dead_letter="a"))
    first.put("x")
    first.get().reject()
    second.get().reject()
    assert [len(q.peek(9)) for q in (first, second, world.bus.dead_letters)] == [0, 0, 1]


def test_a_ring_with_the_bus_s_own_dead_letters_ends_there(world: World) -> None:
    graves = world.bus.queue("dead-letters", Policy(dead_letter="a"))
    first = world.bus.queue("a")
    first.put("x")
    first.get().reject()
    graves.get().reject()
    assert bodies(graves) == ["x"]


# how the time goes by


def test_real_time_needs_no_loop_and_no_look() -> None:
    with blocking.Bus() as bus:
        queue = bus.queue("q", Policy(lease=0.01, retry=Retry(attempts=1)))
        queue.put("b", delay=0.03)
        queue.put("a", delay=0.01)
        assert queue.get(timeout=5).body == "a"
        assert queue.get(timeout=5).body == "b"
        assert {bus.dead_letters.get(timeout=5).body for _ in "ab"} == {"a", "b"}


@pytest.mark.anyio
async def test_real_time_wakes_tasks() -> None:
    async with Bus() as bus:
        queue = bus.queue("q", Policy(lease=60))
        await queue.put("x", delay=0.01)
        delivery = await queue.get()
        assert delivery.body == "x"
        delivery.nack(delay=0.01)
        async with queue.consume() as consumer:
            async for delivery in consumer:
                assert delivery.attempt == 2
                break


class Plain:
    """A clock of somebody else's, that tells nobody when it moves."""

    now = 1000.0

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now


def test_a_clock_of_one_s_own_is_looked_at() -> None:
    clock: Any = Plain()
    with blocking.Bus(clock=clock) as bus:
        queue = bus.queue("q", Policy(lease=50, ttl=1000))
        queue.put("x", delay=100)
        with pytest.raises(EmptyError):
            queue.get_nowait()
        clock.now += 100
        delivery = queue.get_nowait()
        clock.now += 51
        assert bus.stats().queues["q"].delayed + bus.stats().queues["q"].ready == 1
        assert delivery.settled
        clock.now += 1
        assert queue.get(timeout=5).attempt == 2


def test_a_forgotten_bus_takes_its_timer_with_it() -> None:
    bus = blocking.Bus()
    bus.queue("q").put("x", delay=3600)
    thread = bus._timers.thread
    assert thread is not None
    del bus
    for _ in range(500):
        gc.collect()  # the thread itself may hold it for a moment
        thread.join(0.01)
        if not thread.is_alive():
            return
    raise AssertionError("the timer of a forgotten bus goes on")


def test_a_clock_outlives_its_buses() -> None:
    clock = ManualClock()
    bus = blocking.Bus(clock=clock)
    del bus
    gc.collect()
    clock.advance(1)


def test_the_system_s_clock_never_leaps() -> None:
    Clock().watch(lambda: None)


class Ends(Observer):
    def __init__(self) -> None:
        self.outcomes: list[str] = []

    def settled(self, delivery: Any, outcome: str) -> None:
        self.outcomes.append(outcome)


def test_an_observer_is_told_of_a_lease_that_ran_out(world: World) -> None:
    world.bus.observe(ends := Ends())
    queue = world.bus.queue("q", Policy(lease=1))
    queue.put(1)
    queue.get()
    world.after(1)
    assert ends.outcomes == ["nack"]


def test_copies_are_made_for_what_is_delayed_too() -> None:
    world = World(isolation=Isolation.COPY)
    queue = world.bus.queue("q")
    body = [1]
    queue.put(body, delay=1)
    body.append(2)
    world.after(1)
    assert bodies(queue) == [[1]]


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"delay": -1}, ValueError, "delay takes seconds, at least 0"),
        ({"delay": "1"}, TypeError, "delay takes seconds"),
        ({"delay": float("nan")}, ValueError, "delay takes seconds"),
        ({"ttl": 0}, ValueError, "ttl takes seconds, more than 0"),
        ({"ttl": True}, TypeError, "ttl takes seconds"),
    ],
)
def test_a_wrong_time_says_so(world: World, options: Any, error: Any, text: str) -> None:
    with pytest.raises(error, match=text):
        world.bus.queue("q").put(1, **options)
    with pytest.raises(error, match=text):
        world.bus.topic("t").publish(1, **options)


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: Retry(attempts=0), ValueError, "Retry.attempts"),
        (lambda: Retry(backoff=1), TypeError, "Retry.backoff"),
        (lambda: Backoff(first=-1), ValueError, "Backoff.first"),
        (lambda: Backoff(factor=0.5), ValueError, "Backoff.factor takes a number of at least 1"),
        (lambda: Backoff(factor="2"), TypeError, "Backoff.factor"),
        (lambda: Backoff(jitter=2), ValueError, "at least 0 and at most 1"),
        (lambda: Policy(lease=0), ValueError, "Policy.lease takes seconds, more than 0, or None"),
        (lambda: Policy(ttl="1"), TypeError, "Policy.ttl"),
        (lambda: Policy(retry=None), TypeError, "Policy.retry"),
    ],
)
def test_a_wrong_policy_says_so(make: Any, error: Any, text: str) -> None:
    with pytest.raises(error, match=text):
        make()


def test_a_wrong_delay_settles_nothing(world: World) -> None:
    queue = world.bus.queue("q")
    queue.put(1)
    batch = queue.get_many(1)
    with pytest.raises(ValueError, match="delay"):
        batch[0].nack(delay=-1)
    with pytest.raises(ValueError, match="delay"):
        batch.nack(delay=-1)
    batch.nack(delay=3)
    assert queue.stats().delayed == 1
