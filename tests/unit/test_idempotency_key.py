"""What counts as the same key and the same request."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.services.idempotency import KeyInvalid, KeyMissing, canonical_key, fingerprint

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("8e03978e-40d5-43e8-bc93-6894a57f9324", "8e03978e-40d5-43e8-bc93-6894a57f9324"),
        ('"abc"', "abc"),
        ("abc", "abc"),
        ('  "abc" ; a=1', "abc"),
        ("a_-.:~+/=9", "a_-.:~+/=9"),
        ("x" * 255, "x" * 255),
    ],
)
def test_quoted_or_bare_is_the_same_key(line: str, key: str) -> None:
    assert canonical_key([line]) == key


@pytest.mark.parametrize("line", ["", '""', "a b", "ключ", "x" * 256, '"abc', "abc;a=1", "a\x00b", "a\nb"])
def test_what_is_no_key_is_refused(line: str) -> None:
    with pytest.raises(KeyInvalid):
        canonical_key([line])


def test_no_line_and_several_lines_are_told_apart() -> None:
    with pytest.raises(KeyMissing):
        canonical_key([])
    with pytest.raises(KeyInvalid):
        canonical_key(["a", "a"])


def test_spelling_of_json_and_order_of_the_query_are_no_content() -> None:
    one = fingerprint("POST", "/v1/receipts", "b=2&a=1", b'{"amount":100,"kind":"x"}')
    assert one == fingerprint("post", "/v1/receipts", "a=1&b=2", b'{ "kind":"x", "amount":1e2 }')
    assert len(one) == 32


@pytest.mark.parametrize(
    "other",
    [
        ("PATCH", "/v1/receipts", "", b'{"a":1}'),
        ("POST", "/v1/corrections", "", b'{"a":1}'),
        ("POST", "/v1/receipts", "x=1", b'{"a":1}'),
        ("POST", "/v1/receipts", "", b'{"a":2}'),
        ("POST", "/v1/receipts", "", b'{"a":"1"}'),
        ("POST", "/v1/receipts", "", b'{"a":1,"b":null}'),
    ],
)
def test_anything_else_is_another_request(other: tuple[str, str, str, bytes]) -> None:
    assert fingerprint(*other) != fingerprint("POST", "/v1/receipts", "", b'{"a":1}')


@pytest.mark.parametrize("body", [b"", b"no json", b'{"a":1e999}', b'{"a":90071992547409930}', b"[" * 100_000, b"\xff"])
def test_a_body_without_canonical_form_counts_byte_for_byte(body: bytes) -> None:
    assert fingerprint("POST", "/", "", body) == fingerprint("POST", "/", "", body)
    assert fingerprint("POST", "/", "", body) != fingerprint("POST", "/", "", body + b" ")


@given(JSON)
def test_however_a_value_is_written_it_is_the_same_request(value: object) -> None:
    pretty = json.dumps(value, indent=2, ensure_ascii=True).encode()
    plain = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
    assert fingerprint("POST", "/", "", pretty) == fingerprint("POST", "/", "", plain)
