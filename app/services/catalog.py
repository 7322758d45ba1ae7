"""Settings of a merchant as intake and the worker need them: read from the database, kept for a few seconds."""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from app.db.repos import settings as repo
from app.db.repos.settings import BranchRow, KassaRow, SourceRow
from app.db.unit_of_work import Database
from app.domain.codec import vat_settings_from_json
from app.domain.errors import NotFound
from app.domain.planning import PlanSettings
from app.domain.vat_settings import NOTHING, VatSettings
from app.services.remembered import Remembered


@dataclass(frozen=True, slots=True)
class MerchantSettings:
    """One merchant with all its kassas, branches and sources, switched off ones included."""

    id: UUID
    name: str
    inn: str
    status: str
    kassas: dict[UUID, KassaRow]
    branches: dict[UUID, BranchRow]
    sources: dict[UUID, SourceRow]
    vat: VatSettings = NOTHING
    compiled: dict[tuple[UUID, UUID | None, UUID], PlanSettings] = field(default_factory=dict, compare=False)
    """What `sales.py` made of them, by source, branch and kassa; lives and dies with these settings."""

    @property
    def built_in_source(self) -> SourceRow:
        """The source `api` that every merchant has."""
        return next(source for source in self.sources.values() if source.kind == "api")

    def branch(self, name: str) -> BranchRow | None:
        """A branch by its id or by the id that the CRM calls it."""
        return next(
            (b for b in self.branches.values() if name in (f"brn_{b.id.hex}", b.external_id)),
            None,
        )

    def route(self, source: SourceRow, branch: BranchRow | None) -> KassaRow | None:
        """The kassa of an event: the branch's, the source's, or the merchant's only active one."""
        for candidate in (branch.kassa_id if branch else None, source.kassa_id):
            if candidate is not None:
                kassa = self.kassas.get(candidate)
                return kassa if kassa and kassa.status == "active" else None
        active = [kassa for kassa in self.kassas.values() if kassa.status == "active"]
        return active[0] if len(active) == 1 else None


class Catalog:
    """Merchants' settings by id. A change made through this process is seen at once, through another within the age."""

    def __init__(self, database: Database, *, seconds: float = 3.0) -> None:
        self._database = database
        self._known: Remembered[UUID, MerchantSettings] = Remembered(seconds)

    async def merchant(self, merchant_id: UUID, *, fresh: bool = False) -> MerchantSettings:
        """Settings not older than the cache's age, or, with `fresh`, as they are now. NotFound for an unknown merchant.

        Opens a connection of its own: ask before a transaction is open, not within one.
        """
        if fresh:
            self._known.forget(merchant_id)
        settings = await self._known.get(merchant_id, self._read)
        if settings is None:
            raise NotFound("no such merchant")
        return settings

    def forget(self, merchant_id: UUID) -> None:
        self._known.forget(merchant_id)

    async def _read(self, merchant_id: UUID) -> MerchantSettings | None:
        async with self._database.pipeline() as tx:
            row: Any = await repo.merchant(tx, merchant_id)
            if row is None:
                return None
            return MerchantSettings(
                id=merchant_id,
                name=row.name,
                inn=row.inn,
                status=row.status,
                kassas={k.id: k for k in await repo.kassas(tx, merchant_id)},
                branches={b.id: b for b in await repo.branches(tx, merchant_id)},
                sources={s.id: s for s in await repo.sources(tx, merchant_id)},
                vat=vat_settings_from_json(row.vat),
            )
