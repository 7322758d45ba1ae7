"""What must hold for one line of a receipt: its arithmetic, name, rate, marking code and reference texts.

Source: the format (FNS order ЕД-7-20/662@); rates by date: FNS letter АБ-4-20/11248@ of 2025-12-15.
"""

import re
from datetime import date

from app.domain.errors import Finding
from app.domain.ffd import FfdVersion, PaymentMethod, PaymentObject
from app.domain.fitting import NAME_LIMIT
from app.domain.money import MAX_QUANTITY, QUANTITY_DECIMALS, line_amount, quantity_text, roubles
from app.domain.rates import for_method, succeeding
from app.domain.receipt import Item, Receipt
from app.domain.rules_agent import agent_findings
from app.domain.rules_marking import marking_findings
from app.domain.rules_props import text_length
from app.domain.text import cp866_safe
from app.domain.vat import in_force

_COUNTRY = re.compile(r"[0-9]{3}")


_MARKED = frozenset(
    {
        PaymentObject.COMMODITY,
        PaymentObject.EXCISE,
        PaymentObject.COMMODITY_WITH_MARKING,
        PaymentObject.EXCISE_WITH_MARKING,
    }
)
"""Goods that can carry a code; 1 and 2 are what a prepayment, and FFD 1.05, call them."""


def line_findings(found: list[Finding], receipt: Receipt, index: int, item: Item, today: date) -> None:
    """Add to `found` everything wrong with this line of the receipt."""
    pointer = f"#/items/{index}"
    _name(found, pointer, item)
    _arithmetic(found, pointer, item)
    if not receipt.operation.is_refund and receipt.correction is None:
        _rate(found, pointer, item, today)
    _shipped(found, pointer, item, today)
    _object(found, pointer, item, receipt)
    if item.marking is not None:
        found += marking_findings(pointer, item, item.marking)
    if item.agent is not None:
        agent_findings(found, f"{pointer}/agent", item.agent)
    _reference(found, pointer, item)


def _name(found: list[Finding], pointer: str, item: Item) -> None:
    if not item.name.strip():
        found.append(
            Finding(
                f"{pointer}/name",
                "name_empty",
                "The line has no name.",
                "У строки чека нет наименования.",
                1030,
                "Name the goods or service so that the buyer recognizes it.",
            )
        )
    if len(item.name) > NAME_LIMIT:
        found.append(
            Finding(
                f"{pointer}/name",
                "name_long",
                f"The name has {len(item.name)} characters; a receipt takes {NAME_LIMIT}.",
                f"Наименование из {len(item.name)} символов, в чек помещается {NAME_LIMIT}.",
                1030,
                "Shorten the name.",
            )
        )
    if not cp866_safe(item.name):
        found.append(
            Finding(
                f"{pointer}/name",
                "name_charset",
                "The name has signs that a register cannot print.",
                "В наименовании есть знаки, которые касса не печатает.",
                1030,
                "Use plain quotes and dashes, no emoji and no currency signs.",
            )
        )


def _arithmetic(found: list[Finding], pointer: str, item: Item) -> None:
    for member, tag, value in (("price", 1079, item.price), ("amount", 1043, item.amount)):
        if value <= 0:
            found.append(
                Finding(
                    f"{pointer}/{member}",
                    f"{member}_positive",
                    f"The {member} of a line is above zero.",
                    f"{'Цена' if member == 'price' else 'Сумма'} строки должна быть больше нуля.",
                    tag,
                    "Leave out free lines; a refund has positive sums too.",
                )
            )
    if not item.quantity.is_finite() or not 0 < item.quantity <= MAX_QUANTITY:
        found.append(
            Finding(
                f"{pointer}/quantity",
                "quantity_range",
                f"The quantity is not above zero and at most {MAX_QUANTITY}.",
                f"Количество должно быть больше нуля и не больше {MAX_QUANTITY}.",
                1023,
                "Give the real quantity.",
            )
        )
        return
    text = quantity_text(item.quantity)
    if len(text.partition(".")[2]) > QUANTITY_DECIMALS:
        found.append(
            Finding(
                f"{pointer}/quantity",
                "quantity_range",
                f"The quantity has more than {QUANTITY_DECIMALS} decimals.",
                f"У количества больше {QUANTITY_DECIMALS} знаков после запятой.",
                1023,
                "Round the quantity.",
            )
        )
        return
    wanted = line_amount(item.price, item.quantity)
    if item.amount != wanted:
        found.append(
            Finding(
                f"{pointer}/amount",
                "line_amount",
                f"The line costs {roubles(item.amount)}, but {roubles(item.price)} × {text} is {roubles(wanted)}.",
                f"Сумма строки {roubles(item.amount)} руб., а цена {roubles(item.price)} × {text} "
                f"даёт {roubles(wanted)} руб.",
                1043,
                "Give the price after discounts, or split the line in two whose prices differ by a kopeck.",
            )
        )


def _rate(found: list[Finding], pointer: str, item: Item, today: date) -> None:
    method = item.payment_method
    # Goods shipped before the rate changed keep the old one when they or the debt are paid later (FNS, 2026-02-13).
    paying_debt = method is PaymentMethod.CREDIT_PAYMENT and item.shipped_on is None
    today = tax_day(item, today)
    formed = not method.before_handing_over or item.vat.prepayment_pair is item.vat
    if formed and (paying_debt or in_force(item.vat, today)):
        return
    current = succeeding(item.vat, today)
    right = for_method(current, method) if method.before_handing_over else current
    if not in_force(item.vat, today) and not paying_debt:
        found.append(
            Finding(
                f"{pointer}/vat",
                "vat_not_in_force",
                f"A sale of {today.isoformat()} cannot carry {item.vat.code}.",
                f"Ставка «{item.vat.ru}» не действует для продажи {today.strftime('%d.%m.%Y')}.",
                1199,
                "Use the rate that is in force on the day of the sale." if right is item.vat else f"Use {right.code}.",
            )
        )
    if not formed:
        found.append(
            Finding(
                f"{pointer}/vat",
                "vat_calculated_rate",
                f"Money before handing over ({method.code}) carries a calculated rate, not {item.vat.code}.",
                f"Для способа «{method.ru}» нужна расчётная ставка («{right.ru}»), а не «{item.vat.ru}».",
                1199,
                f"Use {right.code}, or full_payment if the goods or service are given with the payment.",
            )
        )


def tax_day(item: Item, settled_on: date) -> date:
    """The day whose rates count: of money before goods its own, else the day on which they were given."""
    if item.shipped_on is None or item.payment_method.before_handing_over:
        return settled_on
    return item.shipped_on


def _shipped(found: list[Finding], pointer: str, item: Item, today: date) -> None:
    if item.shipped_on is None:
        return
    if item.shipped_on > today:
        found.append(
            Finding(
                "#/shipped_on",
                "shipped_later",
                "The goods are not given yet on the day of the settlement.",
                "На день расчёта товар ещё не передан: дата отгрузки позже.",
                None,
                "Leave shipped_on out; report the prepayment now and the handing over as order.settled.",
            )
        )
    elif item.payment_method.before_handing_over:
        found.append(
            Finding(
                f"{pointer}/payment_method",
                "shipped_before_prepayment",
                f"Goods given on {item.shipped_on.isoformat()} cannot be prepaid later ({item.payment_method.code}).",
                f"Товар передан {item.shipped_on.strftime('%d.%m.%Y')}, предоплатой это уже быть не может.",
                1214,
                "Use full_payment, or credit_payment when they were given on credit.",
            )
        )


def _object(found: list[Finding], pointer: str, item: Item, receipt: Receipt) -> None:
    if item.payment_object.ffd12_only and receipt.ffd is not FfdVersion.V1_2:
        found.append(
            Finding(
                f"{pointer}/payment_object",
                "object_ffd",
                f"{item.payment_object.code} exists in FFD 1.2 only; this kassa works with {receipt.ffd.value}.",
                f"Предмет расчёта «{item.payment_object.ru}» есть только в ФФД 1.2, а касса работает в ФФД "
                f"{receipt.ffd.value}.",
                1212,
                "Use commodity or excise, or move the kassa to FFD 1.2.",
            )
        )
    if item.marking is not None and receipt.ffd is not FfdVersion.V1_2 and not receipt.operation.is_refund:
        found.append(
            Finding(
                f"{pointer}/marking_code",
                "mark_ffd",
                "Marked goods are sold with FFD 1.2 only.",
                "Маркированный товар продаётся только по ФФД 1.2.",
                2000,
                "Use a kassa with FFD 1.2.",
            )
        )
    if item.marking is not None and item.payment_object not in _MARKED and not receipt.operation.is_refund:
        found.append(
            Finding(
                f"{pointer}/marking_code",
                "mark_object",
                f"A marking code belongs to goods that are marked; {item.payment_object.code} carries none.",
                f"Код маркировки бывает только у маркированных товаров, а предмет расчёта «{item.payment_object.ru}».",
                1212,
                "Use commodity_with_marking or excise_with_marking, or leave the code out.",
            )
        )
    # Codes are not known yet when money comes before the goods.
    if item.payment_object.needs_marking_code and item.marking is None and not item.payment_method.before_handing_over:
        found.append(
            Finding(
                f"{pointer}/marking_code",
                "mark_missing",
                f"{item.payment_object.code} needs the marking code of the piece handed over.",
                f"Для предмета расчёта «{item.payment_object.ru}» нужен код маркировки.",
                2000,
                "Give one line of quantity 1 per code, or use the object without marking.",
            )
        )


def _reference(found: list[Finding], pointer: str, item: Item) -> None:
    if item.excise is not None and item.excise < 0:
        found.append(
            Finding(
                f"{pointer}/excise",
                "excise_negative",
                "The excise is not negative.",
                "Сумма акциза не может быть отрицательной.",
                1229,
                "Give the excise contained in the line, or leave it out.",
            )
        )
    if item.country is not None and not _COUNTRY.fullmatch(item.country):
        found.append(
            Finding(
                f"{pointer}/country",
                "country_code",
                "The country is not the three digits of OKSM.",
                "Код страны это три цифры по ОКСМ.",
                1230,
                "For example 643 for Russia, 156 for China.",
            )
        )
    found += text_length(f"{pointer}/declaration", 1231, item.declaration)
    found += text_length(f"{pointer}/additional_props", 1191, item.additional_props)
