"""From a reported payment to the receipt that it needs: what the source said, then the settings, never a guess.

VAT, payment method and Internet sign have no built-in default: where neither the event nor the settings answer, the
receipt is held with the list of what is missing. A report that contradicts itself is refused with every finding.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal

from app.domain.basket import Adjustment, NetLine, free_lines, net_lines
from app.domain.basket_lines import lay_out
from app.domain.causes import Who
from app.domain.defaults import Defaults, merge
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
from app.domain.fitting import NAME_LIMIT, name_note, sold
from app.domain.limits import DriverLimits
from app.domain.money import roubles
from app.domain.nomenclature import Matcher
from app.domain.plan import Held, HeldReason, Missing, Plan, Planned, Refused, unanswered
from app.domain.reading import item_findings, money_findings, parse_member, parse_payments, untracked
from app.domain.receipt import Customer, Item, Payment, Receipt
from app.domain.ruled_lines import RuledLines
from app.domain.rules import OF_SUMS, contact_usable, findings
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
_GAPS = {"contact_missing": "customer", "place_missing": "place"}
"""Rules that say of a draft what its gaps say already, and the gap's field."""


@dataclass(frozen=True, slots=True)
class PlanSettings:
    """What planning needs to know of the kassa that will print; `defaults` are already merged, `nomenclature` are the
    rules that go before them (None: there are none)."""

    kassa_id: str
    ffd: FfdVersion
    taxation: tuple[Taxation, ...]
    place: str
    timezone: str
    internet: bool
    defaults: Defaults
    fallback_contact: Customer | None
    limits: DriverLimits = field(default_factory=DriverLimits)
    nomenclature: Matcher | None = field(default=None, compare=False)
    vat: VatPolicy | None = None

    @property
    def vat_policy(self) -> VatPolicy:
        """The merchant's answer about VAT; without one the undated default alone."""
        return self.vat or VatPolicy(kassa=self.defaults.vat)


def plan_sale(event: PaymentEvent, settings: PlanSettings | None, today: date) -> Plan:
    """The receipt of a payment, or what hinders it. `today` is the local date of the settlement.

    Each member of a line is the event's own, else that of the rule of the nomenclature which covers the line, else the
    settings'; only the name is the rule's first. The payment method is the line's own (the source knows this line),
    else what `delivered` says (a fact about this payment): true is full_payment; false is the rule's or the settings'
    kind of prepayment, else full_prepayment. Only then comes the method of rule and settings (a habit). A rate that
    came from them takes the form which the method wants (vat22 → vat122 for a prepayment); a rate that the source
    named is kept and judged. A fault of rule or settings holds the receipt, a fault of the report refuses it.
    """
    refusals = [*money_findings(event), *item_findings(event)]
    if settings is None:
        missing = (_KASSA, *unanswered(event))
        return Refused(tuple(refusals)) if refusals else Held(HeldReason.KASSA_MISSING, missing)
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
        self._missing: list[Missing] = [*unanswered(event)]
        self._notes: list[str] = []
        self._origin_of: list[int] = []
        self._likes: list[Item] = []
        self._adjustments: list[Adjustment] = []
        self._rules = RuledLines(settings.nomenclature, event)

    def plan(self) -> Plan:
        event, settings = self._event, self._settings
        taxation = self._taxation()
        customer = self._customer()
        payments = parse_payments(event, PaymentKind.ELECTRONIC, self._refusals)
        if unknown := untracked(event):
            self._notes.append(f"prepaid_elsewhere: #/payments {roubles(unknown)}")
        items = self._items() if event.items else self._default_item()
        if not (self._said.place or settings.place).strip():
            self._lack("place", "#", "The kassa has no place of settlement.", "У кассы нет места расчётов.")
        if self._refusals:
            known = taxation or next(iter(settings.taxation), Taxation.USN_INCOME)
            draft = self._receipt(known, tuple(self._likes), payments, customer)
            return Refused(tuple(dict.fromkeys([*self._refusals, *self._rest(draft)])))
        if self._missing or taxation is None:
            return self._held()
        return self._judged(self._receipt(taxation, tuple(items), payments, customer))

    def _receipt(
        self, taxation: Taxation, items: tuple[Item, ...], payments: tuple[Payment, ...], customer: Customer
    ) -> Receipt:
        settings, said = self._settings, self._said
        return Receipt(
            operation=Operation.SELL,
            taxation=taxation,
            ffd=settings.ffd,
            items=items,
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

    def _judged(self, receipt: Receipt) -> Plan:
        found = [self._repointed(each) for each in findings(receipt, self._today, self._settings.limits)]
        ours = {each: gap for each in found if (gap := self._fault_of_ours(each)) is not None}
        if theirs := [each for each in found if each not in ours]:
            return Refused(tuple(dict.fromkeys(theirs)))
        if ours:
            return Held(HeldReason.DATA_MISSING, tuple(dict.fromkeys(ours.values())))
        origin = (self._event.items_origin or "event") if self._event.items else "default"
        if self._rules.named:
            origin = "nomenclature"
        filled = self._rules.filled(self._origin_of)
        return Planned((receipt,), origin, tuple(self._notes), tuple(self._adjustments), filled)

    def _held(self) -> Held:
        unmapped = all(each.field == "nomenclature" for each in self._missing)
        return Held(
            HeldReason.NOMENCLATURE_MISSING if unmapped and self._missing else HeldReason.DATA_MISSING,
            tuple(self._missing),
        )

    def _fault_of_ours(self, finding: Finding) -> Missing | None:
        """What settings or a rule did wrong is missing; None: the report is to blame."""
        if finding.rule == "place_missing":
            return Missing("place", finding.pointer, finding.detail, finding.detail_ru, Who.OPERATOR)
        return self._rules.fault(finding)

    def _ruled(self, index: int, pointer: str, item: EventItem) -> tuple[EventItem, Defaults] | None:
        """The line as its rule wants it, and what answers for the rest; None: no rule covers it, and one must."""
        # The merchant's rates have dates: who answers for VAT is asked only where no rule does.
        found = self._rules.line(index, pointer, item, replace(self._defaults, vat=None))
        match found:
            case Missing():
                self._missing.append(found)
            case Finding():
                self._refusals.append(found)
            case _:
                return found
        return None

    def _rest(self, draft: Receipt) -> Iterator[Finding]:
        """What else is wrong with a report that is refused already, so that its sender mends everything at once.

        Sums are left aside: the lines stand here as they were told, before discounts.
        """
        told = {(each.rule, each.pointer) for each in self._refusals}
        lacking = {one.field for one in self._missing}
        for each in findings(draft, self._today, self._settings.limits):
            if each.rule in OF_SUMS or _GAPS.get(each.rule) in lacking:
                continue
            found = self._repointed(each)
            if (found.rule, found.pointer) not in told:
                ours = self._rules.fault(found)
                yield found if ours is None else ours.finding()
        yield from (one.finding() for one in self._missing)

    def _repointed(self, finding: Finding) -> Finding:
        """Lines may have been split or dropped: a pointer names the line of the event, not of the receipt."""
        place = _ITEM.match(finding.pointer)
        if place is None:
            return finding
        rest = finding.pointer[place.end() :]
        return replace(finding, pointer=f"#/items/{self._origin_of[int(place[1])]}{rest}")

    def _items(self) -> list[Item]:
        nets = [NetLine(item.amount) for item in self._event.items] if self._refusals else net_lines(self._event)
        if any(net.amount == 0 for net in nets):
            nets, noted, refused = free_lines(nets, self._defaults.zero_lines, sums_agree=not self._refusals)
            self._notes += noted
            self._refusals += refused
        kept: list[int] = []
        for index, (item, net) in enumerate(zip(self._event.items, nets, strict=True)):
            if net.amount == 0:
                # Several providers refuse a price of zero, and a gift moves no money.
                code = "free_line_dropped" if item.marking is None else "free_marked_line_dropped"
                self._notes.append(f"{code}: #/items/{index}")
                self._adjustments.append(Adjustment(index, item.name, item.amount, 0, net.taken, (), code))
                continue
            like = self._like(index, item)
            if like is not None:
                kept.append(index)
                self._likes.append(like)
        if self._refusals:
            self._origin_of = kept
            return []
        wanted = [(index, like, nets[index]) for index, like in zip(kept, self._likes, strict=True)]
        laid = lay_out(self._event, wanted, self._settings.limits.max_items)
        self._origin_of = laid.origin_of
        self._notes += laid.notes
        self._adjustments = sorted([*self._adjustments, *laid.adjustments], key=lambda one: one.line)
        return laid.items

    def _like(self, index: int, item: EventItem) -> Item | None:
        """The line with everything but its final sum; None when something is missing or cannot be read."""
        pointer = f"#/items/{index}"
        ruled = self._ruled(index, pointer, item)
        if ruled is None:
            return None
        item, answers = ruled
        name, changes = fit(item.name, NAME_LIMIT)
        if changes:
            self._notes.append(name_note(pointer, changes))
        if not name:
            self._lack("name", f"{pointer}/name", "The line has no printable name.", "У строки нет наименования.")
        method = self._method(f"{pointer}/payment_method", item.payment_method, answers.payment_method)
        vat: VatRate | None = None
        if item.agent is not None and item.vat is None and answers.vat is None:
            detail = "Goods of a principal carry the principal's VAT rate, and nothing says it."
            self._lack("vat", f"{pointer}/vat", detail, "Ставка НДС товара принципала не указана.")
        else:
            goods = Goods(item.name, item.sku, item.vat_group)
            vat = self._vat(f"{pointer}/vat", item.vat, method, goods, answers.vat)
        thing = self._object(f"{pointer}/payment_object", item.payment_object, answers.payment_object)
        measure = self._measure(f"{pointer}/measure", item.measure, item.quantity, answers.measure)
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
        amount = self._event.amount
        said = EventItem(self._event.description or "", Decimal(1), amount, amount)
        ruled = self._ruled(0, "#/items", said)
        if ruled is None:
            return []
        said, answers = ruled
        called = answers.item_name or said.name
        name, changes = fit(called, NAME_LIMIT)
        if not name:
            self._lack("items", "#/items", "Nothing says what was paid for.", "Не сказано, за что оплата.")
        elif changes:
            self._notes.append(name_note("#/items", changes))
        method = self._method("#/items/0/payment_method", said.payment_method, answers.payment_method)
        vat = self._vat("#/items/0/vat", None, method, Goods(name), answers.vat)
        thing = self._object("#/items/0/payment_object", None, answers.payment_object)
        if not name or method is None or vat is None or thing is None:
            return []
        self._origin_of = [0]
        if self._event.discount or self._event.discounts:
            self._notes.append("discount_without_lines")
        measure = self._measure("#/items/0/measure", None, Decimal(1), answers.measure) or Measure.PIECE
        day = self._said.shipped_on
        return [Item(name, amount, Decimal(1), amount, vat, method, thing, measure, agent=said.agent, shipped_on=day)]

    def _method(self, pointer: str, given: str | None, habit: PaymentMethod | None) -> PaymentMethod | None:
        if given is not None:
            return parse_member(PaymentMethod, given, pointer, 1214, self._refusals)
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

    def _vat(
        self, pointer: str, given: str | None, method: PaymentMethod | None, goods: Goods, ruled: VatRate | None
    ) -> VatRate | None:
        """`ruled`: what a rule of the nomenclature says of the line; it goes before the merchant's settings."""
        if given is not None:
            return parse_member(VatRate, given, pointer, 1199, self._refusals)
        # Without a method the day that counts is not known; whether anybody answers at all is asked all the same.
        asked = method or PaymentMethod.FULL_PAYMENT
        policy = self._settings.vat_policy if ruled is None else VatPolicy(kassa=ruled)
        chosen = choose(policy, goods, asked, self._today, self._said.shipped_on)
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

    def _object(self, pointer: str, given: str | None, habit: PaymentObject | None) -> PaymentObject | None:
        if given is not None:
            return parse_member(PaymentObject, given, pointer, 1212, self._refusals)
        if habit is None:
            self._lack(
                "payment_object",
                pointer,
                "Nothing says whether goods, a service or something else was paid for.",
                "Не указан предмет расчёта: товар, услуга или иное.",
            )
        return habit

    def _measure(self, pointer: str, given: str | None, quantity: Decimal, habit: Measure | None) -> Measure | None:
        if given is not None:
            return parse_member(Measure, given, pointer, 2108, self._refusals)
        if habit is not None:
            return habit
        if quantity.is_finite() and quantity == quantity.to_integral_value():
            if self._settings.ffd is FfdVersion.V1_2 and _MEASURE_DEFAULTED not in self._notes:
                self._notes.append(_MEASURE_DEFAULTED)
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


_MEASURE_DEFAULTED = "measure_defaulted: #/items"
