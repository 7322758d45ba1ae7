"""Rules of the nomenclature as rows, in all their versions; a change ends a row and begins the next."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, func, insert, or_, select, update

from app.db.repos.listing import newest
from app.db.repos.paging import Position
from app.db.tables import merchants, sources
from app.db.tables import nomenclature_rules as rules
from app.db.unit_of_work import Tx


@dataclass(frozen=True, slots=True)
class RuleRow:
    """One rule in the versions from `since` to before `until` (None: it holds). Words are API names."""

    id: UUID
    since: int
    until: int | None
    merchant_id: UUID
    priority: int
    source_id: UUID | None
    branch_id: UUID | None
    payment_type: str | None
    sku: str | None
    pattern: str | None
    name: str | None
    payment_object: str | None
    payment_method: str | None
    vat: str | None
    measure: str | None
    agent: dict[str, Any] | None
    override: bool
    comment: str | None
    actor: str
    created_at: datetime
    changed_at: datetime


_RULE = tuple(rules.c[f.name] for f in fields(RuleRow))


async def lock(tx: Tx, merchant_id: UUID) -> int | None:
    """The present version, kept until the transaction ends; payments go on meanwhile. None without such a merchant."""
    found: int | None = (
        await tx.execute(
            select(merchants.c.nomenclature_version)
            .where(merchants.c.id == merchant_id)
            .with_for_update(key_share=True)
        )
    ).scalar_one_or_none()
    return found


async def of_version(tx: Tx, merchant_id: UUID, version: int) -> list[RuleRow]:
    """The whole set of a version, oldest first."""
    found = await tx.execute(
        select(*_RULE).where(rules.c.merchant_id == merchant_id, _in(version)).order_by(rules.c.created_at, rules.c.id)
    )
    return [RuleRow(*row) for row in found]


async def page(tx: Tx, merchant_id: UUID, version: int, before: Position | None, limit: int) -> list[RuleRow]:
    """At most `limit` rules of a version behind a place, newest first."""
    query = select(*_RULE).where(rules.c.merchant_id == merchant_id, _in(version))
    return [RuleRow(*row) for row in await tx.execute(newest(query, rules, before, limit))]


async def by_id(tx: Tx, merchant_id: UUID, rule_id: UUID) -> RuleRow | None:
    """The rule as it holds now."""
    row = (
        await tx.execute(
            select(*_RULE).where(rules.c.merchant_id == merchant_id, rules.c.id == rule_id, rules.c.until.is_(None))
        )
    ).one_or_none()
    return None if row is None else RuleRow(*row)


async def replace(
    tx: Tx, merchant_id: UUID, version: int, ended: Sequence[UUID], begun: Sequence[dict[str, Any]]
) -> None:
    """The next version: these rules end, and these begin (a changed one does both)."""
    if ended:
        await tx.execute(
            update(rules)
            .where(rules.c.merchant_id == merchant_id, rules.c.id.in_(ended), rules.c.until.is_(None))
            .values(until=version)
        )
    if begun:
        await tx.execute(
            insert(rules), [{**one, "merchant_id": merchant_id, "since": version, "until": None} for one in begun]
        )
    await tx.execute(
        update(merchants)
        .where(merchants.c.id == merchant_id)
        .values(nomenclature_version=version, nomenclature_at=func.kassa_now())
    )


async def policy_changed(tx: Tx, merchant_id: UUID) -> None:
    """What is unknown is treated otherwise from now on: what was held meanwhile under the old policy is looked at."""
    await tx.execute(update(merchants).where(merchants.c.id == merchant_id).values(nomenclature_at=func.kassa_now()))


async def source_names(tx: Tx, merchant_id: UUID) -> dict[UUID, str]:
    """The merchant's sources by id."""
    found = await tx.execute(select(sources.c.id, sources.c.name).where(sources.c.merchant_id == merchant_id))
    return {row.id: row.name for row in found}


def _in(version: int) -> ColumnElement[bool]:
    return and_(rules.c.since <= version, or_(rules.c.until.is_(None), rules.c.until > version))
