"""A table of payments without receipts, as an accountant saves it: CSV with `;`, `,` or tabs, Russian or English heads.

Every fault of every line is reported at once with the number of the line in the file; nothing is guessed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal

from app.domain.errors import Finding
from app.domain.event import EventItem, EventPayment
from app.domain.ffd import FfdEnum, PaymentKind, Taxation
from app.domain.money import kopecks
from app.domain.receipt import Customer
from app.domain.table import EMPTY, KINDS, NOT_CLOSED, RATES, file_finding, read_heads, read_table, unspaced, word
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

_DATES = ("%Y-%m-%d", "%d.%m.%Y", "%d.%m.%y", "%d/%m/%Y")


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

    A byte order mark and empty lines are passed over. Sums are roubles with a comma or a dot, spaces between thousands
    are harmless.
    """
    try:
        table = read_table(text)
    except ValueError:
        return [], (NOT_CLOSED,)
    if not table:
        return [], (EMPTY,)
    (_, heads), body = table[0], table[1:]
    names, faults = _heads(heads)
    if not body:
        faults.append(file_finding("list_empty", "The file has no payments.", "В файле нет платежей."))
    if len(body) > MAX_ROWS:
        told = f"The file has {len(body)} payments; at most {MAX_ROWS} are taken at once."
        told_ru = f"В файле {len(body)} платежей, за один раз принимается не больше {MAX_ROWS}."
        faults.append(file_finding("list_too_long", told, told_ru, "Send it in parts."))
    if faults:
        return [], tuple(faults)
    return [_row(number, line, names, cells) for number, (line, cells) in enumerate(body)], ()


def _heads(heads: list[str]) -> tuple[list[str], list[Finding]]:
    names, faults = read_heads(heads, COLUMNS)
    faults += [
        file_finding(
            "column_missing",
            f"The column {name} is missing.",
            f"Нет столбца «{COLUMNS[name][0]}».",
            f"Add the column {name} or «{COLUMNS[name][0]}».",
        )
        for name in REQUIRED
        if name not in names
    ]
    return names, faults


class _Line:
    """One line in the making: collects its faults."""

    def __init__(self, number: int, line: int, cells: dict[str, str]) -> None:
        self._at = f"#/rows/{number}"
        self._line = line
        self._cells = cells
        self.faults: list[Finding] = []

    def text(self, name: str) -> str | None:
        return self._cells.get(name) or None

    def needed(self, name: str) -> str:
        found = self._cells.get(name, "")
        if not found:
            self.fault(name, "cell_missing", "is empty", "не заполнено")
        return found

    def fault(self, name: str, rule: str, told: str, told_ru: str, fix: str | None = None) -> None:
        self.faults.append(
            Finding(
                f"{self._at}/{name}",
                rule,
                f"Line {self._line}: {name} {told}.",
                f"Строка {self._line}: «{COLUMNS[name][0]}» {told_ru}.",
                fix=fix,
            )
        )

    def day(self) -> date | None:
        text = self.needed("date")
        for shape in _DATES:
            try:
                return datetime.strptime(text.partition(" ")[0].partition("T")[0], shape).date()  # noqa: DTZ007
            except ValueError:
                continue
        if text:
            self.fault("date", "date_format", "is no date", "не дата", "Write it as 23.11.2026 or 2026-11-23.")
        return None

    def amount(self) -> int | None:
        text = unspaced(self.needed("amount")).removesuffix("₽").removesuffix("руб.")
        if not text:
            return None
        try:
            found = kopecks(text.replace(",", ".", 1))
        except ValueError:
            self.fault("amount", "amount_format", "is no sum of roubles", "не сумма в рублях", "Write it as 1490,00.")
            return None
        if found <= 0:
            self.fault("amount", "amount_positive", "must be above zero", "должна быть больше нуля")
        return found

    def word(self, name: str, kind: type[FfdEnum], known: Mapping[str, FfdEnum]) -> str | None:
        text = self.text(name)
        if text is None:
            return None
        found = word(text, kind, known)
        if found is None:
            one_of = ", ".join(one.code for one in kind)
            self.fault(name, "value_unknown", "has a value that is not known", "не распознано", f"One of: {one_of}.")
            return None
        return found.code


def _row(number: int, line: int, names: list[str], cells: list[str]) -> Listed | Unreadable:
    told = _Line(number, line, dict(zip(names, cells, strict=False)))
    if len(cells) > len(names):
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
        return Unreadable(number, line, payment_id[:255] or None, tuple(told.faults))
    return Listed(
        number,
        line,
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
