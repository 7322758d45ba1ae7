"""Events as rows: one, a page of them, and which event owns the money that a linked one reported again."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, Text, any_, bindparam, literal, select, tuple_

from app.db.repos.paging import Position
from app.db.tables import event_identities, events, settlement_keys, sources
from app.db.unit_of_work import Tx
from app.domain.event import EventStatus, EventType


class EventRow(NamedTuple):
    """One event as stored; `payload` is sealed, jsonb members are parsed. `linked_to` reported the same money first."""

    id: UUID
    merchant_id: UUID
    source_id: UUID
    type: str
    external_id: str
    payment_id: str | None
    order_id: str | None
    settlement_key: str | None
    chain_id: UUID | None
    status: str
    reason: dict[str, Any] | None
    amount: int
    currency: str
    occurred_at: datetime
    payload: bytes
    metadata: dict[str, Any]
    test: bool
    received_at: datetime
    linked_to: UUID | None = None


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events: each member narrows, an empty one does not."""

    status: tuple[str, ...] = ()
    type: tuple[str, ...] = ()
    source_id: UUID | None = None
    external_id: str | None = None
    payment_id: str | None = None
    order_id: str | None = None
    received_from: datetime | None = None
    received_to: datetime | None = None
    ids: tuple[UUID, ...] | None = None


EVENT_COLUMNS = tuple(events.c[name] for name in EventRow._fields)


async def amounts(
    tx: Tx, merchant_id: UUID, source_id: UUID, type: str, external_ids: Sequence[str]
) -> dict[str, int | None]:
    """Kopecks of those events of one source that were ever reported; None: pruned, or it became no receipt."""
    found = await tx.execute(
        select(event_identities.c.external_id, events.c.amount, events.c.status)
        .outerjoin(events, events.c.id == event_identities.c.event_id)
        .where(
            event_identities.c.merchant_id == merchant_id,
            event_identities.c.source_id == source_id,
            event_identities.c.type == type,
            event_identities.c.external_id == any_(bindparam("external_ids", list(external_ids), ARRAY(Text))),
        )
    )
    return {row.external_id: None if row.status in _WITHOUT_RECEIPT else row.amount for row in found}


_WITHOUT_RECEIPT = (EventStatus.IGNORED.value, EventStatus.REFUSED.value)


@dataclass(frozen=True, slots=True)
class Identity:
    """Which event owns an identity, and what it said."""

    event_id: UUID
    content_hash: bytes


async def identity(tx: Tx, merchant_id: UUID, source_id: UUID, type: str, external_id: str) -> Identity | None:
    """The permanent identity of an event, if it was ever reported."""
    row = (
        await tx.execute(
            select(event_identities.c.event_id, event_identities.c.content_hash).where(
                event_identities.c.merchant_id == merchant_id,
                event_identities.c.source_id == source_id,
                event_identities.c.type == type,
                event_identities.c.external_id == external_id,
            )
        )
    ).one_or_none()
    return None if row is None else Identity(row.event_id, row.content_hash)


async def reported_as(tx: Tx, merchant_id: UUID, external_id: str) -> list[UUID]:
    """Events that any source of the merchant reported under this id: the identities are the index of it.

    The table is the pipeline's alone, so `tx` is a transaction of the pipeline.
    """
    found = await tx.execute(
        select(event_identities.c.event_id).where(
            event_identities.c.merchant_id == merchant_id,
            event_identities.c.source_id.in_(select(sources.c.id).where(sources.c.merchant_id == merchant_id)),
            event_identities.c.type.in_([type.value for type in EventType]),
            event_identities.c.external_id == external_id,
        )
    )
    return list(found.scalars())


async def reported_among(tx: Tx, merchant_id: UUID, external_ids: Sequence[str]) -> dict[str, UUID]:
    """Of these ids those under which any source of the merchant reported something, each with its event."""
    found = await tx.execute(
        select(event_identities.c.external_id, event_identities.c.event_id).where(
            event_identities.c.merchant_id == merchant_id,
            event_identities.c.source_id.in_(select(sources.c.id).where(sources.c.merchant_id == merchant_id)),
            event_identities.c.type.in_([type.value for type in EventType]),
            event_identities.c.external_id.in_(external_ids),
        )
    )
    return {row.external_id: row.event_id for row in found}


async def by_id(tx: Tx, merchant_id: UUID, event_id: UUID, *, lock: bool = False) -> EventRow | None:
    """One event of one merchant, locked until the transaction ends if asked for."""
    query = select(*EVENT_COLUMNS).where(events.c.merchant_id == merchant_id, events.c.id == event_id)
    row = (await tx.execute(query.with_for_update() if lock else query)).one_or_none()
    return None if row is None else EventRow(**row._mapping)


async def page(tx: Tx, merchant_id: UUID, wanted: EventFilter, before: Position | None, limit: int) -> list[EventRow]:
    """The newest events behind a position, newest first."""
    query = select(*EVENT_COLUMNS).where(events.c.merchant_id == merchant_id)
    if wanted.ids is not None:
        query = query.where(events.c.id.in_(wanted.ids))
    if wanted.status:
        query = query.where(_one_of("status", wanted.status))
    if wanted.type:
        query = query.where(_one_of("type", wanted.type))
    for name in ("source_id", "external_id", "payment_id", "order_id"):
        value = getattr(wanted, name)
        if value is not None:
            query = query.where(events.c[name] == value)
    if wanted.received_from is not None:
        query = query.where(events.c.received_at >= wanted.received_from)
    if wanted.received_to is not None:
        query = query.where(events.c.received_at < wanted.received_to)
    if before is not None:
        query = query.where(tuple_(events.c.received_at, events.c.id) < tuple_(*before))
    found = await tx.execute(query.order_by(events.c.received_at.desc(), events.c.id.desc()).limit(limit))
    return [EventRow(**row._mapping) for row in found]


async def status(tx: Tx, merchant_id: UUID, event_id: UUID) -> str | None:
    """Where one event stands; None when this merchant has no such event."""
    found: str | None = (
        await tx.execute(select(events.c.status).where(events.c.merchant_id == merchant_id, events.c.id == event_id))
    ).scalar_one_or_none()
    return found


async def owners(tx: Tx, merchant_id: UUID, keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], UUID]:
    """The event that came first under each (type, settlement key).

    The table is the pipeline's alone, so `tx` is a transaction of the pipeline.
    """
    found = await tx.execute(
        select(settlement_keys.c.type, settlement_keys.c.settlement_key, settlement_keys.c.event_id).where(
            settlement_keys.c.merchant_id == merchant_id,
            tuple_(settlement_keys.c.type, settlement_keys.c.settlement_key).in_(list(keys)),
        )
    )
    return {(row.type, row.settlement_key): row.event_id for row in found}


async def keys_told_by(tx: Tx, merchant_id: UUID, type: str, keys: Sequence[str], source_id: UUID) -> set[str]:
    """Of these settlement keys those under which this source has reported something; `tx` is the pipeline's."""
    found = await tx.execute(
        select(settlement_keys.c.settlement_key).where(
            settlement_keys.c.merchant_id == merchant_id,
            settlement_keys.c.type == type,
            settlement_keys.c.settlement_key.in_(keys),
            literal(source_id) == any_(settlement_keys.c.sources),
        )
    )
    return set(found.scalars())


def _one_of(name: str, values: Sequence[str]) -> ColumnElement[bool]:
    """Words of our own, written into the statement: a partial index is used only where the planner sees its words."""
    column = events.c[name]
    if len(values) == 1:
        return column == bindparam(f"the_{name}", values[0], literal_execute=True)
    return column.in_(bindparam(f"the_{name}", list(values), expanding=True, literal_execute=True))
