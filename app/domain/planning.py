"""From a reported payment to the receipt that it needs: what the source said, then the settings, never a guess.

VAT, payment method and Internet sign have no built-in default: where neither the event nor the settings answer, the
receipt is held with the list of what is missing. A report that contradicts itself is refused with every finding.
"""

import re
from dataclasses import dataclass, fields, replace
from datetime import date
from decimal import Decimal

from app.domain.causes import Who
from app.domain.errors import Finding
from app.domain.event import EventItem, EventRequisites, PaymentEvent
from app.domain.ffd import (
    FfdVersion,
    Measure,
    Operation,
    PaymentKind,
    PaymentMethod,
    PaymentObject,
    Taxation,
)
from app.domain.fitting import NAME_LIMIT, pieces
from app.domain.money import allocate
from app.domain.plan import Held, HeldReason, Missing, Plan, Planned, Refused
from app.domain.reading import item_findings, money_findings, parse_member, parse_payments
from app.domain.receipt import Customer, Item, MarkingCode, Receipt
from app.domain.rules import contact_usable, findings
from app.domain.text import fit
from app.domain.vat import VatRate
from app.domain.vat_choice import Goods, choose
from app.domain.vat_settings import VatPolicy

__all__ = [
    "Defaults",
    "Held",
    "HeldReason",
    "Missing",
    "Plan",
    "PlanSettings",
    "Planned",
    "Refused",
    "merge",
    "plan_sale",
    "sold",
]

_ITEM = re.compile(r"#/items/([0-9]+)")


@dataclass(frozen=True, slots=True)
class Defaults:
    """What a source, branch or kassa answers when the event is silent; None is no answer."""

    vat: VatRate | None = None
    payment_method: PaymentMethod | None = None
    payment_object: PaymentObject | None = None
    measure: Measure | None = None
    item_name: str | None = None
    taxation: Taxation | None = None


@dataclass(frozen=True, slots=True)
class PlanSettings:
    """What planning needs to know of the kassa that will print; `defaults` are already merged."""

    kassa_id: str
    ffd: FfdVersion
    taxation: tuple[Taxation, ...]
    place: str
    timezone: str
    internet: bool
    defaults: Defaults
    fallback_contact: Customer | None
    max_items: int
    carries: frozenset[int] | None = None
    vat: VatPolicy | None = None

    @property
    def vat_policy(self) -> VatPolicy:
        """The merchant's answer about VAT; without one the undated default alone."""
        return self.vat or VatPolicy(kassa=self.defaults.vat)


def merge(*levels: Defaults) -> Defaults:
    """The first answer wins, member by member: source, then branch, then kassa."""
    answers = {
        each.name: next((value for level in levels if (value := getattr(level, each.name)) is not None), None)
        for each in fields(Defaults)
    }
    return Defaults(**answers)


def plan_sale(event: PaymentEvent, settings: PlanSettings | None, today: date) -> Plan:
    """The receipt of a payment, or what hinders it. `today` is the local date of the settlement.

    Each member of a line is the event's own, else the settings'. The payment method is the line's own (the source
    knows this line), else what `delivered` says (a fact about this payment): true is full_payment; false is the
    settings' kind of prepayment, else full_prepayment. Only then comes the settings' method (a habit). A rate that
    came from the settings takes the form which the method wants (vat22 → vat122 for a prepayment); a rate that the
    source named is kept and judged. A fault of the settings holds the receipt, a fault of the report refuses it.
    """
    refusals = [*money_findings(event), *item_findings(event)]
    if settings is None:
        return Refused(tuple(refusals)) if refusals else Held(HeldReason.KASSA_MISSING, (_KASSA,))
    draft = _Draft(event, settings, today, refusals)
    return draft.plan()


_KASSA = Missing(
    "kassa",
    "#/branch",
    "No switched-on kassa belongs to this payment's branch.",
    "Для филиала этого платежа нет включённой кассы.",
    Who.OPERATOR,
)


class _Draft:
    """One receipt in the making: collects refusals, gaps and notes, so that all are reported at once."""

    def __init__(self, event: PaymentEvent, settings: PlanSettings, today: date, refusals: list[Finding]) -> None:
        self._event = event
        self._settings = settings
        self._defaults = settings.defaults
        self._today = today
        self._said = event.requisites or EventRequisites()
        self._refusals = refusals
        self._missing: list[Missing] = []
        self._notes: list[str] = []
        self._origin_of: list[int] = []

    def plan(self) -> Plan:
        event, settings, said = self._event, self._settings, self._said
        taxation = self._taxation()
        customer = self._customer()
        payments = parse_payments(event, PaymentKind.ELECTRONIC, self._refusals)
        items = self._items() if event.items else self._default_item()
        if not (said.place or settings.place).strip():
            self._lack("place", "#", "The kassa has no place of settlement.", "У кассы нет места расчётов.")
        if self._refusals:
            return Refused(tuple(self._refusals))
        if self._missing or taxation is None:
            return Held(HeldReason.DATA_MISSING, tuple(self._missing))
        receipt = Receipt(
            operation=Operation.SELL,
            taxation=taxation,
            ffd=settings.ffd,
            items=tuple(items),
            payments=payments,
            customer=customer,
            place=said.place or settings.place,
            timezone=settings.timezone,
            internet=settings.internet if said.internet is None else said.internet,
            cashier_name=said.cashier_name,
            cashier_inn=said.cashier_inn,
            user_prop=said.user_prop,
            sectoral_props=said.sectoral_props,
            operating_prop=said.operating_prop,
        )
        return self._judged(receipt)

    def _judged(self, receipt: Receipt) -> Plan:
        found = [self._repointed(each) for each in self._findings(receipt)]
        ours = [each for each in found if each.rule == "place_missing"]
        if theirs := [each for each in found if each not in ours]:
            return Refused(tuple(dict.fromkeys(theirs)))
        if ours:
            gaps = tuple(Missing("place", each.pointer, each.detail, each.detail_ru, Who.OPERATOR) for each in ours)
            return Held(HeldReason.DATA_MISSING, gaps)
        origin = (self._event.items_origin or "event") if self._event.items else "default"
        return Planned((receipt,), origin, tuple(self._notes))

    def _findings(self, receipt: Receipt) -> tuple[Finding, ...]:
        return findings(receipt, self._today, self._settings.max_items, self._settings.carries)

    def _repointed(self, finding: Finding) -> Finding:
        """Lines may have been split or dropped: a pointer names the line of the event, not of the receipt."""
        place = _ITEM.match(finding.pointer)
        if place is None:
            return finding
        rest = finding.pointer[place.end() :]
        return replace(finding, pointer=f"#/items/{self._origin_of[int(place[1])]}{rest}")

    def _items(self) -> list[Item]:
        event = self._event
        given = [item.amount for item in event.items]
        discount = event.discount or 0
        if self._refusals or not discount:
            amounts = given
        else:
            amounts = [full - less for full, less in zip(given, allocate(discount, given), strict=True)]
        lines: list[Item] = []
        for index, (item, amount) in enumerate(zip(event.items, amounts, strict=True)):
            if amount == 0:
                # Several providers refuse a price of zero, and a gift moves no money.
                self._notes.append(f"free_line_dropped: #/items/{index}")
                continue
            like = self._like(index, item)
            if like is not None and not self._refusals:
                made, change = pieces(like, amount)
                if change:
                    self._notes.append(f"{change}: #/items/{index}")
                lines += made
                self._origin_of += [index] * len(made)
        return lines

    def _like(self, index: int, item: EventItem) -> Item | None:
        """The line with everything but its final sum; None when something is missing or cannot be read."""
        pointer = f"#/items/{index}"
        name, changes = fit(item.name, NAME_LIMIT)
        if changes:
            self._notes.append(f"name_fitted: {pointer} {', '.join(changes)}")
        if not name:
            self._lack("name", f"{pointer}/name", "The line has no printable name.", "У строки нет наименования.")
        method = self._method(f"{pointer}/payment_method", item.payment_method)
        vat: VatRate | None = None
        if item.agent is not None and item.vat is None:
            detail = "Goods of a principal carry the principal's VAT rate, and nothing says it."
            self._lack("vat", f"{pointer}/vat", detail, "Ставка НДС товара принципала не указана.")
        else:
            vat = self._vat(f"{pointer}/vat", item.vat, method, Goods(item.name, item.sku, item.vat_group))
        thing = self._object(f"{pointer}/payment_object", item.payment_object)
        measure = self._measure(f"{pointer}/measure", item.measure, item.quantity)
        if not name or method is None or vat is None or thing is None or measure is None:
            return None
        return Item(
            name=name,
            price=item.price,
            quantity=item.quantity,
            amount=item.amount,
            vat=vat,
            payment_method=method,
            payment_object=thing,
            measure=measure,
            sku=item.sku,
            marking=item.marking and sold(item.marking, measure, method),
            agent=item.agent,
            excise=item.excise,
            country=item.country,
            declaration=item.declaration,
            additional_props=item.additional_props,
            sectoral_props=item.sectoral_props,
            shipped_on=self._said.shipped_on,
            vat_group=item.vat_group,
        )

    def _default_item(self) -> list[Item]:
        called = self._defaults.item_name or self._event.description or ""
        name, changes = fit(called, NAME_LIMIT)
        if not name:
            self._lack("items", "#/items", "Nothing says what was paid for.", "Не сказано, за что оплата.")
        elif changes:
            self._notes.append(f"name_fitted: #/items {', '.join(changes)}")
        method = self._method("#/items/0/payment_method", None)
        vat = self._vat("#/items/0/vat", None, method, Goods(name))
        thing = self._object("#/items/0/payment_object", None)
        if not name or method is None or vat is None or thing is None:
            return []
        self._origin_of = [0]
        amount, measure = self._event.amount, self._defaults.measure or Measure.PIECE
        return [Item(name, amount, Decimal(1), amount, vat, method, thing, measure, shipped_on=self._said.shipped_on)]

    def _method(self, pointer: str, given: str | None) -> PaymentMethod | None:
        if given is not None:
            return parse_member(PaymentMethod, given, pointer, 1214, self._refusals)
        habit = self._defaults.payment_method
        if self._event.delivered is True:
            return PaymentMethod.FULL_PAYMENT
        if self._event.delivered is False:
            return habit if habit is not None and habit.before_handing_over else PaymentMethod.FULL_PREPAYMENT
        if habit is None:
            self._lack(
                "payment_method",
                pointer,
                "Nothing says whether this is a prepayment or the goods are given with the payment.",
                "Не сказано, предоплата это или полный расчёт.",
            )
        return habit

    def _vat(self, pointer: str, given: str | None, method: PaymentMethod | None, goods: Goods) -> VatRate | None:
        if given is not None:
            return parse_member(VatRate, given, pointer, 1199, self._refusals)
        # Without a method the day that counts is not known; whether anybody answers at all is asked all the same.
        asked = method or PaymentMethod.FULL_PAYMENT
        chosen = choose(self._settings.vat_policy, goods, asked, self._today, self._said.shipped_on)
        day, day_ru = chosen.day.isoformat(), chosen.day.strftime("%d.%m.%Y")
        if chosen.rate is None:
            detail = f"Nothing says which VAT rate applies on {day}."
            self._lack("vat", pointer, detail, f"Не указана ставка НДС на {day_ru}.")
        elif method is not None and chosen.formed is None:
            self._lack(
                "vat",
                pointer,
                f"The settings' VAT rate {chosen.rate.code} is not in force on {day}: name the line's rate, or give "
                "the merchant's rates with their dates.",
                f"Ставка «{chosen.rate.ru}» из настроек не действует на {day_ru}: укажите ставку строки или ставки "
                "продавца с датами.",
            )
        if method is None or chosen.rate is None or chosen.formed is None:
            return None
        if chosen.formed is not chosen.rate:
            self._notes.append(f"vat_by_method: {pointer} {chosen.rate.code} -> {chosen.formed.code}")
        return chosen.formed

    def _object(self, pointer: str, given: str | None) -> PaymentObject | None:
        if given is not None:
            return parse_member(PaymentObject, given, pointer, 1212, self._refusals)
        if self._defaults.payment_object is None:
            self._lack(
                "payment_object",
                pointer,
                "Nothing says whether goods, a service or something else was paid for.",
                "Не указан предмет расчёта: товар, услуга или иное.",
            )
        return self._defaults.payment_object

    def _measure(self, pointer: str, given: str | None, quantity: Decimal) -> Measure | None:
        if given is not None:
            return parse_member(Measure, given, pointer, 2108, self._refusals)
        if self._defaults.measure is not None:
            return self._defaults.measure
        if quantity.is_finite() and quantity == quantity.to_integral_value():
            return Measure.PIECE
        self._lack(
            "measure",
            pointer,
            "The quantity is not whole and nothing says in what it is measured.",
            "Количество дробное, а мера не указана.",
        )
        return None

    def _taxation(self) -> Taxation | None:
        registered = self._settings.taxation
        given = self._event.taxation
        if given is not None:
            chosen = parse_member(Taxation, given, "#/taxation", 1055, self._refusals)
            if chosen is not None and chosen not in registered:
                self._refusals.append(
                    Finding(
                        "#/taxation",
                        "taxation_not_registered",
                        f"The kassa is not registered with {given}.",
                        f"Касса не зарегистрирована с системой «{chosen.ru}».",
                        1055,
                        f"Use one of: {', '.join(each.code for each in registered)}.",
                    )
                )
            return chosen
        if self._defaults.taxation in registered:
            return self._defaults.taxation
        if len(registered) == 1:
            return registered[0]
        self._lack(
            "taxation",
            "#/taxation",
            "The kassa has several taxation systems and nothing says which one applies.",
            "У кассы несколько систем налогообложения, а какая применяется, не сказано.",
        )
        return None

    def _customer(self) -> Customer:
        given = self._event.customer
        email, phone = contact_usable(given.email, given.phone)
        if (given.email and not email) or (given.phone and not phone):
            self._notes.append("contact_unusable")
        if not (email or phone):
            fallback = self._settings.fallback_contact or Customer()
            email, phone = contact_usable(fallback.email, fallback.phone)
            if email or phone:
                self._notes.append("contact_fallback")
            else:
                self._missing.append(
                    Missing(
                        "customer",
                        "#/customer",
                        "There is no usable e-mail or phone to send the receipt to.",
                        "Некуда отправить чек: нет годного e-mail или телефона.",
                        Who.BUYER_DATA,
                    )
                )
        name = fit(given.name, 256)[0] if given.name else None
        return replace(given, email=email, phone=phone, name=name or None, inn=given.inn or None)

    def _lack(self, field: str, pointer: str, detail: str, detail_ru: str) -> None:
        who = Who.OPERATOR if field == "place" else Who.MERCHANT
        self._missing.append(Missing(field, pointer, detail, detail_ru, who))


def sold(marking: MarkingCode, measure: Measure, method: PaymentMethod) -> MarkingCode:
    """The code with its planned state (tag 2003) where the source left it open: 1 a piece sold, 2 a measured part."""
    if marking.state != 255 or method.before_handing_over:
        return marking
    whole = measure is Measure.PIECE and marking.numerator is None
    return replace(marking, state=1 if whole else 2)
