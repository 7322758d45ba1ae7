"""Lines of a refund asked for by hand: from "two of these" to names, prices and sums that the sale's receipt has."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from app.domain.errors import Finding, Invalid, RefundExceedsPayment
from app.domain.event import EventItem
from app.domain.receipt import MarkingCode
from app.domain.text import fit

_NAME_LIMIT = 128


@dataclass(frozen=True, slots=True)
class AskedLine:
    """A line of the sale, named by marking code, sku or name, and how much of it goes back; `amount` is kopecks."""

    quantity: Decimal
    name: str | None = None
    sku: str | None = None
    marking_code: str | None = None
    amount: int | None = None


def refund_lines(sale_items: Sequence[Mapping[str, Any]], asked: Sequence[AskedLine]) -> tuple[EventItem, ...]:
    """The lines as a refund event says them; `sale_items` are those of the sale's `receipt_view`.

    Without an amount a line costs its share of what the sale's lines of that name cost. Only the sale decides, not
    earlier refunds, so that the same request always means the same; what is left is judged when the refund is planned.
    Invalid when a line is not in the sale, RefundExceedsPayment when the sale had fewer.
    """
    return tuple(_line(index, sale_items, one) for index, one in enumerate(asked))


def _line(index: int, sale_items: Sequence[Mapping[str, Any]], asked: AskedLine) -> EventItem:
    meant = _meant(sale_items, asked)
    if not meant:
        raise Invalid("a line is not in the sale", (_not_found(index),))
    sold = sum((Decimal(item["quantity"]) for item in meant), Decimal(0))
    cost: int = sum(item["amount"] for item in meant)
    if asked.quantity > sold or (asked.amount or 0) > cost:
        raise RefundExceedsPayment("more is asked back than was sold", (_too_much(index),), refundable=cost)
    amount = asked.amount if asked.amount is not None else _rounded(cost * asked.quantity / sold)
    code = asked.marking_code
    return EventItem(
        name=meant[0]["name"],
        sku=meant[0]["sku"],
        quantity=asked.quantity,
        price=_rounded(amount / asked.quantity),
        amount=amount,
        marking=None if code is None else MarkingCode(code),
    )


def _meant(sale_items: Sequence[Mapping[str, Any]], asked: AskedLine) -> list[Mapping[str, Any]]:
    if asked.marking_code is not None:
        return [item for item in sale_items if _code(item) == asked.marking_code]
    if asked.sku is not None:
        return [item for item in sale_items if item["sku"] == asked.sku]
    name = fit(asked.name or "", _NAME_LIMIT)[0].casefold()
    return [item for item in sale_items if item["name"].casefold() == name]


def _code(item: Mapping[str, Any]) -> str | None:
    marking = item["marking_code"]
    found: str | None = marking["code"] if isinstance(marking, Mapping) else marking
    return found


def _rounded(kopecks: Decimal) -> int:
    return int(kopecks.quantize(Decimal(1), ROUND_HALF_UP))


def _not_found(index: int) -> Finding:
    return Finding(
        f"#/items/{index}",
        "lines_not_found",
        "The sale has no such line.",
        "В чеке продажи нет такой строки.",
        fix="Name the line as the sale's receipt does, by marking_code, sku or name.",
    )


def _too_much(index: int) -> Finding:
    return Finding(
        f"#/items/{index}/quantity",
        "refund_exceeds_payment",
        "The sale had less of this line.",
        "В продаже было меньше.",
        tag=1023,
        fix="Ask back at most what the sale's receipt shows.",
    )
