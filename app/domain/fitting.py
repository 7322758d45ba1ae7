"""A line whose sum does not follow from its price: rewritten in pieces that a register accepts, to the kopeck."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from app.domain.ffd import Measure, PaymentMethod
from app.domain.money import allocate, fit_line, line_amount, quantity_text
from app.domain.receipt import Item, MarkingCode
from app.domain.text import fit

NAME_LIMIT = 128
"""Characters of an item's name (tag 1030) in CP866."""


def pieces(like: Item, amount: int) -> tuple[list[Item], str | None]:
    """Lines of the same thing that cost exactly `amount`, and what was done to the line (None: nothing).

    `like` carries price, quantity and amount as the source gave them. Every piece satisfies
    amount == line_amount(price, quantity).
    """
    if amount == like.amount == line_amount(like.price, like.quantity):
        return [like], None
    parts = fit_line(amount, like.quantity)
    if len(parts) == 1 and parts[0][0] != like.quantity:
        return [_as_one(like, amount)], "quantity_in_name"
    excises = [None] * len(parts) if like.excise is None else allocate(like.excise, [part[2] for part in parts])
    lines = [
        replace(like, quantity=quantity, price=price, amount=part, excise=excise)
        for (quantity, price, part), excise in zip(parts, excises, strict=True)
    ]
    return lines, "line_split" if len(lines) > 1 else "price_fitted"


def fit_basket(lines: Sequence[tuple[Item, int]], most: int) -> list[tuple[list[Item], str | None]]:
    """`pieces` of each line with its amount, together at most `most` where the basket itself has no more.

    A line that was split takes two places. Where they run out, the last split lines become one unit each with the real
    quantity in the name, which costs the same to the kopeck.
    """
    made = [pieces(like, amount) for like, amount in lines]
    over = sum([len(items) for items, _ in made]) - most
    for index in range(len(made) - 1, -1, -1):
        if over <= 0:
            break
        if (split := len(made[index][0])) > 1:
            made[index] = [_as_one(*lines[index])], "quantity_in_name"
            over -= split - 1
    return made


def sold(marking: MarkingCode, measure: Measure, method: PaymentMethod) -> MarkingCode:
    """The code with its planned state (tag 2003) where the source left it open: 1 a piece sold, 2 a measured part."""
    if marking.state != 255 or method.before_handing_over:
        return marking
    whole = measure is Measure.PIECE and marking.numerator is None
    return replace(marking, state=1 if whole else 2)


def name_note(pointer: str, changes: tuple[str, ...]) -> str:
    """How a name was made printable; a part that was lost is worth a look."""
    lost = "truncated" in changes or "dropped" in changes
    return f"{'name_cut' if lost else 'name_fitted'}: {pointer} {', '.join(changes)}"


def _as_one(like: Item, amount: int) -> Item:
    """The line as one unit that costs `amount`, its real quantity told in the name."""
    suffix = f" ({quantity_text(like.quantity)} {like.measure.ru})"
    name = fit(like.name, NAME_LIMIT - len(suffix))[0] + suffix
    return replace(like, name=name, quantity=Decimal(1), price=amount, amount=amount, measure=Measure.ANOTHER)
