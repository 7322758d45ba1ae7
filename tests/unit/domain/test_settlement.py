"""Prepayments are closed to the kopeck: received = closed + returned + open, at the rate of the day of service."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.event import EventPayment, EventType
from app.domain.ffd import Measure, Operation, PaymentKind, PaymentMethod, PaymentObject
from app.domain.plan import Held, HeldReason, Planned, Refused
from app.domain.planning import Defaults, plan_sale
from app.domain.receipt import Customer, MarkingCode, Payment, Receipt
from app.domain.refund import refund_receipt, remaining
from app.domain.settlement import open_amount, settlement_receipt
from app.domain.vat import VatRate
from app.domain.vat_settings import VatPolicy

Make = Callable[..., Any]
TODAY = date(2026, 11, 27)
PREPAID = {"payment_method": PaymentMethod.FULL_PREPAYMENT, "vat": VatRate.VAT122}


@pytest.fixture(scope="session")
def make_closing(make_event: Make) -> Make:
    def make(*items: Any, **given: Any) -> Any:
        members = {"type": EventType.ORDER_SETTLED, "external_id": "done-1", "payment_id": "pay-1"}
        return make_event(*items, **(members | {"customer": Customer()} | given))

    return make


@pytest.fixture(scope="session")
def prepaid(make_receipt: Make, make_item: Make) -> Receipt:
    receipt: Receipt = make_receipt(make_item(12200_00, name="Шкаф", payment_object=PaymentObject.COMMODITY, **PREPAID))
    return receipt


def only(plan: object) -> Receipt:
    assert isinstance(plan, Planned), plan
    (receipt,) = plan.receipts
    return receipt


def held(plan: object) -> tuple[HeldReason, list[tuple[str, str]], int | None]:
    assert isinstance(plan, Held), plan
    return plan.reason, [(each.field, each.pointer) for each in plan.missing], plan.limit


def close(event: Any, sale: Receipt, *settled: Receipt, **given: Any) -> Any:
    rate = given.pop("rate", None)
    rate = None if rate is None else VatPolicy(kassa=rate)
    return settlement_receipt(event, sale, settled, given.pop("refunded", ()), given.pop("today", TODAY), rate, **given)


def test_prepayment_and_closing_as_in_the_worked_example(prepaid: Receipt, make_closing: Make) -> None:
    plan = close(make_closing(amount=12200_00), prepaid)
    receipt = only(plan)
    (item,) = receipt.items
    assert (item.vat, item.payment_method, item.amount) == (VatRate.VAT22, PaymentMethod.FULL_PAYMENT, 12200_00)
    assert item.payment_object is PaymentObject.COMMODITY
    assert receipt.operation is Operation.SELL
    assert receipt.payments == (Payment(PaymentKind.PREPAID, 12200_00),)
    assert isinstance(plan, Planned)
    assert plan.items_origin == "sale"
    assert open_amount(prepaid, [receipt], ()) == 0


@pytest.mark.parametrize(
    ("paid_at", "of_day", "today", "closed_at"),
    [
        (VatRate.VAT120, None, date(2026, 1, 15), VatRate.VAT22),
        (VatRate.VAT120, None, date(2025, 12, 31), VatRate.VAT20),
        (VatRate.VAT120, VatRate.VAT20, date(2026, 1, 15), VatRate.VAT22),
        (VatRate.VAT122, None, TODAY, VatRate.VAT22),
        (VatRate.VAT105, None, TODAY, VatRate.VAT5),
        (VatRate.NONE, None, TODAY, VatRate.NONE),
        (VatRate.NONE, VatRate.VAT5, TODAY, VatRate.VAT5),
        (VatRate.NONE, VatRate.VAT105, TODAY, VatRate.VAT5),
        (VatRate.VAT105, VatRate.VAT22, TODAY, VatRate.VAT22),
        (VatRate.VAT110, VatRate.VAT22, TODAY, VatRate.VAT10),
        (VatRate.VAT0, VatRate.VAT22, TODAY, VatRate.VAT0),
    ],
)
def test_the_rate_is_that_of_the_day_of_service(
    paid_at: VatRate,
    of_day: VatRate | None,
    today: date,
    closed_at: VatRate,
    make_receipt: Make,
    make_item: Make,
    make_closing: Make,
) -> None:
    sale = make_receipt(make_item(payment_method=PaymentMethod.FULL_PREPAYMENT, vat=paid_at))
    receipt = only(close(make_closing(amount=100_00), sale, today=today, rate=of_day))
    assert receipt.items[0].vat is closed_at
    assert receipt.total == 100_00


def test_a_pack_of_lessons(make_receipt: Make, make_item: Make, make_closing: Make, make_line: Make) -> None:
    """10,000.00 for 12 lessons: eight given, four returned, to the kopeck."""
    whole, count = 10000_00, 12
    sale = make_receipt(make_item(whole, payment_method=PaymentMethod.FULL_PREPAYMENT, vat=VatRate.NONE))
    parts = [whole * k // count - whole * (k - 1) // count for k in range(1, count + 1)]
    assert parts[:3] == [833_33, 833_33, 833_34]
    closed: list[Receipt] = []
    for number, part in enumerate(parts[:8], start=1):
        lesson = make_closing(make_line(part, name=f"Занятие {number}"))
        closed.append(only(close(lesson, sale, *closed)))
    assert sum(receipt.total for receipt in closed) == 6666_66
    assert closed[0].items[0].name == "Занятие 1"
    assert closed[0].items[0].payment_object is PaymentObject.SERVICE
    assert open_amount(sale, closed, ()) == 3333_34
    back = make_closing(amount=3333_34, type=EventType.REFUND_SUCCEEDED)
    refund = only(refund_receipt(back, sale, closed, TODAY))
    assert refund.items[0].payment_method is PaymentMethod.FULL_PREPAYMENT
    assert open_amount(sale, closed, [refund]) == 0
    assert held(close(make_closing(amount=1), sale, *closed, refunded=[refund]))[2] == 0


def test_never_more_than_is_open(prepaid: Receipt, make_closing: Make) -> None:
    first = only(close(make_closing(amount=2200_00), prepaid))
    plan = close(make_closing(amount=10000_01), prepaid, first)
    assert held(plan) == (HeldReason.SETTLEMENT_EXCEEDS_PREPAYMENT, [("amount", "#/amount")], 10000_00)
    assert isinstance(plan, Held)
    assert "10000.00" in plan.missing[0].detail_ru


def test_a_part_is_spread_over_what_is_open(make_receipt: Make, make_item: Make, make_closing: Make) -> None:
    sale = make_receipt(make_item(12200_00, name="A", **PREPAID), make_item(800_00, name="B", **PREPAID))
    plan = close(make_closing(amount=3000_00), sale)
    assert [(item.name, item.amount) for item in only(plan).items] == [("A", 2815_38), ("B", 184_62)]
    assert isinstance(plan, Planned)
    assert plan.items_origin == "spread"


def test_lines_that_were_paid_in_full_are_not_closed_again(
    make_receipt: Make, make_item: Make, make_closing: Make
) -> None:
    mixed = make_receipt(make_item(name="Кружка"), make_item(name="Кружка", **PREPAID))
    closing = only(close(make_closing(amount=100_00), mixed))
    assert closing.total == 100_00
    assert held(close(make_closing(amount=1), mixed, closing))[2] == 0
    paid = make_receipt(make_item())
    assert close(make_closing(amount=100_00), paid) == Planned((), "sale", ("not_a_prepayment",))


def test_a_refund_of_a_paid_line_leaves_the_prepaid_one_open(
    make_receipt: Make, make_item: Make, make_closing: Make
) -> None:
    mixed = make_receipt(make_item(name="Кружка"), make_item(name="Стол", **PREPAID))
    refund = replace(mixed, operation=Operation.SELL_REFUND, items=mixed.items[:1])
    assert open_amount(mixed, (), [refund]) == 100_00


def test_lines_of_the_event_are_closed_as_they_are_given(
    make_receipt: Make, make_item: Make, make_closing: Make, make_line: Make
) -> None:
    sale = make_receipt(
        make_item(200_00, sku="A", name="Обувь", payment_object=PaymentObject.COMMODITY_WITH_MARKING, **PREPAID),
        make_item(50_00, sku="B", name="Шнурки", **PREPAID),
    )
    shoes = make_line(200_00, sku="A", name="Ботинки", marking=MarkingCode("code"))
    (item,) = only(close(make_closing(shoes), sale)).items
    assert (item.name, item.payment_object) == ("Ботинки", PaymentObject.COMMODITY_WITH_MARKING)
    assert item.marking == MarkingCode("code", 1)
    assert item.vat is VatRate.VAT22
    own = make_line(50_00, sku="B", vat="vat10", payment_object="commodity", measure="kilogram")
    (laces,) = only(close(make_closing(own), sale)).items
    assert (laces.vat, laces.payment_object, laces.measure) == (
        VatRate.VAT10,
        PaymentObject.COMMODITY,
        Measure.KILOGRAM,
    )
    assert held(close(make_closing(make_line(10_00, name="Крем")), sale)) == (
        HeldReason.LINES_NOT_FOUND,
        [("items", "#/items/0")],
        None,
    )
    assert held(close(make_closing(make_line(50_00, sku="B", name="🎉")), sale))[1] == [("name", "#/items/0/name")]


def test_lines_of_a_closing_are_fitted_to_the_kopeck(prepaid: Receipt, make_closing: Make, make_line: Make) -> None:
    event = make_closing(make_line(333_33, "3", name="Полка «Лофт»", amount=1000_00))
    plan = close(event, prepaid)
    lines = [(item.name, str(item.quantity), item.price) for item in only(plan).items]
    assert lines == [('Полка "Лофт"', "2", 333_33), ('Полка "Лофт"', "1", 333_34)]
    assert isinstance(plan, Planned)
    assert plan.notes == ("name_fitted: #/items/0 quotes", "line_split: #/items/0")


def test_marked_goods_wait_for_their_codes(make_receipt: Make, make_item: Make, make_closing: Make) -> None:
    sale = make_receipt(make_item(payment_object=PaymentObject.COMMODITY_WITH_MARKING, **PREPAID))
    plan = close(make_closing(amount=100_00), sale)
    assert held(plan) == (HeldReason.DATA_MISSING, [("marking_code", "#/items/0/marking_code")], None)


def test_an_advance_is_closed_under_a_name_of_its_own(
    make_receipt: Make, make_item: Make, make_closing: Make, make_line: Make
) -> None:
    item = make_item(
        name="Аванс за обучение",
        payment_method=PaymentMethod.ADVANCE,
        payment_object=PaymentObject.PAYMENT,
        vat=VatRate.NONE,
    )
    sale = make_receipt(item)
    event = make_closing(amount=100_00)
    assert held(close(event, sale)) == (
        HeldReason.DATA_MISSING,
        [("payment_object", "#/items/0/payment_object"), ("items", "#/items")],
        None,
    )
    defaults = Defaults(item_name="Занятие английским", payment_object=PaymentObject.SERVICE)
    (closed,) = only(close(event, sale, defaults=defaults)).items
    assert (closed.name, closed.payment_object) == ("Занятие английским", PaymentObject.SERVICE)
    lesson = make_closing(make_line(name="Занятие 12 мая", payment_object="service"))
    assert only(close(lesson, sale)).items[0].payment_object is PaymentObject.SERVICE
    assert held(close(make_closing(make_line(name="Занятие 12 мая")), sale))[1] == [
        ("payment_object", "#/items/0/payment_object")
    ]


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"payments": (EventPayment("electronic", 100_00),)}, "settlement_payments"),
        ({"payments": (EventPayment("prepaid", 1),)}, "totals"),
        ({"amount": -1}, "amount_positive"),
        ({"currency": "USD"}, "currency"),
    ],
)
def test_a_closing_that_contradicts_itself(
    change: dict[str, Any], rule: str, prepaid: Receipt, make_closing: Make
) -> None:
    plan = close(replace(make_closing(amount=100_00), **change), prepaid)
    assert isinstance(plan, Refused)
    assert [each.rule for each in plan.findings] == [rule]


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ({"vat": "vat18"}, "unknown_value"),
        ({"vat": "vat20"}, "vat_not_in_force"),
        ({"measure": "box"}, "unknown_value"),
        ({"payment_object": "thing"}, "unknown_value"),
    ],
)
def test_a_line_that_contradicts_the_law(
    line: dict[str, Any], rule: str, prepaid: Receipt, make_closing: Make, make_line: Make
) -> None:
    plan = close(make_closing(make_line(**line)), prepaid)
    assert isinstance(plan, Refused)
    assert [each.rule for each in plan.findings] == [rule]


def test_the_rest_paid_at_handing_over_is_a_payment_of_its_own(
    make_event: Make, make_line: Make, make_settings: Make, today: date
) -> None:
    """30 % were prepaid; the second receipt names the whole price, the offset and the money."""
    event = make_event(
        make_line(12200_00, name="Шкаф"),
        delivered=True,
        payments=(EventPayment("prepaid", 3660_00), EventPayment("electronic", 8540_00)),
    )
    receipt = only(plan_sale(event, make_settings(), today))
    assert receipt.items[0].vat is VatRate.VAT22
    assert receipt.paid(PaymentKind.PREPAID) == 3660_00


def test_goods_that_were_given_come_back_as_given(prepaid: Receipt, make_closing: Make) -> None:
    closing = only(close(make_closing(amount=12200_00), prepaid))
    back = make_closing(amount=12200_00, type=EventType.REFUND_SUCCEEDED)
    refund = only(refund_receipt(back, prepaid, [closing], TODAY))
    assert refund.operation is Operation.SELL_REFUND
    assert refund.items == closing.items
    assert refund.payments == (Payment(PaymentKind.ELECTRONIC, 12200_00),)
    assert held(refund_receipt(back, prepaid, [closing, refund], TODAY))[2] == 0
    assert held(close(make_closing(amount=1), prepaid, closing, refunded=[refund]))[2] == 0


def test_what_is_open_goes_back_before_what_was_given(prepaid: Receipt, make_closing: Make, make_line: Make) -> None:
    closing = only(close(make_closing(amount=2200_00), prepaid))
    back = make_closing(amount=11000_00, type=EventType.REFUND_SUCCEEDED)
    refund = only(refund_receipt(back, prepaid, [closing], TODAY))
    assert [(item.payment_method, item.vat, item.amount) for item in refund.items] == [
        (PaymentMethod.FULL_PREPAYMENT, VatRate.VAT122, 10000_00),
        (PaymentMethod.FULL_PAYMENT, VatRate.VAT22, 1000_00),
    ]
    assert open_amount(prepaid, [closing], [refund]) == 0
    assert [line.amount for line in remaining(prepaid, [closing, refund])] == [0, 1200_00]
    named = make_closing(make_line(12200_00, name="Шкаф"), type=EventType.REFUND_SUCCEEDED)
    whole = only(refund_receipt(named, prepaid, [closing], TODAY))
    assert sorted(item.amount for item in whole.items) == [2200_00, 10000_00]


def test_a_closing_never_makes_more_returnable_than_was_paid(
    prepaid: Receipt, make_receipt: Make, make_item: Make
) -> None:
    with_money = make_receipt(make_item(20000_00, name="Шкаф"))
    assert sum(line.amount for line in remaining(prepaid, [with_money])) == prepaid.total
    unrelated = make_receipt(make_item(500_00))
    paid_at_once = make_receipt(make_item(name="Кружка"))
    assert sum(line.amount for line in remaining(paid_at_once, [unrelated])) == paid_at_once.total


def test_a_foreign_return_counts_on_its_own_side(
    prepaid: Receipt, make_receipt: Make, make_item: Make, make_closing: Make
) -> None:
    closing = only(close(make_closing(amount=2200_00), prepaid))
    given = make_receipt(make_item(2000_00, name="Возврат"), operation=Operation.SELL_REFUND)
    assert open_amount(prepaid, [closing], [given]) == 10000_00
    advance = make_receipt(make_item(2000_00, name="Возврат", **PREPAID), operation=Operation.SELL_REFUND)
    assert open_amount(prepaid, [closing], [advance]) == 8000_00
    more = make_receipt(make_item(3000_00, name="Возврат"), operation=Operation.SELL_REFUND)
    assert open_amount(prepaid, [closing], [more]) == 9200_00


@given(data=st.data(), whole=st.lists(st.integers(1, 10**6), min_size=1, max_size=4))
@settings(max_examples=200, deadline=None)
def test_received_is_closed_and_returned_and_open(
    data: st.DataObject, whole: list[int], make_receipt: Make, make_item: Make, make_closing: Make
) -> None:
    sale = make_receipt(*[make_item(price, name=f"Курс {n}", **PREPAID) for n, price in enumerate(whole)])
    closed: list[Receipt] = []
    refunded: list[Receipt] = []
    for _ in range(data.draw(st.integers(1, 6))):
        amount = data.draw(st.integers(1, sale.total))
        still_open = open_amount(sale, closed, refunded)
        if data.draw(st.booleans()):
            plan = close(make_closing(amount=amount), sale, *closed, refunded=refunded)
            limit, done = still_open, closed
        else:
            back = make_closing(amount=amount, type=EventType.REFUND_SUCCEEDED)
            plan = refund_receipt(back, sale, [*refunded, *closed], TODAY)
            limit, done = sale.total - sum(receipt.total for receipt in refunded), refunded
        if amount > limit:
            assert held(plan)[2] == limit
            continue
        done.append(only(plan))
        assert done[-1].total == amount
        assert open_amount(sale, closed, refunded) == max(still_open - amount, 0)
        before = sum(
            item.amount
            for receipt in refunded
            for item in receipt.items
            if item.payment_method is PaymentMethod.FULL_PREPAYMENT
        )
        assert sale.total == sum(receipt.total for receipt in closed) + before + open_amount(sale, closed, refunded)
        left = sum(line.amount for line in remaining(sale, [*closed, *refunded]))
        assert left == sale.total - sum(receipt.total for receipt in refunded) >= 0
