"""Which bounds a merchant's income counts against, and when a person is told."""

import pytest

from app.domain.vat import VatRate
from app.domain.vat_review import BOUNDS, BoundKind, bound_of, parse_bounds, reached, standings
from app.domain.vat_settings import Regime

MILLION = 100_000_000


def shares(
    income: int, year: int = 2026, regime: Regime = Regime.USN, rate: VatRate = VatRate.NONE
) -> list[tuple[int, int]]:
    return [(one.bound.year, one.percent) for one in reached(standings(regime, rate, year, income))]


@pytest.mark.parametrize(
    ("income", "told"),
    [
        (12 * MILLION - 1, []),
        (12 * MILLION, [(2027, 80)]),
        (15 * MILLION, [(2027, 80), (2027, 100)]),
        (16 * MILLION, [(2027, 80), (2027, 100), (2026, 80)]),
        (20 * MILLION, [(2027, 80), (2027, 100), (2026, 80), (2026, 100)]),
    ],
)
def test_income_of_2026_against_20_million_of_the_year_and_15_of_the_next(
    income: int, told: list[tuple[int, int]]
) -> None:
    assert shares(income) == told


def test_income_of_other_years() -> None:
    assert shares(20 * MILLION, 2025) == [(2026, 80), (2026, 100)]
    assert shares(8 * MILLION, 2027) == [(2028, 80)]
    # Beyond 2028 no figure is known: the last one is held, and says so.
    assert shares(8 * MILLION, 2030) == [(2030, 80)]
    assert not bound_of(BoundKind.EXEMPT, 2030).confirmed
    with pytest.raises(ValueError, match="2025"):
        bound_of(BoundKind.EXEMPT, 2025)


@pytest.mark.parametrize(
    ("regime", "rate", "bound"),
    [
        (Regime.USN, VatRate.VAT5, 27_250_000_000),
        (Regime.USN, VatRate.VAT7, 49_050_000_000),
        (Regime.AUSN, VatRate.NONE, 60 * MILLION),
    ],
)
def test_bounds_of_the_other_answers(regime: Regime, rate: VatRate, bound: int) -> None:
    assert shares(bound * 8 // 10 - 1, 2026, regime, rate) == []
    assert shares(bound, 2026, regime, rate) == [(2026, 80), (2026, 100)]


def test_nobody_is_told_where_no_income_changes_the_rate() -> None:
    assert shares(10**14, rate=VatRate.VAT22) == []
    assert shares(10**14, regime=Regime.OTHER) == []


def test_no_built_in_figure_claims_more_than_its_source() -> None:
    """None was read in the law itself; one law is named for them, by the press, and only for the exemption."""
    assert not any(one.confirmed for one in BOUNDS)
    assert {(one.kind, one.law) for one in BOUNDS} == {
        (BoundKind.EXEMPT, "law 425-ФЗ"),
        (BoundKind.FIVE, None),
        (BoundKind.SEVEN, None),
        (BoundKind.AUSN, None),
    }
    for one in BOUNDS:
        own = bound_of(one.kind, one.year, {(one.kind, one.year): one.income + 1})
        assert (own.income, own.law, own.confirmed) == (one.income + 1, None, True)


def test_the_operator_sets_a_figure() -> None:
    bounds = parse_bounds("usn_exempt:2027=1600000000, usn_vat5:2027=28000000000")
    found = standings(Regime.USN, VatRate.NONE, 2026, 16 * MILLION, bounds)
    assert [(one.bound.year, one.bound.income, one.percent) for one in found] == [
        (2026, 20 * MILLION, 80),
        (2027, 16 * MILLION, 100),
    ]
    assert parse_bounds("") == {}
    for wrong in ("usn_exempt=1", "usn:2027=1", "usn_exempt:2027=x"):
        with pytest.raises(ValueError, match="is no bound"):
            parse_bounds(wrong)
