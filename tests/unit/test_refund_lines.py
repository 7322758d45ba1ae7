"""From "two of these" to the lines of a refund event."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import Invalid, RefundExceedsPayment
from app.services.refund_lines import AskedLine, refund_lines


def item(**members: Any) -> dict[str, Any]:
    return {
        "name": "Урок",
        "sku": None,
        "quantity": "3",
        "price": 100,
        "amount": 300,
        "marking_code": None,
    } | members


def test_a_quantity_costs_its_share_of_the_sale() -> None:
    (line,) = refund_lines([item()], [AskedLine(Decimal(2), name="урок")])
    assert (line.name, line.quantity, line.price, line.amount) == ("Урок", Decimal(2), 100, 200)


def test_lines_split_by_a_kopeck_count_as_one() -> None:
    sale = [item(quantity="2", price=33, amount=66), item(quantity="1", price=34, amount=34)]
    (whole,) = refund_lines(sale, [AskedLine(Decimal(3), name="Урок")])
    assert whole.amount == 100
    (one,) = refund_lines(sale, [AskedLine(Decimal(1), name="Урок")])
    assert one.amount == 33


def test_a_line_is_found_by_marking_code_then_sku_then_name() -> None:
    sale = [
        item(sku="a"),
        item(sku="b", price=200, amount=600),
        item(marking_code="01", quantity="1", amount=100),
        item(marking_code={"code": "02", "state": 1}, quantity="1", amount=50, price=50),
    ]
    lines = refund_lines(
        sale,
        [
            AskedLine(Decimal(1), sku="b", name="Урок"),
            AskedLine(Decimal(1), marking_code="02", sku="a"),
            AskedLine(Decimal(1), marking_code="01", amount=40),
        ],
    )
    assert [line.amount for line in lines] == [200, 50, 40]
    assert lines[1].marking is not None
    assert lines[1].marking.code == "02"
    assert lines[0].sku == "b"


def test_a_line_that_was_never_sold_is_pointed_at() -> None:
    with pytest.raises(Invalid) as refused:
        refund_lines([item()], [AskedLine(Decimal(1), name="Урок"), AskedLine(Decimal(1), name="Другое")])
    assert [finding.pointer for finding in refused.value.findings] == ["#/items/1"]


@pytest.mark.parametrize("asked", [AskedLine(Decimal("3.5"), name="Урок"), AskedLine(Decimal(1), "Урок", amount=301)])
def test_more_than_was_sold_is_refused_with_what_can_go_back(asked: AskedLine) -> None:
    with pytest.raises(RefundExceedsPayment) as refused:
        refund_lines([item()], [asked])
    assert refused.value.facts["refundable"] == 300


@given(
    amount=st.integers(1, 10**9),
    sold=st.decimals("0.001", "1000", places=3),
    part=st.floats(0.001, 1),
)
def test_price_and_amount_agree_within_half_a_kopeck_a_piece(amount: int, sold: Decimal, part: float) -> None:
    asked = max((sold * Decimal(part)).quantize(Decimal("0.001")), Decimal("0.001"))
    (line,) = refund_lines([item(quantity=str(sold), amount=amount)], [AskedLine(asked, name="Урок")])
    assert line.amount <= amount
    assert abs(line.price * line.quantity - line.amount) * 2 <= line.quantity
    if asked == sold:
        assert line.amount == amount
