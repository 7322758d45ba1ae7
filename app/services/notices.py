"""Notices: what sources have told us raw, what came of each, and why."""

from collections.abc import Sequence
from uuid import UUID

from app.db.repos import notifications
from app.db.repos.notifications import Notice
from app.db.repos.paging import Position
from app.db.unit_of_work import Database

__all__ = ["Notice", "Notices"]


class Notices:
    """Reads them for one merchant. A forged one is counted and never stored, so it is not here."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self,
        merchant_id: UUID,
        before: Position | None,
        limit: int,
        *,
        source_id: UUID | None = None,
        status: Sequence[str] = (),
    ) -> list[Notice]:
        """At most `limit` behind a place, newest first; bodies are not shown, they name buyers."""
        async with self._database.tenant(merchant_id) as tx:
            return await notifications.page(tx, merchant_id, before, limit, source_id=source_id, status=status)
