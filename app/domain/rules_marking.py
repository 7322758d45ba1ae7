"""What must hold for a marking code (tags 2000, 2003, 1291): the gateway carries it, only the register checks it.

Source: the format, FNS order ЕД-7-20/662@ (FFD 1.2).
"""

import re
from collections.abc import Iterator

from app.domain.errors import Finding
from app.domain.ffd import Measure
from app.domain.ffd_marking import ItemState
from app.domain.receipt import Item, MarkingCode
from app.domain.tags import limit_of

GROUP_SEPARATOR = "\x1d"
"""Ends a field of variable length inside a GS1 code; it belongs to the code."""

_GS1 = re.compile(r"01([0-9]{14})21.+", re.DOTALL)
_SPELLED = re.compile(r"\\u001d|\\x1d|%1d|<gs>|&#29;|\[gs\]", re.IGNORECASE)


def marking_findings(pointer: str, item: Item, marking: MarkingCode) -> Iterator[Finding]:
    """All that is wrong with the code of a line; `pointer` is the line's."""
    yield from _code(f"{pointer}/marking_code", marking.code)
    if ItemState.from_tag(marking.state) is None:
        yield Finding(
            f"{pointer}/marking_code",
            "mark_state",
            f"The planned state {marking.state} of the goods does not exist.",
            f"Планируемого статуса товара {marking.state} не существует.",
            2003,
            f"Use one of: {', '.join(str(state.tag_value) for state in ItemState)}.",
        )
    if item.measure is Measure.PIECE and item.quantity != 1:
        yield Finding(
            f"{pointer}/quantity",
            "mark_quantity",
            "One marking code is one line of quantity 1.",
            "Один код маркировки это одна строка с количеством 1.",
            1023,
            "Split the line, one code each.",
        )
    yield from _fraction(f"{pointer}/marking_code", item, marking)


def check_digit(digits: str) -> int:
    """The last digit of a GTIN, from those before it (GS1: weights 3 and 1 from the right)."""
    weighted = sum(int(digit) * (3 if place % 2 == 0 else 1) for place, digit in enumerate(reversed(digits)))
    return -weighted % 10


def _code(pointer: str, code: str) -> Iterator[Finding]:
    if not 1 <= len(code) <= limit_of(2000):
        yield Finding(
            pointer,
            "mark_length",
            "A marking code has 1 to 256 characters.",
            "Код маркировки содержит от 1 до 256 символов.",
            2000,
            "Pass the code exactly as scanned, separators included.",
        )
    if _SPELLED.search(code):
        yield Finding(
            pointer,
            "mark_separator",
            "The code's group separator came as text; it is the character U+001D.",
            "Разделитель групп в коде передан текстом; это символ U+001D.",
            2000,
            'Send it as JSON writes it ("\\u001d" inside the string), or the whole code as code_base64.',
        )
    elif gs1 := _GS1.fullmatch(code):
        gtin = gs1[1]
        if int(gtin[-1]) != check_digit(gtin[:-1]):
            yield Finding(
                pointer,
                "mark_gs1",
                "The number of the goods in this GS1 code (14 digits after 01) has a wrong check digit.",
                "В коде GS1 неверна контрольная цифра номера товара (14 цифр после 01).",
                2000,
                "Scan it again; pass it exactly as scanned, without brackets and spaces.",
            )


def _fraction(pointer: str, item: Item, marking: MarkingCode) -> Iterator[Finding]:
    numerator, denominator = marking.numerator, marking.denominator
    if numerator is None and denominator is None:
        return
    # That a part goes with the measure "piece" only is unconfirmed (U); what is sold in parts is a piece.
    right = (
        numerator is not None
        and denominator is not None
        and 1 <= numerator < denominator
        and item.measure is Measure.PIECE
    )
    if not right:
        yield Finding(
            pointer,
            "mark_fraction",
            "A part of a package is numerator/denominator, both from 1, the first smaller, and counted in pieces.",
            "Дробное количество: числитель меньше знаменателя, оба от 1, мера только штуки.",
            1291,
            "Give both numbers, for example 1 and 2, with measure piece.",
        )
