"""What connects a company of «Мой Класс», and what its payments do not say: asked once, never guessed."""

import re
from datetime import date
from typing import Annotated, Final, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints, field_validator

NOT_FISCALIZED: Final = "not_fiscalized"

Id = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,18}$")]
Name = Annotated[str, StringConstraints(min_length=1, max_length=128, strip_whitespace=True)]
Settle = Literal["per_day", "month_end", "subscription_end", "off"]


class Credentials(BaseModel):
    """The company's key, made in «Настройки – API и webhooks»."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    api_key: SecretStr = Field(min_length=1, title="Ключ API")


class PaymentType(BaseModel):
    """How the money of one payment type came, as a receipt says it."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["electronic", "cash", "other"] = Field(description="Tags 1081, 1031, 1217.")
    internet: bool = Field(description="Tag 1125: paid over the Internet, not at the desk. It is the payment's own.")


class FailureTask(BaseModel):
    """A task for people of the CRM when a receipt was refused or needs a decision."""

    model_config = ConfigDict(extra="forbid")

    manager_ids: list[int] = Field(min_length=1)
    category_id: int | None = None


class Settings(BaseModel):
    """Answers about one company."""

    model_config = ConfigDict(extra="forbid")

    payment_types: dict[Id, PaymentType | Literal["not_fiscalized", "acquirer"]] = Field(
        default_factory=dict,
        description="By the id of GET /v1/company/paymentTypes. `not_fiscalized`: another till prints it (cash and "
        "terminal at the desk), or it needs no receipt. `acquirer`: the acquirer's own source reports it. A payment of "
        "a type that is not listed is held.",
    )
    branches: dict[Id, Name] = Field(
        default_factory=dict,
        description="By filialId: the branch here (its id or name), or `not_fiscalized`. Empty: all belong to the "
        "branch of the source. With entries, a payment of a filial that is not listed is held.",
    )
    balance_method: Literal["advance", "full_prepayment"] = Field(
        description="Tag 1214 of a payment onto the balance of which nothing says what it is for."
    )
    balance_item_name: Name = Field(default="Аванс за обучение", description="What such a payment is called (1030).")
    delivered_subscriptions: list[int] = Field(
        default_factory=list,
        description="Kinds of subscription that are paid and given on the same day (a trial, a single visit): one "
        "receipt with full_payment, and no closing.",
    )
    invoices_tell_purpose: bool = Field(
        default=True,
        description="Take what a payment is for from the invoice that the CRM charged on that day with the same sum.",
    )
    settle: Settle = Field(
        description="When lessons held close what was prepaid for them. Their number: `crm-kassa source estimate`. "
        "More than a day together is the school's own choice; `off`: the closings, which the law wants, are made "
        "elsewhere."
    )
    settle_from: date | None = Field(
        default=None,
        description="Only lessons from this day on, of subscriptions sold from this day on: earlier payments have no "
        "receipts here to be closed.",
    )
    settle_hour: int = Field(default=22, ge=0, le=23, description="Local hour from which a day's lessons are closed.")
    settle_days_back: int = Field(default=31, ge=1, le=92, description="So many days a late charge is still seen.")
    lesson_item_name: Name = Field(default="Занятие", description="A lesson without a subscription (1030).")
    email_attribute: str | None = Field(default=None, description="Alias of the attribute with the payer's e-mail.")
    phone_attribute: str | None = Field(default=None, description="Alias of the attribute with the payer's phone.")
    contact_of_pupil: bool = Field(default=True, description="Fall back to the pupil's own e-mail and phone.")
    hint_events: str = Field(
        default="^payment",
        description="Regular expression of webhook names that are hints about payments; the CRM does not publish them.",
    )
    account: str = Field(
        default="moyklass",
        pattern=r"^[a-z0-9-]{1,32}$",
        description="Begins the order id of every pupil; another one for a second company of the same merchant.",
    )
    timezone: str | None = Field(default=None, description="Of the CRM's dates, such as Asia/Omsk. None: Moscow.")
    pupil_comment: Literal["shown", "hidden", "off"] = Field(
        default="shown",
        description="The receipt's link as a comment at the pupil: seen by the pupil, by staff, or none.",
    )
    payment_comment: bool = Field(
        default=False,
        description="The link in the payment's own comment too. The CRM has no safe way: a change made there in the "
        "same second is lost.",
    )
    report_closings: bool = Field(default=False, description="Comments for closing receipts as well.")
    failure_task: FailureTask | None = None

    @field_validator("hint_events")
    @classmethod
    def _compiles(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"this is no regular expression: {error}") from None
        return value

    @field_validator("timezone")
    @classmethod
    def _exists(cls, value: str | None) -> str | None:
        try:
            return value if value is None else ZoneInfo(value).key
        except (KeyError, ValueError, OSError):
            raise ValueError("this is no time zone such as Asia/Omsk") from None
