"""The nomenclature of one merchant: rules are made, changed and ended one by one; each change is a new version.

Old versions stay, so that a receipt of last year still shows by which rule it was filled. What was held for the want of
a rule goes on by itself.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

from app.db.repos import audit, merchants
from app.db.repos import nomenclature as repo
from app.db.repos import settings as settings_repo
from app.db.repos import sources as sources_repo
from app.db.repos.nomenclature import RuleRow
from app.db.repos.paging import Position
from app.db.unit_of_work import Database, Tx, database_now
from app.domain.errors import Conflict, Invalid, NotFound, PreconditionFailed
from app.infra.clock import DatabaseClock
from app.infra.ids import new_id, public
from app.queue.replan import replan_held
from app.services.catalog import Catalog
from app.services.nomenclature_checks import MAX_RULES, findings, tidy
from app.services.nomenclature_rules import Draft, draft_of


class Nomenclature:
    """Rules of one merchant at a time."""

    def __init__(self, database: Database, catalog: Catalog, clock: DatabaseClock) -> None:
        self._database = database
        self._catalog = catalog
        self._clock = clock

    async def create(self, actor: str, merchant_id: UUID, draft: Draft) -> RuleRow:
        """A rule. Invalid with everything that is wrong with it; Conflict when another asks exactly the same, or there
        are too many."""
        draft = self._checked(draft)
        rule_id = new_id()
        async with self._database.pipeline() as tx:
            version, rules = await self._locked(tx, merchant_id)
            if len(rules) >= MAX_RULES:
                raise Conflict(f"A merchant has at most {MAX_RULES} rules.")
            must_differ(draft, rules)
            await self._own(tx, merchant_id, draft)
            await self.store(tx, actor, merchant_id, version + 1, [], {rule_id: (draft, None)}, "nomenclature.created")
            made = _found(await repo.by_id(tx, merchant_id, rule_id))
        self._catalog.forget(merchant_id)
        return made

    async def page(self, merchant_id: UUID, version: int | None, before: Position | None, limit: int) -> list[RuleRow]:
        """At most `limit` rules behind a place, newest first: those that hold now, or that held in a version."""
        async with self._database.tenant(merchant_id) as tx:
            if version is None:
                merchant = await settings_repo.merchant(tx, merchant_id)
                version = 0 if merchant is None else merchant.nomenclature_version
            return await repo.page(tx, merchant_id, version, before, limit)

    async def read(self, merchant_id: UUID, rule_id: UUID) -> RuleRow:
        """One rule as it holds now. NotFound for anybody else's, and for one that has ended."""
        async with self._database.tenant(merchant_id) as tx:
            return _found(await repo.by_id(tx, merchant_id, rule_id))

    async def change(
        self, actor: str, merchant_id: UUID, rule_id: UUID, version: int, changes: Mapping[str, Any]
    ) -> RuleRow:
        """Of the members of a `Draft` those that are given. PreconditionFailed when the rule is no longer of this
        version; otherwise as `create`."""
        async with self._database.pipeline() as tx:
            present, rules = await self._locked(tx, merchant_id)
            before = _of_version(await repo.by_id(tx, merchant_id, rule_id), version)
            draft = self._checked(replace(draft_of(before), **changes))
            if draft == draft_of(before):
                return before
            must_differ(draft, [one for one in rules if one.id != rule_id])
            await self._own(tx, merchant_id, draft)
            begun = {rule_id: (draft, before)}
            await self.store(tx, actor, merchant_id, present + 1, [rule_id], begun, "nomenclature.changed")
            after = _found(await repo.by_id(tx, merchant_id, rule_id))
        self._catalog.forget(merchant_id)
        return after

    async def delete(self, actor: str, merchant_id: UUID, rule_id: UUID, version: int) -> None:
        """The rule ends; receipts that it filled stay as they are. PreconditionFailed as for `change`."""
        async with self._database.pipeline() as tx:
            present, _ = await self._locked(tx, merchant_id)
            _of_version(await repo.by_id(tx, merchant_id, rule_id), version)
            await self.store(tx, actor, merchant_id, present + 1, [rule_id], {}, "nomenclature.deleted")
        self._catalog.forget(merchant_id)

    async def store(
        self,
        tx: Tx,
        actor: str,
        merchant_id: UUID,
        version: int,
        ended: list[UUID],
        begun: Mapping[UUID, tuple[Draft, RuleRow | None]],
        action: str,
    ) -> None:
        """One version under a lock that the caller holds: rules end, others begin (with the row that each was before),
        and what waited for them is planned again. The caller makes the catalog forget."""
        now = await database_now(tx)
        rows = [
            {
                **draft.columns(),
                "id": rule_id,
                "actor": actor,
                "created_at": now if before is None else before.created_at,
                "changed_at": now,
            }
            for rule_id, (draft, before) in begun.items()
        ]
        await repo.replace(tx, merchant_id, version, ended, rows)
        told = {
            "version": version,
            "ended": [public("nom", one) for one in ended if one not in begun],
            "begun": [public("nom", one) for one in begun],
        }
        await audit.record(tx, actor, action, merchant_id=merchant_id, object_id=public("mer", merchant_id), data=told)
        await replan_held(tx, merchant_id)

    async def _locked(self, tx: Tx, merchant_id: UUID) -> tuple[int, list[RuleRow]]:
        version = await repo.lock(tx, merchant_id)
        if version is None:
            raise NotFound("There is no such merchant here.")
        return version, await repo.of_version(tx, merchant_id, version)

    def _checked(self, draft: Draft) -> Draft:
        draft = tidy(draft)
        if found := tuple(findings(draft, self._clock.now())):
            raise Invalid("The rule cannot be stored like this.", found)
        return draft

    async def _own(self, tx: Tx, merchant_id: UUID, draft: Draft) -> None:
        """What a rule names belongs to the same merchant."""
        if draft.source_id is not None and await sources_repo.by_id(tx, merchant_id, draft.source_id) is None:
            raise NotFound("There is no such source here.")
        if draft.branch_id is not None and await merchants.branch(tx, merchant_id, draft.branch_id) is None:
            raise NotFound("There is no such branch here.")


def must_differ(draft: Draft, others: list[RuleRow]) -> None:
    """Conflict when another rule asks exactly the same: one of the two could never win."""
    for one in others:
        if draft_of(one).when.key == draft.when.key:
            raise Conflict("Another rule matches exactly the same; change that one.", existing_id=public("nom", one.id))


def _found(row: RuleRow | None) -> RuleRow:
    if row is None:
        raise NotFound("There is no such rule here.")
    return row


def _of_version(row: RuleRow | None, version: int) -> RuleRow:
    found = _found(row)
    if found.since != version:
        raise PreconditionFailed(f"the rule is of version {found.since} by now; read it again")
    return found
