"""Tokens of receipt pages: derived, canonical, worthless without the key."""

import base64
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.infra.ids import new_id
from app.infra.page_links import NO_LINKS, PageLinks

SECRET = bytes(range(32))
LINKS = PageLinks(SECRET, "https://kassa.example.org/")
MERCHANT, RECEIPT = UUID(int=1), UUID(int=2)


def test_a_link_is_the_same_for_ever() -> None:
    token = LINKS.token(MERCHANT, RECEIPT)
    assert token == PageLinks(SECRET, None).token(MERCHANT, RECEIPT)
    assert token == "AQAAAAAAAAAAAAAAAAAAAAEAAAAAAAAAAAAAAAAAAAAC" + token[44:]
    assert LINKS.url(MERCHANT, RECEIPT) == f"https://kassa.example.org/r/{token}"
    assert LINKS.read(token) == (MERCHANT, RECEIPT)


def test_without_an_address_or_switched_off_there_is_no_link() -> None:
    assert PageLinks(SECRET, None).url(MERCHANT, RECEIPT) is None
    assert PageLinks(SECRET, "https://kassa.example.org", on=False).url(MERCHANT, RECEIPT) is None
    assert NO_LINKS.url(MERCHANT, RECEIPT) is None


def test_another_key_another_merchant_another_receipt_have_another_token() -> None:
    token = LINKS.token(MERCHANT, RECEIPT)
    assert PageLinks(bytes(31) + b"x", None).read(token) is None
    other = base64.urlsafe_b64decode(LINKS.token(RECEIPT, MERCHANT) + "==")
    raw = base64.urlsafe_b64decode(token + "==")
    assert LINKS.read(base64.urlsafe_b64encode(other[:33] + raw[33:]).decode().rstrip("=")) is None


@given(st.integers(0, 65), st.sampled_from("ABCDabcd0189-_+/=~ é"))
def test_one_sign_changed_is_no_token(place: int, sign: str) -> None:
    token = LINKS.token(MERCHANT, RECEIPT)
    if token[place] != sign:
        assert LINKS.read(token[:place] + sign + token[place + 1 :]) is None


@pytest.mark.parametrize("text", ["", "x", "é", "A" * 66, "=" * 66, "AQ" * 4000, "\x00"])
def test_rubbish_is_no_token(text: str) -> None:
    assert LINKS.read(text) is None


@given(st.uuids(), st.uuids())
def test_every_token_reads_back(merchant: UUID, receipt: UUID) -> None:
    token = LINKS.token(merchant, receipt)
    assert LINKS.read(token) == (merchant, receipt)
    assert len(token) == 66
    assert LINKS.read(token + "=") is None
    assert LINKS.token(merchant, new_id()) != token
