"""Buyer contacts become what a receipt can carry, or a plain sentence that does not repeat them."""

import pytest

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
