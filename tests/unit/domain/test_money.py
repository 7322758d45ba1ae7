"""Kopecks add up: rounding, spreading, and prices that give exactly the sum."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.money import allocate, fit_line, kopecks, line_amount, parse_quantity, quantity_text, roubles

MODEST = settings(max_examples=200, deadline=None)
SUMS = st.integers(1, 10**9)
QUANTITIES = st.integers(1, 10**7).map(lambda units: Decimal(units) / 1000) | st.integers(1, 500).map(Decimal)


@pytest.mark.parametrize(
    ("price", "quantity", "amount"),
    [(333_33, "3", 999_99), (8_30, "0.625", 5_19), (1, "0.5", 1), (1, "0.499999", 0), (80_00, "1234.567", 98765_36)],
)
def test_a_line_costs_price_times_quantity_with_halves_up(price: int, quantity: str, amount: int) -> None:
    assert line_amount(price, Decimal(quantity)) == amount


def test_a_discount_is_spread_as_in_the_worked_example() -> None:
    assert allocate(300_00, [999_99, 1500_00, 99_80]) == [115_39, 173_09, 11_52]


def test_a_refund_by_sum_is_spread_as_in_the_worked_example() -> None:
    assert allocate(500_00, [884_60, 1326_91, 88_28]) == [192_32, 288_49, 19_19]


def test_a_prepayment_is_spread_as_in_the_worked_example() -> None:
    assert allocate(3000_00, [12200_00, 800_00]) == [2815_38, 184_62]


def test_equal_remainders_go_to_the_first_lines() -> None:
    assert allocate(2, [1, 1, 1]) == [1, 1, 0]


@given(weights=st.lists(st.integers(0, 10**7), min_size=1, max_size=30), data=st.data())
@MODEST
def test_spreading_loses_nothing_and_takes_no_more_than_a_line_has(weights: list[int], data: st.DataObject) -> None:
    amount = data.draw(st.integers(0, sum(weights)))
    parts = allocate(amount, weights)
    assert sum(parts) == amount
    assert all(0 <= part <= weight for part, weight in zip(parts, weights, strict=True))
    if whole := sum(weights):
        assert all(abs(part - amount * weight / whole) < 1 for part, weight in zip(parts, weights, strict=True))


def test_nothing_can_carry_money_without_weight() -> None:
    assert allocate(0, [0, 0]) == [0, 0]
    for amount, weights in ((1, [0]), (-1, [1]), (1, [2, -1])):
        with pytest.raises(ValueError, match="spread"):
            allocate(amount, weights)


@pytest.mark.parametrize(
    ("amount", "quantity", "lines"),
    [
        (884_60, "3", [("1", 294_86, 294_86), ("2", 294_87, 589_74)]),
        (1326_91, "1", [("1", 1326_91, 1326_91)]),
        (88_28, "2", [("2", 44_14, 88_28)]),
        (98765_43, "1234.567", [("1227.567", 80_00, 98205_36), ("7", 80_01, 560_07)]),
        (5_19, "0.625", [("0.625", 8_30, 5_19)]),
        (2, "5", [("1", 2, 2)]),
    ],
)
def test_lines_that_cost_exactly_the_sum(amount: int, quantity: str, lines: list[tuple[str, int, int]]) -> None:
    found = fit_line(amount, Decimal(quantity))
    assert [(str(part), price, cost) for part, price, cost in found] == lines


@given(amount=SUMS, quantity=QUANTITIES)
@MODEST
def test_every_fitted_line_is_exact_and_nothing_is_lost(amount: int, quantity: Decimal) -> None:
    lines = fit_line(amount, quantity)
    assert len(lines) <= 2
    assert sum(line[2] for line in lines) == amount
    assert all(cost == line_amount(price, part) and price > 0 and part > 0 and cost > 0 for part, price, cost in lines)
    if lines != [(Decimal(1), amount, amount)]:
        assert sum(line[0] for line in lines) == quantity
    elif quantity == int(quantity) and quantity > 1:
        assert amount < quantity


@given(amount=st.integers(1, 10**6), units=st.integers(1, 10**6))
@MODEST
def test_a_fraction_of_a_unit_always_keeps_its_quantity_when_a_kopeck_buys_less(amount: int, units: int) -> None:
    quantity = Decimal(units) / 1000
    lines = fit_line(amount, quantity)
    if amount >= quantity:
        assert sum(line[0] for line in lines) == quantity


def test_finer_quantities_than_the_kassa_takes_become_one_unit() -> None:
    assert fit_line(10**9 + 7, Decimal("123456.123457")) == [(Decimal(1), 10**9 + 7, 10**9 + 7)]
    exact = fit_line(10**9 + 7, Decimal("123456.123457"), decimals=6)
    assert sum(line[0] for line in exact) == Decimal("123456.123457")


@pytest.mark.parametrize(("amount", "quantity"), [(0, "1"), (1, "0"), (-5, "1")])
def test_free_lines_cannot_be_fitted(amount: int, quantity: str) -> None:
    with pytest.raises(ValueError, match="above zero"):
        fit_line(amount, Decimal(quantity))


@given(st.integers(-(10**15) + 1, 10**15 - 1))
@MODEST
def test_kopecks_and_roubles_are_inverse(amount: int) -> None:
    assert kopecks(roubles(amount)) == amount
    assert kopecks(str(roubles(amount))) == amount
    assert roubles(amount).as_tuple().exponent == -2


@pytest.mark.parametrize(
    ("text", "amount"),
    [("1490", 1490_00), ("1490.5", 1490_50), ("0.01", 1), (" 10.5000 ", 10_50), (Decimal("7.1"), 7_10), (3, 3_00)],
)
def test_reading_roubles(text: Decimal | str | int, amount: int) -> None:
    assert kopecks(text) == amount


@pytest.mark.parametrize(
    "text", ["0.001", "", "1,50", "1e3", "NaN", "1_000", "١", "1 000", ".5", Decimal("1.005"), Decimal("Infinity")]
)
def test_refusing_what_is_no_sum_of_roubles(text: Decimal | str) -> None:
    with pytest.raises(ValueError, match="sum"):
        kopecks(text)


@pytest.mark.parametrize("value", [1.5, True, None])
def test_money_is_never_a_float(value: object) -> None:
    with pytest.raises(ValueError, match="never as a float"):
        kopecks(value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "spelling"), [("1", "1"), ("1.500", "1.5"), ("0.000001", "0.000001"), ("100.0", "100"), ("007", "7")]
)
def test_one_spelling_per_quantity(text: str, spelling: str) -> None:
    assert str(parse_quantity(text)) == spelling
    assert quantity_text(Decimal(text)) == quantity_text(parse_quantity(text))


@pytest.mark.parametrize("text", ["0", "0.000", "-1", "1e5", "1,5", "", "100000000", "0.0000001", "NaN", " 1"])
def test_refusing_quantities(text: str) -> None:
    with pytest.raises(ValueError, match="quantity"):
        parse_quantity(text)
