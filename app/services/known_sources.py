"""Sources by id as the edge needs them: read each time, and as last known while the database is away.

Nothing is accepted from what is last known: it serves only to tell a sender, in its own words, to come again.
"""

from collections import OrderedDict
from uuid import UUID

import structlog

from app.db.repos import notifications, source_watch
from app.db.repos.settings import SourceRow
from app.db.unit_of_work import Database
from app.domain.errors import Busy

log = structlog.get_logger(__name__)

_MOST = 10_000


class KnownSources:
    """At most 10,000 rows, sealed as they are stored; the one not asked for longest gives way."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._last: OrderedDict[UUID, SourceRow] = OrderedDict()

    async def remember(self) -> None:
        """Read what others call, so that a process that just started knows how to answer them."""
        try:
            async with self._database.pipeline() as tx:
                found = await source_watch.to_remember(tx, _MOST)
        except Exception as error:
            # A database of another schema is told of by /readyz; a start does not fail for what is only a reserve.
            log.warning("sources.not_remembered", error=type(error).__name__)
            return
        for row in reversed(found):
            self._keep(row)

    async def get(self, source_id: UUID) -> tuple[SourceRow | None, bool]:
        """As it is now (True), or was when the database last answered (False); None: there is none. Busy: nobody
        knows."""
        try:
            async with self._database.pipeline() as tx:
                row = await notifications.source(tx, source_id)
        except Busy:
            known = self._last.get(source_id)
            if known is None:
                raise
            return known, False
        if row is None:
            self._last.pop(source_id, None)
        else:
            self._keep(row)
        return row, True

    def _keep(self, row: SourceRow) -> None:
        self._last[row.id] = row
        self._last.move_to_end(row.id)
        if len(self._last) > _MOST:
            self._last.popitem(last=False)
