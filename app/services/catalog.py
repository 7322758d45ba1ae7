"""Settings of a merchant as intake and the worker need them: read from the database, kept for a few seconds."""

from dataclasses import dataclass, field
from uuid import UUID

from app.db import merchant_settings
from app.db.repos import nomenclature
from app.db.repos.settings import BranchRow, KassaRow, SourceRow
from app.db.unit_of_work import Database
from app.domain.codec import vat_settings_from_json
from app.domain.errors import NotFound
from app.domain.nomenclature import RuleSet, Unmapped
from app.domain.planning import PlanSettings
from app.domain.vat_settings import NOTHING, VatSettings
from app.services.nomenclature_rules import rule_of
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
    unmapped: Unmapped = Unmapped.DEFAULT
    rules: RuleSet | None = None
    """The nomenclature; None where there never was a rule."""
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
        active = [kassa for kassa in self._fitting(source, branch) if kassa.status == "active"]
        return active[0] if len(active) == 1 else None

    def awaited(self, source: SourceRow, branch: BranchRow | None, *, test: bool) -> KassaRow | None:
        """The switched-off kassa in whose paused lane receipts wait: where none that fits is on, the only one that
        does. One for tests takes nothing but test payments while it is off: a live kassa may take its place."""
        fitting = self._fitting(source, branch)
        if any(kassa.status == "active" for kassa in fitting):
            return None
        off = [kassa for kassa in fitting if test or not kassa.test]
        return off[0] if len(off) == 1 else None

    def _fitting(self, source: SourceRow, branch: BranchRow | None) -> list[KassaRow]:
        for candidate in (branch.kassa_id if branch else None, source.kassa_id):
            if candidate is not None:
                kassa = self.kassas.get(candidate)
                return [] if kassa is None else [kassa]
        return list(self.kassas.values())


_RULES_SECONDS = 3600.0


class Catalog:
    """Merchants' settings by id. A change made through this process is seen at once, through another within the age.

    Rules of the nomenclature are read again only when their version is another: a set may have thousands.
    """

    def __init__(self, database: Database, *, seconds: float = 3.0) -> None:
        self._database = database
        self._known: Remembered[UUID, MerchantSettings] = Remembered(seconds)
        self._rules: Remembered[UUID, RuleSet] = Remembered(_RULES_SECONDS, most=1000)

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
        async with self._database.raw() as connection:
            found = await merchant_settings.of_merchant(connection, merchant_id)
        if found is None:
            return None
        return MerchantSettings(
            id=merchant_id,
            name=found.merchant.name,
            inn=found.merchant.inn,
            status=found.merchant.status,
            kassas={one.id: one for one in found.kassas},
            branches={one.id: one for one in found.branches},
            sources={one.id: one for one in found.sources},
            vat=vat_settings_from_json(found.merchant.vat),
            unmapped=Unmapped(found.merchant.unmapped),
            rules=await self._rules_of(merchant_id, found.merchant.nomenclature_version),
        )

    async def _rules_of(self, merchant_id: UUID, version: int) -> RuleSet | None:
        """Compiled once per version; a merchant without rules costs no statement."""
        if not version:
            return None
        rules = self._rules.peek(merchant_id)
        if rules is None or rules.version != version:
            async with self._database.tenant(merchant_id) as tx:
                read = await nomenclature.of_version(tx, merchant_id, version)
            rules = RuleSet(version, map(rule_of, read))
        self._rules.put(merchant_id, rules)
        return rules
