"""What still stands of a payment after its corrections: a repaired receipt gives way to its right form.

A refund or closing is planned from what stands, and only what stands is counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from app.db.repos.corrections import CorrectionRow
from app.db.repos.receipts import ReceiptRow
from app.domain.correction import Case
from app.domain.lifecycle import Status

PREFIX = "correction:"
"""Beginning of the external id of every event that stands for a correction."""

_GONE = (Status.CANCELLED.value, Status.REJECTED.value, Status.HELD.value)


@dataclass(frozen=True, slots=True)
class Standing:
    """The sale as it stands, the receipts that count, and the receipts that a live correction has put aside."""

    sale: ReceiptRow | None
    rows: list[ReceiptRow]
    repaired: frozenset[UUID]


def any_corrected(rows: Sequence[ReceiptRow]) -> bool:
    """Whether a payment may have corrections at all: most have none, and nothing is read for them."""
    return any((row.external_id or "").startswith(PREFIX) for row in rows)


def standing(sale: ReceiptRow | None, rows: Sequence[ReceiptRow], corrections: Sequence[CorrectionRow]) -> Standing:
    """What stands of a chain's receipts; `corrections` in the order in which they were asked for.

    A correction counts from the moment it is planned, and counts no more when its first document was refused or
    cancelled. A duplicate without another document is a full refund; one with another document changes nothing here.
    """
    left = {row.id: row for row in rows}
    repaired: set[UUID] = set()
    for one in corrections:
        documents = sorted((row for row in rows if row.event_id == one.event_id), key=lambda row: row.number)
        case = Case(one.case)
        if case is Case.DUPLICATE and one.other_document is None:
            continue
        live = bool(documents) and (documents[0].status not in _GONE or made_elsewhere(documents[0]))
        right = documents[-1] if live and case is not Case.DUPLICATE else None
        for document in documents:
            if document is not right:
                left.pop(document.id, None)
        if right is None:
            continue
        repaired.add(one.receipt_id)
        left.pop(one.receipt_id, None)
        if sale is not None and sale.id == one.receipt_id:
            sale = right
    return Standing(sale, list(left.values()), frozenset(repaired))


def made_elsewhere(row: ReceiptRow) -> bool:
    """Whether a person said that this document exists, made in the provider's cabinet."""
    return row.status == Status.CANCELLED.value and (row.failure or {}).get("answer") == "made_elsewhere"


def waits_for_sibling(row: ReceiptRow, rows: Sequence[ReceiptRow]) -> bool:
    """Whether an earlier document of the same event is not made yet: the right receipt never goes before the reversal,
    and not at all without it."""
    return any(one.status != Status.FISCALIZED.value and not made_elsewhere(one) for one in _before(row, rows))


def lost_its_sibling(row: ReceiptRow, rows: Sequence[ReceiptRow]) -> bool:
    """Whether it waits for an earlier document of its event that was given up."""
    gone = (one.status == Status.CANCELLED.value and not made_elsewhere(one) for one in _before(row, rows))
    return row.status == Status.QUEUED.value and any(gone)


def _before(row: ReceiptRow, rows: Sequence[ReceiptRow]) -> list[ReceiptRow]:
    return [one for one in rows if one.event_id == row.event_id is not None and one.number < row.number]
