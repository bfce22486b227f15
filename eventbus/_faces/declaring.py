"""What declarations have to agree with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

from eventbus._core.engine import Engine
from eventbus._core.matching import check_topic
from eventbus._core.queue import QueueState
from eventbus._core.topic import TopicState
from eventbus.codec import is_union
from eventbus.errors import DeclarationError
from eventbus.message import Record
from eventbus.policy import Policy

__all__ = ["check_policy", "check_type", "news", "retains_nothing", "take_out_unwanted", "topic_of"]


def check_policy(policy: object) -> Policy | None:
    if policy is None or isinstance(policy, Policy):
        return policy
    raise TypeError(f"policy takes a Policy or None, but got {policy!r}; wrap an order: Policy(Priority())")


def news(state: QueueState | TopicState | None, type: Any, by_class: bool = False) -> Any:
    """The type, unless it tells nothing new: it is the same, or one of several. Types compare outside the lock."""
    known = None if state is None else state.type
    return None if known == type or (by_class and is_union(known) and type in get_args(known)) else type


def check_type(state: QueueState | TopicState, type: Any) -> None:
    """A type may be told late, but not twice in different ways."""
    if type is None or state.type is type:
        return
    if state.type is not None:
        raise DeclarationError(
            f"{state.name!r} is declared with the type {state.type!r}, which differs from {type!r}",
            name=state.name,
            declared=state.type,
            requested=type,
        )


def topic_of(kind: type) -> str:
    """The topic of a class."""
    return check_topic(kind.__dict__.get("__topic__", kind.__name__))


def retains_nothing(engine: Engine, pattern: str) -> bool:
    """Whether a pattern names one topic, which retains nothing; one with wildcards may yet match others."""
    topic = engine.wiring.topics.get(pattern)
    return "*" not in pattern and "#" not in pattern and (topic is None or not topic.keeps)


def take_out_unwanted(state: QueueState, test: Callable[[Record], bool]) -> None:
    """Of what is ready, what the new filter does not want."""
    for record in state.peek(1 << 62):
        if not test(record):
            state.cancel(record[0] or 0)
