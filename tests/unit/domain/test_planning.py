"""From a payment to its receipt: nothing is guessed, nothing is lost, and every gap is named at once."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.causes import Who, cause
from app.domain.event import EventPayment, EventRequisites, Question
from app.domain.ffd import Measure, PaymentKind, PaymentMethod, PaymentObject, Taxation
from app.domain.limits import DriverLimits
from app.domain.money import line_amount
from app.domain.planning import Defaults, Held, HeldReason, Planned, Refused, merge, plan_sale
from app.domain.receipt import Customer, MarkingCode, Payment, Receipt
from app.domain.rules import findings
from app.domain.vat import VatRate

Make = Callable[..., Any]
NO_ANSWER = Defaults()


def only(plan: object) -> Receipt:
    assert isinstance(plan, Planned), plan
    (receipt,) = plan.receipts
    return receipt


def gaps(plan: object) -> list[tuple[str, str]]:
    assert isinstance(plan, Held), plan
    for each in plan.missing:
        assert each.detail.endswith(".")
        assert each.detail_ru.endswith(".")
    assert cause(plan.reason).code == plan.reason
    return [(each.field, each.pointer) for each in plan.missing]


def refused(plan: object) -> list[tuple[str, str]]:
    assert isinstance(plan, Refused), plan
    return [(each.rule, each.pointer) for each in plan.findings]


def notes(plan: Planned) -> tuple[str, ...]:
    """What was noted, but for the measure, which these settings leave open."""
    return tuple(one for one in plan.notes if one != "measure_defaulted: #/items")


def test_a_payment_of_named_goods(make_event: Make, make_line: Make, make_settings: Make, today: date) -> None:
    event = make_event(make_line(name="Кружка «Лето»", sku="A-1", vat="vat10", payment_object="commodity"))
    plan = plan_sale(event, make_settings(), today)
    receipt = only(plan)
    (item,) = receipt.items
    assert (item.name, item.sku, item.vat) == ('Кружка "Лето"', "A-1", VatRate.VAT10)
    assert (item.payment_object, item.measure) == (PaymentObject.COMMODITY, Measure.PIECE)
    assert item.payment_method is PaymentMethod.FULL_PAYMENT
    assert receipt.payments == (Payment(PaymentKind.ELECTRONIC, 100_00),)
    assert receipt.taxation is Taxation.USN_INCOME
    assert isinstance(plan, Planned)
    assert plan.items_origin == "event"
    assert notes(plan) == ("name_fitted: #/items/0 quotes",)


def test_the_nearest_level_answers_first() -> None:
    source = Defaults(vat=VatRate.NONE)
    branch = Defaults(vat=VatRate.VAT22, item_name="Занятия")
    kassa = Defaults(payment_method=PaymentMethod.ADVANCE, item_name="Услуги")
    assert merge(source, branch, kassa) == Defaults(VatRate.NONE, PaymentMethod.ADVANCE, item_name="Занятия")
    assert merge() == Defaults()


def test_everything_that_nobody_answers_is_listed(
    make_event: Make, make_line: Make, make_settings: Make, today: date
) -> None:
    event = make_event(make_line(50_00), make_line(100_00, "0.5"), customer=Customer())
    everything = make_settings(NO_ANSWER, taxation=(Taxation.OSN, Taxation.PATENT), place="")
    plan = plan_sale(event, everything, today)
    assert gaps(plan) == [
        ("taxation", "#/taxation"),
        ("customer", "#/customer"),
        ("payment_method", "#/items/0/payment_method"),
        ("vat", "#/items/0/vat"),
        ("payment_object", "#/items/0/payment_object"),
        ("payment_method", "#/items/1/payment_method"),
        ("vat", "#/items/1/vat"),
        ("payment_object", "#/items/1/payment_object"),
        ("measure", "#/items/1/measure"),
        ("place", "#"),
    ]
    assert isinstance(plan, Held)
    assert plan.reason is HeldReason.DATA_MISSING
    assert {each.field: each.who for each in plan.missing} == {
        "taxation": Who.MERCHANT,
        "customer": Who.BUYER_DATA,
        "payment_method": Who.MERCHANT,
        "vat": Who.MERCHANT,
        "payment_object": Who.MERCHANT,
        "measure": Who.MERCHANT,
        "place": Who.OPERATOR,
    }


@pytest.mark.parametrize("silent", ["vat", "payment_method", "payment_object"])
def test_no_answer_is_ever_invented(
    silent: str, make_event: Make, make_line: Make, make_settings: Make, today: date
) -> None:
    rest = make_settings()
    defaults = replace(rest.defaults, **{silent: None})
    assert gaps(plan_sale(make_event(make_line()), replace(rest, defaults=defaults), today)) == [
        (silent, f"#/items/0/{silent}")
    ]


def test_without_a_kassa(make_event: Make, make_line: Make, today: date) -> None:
    plan = plan_sale(make_event(make_line()), None, today)
    assert gaps(plan) == [("kassa", "#/branch")]
    assert isinstance(plan, Held)
    assert plan.reason is HeldReason.KASSA_MISSING
    assert refused(plan_sale(make_event(make_line(), currency="USD"), None, today)) == [("currency", "#/currency")]


@pytest.mark.parametrize(
    ("own", "delivered", "habit", "method"),
    [
        ("advance", True, PaymentMethod.CREDIT, PaymentMethod.ADVANCE),
        (None, True, PaymentMethod.FULL_PREPAYMENT, PaymentMethod.FULL_PAYMENT),
        (None, True, None, PaymentMethod.FULL_PAYMENT),
        (None, False, PaymentMethod.FULL_PAYMENT, PaymentMethod.FULL_PREPAYMENT),
        (None, False, PaymentMethod.ADVANCE, PaymentMethod.ADVANCE),
        (None, False, None, PaymentMethod.FULL_PREPAYMENT),
        (None, None, PaymentMethod.ADVANCE, PaymentMethod.ADVANCE),
    ],
)
def test_where_the_payment_method_comes_from(
    own: str | None,
    delivered: bool | None,
    habit: PaymentMethod | None,
    method: PaymentMethod,
    make_event: Make,
    make_line: Make,
    make_settings: Make,
    today: date,
) -> None:
    defaults = Defaults(VatRate.NONE, habit, PaymentObject.SERVICE)
    event = make_event(make_line(payment_method=own), delivered=delivered)
    assert only(plan_sale(event, make_settings(defaults), today)).items[0].payment_method is method


@pytest.mark.parametrize(
    ("default", "method", "vat"),
    [
        (VatRate.VAT22, PaymentMethod.FULL_PREPAYMENT, VatRate.VAT122),
        (VatRate.VAT22, PaymentMethod.ADVANCE, VatRate.VAT122),
        (VatRate.VAT105, PaymentMethod.FULL_PREPAYMENT, VatRate.VAT105),
        (VatRate.VAT105, PaymentMethod.FULL_PAYMENT, VatRate.VAT5),
        (VatRate.VAT22, PaymentMethod.FULL_PAYMENT, VatRate.VAT22),
        (VatRate.NONE, PaymentMethod.FULL_PREPAYMENT, VatRate.NONE),
    ],
)
def test_a_rate_of_the_settings_takes_the_form_of_the_method(
    default: VatRate,
    method: PaymentMethod,
    vat: VatRate,
    make_event: Make,
    make_line: Make,
    make_settings: Make,
    today: date,
) -> None:
    plan = plan_sale(make_event(make_line()), make_settings(Defaults(default, method, PaymentObject.SERVICE)), today)
    assert only(plan).items[0].vat is vat
    assert isinstance(plan, Planned)
    changed = (f"vat_by_method: #/items/0/vat {default.code} -> {vat.code}",)
    assert notes(plan) == (() if vat is default else changed)


def test_a_rate_of_the_source_is_kept_and_judged(
    make_event: Make, make_line: Make, make_settings: Make, today: date
) -> None:
    event = make_event(make_line(vat="vat22"), delivered=False)
    assert refused(plan_sale(event, make_settings(), today)) == [("vat_calculated_rate", "#/items/0/vat")]
    event = make_event(make_line(vat="vat20"))
    assert refused(plan_sale(event, make_settings(), today)) == [("vat_not_in_force", "#/items/0/vat")]


def test_a_stale_rate_of_the_settings_waits_for_the_merchant(
    make_event: Make, make_line: Make, make_settings: Make, today: date
) -> None:
    stale = Defaults(VatRate.VAT20, PaymentMethod.FULL_PAYMENT, PaymentObject.SERVICE)
    assert gaps(plan_sale(make_event(make_line()), make_settings(stale), today)) == [("vat", "#/items/0/vat")]
    last_year = date(2025, 12, 31)
    assert only(plan_sale(make_event(make_line()), make_settings(stale), last_year)).items[0].vat is VatRate.VAT20


def test_a_discount_as_in_the_worked_example(
    make_event: Make, make_line: Make, make_settings: Make, today: date
) -> None:
    event = make_event(
        make_line(333_33, "3", name="A"),
        make_line(1500_00, name="B"),
        make_line(49_90, "2", name="C"),
        amount=2299_79,
        discount=300_00,
    )
    plan = plan_sale(event, make_settings(), today)
    lines = [(item.name, str(item.quantity), item.price, item.amount) for item in only(plan).items]
    assert lines == [
        ("A", "1", 294_86, 294_86),
        ("A", "2", 294_87, 589_74),
        ("B", "1", 1326_91, 1326_91),
        ("C", "2", 44_14, 88_28),
    ]
    assert only(plan).total == 2299_79


def test_a_price_that_the_source_rounded(make_event: Make, make_line: Make, make_settings: Make, today: date) -> None:
    plan = plan_sale(make_event(make_line(333_33, "3", amount=1000_00)), make_settings(), today)
    assert [(str(item.quantity), item.price) for item in only(plan).items] == [("2", 333_33), ("1", 333_34)]
    assert isinstance(plan, Planned)
    assert notes(plan) == ("line_split: #/items/0",)
    weighed = make_event(make_line(830_00, "0.625", amount=518_00, measure="kilogram"))
    assert refused(plan_sale(weighed, make_settings(), today)) == [("line_amount", "#/items/0/amount")]


def test_a_free_line_is_left_out(make_event: Make, make_line: Make, make_settings: Make, today: date) -> None:
    event = make_event(make_line(0, vat="no matter"), make_line(name="B"))
    plan = plan_sale(event, make_settings(), today)
    assert [item.name for item in only(plan).items] == ["B"]
    assert isinstance(plan, Planned)
    assert notes(plan) == ("free_line_dropped: #/items/0",)


def test_a_pointer_names_the_line_of_the_event(
    make_event: Make, make_line: Make, make_settings: Make, today: date
) -> None:
    event = make_event(make_line(0), make_line(333_33, "3", amount=1000_00), make_line(country="RU"))
    assert refused(plan_sale(event, make_settings(), today)) == [("country_code", "#/items/2/country")]


def test_a_kopeck_for_many_units(make_event: Make, make_line: Make, make_settings: Make, today: date) -> None:
    event = make_event(make_line(1, "5", name="Буква"), amount=2, discount=3)
    (item,) = only(plan_sale(event, make_settings(), today)).items
    assert (item.name, item.quantity, item.price, item.measure) == ("Буква (5 шт)", Decimal(1), 2, Measure.ANOTHER)


def test_an_excise_is_shared_by_the_pieces_of_a_line(
    make_event: Make, make_line: Make, make_settings: Make, today: date
) -> None:
    event = make_event(make_line(333_33, "3", amount=1000_00, excise=100_01))
    items = only(plan_sale(event, make_settings(), today)).items
    assert sum(item.excise or 0 for item in items) == 100_01


def test_a_payment_without_lines(make_event: Make, make_settings: Make, today: date) -> None:
    event = make_event(amount=5000_00, description="Оплата заказа 7")
    plan = plan_sale(event, make_settings(), today)
    (item,) = only(plan).items
    assert (item.name, item.quantity, item.amount) == ("Занятия в студии", Decimal(1), 5000_00)
    assert isinstance(plan, Planned)
    assert plan.items_origin == "default"
    nameless = make_settings(Defaults(VatRate.NONE, PaymentMethod.FULL_PAYMENT, PaymentObject.SERVICE))
    assert only(plan_sale(event, nameless, today)).items[0].name == "Оплата заказа 7"
    quoted = plan_sale(replace(event, description="Заказ «7»"), nameless, today)
    assert only(quoted).items[0].name == 'Заказ "7"'
    assert isinstance(quoted, Planned)
    assert notes(quoted) == ("name_fitted: #/items quotes",)
    assert gaps(plan_sale(replace(event, description="🎉"), nameless, today)) == [("items", "#/items")]


def test_lines_say_where_they_came_from(make_event: Make, make_line: Make, make_settings: Make, today: date) -> None:
    plan = plan_sale(make_event(make_line(), items_origin="read_back"), make_settings(), today)
    assert isinstance(plan, Planned)
    assert plan.items_origin == "read_back"


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"currency": "USD"}, [("currency", "#/currency")]),
        ({"amount": 0}, [("amount_positive", "#/amount"), ("totals", "#/amount")]),
        ({"amount": 99_99}, [("totals", "#/amount")]),
        ({"discount": 1}, [("totals", "#/amount")]),
        ({"discount": -1, "amount": 100_01}, [("discount_negative", "#/discount")]),
        ({"taxation": "envd"}, [("unknown_value", "#/taxation")]),
        ({"taxation": "osn"}, [("taxation_not_registered", "#/taxation")]),
        ({"payments": (EventPayment("barter", 100_00),)}, [("unknown_value", "#/payments/0/type")]),
        ({"payments": (EventPayment("cash", 1),)}, [("totals", "#/payments")]),
        ({"payments": (EventPayment("credit", 100_00),)}, [("credit_method", "#/payments")]),
        ({"customer": Customer(email="a@example.org", inn="1")}, [("inn_checksum", "#/customer/inn")]),
    ],
)
def test_a_report_that_contradicts_itself(
    change: dict[str, Any],
    found: list[tuple[str, str]],
    make_event: Make,
    make_line: Make,
    make_settings: Make,
    today: date,
) -> None:
    assert refused(plan_sale(replace(make_event(make_line()), **change), make_settings(), today)) == found


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ({"vat": "vat18"}, [("unknown_value", "#/items/0/vat")]),
        ({"payment_method": "later", "measure": "box"}, ["payment_method", "measure"]),
        ({"payment_object": "thing"}, [("unknown_value", "#/items/0/payment_object")]),
        ({"quantity": Decimal(-1), "amount": 100_00}, [("quantity_range", "#/items/0/quantity")]),
        ({"amount": 50_00}, [("line_amount", "#/items/0/amount")]),
        ({"price": -100_00, "amount": -100_00}, [("amount_positive", "#/items/0/amount")]),
    ],
)
def test_a_line_that_contradicts_itself(
    line: dict[str, Any], found: list[Any], make_event: Make, make_line: Make, make_settings: Make, today: date
) -> None:
    wanted = [each if isinstance(each, tuple) else ("unknown_value", f"#/items/0/{each}") for each in found]
    told = refused(plan_sale(make_event(make_line(**line)), make_settings(), today))
    assert [each for each in told if each != ("amount_positive", "#/amount")] == wanted


def test_which_taxation(make_event: Make, make_line: Make, make_settings: Make, today: date) -> None:
    both = make_settings(taxation=(Taxation.OSN, Taxation.PATENT))
    event = make_event(make_line())
    assert gaps(plan_sale(event, both, today)) == [("taxation", "#/taxation")]
    assert only(plan_sale(replace(event, taxation="patent"), both, today)).taxation is Taxation.PATENT
    chosen = replace(both, defaults=replace(both.defaults, taxation=Taxation.OSN))
    assert only(plan_sale(event, chosen, today)).taxation is Taxation.OSN
    elsewhere = replace(both, defaults=replace(both.defaults, taxation=Taxation.ESN))
    assert gaps(plan_sale(event, elsewhere, today)) == [("taxation", "#/taxation")]


def test_a_buyer_without_contact(make_event: Make, make_line: Make, make_settings: Make, today: date) -> None:
    event = make_event(make_line(), customer=Customer(name="Покупатель", email="no address"))
    assert gaps(plan_sale(event, make_settings(), today)) == [("customer", "#/customer")]
    plan = plan_sale(event, make_settings(fallback_contact=Customer(email="shop@example.org")), today)
    assert only(plan).customer == Customer(email="shop@example.org", name="Покупатель")
    assert isinstance(plan, Planned)
    assert notes(plan) == ("contact_unusable", "contact_fallback")
    by_phone = make_event(make_line(), customer=Customer(email="no address", phone="+79990000000"))
    assert only(plan_sale(by_phone, make_settings(), today)).customer == Customer(phone="+79990000000")


def test_who_the_buyer_is_stays_with_the_receipt(
    make_event: Make, make_line: Make, make_settings: Make, today: date
) -> None:
    buyer = Customer("a@example.org", None, "Анна", None, date(1990, 5, 17), "643", "21", "4510 000000", "Москва")
    assert only(plan_sale(make_event(make_line(), customer=buyer), make_settings(), today)).customer == buyer


def test_a_gap_beside_a_mistake_is_told_once(
    make_event: Make, make_line: Make, make_settings: Make, today: date
) -> None:
    event = make_event(make_line(payment_object="thing"), customer=Customer())
    told = refused(plan_sale(event, make_settings(place=""), today))
    assert told == [
        ("unknown_value", "#/items/0/payment_object"),
        ("missing_customer", "#/customer"),
        ("missing_place", "#"),
    ]


def test_a_name_without_a_printable_sign(make_event: Make, make_line: Make, make_settings: Make, today: date) -> None:
    assert gaps(plan_sale(make_event(make_line(name="🎉")), make_settings(), today)) == [("name", "#/items/0/name")]


@pytest.mark.parametrize("place", ["Москва", "https://shop.example/" + "a" * 256])
def test_a_place_that_is_no_site_waits_for_the_operator(
    place: str, make_event: Make, make_line: Make, make_settings: Make, today: date
) -> None:
    plan = plan_sale(make_event(make_line()), make_settings(place=place), today)
    assert gaps(plan) == [("place", "#")]
    assert isinstance(plan, Held)
    assert plan.missing[0].who is Who.OPERATOR


def test_the_measure_of_the_settings_comes_before_the_piece(
    make_event: Make, make_line: Make, make_settings: Make, today: date
) -> None:
    hourly = Defaults(VatRate.NONE, PaymentMethod.FULL_PAYMENT, PaymentObject.SERVICE, Measure.HOUR)
    event = make_event(make_line(100_00, "2"), make_line(100_00, "1.5"), make_line(measure="day"))
    items = only(plan_sale(event, make_settings(hourly), today)).items
    assert [item.measure for item in items] == [Measure.HOUR, Measure.HOUR, Measure.DAY]


def test_payments_are_added_up_by_kind(make_event: Make, make_line: Make, make_settings: Make, today: date) -> None:
    payments = (
        EventPayment("electronic", 30_00),
        EventPayment("prepaid", 50_00),
        EventPayment("electronic", 20_00),
        EventPayment("cash", 0),
    )
    receipt = only(plan_sale(make_event(make_line(), payments=payments), make_settings(), today))
    assert receipt.payments == (Payment(PaymentKind.ELECTRONIC, 50_00), Payment(PaymentKind.PREPAID, 50_00))


@pytest.mark.parametrize(
    ("line", "marking", "delivered", "state"),
    [
        ({}, MarkingCode("code"), True, 1),
        ({"quantity": Decimal("0.5"), "amount": 50_00, "measure": "kilogram"}, MarkingCode("code"), True, 2),
        ({}, MarkingCode("code", numerator=1, denominator=2), True, 2),
        ({}, MarkingCode("code", state=3), True, 3),
        ({}, MarkingCode("code"), False, 255),
    ],
)
def test_planned_state_of_a_marked_piece(
    line: dict[str, Any],
    marking: MarkingCode,
    delivered: bool,
    state: int,
    make_event: Make,
    make_line: Make,
    make_settings: Make,
    today: date,
) -> None:
    event = make_event(make_line(marking=marking, payment_object="commodity", **line), delivered=delivered)
    (item,) = only(plan_sale(event, make_settings(), today)).items
    assert item.marking == replace(marking, state=state)


def test_more_lines_than_the_kassa_takes(make_event: Make, make_line: Make, make_settings: Make, today: date) -> None:
    event = make_event(*[make_line() for _ in range(3)])
    assert refused(plan_sale(event, make_settings(limits=DriverLimits(max_items=2)), today)) == [
        ("too_many_items", "#/items")
    ]


LINES = st.lists(st.tuples(st.integers(1, 10**6), st.integers(1, 50)), min_size=1, max_size=10)


@given(lines=LINES, data=st.data())
@settings(max_examples=200, deadline=None)
def test_any_discount_leaves_a_right_receipt_of_exactly_the_money(
    lines: list[tuple[int, int]], data: st.DataObject, make_event: Make, make_line: Make, make_settings: Make
) -> None:
    whole = sum(price * quantity for price, quantity in lines)
    discount = data.draw(st.integers(0, whole - 1))
    items = [make_line(price, str(quantity), name=f"Товар {n}") for n, (price, quantity) in enumerate(lines)]
    event = make_event(*items, amount=whole - discount, discount=discount)
    receipt = only(plan_sale(event, make_settings(), date(2026, 11, 23)))
    assert receipt.total == whole - discount == sum(payment.amount for payment in receipt.payments)
    assert all(item.amount == line_amount(item.price, item.quantity) for item in receipt.items)
    assert findings(receipt, date(2026, 11, 23)) == ()
    by_name = {item.name.split(" (")[0] for item in receipt.items}
    assert by_name <= {line.name for line in items}


def test_what_a_source_asks_holds_its_payment_even_without_a_kassa(
    make_event: Make, make_line: Make, make_settings: Make, today: date
) -> None:
    asked = Question("payments", "How is it paid?.", "Как оплачено?.")
    event = make_event(make_line(), question=asked)
    assert gaps(plan_sale(event, make_settings(), today)) == [("payments", "#/payments")]
    assert ("payments", "#/payments") in gaps(plan_sale(event, None, today))
    only(plan_sale(replace(event, question=None), make_settings(), today))


@pytest.mark.parametrize("kassa", [True, False])
def test_the_internet_sign_is_the_payment_s_own_where_it_is_known(
    make_event: Make, make_line: Make, make_settings: Make, today: date, kassa: bool
) -> None:
    settings = replace(make_settings(), internet=kassa)
    assert only(plan_sale(make_event(make_line()), settings, today)).internet is kassa
    assert (
        only(
            plan_sale(make_event(make_line(), requisites=EventRequisites(internet=not kassa)), settings, today)
        ).internet
        is not kassa
    )
