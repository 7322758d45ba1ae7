"""Prepayments on the wire: money taken before goods or lessons, and what became of it."""

from pydantic import Field

from app.api.schemas.lines import CustomerOut
from app.api.types import BranchId, EventId, KassaId, ReceiptId, ResponseModel, SourceId, Timestamp


class BalanceOut(ResponseModel):
    """Kopecks; received = closed + returned + open, always."""

    received: int
    closed: int = Field(description="Given to the buyer and closed by receipts (offset, tag 1215).")
    returned: int = Field(description="Gone back as it had been prepaid.")
    open: int = Field(description="Neither closed nor returned: the goods or lessons are still owed.")
    returned_later: int = Field(description="Gone back after it had been closed; part of `closed`.")


class PrepaymentOut(BalanceOut):
    """One prepayment with what was closed and returned of it."""

    id: ReceiptId = Field(description="The receipt of the prepayment.")
    event_id: EventId | None
    payment_id: str | None = Field(description="Your id of the payment: what a refund or closing names.")
    order_id: str | None
    source_id: SourceId
    branch_id: BranchId | None
    kassa_id: KassaId | None
    status: str
    customer: CustomerOut | None
    closed_by: list[ReceiptId]
    returned_by: list[ReceiptId]
    age_days: int = Field(description="Whole days since it was reported.")
    created_at: Timestamp


class TotalOut(BalanceOut):
    """The sums of several prepayments."""

    payments: int = Field(description="How many prepayments were added up.")
