"""JSON as pydantic writes it is the JSON of the standard library, compact and in UTF-8."""

import json
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.infra.compact_json import exact_json, json_bytes, json_text

_STORABLE = st.characters(exclude_categories=["Cs"])
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(_STORABLE, max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(_STORABLE, max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(_VALUES)
def test_the_same_bytes_as_the_standard_library(value: Any) -> None:
    wanted = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    assert json_bytes(value) == wanted.encode()
    assert json_text(value) == wanted


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_come_back_as_they_were(value: float) -> None:
    assert json.loads(json_bytes(value)) == value


@given(_VALUES)
def test_a_receipts_values_are_written_as_json_has_them(value: Any) -> None:
    assert exact_json(value) == json_bytes(value)


@given(st.decimals("-99999999.99", "99999999.999", places=3))
def test_a_decimal_is_written_digit_by_digit(value: Decimal) -> None:
    assert exact_json({"price": [value]}) == f'{{"price":[{value:f}]}}'.encode()


def test_a_member_of_an_enumeration_is_written_as_its_value() -> None:
    assert exact_json([StrEnum("Word", {"ONE": "one"}).ONE, IntEnum("Number", {"TWO": 2}).TWO]) == b'["one",2]'


def test_a_float_has_no_place_in_a_receipt() -> None:
    with pytest.raises(TypeError, match="float"):
        exact_json({"price": 14.9})


def test_what_json_cannot_say() -> None:
    assert json_bytes([float("nan"), float("inf")]) == b"[null,null]"
    with pytest.raises(ValueError, match="surrogates"):
        json_bytes("\ud800")
    with pytest.raises(ValueError, match="serialize"):
        json_bytes(object())
