"""What planning may answer: receipts to make, a hold with the list of what is missing, or a refusal with findings."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from app.domain.basket import Adjustment
from app.domain.causes import Who
from app.domain.errors import Finding
from app.domain.event import PaymentEvent
from app.domain.nomenclature import Filled
from app.domain.receipt import Receipt


class HeldReason(StrEnum):
    """Why a receipt waits for a person or a mapping; each is also a code of `causes.py`."""

    DATA_MISSING = "data_missing"
    KASSA_MISSING = "kassa_missing"
    PAYMENT_UNKNOWN = "payment_unknown"
    SALE_NOT_FISCALIZED = "sale_not_fiscalized"
    REFUND_EXCEEDS_PAYMENT = "refund_exceeds_payment"
    LINES_NOT_FOUND = "lines_not_found"
    SETTLEMENT_EXCEEDS_PREPAYMENT = "settlement_exceeds_prepayment"
    CONTACT_MISSING = "contact_missing"
    SETTLEMENT_CONFLICT = "settlement_conflict"
    REFUND_UNCLEAR = "refund_unclear"
    NOMENCLATURE_MISSING = "nomenclature_missing"


@dataclass(frozen=True, slots=True)
class Missing:
    """One thing that is lacking: the member (JSON pointer into the event), in both languages, and who can give it."""

    field: str
    pointer: str
    detail: str
    detail_ru: str
    who: Who = Who.MERCHANT

    def finding(self) -> Finding:
        """The same said to somebody who waits for the answer."""
        return Finding(self.pointer, f"missing_{self.field}", self.detail, self.detail_ru)


@dataclass(frozen=True, slots=True)
class Held:
    """Not yet a receipt. `limit` is the most that is possible, kopecks, where a sum is the trouble; after `until` it
    goes on without what is missing."""

    reason: HeldReason
    missing: tuple[Missing, ...]
    limit: int | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Planned:
    """Receipts ready to be sent, in order. No receipts: nothing has to be printed, `notes` says why.

    `items_origin` says where the lines came from: `event`, what the source called it, `person` (typed by one),
    `nomenclature` (a rule named one of them), `default` (a configured name), `sale` (copied from the sale) or `spread`
    (a sum laid over the sale's lines). `notes` are "code" or "code: where details", with a code of `remarks.py`;
    `adjustments` say how lines of the event became lines of the receipt; `filled` is what rules did to the lines.
    """

    receipts: tuple[Receipt, ...]
    items_origin: str
    notes: tuple[str, ...] = ()
    adjustments: tuple[Adjustment, ...] = ()
    filled: Filled | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """The report contradicts itself or the law; its sender must correct it."""

    findings: tuple[Finding, ...]


CONTACT_FALLBACK = "contact_fallback"
"""Note of a plan: the buyer left no usable contact, the merchant's own address stands in the receipt."""

Plan = Planned | Held | Refused


def unanswered(event: PaymentEvent) -> tuple[Missing, ...]:
    """What the source itself asks before its event can become a receipt."""
    asked = event.question
    return () if asked is None else (Missing(asked.member, f"#/{asked.member}", asked.detail, asked.detail_ru),)
