"""What may be asked about corrections, and what is answered: documents, the explanation, lists of payments."""

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, StringConstraints, Tag, model_validator

from app.api.problems import FieldError
from app.api.schemas.actions import BasisIn, FiscalIn, ManualIn
from app.api.schemas.events import Identifier, Metadata, MoneyIn
from app.api.schemas.lines import Flag, ItemOut, Items, PaymentOut, Payments, TaxationName, VatName
from app.api.schemas.receipts import CorrectionOut, ReceiptOut
from app.api.types import (
    CorrectionBatchId,
    CorrectionId,
    Day,
    EventId,
    KassaId,
    LongText,
    MinorUnits,
    ReceiptId,
    RequestModel,
    ResponseModel,
    ShortText,
    SourceId,
    Timestamp,
)
from app.domain.correction import Case
from app.domain.correction_list import MAX_ROWS
from app.domain.event import EventType
from app.domain.ffd import CorrectionKind
from app.services.correction_batches import Payment
from app.services.correction_right import Repair

CaseName = Literal["not_registered", "wrong_rate", "wrong_sum", "wrong_other", "duplicate"]


class CorrectionIn(ManualIn):
    """A correction receipt for money that has no receipt."""

    correction: BasisIn
    payment_id: Identifier | None = Field(
        default=None,
        description="The payment's id in its source. With it a payment that was reported already is refused, and one "
        "that is reported later is a repeat.",
    )
    source: Identifier | None = Field(
        default=None,
        description="Whose payment: `src_…`, a source's name or kind. Left out: the key's, else `api`.",
    )


class RepairBasisIn(RequestModel):
    """Why it is corrected (tag 1174)."""

    kind: Literal["self", "instruction"] = Field(
        default="self", description="By oneself, or by the tax service's instruction."
    )
    corrected_date: Day | None = Field(
        default=None, description="Day of the settlement (tag 1178). Left out: the day of the receipt."
    )
    document_number: ShortText | None = Field(default=None, description="Number of the instruction (tag 1179).")


class ReceiptCorrectionIn(RequestModel):
    """What happened to a receipt. The documents follow from the case and the kassa's format."""

    receipt: ReceiptId
    case: CaseName = Field(
        description="`wrong_rate`: only the VAT rate is wrong; `wrong_sum`; `wrong_other`: lines, taxation or ways of "
        "payment; `duplicate`: printed twice; `not_registered`: it was refused, held or given up, and the money came."
    )
    correction: RepairBasisIn = Field(default=RepairBasisIn())
    vat: VatName | None = Field(default=None, description="The right rate of all lines.")
    items: Items = Field(default=[], description="The right lines. None: those of the receipt.")
    amount: MinorUnits | None = Field(default=None, description="The right sum, kopecks; of a receipt with one line.")
    payments: Payments = Field(default=[], description="The right ways of payment. None: those of the receipt.")
    taxation: TaxationName | None = Field(default=None, description="The right taxation.")
    fiscal: FiscalIn | None = Field(
        default=None,
        description="Of a duplicate: the second document, where it is not the receipt's own. Left out: the receipt "
        "itself is the duplicate of another one.",
    )
    reason: LongText | None = Field(default=None, description="In your own words, for the explanation.")
    without_link: Flag = Field(
        default=False,
        description="FFD 1.05: make the repair although the provider cannot carry the wrong receipt's fiscal sign "
        "(tag 1192).",
    )
    metadata: Metadata = Field(default={})

    @model_validator(mode="after")
    def _fits_the_case(self) -> Self:
        right = (self.vat, self.items, self.amount, self.payments, self.taxation)
        if self.case == "duplicate" and any(one is not None and one != [] for one in right):
            raise ValueError("a duplicate is only reversed: there is nothing right to give")
        if self.fiscal is not None and self.case != "duplicate":
            raise ValueError("fiscal belongs to a duplicate")
        return self

    def to_domain(self) -> Repair:
        return Repair(
            receipt_id=self.receipt,
            case=Case(self.case),
            kind=CorrectionKind.parse(self.correction.kind),
            document_number=self.correction.document_number,
            corrected_date=self.correction.corrected_date,
            vat=self.vat,
            items=tuple(item.to_domain() for item in self.items),
            amount=self.amount,
            payments=tuple(payment.to_domain() for payment in self.payments),
            taxation=self.taxation,
            reason=self.reason,
            without_link=self.without_link,
            other_document=None if self.fiscal is None else self.fiscal.to_domain(),
            metadata=dict(self.metadata),
        )


FORMS = ("missing", "receipt")
"""Tags of the two forms of a correction: they stand in no message."""


def _form(body: Any) -> str:
    named = "receipt" in body if isinstance(body, dict) else isinstance(body, ReceiptCorrectionIn)
    return FORMS[named]


AnyCorrectionIn = Annotated[
    Annotated[CorrectionIn, Tag(FORMS[0])] | Annotated[ReceiptCorrectionIn, Tag(FORMS[1])], Discriminator(_form)
]
"""Money without a receipt, or a receipt that is wrong: told apart by the member `receipt`."""


class BatchPaymentIn(MoneyIn):
    """One payment without a receipt."""

    payment_id: Identifier = Field(description="Its id in the source.")
    date: Day = Field(description="Day of the settlement (tag 1178).")

    def to_domain(self) -> Payment:
        return Payment(self.payment_id, self.date, self.event(EventType.PAYMENT_SUCCEEDED, self.payment_id))


class BatchIn(RequestModel):
    """A list of payments without receipts: as rows, or as the text of a CSV file."""

    rows: Annotated[list[BatchPaymentIn], Field(max_length=MAX_ROWS)] = Field(default=[])
    csv: Annotated[str, StringConstraints(max_length=4 * 1024 * 1024, pattern=r"^[^\x00]*$")] | None = Field(
        default=None,
        description="Separated by `;`, `,` or tabs. Columns `payment_id`, `date`, `amount` (roubles), and `name`, "
        "`vat`, `email`, `phone`, `order_id`, `payment_type`, `taxation`, `branch`; Russian heads are known too.",
    )
    source: Identifier | None = Field(default=None, description="Whose payments. Left out: the key's, else `api`.")
    kind: Literal["self", "instruction"] = "self"
    document_number: ShortText | None = Field(default=None, description="Number of the instruction (tag 1179).")

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if bool(self.rows) == (self.csv is not None):
            raise ValueError("give rows or csv, one of the two")
        return self


class BatchConfirmIn(RequestModel):
    """A person's yes to what the preview showed."""

    token: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")] = Field(description="The preview's `token`.")


class VatTotalOut(ResponseModel):
    """VAT of a document at one rate, kopecks."""

    rate: str
    amount: int = Field(description="What was sold at this rate, VAT included.")
    vat_amount: int


class DocumentOut(ResponseModel):
    """One document of a correction, in the order in which they go."""

    role: str = Field(description="`missing`: the receipt that was not made; `reversal`: of the wrong one; `right`.")
    operation: str
    correction: CorrectionOut | None = Field(description="Null for an ordinary receipt (a repair by FFD 1.05).")
    ffd: str
    total: int
    taxation: str
    items: list[ItemOut]
    payments: list[PaymentOut]
    vat: list[VatTotalOut]
    totals_only: bool = Field(description="The register prints no lines: the correction form of FFD 1.05.")
    description: str | None = Field(description="Tag 1177, for providers and cabinets that ask for it.")
    additional_prop: str | None = Field(description="Tag 1192: the wrong receipt's fiscal sign, if carried.")
    receipt: ReceiptOut | None = Field(description="The receipt as it stands by now; null in a preview.")


class CorrectionPlanOut(ResponseModel):
    """A correction: what was wrong, its documents, and the draft of the explanation to the tax service."""

    id: CorrectionId | None = Field(description="Null in a preview.")
    receipt_id: ReceiptId | None
    case: str
    basis: CorrectionOut
    kassa_id: KassaId | None
    reason: str | None
    differences: list[str] = Field(description="What was wrong, in Russian.")
    notes: list[str] = Field(
        description="`link_kept_here`: tag 1192 is not carried; `second_after_first`; `totals_only`; "
        "`refund_as_purchase`: FFD 1.05 reports an unregistered refund as a purchase."
    )
    documents: list[DocumentOut]
    explanation: str | None = Field(description="Draft in Russian; blanks are filled when the documents are made.")
    created_at: Timestamp | None


class BatchRowOut(ResponseModel):
    """One payment of a list."""

    number: int
    payment_id: str | None
    amount: int | None
    state: str = Field(description="`planned`, `refused` by the preview, `sent`, or `failed` at the confirmation.")
    findings: list[FieldError]
    document: DocumentOut | None = Field(description="In a preview: what would be made.")
    event_id: EventId | None
    receipt_id: ReceiptId | None
    receipt_status: str | None


class BatchOut(ResponseModel):
    """A list of payments without receipts, and what became of it."""

    id: CorrectionBatchId
    status: str = Field(description="`previewed`, `sending` or `done`.")
    source_id: SourceId
    documents: int = Field(description="How many receipts the confirmation makes.")
    refused: int
    total: int = Field(description="Their sum, kopecks.")
    rows_by_state: dict[str, int]
    receipts_by_status: dict[str, int]
    rows: list[BatchRowOut]
    token: str | None = Field(description="In a preview: what the confirmation must give back.")
    created_at: Timestamp
    expires_at: Timestamp = Field(description="Until when it may be confirmed.")
    confirmed_at: Timestamp | None
