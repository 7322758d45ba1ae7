"""Merchants and their branches: who sells, and where."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from stdnum.exceptions import InvalidChecksum, ValidationError
from stdnum.ru import inn as russian_inn

from app.db.repos import audit, kassas, nomenclature, sources
from app.db.repos import merchants as repo
from app.db.repos.paging import Position
from app.db.repos.settings import BranchRow, MerchantRow, merchant
from app.db.unit_of_work import Database, Tx
from app.domain.errors import Conflict, Finding, Invalid, NotFound
from app.infra.clock import DatabaseClock
from app.infra.ids import new_id, public
from app.queue import lanes
from app.queue.replan import replan_held
from app.services.catalog import Catalog
from app.services.defaults import check_defaults, check_timezone, given

BUILT_IN_SOURCE = "api"
SOURCE_IN_FLIGHT = 4


class Merchants:
    """Merchants of the installation and the branches of each."""

    def __init__(self, database: Database, catalog: Catalog, clock: DatabaseClock) -> None:
        self._database = database
        self._catalog = catalog
        self._clock = clock

    async def create(self, actor: str, *, name: str, inn: str) -> MerchantRow:
        """A merchant with its built-in source `api` and that source's lane, all or nothing. Invalid for a wrong INN."""
        inn = checked_inn(inn)
        merchant_id, source_id = new_id(), new_id()
        async with self._database.pipeline() as tx:
            made = await repo.create(tx, merchant_id, name, inn)
            await sources.create(tx, merchant_id, source_id, {"kind": BUILT_IN_SOURCE, "name": BUILT_IN_SOURCE})
            await lanes.create(tx, source_id, kind="source", merchant_id=merchant_id, max_in_flight=SOURCE_IN_FLIGHT)
            await audit.record(
                tx,
                actor,
                "merchant.created",
                merchant_id=merchant_id,
                object_id=public("mer", merchant_id),
                data={"name": name, "inn": inn},
            )
        return made

    async def page(self, before: Position | None, limit: int) -> list[MerchantRow]:
        """All merchants of the installation, newest first."""
        async with self._database.pipeline() as tx:
            return await repo.page(tx, before, limit)

    async def read(self, merchant_id: UUID) -> MerchantRow:
        """The merchant. NotFound when there is none."""
        async with self._database.tenant(merchant_id) as tx:
            return _found(await merchant(tx, merchant_id))

    async def change(self, actor: str, merchant_id: UUID, changes: Mapping[str, Any]) -> MerchantRow:
        """Of `name`, `inn`, `status` (active, suspended), `unmapped` those that are given.

        Conflict for another INN once a kassa was used: its receipts are the old INN's.
        """
        values = dict(changes)
        async with self._database.pipeline() as tx:
            before = _found(await merchant(tx, merchant_id))
            if "inn" in values:
                values["inn"] = checked_inn(values["inn"])
                if values["inn"] != before.inn and await repo.has_used_kassa(tx, merchant_id):
                    raise Conflict(
                        "The INN cannot change: receipts were made under it. Another legal entity is another merchant.",
                        current_state="used",
                    )
            after = _found(await repo.update_merchant(tx, merchant_id, values)) if values else before
            if "unmapped" in values:
                await nomenclature.policy_changed(tx, merchant_id)
                await replan_held(tx, merchant_id)
            await audit.record(
                tx,
                actor,
                "merchant.changed",
                merchant_id=merchant_id,
                object_id=public("mer", merchant_id),
                data=values,
            )
        self._catalog.forget(merchant_id)
        return after

    async def create_branch(
        self,
        actor: str,
        merchant_id: UUID,
        *,
        name: str,
        external_id: str | None = None,
        kassa_id: UUID | None = None,
        timezone: str | None = None,
        defaults: Mapping[str, Any] | None = None,
    ) -> BranchRow:
        """A point of sale. Its kassa and defaults go before the merchant's other settings."""
        values = {
            "name": name,
            "external_id": external_id,
            "kassa_id": kassa_id,
            "timezone": timezone,
            "defaults": given(defaults or {}),
        }
        branch_id = new_id()
        async with self._database.pipeline() as tx:
            await self._check_branch(tx, merchant_id, values)
            made = await repo.create_branch(tx, merchant_id, branch_id, values)
            await self._noted(tx, actor, "branch.created", made, values)
            await replan_held(tx, merchant_id)
        self._catalog.forget(merchant_id)
        return made

    async def branches(self, merchant_id: UUID, before: Position | None, limit: int) -> list[BranchRow]:
        """At most `limit` branches behind a place, newest first."""
        async with self._database.tenant(merchant_id) as tx:
            return await repo.branches_page(tx, merchant_id, before, limit)

    async def branch(self, merchant_id: UUID, branch_id: UUID) -> BranchRow:
        """One branch. NotFound for anybody else's."""
        async with self._database.tenant(merchant_id) as tx:
            return _branch_found(await repo.branch(tx, merchant_id, branch_id))

    async def change_branch(
        self, actor: str, merchant_id: UUID, branch_id: UUID, changes: Mapping[str, Any]
    ) -> BranchRow:
        """Of `name`, `external_id`, `kassa_id`, `timezone`, `defaults`, `status` (active, off) those that are given.

        A branch that is off is no longer named by new events; its receipts go on.
        """
        values = dict(changes)
        async with self._database.pipeline() as tx:
            before = _branch_found(await repo.branch(tx, merchant_id, branch_id))
            if "defaults" in values:
                values["defaults"] = given({**before.defaults, **values["defaults"]})
            await self._check_branch(tx, merchant_id, values)
            after = _branch_found(await repo.update_branch(tx, merchant_id, branch_id, values)) if values else before
            await self._noted(tx, actor, "branch.changed", after, values)
            await replan_held(tx, merchant_id)
        self._catalog.forget(merchant_id)
        return after

    async def _check_branch(self, tx: Tx, merchant_id: UUID, values: Mapping[str, Any]) -> None:
        findings = [
            *check_timezone(values.get("timezone"), self._clock.now()),
            *check_defaults(values.get("defaults") or {}, self._clock.now()),
        ]
        if findings:
            raise Invalid("The branch cannot be stored like this.", tuple(findings))
        kassa_id = values.get("kassa_id")
        if kassa_id is not None and await kassas.by_id(tx, merchant_id, kassa_id) is None:
            raise NotFound("There is no such kassa here.")

    async def _noted(self, tx: Tx, actor: str, action: str, row: BranchRow, values: Mapping[str, Any]) -> None:
        told = {name: public("kas", v) if isinstance(v, UUID) else v for name, v in values.items()}
        await audit.record(tx, actor, action, merchant_id=row.merchant_id, object_id=public("brn", row.id), data=told)


def checked_inn(inn: str) -> str:
    """The digits of an INN whose check digits are right; Invalid otherwise."""
    try:
        compact: str = russian_inn.validate(inn)
        if not int(compact):
            raise InvalidChecksum
    except ValidationError:
        raise Invalid(
            "The INN is not valid.",
            (
                Finding(
                    "#/inn",
                    "inn_checksum",
                    "An INN has 10 digits (organisation) or 12 (ИП) with right check digits; these are not.",
                    "ИНН состоит из 10 цифр (организация) или 12 (ИП); контрольные цифры не сходятся.",
                    1018,
                    "Copy the INN from the registration certificate.",
                ),
            ),
        ) from None
    return compact


def _found(row: MerchantRow | None) -> MerchantRow:
    if row is None:
        raise NotFound("There is no such merchant here.")
    return row


def _branch_found(row: BranchRow | None) -> BranchRow:
    if row is None:
        raise NotFound("There is no such branch here.")
    return row
