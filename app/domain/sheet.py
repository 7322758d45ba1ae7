"""A table as an accountant saves it: CSV with `;`, `,` or tabs, Russian or English heads, sums in roubles.

Every fault of every line is reported at once with the number of the line in the file; nothing is guessed.
"""

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING

from app.domain.errors import Finding
from app.domain.ffd import FfdEnum, PaymentKind
from app.domain.money import kopecks
from app.domain.vat import VatRate

if TYPE_CHECKING:
    import _csv

Columns = Mapping[str, tuple[str, ...]]
"""Names of columns and how else they may be headed; `ё` counts as `е`, case and surrounding spaces do not count."""

RATES = {
    "22": VatRate.VAT22,
    "20": VatRate.VAT20,
    "10": VatRate.VAT10,
    "7": VatRate.VAT7,
    "5": VatRate.VAT5,
    "0": VatRate.VAT0,
    "22/122": VatRate.VAT122,
    "20/120": VatRate.VAT120,
    "10/110": VatRate.VAT110,
    "7/107": VatRate.VAT107,
    "5/105": VatRate.VAT105,
    "безндс": VatRate.NONE,
    "нет": VatRate.NONE,
}
KINDS = {
    "безналичными": PaymentKind.ELECTRONIC,
    "безналичные": PaymentKind.ELECTRONIC,
    "безнал": PaymentKind.ELECTRONIC,
    "карта": PaymentKind.ELECTRONIC,
    "сбп": PaymentKind.ELECTRONIC,
    "наличными": PaymentKind.CASH,
    "наличные": PaymentKind.CASH,
}
"""How people write rates (without «НДС» and the percent sign) and ways of paying."""

_DELIMITERS = ";,\t"
_SPACES = re.compile(r"[\s\u00a0\u202f]+")
_DATES = ("%Y-%m-%d", "%d.%m.%Y", "%d.%m.%y", "%d/%m/%Y")


class Line:
    """One line in the making: reads its cells and collects their faults.

    `number` counts the lines with content from 0; `line` is that of the file, the heads being 1.
    """

    def __init__(self, number: int, line: int, columns: Columns, cells: dict[str, str], surplus: bool) -> None:
        self.number = number
        self.line = line
        self.surplus = surplus
        self._columns = columns
        self._cells = cells
        self.faults: list[Finding] = []

    def text(self, name: str) -> str | None:
        """The cell, None when it is empty or its column is not there."""
        return self._cells.get(name) or None

    def needed(self, name: str) -> str:
        """The same for a cell that must be filled."""
        found = self._cells.get(name, "")
        if not found:
            self.fault(name, "cell_missing", "is empty", "не заполнено")
        return found

    def fault(self, name: str, rule: str, told: str, told_ru: str, fix: str | None = None) -> None:
        """Something is wrong with a cell; the words go on from the column's name."""
        self.faults.append(
            Finding(
                f"#/rows/{self.number}/{name}",
                rule,
                f"Line {self.line}: {name} {told}.",
                f"Строка {self.line}: «{self._columns[name][0]}» {told_ru}.",
                fix=fix,
            )
        )

    def day(self, name: str = "date") -> date | None:
        """A day; a time behind it is passed over."""
        text = self.needed(name)
        found = read_day(text.partition(" ")[0].partition("T")[0]) if text else None
        if text and found is None:
            self.fault(name, "date_format", "is no date", "не дата", "Write it as 23.11.2026 or 2026-11-23.")
        return found

    def amount(self, name: str = "amount") -> int | None:
        """Roubles with a comma or a dot as kopecks; spaces between thousands are harmless."""
        text = _SPACES.sub("", self.needed(name)).removesuffix("₽").removesuffix("руб.")
        if not text:
            return None
        try:
            found = kopecks(text.replace(",", ".", 1))
        except ValueError:
            self.fault(name, "amount_format", "is no sum of roubles", "не сумма в рублях", "Write it as 1490,00.")
            return None
        if found <= 0:
            self.fault(name, "amount_positive", "must be above zero", "должна быть больше нуля")
        return found

    def word(self, name: str, kind: type[FfdEnum], known: Mapping[str, FfdEnum]) -> str | None:
        """The API name of a member of the format, written as people write it."""
        text = self.text(name)
        if text is None:
            return None
        found = known.get(_SPACES.sub("", plain(text)).removeprefix("ндс").removesuffix("%"))
        if found is None:
            found = next((one for one in kind if plain(text) in (one.code, plain(one.ru))), None)
        if found is None:
            one_of = ", ".join(one.code for one in kind)
            self.fault(name, "value_unknown", "has a value that is not known", "не распознано", f"One of: {one_of}.")
            return None
        return found.code


def read_sheet(
    text: str, columns: Columns, required: Sequence[str], most: int
) -> tuple[list[Line], tuple[Finding, ...]]:
    """The lines of a file, and what is wrong with the file as a whole: then there are no lines.

    A byte order mark and empty lines are passed over.
    """
    text = text.removeprefix("\ufeff")
    first = next((line for line in text.splitlines() if line.strip()), "")
    if not first:
        return [], (_EMPTY,)
    delimiter = max(_DELIMITERS, key=first.count)
    try:
        table = [
            (line, [cell.strip() for cell in cells])
            for line, cells in _numbered(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
        ]
    except csv.Error:
        return [], (_file("list_format", "A quote of the file is not closed.", "В файле не закрыта кавычка."),)
    if not table:
        return [], (_EMPTY,)
    (_, heads), body = table[0], table[1:]
    names, faults = _heads(heads, columns, required)
    if not body:
        faults.append(_file("list_empty", "The file has no payments.", "В файле нет платежей."))
    if len(body) > most:
        told = f"The file has {len(body)} payments; at most {most} are taken at once."
        told_ru = f"В файле {len(body)} платежей, за один раз принимается не больше {most}."
        faults.append(_file("list_too_long", told, told_ru, "Send it in parts."))
    if faults:
        return [], tuple(faults)
    return [
        Line(number, line, columns, dict(zip(names, cells, strict=False)), len(cells) > len(names))
        for number, (line, cells) in enumerate(body)
    ], ()


def read_day(text: str) -> date | None:
    """A day as people write it: 2026-11-23, 23.11.2026, 23.11.26 or 23/11/2026."""
    for shape in _DATES:
        try:
            return datetime.strptime(text, shape).date()  # noqa: DTZ007
        except ValueError:
            continue
    return None


def plain(text: str) -> str:
    """A head or word without what does not count."""
    return " ".join(text.casefold().replace("ё", "е").split())


def _numbered(reader: "_csv.Reader") -> Iterator[tuple[int, list[str]]]:
    before = 0
    for cells in reader:
        if any(cell.strip() for cell in cells):
            yield before + 1, cells
        before = reader.line_num


def _heads(heads: list[str], columns: Columns, required: Sequence[str]) -> tuple[list[str], list[Finding]]:
    by_head = {head: name for name, others in columns.items() for head in (name, *others)}
    names: list[str] = []
    faults: list[Finding] = []
    for place, head in enumerate(heads, start=1):
        name = by_head.get(plain(head))
        if name is None:
            faults.append(
                _file(
                    "column_unknown",
                    f"Column {place} has a head that is not known.",
                    f"Заголовок столбца {place} не распознан.",
                    f"Known columns: {', '.join(columns)}, or in Russian: "
                    f"{', '.join(others[0] for others in columns.values())}.",
                )
            )
        elif name in names:
            faults.append(
                _file("column_repeated", f"The column {name} stands twice.", f"Столбец «{head}» встречается дважды.")
            )
        names.append(name or "")
    faults += [
        _file(
            "column_missing",
            f"The column {name} is missing.",
            f"Нет столбца «{columns[name][0]}».",
            f"Add the column {name} or «{columns[name][0]}».",
        )
        for name in required
        if name not in names
    ]
    return names, faults


def _file(rule: str, told: str, told_ru: str, fix: str | None = None) -> Finding:
    return Finding("#/csv", rule, told, told_ru, fix=fix)


_EMPTY = _file("list_empty", "The file is empty.", "Файл пуст.")
