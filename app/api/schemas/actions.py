"""What people and programs may ask for about receipts: manual ones, refunds, corrections, decisions, bulk actions."""

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from app.api.schemas.events import Identifier, Metadata, MoneyIn, PastMoment
from app.api.schemas.lines import WHOLE, Code, Email, Flag, LineName, OperationName, Phone, QuantityText
from app.api.types import (
    BranchId,
    Day,
    KassaId,
    LongText,
    MinorUnits,
    ReceiptId,
    RequestModel,
    ResponseModel,
    ShortText,
)
from app.domain.event import EventType, PaymentEvent
from app.domain.ffd import CorrectionKind, FfdVersion, Operation
from app.domain.lifecycle import Status
from app.domain.receipt import CorrectionBasis, FiscalData

Reason = LongText


class ManualIn(MoneyIn):
    """A receipt that no source reported. The same pipeline and checks; its identity is the Idempotency-Key."""

    operation: OperationName

    def to_domain(self, key: str) -> tuple[Operation, PaymentEvent]:
        """The operation, and the event that stands for it under this key."""
        operation = Operation.parse(self.operation)
        kind = EventType.REFUND_SUCCEEDED if operation.is_refund else EventType.PAYMENT_SUCCEEDED
        return operation, self.event(kind, key)


class BasisIn(RequestModel):
    """Why a correction receipt is made (tag 1174)."""

    kind: Literal["self", "instruction"] = Field(description="By oneself, or by the tax service's instruction.")
    corrected_date: Day = Field(description="Day of the settlement that is corrected (tag 1178).")
    document_number: ShortText | None = Field(default=None, description="Number of the instruction (tag 1179).")

    def to_domain(self) -> CorrectionBasis:
        return CorrectionBasis(CorrectionKind.parse(self.kind), self.corrected_date, self.document_number)


class RefundLine(RequestModel):
    """A line of the sale and how much of it goes back; found by marking code, sku or name."""

    name: LineName | None = None
    sku: Identifier | None = None
    marking_code: Code | None = None
    quantity: QuantityText
    amount: MinorUnits | None = Field(default=None, description="Kopecks; left out: the line's price × quantity.")

    @model_validator(mode="after")
    def _named(self) -> Self:
        if not (self.name or self.sku or self.marking_code):
            raise ValueError("name the line by marking_code, sku or name")
        return self


class RefundIn(RequestModel):
    """Lines with quantities, or an amount; with neither everything that is left goes back."""

    items: Annotated[list[RefundLine], Field(min_length=1, max_length=1000)] | None = None
    amount: MinorUnits | None = Field(default=None, description="Kopecks, spread over what is left of the sale.")
    reason: Reason | None = None
    metadata: Metadata = Field(default={})

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.items is not None and self.amount is not None:
            raise ValueError("give items or an amount, not both")
        return self


class CancelIn(RequestModel):
    """Why the receipt is not wanted any more."""

    reason: Reason | None = None


class LateIn(RequestModel):
    """How a receipt is made that could not be made in time."""

    how: Literal["print_now", "as_correction"] = Field(
        description="`print_now`: an ordinary receipt, late. `as_correction`: a correction receipt with the same lines "
        "and the settlement's day (54-FZ, art. 4.3 p. 4)."
    )
    reason: Reason | None = Field(default=None, description="Goes into the history.")


class FiscalIn(RequestModel):
    """The document as a person found it in the provider's cabinet or at the OFD."""

    fn: Annotated[str, StringConstraints(pattern=r"^[0-9]{16}$")]
    fd: Annotated[int, Field(ge=1, le=4_294_967_295), WHOLE]
    fpd: Annotated[str, StringConstraints(pattern=r"^[0-9]{1,10}$")]
    fiscalized_at: PastMoment
    local_time: ShortText = Field(description="Date and time as printed on the receipt, e.g. `2026-11-23T15:05`.")
    kkt_rn: ShortText | None = None
    kkt_serial: ShortText | None = None
    shift: Annotated[int, Field(ge=1, le=10**6), WHOLE] | None = None
    number_in_shift: Annotated[int, Field(ge=1, le=10**6), WHOLE] | None = None
    ffd: Literal["1.05", "1.1", "1.2"] | None = None
    receipt_url: LongText | None = None

    def to_domain(self) -> FiscalData:
        return FiscalData(
            fn=self.fn,
            fd=self.fd,
            fpd=self.fpd,
            fiscalized_at=self.fiscalized_at,
            local_time=self.local_time,
            kkt_rn=self.kkt_rn,
            kkt_serial=self.kkt_serial,
            shift=self.shift,
            number_in_shift=self.number_in_shift,
            ffd=None if self.ffd is None else FfdVersion(self.ffd),
            receipt_url=self.receipt_url,
        )


class ResolveIn(RequestModel):
    """A person's decision about a receipt whose fate the program cannot find out."""

    answer: Literal["found", "send_again", "made_elsewhere", "abandon", "other_money"] = Field(
        description="`found`: the document exists; `send_again`: it certainly does not; `made_elsewhere`: another "
        "receipt stands for this money; `abandon`: no receipt is wanted. `other_money`: only for `held` with the cause "
        "`settlement_conflict` or `refund_unclear`, where `made_elsewhere` says that it is the same money."
    )
    sequence: Annotated[int, Field(ge=0, le=2**31 - 1), WHOLE] = Field(
        description="The `sequence` that the decision is based on; with another one it is refused."
    )
    reason: Reason = Field(description="Goes into the history for the auditor.")
    fiscal: FiscalIn | None = Field(default=None, description="Of `found`: the document, if the person has it.")


class ReceiptFilterIn(RequestModel):
    """Which receipts; the members are those of the list's parameters. At least one narrows."""

    status: Annotated[list[Status], Field(max_length=20)] = Field(default=[])
    operation: Annotated[list[OperationName], Field(max_length=4)] = Field(default=[])
    order_id: Identifier | None = None
    external_id: Identifier | None = None
    kassa: KassaId | None = None
    branch: BranchId | None = None
    created_from: PastMoment | None = None
    created_to: PastMoment | None = None
    email: Email | None = None
    phone: Phone | None = None
    cause: Annotated[str, StringConstraints(pattern=r"^[a-z_]{1,64}$")] | None = Field(
        default=None, description="`failure.code`, such as `deadline_passed`."
    )

    @model_validator(mode="after")
    def _narrow(self) -> Self:
        if not any(getattr(self, name) for name in type(self).model_fields):
            raise ValueError("name at least one criterion: without any this would mean every receipt")
        return self


class BulkIn(RequestModel):
    """One action for many receipts."""

    action: Literal["retry", "cancel", "print_now", "as_correction"] = Field(
        description="`print_now` and `as_correction`: see `confirm-late`."
    )
    filter: ReceiptFilterIn
    preview: Flag = Field(default=True, description="True: only say what would be touched. False: do it.")
    after: ReceiptId | None = Field(default=None, description="`next_after` of the call before, to go on behind it.")
    reason: Reason | None = Field(default=None, description="Goes into each history.")


class BulkResult(ResponseModel):
    """What became of one receipt."""

    id: ReceiptId
    done: bool
    code: str | None = Field(description="The problem's code when it was not done.")
    detail: str | None


class BulkOut(ResponseModel):
    """The oldest receipts that match come first."""

    action: str
    preview: bool
    count: int = Field(description="How many receipts match the filter.")
    ids: list[ReceiptId] = Field(description="The ones that are touched by this call, or would be.")
    results: list[BulkResult] = Field(description="Empty in a preview.")
    next_after: ReceiptId | None = Field(description="Give it as `after` to go on; null when these were the last.")
