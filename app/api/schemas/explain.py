"""One receipt explained to a person."""

from typing import Any

from pydantic import Field

from app.api.schemas.receipts import AdjustmentOut, CorrectionDraftOut, MissingOut, RemarkOut
from app.api.types import ReceiptId, ResponseModel, Timestamp


class ActionOut(ResponseModel):
    """A call that is possible now."""

    action: str
    title: str
    title_ru: str
    method: str
    path: str
    headers: dict[str, str] = Field(description="Besides Authorization.")
    body: dict[str, Any] | None = Field(description="To be filled where it says null.")
    curl: str = Field(description="Ready to copy; `KASSA_URL` and `KASSA_KEY` are yours.")


class ExplanationOut(ResponseModel):
    """What happened, why, who acts, what next, and by when."""

    receipt_id: ReceiptId
    status: str
    sequence: int
    what: str
    what_ru: str
    cause: str | None = Field(description="Code of the cause catalogue; null when nothing is wrong.")
    why: str | None
    why_ru: str | None
    who: str | None = Field(description="`buyer_data`, `merchant`, `operator`, `provider`; null: nobody has to act.")
    next_step: str
    next_step_ru: str
    retryable: bool = Field(description="Whether it may succeed later without any change.")
    missing: list[MissingOut]
    remarks: list[RemarkOut] = Field(description="What planning noticed or put right; warnings first.")
    adjustments: list[AdjustmentOut] = Field(description="What was taken from which line, and why.")
    provider_code: str | None
    provider_message: str | None
    sends: int = Field(description="How often it was sent to a provider.")
    sends_unproven: int = Field(description="Sends under the present id that may have registered a document.")
    due_at: Timestamp | None
    limit_at: Timestamp | None
    overdue: bool
    next_alarm_at: Timestamp | None = Field(description="When people are reminded next; null when it is finished.")
    correction_draft: CorrectionDraftOut | None
    actions: list[ActionOut]
    text: str = Field(description="All of it in plain words.")
    text_ru: str
