"""Silence: a source of which nothing is heard for too long, or that cannot be listed, is told once; its return, too."""

from datetime import datetime
from uuid import UUID

import structlog

from app.db.repos import source_watch
from app.db.unit_of_work import Database, Tx
from app.services.alerts import source_heard, source_silent

log = structlog.get_logger(__name__)

POLLS_FAIL_SECONDS = 3_600.0
"""So long a source may not be listed before people hear of it; each failure is visible at the source at once."""


class Silence:
    """One look, made by every worker again and again; what one is at the others leave alone."""

    def __init__(self, database: Database, *, polls_fail_seconds: float = POLLS_FAIL_SECONDS) -> None:
        self._database = database
        self._polls_fail = polls_fail_seconds

    async def run(self) -> None:
        """Who fell silent, and who came back, each told in the transaction that notes it."""
        async with self._database.pipeline() as tx:
            back = dict(await source_watch.heard_again(tx))
            await self._tell(tx, back, returned=True)
        async with self._database.pipeline() as tx:
            gone = dict(await source_watch.fell_silent(tx, patience_seconds=self._polls_fail))
            await self._tell(tx, gone, returned=False)

    async def _tell(self, tx: Tx, found: dict[UUID, datetime], *, returned: bool) -> None:
        if not found:
            return
        for source in await source_watch.by_ids(tx, list(found)):
            if returned:
                await source_heard(tx, source, found[source.id])
                log.info("source.heard", source_id=str(source.id), kind=source.kind)
            else:
                await source_silent(tx, source, found[source.id])
                log.warning("source.silent", source_id=str(source.id), kind=source.kind)
