"""From a check that the portal wants printed to the event that it is.

A sale, prepayment or debt is `payment.succeeded`; a check of full payment that is paid by advance alone is
`order.settled` of the order that it names (of none named: a payment whose money is `prepaid`, which sells nothing for
money either), so that the ledger lets nothing be closed twice. Returns are `refund.succeeded`, of the order where it is
named, and else of their own lines.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final

from app.crms.bitrix24.form import Nested, listed, nested
from app.crms.bitrix24.identity import CheckKey
from app.crms.bitrix24.vat import rate_of
from app.crms.bitrix24.words import MEASURES, METHODS, OBJECTS, PAYMENTS, TYPES, CheckType
from app.domain.event import EventItem, EventPayment, EventType, PaymentEvent
from app.domain.ffd import AgentType, PaymentKind, PaymentMethod, PaymentObject
from app.domain.money import parse_quantity, quantity_text, roubles
from app.domain.rates import for_method
from app.domain.receipt import Agent, Customer, MarkingCode
from app.infra.contacts import normalize_email, normalize_phone
from app.infra.foreign_json import printable
from app.ports.source import SourceContext

_BEGINNING: Final = datetime(2017, 7, 1, tzinfo=UTC)
"""When receipts began to be sent online; no check is older."""

_NOISE: Final = Decimal("0.01")
"""Of a kopeck: PHP writes sums from binary fractions."""


class Unprintable(Exception):
    """The check cannot become a receipt; the sentence is for the portal's manager, in Russian."""


async def event_of_check(post: Nested, key: CheckKey, context: SourceContext) -> PaymentEvent:
    """The event of a check. Unprintable where its meaning is in doubt: nothing is guessed about money or VAT."""
    told = _word(post.get("type"))
    kind = TYPES.get(told)
    if kind is None:
        raise Unprintable(f"Тип чека {told[:40] or '(пусто)'} неизвестен.")
    items = [await _item(number, nested(item), kind, context) for number, item in enumerate(_list(post, "items"), 1)]
    if not items:
        raise Unprintable("В чеке нет строк.")
    amount = sum([item.amount for item in items])
    payments = _payments(post, kind, amount)
    _must_add_up(post, amount, payments)
    if kind.method is PaymentMethod.CREDIT_PAYMENT:
        items = [_debt(items)]
    order_id = _order(post)
    type = _event_type(kind, items, payments, order_id, context)
    return PaymentEvent(
        type=type,
        external_id=key.text,
        amount=amount,
        occurred_at=_moment(post.get("date_create")),
        order_id=order_id,
        customer=_customer(post, context),
        items=tuple(items),
        payments=tuple(payments),
        items_origin="event",
        stands_alone=True if kind.returns and context.settings.returns == "as_sent" else None,
        metadata={"bitrix24_type": told, "bitrix24_check": key.number, "portal": key.portal},
    )


def _event_type(
    kind: CheckType,
    items: Sequence[EventItem],
    payments: Sequence[EventPayment],
    order_id: str | None,
    context: SourceContext,
) -> EventType:
    if kind.returns:
        return EventType.REFUND_SUCCEEDED
    given = all(item.payment_method == PaymentMethod.FULL_PAYMENT.code for item in items)
    offset = all(payment.kind == PaymentKind.PREPAID.code for payment in payments)
    if given and offset and order_id is not None and context.settings.closings == "ledger":
        return EventType.ORDER_SETTLED
    return EventType.PAYMENT_SUCCEEDED


async def _item(number: int, item: Nested, kind: CheckType, context: SourceContext) -> EventItem:
    """A line. `price` and `sum` are after the line's discount, so that `discount` and `base_price` are not read."""
    name = _text(item.get("name"))
    where = f"Строка {number} («{name[:60]}»)"
    if not name:
        raise Unprintable(f"У строки {number} нет наименования.")
    if _word(item.get("currency")) not in ("", "rub", "rur"):
        raise Unprintable(f"{where}: чек оформляется только в рублях.")
    method = _known(item.get("payment_method"), METHODS, kind.method, where, "Способ расчёта")
    try:
        vat = await rate_of(_text(item.get("vat")), context)
    except ValueError as unknown:
        raise Unprintable(f"{where}: {unknown}.") from None
    thing: PaymentObject | None = _known(item.get("payment_object"), OBJECTS, None, where, "Предмет расчёта")
    amount = _money(item.get("sum"), where)
    quantity = _quantity(item.get("quantity"), where)
    price = _price(item.get("price"), amount, quantity, where)
    measure = MEASURES.get(_text(item.get("measure_code")).lstrip("0"))
    return EventItem(
        name=name,
        quantity=quantity,
        price=price,
        amount=amount,
        vat=for_method(vat, method).code,
        payment_method=method.code,
        payment_object=None if thing is None else thing.code,
        measure=None if measure is None else measure.code,
        marking=_marking(item.get("marking_code"), where),
        agent=_agent(nested(item.get("supplier_info")), where, context),
    )


def _debt(items: Sequence[EventItem]) -> EventItem:
    """A debt's payment is one line alone (tag 1214, value 7), under the rate that the goods were handed over with."""
    if len(items) == 1:
        return items[0]
    if len({item.vat for item in items}) > 1 or any(item.agent for item in items):
        raise Unprintable(
            "Оплата долга идёт в чеке одной строкой, а у товаров разные ставки НДС или поставщики: "
            "оформите оплату по каждой ставке отдельным чеком."
        )
    amount = sum([item.amount for item in items])
    return EventItem(
        name=f"Оплата долга: {', '.join(item.name for item in items)}",
        quantity=Decimal(1),
        price=amount,
        amount=amount,
        vat=items[0].vat,
        payment_method=PaymentMethod.CREDIT_PAYMENT.code,
        payment_object=PaymentObject.PAYMENT.code,
        measure=None,
    )


def _payments(post: Nested, kind: CheckType, amount: int) -> list[EventPayment]:
    sums: dict[PaymentKind, int] = {}
    for number, payment in enumerate((nested(one) for one in _list(post, "payments")), 1):
        where = f"Оплата {number}"
        told = _word(payment.get("type"))
        if not told:
            # Older portals say it by a flag alone.
            told = {"y": "cash", "n": "cashless"}.get(_word(payment.get("is_cash")), "")
        if told not in PAYMENTS:
            raise Unprintable(f"{where}: вид оплаты {told[:40] or '(пусто)'} неизвестен.")
        if _word(payment.get("currency")) not in ("", "rub", "rur"):
            raise Unprintable(f"{where}: чек оформляется только в рублях.")
        paid = _money(payment.get("sum"), where)
        sums[PAYMENTS[told]] = sums.get(PAYMENTS[told], 0) + paid
    found = [EventPayment(paid_by.code, paid) for paid_by, paid in sums.items() if paid]
    if not found and kind.method is PaymentMethod.CREDIT:
        return [EventPayment(PaymentKind.CREDIT.code, amount)]
    if not found:
        raise Unprintable("В чеке нет оплат.")
    return found


def _must_add_up(post: Nested, amount: int, payments: Sequence[EventPayment]) -> None:
    if amount <= 0:
        raise Unprintable("Сумма чека должна быть больше нуля.")
    paid = sum([payment.amount for payment in payments])
    if paid != amount:
        raise Unprintable(f"Сумма оплат {roubles(paid)} руб., а сумма строк {roubles(amount)} руб.")
    if _text(post.get("total_sum")) and (total := _money(post["total_sum"], "Итог чека")) != amount:
        raise Unprintable(f"Итог чека {roubles(total)} руб., а сумма строк {roubles(amount)} руб.")


def _customer(post: Nested, context: SourceContext) -> Customer:
    """The buyer's contacts that a receipt can carry. The portal's own address is not the buyer's."""
    email, phone = _text(post.get("client_email")), _text(post.get("client_phone"))
    system = context.settings.system_email
    if system is not None and email.casefold() == system.strip().casefold():
        email = ""
    return Customer(_normal(normalize_email, email), _normal(normalize_phone, phone))


def _normal(normalize: Any, contact: str) -> str | None:
    try:
        found: str | None = normalize(contact) if contact else None
    except ValueError:
        return None
    return found


def _marking(value: Any, where: str) -> MarkingCode | None:
    """The code as scanned, separators kept; the binary `nomenclature_code` beside it says less and is not read."""
    code = value if isinstance(value, str) else ""
    if not code.strip():
        return None
    if not all(char == "\x1d" or "\x20" < char < "\x7f" for char in code):
        raise Unprintable(f"{where}: код маркировки повреждён, отсканируйте его ещё раз.")
    return MarkingCode(code)


def _agent(supplier: Nested, where: str, context: SourceContext) -> Agent | None:
    inn, name = _text(supplier.get("inn")), _text(supplier.get("name"))
    phones = [phone for one in _list(supplier, "phones") if (phone := _text(one))]
    if not (inn or name or phones):
        return None
    if context.settings.agent_type is None:
        raise Unprintable(
            f"{where}: у товара есть поставщик, а признак агента не задан: укажите agent_type в настройках источника."
        )
    return Agent(
        type=AgentType.parse(context.settings.agent_type),
        supplier_inn=inn,
        supplier_name=name,
        supplier_phones=tuple(_normal(normalize_phone, phone) or phone for phone in phones),
    )


def _order(post: Nested) -> str | None:
    """The order, where the post names one. Its form is not documented: a number, or an object with `ID`."""
    told = post.get("order")
    if isinstance(told, dict):
        told = told.get("ID") or told.get("id")
    number = _text(told)
    return number if number.isascii() and number.isalnum() and len(number) <= 64 else None


def _moment(value: Any) -> datetime:
    """When the check was made, as unix time; the present moment where that cannot be."""
    now = datetime.now(UTC)
    seconds = _text(value)
    if not (seconds.isascii() and seconds.isdigit() and len(seconds) <= 11):
        return now
    moment = datetime.fromtimestamp(int(seconds), UTC)
    return moment if _BEGINNING <= moment <= now + timedelta(days=1) else now


def _money(value: Any, where: str) -> int:
    """Kopecks, not below zero."""
    exact = _decimal(value) * 100
    whole = exact.to_integral_value(ROUND_HALF_UP)
    if exact < 0 or abs(exact - whole) > _NOISE:
        raise Unprintable(f"{where}: сумма не читается.")
    return int(whole)


def _price(value: Any, amount: int, quantity: Decimal, where: str) -> int:
    """The price after discount, halves of a kopeck up; one that misses the sum by more than that is a contradiction."""
    told = _decimal(value)
    price = int((told * 100).to_integral_value(ROUND_HALF_UP))
    if told < 0 or abs(price * quantity - amount) * 2 > quantity + 1:
        raise Unprintable(f"{where}: цена × количество не даёт сумму строки.")
    return price


def _quantity(value: Any, where: str) -> Decimal:
    try:
        return parse_quantity(quantity_text(_decimal(value)))
    except ValueError:
        raise Unprintable(f"{where}: количество не читается.") from None


def _decimal(value: Any) -> Decimal:
    """A number of a sane size as PHP writes it; -1, which no check has, for anything else."""
    digits = _text(value)
    whole, _, decimals = digits.partition(".")
    if not (whole.isascii() and whole.isdigit() and len(whole) <= 12):
        return Decimal(-1)
    if decimals and not (decimals.isascii() and decimals.isdigit() and len(decimals) <= 17):
        return Decimal(-1)
    return Decimal(digits.rstrip("."))


def _known(value: Any, words: dict[str, Any], otherwise: Any, where: str, what: str) -> Any:
    told = _word(value).replace("-", "_")
    if not told:
        return otherwise
    if told not in words:
        raise Unprintable(f"{where}: {what.lower()} {told[:40]} неизвестен.")
    return words[told]


def _list(post: Nested, name: str) -> list[Any]:
    try:
        return listed(post.get(name))
    except ValueError:
        raise Unprintable(f"Список {name} не читается.") from None


def _text(value: Any) -> str:
    """One line of printable text."""
    return printable(value) if isinstance(value, str) else ""


def _word(value: Any) -> str:
    return _text(value).lower()
