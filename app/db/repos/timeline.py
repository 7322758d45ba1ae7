"""The history of a receipt: what was noted about it and its event, and every exchange with the provider."""

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import and_, or_, select

from app.db.tables import attempts, timeline
from app.db.unit_of_work import Tx

MOST = 2000
"""More lines than a receipt can collect in its life; a bound, so that no answer grows without end."""


@dataclass(frozen=True, slots=True)
class TimelineRow:
    """One line: what happened, the state after it (if it changed), and who did it."""

    id: UUID
    event_id: UUID | None
    receipt_id: UUID | None
    at: datetime
    what: str
    status: str | None
    actor: str
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """One exchange with a provider; `exchange` is sealed."""

    id: UUID
    merchant_id: UUID
    receipt_id: UUID
    kassa_id: UUID | None
    kind: str
    provider_id: str
    worker: str
    marked_at: datetime
    finished_at: datetime | None
    outcome: str | None
    cause: str | None
    provider_code: str | None
    provider_message: str | None
    evidence: dict[str, Any] | None
    proven_absent: bool
    exchange: bytes | None


_LINES = tuple(timeline.c[f.name] for f in fields(TimelineRow))
_ATTEMPTS = tuple(attempts.c[f.name] for f in fields(AttemptRow))


async def of_receipt(tx: Tx, merchant_id: UUID, receipt_id: UUID, event_id: UUID | None) -> list[TimelineRow]:
    """Lines about the receipt and, before it existed, about the event that it was made for; oldest first."""
    mine = timeline.c.receipt_id == receipt_id
    if event_id is not None:
        mine = or_(mine, and_(timeline.c.event_id == event_id, timeline.c.receipt_id.is_(None)))
    found = await tx.execute(
        select(*_LINES)
        .where(timeline.c.merchant_id == merchant_id, mine)
        .order_by(timeline.c.at, timeline.c.id)
        .limit(MOST)
    )
    return [TimelineRow(**row._mapping) for row in found]


async def attempts_of(tx: Tx, merchant_id: UUID, receipt_id: UUID) -> list[AttemptRow]:
    """Every exchange about a receipt, oldest first."""
    found = await tx.execute(
        select(*_ATTEMPTS)
        .where(attempts.c.merchant_id == merchant_id, attempts.c.receipt_id == receipt_id)
        .order_by(attempts.c.marked_at, attempts.c.id)
        .limit(MOST)
    )
    return [AttemptRow(**row._mapping) for row in found]
