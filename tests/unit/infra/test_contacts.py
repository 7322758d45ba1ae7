"""Buyer contacts become what a receipt can carry, or a plain sentence that does not repeat them."""

import phonenumbers
import pytest
from email_validator import EmailNotValidError, validate_email
from hypothesis import given as hypothesis_given
from hypothesis import settings
from hypothesis import strategies as st

from app.infra.contacts import normalize_email, normalize_phone


@pytest.mark.parametrize(
    ("given", "email"),
    [
        ("buyer@example.org", "buyer@example.org"),
        ("  Buyer.Name+tag@EXAMPLE.org ", "Buyer.Name+tag@example.org"),
        ("buyer@пример.рф", "buyer@xn--e1afmkfd.xn--p1ai"),
    ],
)
def test_emails(given: str, email: str) -> None:
    assert normalize_email(given) == email


@pytest.mark.parametrize(
    "given", ["", "buyer", "buyer@", "почта@example.org", "a b@example.org", "a" * 60 + "@example.org"]
)
def test_refused_emails_are_not_repeated(given: str) -> None:
    with pytest.raises(ValueError, match="the e-mail is") as refused:
        normalize_email(given)
    assert not given or given not in str(refused.value)
    assert refused.value.__suppress_context__ or refused.value.__context__ is None


@pytest.mark.parametrize(
    ("given", "phone"),
    [
        ("+79990000000", "+79990000000"),
        ("8 (999) 000-00-00", "+79990000000"),
        ("9990000000", "+79990000000"),
        (" +375 29 123-45-67 ", "+375291234567"),
    ],
)
def test_phones(given: str, phone: str) -> None:
    assert normalize_phone(given) == phone


@pytest.mark.parametrize("given", ["", "none", "12345", "+7 999", "+79990000000123", "123-45-67"])
def test_refused_phones_are_not_repeated(given: str) -> None:
    with pytest.raises(ValueError, match="the phone") as refused:
        normalize_phone(given)
    assert not given or given not in str(refused.value)


_LABEL = st.text("abz019-", min_size=1, max_size=42)
_LOCAL = st.text("abXY019._+-", min_size=1, max_size=65)
_ZONE = st.sampled_from(
    ["org", "ru", "test", "local", "localhost", "arpa", "invalid", "onion", "xn--p1ai", "c", "museum"]
)


@settings(max_examples=400)
@hypothesis_given(local=_LOCAL, labels=st.lists(_LABEL, min_size=0, max_size=3), zone=_ZONE)
def test_an_email_that_the_library_is_not_asked_about_is_the_one_it_would_give(
    local: str, labels: list[str], zone: str
) -> None:
    email = f"{local}@{'.'.join([*labels, zone])}"
    try:
        checked = validate_email(email, check_deliverability=False, allow_smtputf8=False)
        wanted = checked.ascii_email if len(email) <= 64 else None
    except EmailNotValidError:
        wanted = None
    try:
        found = normalize_email(email)
    except ValueError:
        found = None
    assert found == wanted


@hypothesis_given(st.integers(0, 10**9 - 1))
def test_a_phone_that_the_library_is_not_asked_about_is_the_one_it_would_give(digits: int) -> None:
    phone = f"+79{digits:09d}"
    number = phonenumbers.parse(phone, "RU")
    assert phonenumbers.is_possible_number(number)
    assert normalize_phone(phone) == phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
