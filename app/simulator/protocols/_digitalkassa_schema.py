"""What digitalkassa API v2.1 takes: bodies of receipts, corrections and shift calls, and the words of a refusal.

As strict as the provider: an unknown member, a null, a third decimal or a character outside CP866 refuses the whole
request. Numbers are written out here on purpose, not taken from the domain: the simulator is a second opinion.
"""

import json
from collections.abc import Iterator
from decimal import ROUND_HALF_UP, Decimal
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator


class Refusal(Exception):
    """The body of a 400: an array of {type, desc, path}."""

    def __init__(self, errors: tuple[dict[str, str], ...]) -> None:
        super().__init__(errors)
        self.errors = errors


def refusal(kind: str, desc: str, path: str | None = None) -> Refusal:
    """A refusal with one entry."""
    return Refusal(({"type": kind, "desc": desc} | ({} if path is None else {"path": path}),))


def _number(value: object) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
        raise ValueError("number expected")
    return Decimal(value)


def _at_most(decimals: int) -> AfterValidator:
    def check(value: Decimal) -> Decimal:
        if not value.is_finite() or int(value.normalize().as_tuple().exponent) < -decimals:
            raise ValueError(f"at most {decimals} decimals")
        return value

    return AfterValidator(check)


_PRINTED_AS = str.maketrans("«»“”‘’‒–—", '""""\'\'---')


def _printable(value: str) -> str:
    try:
        value.translate(_PRINTED_AS).encode("cp866")
    except UnicodeEncodeError:
        raise ValueError("a character has no form in CP866") from None
    return value


def _one_of(*allowed: int) -> AfterValidator:
    def check(value: int) -> int:
        if value not in allowed:
            raise ValueError("unknown value")
        return value

    return AfterValidator(check)


Money = Annotated[Decimal, BeforeValidator(_number), _at_most(2), Field(ge=0, lt=Decimal(10) ** 13)]
Price = Annotated[Money, Field(gt=0)]
Quantity = Annotated[
    Decimal, BeforeValidator(_number), _at_most(3), Field(ge=Decimal("0.001"), le=Decimal("99999.999"))
]
Text = Annotated[str, Field(min_length=1, max_length=256), AfterValidator(_printable)]
Phone = Annotated[str, Field(pattern=r"^\+[1-9]\d{1,14}$")]
Phones = Annotated[list[Phone], Field(min_length=1)]
Email = Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+$", max_length=64)]
Tin = Annotated[str, Field(pattern=r"^(\d{10}|\d{12})$")]


class Strict(BaseModel):
    """No unknown members, no conversions."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Supplier(Strict):
    phones: Phones
    name: Text
    tin: Tin


class PayingAgent(Strict):
    phones: Phones


class BankPayingAgent(Strict):
    phones: Phones
    operation: Annotated[Text, Field(max_length=24)]


class PaymentOperator(Strict):
    phones: Phones


class TransferOperator(Strict):
    phones: Phones
    name: Text
    tin: Tin
    address: Text


class BankAgent(Strict):
    type: Literal[1, 2]
    supplier: Supplier
    paying_agent: BankPayingAgent
    money_transfer_operator: TransferOperator


class PaymentAgent(Strict):
    type: Literal[4, 8]
    supplier: Supplier
    paying_agent: PayingAgent
    payment_operator: PaymentOperator


class PlainAgent(Strict):
    type: Literal[16, 32, 64]
    supplier: Supplier


class Marking(Strict):
    code: Annotated[str, Field(min_length=1, max_length=256)]
    item_status: Annotated[int, _one_of(1, 2, 3, 4, 255)]
    numerator: Annotated[int | None, Field(ge=1)] = None
    denominator: Annotated[int | None, Field(ge=1)] = None


class Item(Strict):
    type: Annotated[int, _one_of(*range(1, 28), 30, 31, 32, 33)]
    name: Annotated[Text, Field(max_length=128)]
    price: Price
    quantity: Quantity
    amount: Money
    payment_method: Annotated[int, Field(ge=1, le=7)]
    vat: Annotated[int, Field(ge=1, le=12)]
    unit: Annotated[
        int,
        _one_of(0, 10, 11, 12, 20, 21, 22, 30, 31, 32, 40, 41, 42, 50, 51, 70, 71, 72, 73, 80, 81, 82, 83, 255),
    ]
    excise: Money | None = None
    barcode: Text | None = None
    additional_props: Annotated[Text | None, Field(max_length=64)] = None
    declaration_number: Annotated[Text | None, Field(max_length=32)] = None
    country_code: Annotated[str | None, Field(pattern=r"^\d{3}$")] = None
    marking: Marking | None = None
    agent: Annotated[BankAgent | PaymentAgent | PlainAgent, Field(discriminator="type")] | None = None


class Amount(Strict):
    cash: Money = Decimal(0)
    cashless: Money = Decimal(0)
    prepayment: Money = Decimal(0)
    postpayment: Money = Decimal(0)
    barter: Money = Decimal(0)

    @property
    def total(self) -> Decimal:
        return self.cash + self.cashless + self.prepayment + self.postpayment + self.barter


class Notify(Strict):
    emails: Annotated[list[Email], Field(min_length=1)] | None = None
    phone: Phone | None = None

    @model_validator(mode="after")
    def _somebody(self) -> Self:
        if not self.emails and self.phone is None:
            raise ValueError("e-mail or phone expected")
        return self


class Loc(Strict):
    billing_place: Text
    device_number: Annotated[Text | None, Field(max_length=20)] = None


class Customer(Strict):
    tin: Tin | None = None
    name: Text | None = None


class AdditionalAttribute(Strict):
    name: Annotated[Text, Field(max_length=64)]
    value: Text


class Cashier(Strict):
    name: Annotated[Text, Field(max_length=64)]
    tin: Annotated[str | None, Field(pattern=r"^\d{12}$")] = None


class Service(Strict):
    callback_url: Annotated[str | None, Field(pattern=r"^https?://")] = None
    receipt_url: str | None = None


class CashlessPayments(Strict):
    payment_sum: Money
    payment_method_flag: int
    payment_identifiers: Text
    additional_info: Text | None = None


class Form(Strict):
    """What a receipt and a correction share."""

    type: Annotated[int, Field(ge=1, le=4)]
    items: Annotated[list[Item], Field(min_length=1)]
    taxation: Annotated[int, _one_of(1, 2, 4, 16, 32)]
    amount: Amount
    loc: Loc
    is_internet: Annotated[int, _one_of(0, 1)]
    timezone: Annotated[int, Field(ge=1, le=11)]
    customer: Customer | None = None
    additional_attribute: AdditionalAttribute | None = None
    cashier: Cashier | None = None
    service: Service | None = None

    @property
    def callback_url(self) -> str | None:
        return self.service.callback_url if self.service else None

    @property
    def total_kopecks(self) -> int:
        return int(self.amount.total * 100)


class Receipt(Form):
    notify: Notify
    cashless_payments: CashlessPayments | None = None


class Correction(Form):
    corrected_date: Annotated[str, Field(pattern=r"^(0[1-9]|[12]\d|3[01])\.(0[1-9]|1[0-2])\.20\d\d$")]
    order_number: Annotated[Text | None, Field(max_length=32)] = None
    notify: Notify | None = None


class ShiftRequest(Strict):
    name: Text | None = None
    tin: Annotated[str | None, Field(pattern=r"^\d{12}$")] = None
    address: Text | None = None
    place: Text | None = None


class ShiftMode(Strict):
    mode: Annotated[int, _one_of(0, 1)]


M = TypeVar("M", bound=BaseModel)


def parse_json(raw: bytes) -> dict[str, Any]:
    """The body with exact numbers; Refusal unless it is a JSON object."""
    try:
        body = json.loads(raw, parse_float=Decimal)
    except (ValueError, RecursionError):
        raise refusal("BAD_VALUE", "Тело запроса не является JSON", "$") from None
    if not isinstance(body, dict):
        raise refusal("BAD_VALUE", "Ожидался объект", "$")
    return body


def parse_form(body: dict[str, Any], *, correction: bool) -> Form:
    """A receipt or a correction whose sums agree; Refusal with every entry that is wrong."""
    form: Form = parse(Correction if correction else Receipt, body)
    errors = tuple(_disagreements(form))
    if errors:
        raise Refusal(errors)
    return form


def parse(model: type[M], body: dict[str, Any]) -> M:
    """The body as this model; Refusal with every entry that is wrong."""
    nulls = tuple(_entry("BAD_VALUE", "Значение не может быть null", path) for path in _nulls(body, ()))
    if nulls:
        raise Refusal(nulls)
    try:
        return model.model_validate(body)
    except ValidationError as invalid:
        errors = invalid.errors(include_url=False, include_input=False, include_context=False)
        raise Refusal(
            tuple(_entry(_KINDS.get(e["type"], "BAD_VALUE"), e["msg"], _without_tag(e["loc"])) for e in errors)
        ) from None


_KINDS = {
    "missing": "MISSED_REQUIRED_FIELD",
    "union_tag_not_found": "MISSED_REQUIRED_FIELD",
    "extra_forbidden": "UNEXPECTED_FIELD",
}

Path = tuple[int | str, ...]


def _entry(kind: str, desc: str, path: Path) -> dict[str, str]:
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return {"type": kind, "desc": desc, "path": "$" + "".join(steps)}


def _without_tag(path: Path) -> Path:
    """pydantic names the chosen kind of agent in the path; the provider would not."""
    if "agent" not in path:
        return path
    at = path.index("agent") + 1
    return path[:at] + path[at + 1 :]


def _nulls(value: object, path: Path) -> Iterator[Path]:
    if value is None:
        yield path
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _nulls(inner, (*path, str(name)))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _nulls(inner, (*path, index))


def _disagreements(form: Form) -> Iterator[dict[str, str]]:
    for index, item in enumerate(form.items):
        right = (item.price * item.quantity).quantize(Decimal("0.01"), ROUND_HALF_UP)
        if item.amount != right:
            yield _entry("BAD_VALUE", f"Стоимость не равна цене на количество: {right}", ("items", index, "amount"))
        if item.type in (31, 33) and item.marking is None:
            yield _entry("MISSED_REQUIRED_FIELD", "Нужен код маркировки", ("items", index, "marking"))
    if form.amount.total != sum(item.amount for item in form.items):
        yield _entry("BAD_VALUE", "Сумма оплат не равна сумме предметов расчета", ("amount",))
