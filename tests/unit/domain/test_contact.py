"""Buyer contacts are masked wherever they stand, and numbers that are not contacts stay readable."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.contact import mask_contacts, mask_email, mask_phone, phone_tail


@pytest.mark.parametrize(
    ("email", "masked"),
    [
        ("ivan@example.org", "i***@e***.org"),
        ("a@mail.example.org", "a***@m***.org"),
        ("почта@пример.рф", "п***@п***.рф"),
        ("a@localhost", "a***@l***"),
        ("nothing", "***"),
        ("@example.org", "***"),
    ],
)
def test_masking_an_email(email: str, masked: str) -> None:
    assert mask_email(email) == masked


@pytest.mark.parametrize(
    ("phone", "masked"),
    [
        ("+79990000000", "+7******0000"),
        ("8 (999) 123-45-67", "+7******4567"),
        ("+375291234567", "+3******4567"),
        ("123", "******"),
    ],
)
def test_masking_a_phone(phone: str, masked: str) -> None:
    assert mask_phone(phone) == masked


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("to ivan.petrov+tag@example.org now", "to i***@e***.org now"),
        ('{"email":"ivan@example.org","x":1}', '{"email":"i***@e***.org","x":1}'),
        ("{'email': 'ivan@mail.example.org'}", "{'email': 'i***@m***.org'}"),
        ("?to=ivan%40example.org&p=%2B79990000000", "?to=i***@e***.org&p=+7******0000"),
        ("+7 999 000-00-00, 8(999)0000000; 89990000000.", "+7******0000, +7******0000; +7******0000."),
        ("+7 (495) 123-45-67 and 79990000000", "+7******4567 and +7******0000"),
        ("tel+79990000000", "tel+7******0000"),
        ("+375291234567", "+3******4567"),
    ],
)
def test_contacts_are_masked_inside_any_text(text: str, masked: str) -> None:
    assert mask_contacts(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "fn=7380440700000001&i=12345&fp=3304159072",
        "INN 7702203276, 500100732259",
        "rcpt_0197b5d27999700080009990000000a1",
        "0197b5d2-7999-7000-8000-799900000001",
        "2026-11-23T12:00:05.123456+03:00 at 1790000000123",
        "РН 0000000001001579, 12200.00 of 89990000000001",
        "amount 8 7702203276",
    ],
)
def test_numbers_that_are_no_contacts_stay(text: str) -> None:
    assert mask_contacts(text) == text


@given(
    name=st.from_regex(r"[a-z0-9][a-z0-9._+-]{0,30}[a-z0-9]", fullmatch=True),
    domain=st.from_regex(r"([a-z0-9][a-z0-9-]{0,10}[.]){1,3}[a-z]{2,10}", fullmatch=True),
    around=st.sampled_from(["to {}, thanks", "<{}>", '"{}"', "email={}&x=1", "mailto:{}", "{}"]),
)
@settings(max_examples=200, deadline=None)
def test_no_email_survives(name: str, domain: str, around: str) -> None:
    masked = mask_contacts(around.format(f"{name}@{domain}"))
    zone = domain.rpartition(".")[2]
    assert masked == around.format(f"{name[0]}***@{domain[0]}***.{zone}")


@given(digits=st.text("0123456789", min_size=10, max_size=10), style=st.sampled_from(["+7{}", "+7 ({0:.3}) {1}"]))
@settings(max_examples=200, deadline=None)
def test_no_russian_phone_survives(digits: str, style: str) -> None:
    text = style.format(digits, f"{digits[3:6]}-{digits[6:8]}-{digits[8:]}")
    assert mask_contacts(f"call {text}!") == f"call +7******{digits[-4:]}!"


@given(st.text(max_size=100))
@settings(max_examples=200, deadline=None)
def test_masking_twice_is_masking_once(text: str) -> None:
    once = mask_contacts(text)
    assert mask_contacts(once) == once


@pytest.mark.parametrize("unit", ["a", "a.", "a@", "+7 ", "8 9", "a@b.", "%40", "8", "+"])
def test_a_hostile_text_costs_no_more_than_its_length(unit: str) -> None:
    text = unit * 100_000
    start = time.process_time()
    mask_contacts(text)
    assert time.process_time() - start < 2


def test_the_tail_by_which_a_buyer_is_found() -> None:
    assert phone_tail("+7 999 123-45-67") == "4567"
    with pytest.raises(ValueError, match="four digits"):
        phone_tail("12")
