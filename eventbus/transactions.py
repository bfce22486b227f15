"""Transactions as async code holds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from eventbus._faces.transaction import TransactionFace
from eventbus.publishing import STRIDE, cross, weight

if TYPE_CHECKING:
    from eventbus.bus import Bus

__all__ = ["Transaction"]


class Transaction(TransactionFace):
    """Publishes, puts and acks that take effect together or not at all, to be entered with ``async with``.

    They gather inside the block. When it ends, all of them take effect in one step that nobody sees half done; an
    exception inside, cancellation among them, discards them. Leaving waits until every queue that waits when full has
    room for all that goes to it; until then nothing has happened. `FullError` if one that fails when full has no room,
    or what goes to one could never fit into it; `SettlementError` if a delivery is not out any more. It is for one
    task, and entered once.
    """

    _bus: Bus

    async def __aenter__(self) -> Transaction:
        self._begin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        commit = self._end(error)
        if commit is None:
            return
        bus = self._bus
        bus._pace += weight(len(commit.parcels))
        if bus._pace > STRIDE:
            bus._pace = 0
            await bus._ports.checkpoint()
        await cross(bus._ports, commit)

    async def execute(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> None:
        """Execute a statement on tables of your own in the journal's file, when the block ends.

        It is one commit with what the transaction publishes and acks. If it fails then, `JournalError` says why, and
        nothing of the transaction has happened. The journal's own tables, ``eventbus_...``, are closed to it.
        """
        self._execute(sql, parameters)
