"""What an event and a receipt have in common on the wire: the buyer, the lines, the payments. Requests and answers."""

import base64
import binascii
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, StrictBool, StringConstraints, model_validator
from pydantic.json_schema import WithJsonSchema

from app.api.types import Day, MinorUnits, Moment, RequestModel, ResponseModel, Timestamp
from app.domain.event import DiscountKind, EventDiscount, EventItem, EventPayment
from app.domain.ffd import AgentType, FfdEnum, Measure, Operation, PaymentKind, PaymentMethod, PaymentObject, Taxation
from app.domain.money import parse_quantity
from app.domain.receipt import Agent, Customer, MarkingCode, OperatingProp, SectoralProp
from app.domain.vat import VatRate
from app.infra.contacts import normalize_email, normalize_phone

Flag = StrictBool

_NO_NUL = r"^[^\x00]*$"


def _json_integer(value: Any) -> Any:
    """As JSON Schema counts: 1.0 is an integer, true and "1" are none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError("must be an integer")
    return value


WHOLE = BeforeValidator(_json_integer)
"""`Annotated[int, Field(ge=…), WHOLE]`: a number that is not money."""


def _one_of(kind: type[FfdEnum]) -> Any:
    names = [member.code for member in kind]
    known = frozenset(names)

    def check(value: str) -> str:
        if value not in known:
            raise ValueError(f"must be one of: {', '.join(names)}")
        return value

    return AfterValidator(check), WithJsonSchema({"type": "string", "enum": names})


VatName = Annotated[str, *_one_of(VatRate)]
MethodName = Annotated[str, *_one_of(PaymentMethod)]
ObjectName = Annotated[str, *_one_of(PaymentObject)]
MeasureName = Annotated[str, *_one_of(Measure)]
PaymentName = Annotated[str, *_one_of(PaymentKind)]
TaxationName = Annotated[str, *_one_of(Taxation)]
OperationName = Annotated[str, *_one_of(Operation)]
AgentName = Annotated[str, *_one_of(AgentType)]
"""Words of the fiscal format: closed in requests; answers may bring new ones."""


def _quantity(value: str) -> str:
    parse_quantity(value)
    return value


QuantityText = Annotated[
    str, StringConstraints(max_length=15, pattern=r"^[0-9]{1,8}(\.[0-9]{1,6})?$"), AfterValidator(_quantity)
]
"""A quantity as a decimal string, such as `1` or `0.350`; above zero."""

Email = Annotated[str, StringConstraints(max_length=254), AfterValidator(normalize_email)]
Phone = Annotated[str, StringConstraints(max_length=64), AfterValidator(normalize_phone)]
Inn = Annotated[str, StringConstraints(pattern=r"^[0-9]{10}([0-9]{2})?$")]


def _text(longest: int) -> Any:
    return StringConstraints(strip_whitespace=True, min_length=1, max_length=longest, pattern=_NO_NUL)


LineName = Annotated[str, _text(1024)]
PersonName = Annotated[str, _text(256)]
Phones = Annotated[list[Phone], Field(max_length=10)]
Oksm = Annotated[str, StringConstraints(pattern=r"^[0-9]{3}$")]


class CustomerIn(RequestModel):
    """The buyer. Without an e-mail or phone the source's fallback contact is taken, or the receipt is held."""

    email: Email | None = Field(default=None, description="Where the receipt goes.", examples=["anna@example.org"])
    phone: Phone | None = Field(
        default=None, description="Where the receipt goes; a Russian number needs no +7.", examples=["+79990000000"]
    )
    name: PersonName | None = None
    inn: Inn | None = Field(default=None, description="10 or 12 digits, for buyers who account for the expense.")
    birth_date: Day | None = Field(default=None, description="Tag 1243, with those below only by FFD 1.2.")
    citizenship: Oksm | None = Field(default=None, description="Tag 1244: three digits of OKSM.", examples=["643"])
    document_code: Annotated[str, StringConstraints(pattern=r"^[0-9]{2}$")] | None = Field(
        default=None, description="Tag 1245: kind of the document.", examples=["21"]
    )
    document_data: Annotated[str, _text(64)] | None = Field(default=None, description="Tag 1246.")
    address: PersonName | None = Field(default=None, description="Tag 1254.")

    def to_domain(self) -> Customer:
        return Customer(
            email=self.email,
            phone=self.phone,
            name=self.name,
            inn=self.inn,
            birth_date=self.birth_date,
            citizenship=self.citizenship,
            document_code=self.document_code,
            document_data=self.document_data,
            address=self.address,
        )


class SectoralIn(RequestModel):
    """A prop that a federal body wants (tags 1262-1265), such as the proof of a marking code's permission mode."""

    federal_id: Oksm = Field(description="Three digits: whose rule it is.", examples=["030"])
    date: Day = Field(description="Of the document that introduced it.", examples=["2023-11-21"])
    number: Annotated[str, _text(32)] = Field(description="Of that document.", examples=["1944"])
    value: Annotated[str, _text(256)]

    def to_domain(self) -> SectoralProp:
        return SectoralProp(self.federal_id, self.date, self.number, self.value)


SectoralProps = Annotated[list[SectoralIn], Field(max_length=10)]


class OperatingIn(RequestModel):
    """Tag 1270. The tax service defines its content; an order's number belongs into `user_prop`."""

    id: Annotated[int, Field(ge=0, le=255), WHOLE] = Field(default=0, description="Tag 1271.")
    data: Annotated[str, _text(64)] = Field(description="Tag 1272.")
    at: Moment = Field(description="Tag 1273.")

    def to_domain(self) -> OperatingProp:
        return OperatingProp(self.id, self.data, self.at)


class UserPropIn(RequestModel):
    """Free text of yours on the receipt (tag 1084), such as the order's number."""

    name: Annotated[str, _text(64)] = Field(examples=["Заказ"])
    value: Annotated[str, _text(256)] = Field(examples=["A-1042"])


class CashierIn(RequestModel):
    """Who took the money (tags 1021, 1203); over the Internet nobody."""

    name: Annotated[str, _text(64)]
    inn: Annotated[str, StringConstraints(pattern=r"^[0-9]{12}$")] | None = None


class AgentIn(RequestModel):
    """The seller acts for somebody else (tags 1222–1226)."""

    type: AgentName
    supplier_inn: Inn
    supplier_name: PersonName
    supplier_phones: Phones = Field(default=[])
    paying_agent_operation: Annotated[str, _text(24)] | None = None
    paying_agent_phones: Phones = Field(default=[])
    payment_operator_phones: Phones = Field(default=[])
    transfer_operator_name: Annotated[str, _text(64)] | None = None
    transfer_operator_inn: Inn | None = None
    transfer_operator_address: Annotated[str, _text(256)] | None = None
    transfer_operator_phones: Phones = Field(default=[])

    def to_domain(self) -> Agent:
        return Agent(
            type=AgentType.parse(self.type),
            supplier_inn=self.supplier_inn,
            supplier_name=self.supplier_name,
            supplier_phones=tuple(self.supplier_phones),
            paying_agent_operation=self.paying_agent_operation,
            paying_agent_phones=tuple(self.paying_agent_phones),
            payment_operator_phones=tuple(self.payment_operator_phones),
            transfer_operator_name=self.transfer_operator_name,
            transfer_operator_inn=self.transfer_operator_inn,
            transfer_operator_address=self.transfer_operator_address,
            transfer_operator_phones=tuple(self.transfer_operator_phones),
        )


# Not stripped: a GS separator inside or at the end belongs to the code.
Code = Annotated[str, StringConstraints(min_length=1, max_length=512, pattern=_NO_NUL)]


def _decoded(value: str) -> str:
    try:
        code = base64.b64decode(value, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise ValueError("must be Base64 of the code as it was scanned") from None
    if not 1 <= len(code) <= 512 or "\x00" in code:
        raise ValueError("must hold a code of 1 to 512 characters without U+0000")
    return value


class MarkingIn(RequestModel):
    """A goods marking code with its state, or a part of a marked package."""

    code: Code | None = Field(default=None, description="Exactly as scanned, group separators (U+001D) kept.")
    code_base64: Annotated[str, StringConstraints(max_length=1024), AfterValidator(_decoded)] | None = Field(
        default=None, description="The same in Base64, where U+001D would not survive the way here."
    )
    state: Annotated[int, Field(ge=1, le=255), WHOLE] = Field(
        default=255, description="Tag 2003; 255: it does not change."
    )
    numerator: Annotated[int, Field(ge=1, le=10**9), WHOLE] | None = Field(default=None, description="Tag 1293.")
    denominator: Annotated[int, Field(ge=1, le=10**9), WHOLE] | None = Field(default=None, description="Tag 1294.")

    @model_validator(mode="after")
    def _one_code(self) -> Self:
        if (self.code is None) is (self.code_base64 is None):
            raise ValueError("give the code once: as code or as code_base64")
        return self

    @property
    def raw(self) -> str:
        """The code as scanned, however it came."""
        return self.code if self.code is not None else base64.b64decode(self.code_base64 or "").decode()

    def to_domain(self) -> MarkingCode:
        return MarkingCode(self.raw, self.state, self.numerator, self.denominator)


def _code_alone(value: Any) -> Any:
    return {"code": value} if isinstance(value, str) else value


MarkingField = Annotated[MarkingIn, BeforeValidator(_code_alone, json_schema_input_type=Code | MarkingIn)]
"""The code as it was scanned, or an object where its state or part has to be said."""


class ItemIn(RequestModel):
    """One line. What is left out is filled from the settings of source, branch and kassa, or holds the receipt."""

    name: LineName = Field(description="What was paid for; longer than 128 characters is shortened.")
    quantity: QuantityText = Field(description="Decimal string.", examples=["1"])
    price: MinorUnits = Field(description="Kopecks for one, VAT included; before `discount` where it is given.")
    amount: MinorUnits = Field(description="Kopecks for the whole line: price × quantity.")
    sku: Annotated[str, _text(128)] | None = Field(default=None, description="Your id of the goods; printed nowhere.")
    vat: VatName | None = None
    payment_method: MethodName | None = None
    payment_object: ObjectName | None = None
    measure: MeasureName | None = None
    marking_code: MarkingField | None = None
    agent: AgentIn | None = None
    discount: MinorUnits | None = Field(
        default=None, description="Kopecks off this line; `price` and `amount` are then before it."
    )
    excise: MinorUnits | None = Field(default=None, description="Tag 1229: kopecks of excise within the line's amount.")
    country: Oksm | None = Field(default=None, description="Tag 1230: country of origin, three digits of OKSM.")
    declaration: Annotated[str, _text(32)] | None = Field(default=None, description="Tag 1231: customs declaration.")
    additional_props: Annotated[str, _text(64)] | None = Field(default=None, description="Tag 1191.")
    sectoral_props: SectoralProps = Field(default=[], description="Tag 1260.")
    vat_group: Annotated[str, _text(64)] | None = Field(
        default=None, description="A group of the merchant's VAT settings that the line belongs to."
    )

    def to_domain(self) -> EventItem:
        return EventItem(
            name=self.name,
            quantity=Decimal(self.quantity),
            price=self.price,
            amount=self.amount,
            sku=self.sku,
            vat=self.vat,
            payment_method=self.payment_method,
            payment_object=self.payment_object,
            measure=self.measure,
            marking=None if self.marking_code is None else self.marking_code.to_domain(),
            agent=None if self.agent is None else self.agent.to_domain(),
            discount=self.discount,
            excise=self.excise,
            country=self.country,
            declaration=self.declaration,
            additional_props=self.additional_props,
            sectoral_props=tuple(prop.to_domain() for prop in self.sectoral_props),
            vat_group=self.vat_group,
        )


class DiscountIn(RequestModel):
    """One reason why the whole order became cheaper; spread over the lines by the largest remainder."""

    type: Literal["discount", "bonus", "coupon"] = Field(
        description="`bonus`: points of a loyalty program. A gift card or deposit is no discount but a payment of the "
        "type `prepaid`."
    )
    amount: MinorUnits = Field(description="Kopecks; a percentage is told as what it came to.")
    name: Annotated[str, _text(128)] | None = Field(default=None, description="Your word for it: the coupon's code.")

    def to_domain(self) -> EventDiscount:
        return EventDiscount(DiscountKind(self.type), self.amount, self.name)


class PaymentIn(RequestModel):
    """A part of the money and how it came."""

    type: PaymentName
    amount: MinorUnits
    payment_id: Annotated[str, _text(255)] | None = Field(
        default=None,
        description="Of a `prepaid` part: the `external_id` of the payment in which it was received (a deposit, the "
        "sale of a gift card). Left out: the prepayments of the same `order_id`, oldest first.",
    )
    elsewhere: Flag | None = Field(
        default=None,
        description="Of a `prepaid` part: true when it was received where this program knows nothing of it.",
    )

    @model_validator(mode="after")
    def _offset(self) -> Self:
        if self.type != PaymentKind.PREPAID.code and (self.payment_id is not None or self.elsewhere):
            raise ValueError("only a part of the type prepaid was received before")
        if self.payment_id is not None and self.elsewhere:
            raise ValueError("money of a payment that is named was not received elsewhere")
        return self

    def to_domain(self) -> EventPayment:
        return EventPayment(self.type, self.amount, self.payment_id, self.elsewhere or None)


Items = Annotated[list[ItemIn], Field(max_length=1000)]
Payments = Annotated[list[PaymentIn], Field(max_length=20)]
Discounts = Annotated[list[DiscountIn], Field(max_length=20)]


class CustomerOut(ResponseModel):
    """The buyer; masked unless the key has the scope `receipts:read_pii`."""

    email: str | None
    phone: str | None
    name: str | None
    inn: str | None
    birth_date: Day | None
    citizenship: str | None
    document_code: str | None
    document_data: str | None
    address: str | None


class SectoralOut(ResponseModel):
    """A prop that a federal body wants."""

    federal_id: str
    date: Day
    number: str
    value: str


class OperatingOut(ResponseModel):
    """Tag 1270."""

    id: int
    data: str
    at: Timestamp


class UserPropOut(ResponseModel):
    """Tag 1084."""

    name: str
    value: str


class CashierOut(ResponseModel):
    """Tags 1021 and 1203."""

    name: str | None
    inn: str | None


class AgentOut(ResponseModel):
    """On whose behalf a line is sold."""

    type: str
    supplier_inn: str | None
    supplier_name: str | None
    supplier_phones: list[str]
    paying_agent_operation: str | None
    paying_agent_phones: list[str]
    payment_operator_phones: list[str]
    transfer_operator_name: str | None
    transfer_operator_inn: str | None
    transfer_operator_address: str | None
    transfer_operator_phones: list[str]


class MarkingOut(ResponseModel):
    """A marking code whose state or part is known."""

    code: str
    state: int
    numerator: int | None
    denominator: int | None


class ItemOut(ResponseModel):
    """One line: of an event as it was reported, of a receipt as it is printed."""

    name: str
    sku: str | None
    quantity: str
    price: int
    amount: int
    vat: str | None
    payment_method: str | None
    payment_object: str | None
    measure: str | None
    marking_code: str | MarkingOut | None
    agent: AgentOut | None
    discount: int | None = Field(description="Of an event's line: kopecks off it. A receipt's line is after it.")
    excise: int | None
    country: str | None
    declaration: str | None
    additional_props: str | None
    sectoral_props: list[SectoralOut]
    vat_group: str | None
    shipped_on: Day | None = Field(description="When it was given, where that is not the day of the money.")


class PaymentOut(ResponseModel):
    """A part of the money and how it came."""

    type: str
    amount: int
