"""What a source reported before, as its adapter asks for it."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from app.db.repos import events
from app.db.unit_of_work import Database
from app.domain.event import EventType


class KnownEvents:
    """Answers `app.ports.source.Known` for one source; a sum that a person corrected is the corrected one."""

    def __init__(self, database: Database, merchant_id: UUID, source_id: UUID) -> None:
        self._database = database
        self._merchant_id = merchant_id
        self._source_id = source_id

    async def amounts(self, type: EventType, external_ids: Sequence[str]) -> Mapping[str, int | None]:
        """Kopecks by external id; what is absent was never reported."""
        async with self._database.pipeline() as tx:
            return await events.amounts(tx, self._merchant_id, self._source_id, type.value, external_ids)
