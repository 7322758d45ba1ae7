"""The law's arithmetic in numbers: discount, refund, VAT, prepayment and closing, agents, correction, fractions.

Each example is one test with its own figures, in kopecks where the code has kopecks; VAT is 22 % unless it says so.
"""

from collections.abc import Callable, Iterable
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from app.domain.correction import Asked, Case, CorrectionPlan, Means, Printed, plan_correction, with_rate
from app.domain.event import EventPayment, EventType
from app.domain.ffd import (
    AgentType,
    CorrectionKind,
    FfdVersion,
    Measure,
    Operation,
    PaymentKind,
    PaymentMethod,
    PaymentObject,
    Taxation,
)
from app.domain.lifecycle import Status
from app.domain.money import allocate, fit_line
from app.domain.plan import Planned
from app.domain.planning import Defaults, plan_sale
from app.domain.receipt import Agent, CorrectionBasis, Item, Receipt
from app.domain.receipt_page import Seller, receipt_page
from app.domain.refund import refund_receipt, remaining
from app.domain.requisites import values
from app.domain.settlement import Prepaid, order_settlement, settlement_receipt
from app.domain.vat import VatRate, vat_amount

Make = Callable[..., Any]
TODAY = date(2026, 11, 23)
ELECTRONIC, OFFSET = PaymentKind.ELECTRONIC, PaymentKind.PREPAID
FULL, PREPAID, PART = PaymentMethod.FULL_PAYMENT, PaymentMethod.FULL_PREPAYMENT, PaymentMethod.PREPAYMENT
GOODS = PaymentObject.COMMODITY
FPD = "3304159072"
ALL = Means(frozenset({FfdVersion.V1_05, FfdVersion.V1_2}), frozenset(Operation), additional_prop=True)


def made(plan: object) -> Receipt:
    assert isinstance(plan, Planned), plan
    (receipt,) = plan.receipts
    return receipt


def vats(items: Iterable[Item]) -> list[int]:
    return [vat_amount(item.amount, item.vat) for item in items]


def lines(receipt: Receipt) -> set[tuple[str, str, int, int, int]]:
    return {
        (item.name, f"{item.quantity:f}", item.price, item.amount, vat_amount(item.amount, item.vat))
        for item in receipt.items
    }


def paid(receipt: Receipt) -> dict[PaymentKind, int]:
    return {payment.kind: payment.amount for payment in receipt.payments}


def totals(receipt: Receipt) -> list[tuple[str, str]]:
    """VAT totals as they stand on the receipt: (tag or path of tags, value), by its page."""
    page = receipt_page(receipt, Seller("ООО", "7702203276"), Status.QUEUED)
    return list(values(page.vat))


@pytest.fixture(scope="session")
def discounted(make_event: Make, make_line: Make, make_settings: Make) -> Receipt:
    event = make_event(
        make_line(333_33, "3", name="A"),
        make_line(1500_00, name="B"),
        make_line(49_90, "2", name="C"),
        amount=2299_79,
        discount=300_00,
    )
    return made(plan_sale(event, make_settings(), TODAY))


def test_13_1_a_discount_is_spread_by_the_largest_remainder(discounted: Receipt) -> None:
    assert allocate(300_00, [999_99, 1500_00, 99_80]) == [115_39, 173_09, 11_52]
    assert lines(discounted) == {
        ("A", "2", 294_87, 589_74, 106_35),
        ("A", "1", 294_86, 294_86, 53_17),
        ("B", "1", 1326_91, 1326_91, 239_28),
        ("C", "2", 44_14, 88_28, 15_92),
    }
    assert discounted.total == 2299_79
    # The four lines' VAT by itself; one computation over the total gives 414.72 as well.
    assert sum(vats(discounted.items)) == vat_amount(2299_79, VatRate.VAT22) == 414_72


def test_13_2_a_partial_refund_by_amount(discounted: Receipt, make_event: Make) -> None:
    ask = make_event(amount=500_00, type=EventType.REFUND_SUCCEEDED)
    first = made(refund_receipt(ask, discounted, (), TODAY))
    assert first.operation is Operation.SELL_REFUND
    assert paid(first) == {ELECTRONIC: 500_00}
    assert lines(first) == {
        ("A", "1", 192_32, 192_32, 34_68),
        ("B", "1", 288_49, 288_49, 52_02),
        ("C", "1", 19_19, 19_19, 3_46),
    }
    assert sum(vats(first.items)) == 90_16
    assert {(item.payment_method, item.vat) for item in first.items} == {(FULL, VatRate.VAT22)}
    left = remaining(discounted, [first])
    assert [each.amount for each in left] == [692_28, 1038_42, 69_09]
    rest = make_event(amount=1799_79, type=EventType.REFUND_SUCCEEDED)
    second = made(refund_receipt(rest, discounted, [first], TODAY))
    assert second.total == 1799_79
    assert sum(each.amount for each in remaining(discounted, [first, second])) == 0


@pytest.mark.parametrize(
    ("gross", "vat22", "vat122", "vat20", "vat10", "vat7", "vat5"),
    [
        (1000_00, 180_33, 180_33, 166_67, 90_91, 65_42, 47_62),
        (10_00, 1_80, 1_80, 1_67, 91, 65, 48),
        (30_00, 5_41, 5_41, 5_00, 2_73, 1_96, 1_43),
    ],
)
def test_13_3_vat_by_rate(gross: int, vat22: int, vat122: int, vat20: int, vat10: int, vat7: int, vat5: int) -> None:
    rates = (VatRate.VAT22, VatRate.VAT122, VatRate.VAT20, VatRate.VAT10, VatRate.VAT7, VatRate.VAT5)
    assert [vat_amount(gross, rate) for rate in rates] == [vat22, vat122, vat20, vat10, vat7, vat5]


def test_13_3_totals_by_rate(make_item: Make, make_receipt: Make) -> None:
    receipt = make_receipt(
        make_item(1000_00, vat=VatRate.VAT22),
        make_item(550_00, vat=VatRate.VAT10),
        make_item(300_00, vat=VatRate.NONE),
    )
    assert receipt.total == 1850_00
    assert dict(totals(receipt)) == {
        "1115/1119/1199": "11",
        "1115/1119/1120": "180.33",
        "1103": "50.00",
        "1105": "300.00",
    }


SHOP = Defaults(VatRate.VAT22, PREPAID, GOODS)


@pytest.fixture(scope="session")
def ordered(make_event: Make, make_line: Make, make_settings: Make) -> Make:
    """A payment of 12,200.00 or a part of it, before the goods are given."""

    def order(amount: int = 12200_00, method: str = "full_prepayment", day: date = TODAY, **line: Any) -> Receipt:
        event = make_event(make_line(amount, name="Шкаф", payment_method=method, **line))
        return made(plan_sale(event, make_settings(SHOP, taxation=(Taxation.OSN,)), day))

    return order


def test_13_4_prepayment_then_closing(ordered: Make, make_event: Make) -> None:
    first = ordered()
    (item,) = first.items
    assert (item.payment_method, item.vat, item.amount, vats([item])) == (PREPAID, VatRate.VAT122, 12200_00, [2200_00])
    assert paid(first) == {ELECTRONIC: 12200_00}
    event = make_event(amount=12200_00, type=EventType.ORDER_SETTLED)
    second = made(settlement_receipt(event, first, (), (), date(2026, 11, 27), None))
    (item,) = second.items
    assert second.operation is Operation.SELL
    assert (item.payment_method, item.vat, item.price, vats([item])) == (FULL, VatRate.VAT22, 12200_00, [2200_00])
    assert paid(second) == {OFFSET: 12200_00}


def test_13_4_thirty_per_cent_first(ordered: Make, make_event: Make, make_line: Make, make_settings: Make) -> None:
    first = ordered(3660_00, "prepayment")
    (item,) = first.items
    assert (item.payment_method, item.vat, vats([item])) == (PART, VatRate.VAT122, [660_00])
    assert paid(first) == {ELECTRONIC: 3660_00}
    # The rest is paid with the handing over: a payment of its own, which offsets what came before.
    event = make_event(
        make_line(12200_00, name="Шкаф", payment_method="full_payment"),
        amount=12200_00,
        payments=(EventPayment("prepaid", 3660_00), EventPayment("electronic", 8540_00)),
    )
    second = made(plan_sale(event, make_settings(SHOP, taxation=(Taxation.OSN,)), date(2026, 11, 27)))
    (item,) = second.items
    assert (item.payment_method, item.vat, vats([item])) == (FULL, VatRate.VAT22, [2200_00])
    assert paid(second) == {OFFSET: 3660_00, ELECTRONIC: 8540_00}
    # Or as a second prepayment, and both are offset in one closing.
    other = ordered(8540_00, "prepayment")
    settled = make_event(amount=12200_00, type=EventType.ORDER_SETTLED)
    closing = made(order_settlement(settled, [Prepaid(first), Prepaid(other)], date(2026, 11, 27), None).plan)
    assert [(one.amount, one.vat, vats([one])) for one in closing.items] == [(12200_00, VatRate.VAT22, [2200_00])]
    assert paid(closing) == {OFFSET: 12200_00}


def test_13_4_a_part_is_spread_over_two_lines() -> None:
    parts = allocate(3000_00, [12200_00, 800_00])
    assert parts == [2815_38, 184_62]
    assert [vat_amount(part, VatRate.VAT122) for part in parts] == [507_69, 33_29]


def test_13_4_prepaid_in_2025_and_shipped_in_2026(ordered: Make, make_event: Make) -> None:
    first = ordered(day=date(2025, 12, 20), vat="vat120")
    event = make_event(amount=12200_00, type=EventType.ORDER_SETTLED)
    second = made(settlement_receipt(event, first, (), (), date(2026, 1, 15), None))
    assert first.items[0].vat is VatRate.VAT120
    assert second.items[0].vat is VatRate.VAT22
    assert paid(second) == {OFFSET: 12200_00}


def test_13_4_cancelled_before_shipping(ordered: Make, make_event: Make) -> None:
    event = make_event(amount=12200_00, type=EventType.REFUND_SUCCEEDED)
    back = made(refund_receipt(event, ordered(), (), TODAY))
    (item,) = back.items
    assert (back.operation, item.payment_method, item.vat) == (Operation.SELL_REFUND, PREPAID, VatRate.VAT122)
    assert paid(back) == {ELECTRONIC: 12200_00}


def test_13_5_an_agents_sale(make_event: Make, make_line: Make, make_settings: Make) -> None:
    agent = Agent(AgentType.ANOTHER, "7702203276", 'ООО "Поставщик"', ("+74951234567",))
    event = make_event(
        make_line(5000_00, name="Лампа", vat="none", payment_object="commodity", agent=agent),
        make_line(500_00, name="Доставка", payment_object="service"),
    )
    settings = make_settings(Defaults(VatRate.VAT22, FULL), taxation=(Taxation.OSN,))
    receipt = made(plan_sale(event, settings, TODAY))
    lamp, delivery = receipt.items
    assert (lamp.vat, lamp.payment_method, lamp.payment_object) == (VatRate.NONE, FULL, GOODS)
    assert (delivery.vat, vats([delivery])) == (VatRate.VAT22, [90_16])
    assert paid(receipt) == {ELECTRONIC: 5500_00}
    assert dict(totals(receipt)) == {"1115/1119/1199": "11", "1115/1119/1120": "90.16", "1105": "5000.00"}
    page = receipt_page(receipt, Seller("ООО", "7702203276"), Status.QUEUED)
    lamp_parts = dict(values(page.lines[0].parts))
    assert lamp_parts["1222"] == "64"
    assert (lamp_parts["1224/1171"], lamp_parts["1224/1225"]) == ("+74951234567", 'ООО "Поставщик"')
    assert lamp_parts["1226"] == "7702203276"
    assert "1222" not in dict(values(page.lines[1].parts))


LATE = CorrectionBasis(CorrectionKind.SELF, date(2026, 11, 18))


def corrected(asked: Asked) -> CorrectionPlan:
    plan = plan_correction(asked, ALL, TODAY)
    assert isinstance(plan, CorrectionPlan), plan
    return plan


@pytest.mark.parametrize("ffd", [FfdVersion.V1_2, FfdVersion.V1_05])
def test_13_6_a_payment_without_a_receipt(ffd: FfdVersion, make_item: Make, make_receipt: Make) -> None:
    right = make_receipt(make_item(1500_00, measure=Measure.ANOTHER), ffd=ffd)
    (document,) = corrected(Asked(Case.NOT_REGISTERED, LATE, ffd, right=right)).documents
    receipt = document.receipt
    assert (receipt.operation, receipt.correction) == (Operation.SELL, LATE)
    assert vats(receipt.items) == [270_49]
    assert paid(receipt) == {ELECTRONIC: 1500_00}
    assert (receipt.internet, receipt.place, receipt.customer.email) == (
        True,
        "https://shop.example",
        "buyer@example.org",
    )
    # FFD 1.05 corrects sums: no lines, and the VAT row of code 11.
    assert document.totals_only is (ffd is FfdVersion.V1_05)
    assert totals(receipt) == [("1115/1119/1199", "11"), ("1115/1119/1120", "270.49")]
    assert document.description.startswith("Расчёт без применения ККТ")


@pytest.mark.parametrize("ffd", [FfdVersion.V1_2, FfdVersion.V1_05])
def test_13_6_twenty_instead_of_twenty_two(ffd: FfdVersion, make_item: Make, make_receipt: Make) -> None:
    wrong = make_receipt(make_item(1220_00, vat=VatRate.VAT20), ffd=ffd)
    day = date(2026, 11, 18)
    asked = Asked(Case.WRONG_RATE, LATE, ffd, Printed(wrong, FPD, day), with_rate(wrong, VatRate.VAT22))
    reversal, right = (document.receipt for document in corrected(asked).documents)
    assert (reversal.operation, vats(reversal.items)) == (Operation.SELL_REFUND, [203_33])
    assert (right.operation, vats(right.items)) == (Operation.SELL, [220_00])
    for receipt in (reversal, right):
        assert receipt.additional_prop == FPD
        assert paid(receipt) == {ELECTRONIC: 1220_00}
        assert receipt.correction == (LATE if ffd is FfdVersion.V1_2 else None)


def test_13_7_a_fractional_quantity_costs_exactly_its_sum() -> None:
    # One price of 80.00 gives 98,765.36, seven kopecks short.
    assert fit_line(98765_43, Decimal("1234.567")) == [
        (Decimal("1227.567"), 80_00, 98205_36),
        (Decimal("7"), 80_01, 560_07),
    ]
