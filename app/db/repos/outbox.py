"""Deliveries: what is to be posted where, and what came of each try."""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import func, insert, update

from app.db.tables import deliveries, message_endpoints, webhook_endpoints
from app.db.unit_of_work import Tx
from app.infra.ids import new_id


class Parcel(NamedTuple):
    """One message for one endpoint; secrets are sealed."""

    id: UUID
    merchant_id: UUID
    message_id: UUID
    endpoint_id: UUID
    status: str
    attempts: int
    created_at: datetime
    type: str
    body: bytes
    url: str
    secret: bytes
    previous_secret: bytes | None
    previous_secret_until: datetime | None
    endpoint_status: str
    failing_since: datetime | None


@dataclass(frozen=True, slots=True)
class Try:
    """One attempt to post."""

    outcome: str
    response_status: int | None
    reason: str | None
    response_head: str | None
    duration_ms: int


async def record(tx: Tx, parcel: Parcel, one: Try) -> None:
    """Append to the delivery log."""
    await tx.execute(
        insert(deliveries).values(
            id=new_id(),
            merchant_id=parcel.merchant_id,
            message_endpoint_id=parcel.id,
            message_id=parcel.message_id,
            endpoint_id=parcel.endpoint_id,
            outcome=one.outcome,
            response_status=one.response_status,
            reason=one.reason,
            response_head=one.response_head,
            duration_ms=one.duration_ms,
        )
    )


async def set_status(tx: Tx, parcel: Parcel, status: str, attempts: int) -> None:
    values: dict[str, object] = {"status": status, "attempts": attempts}
    if status == "delivered":
        values["delivered_at"] = func.kassa_now()
    await tx.execute(update(message_endpoints).where(message_endpoints.c.id == parcel.id).values(**values))


async def disable(tx: Tx, endpoint_id: UUID, reason: str) -> bool:
    """Switch an endpoint off; False when it already was."""
    found = await tx.execute(
        update(webhook_endpoints)
        .where(webhook_endpoints.c.id == endpoint_id, webhook_endpoints.c.status == "active")
        .values(status="disabled", disabled_reason=reason, updated_at=func.kassa_now())
        .returning(webhook_endpoints.c.id)
    )
    return found.one_or_none() is not None
