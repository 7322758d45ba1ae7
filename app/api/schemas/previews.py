"""A dry run: what a request would become, and what would be sent; nothing is stored."""

from typing import Any

from pydantic import Field

from app.api.schemas.lines import CustomerOut, ItemOut, PaymentOut
from app.api.schemas.receipts import AdjustmentOut, FilledOut, RemarkOut
from app.api.types import EventId, KassaId, ResponseModel


class PayloadOut(ResponseModel):
    """The request body as the driver would write it."""

    provider: str
    body: dict[str, Any] = Field(
        description="In the provider's own words. Secrets are shown as `***`; contacts are masked unless the key has "
        "the scope `receipts:read_pii`."
    )


class DryReceiptOut(ResponseModel):
    """A receipt that would be made."""

    operation: str
    ffd: str
    taxation: str
    total: int
    customer: CustomerOut | None
    items: list[ItemOut]
    items_origin: str
    nomenclature: FilledOut | None = Field(description="What rules of the nomenclature filled; null: nothing.")
    adjustments: list[AdjustmentOut]
    payments: list[PaymentOut]
    payload: PayloadOut | None = Field(description="Null when the provider cannot carry it; `findings` say why.")


class DryRunOut(ResponseModel):
    """What the same request would do without `dry_run`."""

    dry_run: bool
    outcome: str = Field(
        description="`planned`: it would be sent; `held`: it would wait for what is missing; `refused`: it would be "
        "answered with these findings; `ignored`: the settings make no receipt of it; `nothing_to_print`."
    )
    existing_id: EventId | None = Field(description="The event that was reported under this identity already.")
    kassa_id: KassaId | None
    reason: dict[str, Any] | None = Field(description="Why it would be held or ignored.")
    findings: list[RemarkOut] = Field(description="All at once: errors, then warnings, then what would be put right.")
    receipts: list[DryReceiptOut]
