"""A table of payments without receipts, as an accountant saves it: CSV with `;`, `,` or tabs, Russian or English heads.

Every fault of every line is reported at once with the number of the line in the file; nothing is guessed.
"""

from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

from app.domain.errors import Finding
from app.domain.event import EventItem, EventPayment
from app.domain.ffd import PaymentKind, Taxation
from app.domain.receipt import Customer
from app.domain.sheet import KINDS, RATES, Line, read_sheet
from app.domain.vat import VatRate

MAX_ROWS = 1000

COLUMNS: dict[str, tuple[str, ...]] = {
    "payment_id": ("id платежа", "номер платежа", "платеж", "id операции", "id"),
    "date": ("дата", "дата платежа", "дата расчета", "corrected_date"),
    "amount": ("сумма", "сумма платежа", "sum"),
    "name": ("наименование", "товар", "услуга", "назначение", "item"),
    "vat": ("ндс", "ставка ндс"),
    "email": ("e-mail", "почта", "эл. почта", "электронная почта"),
    "phone": ("телефон",),
    "order_id": ("заказ", "номер заказа", "id заказа", "order"),
    "payment_type": ("вид оплаты", "оплата", "способ оплаты"),
    "taxation": ("сно", "система налогообложения"),
    "branch": ("филиал", "точка"),
}
"""Names of the columns and how else they may be headed; `ё` counts as `е`, case and surrounding spaces do not count."""

REQUIRED = ("payment_id", "date", "amount")


@dataclass(frozen=True, slots=True)
class Listed:
    """One payment of a list. `number` counts the payments from 0; `line` is that of the file, the heads being 1."""

    number: int
    line: int
    payment_id: str
    day: date
    amount: int
    customer: Customer = field(default_factory=Customer)
    items: tuple[EventItem, ...] = ()
    payments: tuple[EventPayment, ...] = ()
    order_id: str | None = None
    taxation: str | None = None
    branch: str | None = None


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A line that is no payment, with everything that is wrong with it; `payment_id` where it could be read."""

    number: int
    line: int
    payment_id: str | None
    findings: tuple[Finding, ...]


def read_list(text: str) -> tuple[list[Listed | Unreadable], tuple[Finding, ...]]:
    """The lines of a file, and what is wrong with the file as a whole: then there are no lines.

    As `read_sheet` tells, at most `MAX_ROWS` of them.
    """
    lines, faults = read_sheet(text, COLUMNS, REQUIRED, MAX_ROWS)
    return [_row(line) for line in lines], faults


def _row(told: Line) -> Listed | Unreadable:
    if told.surplus:
        told.fault("payment_id", "cells_too_many", "and the rest have more cells than heads", "и другие: лишние ячейки")
    payment_id, day, amount = told.needed("payment_id"), told.day(), told.amount()
    vat = told.word("vat", VatRate, RATES)
    kind = told.word("payment_type", PaymentKind, KINDS)
    taxation = told.word("taxation", Taxation, {})
    name = told.text("name")
    if vat and not name:
        told.fault("name", "cell_missing", "is empty beside a rate", "не заполнено, хотя ставка указана")
    if len(payment_id) > 255:
        told.fault("payment_id", "cell_long", "has more than 255 characters", "длиннее 255 символов")
    if told.faults or day is None or amount is None:
        return Unreadable(told.number, told.line, payment_id[:255] or None, tuple(told.faults))
    return Listed(
        told.number,
        told.line,
        payment_id,
        day,
        amount,
        Customer(email=told.text("email"), phone=told.text("phone")),
        (EventItem(name, Decimal(1), amount, amount, vat=vat),) if name else (),
        (EventPayment(kind, amount),) if kind else (),
        told.text("order_id"),
        taxation,
        told.text("branch"),
    )
