"""What a topic keeps of its past: a ring of its last messages."""

from __future__ import annotations

from eventbus._core.ring import Ring
from eventbus.message import Record
from eventbus.policy import Retention


class Retained(Ring):
    """The last `retention.count` records. `lost_through` is the highest offset that was let go."""

    __slots__ = ("lost_through", "retention")

    def __init__(self, retention: Retention) -> None:
        super().__init__()
        self.retention = retention
        self.lost_through = 0

    def keep(self, record: Record) -> Record | None:
        """Keep one more, and return the one let go for it."""
        self.push(record)
        if len(self) <= self.retention.count:
            return None
        oldest = self.popleft()
        assert oldest is not None
        self.lost_through = oldest[0] or 0
        return oldest

    def first_since(self, time: float) -> int | None:
        """The offset of the first record of this time or later, if there is one."""
        return next((record[0] for record in self if record[1] >= time), None)

    def last_offset(self) -> int:
        last = self.slots[(self.tail - 1) & self.mask]
        return self.lost_through if last is None else last[0] or 0
