"""Answers for silent events, as a kassa, a branch and a source may give them."""

from typing import Any, Literal

from pydantic import Field

from app.api.schemas.lines import MeasureName, MethodName, ObjectName, TaxationName, VatName
from app.api.types import RequestModel, ResponseModel, ShortText


class DefaultsIn(RequestModel):
    """What a line takes when the event does not say it; null takes an answer away."""

    vat: VatName | None = Field(default=None, description="VAT rate of a sale of today. Has no default of ours.")
    payment_method: MethodName | None = Field(
        default=None,
        description="What a payment is: `full_prepayment` (known goods, paid before they are given), `prepayment`, "
        "`advance`, `full_payment` (given with the payment). Has no default of ours.",
    )
    payment_object: ObjectName | None = Field(default=None, description="What is sold, such as `service`.")
    measure: MeasureName | None = Field(default=None, description="Unit of the quantity, such as `piece`.")
    item_name: ShortText | None = Field(default=None, description="Name of the line when the event has no lines.")
    taxation: TaxationName | None = Field(default=None, description="Which of the kassa's taxation systems.")
    settlement: Literal["in_person", "online", "transfer"] | None = Field(
        default=None,
        description="How this money comes, which sets the receipt's deadline: `in_person` and `online` (card, СБП) at "
        "once, `transfer` (bank transfer without contact) by the end of the next business day (54-FZ, art. 1.2 "
        "p. 5.4). Left out: `online` where the kassa's `internet` is true. Cash is always in person.",
    )
    zero_lines: Literal["drop", "refuse", "kopeck"] | None = Field(
        default=None,
        description="A line that costs nothing, such as free delivery: `drop` leaves it out (the same when nothing is "
        "said), `refuse` refuses the event, `kopeck` moves a kopeck of the dearest line onto it (practice, not "
        "confirmed by the law).",
    )

    def given(self) -> dict[str, Any]:
        """Members that were sent, null ones too."""
        return self.model_dump(exclude_unset=True)


class DefaultsOut(ResponseModel):
    """The answers there are; null: none."""

    vat: str | None = None
    payment_method: str | None = None
    payment_object: str | None = None
    measure: str | None = None
    item_name: str | None = None
    taxation: str | None = None
    settlement: str | None = None
    zero_lines: str | None = None
