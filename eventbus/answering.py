"""Answers to requests: what a handler returned or raised, or a consumer replied."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from eventbus._core.errands import run_errands
from eventbus._core.requests import request_of
from eventbus.errors import CodecError
from eventbus.message import Undecoded

if TYPE_CHECKING:
    from eventbus.delivery import Delivery

__all__ = ["answer", "answer_all", "answer_failure"]


def answer(delivery: Delivery[Any], value: Any) -> None:
    """Answer the request that a delivery is, if it is one; the first answer counts."""
    request = request_of(delivery.record)
    if request is not None:
        error: Exception | None = None
        try:
            value = own(delivery, value)
        except Exception as uncopied:
            value, error = None, uncopied
        request.answer(value, error)
        run_errands(request.engine.errands)


def own(delivery: Delivery[Any], value: Any) -> Any:
    """The asker's own of an answer, which has no type to be decoded into; raises if there can be none."""
    channel = delivery._holder.queue.name
    mine = delivery.bus._isolating.again(value, channel, None)
    if isinstance(mine, Undecoded):
        raise CodecError(
            f"the answer of queue {channel!r} cannot be decoded: {mine.error}; its raw bytes are this error's data; "
            f"answer with what the codec decodes without a type",
            channel=channel,
            type=None,
            data=bytes(mine),
        )
    return mine


def answer_all(deliveries: Sequence[Delivery[Any]], value: Any) -> None:
    """The same for a batch."""
    for delivery in deliveries:
        answer(delivery, value)


def answer_failure(delivery: Delivery[Any], error: object) -> bool:
    """Let the error itself be the answer: whether somebody hears it. What is no exception, the engine tells as text."""
    request = request_of(delivery.record)
    if request is None or not isinstance(error, Exception):
        return False
    heard = request.answer(None, error)
    run_errands(request.engine.errands)
    return heard
