"""The frozen body of a message."""

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.outbound.messages import mask_customer, message_body

AT = datetime(2026, 11, 23, 11, 0, tzinfo=UTC)

TEXT = st.text(st.characters(codec="utf-8"))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=10,
)


def test_the_exact_bytes():
    data = {"receipt": {"id": "rcpt_1", "status": "fiscalized", "name": "Чек №1", "fiscal": None}}
    assert (
        message_body("receipt.fiscalized", AT, data)
        == (
            '{"type":"receipt.fiscalized","timestamp":"2026-11-23T11:00:00.000000Z",'
            '"data":{"receipt":{"id":"rcpt_1","status":"fiscalized","name":"Чек №1","fiscal":null}}}'
        ).encode()
    )


def test_the_moment_is_told_in_utc_with_six_digits():
    moscow = datetime(2026, 11, 23, 14, 0, 0, 5, tzinfo=timezone(timedelta(hours=3)))
    assert json.loads(message_body("x", moscow, {}))["timestamp"] == "2026-11-23T11:00:00.000005Z"


def test_a_time_without_zone_or_a_number_json_does_not_know_is_refused():
    with pytest.raises(ValueError, match="zone"):
        message_body("x", AT.replace(tzinfo=None), {})
    with pytest.raises(ValueError, match="JSON"):
        message_body("x", AT, {"total": float("nan")})


@given(st.dictionaries(TEXT, JSON, max_size=4))
def test_any_state_survives_the_body_compactly(data):
    body = message_body("receipt.held", AT, data)
    assert json.loads(body) == {"type": "receipt.held", "timestamp": "2026-11-23T11:00:00.000000Z", "data": data}
    assert body == message_body("receipt.held", AT, data)


def test_contacts_are_masked_and_the_rest_stays():
    customer = {"email": "anna@example.org", "phone": "+79990000000", "name": "Анна", "inn": None}
    assert mask_customer(customer) == {
        "email": "a***@e***.org",
        "phone": "+7******0000",
        "name": "Анна",
        "inn": None,
    }
    assert customer["email"] == "anna@example.org"
    assert mask_customer({"email": None, "phone": None}) == {"email": None, "phone": None}
    assert mask_customer({}) == {}
