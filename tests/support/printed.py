"""Receipts with everything that can stand on them, and how a page is read back by tag."""

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from html.parser import HTMLParser

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
from app.domain.lifecycle import Status
from app.domain.qr import qr_text
from app.domain.receipt import (
    Agent,
    CorrectionBasis,
    Customer,
    FiscalData,
    Item,
    MarkingCode,
    OperatingProp,
    Payment,
    Receipt,
    SectoralProp,
)
from app.domain.receipt_page import Failure, Page, Related, Seller, buyer_page, receipt_page
from app.domain.vat import VatRate

SELLER = Seller("ООО «Школа английского языка»", "7707083893")
CODE = "010460043993125621JgXJ5.T\x1d8005112000\x1d930001\x1d923zbrLA=="
FULL = PaymentMethod.FULL_PAYMENT

COURSE = Item(
    "Курс «Английский», 12 занятий", 1_490_000, Decimal(1), 1_490_000, VatRate.VAT22, FULL, PaymentObject.SERVICE
)
SHOES = Item(
    "Кроссовки, модель <42-EU>",
    459_950,
    Decimal(1),
    459_950,
    VatRate.VAT22,
    FULL,
    PaymentObject.COMMODITY_WITH_MARKING,
    marking=MarkingCode(CODE, 1, 1, 2),
    country="643",
    declaration="10702030/060520/0013422",
    sectoral_props=(
        SectoralProp("030", date(2023, 11, 21), "1944", "UUID=7d5b1a06-6c2e-4f0d-9b43-0d0f6f8f5f10&Time=1732365900"),
    ),
    shipped_on=date(2026, 11, 22),
)
CHEESE = Item(
    "Сыр весовой",
    84_900,
    Decimal("0.354"),
    30_055,
    VatRate.VAT10,
    FULL,
    PaymentObject.COMMODITY,
    measure=Measure.KILOGRAM,
)
DELIVERY = Item(
    "Доставка",
    35_000,
    Decimal(1),
    35_000,
    VatRate.NONE,
    FULL,
    PaymentObject.SERVICE,
    agent=Agent(AgentType.COMMISSION_AGENT, "7707083893", "ООО «Быстрая доставка»", ("+74950000000", "+78000000000")),
)
TRANSFER = Item(
    "Ароматизатор" + "x" * 60,
    12_345,
    Decimal(3),
    37_035,
    VatRate.VAT0,
    FULL,
    PaymentObject.EXCISE,
    excise=1_500,
    additional_props="серия 12",
    agent=Agent(
        AgentType.BANK_PAYING_AGENT,
        "7707083893",
        "Поставщик",
        ("+74950000000",),
        "перевод",
        ("+74950000001",),
        ("+74950000003",),
        "Оператор перевода",
        "7707083893",
        "Москва, ул. Ленина, 1",
        ("+74950000002",),
    ),
)
ITEMS = (COURSE, SHOES, CHEESE, DELIVERY, TRANSFER)
TOTAL = sum(item.amount for item in ITEMS)

EVERYTHING = Receipt(
    Operation.SELL,
    Taxation.OSN,
    FfdVersion.V1_2,
    ITEMS,
    (Payment(PaymentKind.ELECTRONIC, 1_500_000), Payment(PaymentKind.PREPAID, TOTAL - 1_500_000)),
    Customer(
        "anna@example.org",
        "+79990000000",
        "ООО «Ромашка»",
        "7707083893",
        date(1990, 5, 17),
        "643",
        "21",
        "4510 000000",
        "Москва, ул. Ленина, 1",
    ),
    "https://shop.example.org",
    "Europe/Moscow",
    internet=True,
    cashier_name="Иванова А. П.",
    cashier_inn="770708389312",
    user_prop=("Заказ", "A-1042"),
    sectoral_props=(SectoralProp("020", date(2024, 1, 15), "77", "наряд 5"),),
    operating_prop=OperatingProp(0, "заезд 12", datetime(2026, 11, 23, 12, 0, tzinfo=UTC)),
)
LESSON = replace(
    EVERYTHING,
    taxation=Taxation.USN_INCOME,
    items=(replace(COURSE, vat=VatRate.NONE, payment_method=PaymentMethod.FULL_PREPAYMENT),),
    payments=(Payment(PaymentKind.ELECTRONIC, 1_490_000),),
    customer=Customer(email="anna@example.org"),
    cashier_name=None,
    cashier_inn=None,
    user_prop=None,
    sectoral_props=(),
    operating_prop=None,
)
CORRECTION = replace(
    LESSON,
    operation=Operation.SELL_REFUND,
    correction=CorrectionBasis(CorrectionKind.INSTRUCTION, date(2026, 10, 1), "12-3/44"),
    additional_prop="3304159072",
)
FISCAL = FiscalData(
    fn="9960440300000001",
    fd=12345,
    fpd="304159072",
    fiscalized_at=datetime(2026, 11, 23, 12, 5, tzinfo=UTC),
    local_time="2026-11-23T15:05:00",
    kkt_rn="0000000001001579",
    kkt_serial="00307900000001",
    shift=118,
    number_in_shift=7,
    ffd=FfdVersion.V1_2,
    receipt_url="https://consumer.1-ofd.ru/v1?t=20261123T1505",
)


def printed(receipt: Receipt = EVERYTHING, fiscal: FiscalData = FISCAL) -> Page:
    """The page of a receipt that a register has printed."""
    qr = qr_text(fiscal, receipt.operation, receipt.total)
    return receipt_page(receipt, SELLER, Status.FISCALIZED, fiscal=fiscal, qr=qr)


def pages() -> dict[str, Page]:
    """One page of each kind."""
    stopped = Failure("Касса не зарегистрирована с этим местом расчетов.", "Исправьте место расчетов и повторите.")
    refund = Related(Operation.SELL_REFUND, False, 459_950, 12399, "https://kassa.example.org/r/x")
    qr = qr_text(FISCAL, Operation.SELL, TOTAL)
    return {
        "everything": receipt_page(
            EVERYTHING, SELLER, Status.FISCALIZED, fiscal=FISCAL, qr=qr, related=[refund], notes=["Заметка."]
        ),
        "lesson": printed(LESSON),
        "correction": printed(CORRECTION),
        "draft": receipt_page(LESSON, SELLER, Status.REJECTED, failure=stopped),
        "waiting": buyer_page(LESSON, SELLER, Status.QUEUED),
    }


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []
        self._open: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        number = told.get("data-tag")
        if tag == "data" and number:
            above = "".join(f"{one}/" for _, one in self._open if one)
            self.found.append((f"{above}{told.get('data-in') or ''}{number}", told["value"] or ""))
        if tag not in ("meta", "br", "path", "link"):
            self._open.append((tag, number if tag != "data" else None))

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop()[0] != tag:
            pass


def read_back(html: str) -> list[tuple[str, str]]:
    """Every requisite of a page as (path of tags, value), by its attributes alone."""
    reader = _Reader()
    reader.feed(html)
    return reader.found
