"""Which messages a queue has, whatever was bound, sought, put directly or declared otherwise meanwhile."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path
from typing import Any

import pytest

from eventbus import EARLIEST, LATEST, Fifo, Keyed, Policy, Priority, Retention, blocking
from eventbus._core import depot
from eventbus._journal import reading
from eventbus._journal.log import Log
from eventbus._journal.standing import standing_of
from eventbus.inspection.forms import body_of
from tests._journal.test_store import held
from tests.kit.journals import be_quiet, check, drain, writer_of

ORDERS = {"fifo": Fifo(), "priority": Priority(), "keyed": Keyed(), "partitions": Keyed(partitions=4)}
each_order = pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
each_change = pytest.mark.parametrize(("before", "after"), [*itertools.permutations(ORDERS, 2)])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shop.db"


def bodies(queue: Any) -> list[Any]:
    return [body for _, body in drain(queue)]


def unsettled(path: Path, name: str) -> int:
    """How many there are by the file."""
    return next(queue.unsettled for queue in standing_of(str(path), 0.0).queues if queue.name == name)


# bindings that come and go


def fill_two_topics(path: Path) -> None:
    with blocking.Bus(path) as bus:
        bus.topic("a").publish("a0")
        bus.topic("b").publish_many(range(5))


def settle_all_but_the_first(bus: blocking.Bus, order: Any) -> None:
    queue = bus.subscription("s", ["a", "b"], Policy(order), start=EARLIEST)
    first = queue.get(timeout=30)
    assert first.body == "a0"
    for _ in range(4):
        queue.get(timeout=30).ack()
    bus.flush()


@each_order
def test_what_was_settled_out_of_turn_stays_so_when_its_topic_is_unbound(path: Path, order: Any) -> None:
    fill_two_topics(path)
    with blocking.Bus(path) as bus:
        settle_all_but_the_first(bus, order)
        bus.queue("s").unbind("b")
    with blocking.Bus(path) as bus:
        check(bus)
        left = bodies(bus.queue("s"))  # what has arrived stays
        assert left[0] == "a0"
        assert len(left) == 2
        check(bus)


@each_order
def test_or_when_it_is_declared_without_it_next_time(path: Path, order: Any) -> None:
    fill_two_topics(path)
    with blocking.Bus(path) as bus:
        settle_all_but_the_first(bus, order)
    for _ in range(2):
        bus = blocking.Bus(path)
        queue = bus.subscription("s", ["a"], Policy(order), start=EARLIEST)
        with bus:
            assert queue.stats().ready + queue.stats().out == 2
            assert queue.get(timeout=30).body == "a0"
            check(bus)


@each_order
def test_a_topic_that_is_bound_later_brings_no_past(path: Path, order: Any) -> None:
    fill_two_topics(path)
    with blocking.Bus(path) as bus:
        queue = bus.subscription("s", ["a"], Policy(order), start=EARLIEST)
        queue.bind("b")
        bus.topic("b").publish("new")
    with blocking.Bus(path) as bus:
        assert sorted(bodies(bus.queue("s"))) == ["a0", "new"]
        check(bus)


def test_a_topic_that_is_bound_while_it_is_sought_brings_none_either(path: Path) -> None:
    fill_two_topics(path)
    with blocking.Bus(path) as bus:
        queue = bus.subscription("s", ["a"])
        with held(bus):
            seek = threading.Thread(target=queue.seek, args=(EARLIEST,))
            seek.start()
            while not queue._state.loading:
                threading.Event().wait(0.001)
            queue.bind("b")
        seek.join(30)
        queue.bind("none", where="key == 'x'")
    with blocking.Bus(path) as bus:  # and that it was sought is not forgotten by what was declared meanwhile
        assert bodies(bus.queue("s")) == ["a0"]
        check(bus)


def test_a_past_is_filtered_as_it_was_when_it_was_sought(path: Path) -> None:
    with blocking.Bus(path) as bus:
        bus.topic("a").publish_many(range(6))
        bus.topic("b").publish_many(range(6))
    with blocking.Bus(path) as bus:
        queue = bus.subscription("s", ["a", "b"], where="body >= 2", start=EARLIEST)
        assert queue.get(timeout=30).body == 2
        queue.unbind("b")
    bus = blocking.Bus(path)
    queue = bus.subscription("s", "a", where="body < 4")
    with bus:
        assert bodies(queue) == [2, 3, 2, 3, 4, 5]
        check(bus)


@each_order
def test_what_is_purged_on_the_disk_leaves_no_state(path: Path, order: Any) -> None:
    with blocking.Bus(path) as bus:
        queue = bus.queue("jobs", Policy(order))
        queue.put_many(range(3))
        for _ in range(3):
            queue.get(timeout=30).nack(delay=0)
    with blocking.Bus(path) as bus:  # nobody has said what it is, so nothing of it is read
        bus._engine.queues["jobs"].purge()
        bus.flush()
        assert bus.query("SELECT count(*) FROM eventbus_states") == [(0,)]
        assert bodies(bus.queue("jobs")) == []


# what is put directly, and seeks


@each_order
def test_a_seek_is_about_what_topics_keep(path: Path, order: Any) -> None:
    with blocking.Bus(path) as bus:
        memory = bus.topic("memory", durable=False)
        queue = bus.subscription("s", ["t", "memory"], Policy(order))
        queue.put("head", key="h")
        queue.get(timeout=30)
        bus.topic("t").publish_many(range(3))
        memory.publish("not kept")
        queue.put_many(["direct", "too"])
        for _ in range(4):
            queue.get(timeout=30).ack()
        queue.put("delayed", delay=1000)
        queue.seek(EARLIEST)
        be_quiet(bus)
        check(bus)
        assert (queue.stats().ready, queue.stats().delayed) == (3, 0)
        queue.put("after")
        bus.flush()
        assert unsettled(path, "s") == 4
        assert bodies(queue) == [0, 1, 2, "after"]
        check(bus)
    with blocking.Bus(path) as bus:
        assert bodies(bus.queue("s")) == []


@each_order
def test_a_seek_to_the_end_forgets_what_lies_before(path: Path, order: Any) -> None:
    with blocking.Bus(path) as bus:
        queue = bus.subscription("s", "t", Policy(order))
        bus.topic("t").publish_many(range(3))
        queue.put("direct")
        queue.seek(LATEST)
        assert queue.stats().ready == 0
        bus.topic("t").publish(3)
        bus.flush()
        assert unsettled(path, "s") == 1
    with blocking.Bus(path) as bus:
        assert bodies(bus.queue("s")) == [3]


def test_a_seek_over_what_was_put_directly_loses_no_tail(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(depot, "WINDOW", 256)
    with blocking.Bus(path) as bus:
        topic, queue = bus.topic("t"), bus.topic("t").subscription("s")
        queue.put("hold")
        queue.get(timeout=30)
        queue.put_many(range(-200, 0))
        queue.get_many(200).ack()
        topic.publish_many(range(600))
        queue.seek(EARLIEST)
        topic.publish_many(range(600, 900))
        assert bodies(queue) == list(range(900))
        check(bus)


# another order


@each_change
@pytest.mark.parametrize("acked", [0, 4, 13])
def test_another_order_has_the_same_messages(path: Path, before: str, after: str, acked: int) -> None:
    with blocking.Bus(path) as bus:
        for n in range(10):
            bus.topic("t").publish(n, key=str(n))
    with blocking.Bus(path) as bus:
        topic = bus.topic("t")
        queue = topic.subscription("s", Policy(ORDERS[before]), start=EARLIEST, where="body != 7")
        for n in range(10, 14):
            topic.publish(n, key=str(n))
        settled = []
        for _ in range(acked):
            delivery = queue.get(timeout=30)
            settled.append(delivery.body)
            delivery.ack()
    bus = blocking.Bus(path)
    queue = bus.topic("t").subscription("s", Policy(ORDERS[after]), where="body != 7")
    with bus:
        check(bus)
        assert sorted([*settled, *bodies(queue)]) == [n for n in range(14) if n != 7]
        check(bus)


@pytest.mark.parametrize("many", [1, 100])
def test_many_routes_are_counted_as_few(path: Path, monkeypatch: pytest.MonkeyPatch, many: int) -> None:
    monkeypatch.setattr(reading, "MANY", many)
    with blocking.Bus(path) as bus:
        topic = bus.topic("t")
        queues = [topic.subscription(f"s{n}", where=f"body >= {n * 3}") for n in range(3)]
        for body in range(12):
            topic.publish(body)
        topic.subscription("late", start=EARLIEST)
        queues[0].get(timeout=30).ack()
    with blocking.Bus(path) as bus:
        assert [bus.queue(f"t/{name}").stats().ready for name in ("s0", "late")] == [11, 12]
        assert bodies(bus.queue("t/late")) == [*range(12)]


def test_what_was_not_read_of_a_past_is_shown_as_it_is_filtered(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(depot, "WINDOW", 64)
    with blocking.Bus(path) as bus:
        bus.topic("t").publish_many(range(300))
        queue = bus.subscription("s", "t", where="body != 250", start=EARLIEST)
        assert queue.get(timeout=30).body == 0
    with Log(str(path), ["s"], body_of) as log:
        assert [stored.record[2] for stored in log.read(0, 300)] == [n for n in range(300) if n != 250]


# filters of now


@pytest.mark.parametrize("where", [None, "body >= 0", lambda message: True], ids=["none", "text", "function"])
def test_what_came_from_a_topic_that_nobody_declares_any_more_is_kept(path: Path, where: Any) -> None:
    with blocking.Bus(path) as bus:
        bus.subscription("s", "o.*", where=where)
        for n in range(3):
            bus.topic("o.a", durable=False).publish(n)
    with blocking.Bus(path) as bus:
        assert bodies(bus.subscription("s", "o.*", where=where)) == [0, 1, 2]


@each_order
def test_what_a_filter_has_passed_by_is_settled(path: Path, order: Any) -> None:
    with blocking.Bus(path) as bus:
        topic = bus.topic("t", retain=Retention(count=1))
        queue = topic.subscription("s", Policy(order))
        topic.publish_many(range(6))
        topic.publish("later", delay=1000)
    for where, found in (("body >= 3", [3]), ("body < 6", [4])):
        bus = blocking.Bus(path)
        queue = bus.topic("t").subscription("s", Policy(order), where=where)
        with bus:
            delivery = queue.get(timeout=30)
            assert [delivery.body] == found
            delivery.ack()
            be_quiet(bus)
            check(bus)
            assert queue.stats().delayed == 0
    with blocking.Bus(path) as bus:
        assert bus.query("SELECT count(*) FROM eventbus_states") == [(0,)]
        assert bodies(bus.subscription("t/s", "t", Policy(order))) == [5]
        bus.flush()
        run = writer_of(bus).run
        while run.tidying.step(0.0):
            pass
        assert [m.body for m in bus.topic("t").replay()] == ["later"]
