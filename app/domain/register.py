"""A register of payments and refunds of one source, as its cabinet exports it or a person types it: CSV into events."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, tzinfo
from decimal import Decimal

from app.domain.errors import Finding
from app.domain.event import EventItem, EventPayment, EventType, PaymentEvent
from app.domain.ffd import PaymentKind
from app.domain.receipt import Customer
from app.domain.sheet import KINDS, RATES, Columns, Line, plain, read_day, read_sheet
from app.domain.vat import VatRate

MAX_ROWS = 50_000

COLUMNS: Columns = {
    "external_id": ("id операции", "id", "номер операции"),
    "date": ("дата", "дата и время", "дата операции", "occurred_at"),
    "amount": ("сумма", "сумма операции", "sum"),
    "type": ("тип", "операция", "тип операции"),
    "payment_id": ("id платежа", "исходный платеж", "платеж"),
    "order_id": ("заказ", "номер заказа", "id заказа", "order"),
    "name": ("наименование", "товар", "услуга", "назначение", "item"),
    "vat": ("ндс", "ставка ндс"),
    "email": ("e-mail", "почта", "эл. почта", "электронная почта"),
    "phone": ("телефон",),
    "payment_type": ("вид оплаты", "оплата", "способ оплаты"),
    "branch": ("филиал", "точка"),
    "settlement_key": ("ключ расчета",),
    "description": ("описание", "комментарий"),
}
REQUIRED = ("external_id", "date", "amount")

IMPORTED = "imported"
"""Member of the metadata of an event that a register told: while the sum is the same, what its source says later in
its own way is no contradiction."""

_TYPES: Mapping[str, EventType] = {
    **dict.fromkeys(("payment", "payment.succeeded", "платеж", "оплата", "приход"), EventType.PAYMENT_SUCCEEDED),
    **dict.fromkeys(("refund", "refund.succeeded", "возврат", "возврат прихода"), EventType.REFUND_SUCCEEDED),
}
_TIME = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2})(?:\.\d+)?)?")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the file: the event that it tells, or what is wrong with it."""

    line: int
    external_id: str | None
    event: PaymentEvent | None
    findings: tuple[Finding, ...] = ()


def read_register(text: str, zone: tzinfo) -> tuple[list[Row], tuple[Finding, ...]]:
    """The rows of a file, and what is wrong with the file as a whole: then there are no rows.

    Times without an offset are those of `zone`; a day without a time is its noon. An id that stands twice under one
    type is a fault of the second row.
    """
    lines, faults = read_sheet(text, COLUMNS, REQUIRED, MAX_ROWS)
    seen: dict[tuple[EventType, str], int] = {}
    rows = []
    for line in lines:
        row = _row(line, zone)
        if row.event is not None:
            identity = (row.event.type, row.event.external_id)
            before = seen.setdefault(identity, row.line)
            if before != row.line:
                line.fault(
                    "external_id", "row_repeated", f"stands in line {before} already", f"уже есть в строке {before}"
                )
                row = Row(row.line, row.external_id, None, tuple(line.faults))
        rows.append(row)
    return rows, faults


def _row(told: Line, zone: tzinfo) -> Row:
    if told.surplus:
        told.fault(
            "external_id", "cells_too_many", "and the rest have more cells than heads", "и другие: лишние ячейки"
        )
    external_id, at, amount = told.needed("external_id"), _moment(told, zone), told.amount()
    kind = _TYPES.get(plain(told.text("type") or "payment"))
    if kind is None:
        told.fault("type", "value_unknown", "has a value that is not known", "не распознан", "payment or refund.")
    payment_id = told.text("payment_id")
    if kind is EventType.REFUND_SUCCEEDED and payment_id is None:
        told.fault("payment_id", "cell_missing", "is empty at a refund", "не заполнено у возврата")
    vat = told.word("vat", VatRate, RATES)
    paid = told.word("payment_type", PaymentKind, KINDS)
    name = told.text("name")
    if vat and not name:
        told.fault("name", "cell_missing", "is empty beside a rate", "не заполнено, хотя ставка указана")
    for column, value in (("external_id", external_id), ("payment_id", payment_id or "")):
        if len(value) > 255:
            told.fault(column, "cell_long", "has more than 255 characters", "длиннее 255 символов")
    if told.faults or at is None or amount is None or kind is None:
        return Row(told.line, external_id[:255] or None, None, tuple(told.faults))
    event = PaymentEvent(
        type=kind,
        external_id=external_id,
        amount=amount,
        occurred_at=at,
        payment_id=payment_id if kind is EventType.REFUND_SUCCEEDED else None,
        order_id=told.text("order_id"),
        customer=Customer(email=told.text("email"), phone=told.text("phone")),
        items=(EventItem(name, Decimal(1), amount, amount, vat=vat),) if name else (),
        payments=(EventPayment(paid, amount),) if paid else (),
        branch=told.text("branch"),
        settlement_key=told.text("settlement_key"),
        description=told.text("description"),
        metadata={IMPORTED: True},
    )
    return Row(told.line, external_id, event)


def _moment(told: Line, zone: tzinfo) -> datetime | None:
    text = told.needed("date")
    if not text:
        return None
    try:
        whole = datetime.fromisoformat(text)
    except ValueError:
        whole = None
    if whole is not None and whole.tzinfo is not None:
        return whole.astimezone(UTC)
    first, _, rest = text.replace("T", " ").partition(" ")
    day, clock = read_day(first), _TIME.fullmatch(rest.strip())
    try:
        at = None if rest.strip() else time(12)
        if clock is not None:
            hour, minute, second = (int(part or 0) for part in clock.groups())
            at = time(hour, minute, second)
    except ValueError:
        at = None
    if day is None or at is None:
        told.fault(
            "date",
            "date_format",
            "is no date",
            "не дата",
            "Write it as 23.11.2026 14:05, 2026-11-23 or 2026-11-23T14:05:00+03:00.",
        )
        return None
    return datetime.combine(day, at, zone).astimezone(UTC)
