"""Sources that a test plays: `tests/support/adapters` in the registry, and its sources at a merchant."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import text

from app.db.repos import sources
from app.db.repos.settings import SourceRow
from app.db.repos.timeline import of_receipt
from app.ports.inbound import InboundReply, InboundRequest
from app.services.sources import NewSource
from tests.support import rows
from tests.support.world import World, open_world

PACKAGE = "tests.support.adapters"
SECRET = {"x-secret": "word"}


@dataclass
class Town:
    """A world with one such source; `crm` is its adapter, the same for all of them."""

    world: World
    crm: Any
    source_id: UUID

    async def connect(self, **changes: Any) -> UUID:
        """One more source of the kind."""
        new = NewSource(
            **{
                "kind": "memory_crm",
                "name": "CRM",
                "credentials": {"secret": "word"},
                "settings": {},
                "defaults": {},
                **changes,
            }
        )
        made = await self.world.runtime.services.sources.create("test", self.world.merchant_id, new)
        return made.source.id

    async def row(self, source_id: UUID | None = None) -> SourceRow:
        async with self.world.runtime.database.pipeline() as tx:
            found = await sources.by_id(tx, self.world.merchant_id, source_id or self.source_id)
        assert found is not None
        return found

    async def change(self, source_id: UUID | None = None, **changes: Any) -> None:
        await self.world.runtime.services.sources.change(
            "test", self.world.merchant_id, source_id or self.source_id, changes
        )

    async def call(
        self, part: str, query: str = "", *, source_id: UUID | None = None, headers: dict[str, str] | None = None
    ) -> InboundReply:
        """The source calls us."""
        request = InboundRequest("POST", part, query, SECRET if headers is None else headers, query.encode())
        name = f"src_{(source_id or self.source_id).hex}"
        return await self.world.runtime.services.inbound.receive(name, part, None, request)

    async def query(self, sql: str, **values: Any) -> list[Any]:
        async with self.world.runtime.database.pipeline() as tx:
            return list((await tx.execute(text(sql), values)).all())

    async def scalar(self, sql: str, **values: Any) -> Any:
        return await rows.scalar(self.world.runtime.database, sql, **values)

    async def until(self, sql: str, wanted: Any, **values: Any) -> None:
        """Until a query says so."""

        async def there() -> bool:
            return bool(await self.scalar(sql, **values) == wanted)

        try:
            await self.world.until(there)
        except TimeoutError:
            raise AssertionError(f"{await self.scalar(sql, **values)!r} is not {wanted!r}: {sql}") from None

    async def event_of(self, external_id: str, source_id: UUID | None = None) -> UUID:
        found: UUID = await self.scalar(
            "SELECT event_id FROM event_identities WHERE external_id = :e AND source_id = :s",
            e=external_id,
            s=source_id or self.source_id,
        )
        return found

    async def history(self, event_id: UUID) -> list[tuple[str, dict[str, Any]]]:
        """What the timeline of an event's receipt says, the event's own lines included."""
        (receipt,) = await self.world.receipts(event_id)
        async with self.world.runtime.database.pipeline() as tx:
            lines = await of_receipt(tx, self.world.merchant_id, receipt.id, event_id)
        return [(line.what, line.data) for line in lines]


@asynccontextmanager
async def open_town(database_url: str, tmp_path: Path, **settings: Any) -> AsyncIterator[Town]:
    """A running program with one source of the kind."""
    chosen = {"testing": True, "source_packages": (PACKAGE,), **settings}
    async with open_world(database_url, tmp_path, **chosen) as world:
        town = Town(world, world.runtime.sources.get("memory_crm"), UUID(int=0))
        town.source_id = await town.connect()
        yield town
