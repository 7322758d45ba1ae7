"""What the trace of an event tells of it: ids, states and codes, and nothing that anybody wrote."""

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from app.db.records import Accepted, NewEvent
from app.db.repos.corrections import CorrectionRow
from app.db.repos.outbox import Parcel
from app.db.repos.receipts import ReceiptRow
from app.db.repos.settings import KassaRow, SourceRow
from app.domain.event import EventStatus
from app.domain.lifecycle import Status
from app.infra.ids import public
from app.infra.tracing import NOTHING, Kind, Span, Told, Tracing, http_call, root_of
from app.outbound.sender import Delivered, SendResult
from app.queue.jobs import Job, JobKind
from app.queue.settle import Settlement

_TURNS = {JobKind.FISCALIZE: "submit", JobKind.POLL: "poll", JobKind.RECONCILE: "lookup"}
_FAILED = frozenset({"rejected", "unavailable", "unknown", "cannot_tell"})


def tell_intake(
    tracing: Tracing,
    source: SourceRow,
    event: NewEvent,
    rows: Sequence[ReceiptRow],
    accepted: Accepted,
    began: int,
    planned_at: int,
) -> None:
    """The intake of an event that is stored by now, and the plan that was made of it within."""
    if not tracing.on:
        return
    status = event.status
    if accepted.linked or accepted.clashes:
        # What was planned of it is not stored: its money was reported before.
        rows = ()
        if status != EventStatus.IGNORED.value:
            status = (EventStatus.LINKED if accepted.linked else EventStatus.RECEIVED).value
    values = {
        "kassa.event.id": public("evt", event.id),
        "kassa.event.type": event.type,
        "kassa.event.status": status,
        "kassa.merchant.id": public("mer", event.merchant_id),
        "kassa.source.id": public("src", source.id),
        "kassa.source.kind": source.kind,
    }
    span = tracing.arrived(event.id, began, values)
    for row in rows:
        span.child("plan", _receipt(row), started=began).end(planned_at)
    span.end()


def tell_correction(tracing: Tracing, one: CorrectionRow, began: int) -> None:
    """The event that a correction is."""
    values = {
        "kassa.event.id": public("evt", one.event_id),
        "kassa.correction.id": public("cor", one.id),
        "kassa.merchant.id": public("mer", one.merchant_id),
    }
    tracing.arrived(one.event_id, began, values).end()


def tell_plan(
    tracing: Tracing,
    event_id: UUID,
    status: EventStatus,
    reason: dict[str, Any] | None,
    row: ReceiptRow | None,
    began: int,
    paid: UUID | None,
) -> None:
    """An event that waited was planned, or is held; `paid` is the payment that it looks back at."""
    values: Told = {"kassa.event.id": public("evt", event_id), "kassa.event.status": status.value}
    if row is not None:
        values |= _receipt(row)
    if reason is not None:
        values["kassa.failure.code"] = reason["code"]
    links = () if paid is None or paid == event_id else (root_of(paid),)
    tracing.span(event_id, "plan", values, started=began, links=links).end()


def attempt(tracing: Tracing, job: Job, row: ReceiptRow, kassa: KassaRow) -> Span:
    """One turn at the kassa: a submit, a poll or a look-up."""
    if not tracing.on:
        return NOTHING
    values = {
        **_receipt(row),
        "kassa.merchant.id": public("mer", row.merchant_id),
        "kassa.kassa.id": public("kas", kassa.id),
        "kassa.provider": kassa.provider,
        "kassa.operation": row.operation,
        "kassa.attempt.number": job.attempt,
    }
    return tracing.span(row.event_id or row.id, _TURNS[job.kind], values)


def tell_attempt(span: Span, learned: Settlement, failure: dict[str, Any] | None) -> None:
    """What an exchange with a kassa has taught, and what that makes of the receipt."""
    if not span.on:
        return
    span.set(
        {
            "kassa.attempt.id": public("att", learned.attempt_id),
            "kassa.attempt.kind": learned.attempt_kind,
            "kassa.attempt.outcome": learned.outcome,
            "kassa.receipt.status": learned.status,
        }
    )
    if learned.outcome in _FAILED or learned.status == Status.NEEDS_ATTENTION.value:
        span.fail(learned.outcome if failure is None else failure["code"])


def delivery(tracing: Tracing, parcel: Parcel) -> Span:
    """The post of a message, in the trace of the event that its frozen body names. One about no event has a trace of
    its own for each endpoint, and its first post is the root."""
    if not tracing.on:
        return NOTHING
    url = urlsplit(parcel.url)
    data = json.loads(parcel.body)["data"]
    named = (data.get("receipt") or {}).get("event_id") or (data.get("event") or {}).get("id")
    values = {
        **http_call("POST", url.scheme, url.hostname, url.port),
        "http.request.resend_count": parcel.attempts,
        "kassa.merchant.id": public("mer", parcel.merchant_id),
        "kassa.message.id": public("msg", parcel.message_id),
        "kassa.message.type": parcel.type,
        "kassa.endpoint.id": public("whe", parcel.endpoint_id),
    }
    return tracing.span(
        parcel.id if named is None else UUID(hex=named.removeprefix("evt_")),
        "deliver",
        values,
        kind=Kind.CLIENT,
        root=named is None and parcel.attempts == 0,
    )


def tell_delivery(span: Span, result: SendResult) -> None:
    """What came of the post."""
    if result.status is not None:
        span.set({"http.response.status_code": result.status})
    if not isinstance(result, Delivered):
        span.fail("no_answer" if result.status is None else str(result.status))


def _receipt(row: ReceiptRow) -> Told:
    return {"kassa.receipt.id": public("rcpt", row.id), "kassa.receipt.status": row.status}
