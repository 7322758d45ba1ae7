"""Values as CloudPayments writes them, read without trust: part of every notice was typed in the buyer's browser."""

import json
import re
from decimal import Decimal
from typing import Any

from app.domain.money import kopecks, quantity_text
from app.infra.foreign_json import printable

_NUMBER = re.compile(r"[+-]?[0-9]{1,15}(\.[0-9]{1,15})?([eE][+-]?[0-9]{1,2})?")
_MAX_ROUBLES = 10**13


def read_json(text: str) -> Any:
    """JSON with exact numbers and lower-case names at every depth. ValueError, or RecursionError when too deep."""
    return json.loads(text, parse_float=number, parse_constant=number, object_pairs_hook=_folded)


def number(text: str) -> Decimal:
    """A decimal of a sane size; ValueError otherwise: 1e999999999 would be written out digit by digit later on."""
    if not _NUMBER.fullmatch(text) or not -15 <= (found := Decimal(text)).adjusted() <= 15:
        raise ValueError("a number is out of range or no number")
    return found


def money(value: Any) -> int:
    """Roubles (number or text with a dot) as kopecks; ValueError names no value."""
    if isinstance(value, int) and abs(value) > _MAX_ROUBLES:
        raise ValueError("the sum is out of range")
    return kopecks(number(value.strip()) if isinstance(value, str) else value)


def decimal_text(value: Any) -> str:
    """A number however it is written, as a plain decimal string."""
    return quantity_text(number(text(value)))


def whole(value: Any) -> int:
    """A small whole number however it is written; -1, which no table has, for anything else."""
    digits, _, decimals = text(value).partition(".")
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 4 and not decimals.strip("0") else -1


def text(value: Any) -> str:
    """One line of printable text."""
    return "" if value is None or isinstance(value, (dict, list)) else printable(str(value))


def word(value: Any) -> str:
    """A short keyword in lower case, for comparing and for telling in a note."""
    return text(value).lower()[:40]


def _folded(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {name.lower(): value for name, value in pairs}
