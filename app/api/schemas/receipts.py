"""Receipts on the wire: the answer with all its parts."""

from datetime import date
from typing import Any

from pydantic import ConfigDict, Field

from app.api.schemas.lines import (
    CashierOut,
    CustomerOut,
    ItemOut,
    OperatingOut,
    PaymentOut,
    SectoralOut,
    UserPropOut,
)
from app.api.types import AttemptId, BranchId, EventId, KassaId, MerchantId, ReceiptId, ResponseModel, Timestamp


class MissingOut(ResponseModel):
    """One thing that a held event or receipt lacks."""

    field: str
    pointer: str = Field(description="JSON pointer into the event, such as `#/items/0/vat`.")
    detail: str
    detail_ru: str
    who: str = Field(description="Who can give it: `buyer_data`, `merchant`, `operator` or `provider`.")


class RemarkOut(ResponseModel):
    """What was noticed about a receipt or put right in it, or, of a dry run, what is wrong with the request."""

    severity: str = Field(description="`error`: it cannot be sent; `warning`: look at it; `fixed`: put right here.")
    code: str = Field(description="Stable name of the rule.")
    pointer: str = Field(description="JSON pointer into the event, such as `#/items/0/name`.")
    detail: str
    detail_ru: str
    ffd_tag: int | None = Field(description="Tag of the fiscal format that it is about.")
    fix: str | None = Field(description="What to do.")


class TakenOut(ResponseModel):
    """Kopecks taken from a line."""

    reason: str = Field(description="`line_discount`, `discount`, `bonus`, `coupon` or `zero_line`.")
    amount: int = Field(description="Negative where a kopeck was put on a line that would have cost nothing.")
    name: str | None = Field(description="The source's own word, such as the coupon's code.")


class AdjustmentOut(ResponseModel):
    """How one line of the event became its lines in the receipt: `full` less all that was `taken` is `amount`."""

    line: int = Field(description="Which line of the event, from 0.")
    name: str
    full: int = Field(description="Kopecks before all discounts.")
    amount: int = Field(description="Kopecks in the receipt.")
    taken: list[TakenOut]
    items: list[int] = Field(description="Its lines in the receipt, from 0; none: it costs nothing and was left out.")
    change: str | None = Field(
        description="How it was rewritten: `line_split`, `price_fitted`, `quantity_in_name`, `free_line_dropped`…"
    )


class FiscalOut(ResponseModel):
    """The document in fiscal storage: (fn, fd) is its identity, fpd verifies it."""

    fn: str | None = Field(description="Number of the fiscal storage (tag 1041).")
    fd: int | None = Field(description="Number of the document (tag 1040).")
    fpd: str | None = Field(description="Fiscal sign (tag 1077).")
    kkt_rn: str | None = Field(description="Registration number of the register (tag 1037).")
    kkt_serial: str | None = Field(description="Serial number of the register (tag 1013).")
    shift: int | None
    number_in_shift: int | None
    fiscalized_at: Timestamp | None
    local_time: str | None = Field(description="Tag 1012 as the provider wrote it: the register's own clock.")
    ffd: str | None
    receipt_url: str | None = Field(description="Where the buyer can see the receipt.")
    qr: str | None = Field(description="Text of the QR code by which anybody checks the receipt.")


class FailureOut(ResponseModel):
    """Why the receipt stands still: what happened, who acts, what to do next. Causes may bring further members."""

    model_config = ConfigDict(extra="allow")

    code: str
    message: str
    message_ru: str
    who: str = Field(description="Who can end the trouble: `buyer_data`, `merchant`, `operator` or `provider`.")
    next_step: str
    next_step_ru: str | None
    retryable: bool = Field(description="Whether it may succeed later without any change.")
    provider_code: str | None
    provider_message: str | None
    at: Timestamp | None


class CorrectionOut(ResponseModel):
    """Why a correction receipt is made (tags 1173, 1178, 1179)."""

    kind: str | None
    corrected_date: date | None
    document_number: str | None


class CorrectionDraftOut(ResponseModel):
    """What correction could be made of a late receipt; its lines and payments would be the receipt's own."""

    kind: str = Field(description="`self`: by oneself, before the tax service asks (tag 1173).")
    operation: str
    corrected_date: date = Field(description="Local day of the settlement (tag 1178).")
    total: int
    ffd: str


class FilledLineOut(ResponseModel):
    """What a rule gave a line."""

    rule_id: str
    members: list[str] = Field(description="`name`, `vat`, `payment_object`, `payment_method`, `measure`, `agent`.")
    reported_name: str | None = Field(description="What the source called it, where the rule gave another name.")


class FilledOut(ResponseModel):
    """Which version of the nomenclature filled the lines; `GET /v1/nomenclature?version=` shows it."""

    version: int
    lines: list[FilledLineOut | None] = Field(description="One per line of `items`; null: no rule filled it.")


class ReceiptOut(ResponseModel):
    """One fiscal document wanted from a kassa."""

    id: ReceiptId
    merchant_id: MerchantId
    branch_id: BranchId | None
    kassa_id: KassaId | None
    event_id: EventId | None
    order_id: str | None
    external_id: str | None
    operation: str = Field(description="`sell`, `sell_refund`, `buy` or `buy_refund`.")
    correction: CorrectionOut | None = Field(description="Null for an ordinary receipt.")
    status: str = Field(
        description="`held`, `queued`, `sending`, `accepted`, `unknown`, `fiscalized`, `rejected`, `needs_attention` "
        "or `cancelled`."
    )
    sequence: int = Field(description="Grows by one with each change that is told; also the ETag.")
    version: int = Field(description="Grows when a rejected receipt is corrected and sent under a new id.")
    total: int
    currency: str
    taxation: str | None
    ffd: str | None = Field(description="Format of the document (tag 1209); null while nothing is planned.")
    internet: bool | None = Field(description="Tag 1125.")
    place: str | None = Field(description="Tag 1187.")
    timezone: str | None = Field(description="Zone of the place, as the IANA list names it (tag 1011).")
    cashier: CashierOut | None = Field(description="Tags 1021 and 1203.")
    user_prop: UserPropOut | None = Field(description="Tag 1084.")
    additional_prop: str | None = Field(description="Tag 1192: of a repair the fiscal sign of the wrong receipt.")
    sectoral_props: list[SectoralOut] = Field(description="Tag 1261.")
    operating_prop: OperatingOut | None = Field(description="Tag 1270.")
    customer: CustomerOut | None
    items: list[ItemOut]
    items_origin: str | None = Field(
        description="Who named the lines: `event`, `person` (typed by one), `nomenclature` (a rule named one of them), "
        "`default`, `sale`, `spread`…"
    )
    nomenclature: FilledOut | None = Field(description="What rules of the nomenclature filled; null: nothing.")
    adjustments: list[AdjustmentOut] = Field(description="Discounts and splits: what was taken from which line, why.")
    payments: list[PaymentOut]
    remarks: list[RemarkOut] = Field(description="What planning noticed or put right; warnings first.")
    fiscal: FiscalOut | None
    receipt_page_url: str | None = Field(
        description="Public page of the receipt for the buyer, the same for ever; null when `KASSA_PUBLIC_URL` is not "
        "set or the pages are switched off."
    )
    failure: FailureOut | None
    contact_fallback: bool = Field(
        description="The buyer left no contact in time: the receipt went to the source's fallback address."
    )
    due_at: Timestamp | None = Field(
        description="When the law wants the receipt: at the moment of settlement, for a bank transfer by the end of "
        "the next business day."
    )
    limit_at: Timestamp | None = Field(description="Past it the receipt is late; one never sent is then held.")
    correction_draft: CorrectionDraftOut | None = Field(
        description="Of a receipt held as late: the correction that could stand for it."
    )
    created_at: Timestamp
    updated_at: Timestamp
    metadata: dict[str, Any]


class AttemptOut(ResponseModel):
    """One exchange with the provider."""

    id: AttemptId
    kind: str = Field(description="`submit`, `poll` or `lookup`.")
    kassa_id: KassaId | None
    provider_id: str = Field(description="Our id at the provider.")
    finished_at: Timestamp | None
    outcome: str | None
    cause: str | None
    provider_code: str | None
    provider_message: str | None
    evidence: dict[str, Any] | None
    proven_absent: bool = Field(description="A later look-up proved that this send never registered anything.")
    exchanges: list[dict[str, Any]] = Field(description="What went over the wire; secrets and contacts are masked.")


class TimelineEntryOut(ResponseModel):
    """One line of a receipt's history."""

    at: Timestamp
    what: str
    status: str | None = Field(description="State after it; null when it did not change.")
    actor: str
    data: dict[str, Any]
    attempt: AttemptOut | None


class TimelineOut(ResponseModel):
    """The whole history of a receipt, oldest first."""

    data: list[TimelineEntryOut]
