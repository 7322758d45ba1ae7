"""The story of one payment: its sale, and every receipt that took from it since, as values that the ledger counts."""

from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from app.db.repos import chains, corrections, prepayments, receipts
from app.db.repos.chains import Chain
from app.db.repos.prepayments import Part
from app.db.repos.receipts import ReceiptRow
from app.db.unit_of_work import Tx
from app.domain.codec import receipt_from_json
from app.domain.ffd import Operation, PaymentKind
from app.domain.lifecycle import Status
from app.domain.receipt import Customer, Receipt
from app.infra.crypto import SecretBox
from app.services.correction_standing import any_corrected, standing
from app.services.customers import open_customer

SALES = (Operation.SELL.code, Operation.BUY.code)
NOT_COUNTED = (Status.CANCELLED.value, Status.REJECTED.value, Status.HELD.value)
"""States in which a receipt takes nothing from a payment."""


@dataclass(frozen=True, slots=True)
class Taken:
    """The receipts of one payment in their order; `parts` is what closings of whole orders drew from it.

    After a correction `sale` is its right form; `aside` are the wrong receipt and its reversal, which count no more.
    """

    rows: list[ReceiptRow]
    sale: ReceiptRow | None
    parts: list[Part]
    aside: frozenset[UUID] = field(default=frozenset(), kw_only=True)

    @property
    def counted(self) -> list[ReceiptRow]:
        return [row for row in self.rows if row.status not in NOT_COUNTED and row.id not in self.aside]


@dataclass(frozen=True, slots=True)
class Story(Taken):
    """The same of a locked chain, the sale first."""

    chain: Chain


class Stories:
    """Reads stories and opens their documents."""

    def __init__(self, box: SecretBox) -> None:
        self._box = box

    async def read(self, tx: Tx, chain: Chain) -> Story:
        """A locked chain's receipts in their order: the sale first, whenever it was reported."""
        sold_by = await chains.sale_event(tx, chain)
        rows = await receipts.of_chain(tx, chain.merchant_id, chain.id)
        rows.sort(key=lambda row: row.event_id != sold_by)
        sale = next((row for row in rows if row.event_id == sold_by and row.operation in SALES), None)
        parts = await prepayments.parts_on(tx, chain.merchant_id, [chain.id])
        known = await corrections.of_chain(tx, chain.merchant_id, chain.id) if any_corrected(rows) else []
        stands = standing(None if sold_by is None else sale, rows, known)
        aside = frozenset(row.id for row in rows) - frozenset(row.id for row in stands.rows)
        return Story(rows, stands.sale, parts, chain, aside=aside)

    def document(self, row: ReceiptRow) -> Receipt:
        """A stored receipt as a value, its buyer opened."""
        return document(row, open_customer(self._box, row.merchant_id, row.id, row.customer))


def document(row: ReceiptRow, customer: Customer | None = None) -> Receipt:
    """A stored receipt as a value, with this buyer or without. ValueError for a held one."""
    if row.document is None:
        raise ValueError("a held receipt has no document")
    return receipt_from_json(row.document, customer or Customer())


def original_of(chain: Chain) -> Receipt | None:
    """The sale of a chain whose receipt another program printed, once its first return has told it."""
    return None if chain.original is None else _without_buyer(chain.original["receipt"])


def refunds(story: Taken, *, besides: UUID | None = None) -> list[Receipt]:
    """What went back, but by this event."""
    return [document(row) for row in story.counted if is_refund(row) and row.event_id != besides]


def closings(story: Taken, *, besides: UUID | None = None) -> list[Receipt]:
    """What was closed, but by this event: closings of this payment, and what those of its order drew from it."""
    own = [
        document(row)
        for row in story.counted
        if row.operation in SALES and row is not story.sale and row.event_id != besides
    ]
    return own + [
        replace(_without_buyer({**part.document, "items": part.items}), correction=None)
        for part in _standing(story, besides)
        if part.document is not None and not part.moved
    ]


def moved(story: Taken, *, besides: UUID | None = None) -> tuple[list[Receipt], int]:
    """What other payments offset of this one, but by this event, and how many kopecks of it their returns gave back."""
    parts = [part for part in _standing(story, besides) if part.moved]
    taken = [
        replace(_without_buyer({**part.document, "items": part.items}), correction=None)
        for part in parts
        if part.document is not None and part.amount > 0
    ]
    return taken, -sum(part.amount for part in parts if part.amount < 0)


def _standing(story: Taken, besides: UUID | None) -> list[Part]:
    return [part for part in story.parts if counts(part) and (besides is None or part.event_id != besides)]


def counts(part: Part) -> bool:
    """Whether a closing still takes its part; one that is too old to be kept was final."""
    return part.status not in NOT_COUNTED


def offsets_others(row: ReceiptRow) -> bool:
    """Whether a payment, or its return, may have parts in the prepayments of other payments."""
    return any(paid["kind"] == PaymentKind.PREPAID.code for paid in (row.document or {}).get("payments", ()))


def is_refund(row: ReceiptRow) -> bool:
    return Operation.parse(row.operation).is_refund


def _without_buyer(stored: dict[str, Any]) -> Receipt:
    return receipt_from_json(stored, Customer())
