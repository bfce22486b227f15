"""Whether everyone who could make room waits for that very room.

A handler that publishes into the full queue it serves, or a ring of such handlers, would wait for ever. The search
goes by tasks: `blocked` says for which room each waiting publisher's task waits, and a consumer knows the task that
takes from it. Room is lacking too where it is there, but those take it who came before.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from eventbus._core.waiting import Waiter

if TYPE_CHECKING:
    from eventbus._core.queue import QueueState


class Wait:
    """A publisher that waits, and how much room it needs in each queue in whose line it stands."""

    __slots__ = ("needs", "waiter")

    def __init__(self, waiter: Waiter, needs: Mapping[QueueState, int]) -> None:
        self.waiter = waiter
        self.needs = needs

    def lacking(self) -> list[QueueState]:
        """The queues that have no room for it now."""
        return [queue for queue, need in self.needs.items() if not queue.admits(self.waiter, need)]


def cycle_through(wait: Wait, blocked: Mapping[object, Wait]) -> list[QueueState]:
    """A ring of full queues all of whose consumers wait for room in the ring, if this wait closes one.

    The greatest set of queues in which each is full, has consumers, and each consumer's task waits for another of
    the set: what is not in it can be served by somebody.
    """
    reach: dict[QueueState, list[list[QueueState]]] = {}
    if not any(_waits(queue, blocked) for queue in wait.needs):
        return []
    blocking = wait.lacking()
    todo = list(blocking)
    while todo:
        queue = todo.pop()
        if queue not in reach:
            reach[queue] = waits = _waits(queue, blocked)
            todo += [other for lacking in waits for other in lacking]
    while live := [q for q, waits in reach.items() if not waits or any(not set(w) & reach.keys() for w in waits)]:
        for queue in live:
            del reach[queue]
    path = [queue for queue in blocking if queue in reach][:1]
    while path:
        following = next(queue for queue in reach[path[-1]][0] if queue in reach)
        if following in path:
            return path[path.index(following) :]
        path.append(following)
    return []


def _waits(queue: QueueState, blocked: Mapping[object, Wait]) -> list[list[QueueState]]:
    """The full queues that each consumer of a queue waits for; empty if somebody is free to take from it."""
    if (queue.received_from and not queue.separate) or not queue.holders:
        return []
    waits = []
    for holder in queue.servers():
        wait = blocked.get(holder.party)
        if wait is None:
            return []
        waits.append(wait.lacking())
    return waits
