"""Webhook endpoints and what was sent to them, as rows."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, insert, select, tuple_, update

from app.db.repos.listing import newest
from app.db.repos.paging import Position
from app.db.tables import deliveries, webhook_endpoints
from app.db.unit_of_work import Tx


@dataclass(frozen=True, slots=True)
class EndpointRow:
    """A webhook endpoint; both secrets are sealed."""

    id: UUID
    merchant_id: UUID
    url: str
    types: list[str]
    description: str | None
    secret: bytes
    previous_secret: bytes | None
    previous_secret_until: datetime | None
    status: str
    disabled_reason: str | None
    failing_since: datetime | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """One attempt to post one message."""

    id: UUID
    message_id: UUID
    at: datetime
    outcome: str
    response_status: int | None
    reason: str | None
    response_head: str | None
    duration_ms: int | None


async def create(tx: Tx, merchant_id: UUID, endpoint_id: UUID, values: dict[str, Any]) -> EndpointRow:
    row = await tx.execute(
        insert(webhook_endpoints).values(id=endpoint_id, merchant_id=merchant_id, **values).returning(webhook_endpoints)
    )
    return EndpointRow(**row.one()._mapping)


async def by_id(tx: Tx, merchant_id: UUID, endpoint_id: UUID, *, lock: bool = False) -> EndpointRow | None:
    query = select(webhook_endpoints).where(
        webhook_endpoints.c.merchant_id == merchant_id, webhook_endpoints.c.id == endpoint_id
    )
    row = (await tx.execute(query.with_for_update() if lock else query)).one_or_none()
    return None if row is None else EndpointRow(**row._mapping)


async def page(tx: Tx, merchant_id: UUID, before: Position | None, limit: int) -> list[EndpointRow]:
    query = select(webhook_endpoints).where(webhook_endpoints.c.merchant_id == merchant_id)
    found = await tx.execute(newest(query, webhook_endpoints, before, limit))
    return [EndpointRow(**row._mapping) for row in found]


async def change(tx: Tx, merchant_id: UUID, endpoint_id: UUID, values: dict[str, Any]) -> EndpointRow:
    """The caller has read the endpoint before; its row after the change."""
    row = await tx.execute(
        update(webhook_endpoints)
        .where(webhook_endpoints.c.merchant_id == merchant_id, webhook_endpoints.c.id == endpoint_id)
        .values(**values, updated_at=func.kassa_now())
        .returning(webhook_endpoints)
    )
    return EndpointRow(**row.one()._mapping)


async def deliveries_page(
    tx: Tx, merchant_id: UUID, endpoint_id: UUID, before: Position | None, limit: int
) -> list[DeliveryRow]:
    """Attempts of one endpoint, newest first."""
    columns = (
        deliveries.c.id,
        deliveries.c.message_id,
        deliveries.c.at,
        deliveries.c.outcome,
        deliveries.c.response_status,
        deliveries.c.reason,
        deliveries.c.response_head,
        deliveries.c.duration_ms,
    )
    query = select(*columns).where(deliveries.c.merchant_id == merchant_id, deliveries.c.endpoint_id == endpoint_id)
    if before is not None:
        query = query.where(tuple_(deliveries.c.at, deliveries.c.id) < tuple_(*before))
    found = await tx.execute(query.order_by(deliveries.c.at.desc(), deliveries.c.id.desc()).limit(limit))
    return [DeliveryRow(**row._mapping) for row in found]
