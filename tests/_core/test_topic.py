"""A topic finds its routes once, and anew when a binding changes."""

from __future__ import annotations

from typing import Any

import pytest

from eventbus import DeclarationError, Delivery, Keyed, Policy, Retention
from eventbus._core.engine import Engine
from eventbus.filters import as_predicate


@pytest.fixture
def engine() -> Engine:
    return Engine(Delivery, lambda text, error: None)


ALL: Any = as_predicate(None)


def test_routes_are_found_once_and_kept(engine: Engine) -> None:
    topic, queue = engine.wiring.declare("t", None), engine.declare_queue("q", None)
    engine.wiring.bind(queue, ["t"], ALL)
    routes = engine.wiring.routes(topic)
    assert engine.wiring.routes(topic) is routes
    assert [route.queue for route in routes] == [queue]


def test_whatever_changes_a_topics_bindings_makes_it_look_anew(engine: Engine) -> None:
    topic, other = engine.wiring.declare("a.b", None), engine.wiring.declare("c", None)
    queue = engine.declare_queue("q", None)
    for change in (
        lambda: engine.wiring.bind(queue, ["a.*"], ALL),
        lambda: engine.wiring.bind(queue, ["a.b", "#.b"], ALL),
        lambda: engine.wiring.bind(queue, ["a.*"], as_predicate("body == 1")),
        lambda: engine.wiring.unbind(queue, ["a.b"]),
        lambda: engine.remove(queue),
    ):
        routes, others = engine.wiring.routes(topic), engine.wiring.routes(other)
        change()
        engine.check()
        assert engine.wiring.routes(topic) is not routes or not routes
        assert topic.routes is not None
        assert engine.wiring.routes(other) is others, "a topic that does not match is left alone"
    assert engine.wiring.routes(topic) == ()


def test_a_queue_has_one_route_and_its_filters_are_alternatives(engine: Engine) -> None:
    topic, queue = engine.wiring.declare("t", None), engine.declare_queue("q", None)
    engine.wiring.bind(queue, ["t"], as_predicate("body == 1"))
    engine.wiring.bind(queue, ["*"], as_predicate("body == 2"))
    [route] = engine.wiring.routes(topic)
    records: list[Any] = [(None, 0.0, body, None, {}, 0, "t", None, None) for body in range(4)]
    assert [route.wants(record) for record in records] == [False, True, True, False]
    engine.wiring.bind(queue, ["#"], ALL)
    [route] = engine.wiring.routes(topic)
    assert all(route.wants(record) for record in records)


def test_a_topic_is_plain_if_every_queue_takes_every_message_as_it_is(engine: Engine) -> None:
    topic = engine.wiring.declare("t", None)
    plain, keyed = engine.declare_queue("plain", None), engine.declare_queue("keyed", Policy(Keyed()))
    engine.wiring.routes(topic)
    assert topic.plain == ()
    engine.wiring.bind(plain, ["t"], ALL)
    engine.wiring.routes(topic)
    assert topic.plain == (plain,)
    engine.wiring.bind(keyed, ["t"], ALL)
    engine.wiring.routes(topic)
    assert topic.plain is None
    engine.wiring.unbind(keyed, ["t"])
    engine.wiring.bind(plain, ["t"], as_predicate("body == 1"))
    engine.wiring.routes(topic)
    assert topic.plain is None


def test_a_topic_begins_to_retain_once(engine: Engine) -> None:
    topic = engine.wiring.declare("t", None)
    assert topic.retained is None
    assert engine.wiring.declare("t", Retention(3)) is topic
    retained = topic.retained
    assert engine.wiring.declare("t", Retention(3)).retained is retained
    assert engine.wiring.declare("t", None).retained is retained
    with pytest.raises(DeclarationError) as caught:
        engine.wiring.declare("t", Retention(4))
    assert (caught.value.declared, caught.value.requested) == (Retention(3), Retention(4))


def test_unbinding_takes_all_or_nothing(engine: Engine) -> None:
    queue = engine.declare_queue("q", None)
    engine.wiring.bind(queue, ["a", "b"], ALL)
    with pytest.raises(DeclarationError, match="'c'"):
        engine.wiring.unbind(queue, ["a", "c"])
    assert sorted(b.pattern for b in engine.wiring.bindings_of(queue)) == ["a", "b"]
    engine.wiring.unbind(queue, ["b", "a"])
    assert engine.wiring.bindings_of(queue) == []
