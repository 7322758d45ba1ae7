"""A list of payments without receipts as the API shows it: counts, and each row with its findings and its receipt."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from app.db.repos.correction_batches import BatchRow, PaymentRow
from app.domain.errors import Finding
from app.infra.ids import public
from app.services.views import rfc3339


def batch_view(batch: BatchRow, rows: Sequence[PaymentRow], made: Mapping[UUID, tuple[UUID, str]]) -> dict[str, Any]:
    """The list with what became of each row; `made` are the receipts by event."""
    statuses: dict[str, int] = {}
    for _, status in made.values():
        statuses[status] = statuses.get(status, 0) + 1
    states = {state: sum(row.state == state for row in rows) for state in ("planned", "sent", "refused", "failed")}
    return {
        "id": public("cbt", batch.id),
        "status": _status(batch, states, statuses),
        "source_id": public("src", batch.source_id),
        "documents": batch.documents,
        "refused": batch.refused,
        "total": batch.total,
        "rows_by_state": states,
        "receipts_by_status": statuses,
        "rows": [_row_view(row, made) for row in rows],
        "token": None,
        "created_at": rfc3339(batch.created_at),
        "expires_at": rfc3339(batch.expires_at),
        "confirmed_at": None if batch.confirmed_at is None else rfc3339(batch.confirmed_at),
    }


def _status(batch: BatchRow, states: Mapping[str, int], statuses: Mapping[str, int]) -> str:
    if batch.confirmed_at is None:
        return "previewed"
    if states["planned"] or any(one not in ("fiscalized", "rejected", "cancelled") for one in statuses):
        return "sending"
    return "done"


def _row_view(row: PaymentRow, made: Mapping[UUID, tuple[UUID, str]]) -> dict[str, Any]:
    receipt, status = made.get(row.event_id, (None, None)) if row.event_id is not None else (None, None)
    return {
        "number": row.number,
        "payment_id": row.external_id,
        "amount": row.amount,
        "state": row.state,
        "findings": row.findings,
        "document": None,
        "event_id": None if row.event_id is None else public("evt", row.event_id),
        "receipt_id": None if receipt is None else public("rcpt", receipt),
        "receipt_status": status,
    }


def finding_view(one: Finding) -> dict[str, Any]:
    """A finding as problems show it."""
    return {
        "pointer": one.pointer,
        "detail": one.detail,
        "detail_ru": one.detail_ru,
        "code": one.rule,
        "ffd_tag": one.tag,
        "fix": one.fix,
    }
