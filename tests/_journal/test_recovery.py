"""What a restart brings back, and what is declared otherwise than it was written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from eventbus import (
    EARLIEST,
    LATEST,
    Backoff,
    CodecError,
    DeclarationError,
    Fifo,
    JournalError,
    Keyed,
    Overflow,
    Policy,
    Priority,
    Retry,
    blocking,
    murmur2,
)
from eventbus._core import depot
from tests.kit.clock import ManualClock
from tests.kit.journals import check, drain
from tests.scenarios.conservation import intact


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shop.db"


@pytest.fixture(params=["declared before", "declared after"])
def early(request: pytest.FixtureRequest) -> bool:
    return request.param == "declared before"


@contextmanager
def opened(path: Path, clock: ManualClock | None = None, **options: Any) -> Iterator[blocking.Bus]:
    with blocking.Bus(journal=path, clock=clock, **options) as bus:
        yield bus
        check(bus)


def bodies(queue: Any) -> list[Any]:
    return [body for _, body in drain(queue)]


def test_a_delay_survives(path: Path, clock: ManualClock) -> None:
    with opened(path, clock) as bus:
        bus.queue("jobs").put("later", delay=60)
        bus.queue("jobs").put("now")
        bus.topic("orders").subscription("all", Policy(Keyed()))
        bus.topic("orders").publish("later", key="k", delay=60)
    clock.advance(30)
    with opened(path, clock) as bus:
        jobs, orders = bus.queue("jobs"), bus.queue("orders/all")
        assert bodies(jobs) == ["now"]
        assert jobs.stats().delayed == 1
        assert orders.stats().ready + orders.stats().delayed == 1
        clock.advance(30)
        assert bodies(jobs) == bodies(orders) == ["later"]
    with opened(path, clock) as bus:
        assert bus.queue("jobs").stats().published == 0


def test_a_delayed_message_that_was_withdrawn_stays_away(path: Path, clock: ManualClock) -> None:
    for policy in (Policy(), Policy(Priority())):
        name = str(policy.order)
        with opened(path, clock) as bus:
            queue = bus.queue(name, policy)
            offset = queue.put("later", delay=60)
            assert queue.cancel(offset)
            queue.put("purged", delay=60)
            queue.purge()
        with opened(path, clock) as bus:
            assert bus.queue(name).stats().published == 0
            clock.advance(60)
            assert bodies(bus.queue(name)) == []
            assert bus.query("SELECT * FROM eventbus_states") == []


def test_what_a_full_queue_turned_away_stays_away(path: Path) -> None:
    policy = Policy(capacity=1, overflow=Overflow.DROP_NEWEST)
    with opened(path) as bus:
        queue = bus.queue("jobs", policy)
        queue.put("first")
        queue.put("too much")
        assert queue.stats().dropped == 1
    with opened(path) as bus:
        assert bodies(bus.queue("jobs", policy)) == ["first"]


def test_a_retry_survives_with_its_history(path: Path, clock: ManualClock) -> None:
    policy = Policy(retry=Retry(3, Backoff(60.0, jitter=0.0)))
    with opened(path, clock) as bus:
        queue = bus.queue("jobs", policy)
        queue.put("one")
        queue.get(timeout=30).nack(error=ValueError("first \udcff"))
    with opened(path, clock) as bus:
        queue = bus.queue("jobs", policy)
        while not queue.stats().delayed:
            bus.flush()
        clock.advance(60)
        delivery = queue.get(timeout=30)
        assert (delivery.attempt, delivery.failures, delivery.redelivered) == (2, 1, True)
        delivery.nack(error="second")
    clock.advance(300)
    with opened(path, clock) as bus:
        delivery = bus.queue("jobs", policy).get(timeout=30)
        assert (delivery.attempt, delivery.failures) == (3, 2)
        delivery.nack(error="third \udcff")
    with opened(path, clock) as bus:
        letter = bus.dead_letters.get(timeout=30)
        (death,) = letter.message.deaths
        assert (death.queue, death.reason, death.attempts, death.error) == ("jobs", "failed", 3, "third \\udcff")
        assert bodies(bus.queue("jobs")) == []
        letter.release()
        bus.dead_letters.redrive()
    with opened(path, clock) as bus:
        delivery = bus.queue("jobs", policy).get(timeout=30)
        assert (delivery.body, delivery.attempt, len(delivery.message.deaths)) == ("one", 1, 1)
        assert bodies(bus.dead_letters) == []
        delivery.reject("again")
    with opened(path, clock) as bus:
        (letter,) = bus.dead_letters.peek(1) or [bus.dead_letters.get(timeout=30).message]
        assert [death.error for death in letter.deaths] == ["third \\udcff", "again"]


@pytest.mark.parametrize("order", [Keyed(), Keyed(partitions=4), Keyed(partitions=4, sticky=True)], ids=str)
def test_a_lane_waits_for_its_retry_over_a_restart(path: Path, clock: ManualClock, order: Keyed) -> None:
    policy = Policy(order, retry=Retry(3, Backoff(60.0, jitter=0.0)))
    with opened(path, clock) as bus:
        queue = bus.queue("jobs", policy)
        queue.put_many(["a1", "a2"], key="a")
        with queue.consume() as consumer:
            next(iter(consumer)).nack(error="busy")
        queue.put("b1", key="b")
    clock.advance(50)
    with opened(path, clock) as bus:
        queue = bus.queue("jobs", policy)
        while not queue.stats().delayed:
            bus.flush()
        with queue.consume() as consumer:
            deliveries = iter(consumer)
            next(deliveries).ack()
            stats = queue.stats()
            assert (stats.acked, stats.ready, stats.delayed) == (1, 1, 1)
            clock.advance(10)
            for body, attempt in (("a1", 2), ("a2", 1)):
                delivery = next(deliveries)
                assert (delivery.body, delivery.attempt) == (body, attempt)
                intact(bus)
                delivery.ack()


def test_what_was_out_comes_again_in_its_place(path: Path) -> None:
    for policy in (Policy(), Policy(Priority()), Policy(Keyed())):
        name = str(policy.order)
        with opened(path) as bus:
            queue = bus.queue(name, policy)
            for n in range(6):
                queue.put(n, key="k")
            first = queue.get(timeout=30)
            if policy.order != Keyed():
                queue.get(timeout=30).ack()
            bus.flush()
            assert first.body == 0
        with opened(path) as bus:
            assert bodies(bus.queue(name)) == ([0, 2, 3, 4, 5] if policy.order != Keyed() else [0, 1, 2, 3, 4, 5])


def test_settled_above_the_mark(path: Path) -> None:
    with opened(path) as bus:
        queue = bus.queue("jobs")
        queue.put_many(range(10))
        deliveries = [queue.get(timeout=30) for _ in range(10)]
        for n in (1, 3, 4, 8):
            deliveries[n].ack()
        bus.flush()
        assert bus.query("SELECT offset FROM eventbus_settled") == [(2,), (4,), (5,), (9,)]
        deliveries[0].ack()
        bus.flush()
        assert bus.query("SELECT mark FROM eventbus_queues WHERE name = 'jobs'") == [(2,)]
        assert bus.query("SELECT offset FROM eventbus_settled") == [(4,), (5,), (9,)]
    with opened(path) as bus:
        assert bodies(bus.queue("jobs")) == [2, 5, 6, 7, 9]


# subscriptions that nobody has declared yet


def test_a_dormant_subscription_misses_nothing(path: Path) -> None:
    with opened(path) as bus:
        bus.subscription("plain", "orders.new")
        bus.subscription("pattern", ["orders.*", "#.late"], Policy(Priority()))
        bus.subscription("some", "orders.*", Policy(Keyed()), where="body.n > 1 and headers['a'] in ('x', 'y')")
        bus.subscription("own", "orders.#", where=lambda message: message.body["n"] % 2 == 0)
    for run in range(2):  # two runs of a program that knows none of them
        with opened(path) as bus:
            for topic in ("orders.new", "orders.old", "others.late", "others.early"):
                for n in range(3):
                    bus.topic(topic).publish({"n": n, "run": run}, key=f"k{n}", headers={"a": "xyz"[n]})
    with opened(path) as bus:
        assert [b["n"] for b in bodies(bus.subscription("plain", "orders.new"))] == [0, 1, 2] * 2
        assert len(bodies(bus.subscription("pattern", ["orders.*", "#.late"]))) == 18
        some = bus.subscription("some", "orders.*", where="body.n > 1 and headers['a'] in ('x', 'y')")
        assert bodies(some) == []
        own = bus.subscription("own", "orders.#", where=lambda message: message.body["n"] % 2 == 0)
        assert [b["n"] for b in bodies(own)] == [0, 2, 0, 2] * 2


def test_its_filter_as_text_is_in_force_while_it_is_dormant(path: Path) -> None:
    with opened(path) as bus:
        bus.subscription("big", "orders", where="body >= 5")
    with opened(path) as bus:
        for n in range(10):
            bus.topic("orders").publish(n)
        assert bus.stats().queues["big"].ready == 5
    with opened(path) as bus:
        assert bodies(bus.subscription("big", "orders", where="body >= 5")) == [5, 6, 7, 8, 9]


def test_a_filter_that_changed_applies_to_what_was_not_delivered(path: Path, early: bool) -> None:
    for policy in (Policy(), Policy(Priority())):
        name = str(policy.order)
        with opened(path) as bus:
            bus.subscription(name, "orders", policy, where="body >= 5")
            for n in range(10):
                bus.topic("orders").publish(n)
        bus = blocking.Bus(journal=path)
        if early:
            queue = bus.subscription(name, "orders", policy, where="body >= 5 and body != 7")
        with bus:
            if not early:
                queue = bus.subscription(name, "orders", policy, where="body >= 5 and body != 7")
            for n in range(10, 12):
                bus.topic("orders").publish(n)
            assert bodies(queue) == [5, 6, 8, 9, 10, 11]
            check(bus)
            assert queue.stats().ready == 0
        with opened(path) as bus:
            assert bodies(bus.queue(name)) == []


def test_another_binding_is_in_force(path: Path) -> None:
    with opened(path) as bus:
        queue = bus.queue("jobs")
        queue.bind("orders", where="body > 1")
        queue.bind("others")
    with opened(path) as bus:
        bus.topic("orders").publish(1)
        bus.topic("orders").publish(2)
        bus.topic("others").publish(3)
        bus.queue("jobs").unbind("others")
    with opened(path) as bus:
        bus.topic("others").publish(4)
        queue = bus.queue("jobs")
        assert bodies(queue) == [2, 3]
        queue.put("sent to it")
    with opened(path) as bus:
        assert bodies(bus.queue("jobs")) == ["sent to it"]


def test_an_end_is_an_end(path: Path, clock: ManualClock) -> None:
    with opened(path, clock) as bus:
        for policy in (Policy(), Policy(Priority())):
            queue = bus.subscription(f"s{policy.order}", "orders", policy)
            for n in range(5):
                bus.topic("orders").publish(n, delay=n or None)
            queue.get(timeout=30).nack(delay=9)
            queue.unsubscribe()
        bus.topic("orders").publish(9)
        bus.flush()
        for table in ("settled", "unsettled", "states", "bindings", "queues"):
            assert bus.query(f"SELECT count(*) FROM eventbus_{table}") == [(0,)]
    with opened(path, clock) as bus:
        assert not bus.stats().queues
        again = bus.subscription("sFifo()", "orders")
        bus.topic("orders").publish(10)
        assert bodies(again) == [10]


# policies that changed

TWO = [Fifo(), Priority(), Keyed(), Keyed(partitions=3), Keyed(partitions=3, partitioner=murmur2)]
OWN = Keyed(partitions=3, partitioner=lambda key: len(key or b""))
FAULTY = Keyed(partitions=3, partitioner=lambda key: 1 // 0)


def test_an_order_that_changed_puts_all_on_other_shelves(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(depot, "WINDOW", 512)
    from eventbus._journal import recovery

    monkeypatch.setattr(recovery, "PAGE", 50)
    total = 900
    with opened(path) as bus:
        queue = bus.queue("jobs", Policy(TWO[0], capacity=None))
        for n in range(total):
            queue.put_nowait([n, n % 3], key="abc"[n % 3], priority=n % 3)
        bus.flush()
    left = {(n, n % 3) for n in range(total)}
    for order in [*TWO, OWN, OWN, Priority(), Fifo(), Keyed(), Fifo()]:
        bus = blocking.Bus(journal=path)
        queue = bus.queue("jobs", Policy(order, capacity=None))
        with bus:
            check(bus)
            assert queue.stats().ready == len(left)
            came = []
            for _ in range(40):
                with queue.get(timeout=30) as delivery:
                    came.append(tuple(delivery.body))
                check(bus)
            assert len(set(came)) == 40
            assert set(came) <= left
            if isinstance(order, Keyed):
                for lane in range(3):
                    of_lane = [n for n, key in came if key == lane]
                    assert of_lane == sorted(n for n, key in left if key == lane)[: len(of_lane)]
            elif order == Fifo():
                assert came == sorted(left)[:40]
            else:
                assert came == sorted(left, key=lambda body: (-body[1], body[0]))[:40]
            left -= set(came)
    with opened(path) as bus:
        assert {tuple(body) for body in bodies(bus.queue("jobs"))} == left


def test_a_partitioner_that_fails_is_said_and_loses_nothing(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with opened(path) as bus:
        bus.queue("jobs").put_many(range(3), key="k")
    bus = blocking.Bus(journal=path)
    queue = bus.queue("jobs", Policy(FAULTY))
    with bus:
        assert sorted(bodies(queue)) == [0, 1, 2]
    assert "partitioner of queue 'jobs' failed" in caplog.text


def test_an_order_that_changed_after_a_bus_was_opened_is_refused(path: Path) -> None:
    with opened(path) as bus:
        bus.queue("jobs").put(1)
    with opened(path) as bus, pytest.raises(DeclarationError, match="declare it before you enter the bus"):
        bus.queue("jobs", Policy(Priority()))


def test_every_part_of_a_policy_is_remembered(path: Path) -> None:
    policies = [
        Policy(
            Keyed(partitions=3, sticky=True, partitioner=murmur2),
            5,
            Overflow.DROP_OLDEST,
            retry=Retry(None, Backoff(1.0, 3.0, 9.0, 0.5)),
            dead_letter=None,
            lease=7.0,
            ttl=8.0,
            dedup=9.0,
        ),
        Policy(Priority(), None, Overflow.FAIL, retry=Retry(7), dead_letter="graves", single_active=True),
        Policy(),
    ]
    with opened(path) as bus:
        for n, policy in enumerate(policies):
            bus.queue(f"q{n}", policy)
    with opened(path) as bus:
        for n, policy in enumerate(policies):
            assert bus.queue(f"q{n}").policy == policy
            bus.queue(f"q{n}", policy)


def test_a_queue_that_is_durable_no_longer_leaves_what_it_had(path: Path) -> None:
    with opened(path) as bus:
        bus.queue("jobs").put(1)
    bus = blocking.Bus(journal=path)
    queue = bus.queue("jobs", Policy(durable=False))
    with bus:
        queue.put(2)
        assert bodies(queue) == [2]
        check(bus)
    with opened(path) as bus:
        assert bodies(bus.queue("jobs")) == [1]


# positions


@pytest.mark.parametrize("order", [Fifo(), Priority(), Keyed()], ids=str)
def test_a_subscription_begins_where_it_was_told_to(  # noqa: C901
    path: Path, clock: ManualClock, order: Any, early: bool
) -> None:
    with opened(path, clock) as bus:
        for n in range(6):
            bus.topic("orders").publish(n, key="k")
            clock.advance(10)
    starts: dict[str, tuple[Any, list[int]]] = {
        "earliest": (EARLIEST, [0, 1, 2, 3, 4, 5, 6]),
        "latest": (LATEST, [6]),
        "offset": (4, [3, 4, 5, 6]),
        "beyond": (99, [6]),
        "time": (datetime.fromtimestamp(1_000_000_000.0 + 15, UTC), [2, 3, 4, 5, 6]),
        "future": (datetime.fromtimestamp(2_000_000_000.0, UTC), [6]),
    }
    bus = blocking.Bus(journal=path, clock=clock)
    if early:
        for name, (start, _) in starts.items():
            bus.subscription(name, "orders", Policy(order), start=start)
    with bus:
        for name, (start, _) in starts.items():
            if not early:
                bus.subscription(name, "orders", Policy(order), start=start)
        bus.topic("orders").publish(6, key="k")
        for name, (_, wanted) in starts.items():
            queue = bus.queue(name)
            check(bus)
            first = queue.get(timeout=30)
            assert first.body == wanted[0], name
            first.ack()
    bus = blocking.Bus(journal=path, clock=clock)
    if early:
        for name, (start, _) in starts.items():  # it began long ago
            bus.subscription(name, "orders", Policy(order), start=start)
    with bus:
        for name, (start, wanted) in starts.items():
            if not early:
                bus.subscription(name, "orders", Policy(order), start=start)
            assert sorted(bodies(bus.queue(name))) == wanted[1:], name
            check(bus)


@pytest.mark.parametrize("order", [Fifo(), Priority(), Keyed()], ids=str)
def test_a_seek_finds_what_is_kept_by_the_filter_of_now(path: Path, clock: ManualClock, order: Any) -> None:
    with opened(path, clock) as bus:
        queue = bus.subscription("odd", ["orders", "others"], Policy(order), where="body != 3")
        for n in range(8):
            bus.topic("orders" if n % 2 else "others").publish(n)
            clock.advance(10)
        bus.topic("never").publish(99)
        out = [queue.get(timeout=30) for _ in range(2)]
        out[0].ack()
        queue.seek(EARLIEST)
        check(bus)
        assert sorted(bodies(queue)) == [0, 1, 2, 4, 5, 6, 7]
        queue.seek(6)
        assert sorted(bodies(queue)) == [5, 6, 7]
        queue.seek(datetime.fromtimestamp(1_000_000_000.0 + 65, UTC))
        assert sorted(bodies(queue)) == [7]
        queue.seek(LATEST)
        assert bodies(queue) == []
        queue.seek(5)
        with queue.get(timeout=30):
            pass
        bus.topic("orders").publish(8)
    with opened(path, clock) as bus:
        assert sorted(bodies(bus.queue("odd"))) == [5, 6, 7, 8]
        bus.queue("odd")
    bus = blocking.Bus(journal=path, clock=clock)
    queue = bus.subscription("odd", ["orders", "others"], Policy(order), where="body > 6")
    with bus:
        queue.seek(EARLIEST)
        assert sorted(bodies(queue)) == [7, 8]
        check(bus)


@pytest.mark.parametrize("order", [Fifo(), Priority(), Keyed()], ids=str)
def test_a_seek_goes_back_over_thousands(path: Path, order: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(depot, "WINDOW", 256)
    total = 3000
    with opened(path) as bus:
        queue = bus.subscription("all", "orders", Policy(order, capacity=None))
        bus.topic("orders").publish_many(range(total))
        queue.purge()
        assert queue.stats().ready == 0
        queue.seek(EARLIEST)
        assert queue.stats().ready == total
        check(bus)
        assert sorted(bodies(queue)) == list(range(total))
        queue.seek(EARLIEST)
        queue.get(timeout=30).ack()
    with opened(path) as bus:
        queue = bus.queue("all")
        assert len(bodies(queue)) == total - 1


def test_a_seek_twice_and_a_seek_of_what_ends(path: Path) -> None:
    with opened(path) as bus:
        queue = bus.subscription("all", "orders")
        bus.topic("orders").publish_many(range(50))
        queue.seek(10)
        queue.seek(EARLIEST)
        assert bodies(queue) == list(range(50))
        queue.unsubscribe()


def test_a_purge_takes_what_was_not_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(depot, "WINDOW", 256)
    for order in (Fifo(), Priority(), Keyed()):
        name = str(order)
        with opened(path) as bus:
            queue = bus.queue(name, Policy(order, capacity=None))
            queue.put_many(range(2000), key="k", priority=1)
            queue.put_many(range(2000), key="l")
            held = queue.get(timeout=30)
            assert queue.stats().lag
            assert queue.purge() == 3999
            check(bus)
            queue.put("after", key="k")
            bus.flush()
            check(bus)
            assert held.body == 0
        with opened(path) as bus:
            assert bodies(bus.queue(name)) == [0, "after"]
            bus.queue(name).put_many(range(500))
        with opened(path) as bus:
            assert bus.stats().queues[name].lag == 500
            assert bus.queue(name).purge() == 500
        with opened(path) as bus:
            assert bodies(bus.queue(name)) == []


# what cannot be read


def test_what_can_be_decoded_no_longer_dies_with_its_bytes(path: Path) -> None:
    with opened(path) as bus:
        bus.queue("jobs").put({"a": 1})
        bus.queue("jobs").put(7)
        bus.topic("orders").publish("x")
    with opened(path) as bus:
        queue = bus.queue("jobs", type=int)
        assert bodies(queue) == [7]
        (letter,) = [bus.dead_letters.get(timeout=30).message]
        assert bytes(letter.body) == b'{"a":1}'
        assert letter.deaths[-1].reason == "rejected"
        with pytest.raises(CodecError):
            list(bus.topic("orders", type=int).replay())
    with opened(path) as bus:
        letter = bus.dead_letters.get(timeout=30).message
        assert bytes(letter.body) == b'{"a":1}' if not isinstance(letter.body, dict) else letter.body == {"a": 1}


def test_an_id_is_known_again_in_one_life(path: Path) -> None:
    with opened(path) as bus:
        queue = bus.queue("jobs", Policy(dedup=60.0))
        first = queue.put(1, id="one")
        assert queue.put(2, id="one") == first
        assert queue.put_nowait(3, id="two") == queue.put(4, id="two")
        topic = bus.topic("orders", dedup=60.0)
        topic.subscription("all")
        with bus.transaction() as tx:
            tx.publish(topic, 1, id="three")
            tx.publish(topic, 2, id="three")
        assert bodies(bus.queue("orders/all")) == [1]
    with opened(path) as bus:
        assert bodies(bus.queue("jobs")) == [1, 3]


@pytest.mark.parametrize("bad", [{"key": "\ud800"}, {"id": "\ud800"}, {"priority": 1 << 63}])
def test_what_the_file_cannot_have_fails_alone_and_before_it_is_written(path: Path, bad: dict[str, Any]) -> None:
    with opened(path) as bus:
        queue = bus.queue("jobs")
        with pytest.raises(ValueError, match="takes"):
            queue.put(1, **bad)
        with pytest.raises(ValueError, match="takes"):
            queue.put_many([1, 2], **bad)
        with pytest.raises(CodecError):
            queue.put(1, headers={"a": object()})
        with pytest.raises(CodecError):
            queue.put(object())
        queue.put(2, key="größer", id="größer", headers={"größer": "€"})
        assert bodies(queue) == [2]


def test_a_read_of_what_is_no_journal(tmp_path: Path) -> None:
    from eventbus._journal.schema import connect_to_read

    with pytest.raises(JournalError, match="there is no journal"):
        connect_to_read(str(tmp_path / "none"))
    (tmp_path / "empty").touch()
    with pytest.raises(JournalError, match="is an empty file"):
        connect_to_read(str(tmp_path / "empty"))
