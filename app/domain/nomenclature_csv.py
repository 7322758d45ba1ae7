"""The nomenclature as a table that a spreadsheet opens and saves: one row per rule, nothing in it runs as a formula.

A cell that a spreadsheet would take for a formula, a number or a date begins with an apostrophe; reading takes it away.
"""

import csv
import io
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields

from app.domain.errors import Finding
from app.domain.ffd import AgentType, FfdEnum, Measure, PaymentKind, PaymentMethod, PaymentObject
from app.domain.receipt import Agent
from app.domain.sheet import KINDS, RATES, plain
from app.domain.table import EMPTY, NOT_CLOSED, file_finding, read_heads, read_table, word
from app.domain.vat import VatRate

AGENT = tuple(f"agent_{each.name}" for each in fields(Agent))
"""Columns of the agent data, in the order of its members."""

COLUMNS: dict[str, tuple[str, ...]] = {
    "id": ("id правила",),
    "priority": ("приоритет",),
    "source": ("источник",),
    "branch": ("филиал", "точка"),
    "payment_type": ("вид оплаты",),
    "sku": ("артикул", "код товара"),
    "text": ("текст", "название в crm"),
    "name": ("наименование", "наименование в чеке"),
    "payment_object": ("предмет расчета",),
    "payment_method": ("способ расчета",),
    "vat": ("ндс", "ставка ндс"),
    "measure": ("мера", "единица"),
    "override": ("заменять",),
    **dict.fromkeys(AGENT, ()),
    "comment": ("комментарий",),
}
"""Names of the columns, and how else they may be headed."""

_WORDS: dict[str, tuple[type[FfdEnum], Mapping[str, FfdEnum]]] = {
    "payment_type": (PaymentKind, KINDS),
    "payment_object": (PaymentObject, {}),
    "payment_method": (PaymentMethod, {}),
    "vat": (VatRate, RATES),
    "measure": (Measure, {}),
    "agent_type": (AgentType, {}),
}
_YES = ("true", "yes", "да", "1", "истина")
_NO = ("", "false", "no", "нет", "0", "ложь")
_FORMULA = re.compile(r"[=+\-@\t\r\n＝＋－＠]")
_NUMBER = re.compile(r"[\d\s.,:/\\%()+\-]*\d[\d\s.,:/\\%()+\-]*(?:[eEеЕ][+\-]?\d+)?")


@dataclass(frozen=True, slots=True)
class RuleLine:
    """One row. `number` counts rules from 0, `line` is that of the file; words in `cells` are API names, empty cells
    are left out."""

    number: int
    line: int
    cells: Mapping[str, str]
    priority: int = 0
    override: bool = False
    findings: tuple[Finding, ...] = ()


def guarded(text: str) -> str:
    """The text as a cell that a spreadsheet shows as it is; `unguarded` gives it back."""
    return f"'{text}" if _dangerous(text) else text


def unguarded(cell: str) -> str:
    """The text behind a cell; an apostrophe that guards nothing is its own."""
    return cell[1:] if cell.startswith("'") and _dangerous(cell[1:]) else cell


def _dangerous(text: str) -> bool:
    if text.startswith("'"):
        return _dangerous(text[1:])
    return _FORMULA.match(text) is not None or _NUMBER.fullmatch(text) is not None


def write_rules(rules: Iterable[Mapping[str, object]]) -> str:
    """Rows by column (None: empty) as CSV: `;`, a byte order mark for spreadsheets, CRLF."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=";", lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for rule in rules:
        writer.writerow([_cell(rule.get(name)) for name in COLUMNS])
    return "\ufeff" + out.getvalue()


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case _:
            return guarded(str(value))


def read_rules(text: str, most: int) -> tuple[list[RuleLine], tuple[Finding, ...]]:
    """The rules of a file, each with what is wrong with it; or what is wrong with the file, then there are no rules.

    A file of heads alone is an empty set of rules. Columns may be left out.
    """
    try:
        table = read_table(text)
    except ValueError:
        return [], (NOT_CLOSED,)
    if not table:
        return [], (EMPTY,)
    (_, heads), body = table[0], table[1:]
    names, faults = read_heads(heads, COLUMNS)
    if len(body) > most:
        told = f"The file has {len(body)} rules; a merchant has at most {most}."
        faults.append(file_finding("list_too_long", told, f"В файле {len(body)} правил, возможно не больше {most}."))
    if faults:
        return [], tuple(faults)
    return [_rule(number, line, names, cells) for number, (line, cells) in enumerate(body)], ()


def _rule(number: int, line: int, names: list[str], cells: list[str]) -> RuleLine:
    said = {name: unguarded(cell) for name, cell in zip(names, cells, strict=False) if cell}
    found: list[Finding] = []

    def fault(name: str, rule: str, told: str, told_ru: str, fix: str | None = None) -> None:
        column = next(iter(COLUMNS[name]), name)
        at, told, told_ru = f"#/rows/{number}/{name}", f"Line {line}: {name} {told}.", f"«{column}» {told_ru}."
        found.append(Finding(at, rule, told, f"Строка {line}: {told_ru}", fix=fix))

    if len(cells) > len(names) and any(cells[len(names) :]):
        fault("id", "cells_too_many", "and the rest have more cells than heads", "и другие: лишние ячейки")
    for name, (kind, known) in _WORDS.items():
        if name in said:
            member = word(said[name], kind, known)
            if member is None:
                one_of = ", ".join(each.code for each in kind)
                fault(name, "value_unknown", "has a value that is not known", "не распознано", f"One of: {one_of}.")
            else:
                said[name] = member.code
    override = plain(said.pop("override", ""))
    if override not in (*_YES, *_NO):
        fault("override", "value_unknown", "is neither yes nor no", "не «да» и не «нет»", "Write true or false.")
    text = said.pop("priority", "0")
    try:
        priority = int(text)
    except ValueError:
        priority = 0
        fault("priority", "value_unknown", "is no whole number", "не целое число")
    return RuleLine(number, line, said, priority, override in _YES, tuple(found))
