"""Kopecks and quantities: exact arithmetic of a receipt line, and spreading one sum over many lines.

Money is an integer number of kopecks, quantity a Decimal with at most six decimals; no float enters here. The format
(FNS order ЕД-7-20/662@) lets a line differ from price × quantity by a kopeck; here it never does.
"""

import re
from collections.abc import Sequence
from decimal import Decimal
from functools import lru_cache

MAX_QUANTITY = Decimal("99999999.999999")
QUANTITY_DECIMALS = 6

_ROUBLES = re.compile(r"-?[0-9]{1,15}(\.[0-9]+)?")
_QUANTITY = re.compile(r"[0-9]{1,8}(\.[0-9]{1,6})?")


def line_amount(price: int, quantity: Decimal) -> int:
    """Стоимость предмета расчета (tag 1043) in kopecks: price × quantity, halves up."""
    num, den = quantity.as_integer_ratio()
    return (2 * price * num + den) // (2 * den)


def allocate(amount: int, weights: Sequence[int]) -> list[int]:
    """Spread kopecks over weights by the largest remainder; ties go to the lower index, the sum is always `amount`.

    A part never exceeds its weight when `amount` does not exceed their sum. ValueError for negative numbers, or for
    money without any weight to carry it.
    """
    whole = sum(weights)
    if amount < 0 or any(weight < 0 for weight in weights):
        raise ValueError("only non-negative kopecks can be spread over non-negative weights")
    if whole == 0:
        if amount == 0:
            return [0] * len(weights)
        raise ValueError("there is nothing to spread the sum over")
    parts = [amount * weight // whole for weight in weights]
    rest = amount - sum(parts)
    by_remainder = sorted(range(len(weights)), key=lambda index: (-(amount * weights[index] % whole), index))
    for index in by_remainder[:rest]:
        parts[index] += 1
    return parts


def roubles(kopecks: int) -> Decimal:
    """Kopecks as roubles with exactly two decimals: 100 → Decimal('1.00')."""
    return Decimal(kopecks).scaleb(-2)


def kopecks(roubles: Decimal | str | int) -> int:
    """Roubles as kopecks, exactly. ValueError for a part of a kopeck, a float, or text that is no plain number.

    Zeros behind the kopecks are harmless ("10.5000", as databases print it); a dot separates the decimals.
    """
    if isinstance(roubles, bool) or not isinstance(roubles, (Decimal, str, int)):
        raise ValueError("money is given as text, a whole number or a Decimal, never as a float")
    if isinstance(roubles, int):
        return roubles * 100
    text = roubles.strip() if isinstance(roubles, str) else format(roubles, "f")
    if not _ROUBLES.fullmatch(text):
        raise ValueError("the sum is not a plain number of roubles such as 1490.00")
    whole, _, decimals = text.partition(".")
    if decimals[2:].strip("0"):
        raise ValueError("the sum has a part of a kopeck; give at most two decimals")
    return int(whole + decimals[:2].ljust(2, "0"))


@lru_cache(maxsize=1024)
def parse_quantity(text: str) -> Decimal:
    """A quantity (tag 1023) from its decimal string: above zero, at most 99999999.999999, trailing zeros dropped."""
    if not _QUANTITY.fullmatch(text):
        raise ValueError("a quantity is a decimal string such as 1 or 0.350, with at most 8 digits and 6 decimals")
    quantity = Decimal(text)
    if not quantity:
        raise ValueError("a quantity must be above zero")
    return Decimal(quantity_text(quantity))


def quantity_text(quantity: Decimal) -> str:
    """One spelling per quantity, without exponent or trailing zeros: Decimal('1.500') → '1.5'."""
    text = format(quantity, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def fit_line(amount: int, quantity: Decimal, decimals: int = 3) -> list[tuple[Decimal, int, int]]:
    """Lines (quantity, price, amount) for `quantity` units that cost exactly `amount` kopecks together.

    Every line satisfies amount == line_amount(price, quantity), and the amounts sum to the given one: one line where a
    price exists, else two whose prices differ by a kopeck. Where no price of at least a kopeck can do it (or the
    quantity has more than `decimals` decimals) the answer is one line of quantity 1; the caller then names the real
    quantity in the text. ValueError unless both are above zero.
    """
    if amount <= 0 or quantity <= 0:
        raise ValueError("a line has an amount and a quantity above zero")
    single = _single_price(amount, quantity)
    if single is not None:
        return [(quantity, single, amount)]
    scale = 10**decimals
    units = quantity * scale
    if units != int(units):
        return [_as_one(amount)]
    low = amount * scale // int(units)
    if low == 0:
        return [_as_one(amount)]
    # low·(units - dear) + (low + 1)·dear == amount, counted in parts of the quantity's last decimal.
    dear = amount * scale - low * int(units)
    if quantity == int(quantity):
        dear //= scale
        return [_line(int(quantity) - dear, 1, low), _line(dear, 1, low + 1)]
    lines = [_line(int(units) - dear, scale, low), _line(dear, scale, low + 1)]
    if lines[0][2] + lines[1][2] != amount:
        # Both halves of a kopeck were rounded up: one part less at the dearer price takes the surplus away.
        lines = [_line(int(units) - dear + 1, scale, low), _line(dear - 1, scale, low + 1)]
    return lines


def _single_price(amount: int, quantity: Decimal) -> int | None:
    num, den = quantity.as_integer_ratio()
    nearest = (2 * amount * den + num) // (2 * num)
    return nearest if nearest > 0 and line_amount(nearest, quantity) == amount else None


def _line(parts: int, scale: int, price: int) -> tuple[Decimal, int, int]:
    quantity = Decimal(quantity_text(Decimal(parts) / scale))
    return quantity, price, line_amount(price, quantity)


def _as_one(amount: int) -> tuple[Decimal, int, int]:
    return Decimal(1), amount, amount
