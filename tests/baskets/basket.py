"""Random baskets as a shop reports them, from a seed: 1 to 100 lines, coupons, free delivery, gift cards, marked goods.

A generator of our own, because a million of them must be cheap; hypothesis shrinks what it finds by `Shape`.
"""

import random
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal

from app.domain.basket import ZeroLines
from app.domain.event import DiscountKind, EventDiscount, EventItem, EventPayment, EventType, PaymentEvent
from app.domain.ffd import FfdVersion, PaymentMethod, PaymentObject, Taxation
from app.domain.money import line_amount
from app.domain.planning import Defaults, PlanSettings
from app.domain.receipt import Customer, MarkingCode
from app.domain.vat import VatRate

TODAY = date(2026, 11, 23)
_AT = datetime(2026, 11, 23, 12, 5, tzinfo=UTC)
_BUYER = Customer(email="buyer@example.org")
_NAMES = ("Кружка «Лето»", "Чай — улун, 100 г", "Сыр", "Плёнка защитная", "Болт М6×40", "Занятие", "Краска № 7 (белая)")
_MEASURES = ("kilogram", "meter", "liter", "hour", "square_meter")
_PRICES = (1, 2, 99, 100, 3333, 49_90, 199_00, 1_500_00, 12_345_67)


@dataclass(frozen=True, slots=True)
class Shape:
    """What is drawn of a basket before its lines: small numbers, so that a failure shrinks to few and plain ones."""

    lines: int
    order_discount: int
    """Percent of what the lines cost, or with `fixed` kopecks."""
    fixed: bool
    reasons: int
    gift_card: int
    """Percent of the amount that is paid by `prepaid`."""
    free_delivery: bool
    zero_lines: ZeroLines


def shape_of(seed: int) -> Shape:
    """Mostly small baskets, one in ten up to 100 lines."""
    draw = random.Random(seed)
    most = draw.choices((1, 8, 30, 100), (1, 6, 2, 1))[0]
    return Shape(
        lines=most if draw.random() < 0.2 else draw.randint(1, most),
        order_discount=draw.choice((0, 0, 1, 5, 10, 15, 33, 50, 99, 100_00)),
        fixed=draw.random() < 0.3,
        reasons=draw.randint(1, 3),
        gift_card=draw.choice((0, 0, 0, 25, 100)),
        free_delivery=draw.random() < 0.3,
        zero_lines=draw.choices((ZeroLines.DROP, ZeroLines.KOPECK), (4, 1))[0],
    )


def basket(shape: Shape, seed: int) -> tuple[PaymentEvent, PlanSettings]:
    """The event of this shape and seed, and the settings of its shop; there is always something to pay."""
    draw = random.Random(seed ^ 0x5EED)
    items = [_line(draw, number) for number in range(shape.lines)]
    if shape.free_delivery and len(items) < 100:
        items.append(_delivery(draw))
    whole = sum(item.amount - (item.discount or 0) for item in items)
    if whole == 0:
        items[0] = EventItem("Кружка", Decimal(1), 100_00, 100_00)
        whole = sum(item.amount - (item.discount or 0) for item in items)
    off = min(shape.order_discount if shape.fixed else whole * shape.order_discount // 100, whole - 1)
    amount = whole - off
    card = amount * shape.gift_card // 100
    payments = (EventPayment("prepaid", card, elsewhere=True), EventPayment("electronic", amount - card))
    event = PaymentEvent(
        type=EventType.PAYMENT_SUCCEEDED,
        external_id=f"basket-{seed}",
        amount=amount,
        occurred_at=_AT,
        customer=_BUYER,
        items=tuple(items),
        payments=tuple(one for one in payments if one.amount),
        delivered=True,
        discounts=_reasons(draw, off, shape.reasons) or None,
    )
    return event, _shop(shape.zero_lines)


def _shop(zero_lines: ZeroLines) -> PlanSettings:
    return PlanSettings(
        kassa_id="kas_1",
        ffd=FfdVersion.V1_2,
        taxation=(Taxation.USN_INCOME,),
        place="https://shop.example/",
        timezone="Europe/Moscow",
        internet=True,
        defaults=Defaults(VatRate.VAT22, PaymentMethod.FULL_PAYMENT, PaymentObject.COMMODITY, zero_lines=zero_lines),
        fallback_contact=None,
    )


def _line(draw: random.Random, number: int) -> EventItem:
    kind = draw.random()
    price = draw.choice(_PRICES) if draw.random() < 0.5 else draw.randint(1, 500_000)
    name = f"{draw.choice(_NAMES)} {number}"
    if kind < 0.08:
        code = MarkingCode(f"0104600000000008215seed{number:05}", state=1)
        return EventItem(
            name, Decimal(1), price, price, payment_object="commodity_with_marking", measure="piece", marking=code
        )
    measure = None
    if kind < 0.5:
        quantity = Decimal(draw.randint(1, 12))
    else:
        quantity = Decimal(draw.randint(1, 20_000)) / 1000
        measure = draw.choice(_MEASURES)
    amount = line_amount(price, quantity)
    if amount and draw.random() < 0.15:
        # A source that keeps the sum and prints the rounded quotient as the price.
        amount = draw.randint(amount, amount + int(quantity) // 2)
        price = int((Decimal(amount) / quantity).to_integral_value())
        amount = amount if abs(price * quantity - amount) * 2 <= quantity + 1 else line_amount(price, quantity)
    discount = min(amount, draw.choice((0, 1, amount // 10, amount // 3, amount))) if draw.random() < 0.2 else 0
    return EventItem(
        name,
        quantity,
        price,
        amount,
        measure=measure,
        vat=draw.choice((None, "vat10", "none")),
        discount=discount or None,
    )


def _delivery(draw: random.Random) -> EventItem:
    """Free, as shops tell it: a price of zero, or a price with a discount of all of it."""
    price = draw.choice((0, 350_00))
    return EventItem("Доставка", Decimal(1), price, price, payment_object="service", discount=price or None)


def _reasons(draw: random.Random, off: int, count: int) -> tuple[EventDiscount, ...]:
    """The order's discounts, together `off`."""
    cuts = sorted(draw.randint(0, off) for _ in range(count - 1))
    parts = [high - low for low, high in zip([0, *cuts], [*cuts, off], strict=True)]
    kinds = list(DiscountKind)
    return tuple(EventDiscount(kinds[index % 3], part) for index, part in enumerate(parts) if part)
