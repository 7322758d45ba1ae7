"""Our enumerations and tags against a table of the format's numbers: a wrong one prints a wrong receipt."""

import json
from datetime import date
from enum import Enum
from pathlib import Path

import pytest

from app.domain import ffd, ffd_device, ffd_marking, fitting, rules, tags
from app.domain.vat import VAT_TOTALS, VatRate, in_force, vat_amount

FACTS = json.loads((Path(__file__).parent / "data" / "ffd.json").read_text())
MODULES = (ffd, ffd_marking, ffd_device)
KINDS: dict[str, type[ffd.FfdEnum]] = {
    name: kind
    for module in MODULES
    for name, kind in vars(module).items()
    if isinstance(kind, type) and issubclass(kind, ffd.FfdEnum) and kind is not ffd.FfdEnum
}
OTHER_FACTS = {
    "source",
    "FfdVersion",
    "VatRate",
    "enum_tags",
    "left_out",
    "ffd12_only",
    "before_handing_over",
    "measure_texts",
    "vat_totals",
    "tags",
    "limits",
}


def test_every_enumeration_of_the_format_is_here_and_no_other() -> None:
    assert set(KINDS) == set(FACTS) - OTHER_FACTS


@pytest.mark.parametrize("name", sorted(KINDS))
def test_members_and_numbers_are_those_of_the_format(name: str) -> None:
    kind = KINDS[name]
    assert {member.code: member.tag_value for member in kind} == FACTS[name]
    assert all(kind.parse(member.code) is member for member in kind)
    assert all(member.ru for member in kind)
    # Abolished taxation (ЕНВД) has a number still; a new receipt must not be able to carry it.
    for code in FACTS["left_out"].get(name, ()):
        with pytest.raises(ValueError, match="unknown"):
            kind.parse(code)


def test_every_enumeration_names_its_tag() -> None:
    known: dict[str, type[Enum]] = {**KINDS, "VatRate": VatRate, "FfdVersion": ffd.FfdVersion}
    told = {name: kind.tag for name, kind in known.items() if hasattr(kind, "tag")}
    assert told == FACTS["enum_tags"]
    assert set(told.values()) <= set(tags.TAGS)
    # The others are numbered by the tags themselves, or stand in no tag.
    assert set(known) - set(told) == {"PaymentKind", "FnWarning", "DocumentForm"}
    assert {kind.tag_value for kind in ffd.PaymentKind} <= set(tags.TAGS)


def test_every_tag_and_no_other() -> None:
    assert {str(tag.number): [tag.name, tag.kind.value, tag.limit] for tag in tags.TAGS.values()} == FACTS["tags"]
    assert all(tag.ru for tag in tags.TAGS.values())
    assert len({tag.name for tag in tags.TAGS.values()}) == len(tags.TAGS)
    assert tags.limit_of(1231) == 32
    with pytest.raises(KeyError):
        tags.limit_of(1260)


def test_limits_of_the_format() -> None:
    assert FACTS["limits"] == {
        "receipt_bytes": tags.RECEIPT_BYTES,
        "item_bytes": tags.ITEM_BYTES,
        "marked_items_per_receipt": rules.MAX_MARKING_CODES,
        "item_name_chars": fitting.NAME_LIMIT,
    }


def test_what_only_the_new_format_has() -> None:
    assert [one.code for one in ffd.PaymentObject if one.ffd12_only] == FACTS["ffd12_only"]["PaymentObject"]
    assert [one.code for one in ffd.Operation if one.is_refund] == FACTS["ffd12_only"]["Operation_correction"]


def test_money_before_goods() -> None:
    assert [one.code for one in ffd.PaymentMethod if one.before_handing_over] == FACTS["before_handing_over"]


def test_units_of_the_old_format_are_the_measures_texts() -> None:
    assert {one.code: one.unit_text for one in ffd.Measure} == FACTS["measure_texts"]
    assert all(len(one.unit_text) <= tags.limit_of(1197) for one in ffd.Measure)


def test_totals_by_rate() -> None:
    assert {rate.code: VAT_TOTALS.get(rate, 1115) for rate in VatRate} == FACTS["vat_totals"]


def test_states_of_marked_goods() -> None:
    state = ffd_marking.ItemState
    assert state.default_for(ffd.Operation.SELL) is state.PIECE_SOLD
    assert state.default_for(ffd.Operation.SELL_REFUND) is state.PIECE_RETURNED
    assert all(state.from_tag(one.tag_value) is one for one in state)
    assert state.from_tag(7) is None
    everything = sum(one.tag_value for one in ffd_marking.MarkCheck if one is not ffd_marking.MarkCheck.OFFLINE)
    assert ffd_marking.MarkCheck.all_well(everything)
    assert not ffd_marking.MarkCheck.all_well(everything + ffd_marking.MarkCheck.OFFLINE.tag_value)


def test_forms_of_documents() -> None:
    form = ffd_device.DocumentForm
    assert form.of_receipt(correction=False) is form.RECEIPT
    assert form.of_receipt(correction=True) is form.CORRECTION_RECEIPT


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
    assert [ffd.timezone_code(offset) for offset in range(2, 13)] == list(FACTS["TimeZone"].values())
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
