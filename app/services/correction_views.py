"""Corrections as the API shows them: planned documents with their tags, made ones, and the explanation draft."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from typing import Any

from app.db.repos.corrections import CorrectionRow
from app.db.repos.receipts import ReceiptRow
from app.db.repos.settings import KassaRow
from app.domain.codec import fiscal_from_json, receipt_from_json, receipt_to_json
from app.domain.correction import Case, CorrectionPlan, Document, Means, Role
from app.domain.correction_letter import Letter, Made, letter
from app.domain.ffd import CorrectionKind, FfdVersion, Operation
from app.domain.receipt import CorrectionBasis, FiscalData, Receipt
from app.domain.vat import VatRate, vat_amount
from app.infra.crypto import SecretBox
from app.infra.ids import public
from app.infra.page_links import PageLinks
from app.services.catalog import MerchantSettings
from app.services.customers import open_customer
from app.services.receipt_rows import fiscal_of
from app.services.sales import local_date
from app.services.views import lines_view, receipt_view, rfc3339

Json = dict[str, Any]


def preview_view(
    settings: MerchantSettings,
    kassa: KassaRow,
    case: Case,
    basis: CorrectionBasis,
    plan: CorrectionPlan,
    means: Means,
    wrong: ReceiptRow | None,
    differences: Sequence[str],
    reason: str | None,
    *,
    other: FiscalData | None = None,
) -> Json:
    """A correction that is not stored."""
    receipts = [document.receipt for document in plan.documents]
    facts = _facts(
        settings,
        case,
        basis,
        FfdVersion(kassa.ffd),
        receipts[0],
        wrong,
        [Made(one.operation, one.correction is not None, one.total) for one in receipts],
        differences,
        reason,
        other,
    )
    return {
        "id": None,
        "receipt_id": None if wrong is None else public("rcpt", wrong.id),
        "case": case.value,
        "basis": basis_json(basis),
        "kassa_id": public("kas", kassa.id),
        "reason": reason,
        "differences": list(differences),
        "notes": list(plan.notes),
        "documents": [document_view(one, means) for one in plan.documents],
        "explanation": letter(facts),
        "created_at": None,
    }


def correction_view(
    settings: MerchantSettings,
    one: CorrectionRow,
    wrong: ReceiptRow | None,
    made: Sequence[ReceiptRow],
    box: SecretBox,
    links: PageLinks,
    *,
    masked: bool,
) -> Json:
    """A stored one, its documents as they stand by now. `wrong` is None when the receipt was pruned."""
    case, basis = Case(one.case), _read_basis(one.basis)
    read = [receipt_from_json({**(row.document or {}), "customer": {}}) for row in made]
    other = None if one.other_document is None else fiscal_from_json(one.other_document)
    documents = []
    for row, receipt in zip(made, read, strict=True):
        document = Document(_role(case, row.number), receipt, "")
        buyer = open_customer(box, row.merchant_id, row.id, row.customer)
        shown = receipt_view(row, buyer, masked=masked, links=links)
        documents.append({**document_view(document, None), "receipt": shown})
    explanation = None
    if read:
        told = [
            Made(receipt.operation, row.correction, row.total, fiscal_of(row))
            for row, receipt in zip(made, read, strict=True)
        ]
        facts = _facts(settings, case, basis, read[0].ffd, read[0], wrong, told, one.differences, one.reason, other)
        explanation = letter(facts)
    kassa_id = made[0].kassa_id if made else None
    return {
        "id": public("cor", one.id),
        "receipt_id": public("rcpt", one.receipt_id),
        "case": one.case,
        "basis": basis_json(basis),
        "kassa_id": None if kassa_id is None else public("kas", kassa_id),
        "reason": one.reason,
        "differences": one.differences,
        "notes": one.notes,
        "documents": documents,
        "explanation": explanation,
        "created_at": rfc3339(one.created_at),
    }


def document_view(document: Document, means: Means | None) -> Json:
    """One document with what is printed of the correction. `means` None: it is shown as it was stored."""
    receipt = document.receipt
    link = receipt.additional_prop if means is None or means.additional_prop else None
    return {
        "role": document.role.value,
        "operation": receipt.operation.code,
        "correction": None if receipt.correction is None else basis_json(receipt.correction),
        "ffd": receipt.ffd.value,
        "total": receipt.total,
        "taxation": receipt.taxation.code,
        "items": lines_view(receipt_to_json(replace(receipt, additional_prop=None))["items"]),
        "payments": [{"type": paid.kind.code, "amount": paid.amount} for paid in receipt.payments],
        "vat": vat_totals(receipt),
        "totals_only": document.totals_only,
        "description": document.description or None,
        "additional_prop": link,
        "receipt": None,
    }


def vat_totals(receipt: Receipt) -> list[Json]:
    """Per rate what was sold at it and the VAT in it, kopecks; counted line by line, as the totals of a receipt are."""
    gross: dict[VatRate, int] = {}
    tax: dict[VatRate, int] = {}
    for item in receipt.items:
        gross[item.vat] = gross.get(item.vat, 0) + item.amount
        tax[item.vat] = tax.get(item.vat, 0) + vat_amount(item.amount, item.vat)
    return [{"rate": rate.code, "amount": gross[rate], "vat_amount": tax[rate]} for rate in gross]


def _facts(
    settings: MerchantSettings,
    case: Case,
    basis: CorrectionBasis,
    ffd: FfdVersion,
    first: Receipt,
    wrong: ReceiptRow | None,
    documents: Sequence[Made],
    differences: Sequence[str],
    reason: str | None,
    other: FiscalData | None,
) -> Letter:
    fiscal = other if other is not None else None if wrong is None else fiscal_of(wrong)
    printed = None
    day: date = basis.corrected_date
    if wrong is not None and fiscal is not None:
        printed = Made(Operation.parse(wrong.operation), wrong.correction, wrong.total, fiscal)
        day = local_date(fiscal.fiscalized_at, first.timezone)
    return Letter(
        seller=settings.name,
        inn=settings.inn,
        place=first.place,
        case=case,
        basis=basis,
        ffd=ffd,
        day=day,
        total=first.total if wrong is None else wrong.total,
        documents=tuple(documents),
        wrong=printed,
        differences=tuple(differences),
        reason=reason,
    )


def _role(case: Case, number: int) -> Role:
    if case is Case.NOT_REGISTERED:
        return Role.MISSING
    return Role.REVERSAL if number == 1 else Role.RIGHT


def basis_json(basis: CorrectionBasis) -> Json:
    """The basis with its API names, as it is stored too."""
    return {
        "kind": basis.kind.code,
        "corrected_date": basis.corrected_date.isoformat(),
        "document_number": basis.document_number,
    }


def _read_basis(stored: Json) -> CorrectionBasis:
    return CorrectionBasis(
        CorrectionKind.parse(stored["kind"]), date.fromisoformat(stored["corrected_date"]), stored["document_number"]
    )
