"""Our enumerations against a table of the format's numbers: a wrong one prints a wrong receipt."""

import json
from datetime import date
from pathlib import Path

import pytest

from app.domain import ffd
from app.domain.vat import VatRate, in_force, vat_amount

FACTS = json.loads((Path(__file__).parent / "data" / "ffd.json").read_text())
ENUMS = ["Operation", "Taxation", "PaymentMethod", "PaymentObject", "PaymentKind", "AgentType", "Measure"]


@pytest.mark.parametrize("name", [*ENUMS, "CorrectionKind"])
def test_members_and_numbers_are_those_of_the_format(name: str) -> None:
    kind = getattr(ffd, name)
    assert {member.code: member.tag_value for member in kind} == FACTS[name]
    assert all(kind.parse(member.code) is member for member in kind)
    assert all(member.ru for member in kind)


def test_versions_of_the_format() -> None:
    assert {version.value: version.tag_value for version in ffd.FfdVersion} == FACTS["FfdVersion"]
    assert all(ffd.FfdVersion.from_tag(version.tag_value) is version for version in ffd.FfdVersion)
    assert ffd.FfdVersion.from_tag(9) is None


def test_vat_rates() -> None:
    found = {
        rate.code: [
            rate.tag_value,
            rate.rate.num,
            rate.rate.den,
            rate.calculated,
            rate.prepayment_pair.code,
            rate.rate.since.isoformat() if rate.rate.since else None,
        ]
        for rate in VatRate
    }
    assert found == FACTS["VatRate"]


def test_time_zones() -> None:
    assert {str(offset): ffd.timezone_code(offset) for offset in range(2, 13)} == FACTS["timezone"]
    with pytest.raises(ValueError, match="UTC"):
        ffd.timezone_code(1)


def test_an_unknown_name_is_answered_with_the_legal_ones() -> None:
    with pytest.raises(ValueError, match="full_prepayment"):
        ffd.PaymentMethod.parse("paid")


@pytest.mark.parametrize(
    ("gross", "rate", "vat"),
    [
        (1000_00, VatRate.VAT22, 180_33),
        (1000_00, VatRate.VAT122, 180_33),
        (1000_00, VatRate.VAT20, 166_67),
        (1000_00, VatRate.VAT10, 90_91),
        (1000_00, VatRate.VAT7, 65_42),
        (1000_00, VatRate.VAT5, 47_62),
        (10_00, VatRate.VAT22, 1_80),
        (10_00, VatRate.VAT20, 1_67),
        (10_00, VatRate.VAT10, 91),
        (10_00, VatRate.VAT5, 48),
        (30_00, VatRate.VAT22, 5_41),
        (30_00, VatRate.VAT7, 1_96),
        (12200_00, VatRate.VAT122, 2200_00),
        (500_00, VatRate.NONE, 0),
        (500_00, VatRate.VAT0, 0),
    ],
)
def test_vat_contained_in_a_sum(gross: int, rate: VatRate, vat: int) -> None:
    assert vat_amount(gross, rate) == vat


@pytest.mark.parametrize(
    ("rate", "day", "may"),
    [
        (VatRate.VAT20, date(2025, 12, 31), True),
        (VatRate.VAT20, date(2026, 1, 1), False),
        (VatRate.VAT120, date(2026, 1, 1), False),
        (VatRate.VAT22, date(2025, 12, 31), False),
        (VatRate.VAT22, date(2026, 1, 1), True),
        (VatRate.VAT5, date(2024, 12, 31), False),
        (VatRate.VAT105, date(2025, 1, 1), True),
        (VatRate.NONE, date(2017, 1, 1), True),
    ],
)
def test_dates_between_which_a_rate_may_be_used(rate: VatRate, day: date, may: bool) -> None:
    assert in_force(rate, day) is may
