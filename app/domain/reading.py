"""What an event says, read into the words of the format: enumerations, payments and sums, each fault a finding."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TypeVar
from zoneinfo import ZoneInfo

from app.domain.basket import discount_findings, total_of
from app.domain.errors import Finding
from app.domain.event import EventPayment, EventType, PaymentEvent
from app.domain.ffd import FfdEnum, PaymentKind
from app.domain.money import line_amount, roubles
from app.domain.receipt import Payment

E = TypeVar("E", bound=FfdEnum)


_SKEW = timedelta(minutes=5)
"""A source's clock may run ahead of ours by so much unnoticed."""


def future_finding(event: PaymentEvent, now: datetime, timezone: str) -> Finding | None:
    """A settlement of a day that has not begun where the kassa stands; None for one that may have happened.

    Later on the same day it is believed, because sources that tell only the day mean its end; `comes_later` says so.
    """
    if not comes_later(event, now):
        return None
    zone = ZoneInfo(timezone)
    if event.occurred_at.astimezone(zone).date() <= (now + _SKEW).astimezone(zone).date():
        return None
    return Finding(
        "#/occurred_at",
        "date_in_future",
        "The payment is told for a day that has not come yet; money that did not move has no receipt.",
        "Дата платежа ещё не наступила: пока деньги не получены, чека быть не может.",
        1012,
        "Report it when the money has moved, or correct the clock of the source.",
    )


def comes_later(event: PaymentEvent, now: datetime) -> bool:
    """Whether the event is told for a moment that has not come yet."""
    return event.occurred_at > now + _SKEW


def parse_member(kind: type[E], given: str, pointer: str, tag: int, refusals: list[Finding]) -> E | None:
    """The member with this API name; otherwise a finding is added and the answer is None."""
    try:
        return kind.parse(given)
    except ValueError:
        names = ", ".join(member.code for member in kind)
        refusals.append(
            Finding(
                pointer,
                "unknown_value",
                f"This is no {kind.__name__} that a receipt can carry.",
                "Такого значения в чеке быть не может.",
                tag,
                f"Use one of: {names}.",
            )
        )
        return None


def offsets(event: PaymentEvent) -> list[tuple[int, EventPayment]]:
    """The `prepaid` parts of a payment that close an earlier prepayment known here, with their place in the event."""
    if event.type is not EventType.PAYMENT_SUCCEEDED:
        return []
    return [
        (index, part)
        for index, part in enumerate(event.payments)
        if part.kind == PaymentKind.PREPAID.code and not part.elsewhere and (part.payment_id or event.order_id)
    ]


def untracked(event: PaymentEvent) -> int:
    """Kopecks that are offset here and were received where this program knows nothing of it."""
    whole = sum([part.amount for part in event.payments if part.kind == PaymentKind.PREPAID.code])
    return whole - sum([part.amount for _, part in offsets(event)]) if whole else 0


def parse_payments(event: PaymentEvent, otherwise: PaymentKind, refusals: list[Finding]) -> tuple[Payment, ...]:
    """How the event says that it was paid, one entry per kind; silent: all of it `otherwise`."""
    if not event.payments:
        return (Payment(otherwise, event.amount),)
    sums: dict[PaymentKind, int] = {}
    for index, payment in enumerate(event.payments):
        kind = parse_member(PaymentKind, payment.kind, f"#/payments/{index}/type", 1031, refusals)
        if kind is not None:
            sums[kind] = sums.get(kind, 0) + payment.amount
    paid = sum([payment.amount for payment in event.payments])
    if paid != event.amount:
        refusals.append(totals_finding("#/payments", "payments", "оплат", paid, event.amount))
    return tuple(Payment(kind, amount) for kind, amount in sums.items() if amount)


def money_findings(event: PaymentEvent) -> Iterable[Finding]:
    """Currency, amount (unless it is told by what it leaves), and whether lines less the discount are the amount."""
    if event.currency != "RUB":
        yield Finding(
            "#/currency",
            "currency",
            "A receipt is in roubles; the law knows no other currency.",
            "Чек оформляется только в рублях.",
            None,
            "Report the sum in roubles at the rate of the settlement, currency RUB.",
        )
    if event.amount <= 0 and event.left_after is None:
        yield Finding(
            "#/amount",
            "amount_positive",
            "The amount is above zero.",
            "Сумма должна быть больше нуля.",
            1020,
            "A payment of nothing needs no event; a refund has a positive amount too.",
        )
    if event.items:
        yield from discount_findings(event)
        if (lines := total_of(event)) != event.amount:
            cheaper = lines != sum([item.amount for item in event.items])
            what, what_ru = ("lines less the discounts", "строк за вычетом скидок") if cheaper else ("lines", "строк")
            yield totals_finding("#/amount", what, what_ru, lines, event.amount)


def item_findings(event: PaymentEvent) -> Iterable[Finding]:
    """Lines whose own figures contradict each other."""
    for index, item in enumerate(event.items):
        pointer = f"#/items/{index}"
        if not item.quantity.is_finite() or item.quantity <= 0:
            yield Finding(
                f"{pointer}/quantity",
                "quantity_range",
                "The quantity is above zero.",
                "Количество должно быть больше нуля.",
                1023,
                "Give the real quantity.",
            )
        elif item.amount < 0 or item.price < 0:
            yield Finding(
                f"{pointer}/amount",
                "amount_positive",
                "Price and amount of a line are not negative.",
                "Цена и сумма строки не могут быть отрицательными.",
                1043,
                "Spread a discount over the prices, or give it as `discount`.",
            )
        # Sources often print amount / quantity as the price: half a kopeck per unit is rounding, more is an error.
        elif abs(item.price * item.quantity - item.amount) * 2 > item.quantity + 1:
            wanted = line_amount(item.price, item.quantity)
            yield Finding(
                f"{pointer}/amount",
                "line_amount",
                f"The line costs {roubles(item.amount)}, but price × quantity is {roubles(wanted)}.",
                f"Сумма строки {roubles(item.amount)} руб., а цена × количество даёт {roubles(wanted)} руб.",
                1043,
                "Give the price after the line's own discount.",
            )


def totals_finding(pointer: str, what: str, what_ru: str, found: int, amount: int) -> Finding:
    """Two sums of one event that must be equal and are not."""
    return Finding(
        pointer,
        "totals",
        f"The {what} sum to {roubles(found)}, the amount is {roubles(amount)}.",
        f"Сумма {what_ru} {roubles(found)} руб., а сумма платежа {roubles(amount)} руб.",
        1020,
        "Make both equal to what the buyer really paid; an order's discount is given as `discount`.",
    )
