"""What ATOL Online takes by protocols v4 and v5, and the words of its refusals.

As strict as the provider: an unknown member, a null, a third decimal or a character outside CP866 refuses it all.
Numbers and words are written out on purpose, not taken from the domain: the simulator is a second opinion.
"""

import base64
import binascii
import json
import re
from collections.abc import Iterator
from decimal import ROUND_HALF_UP, Decimal
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator


class Refusal(Exception):
    """An error of the service: its HTTP status, code and text."""

    def __init__(self, http: int, code: int, text: str) -> None:
        super().__init__(text)
        self.http, self.code, self.text = http, code, text


def _number(value: object) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
        raise ValueError("number expected")
    return Decimal(value)


def _at_most(decimals: int) -> AfterValidator:
    def check(value: Decimal) -> Decimal:
        if not value.is_finite() or int(value.normalize().as_tuple().exponent) < -decimals:
            raise ValueError("MultipleOf")
        return value

    return AfterValidator(check)


def _printable(value: str) -> str:
    try:
        value.encode("cp866")
    except UnicodeEncodeError:
        raise ValueError("PatternMismatch") from None
    return value


def _one_of(*allowed: int | str) -> AfterValidator:
    def check(value: int | str) -> int | str:
        if value not in allowed:
            raise ValueError("NotInEnumeration")
        return value

    return AfterValidator(check)


Money = Annotated[Decimal, BeforeValidator(_number), _at_most(2), Field(ge=0, le=Decimal(100_000_000))]
LineMoney = Annotated[Money, Field(le=Decimal("42949672.95"))]
Quantity = Annotated[Decimal, BeforeValidator(_number), _at_most(3), Field(gt=0, le=Decimal("99999.999"))]
Text = Annotated[str, Field(min_length=1, max_length=256), AfterValidator(_printable)]
Phone = Annotated[str, Field(pattern=r"^\+?\d{1,18}$", max_length=19)]
Phones = Annotated[list[Phone], Field(min_length=1)]
Email = Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+$", max_length=64)]
Inn = Annotated[str, Field(pattern=r"^(\d{10}|\d{12})$")]
Day = Annotated[str, Field(pattern=r"^(0[1-9]|[12]\d|3[01])\.(0[1-9]|1[0-2])\.20\d\d$")]
Moment = Annotated[str, Field(pattern=r"^\d{2}\.\d{2}\.\d{4} \d{2}:\d{2}:\d{2}$")]
Sno = Literal["osn", "usn_income", "usn_income_outcome", "esn", "patent"]
_METHODS = "full_prepayment prepayment advance full_payment partial_payment credit credit_payment"
Method = Annotated[str, _one_of(*_METHODS.split())]
_RATES = "none vat0 vat5 vat7 vat10 vat20 vat22 vat105 vat107 vat110 vat120 vat122"
Rate = Annotated[str, _one_of(*_RATES.split())]
_AGENTS = "bank_paying_agent bank_paying_subagent paying_agent paying_subagent attorney commission_agent another"
AgentKind = Annotated[str, _one_of(*_AGENTS.split())]
_OBJECTS = (
    "commodity excise job service gambling_bet gambling_prize lottery lottery_prize intellectual_activity payment "
    "agent_commission award another property_right non-operating_gain insurance_premium sales_tax resort_fee deposit "
    "expense pension_insurance_ip pension_insurance medical_insurance_ip medical_insurance social_insurance "
    "casino_payment"
)
V4Object = Annotated[str, _one_of(*_OBJECTS.split())]
_PERCENT = {f"vat{gross}{percent}": percent for gross in ("", "1") for percent in (10, 20, 22)}
_PERCENT |= {"vat5": 5, "vat7": 7, "vat105": 5, "vat107": 7}


class Strict(BaseModel):
    """No unknown members, no conversions."""

    model_config = ConfigDict(extra="forbid", strict=True)


class TokenRequest(Strict):
    login: Annotated[str, Field(max_length=100, pattern=r"^\S+$")]
    password: Annotated[str, Field(alias="pass", min_length=1, max_length=100)]


class Client(Strict):
    email: Email | None = None
    phone: Phone | None = None
    name: Text | None = None
    inn: Inn | None = None


class V5Client(Client):
    birthdate: Annotated[str | None, Field(pattern=r"^\d{2}\.\d{2}\.(19|20)\d\d$")] = None
    citizenship: Annotated[str | None, Field(pattern=r"^\d{3}$")] = None
    document_code: Annotated[str | None, Field(pattern=r"^\d{2}$")] = None
    document_data: Annotated[Text | None, Field(max_length=64)] = None
    address: Text | None = None


class SectoralProps(Strict):
    federal_id: Annotated[str, Field(pattern=r"^\d{3}$")]
    date: Day
    number: Annotated[Text, Field(max_length=32)]
    value: Text


class OperatingProps(Strict):
    name: Literal["0"]
    value: Annotated[Text, Field(max_length=64)]
    timestamp: Moment


class V4CorrectionCompany(Strict):
    sno: Sno
    inn: Inn
    payment_address: Text


class Company(V4CorrectionCompany):
    email: Email


class Vat(Strict):
    type: Rate
    sum: Money | None = None


class PayingAgent(Strict):
    operation: Annotated[Text | None, Field(max_length=24)] = None
    phones: Phones | None = None


class ReceiveOperator(Strict):
    phones: Phones


class TransferOperator(ReceiveOperator):
    name: Annotated[Text | None, Field(max_length=64)] = None
    address: Text | None = None
    inn: Annotated[str | None, Field(pattern=r"^\d{10,12}$")] = None


class AgentInfo(Strict):
    type: AgentKind
    paying_agent: PayingAgent | None = None
    receive_payments_operator: ReceiveOperator | None = None
    money_transfer_operator: TransferOperator | None = None


class SupplierInfo(Strict):
    phones: Phones | None = None
    name: Text | None = None
    inn: Inn


class Line(Strict):
    name: Annotated[Text, Field(max_length=128)]
    price: LineMoney
    quantity: Quantity
    sum: LineMoney
    payment_method: Method
    vat: Vat
    user_data: Annotated[Text | None, Field(max_length=64)] = None
    excise: Money | None = None
    country_code: Annotated[str | None, Field(pattern=r"^\d{3}$")] = None
    declaration_number: Annotated[Text | None, Field(max_length=32)] = None
    agent_info: AgentInfo | None = None
    supplier_info: SupplierInfo | None = None

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.sum != (self.price * self.quantity).quantize(Decimal("0.01"), ROUND_HALF_UP):
            raise ValueError("sum is not price by quantity")
        if self.agent_info is not None and self.supplier_info is None:
            raise ValueError("PropertyRequired supplier_info")
        if self.vat.sum is not None and self.vat.sum != tax(self.vat.type, self.sum):
            raise ValueError("vat.sum is not the tax of the line")
        return self


class V4Line(Line):
    measurement_unit: Annotated[Text | None, Field(max_length=16)] = None
    payment_object: V4Object
    nomenclature_code: Annotated[str | None, Field(min_length=1, max_length=150)] = None


class MarkCode(Strict):
    unknown: Annotated[str | None, Field(max_length=32)] = None
    ean8: Annotated[str | None, Field(pattern=r"^\d{8}$")] = None
    ean13: Annotated[str | None, Field(pattern=r"^\d{13}$")] = None
    itf14: Annotated[str | None, Field(pattern=r"^\d{14}$")] = None
    gs1m: Annotated[str | None, Field(max_length=200)] = None
    short: Annotated[str | None, Field(max_length=38)] = None
    fur: Annotated[str | None, Field(pattern=r"^[A-Z]{2}-\d{6}-[A-Z0-9]{10}$")] = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if len(self.model_fields_set) != 1:
            raise ValueError("exactly one kind of code expected")
        if self.gs1m is not None:
            try:
                base64.b64decode(self.gs1m, validate=True)
            except binascii.Error:
                raise ValueError("gs1m is not Base64") from None
        return self


class MarkQuantity(Strict):
    numerator: Annotated[int, Field(ge=1)]
    denominator: Annotated[int, Field(ge=2)]


class V5Line(Line):
    measure: Annotated[
        int,
        _one_of(0, 10, 11, 12, 20, 21, 22, 30, 31, 32, 40, 41, 42, 50, 51, 70, 71, 72, 73, 80, 81, 82, 83, 255),
    ]
    payment_object: Annotated[int, _one_of(*range(1, 28), 30, 31, 32, 33)]
    mark_code: MarkCode | None = None
    mark_processing_mode: Literal["0"] | None = None
    mark_quantity: MarkQuantity | None = None
    planned_status: Annotated[int | None, Field(ge=1, le=6)] = None
    sectoral_item_props: Annotated[list[SectoralProps] | None, Field(min_length=1)] = None

    @model_validator(mode="after")
    def _marked(self) -> Self:
        if self.mark_code is None:
            return self
        if self.mark_processing_mode is None:
            raise ValueError("PropertyRequired mark_processing_mode")
        if self.planned_status is None and (self.mark_code.gs1m or self.mark_code.short):
            raise ValueError("PropertyRequired planned_status")
        return self


class Payment(Strict):
    type: Annotated[int, Field(ge=0, le=9)]
    sum: Money


class UserProps(Strict):
    name: Annotated[Text, Field(max_length=64)]
    value: Text


class Document(Strict):
    """What every document has; `total_kopecks` is what was paid."""

    payments: Annotated[list[Payment], Field(min_length=1, max_length=10)]
    cashier: Annotated[Text | None, Field(max_length=64)] = None

    @property
    def total_kopecks(self) -> int:
        return int(sum(payment.sum for payment in self.payments) * 100)


class _Sold(Document):
    company: Company
    total: Money
    additional_check_props: Annotated[Text | None, Field(max_length=16)] = None
    additional_user_props: UserProps | None = None


class V4Receipt(_Sold):
    items: Annotated[list[V4Line], Field(min_length=1, max_length=100)]
    client: Client


class V5Sold(_Sold):
    client: V5Client | None = None
    items: Annotated[list[V5Line], Field(min_length=1, max_length=100)]
    cashier_inn: Annotated[str | None, Field(pattern=r"^\d{12}$")] = None
    internet: bool | None = None
    timezone: Annotated[int | None, Field(ge=1, le=11)] = None
    sectoral_check_props: Annotated[list[SectoralProps] | None, Field(min_length=1)] = None
    operating_check_props: OperatingProps | None = None


class V5Receipt(V5Sold):
    client: V5Client


class _Basis(Strict):
    type: Literal["self", "instruction"]
    base_date: Day


class V4Basis(_Basis):
    base_number: Annotated[Text, Field(max_length=32)]


class V5Basis(_Basis):
    base_number: Annotated[Text | None, Field(max_length=32)] = None

    @model_validator(mode="after")
    def _numbered(self) -> Self:
        if (self.base_number is None) != (self.type == "self"):
            raise ValueError("base_number belongs to an instruction, and to nothing else")
        return self


class V4Correction(Document):
    company: V4CorrectionCompany
    correction_info: V4Basis
    vats: Annotated[list[Vat], Field(min_length=1, max_length=6)]


class V5Correction(V5Sold):
    correction_info: V5Basis


class Service(Strict):
    callback_url: Annotated[str, Field(max_length=256)]


class Heading(Strict):
    external_id: Annotated[str, Field(min_length=1, max_length=128)]
    timestamp: Moment
    service: Service | None = None
    receipt: dict[str, Any] | None = None
    correction: dict[str, Any] | None = None


SHAPES: dict[tuple[str, bool], type[Document]] = {
    ("v4", False): V4Receipt,
    ("v4", True): V4Correction,
    ("v5", False): V5Receipt,
    ("v5", True): V5Correction,
}
M = TypeVar("M", bound=BaseModel)


def tax(rate: str, gross: Decimal) -> Decimal:
    """Tax contained in a gross sum, halves up; 0 without a tax."""
    percent = _PERCENT.get(rate, 0)
    return (gross * percent / (100 + percent)).quantize(Decimal("0.01"), ROUND_HALF_UP)


def parse_json(raw: bytes) -> dict[str, Any]:
    """The body with exact numbers; error 40 unless it is a JSON object."""
    try:
        body = json.loads(raw, parse_float=Decimal)
    except (ValueError, RecursionError):
        raise Refusal(400, 40, "Некорректный запрос") from None
    if not isinstance(body, dict):
        raise Refusal(400, 40, "Некорректный запрос")
    return body


def parse_document(version: str, body: dict[str, Any], *, correction: bool) -> tuple[Heading, Document]:
    """The heading and the document of a registration; error 32 names what is wrong."""
    heading = parse(Heading, body, 32)
    name, other = ("correction", "receipt") if correction else ("receipt", "correction")
    inner = getattr(heading, name)
    if inner is None or getattr(heading, other) is not None:
        raise Refusal(400, 32, f"Ошибка валидации JSON: PropertyRequired: #/{name}")
    document: Document = parse(SHAPES[version, correction], inner, 32, name)
    wrong = next(_disagreements(document), None)
    if wrong:
        raise Refusal(400, 32, f"Ошибка валидации JSON: {wrong}")
    return heading, document


def parse(model: type[M], body: dict[str, Any], code: int, prefix: str = "") -> M:
    """The body as this model; a Refusal with `code` that names the first member that is wrong."""
    start = (prefix,) if prefix else ()
    null = next(_nulls(body, start), None)
    if null is not None:
        raise Refusal(400, code, f"Ошибка валидации JSON: NoTypeValidates: {_path(null)}")
    try:
        return model.model_validate(body)
    except ValidationError as invalid:
        first = invalid.errors(include_url=False, include_input=False, include_context=False)[0]
        words = _KINDS.get(first["type"], first["msg"].removeprefix("Value error, "))
        raise Refusal(400, code, f"Ошибка валидации JSON: {words}: {_path((*start, *first['loc']))}") from None


_KINDS = {
    "missing": "PropertyRequired",
    "extra_forbidden": "NoAdditionalPropertiesAllowed",
    "string_pattern_mismatch": "PatternMismatch",
    "string_too_long": "StringTooLong",
    "literal_error": "NotInEnumeration",
}

Path = tuple[int | str, ...]


def _path(path: Path) -> str:
    return "#/" + "/".join(re.sub(r"[^\w.-]", "", str(step)) for step in path)


def _nulls(value: object, path: Path) -> Iterator[Path]:
    if value is None:
        yield path
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _nulls(inner, (*path, str(name)))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _nulls(inner, (*path, index))


def _disagreements(document: Document) -> Iterator[str]:
    if isinstance(document, V4Receipt | V5Receipt) and not (document.client.email or document.client.phone):
        yield "PropertyRequired: #/receipt/client"
    if isinstance(document, V4Receipt | V5Sold):
        if document.total != sum(line.sum for line in document.items):
            yield "total is not the sum of the items: #/receipt/total"
        if document.total * 100 != document.total_kopecks:
            yield "payments are not the total: #/receipt/payments"
