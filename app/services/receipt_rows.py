"""The receipts of a plan as rows: numbered, under their derived ids, the buyer sealed and kept apart."""

from datetime import datetime
from typing import Any
from uuid import UUID

from app.db.records import NewReceipt
from app.db.repos.receipts import ReceiptRow
from app.db.repos.settings import BranchRow, KassaRow, SourceRow
from app.domain.codec import adjustments_to_json, filled_to_json, fiscal_from_json, receipt_to_json
from app.domain.event import EventType, PaymentEvent
from app.domain.ffd import Operation
from app.domain.identity import provider_id
from app.domain.lifecycle import Status
from app.domain.nomenclature import Filled
from app.domain.plan import CONTACT_FALLBACK, Held, Plan, Planned, Refused
from app.domain.receipt import Customer, FiscalData, Receipt
from app.infra.compact_json import json_text
from app.infra.crypto import SearchHasher, SecretBox
from app.infra.ids import new_id
from app.services.customers import contact_hashes, seal_customer
from app.services.views import held_failure


def rows_of(
    plan: Plan,
    merchant_id: UUID,
    source: SourceRow,
    branch: BranchRow | None,
    kassa: KassaRow | None,
    event: PaymentEvent,
    event_id: UUID,
    at: datetime,
    times: dict[str, Any],
) -> list[ReceiptRow]:
    """The receipts of a plan as they will be stored; a hold is one receipt that waits for its data. `times` are what
    the deadline clock says."""
    match plan:
        case Planned(receipts=receipts, items_origin=origin, filled=filled):
            known = {**times, **_noted(plan)}
            return [
                blank_row(
                    merchant_id,
                    source,
                    branch,
                    kassa,
                    event,
                    event_id,
                    number,
                    at,
                    **known,
                    **_filling(receipt, origin, filled),
                )
                for number, receipt in enumerate(receipts, start=1)
            ]
        case Held():
            return [
                blank_row(
                    merchant_id,
                    source,
                    branch,
                    kassa,
                    event,
                    event_id,
                    1,
                    at,
                    status=Status.HELD.value,
                    sequence=1,
                    failure=held_failure(plan, at),
                    **times,
                )
            ]
        case Refused():
            return []


def blank_row(
    merchant_id: UUID,
    source: SourceRow,
    branch: BranchRow | None,
    kassa: KassaRow | None,
    event: PaymentEvent,
    event_id: UUID | None,
    number: int,
    at: datetime,
    **known: Any,
) -> ReceiptRow:
    """A receipt of an event before its lines are known, or with the members that are `known` already.

    Its provider id is derived, not drawn.
    """
    default = Operation.SELL_REFUND if event.type is EventType.REFUND_SUCCEEDED else Operation.SELL
    values: dict[str, Any] = {
        "operation": default.code,
        "correction": False,
        "status": Status.QUEUED.value,
        "sequence": 0,
        "total": event.amount,
        "taxation": event.taxation,
        "chain_id": None,
        "document": None,
        "items_origin": None,
        "failure": None,
        "due_at": event.occurred_at,
        **known,
    }
    return ReceiptRow(
        id=new_id(),
        merchant_id=merchant_id,
        branch_id=branch.id if branch else None,
        kassa_id=kassa.id if kassa else None,
        source_id=source.id,
        event_id=event_id,
        number=number,
        version=1,
        provider_id=provider_id(merchant_id.hex, source.id.hex, event.type, event.external_id, number, 1),
        provider_reference=None,
        currency=event.currency,
        order_id=event.order_id,
        external_id=event.external_id,
        customer=None,
        fn=None,
        fd=None,
        fpd=None,
        fiscal=None,
        metadata=dict(event.metadata),
        marks=0,
        first_marked_at=None,
        created_at=at,
        updated_at=at,
        **values,
    )


def filled_row(row: ReceiptRow, receipt: Receipt, origin: str, plan: Planned | None = None) -> ReceiptRow:
    """The row with its document, what its plan noted and what rules did to its lines; the buyer is kept apart, sealed.
    Without a plan the notes stay."""
    noted = {} if plan is None else _noted(plan)
    return row.changed(**_filling(receipt, origin, None if plan is None else plan.filled), **noted)


def _noted(plan: Planned) -> dict[str, Any]:
    if not plan.notes and not plan.adjustments:
        return {"contact_fallback": False, "remarks": None}
    remarks = {"notes": list(plan.notes), "adjustments": adjustments_to_json(plan.adjustments)}
    return {"contact_fallback": CONTACT_FALLBACK in plan.notes, "remarks": remarks}


def fiscal_of(row: ReceiptRow) -> FiscalData | None:
    """The fiscal data as they were stored; the QR text beside them is made of them."""
    if row.fiscal is None:
        return None
    return fiscal_from_json({name: value for name, value in row.fiscal.items() if name != "qr"})


def _filling(receipt: Receipt, origin: str, filled: Filled | None) -> dict[str, Any]:
    document = receipt_to_json(receipt)
    document.pop("customer", None)
    return {
        "operation": receipt.operation.code,
        "correction": receipt.correction is not None,
        "total": receipt.total,
        "taxation": receipt.taxation.code,
        "document": document,
        "items_origin": origin,
        "nomenclature": None if filled is None else filled_to_json(filled),
    }


def new_receipt(box: SecretBox, hasher: SearchHasher, row: ReceiptRow, customer: Customer | None) -> NewReceipt:
    """A row as a statement takes it: contact sealed and hashed for search, JSON as text."""
    email, phone, tail = contact_hashes(hasher, row.merchant_id, customer)
    return NewReceipt(
        id=row.id,
        merchant_id=row.merchant_id,
        branch_id=row.branch_id,
        kassa_id=row.kassa_id,
        source_id=row.source_id,
        event_id=row.event_id,
        chain_id=row.chain_id,
        number=row.number,
        version=row.version,
        provider_id=row.provider_id,
        operation=row.operation,
        correction=row.correction,
        status=row.status,
        sequence=row.sequence,
        total=row.total,
        taxation=row.taxation,
        order_id=row.order_id,
        external_id=row.external_id,
        document=None if row.document is None else json_text(row.document),
        customer=seal_customer(box, row.merchant_id, row.id, customer),
        email_hash=email,
        phone_hash=phone,
        phone_tail_hash=tail,
        items_origin=row.items_origin,
        failure=None if row.failure is None else json_text(row.failure),
        metadata=json_text(row.metadata),
        due_at=row.due_at,
        created_at=row.created_at,
        limit_at=row.limit_at,
        alarm_at=row.alarm_at,
        contact_fallback=row.contact_fallback,
        remarks=None if row.remarks is None else json_text(row.remarks),
        nomenclature=None if row.nomenclature is None else json_text(row.nomenclature),
    )
