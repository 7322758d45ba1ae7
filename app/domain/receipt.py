"""A fiscal receipt as a value: what is wanted from a kassa, what the kassa answered, and what must always hold."""

from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal

from app.domain.ffd import (
    AgentType,
    CorrectionKind,
    FfdVersion,
    Measure,
    Operation,
    PaymentKind,
    PaymentMethod,
    PaymentObject,
    Taxation,
)
from app.domain.vat import VatRate

OMIT_EMPTY = {"omit_empty": True}
"""Of a member that came later: while it is empty it is not stored, so that what was stored before reads the same."""


@dataclass(frozen=True, slots=True)
class Agent:
    """Agent sign of a line (1222) with the company data that the law wants beside it (1223, 1224, 1226)."""

    type: AgentType
    supplier_inn: str
    supplier_name: str
    supplier_phones: tuple[str, ...] = ()
    paying_agent_operation: str | None = None
    paying_agent_phones: tuple[str, ...] = ()
    payment_operator_phones: tuple[str, ...] = ()
    transfer_operator_name: str | None = None
    transfer_operator_inn: str | None = None
    transfer_operator_address: str | None = None
    transfer_operator_phones: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MarkingCode:
    """Код товара (2000) exactly as scanned, GS separators kept; `state` is 2003; a fraction is 1293/1294."""

    code: str
    state: int = 255
    numerator: int | None = None
    denominator: int | None = None


@dataclass(frozen=True, slots=True)
class SectoralProp:
    """Отраслевой реквизит of a line (1260) or receipt (1261): whose rule 1262, its document 1263, 1264, value 1265.

    The proof of a marking code's permission mode is one: `030`, 21.11.2023, `1944`, `UUID=…&Time=…`.
    """

    federal_id: str
    date: date
    number: str
    value: str


@dataclass(frozen=True, slots=True)
class OperatingProp:
    """Операционный реквизит чека, tag 1270: 1271, 1272, 1273. The tax service defines its content; else `id` is 0."""

    id: int
    data: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Item:
    """Предмет расчета, tag 1059. `price` and `amount` are kopecks after every discount; VAT is included.

    Three are no requisites: `sku` is the seller's id; `shipped_on`, the local day on which the goods were given where
    it is not the day of the money, and `vat_group` of the merchant's settings decide which VAT rate is right.
    """

    name: str
    price: int
    quantity: Decimal
    amount: int
    vat: VatRate
    payment_method: PaymentMethod
    payment_object: PaymentObject
    measure: Measure = Measure.PIECE
    sku: str | None = None
    marking: MarkingCode | None = None
    agent: Agent | None = None
    excise: int | None = None
    country: str | None = None
    declaration: str | None = None
    additional_props: str | None = None
    sectoral_props: tuple[SectoralProp, ...] = field(default=(), metadata=OMIT_EMPTY)
    shipped_on: date | None = None
    vat_group: str | None = None


@dataclass(frozen=True, slots=True)
class Payment:
    """One way in which the receipt was paid, kopecks."""

    kind: PaymentKind
    amount: int


@dataclass(frozen=True, slots=True)
class Customer:
    """The buyer. `email` or `phone` (E.164) is the contact of tag 1008; name and INN are 1227 and 1228.

    The rest of tag 1256 (FFD 1.2) tells who a person is: date of birth 1243, citizenship 1244 (three digits of OKSM),
    kind and data of the document 1245 and 1246, address 1254.
    """

    email: str | None = None
    phone: str | None = None
    name: str | None = None
    inn: str | None = None
    birth_date: date | None = None
    citizenship: str | None = None
    document_code: str | None = None
    document_data: str | None = None
    address: str | None = None

    @property
    def has_contact(self) -> bool:
        return bool(self.email or self.phone)

    @property
    def private_words(self) -> tuple[str, ...]:
        """Everything that says who the buyer is, as a provider may repeat it; none of it belongs in logs."""
        birth = None if self.birth_date is None else self.birth_date.strftime("%d.%m.%Y")
        told = (self.email, self.phone, self.name, self.inn, birth, self.document_data, self.address)
        return tuple(word for word in told if word)


@dataclass(frozen=True, slots=True)
class CorrectionBasis:
    """Основание для коррекции, tag 1174: day of the corrected settlement (1178) and number of the order (1179)."""

    kind: CorrectionKind
    corrected_date: date
    document_number: str | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """One fiscal document wanted from a kassa; a correction receipt when `correction` is given (form 31)."""

    operation: Operation
    taxation: Taxation
    ffd: FfdVersion
    items: tuple[Item, ...]
    payments: tuple[Payment, ...]
    customer: Customer
    place: str
    timezone: str
    internet: bool
    correction: CorrectionBasis | None = None
    cashier_name: str | None = None
    cashier_inn: str | None = None
    user_prop: tuple[str, str] | None = None
    additional_prop: str | None = None
    """Дополнительный реквизит чека, tag 1192, at most 16 characters: of a repair the wrong receipt's fiscal sign."""
    sectoral_props: tuple[SectoralProp, ...] = field(default=(), metadata=OMIT_EMPTY)
    operating_prop: OperatingProp | None = None

    @property
    def total(self) -> int:
        """Сумма расчета, tag 1020, kopecks."""
        return sum([item.amount for item in self.items])

    def paid(self, kind: PaymentKind) -> int:
        return sum(p.amount for p in self.payments if p.kind is kind)


@dataclass(frozen=True, slots=True)
class FiscalData:
    """What the register printed: the identity of a fiscal document is (fn, fd); `fpd` verifies it.

    `local_time` is the provider's own text of tag 1012, untouched; `fiscalized_at` the same moment in UTC.
    """

    fn: str
    fd: int
    fpd: str
    fiscalized_at: datetime
    local_time: str
    kkt_rn: str | None = None
    kkt_serial: str | None = None
    shift: int | None = None
    number_in_shift: int | None = None
    ffd: FfdVersion | None = None
    receipt_url: str | None = None


@dataclass(frozen=True, slots=True)
class Echo:
    """What a provider said about the document it has under our id; None where it says nothing.

    Everything said must match what we asked for before it is adopted.
    """

    operation: Operation | None = None
    correction: bool | None = None
    total: int | None = None
    taxation: Taxation | None = None
    extra: dict[str, str] = field(default_factory=dict)

    def differs_from(self, receipt: Receipt) -> tuple[str, ...]:
        """Names of the facts that contradict the receipt; empty when it is ours."""
        found: list[str] = []
        if self.operation is not None and self.operation is not receipt.operation:
            found.append("operation")
        if self.correction is not None and self.correction != (receipt.correction is not None):
            found.append("correction")
        if self.total is not None and self.total != receipt.total:
            found.append("total")
        if self.taxation is not None and self.taxation is not receipt.taxation:
            found.append("taxation")
        return tuple(found)
