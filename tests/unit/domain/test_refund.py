"""Nothing is returned twice, nothing is lost: refunds in full, by lines and by sums, in any order."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.basket import Reason
from app.domain.event import EventPayment, EventType
from app.domain.ffd import (
    AgentType,
    CorrectionKind,
    Measure,
    Operation,
    PaymentKind,
    PaymentMethod,
    PaymentObject,
)
from app.domain.money import line_amount
from app.domain.plan import Held, HeldReason, Planned, Refused
from app.domain.receipt import Agent, CorrectionBasis, Customer, Item, MarkingCode, Payment, Receipt
from app.domain.refund import Remaining, refund_receipt, remaining
from app.domain.rules import findings
from app.domain.vat import VatRate

Make = Callable[..., Any]
TODAY = date(2026, 11, 23)


@pytest.fixture(scope="session")
def make_refund(make_event: Make) -> Make:
    def make(*items: Any, **given: Any) -> Any:
        members = {"type": EventType.REFUND_SUCCEEDED, "external_id": "ref-1", "payment_id": "pay-1"}
        return make_event(*items, **(members | {"customer": Customer()} | given))

    return make


@pytest.fixture(scope="session")
def worked(make_receipt: Make, make_item: Make) -> Receipt:
    """The sale of the worked example: three goods, the first printed as two lines."""
    like = {"payment_object": PaymentObject.COMMODITY}
    receipt: Receipt = make_receipt(
        make_item(294_87, "2", name="A", **like),
        make_item(294_86, "1", name="A", **like),
        make_item(1326_91, name="B", **like),
        make_item(44_14, "2", name="C", **like),
    )
    return receipt


def only(plan: object) -> Receipt:
    assert isinstance(plan, Planned), plan
    (receipt,) = plan.receipts
    return receipt


def held(plan: object) -> tuple[HeldReason, str, int | None]:
    assert isinstance(plan, Held), plan
    (missing,) = plan.missing
    return plan.reason, missing.pointer, plan.limit


def lines(receipt: Receipt) -> list[tuple[str, str, int]]:
    return [(item.name, str(item.quantity), item.price) for item in receipt.items]


def test_a_full_refund_copies_the_sale(worked: Receipt, make_refund: Make) -> None:
    plan = refund_receipt(make_refund(amount=worked.total), worked, (), TODAY)
    refund = only(plan)
    assert refund == replace(worked, operation=Operation.SELL_REFUND)
    assert isinstance(plan, Planned)
    assert plan.items_origin == "sale"
    assert [line.amount for line in remaining(worked, [refund])] == [0, 0, 0]


def test_a_refund_by_sum_as_in_the_worked_example(worked: Receipt, make_refund: Make) -> None:
    plan = refund_receipt(make_refund(amount=500_00), worked, (), TODAY)
    first = only(plan)
    assert lines(first) == [("A", "1", 192_32), ("B", "1", 288_49), ("C", "1", 19_19)]
    assert isinstance(plan, Planned)
    assert plan.items_origin == "spread"
    assert [(line.amount, line.quantity) for line in remaining(worked, [first])] == [
        (692_28, Decimal(3)),
        (1038_42, Decimal(1)),
        (69_09, Decimal(2)),
    ]
    second = only(refund_receipt(make_refund(amount=1799_79), worked, [first], TODAY))
    assert lines(second) == [("A", "1", 692_28), ("B", "1", 1038_42), ("C", "1", 69_09)]
    assert [line.amount for line in remaining(worked, [first, second])] == [0, 0, 0]


def test_more_than_is_left_waits_with_the_figure(worked: Receipt, make_refund: Make) -> None:
    first = only(refund_receipt(make_refund(amount=500_00), worked, (), TODAY))
    plan = refund_receipt(make_refund(amount=1799_80), worked, [first], TODAY)
    assert held(plan) == (HeldReason.REFUND_EXCEEDS_PAYMENT, "#/amount", 1799_79)
    assert isinstance(plan, Held)
    assert "1799.79" in plan.missing[0].detail
    assert "1799.79" in plan.missing[0].detail_ru
    everything = [first, only(refund_receipt(make_refund(amount=1799_79), worked, [first], TODAY))]
    assert held(refund_receipt(make_refund(amount=1), worked, everything, TODAY))[2] == 0


def test_lines_and_quantities(worked: Receipt, make_refund: Make, make_line: Make) -> None:
    one = only(refund_receipt(make_refund(make_line(294_87, name="A")), worked, (), TODAY))
    assert lines(one) == [("A", "1", 294_87)]
    two = only(refund_receipt(make_refund(make_line(294_87, "2", name="a", amount=589_73)), worked, [one], TODAY))
    assert lines(two) == [("A", "1", 294_86), ("A", "1", 294_87)]
    assert remaining(worked, [one, two])[0] == Remaining(worked.items[0], 0, Decimal(0))
    third = make_refund(make_line(294_86, name="A"))
    assert held(refund_receipt(third, worked, [one, two], TODAY)) == (
        HeldReason.REFUND_EXCEEDS_PAYMENT,
        "#/items/0",
        0,
    )


def test_a_whole_line_by_its_sum(worked: Receipt, make_refund: Make, make_line: Make) -> None:
    event = make_refund(make_line(294_87, "3", name="A", amount=884_60), make_line(44_14, name="C"))
    assert lines(only(refund_receipt(event, worked, (), TODAY))) == [
        ("A", "2", 294_87),
        ("A", "1", 294_86),
        ("C", "1", 44_14),
    ]


def test_what_remains_after_lines_were_returned_is_copied(worked: Receipt, make_refund: Make, make_line: Make) -> None:
    first = only(refund_receipt(make_refund(make_line(44_14, name="C")), worked, (), TODAY))
    rest = only(refund_receipt(make_refund(amount=worked.total - 44_14), worked, [first], TODAY))
    assert lines(rest) == [("A", "2", 294_87), ("A", "1", 294_86), ("B", "1", 1326_91), ("C", "1", 44_14)]


def test_money_back_on_one_line_keeps_its_quantity(worked: Receipt, make_refund: Make, make_line: Make) -> None:
    first = only(refund_receipt(make_refund(make_line(100_00, name="B")), worked, (), TODAY))
    assert lines(first) == [("B", "1", 100_00)]
    assert [(line.amount, line.quantity) for line in remaining(worked, [first])][1] == (1226_91, Decimal(1))


def test_one_event_cannot_take_a_line_twice(worked: Receipt, make_refund: Make, make_line: Make) -> None:
    event = make_refund(make_line(44_14, "2", name="C"), make_line(44_14, name="C"))
    assert held(refund_receipt(event, worked, (), TODAY)) == (HeldReason.REFUND_EXCEEDS_PAYMENT, "#/items/1", 0)
    three = make_refund(make_line(20_00, "3", name="C"))
    assert held(refund_receipt(three, worked, (), TODAY)) == (HeldReason.REFUND_EXCEEDS_PAYMENT, "#/items/0", 88_28)


def test_lines_that_the_sale_never_had(worked: Receipt, make_refund: Make, make_line: Make) -> None:
    event = make_refund(make_line(10_00, name="A"), make_line(10_00, name="Z"))
    assert held(refund_receipt(event, worked, (), TODAY)) == (HeldReason.LINES_NOT_FOUND, "#/items/1", None)


def test_lines_are_found_by_sku_before_name(
    make_receipt: Make, make_item: Make, make_refund: Make, make_line: Make
) -> None:
    sale = make_receipt(make_item(sku="1", name="Курс"), make_item(200_00, sku="2", name="Курс"))
    event = make_refund(make_line(200_00, sku="2", name="Course"))
    assert lines(only(refund_receipt(event, sale, (), TODAY))) == [("Курс", "1", 200_00)]
    by_name = make_refund(make_line(200_00, name="КУРС"))
    assert lines(only(refund_receipt(by_name, sale, (), TODAY))) == [("Курс", "1", 200_00)]


def test_two_lines_of_one_name_and_different_price_are_two(
    make_receipt: Make, make_item: Make, make_refund: Make, make_line: Make
) -> None:
    sale = make_receipt(make_item(5000_00), make_item(3000_00))
    first = only(refund_receipt(make_refund(make_line(3000_00, name=sale.items[0].name)), sale, (), TODAY))
    assert [line.amount for line in remaining(sale, [first])] == [5000_00, 0]
    again = make_refund(make_line(3000_00, name=sale.items[0].name))
    second = only(refund_receipt(again, sale, [first], TODAY))
    assert [line.amount for line in remaining(sale, [first, second])] == [2000_00, 0]


def test_a_discount_of_the_refund_is_spread(worked: Receipt, make_refund: Make, make_line: Make) -> None:
    event = make_refund(make_line(1326_91, name="B"), amount=1000_00, discount=326_91)
    plan = refund_receipt(event, worked, (), TODAY)
    assert lines(only(plan)) == [("B", "1", 1000_00)]
    assert isinstance(plan, Planned)
    (told,) = plan.adjustments
    assert (told.line, told.name, told.full, told.amount, told.items) == (0, "B", 1326_91, 1000_00, (0,))
    assert [(one.reason, one.amount) for one in told.taken] == [(Reason.DISCOUNT, 326_91)]


def test_everything_stays_as_it_was_sold(make_receipt: Make, make_item: Make, make_refund: Make) -> None:
    agent = Agent(AgentType.ANOTHER, "7702203276", 'ООО "Поставщик"', ("+74951234567",))
    sale = make_receipt(
        make_item(vat=VatRate.VAT20, agent=agent, sku="A-1", country="643", excise=10_00),
        operation=Operation.BUY,
        user_prop=("Заказ", "7"),
        correction=CorrectionBasis(CorrectionKind.SELF, date(2025, 12, 1)),
    )
    (item,) = sale.items
    full = only(refund_receipt(make_refund(amount=100_00), sale, (), TODAY))
    assert full == replace(sale, operation=Operation.BUY_REFUND, correction=None)
    part = only(refund_receipt(make_refund(amount=30_00), sale, (), TODAY))
    assert part.items == (replace(item, price=30_00, amount=30_00, excise=3_00),)


def test_a_prepayment_goes_back_as_it_came(make_receipt: Make, make_item: Make, make_refund: Make) -> None:
    item = make_item(12200_00, payment_method=PaymentMethod.FULL_PREPAYMENT, vat=VatRate.VAT122)
    sale = make_receipt(item)
    assert only(refund_receipt(make_refund(amount=12200_00), sale, (), TODAY)).items == (item,)


def test_the_offset_of_a_closing_goes_back_in_money(make_receipt: Make, make_item: Make, make_refund: Make) -> None:
    closing = make_receipt(make_item(), payments=(Payment(PaymentKind.PREPAID, 100_00),))
    refund = only(refund_receipt(make_refund(amount=100_00), closing, (), TODAY))
    assert refund.payments == (Payment(PaymentKind.ELECTRONIC, 100_00),)


def test_money_goes_back_as_the_event_says(worked: Receipt, make_refund: Make) -> None:
    event = make_refund(amount=500_00, payments=(EventPayment("cash", 500_00),))
    assert only(refund_receipt(event, worked, (), TODAY)).payments == (Payment(PaymentKind.CASH, 500_00),)


def test_the_contact_is_the_sales_unless_the_event_has_a_usable_one(worked: Receipt, make_refund: Make) -> None:
    assert only(refund_receipt(make_refund(amount=1), worked, (), TODAY)).customer == worked.customer
    other = make_refund(amount=1, customer=Customer(phone="+79990000000"))
    assert only(refund_receipt(other, worked, (), TODAY)).customer == Customer(phone="+79990000000")
    unusable = make_refund(amount=1, customer=Customer(email="no address"))
    assert only(refund_receipt(unusable, worked, (), TODAY)).customer == worked.customer


@pytest.mark.parametrize(
    ("sold", "measure", "amount", "state"),
    [
        (1, Measure.PIECE, 100_00, 3),
        (2, Measure.KILOGRAM, 100_00, 4),
        (255, Measure.PIECE, 100_00, 255),
        (1, Measure.PIECE, 40_00, 255),
    ],
)
def test_a_marked_piece_comes_back_only_as_a_whole(
    sold: int, measure: Measure, amount: int, state: int, make_receipt: Make, make_item: Make, make_refund: Make
) -> None:
    sale = make_receipt(make_item(marking=MarkingCode("code", sold), measure=measure))
    (item,) = only(refund_receipt(make_refund(amount=amount), sale, (), TODAY)).items
    assert item.marking == MarkingCode("code", state)


def test_marked_pieces_are_found_by_their_code(
    make_receipt: Make, make_item: Make, make_refund: Make, make_line: Make
) -> None:
    sale = make_receipt(*[make_item(marking=MarkingCode(code, 1)) for code in ("one", "two", "three")])
    event = make_refund(make_line(100_00, name="Обувь", marking=MarkingCode("two")))
    refund = only(refund_receipt(event, sale, (), TODAY))
    assert [item.marking for item in refund.items] == [MarkingCode("two", 3)]
    assert [line.amount for line in remaining(sale, [refund])] == [100_00, 0, 100_00]


def test_a_part_of_weighed_goods_by_sum_is_no_kilogram(make_receipt: Make, make_item: Make, make_refund: Make) -> None:
    sale = make_receipt(make_item(200_00, "0.5", measure=Measure.KILOGRAM))
    (item,) = only(refund_receipt(make_refund(amount=30_00), sale, (), TODAY)).items
    assert (item.quantity, item.price, item.measure) == (Decimal(1), 30_00, Measure.ANOTHER)


def test_a_foreign_refund_that_fits_no_line_still_counts(
    worked: Receipt, make_receipt: Make, make_item: Make, make_refund: Make
) -> None:
    foreign = make_receipt(make_item(1000_00, name="Возврат"), operation=Operation.SELL_REFUND)
    left = worked.total - 1000_00
    assert sum(line.amount for line in remaining(worked, [foreign])) == left
    assert held(refund_receipt(make_refund(amount=left + 1), worked, [foreign], TODAY))[2] == left
    assert only(refund_receipt(make_refund(amount=left), worked, [foreign], TODAY)).total == left
    too_much = make_receipt(make_item(9000_00, name="Возврат"), operation=Operation.SELL_REFUND)
    assert [line.amount for line in remaining(worked, [too_much])] == [0, 0, 0]


@pytest.mark.parametrize(
    ("change", "rule"),
    [({"currency": "USD"}, "currency"), ({"amount": 0}, "amount_positive"), ({"amount": 1}, "totals")],
)
def test_a_refund_that_contradicts_itself(
    change: dict[str, Any], rule: str, worked: Receipt, make_refund: Make, make_line: Make
) -> None:
    plan = refund_receipt(replace(make_refund(make_line(name="A")), **change), worked, (), TODAY)
    assert isinstance(plan, Refused)
    assert rule in [each.rule for each in plan.findings]


def test_a_refund_is_not_refunded(worked: Receipt, make_refund: Make) -> None:
    with pytest.raises(ValueError, match="can be refunded"):
        refund_receipt(make_refund(amount=1), replace(worked, operation=Operation.SELL_REFUND), (), TODAY)


PRICES = st.integers(1, 5000_00)
NAMES = st.sampled_from(["Кружка", "Ложка", "Вилка"])
SOLD = st.lists(st.tuples(NAMES, PRICES, st.integers(1, 5)), min_size=1, max_size=6)


@given(sold=SOLD, data=st.data())
@settings(max_examples=200, deadline=None)
def test_any_sequence_of_refunds_returns_each_line_once(
    sold: list[tuple[str, int, int]],
    data: st.DataObject,
    make_receipt: Make,
    make_item: Make,
    make_refund: Make,
    make_line: Make,
) -> None:
    sale = make_receipt(*[make_item(price, str(quantity), name=name) for name, price, quantity in sold])
    already: list[Receipt] = []
    left = [line.amount for line in remaining(sale, already)]
    for _ in range(data.draw(st.integers(0, 5))):
        if data.draw(st.booleans()):
            event = make_refund(amount=data.draw(st.integers(1, sale.total)))
        else:
            item: Item = data.draw(st.sampled_from(sale.items))
            quantity = data.draw(st.integers(1, int(item.quantity)))
            event = make_refund(make_line(item.price, str(quantity), name=item.name))
        plan = refund_receipt(event, sale, already, TODAY)
        if isinstance(plan, Held):
            assert plan.reason is HeldReason.REFUND_EXCEEDS_PAYMENT
            assert plan.limit is not None
            assert plan.limit <= sum(left)
            continue
        refund = only(plan)
        assert refund.total == event.amount
        assert findings(refund, TODAY) == ()
        assert all(item.amount == line_amount(item.price, item.quantity) for item in refund.items)
        already.append(refund)
        now = [line.amount for line in remaining(sale, already)]
        assert all(0 <= after <= before for after, before in zip(now, left, strict=True))
        assert sum(left) - sum(now) == refund.total
        assert all(line.quantity >= 0 for line in remaining(sale, already))
        left = now
    if sum(left):
        already.append(only(refund_receipt(make_refund(amount=sum(left)), sale, already, TODAY)))
    assert sum(receipt.total for receipt in already) == sale.total
    assert {(line.amount, line.quantity) for line in remaining(sale, already)} == {(0, Decimal(0))}


@given(sold=SOLD, data=st.data())
@settings(max_examples=200, deadline=None)
def test_two_refunds_that_sum_to_the_sale_leave_nothing(
    sold: list[tuple[str, int, int]], data: st.DataObject, make_receipt: Make, make_item: Make, make_refund: Make
) -> None:
    sale = make_receipt(*[make_item(price, str(quantity), name=name) for name, price, quantity in sold])
    first_amount = data.draw(st.integers(0, sale.total))
    refunds: list[Receipt] = []
    for amount in (first_amount, sale.total - first_amount):
        if amount:
            refunds.append(only(refund_receipt(make_refund(amount=amount), sale, refunds, TODAY)))
    assert all(line.amount == 0 for line in remaining(sale, refunds))
    assert held(refund_receipt(make_refund(amount=1), sale, refunds, TODAY))[2] == 0


class TestWhatIsLeft:
    """Refunds told by what is left of the payment after them."""

    @settings(max_examples=200, deadline=None)
    @given(data=st.data())
    def test_reports_in_any_order_and_however_often_return_what_the_last_one_leaves_out(
        self, data: st.DataObject, worked: Receipt, make_refund: Make
    ) -> None:
        told = data.draw(st.lists(st.integers(0, worked.total - 1), min_size=1, max_size=5))
        reports = data.draw(st.permutations(told * data.draw(st.integers(1, 2))))
        made: list[Receipt] = []
        for left in reports:
            plan = refund_receipt(make_refund(amount=0, left_after=left), worked, made, TODAY)
            assert isinstance(plan, Planned), plan
            made += plan.receipts
        assert sum(receipt.total for receipt in made) == worked.total - min(told)
        assert all(receipt.total > 0 for receipt in made)

    def test_what_another_source_returned_already_counts(self, worked: Receipt, make_refund: Make) -> None:
        by_crm = only(refund_receipt(make_refund(amount=50_00), worked, (), TODAY))
        plan = refund_receipt(make_refund(amount=0, left_after=worked.total - 50_00), worked, [by_crm], TODAY)
        assert plan == Planned((), "sale", ("returned_already",))

    def test_everything_is_the_whole_sale(self, worked: Receipt, make_refund: Make) -> None:
        refund = only(refund_receipt(make_refund(amount=0, left_after=0), worked, (), TODAY))
        assert refund == replace(worked, operation=Operation.SELL_REFUND)

    @pytest.mark.parametrize("more", [0, 1])
    def test_a_refund_that_leaves_all_of_it_is_for_a_person(
        self, more: int, worked: Receipt, make_refund: Make
    ) -> None:
        plan = refund_receipt(make_refund(amount=0, left_after=worked.total + more), worked, (), TODAY)
        assert held(plan) == (HeldReason.DATA_MISSING, "#/amount", None)
