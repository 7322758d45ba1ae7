"""Every cause can be read by the person who must act."""

import re

import pytest

from app.domain.causes import CATALOGUE, Cause, cause
from app.domain.plan import HeldReason

EXPECTED = [
    "credentials_refused",
    "account_inactive",
    "payment_required",
    "group_not_found",
    "place_not_registered",
    "taxation_not_registered",
    "field_unexpected",
    "field_missing",
    "value_invalid",
    "value_unavailable",
    "kassa_timeout",
    "provider_down",
    "provider_busy",
    "rate_limited",
    "refused_other",
    "duplicate_id",
    "unknown_outcome",
    "mismatch",
    "double_suspected",
    "lookup_impossible",
    "accepted_too_long",
    "wire_not_sent",
    "payload_not_supported",
    "contact_missing",
    "lookup_failed",
    "resolved_by_person",
]


@pytest.mark.parametrize("code", [*EXPECTED, *(reason.value for reason in HeldReason)])
def test_the_catalogue_knows_it(code: str) -> None:
    assert cause(code).code == code


@pytest.mark.parametrize("each", CATALOGUE.values(), ids=lambda each: each.code)
def test_it_says_what_happened_and_what_to_do_in_both_languages(each: Cause) -> None:
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", each.code)
    for text in (each.message, each.next_step):
        assert text.endswith(".")
        assert text.isascii()
    for text in (each.message_ru, each.next_step_ru):
        assert text.endswith(".")
        assert re.search("[а-я]", text)


def test_codes_are_unique_and_an_unknown_one_reads_as_refused() -> None:
    assert len({each.message for each in CATALOGUE.values()}) == len(CATALOGUE)
    assert cause("E_KKT_4711") is cause("refused_other")
