"""A subscription is closed lesson by lesson to the kopeck, whatever the rhythm; nothing of it is lost or doubled."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from app.domain.event import EventPayment, EventType
from app.domain.ffd import PaymentMethod
from app.domain.ledger import balance, undoes_closing
from app.domain.lessons import (
    Closing,
    Pack,
    Parting,
    Period,
    Schedule,
    lesson_amounts,
    pack_closings,
    part,
    period_closings,
    value,
)
from app.domain.plan import Held, Planned
from app.domain.receipt import Receipt
from app.domain.refund import refund_receipt
from app.domain.settlement import OrderClosing, Prepaid, order_settlement, settlement_receipt
from app.domain.vat import VatRate

Make = Callable[..., Any]
START = date(2026, 9, 1)
PACK = Pack(10_000_00, 12, last_day=date(2026, 10, 31))


def days(*numbers: int) -> list[date]:
    return [START + timedelta(days=number) for number in numbers]


def test_the_pack_of_the_worked_example() -> None:
    assert lesson_amounts(10_000_00, 12)[:3] == [833_33, 833_33, 833_34]
    assert sum(lesson_amounts(10_000_00, 12)) == 10_000_00
    assert value(10_000_00, 12, 1, 8) == 6666_66
    assert value(10_000_00, 12, 9, 12) == 3333_34


def test_each_lesson_each_day_and_all_of_a_month() -> None:
    given_on = days(0, 2, 2, 29, 30)
    each = pack_closings(PACK, given_on, Schedule.PER_LESSON, START + timedelta(days=30))
    assert [(one.day, one.amount, one.first) for one in each[:3]] == [
        (START, 833_33, 1),
        (START + timedelta(days=2), 833_33, 2),
        (START + timedelta(days=2), 833_34, 3),
    ]
    daily = pack_closings(PACK, given_on, Schedule.PER_DAY, START + timedelta(days=30))
    assert [(one.first, one.last, one.amount) for one in daily] == [
        (1, 1, 833_33),
        (2, 3, 1666_67),
        (4, 4, 833_33),
        (5, 5, 833_33),
    ]
    assert pack_closings(PACK, given_on, Schedule.MONTH_END, date(2026, 9, 29)) == []
    assert pack_closings(PACK, given_on, Schedule.MONTH_END, date(2026, 9, 30)) == [
        Closing(date(2026, 9, 30), 3333_33, 1, 4)
    ]


def test_burned_lessons_are_closed_and_not_returned() -> None:
    end = date(2026, 10, 31)
    given_on = days(*range(8))
    *lessons, burned = pack_closings(PACK, given_on, Schedule.PER_LESSON, end)
    assert sum(one.amount for one in lessons) == 6666_66
    assert burned == Closing(end, 3333_34, 9, 12, burned=4)
    assert pack_closings(PACK, given_on, Schedule.SUBSCRIPTION_END, end) == [Closing(end, 10_000_00, 1, 12, burned=4)]
    assert pack_closings(PACK, given_on, Schedule.SUBSCRIPTION_END, end - timedelta(days=1)) == []
    kept_open = Pack(10_000_00, 12, last_day=end, burns=False)
    assert sum(one.amount for one in pack_closings(kept_open, given_on, Schedule.PER_LESSON, end)) == 6666_66


def test_a_freeze_moves_the_last_day_and_burns_nothing_before_it() -> None:
    frozen = Pack(10_000_00, 12, last_day=date(2026, 11, 30))
    assert len(pack_closings(frozen, days(*range(8)), Schedule.PER_LESSON, date(2026, 10, 31))) == 8


def test_lessons_beyond_the_pack_close_nothing() -> None:
    assert len(pack_closings(PACK, days(*range(15)), Schedule.PER_LESSON, date(2026, 12, 31))) == 12


def test_an_unlimited_period_goes_day_by_day() -> None:
    period = Period(3000_00, date(2026, 9, 15), date(2026, 10, 14))
    assert period.days == 30
    assert [one.amount for one in period_closings(period, Schedule.MONTH_END, date(2026, 12, 1))] == [1600_00, 1400_00]
    assert [one.day for one in period_closings(period, Schedule.MONTH_END, date(2026, 12, 1))] == [
        date(2026, 9, 30),
        date(2026, 10, 14),
    ]
    assert len(period_closings(period, Schedule.PER_DAY, date(2026, 9, 20))) == 6
    (whole,) = period_closings(period, Schedule.SUBSCRIPTION_END, date(2026, 10, 14))
    assert whole.amount == 3000_00
    assert period_closings(period, Schedule.PER_DAY, date(2026, 9, 1)) == []
    with pytest.raises(ValueError, match="no price of a lesson"):
        period_closings(period, Schedule.PER_LESSON, date(2026, 9, 20))


def test_a_buyer_who_leaves() -> None:
    assert part(PACK, given=8, closed=6666_66) == Parting(returned=3333_34, kept=0)
    assert part(PACK, given=8, closed=6666_66, lesson_price=1000_00) == Parting(returned=2000_00, kept=1333_34)
    assert part(PACK, given=8, closed=6666_66, lesson_price=2000_00) == Parting(returned=0, kept=3333_34)
    assert part(PACK, given=8, closed=0) == Parting(returned=3333_34, kept=6666_66)
    with pytest.raises(ValueError, match="more is closed"):
        part(PACK, given=8, closed=10_000_01)
    with pytest.raises(ValueError, match="not among"):
        value(100, 2, 2, 3)


@given(
    total=st.integers(0, 10**8),
    lessons=st.integers(1, 60),
    taken=st.lists(st.integers(0, 90), max_size=60),
    schedule=st.sampled_from(Schedule),
    asked=st.lists(st.integers(0, 120), min_size=1, max_size=5),
)
@settings(max_examples=300, deadline=None)
def test_every_rhythm_closes_exactly_what_was_paid(
    total: int, lessons: int, taken: list[int], schedule: Schedule, asked: list[int]
) -> None:
    pack = Pack(total, lessons, last_day=START + timedelta(days=90))
    given_on = days(*taken)
    whole = pack_closings(pack, given_on, schedule, START + timedelta(days=90))
    assert sum(one.amount for one in whole) == total
    covered = [number for one in whole for number in range(one.first, one.last + 1)]
    assert covered == sorted(set(covered))
    assert all(one.amount > 0 and one.day <= START + timedelta(days=90) for one in whole)
    # What was due earlier is the beginning of what is due at last, but for what burns at the end.
    for day in asked:
        earlier = pack_closings(pack, given_on, schedule, START + timedelta(days=min(day, 89)))
        assert earlier == whole[: len(earlier)]


def lesson_event(make_event: Make, make_line: Make, amount: int, **given: Any) -> Any:
    members = {"type": EventType.ORDER_SETTLED, "external_id": "lesson", "payment_id": "pay-1", "order_id": "A-1"}
    return make_event(make_line(amount, name="Занятие", payment_object="service"), **(members | given))


def only(plan: object) -> Receipt:
    assert isinstance(plan, Planned), plan
    (receipt,) = plan.receipts
    return receipt


def test_a_shipment_of_goods_prepaid_in_two_parts_is_one_line_again(
    make_receipt: Make, make_item: Make, make_event: Make, today: date
) -> None:
    share = {"payment_method": PaymentMethod.PREPAYMENT, "name": "Шкаф"}
    first = make_receipt(make_item(3660_00, vat=VatRate.VAT120, **share))
    second = make_receipt(make_item(8540_00, vat=VatRate.VAT122, **share))
    event = make_event(type=EventType.ORDER_SETTLED, external_id="s", order_id="A-1", amount=12200_00)
    closing = order_settlement(event, [Prepaid(first), Prepaid(second)], today, None)
    (item,) = only(closing.plan).items
    assert (item.amount, item.quantity, item.vat) == (12200_00, Decimal(1), VatRate.VAT22)
    assert [[line.amount for line in lines] for lines in closing.drawn] == [[3660_00], [8540_00]]
    assert only(closing.plan).payments[0].amount == 12200_00


def test_several_payments_and_several_shipments(
    make_receipt: Make, make_item: Make, make_event: Make, make_line: Make, today: date
) -> None:
    whole = {"payment_method": PaymentMethod.FULL_PREPAYMENT, "vat": VatRate.VAT122}
    first = make_receipt(make_item(1000_00, name="Стол", sku="T", **whole))
    second = make_receipt(make_item(500_00, "4", name="Стул", sku="C", **whole))
    chairs = make_event(
        make_line(500_00, "4", name="Стул", sku="C"), type=EventType.ORDER_SETTLED, external_id="s1", order_id="A-1"
    )
    closing = order_settlement(chairs, [Prepaid(first), Prepaid(second)], today, None)
    assert [sum(line.amount for line in lines) for lines in closing.drawn] == [0, 2000_00]
    shipped = Prepaid(second, settled=[only(closing.plan)])
    too_much = make_event(type=EventType.ORDER_SETTLED, external_id="s2", order_id="A-1", amount=1000_01)
    held = order_settlement(too_much, [Prepaid(first), shipped], today, None)
    assert isinstance(held.plan, Held)
    assert (held.plan.limit, held.drawn) == (1000_00, ())
    rest = make_event(type=EventType.ORDER_SETTLED, external_id="s3", order_id="A-1", amount=1000_00)
    last = order_settlement(rest, [Prepaid(first), shipped], today, None)
    assert [sum(line.amount for line in lines) for lines in last.drawn] == [1000_00, 0]
    with pytest.raises(ValueError, match="nothing to close"):
        order_settlement(rest, [], today, None)


@dataclass
class _Payment:
    sale: Receipt
    closings: list[Receipt] = field(default_factory=list)
    refunds: list[Receipt] = field(default_factory=list)

    @property
    def open(self) -> int:
        return balance(self.sale, self.closings, self.refunds).open


def histories(make_receipt: Make, make_item: Make, make_event: Make, make_line: Make, today: date) -> type:
    """A pupil's years: payments, lessons, closings of the whole order, refunds, recalculations and moved balances."""

    class History(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.payments: list[_Payment] = []
            self.received = self.closed = self.returned = 0

        @property
        def open(self) -> int:
            return self.received - self.closed - self.returned

        def pick(self, number: int) -> _Payment:
            return self.payments[number % len(self.payments)]

        @rule(amount=st.integers(1, 10**7))
        def pay(self, amount: int) -> None:
            item = make_item(amount, payment_method=PaymentMethod.FULL_PREPAYMENT, vat=VatRate.NONE)
            self.payments.append(_Payment(make_receipt(item)))
            self.received += amount

        @precondition(lambda self: self.payments)
        @rule(number=st.integers(0, 20), lessons=st.integers(1, 40), first=st.integers(1, 40), count=st.integers(1, 8))
        def give_lessons(self, number: int, lessons: int, first: int, count: int) -> None:
            payment = self.pick(number)
            last = min(first + count - 1, lessons)
            amount = value(payment.sale.total, lessons, min(first, last), last)
            self.close(payment, amount)

        def close(self, payment: _Payment, amount: int) -> None:
            if not amount:
                return
            event = lesson_event(make_event, make_line, amount)
            plan = settlement_receipt(event, payment.sale, payment.closings, payment.refunds, today, None)
            if amount > payment.open:
                assert isinstance(plan, Held)
                assert plan.limit == payment.open
                return
            payment.closings.append(only(plan))
            self.closed += amount

        @precondition(lambda self: self.payments)
        @rule(amount=st.integers(1, 10**7), named=st.booleans())
        def close_of_the_order(self, amount: int, named: bool) -> None:
            event = lesson_event(make_event, make_line, amount, payment_id=None)
            if not named:
                event = make_event(type=EventType.ORDER_SETTLED, external_id="o", order_id="A-1", amount=amount)
            known = [Prepaid(one.sale, tuple(one.closings), tuple(one.refunds)) for one in self.payments]
            still_open = sum(one.open for one in self.payments)
            closing = order_settlement(event, known, today, None)
            if amount > still_open:
                assert isinstance(closing.plan, Held)
                assert closing.plan.limit == still_open
                return
            if isinstance(closing.plan, Held):
                # A lesson that no line names is not guessed among several.
                assert named
                return
            self.draw(closing, amount)

        def draw(self, closing: OrderClosing, amount: int) -> None:
            receipt = only(closing.plan)
            assert receipt.total == amount == sum(line.amount for lines in closing.drawn for line in lines)
            for payment, lines in zip(self.payments, closing.drawn, strict=True):
                before = payment.open
                if lines:
                    payment.closings.append(make_receipt(*lines))
                assert payment.open == before - sum(line.amount for line in lines)
            self.closed += amount

        @precondition(lambda self: self.payments)
        @rule(number=st.integers(0, 20), amount=st.integers(1, 10**7))
        def refund(self, number: int, amount: int) -> None:
            payment = self.pick(number)
            event = make_event(type=EventType.REFUND_SUCCEEDED, external_id="r", payment_id="pay-1", amount=amount)
            before = payment.open
            plan = refund_receipt(event, payment.sale, [*payment.refunds, *payment.closings], today)
            left = payment.sale.total - sum(one.total for one in payment.refunds if not undoes_closing(one))
            if amount > left:
                assert isinstance(plan, Held)
                assert plan.limit == left
                return
            payment.refunds.append(only(plan))
            self.returned += min(amount, before)

        @precondition(lambda self: self.payments)
        @rule(number=st.integers(0, 20), lessons=st.integers(1, 12), price=st.integers(0, 10**6))
        def recalculate(self, number: int, lessons: int, price: int) -> None:
            """The buyer leaves: a part goes back, what is kept is closed, and nothing stays open."""
            payment = self.pick(number)
            leaving = part(
                Pack(payment.sale.total, 12),
                given=lessons,
                closed=payment.sale.total - payment.open,
                lesson_price=price,
            )
            assert leaving.returned + leaving.kept == payment.open
            if leaving.returned:
                self.refund(number, leaving.returned)
            self.close(payment, leaving.kept)
            assert payment.open == 0

        @precondition(lambda self: self.payments)
        @rule(number=st.integers(0, 20), amount=st.integers(1, 10**6))
        def undo(self, number: int, amount: int) -> None:
            """An absence that was charged is reversed: no money moves, what was closed is open again."""
            payment = self.pick(number)
            event = make_event(
                type=EventType.REFUND_SUCCEEDED,
                external_id="u",
                payment_id="pay-1",
                amount=amount,
                payments=(EventPayment("prepaid", amount),),
            )
            found = balance(payment.sale, payment.closings, payment.refunds)
            plan = refund_receipt(event, payment.sale, [*payment.refunds, *payment.closings], today)
            if amount > found.closed - found.returned_later:
                assert isinstance(plan, Held)
                return
            payment.refunds.append(only(plan))
            self.closed -= amount

        @precondition(lambda self: self.payments)
        @rule(number=st.integers(0, 20))
        def move(self, number: int) -> None:
            """To a sibling or another subscription: returned here, received there."""
            amount = self.pick(number).open
            if amount:
                self.refund(number, amount)
                self.pay(amount)

        @invariant()
        def nothing_is_lost(self) -> None:
            found = [balance(one.sale, one.closings, one.refunds) for one in self.payments]
            assert all(one.received == one.closed + one.returned + one.open for one in found)
            assert all(min(one.closed, one.returned, one.open, one.returned_later) >= 0 for one in found)
            assert sum(one.open for one in found) == self.open
            assert sum(one.closed for one in found) == self.closed
            assert sum(one.returned for one in found) == self.returned

    return History


def test_received_is_closed_and_returned_and_open_in_every_history(
    make_receipt: Make, make_item: Make, make_event: Make, make_line: Make, today: date
) -> None:
    machine = histories(make_receipt, make_item, make_event, make_line, today)
    run_state_machine_as_test(machine, settings=settings(max_examples=60, stateful_step_count=20, deadline=None))
