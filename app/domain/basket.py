"""Discounts of an event laid over its lines: what each line costs after them, and what was taken from it and why.

FFD has no requisite for a discount: tags 1079 and 1043 are after it. What was taken is therefore kept beside the
receipt, so that whoever looks at a price can see where it came from.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from app.domain.errors import Finding
from app.domain.event import DiscountKind, EventDiscount, EventItem, PaymentEvent
from app.domain.money import allocate, roubles


class ZeroLines(StrEnum):
    """What becomes of a line that costs nothing; a price of zero is refused by several providers.

    Left out of the receipt, refused, or given a kopeck of the dearest line (practice, not confirmed by the law).
    """

    DROP = "drop"
    REFUSE = "refuse"
    KOPECK = "kopeck"


class Reason(StrEnum):
    """Why kopecks were taken from a line. `zero_line`: a kopeck moved onto a line that would have cost nothing."""

    LINE_DISCOUNT = "line_discount"
    DISCOUNT = "discount"
    BONUS = "bonus"
    COUPON = "coupon"
    ZERO_LINE = "zero_line"


@dataclass(frozen=True, slots=True)
class Taken:
    """Kopecks taken from a line for one reason; negative where a kopeck was put on it. `name` is the source's word."""

    reason: Reason
    amount: int
    name: str | None = None


@dataclass(frozen=True, slots=True)
class NetLine:
    """What a line of the event costs after everything that was taken from it."""

    amount: int
    taken: tuple[Taken, ...] = ()


@dataclass(frozen=True, slots=True)
class Adjustment:
    """How one line of the event became its lines in the receipt: `full` less all that was `taken` is `amount`.

    `line` counts the event's lines, `items` the receipt's (none: it was left out), both from zero. `change` is how it
    was rewritten (a code of `remarks.py`), None when only its price is lower.
    """

    line: int
    name: str
    full: int
    amount: int
    taken: tuple[Taken, ...]
    items: tuple[int, ...]
    change: str | None = None


def net_lines(event: PaymentEvent) -> list[NetLine]:
    """The event's lines after their own discounts and a share of the order's, to the kopeck.

    The order's discounts are spread together, by the largest remainder over what the lines cost after their own, so
    that no line is a kopeck off its fair share; then each line's part is told reason by reason. The event must be free
    of `discount_findings`.
    """
    given = [item.amount for item in event.items]
    reasons = _of_order(event)
    if not reasons and not any(item.discount for item in event.items):
        return [NetLine(amount) for amount in given]
    own = [item.discount or 0 for item in event.items]
    after_own = [full - less for full, less in zip(given, own, strict=True)]
    rest = allocate(sum(one.amount for one in reasons), after_own)
    amounts = [full - less for full, less in zip(after_own, rest, strict=True)]
    taken: list[list[Taken]] = [[Taken(Reason.LINE_DISCOUNT, less)] if less else [] for less in own]
    for one in reasons:
        for index, part in enumerate(allocate(one.amount, rest)):
            if part:
                taken[index].append(Taken(Reason(one.kind.value), part, one.name))
                rest[index] -= part
    return [NetLine(amount, tuple(why)) for amount, why in zip(amounts, taken, strict=True)]


def total_of(event: PaymentEvent) -> int:
    """What the lines cost together after all discounts."""
    own = sum([item.amount - (item.discount or 0) for item in event.items])
    return own - sum([one.amount for one in _of_order(event)])


def free_lines(
    lines: list[NetLine], setting: ZeroLines | None, *, sums_agree: bool
) -> tuple[list[NetLine], list[str], list[Finding]]:
    """Lines of which some cost nothing, by the setting: with their notes and refusals. What still costs nothing then
    is to be left out."""
    free = [index for index, line in enumerate(lines) if line.amount == 0]
    match setting:
        case ZeroLines.REFUSE:
            return lines, [], [_zero_line(index) for index in free]
        case ZeroLines.KOPECK if sums_agree:
            moved = _with_kopecks(lines)
            return moved, [f"kopeck_on_free_line: #/items/{index}" for index in free if moved[index].amount], []
        case _:
            return lines, [], []


def _with_kopecks(lines: Sequence[NetLine]) -> list[NetLine]:
    """The same money with a kopeck on each free line, taken from the dearest ones in turn; as it was where they cannot
    carry it."""
    free = [index for index, line in enumerate(lines) if line.amount == 0]
    donors = sorted(
        (index for index, line in enumerate(lines) if line.amount > 1), key=lambda index: (-lines[index].amount, index)
    )
    amounts = [line.amount for line in lines]
    moved: dict[int, int] = {}
    for number, index in enumerate(free):
        donor = donors[number % len(donors)] if donors else None
        if donor is None or amounts[donor] < 2:
            return list(lines)
        amounts[donor] -= 1
        amounts[index] += 1
        moved[donor] = moved.get(donor, 0) + 1
        moved[index] = -1
    return [
        NetLine(amount, (*line.taken, Taken(Reason.ZERO_LINE, moved[index])) if index in moved else line.taken)
        for index, (amount, line) in enumerate(zip(amounts, lines, strict=True))
    ]


def discount_findings(event: PaymentEvent) -> Iterable[Finding]:
    """Discounts that are negative, or more than what they are taken from."""
    sound = True
    for index, item in enumerate(event.items):
        if item.discount:
            for found in _own(index, item):
                sound = False
                yield found
    for index, one in enumerate(event.discounts or ()):
        if one.amount < 0:
            sound = False
            yield _negative(f"#/discounts/{index}/amount")
    if (event.discount or 0) < 0:
        sound = False
        yield _negative("#/discount")
    whole = sum([item.amount - (item.discount or 0) for item in event.items])
    off = sum([one.amount for one in _of_order(event)])
    if sound and off > max(whole, 0):
        yield Finding(
            "#/discount" if event.discount else "#/discounts",
            "discount_exceeds",
            f"The discounts of {roubles(off)} are more than the lines cost together, {roubles(whole)}.",
            f"Скидки на {roubles(off)} руб. больше суммы строк {roubles(whole)} руб.",
            1043,
            "Give what was really taken off; money paid before is a payment of the kind prepaid, no discount.",
        )


def _zero_line(index: int) -> Finding:
    return Finding(
        f"#/items/{index}/amount",
        "zero_line",
        "The line costs nothing, and the settings refuse such lines.",
        "Строка ничего не стоит, а по настройкам такие строки не принимаются.",
        1079,
        "Leave the line out, or set zero_lines among the defaults to drop or kopeck.",
    )


def _own(index: int, item: EventItem) -> Iterable[Finding]:
    pointer = f"#/items/{index}/discount"
    less = item.discount or 0
    if less < 0:
        yield _negative(pointer)
    elif less > item.amount:
        yield Finding(
            pointer,
            "discount_exceeds",
            f"The line's discount of {roubles(less)} is more than the line costs, {roubles(item.amount)}.",
            f"Скидка на строку {roubles(less)} руб. больше её стоимости {roubles(item.amount)} руб.",
            1043,
            "Price and amount of a line are before its discount.",
        )


def _negative(pointer: str) -> Finding:
    return Finding(
        pointer,
        "discount_negative",
        "A discount is not negative.",
        "Скидка не может быть отрицательной.",
        None,
        "Give the discount as a positive sum, a surcharge as a line of its own.",
    )


def _of_order(event: PaymentEvent) -> list[EventDiscount]:
    nameless = [EventDiscount(DiscountKind.DISCOUNT, event.discount)] if event.discount else []
    return [*nameless, *(event.discounts or ())]
