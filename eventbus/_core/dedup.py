"""Which ids a queue or topic has seen of late, so that a message that is sent twice enters once."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from eventbus._core.schedule import Alarm, Schedule


class Seen(Alarm):
    """The ids of the last `window` seconds, each with the offset of its message; settled or not makes no difference."""

    __slots__ = ("offsets", "row", "schedule", "window")

    quiet = True

    def __init__(self, window: float, schedule: Schedule) -> None:
        super().__init__()
        self.window = window
        self.schedule = schedule
        self.offsets: dict[str, int] = {}
        self.row: deque[tuple[float, str, int]] = deque()
        """What is forgotten, and when; an id may have been forgotten before, or have entered anew since."""

    def find(self, id: str, now: float) -> int:
        """The offset of the message that had this id, or 0 if none had it within the window."""
        self._forget(now)
        return self.offsets.get(id, 0)

    def remember(self, id: str, offset: int, now: float) -> None:
        """This id has entered; none of the window has it."""
        self.offsets[id] = offset
        self.row.append((now + self.window, id, offset))
        if len(self.row) == 1:
            self.schedule.set(self, self.row[0][0])

    def forget(self, id: str, offset: int) -> None:
        """The message of this offset has not entered after all."""
        if self.offsets.get(id) == offset:
            del self.offsets[id]

    def recall(self, known: Sequence[tuple[int, str, float]], now: float) -> None:
        """Before anything enters: the offsets and ids of an earlier life, and for how many seconds each is known."""
        self.offsets.update((id, offset) for offset, id, _ in sorted(known))
        self.row.extend(sorted((now + min(left, self.window), id, offset) for offset, id, left in known))
        if self.row:
            self.schedule.set(self, self.row[0][0])

    def fire(self, now: float) -> None:
        self._forget(now)
        if self.row:
            self.schedule.set(self, self.row[0][0])

    def clear(self) -> None:
        """Forget all."""
        self._forget(float("inf"))

    def _forget(self, now: float) -> None:
        while self.row and self.row[0][0] <= now:
            _, id, offset = self.row.popleft()
            self.forget(id, offset)
        if not self.row:
            self.schedule.cancel(self)
