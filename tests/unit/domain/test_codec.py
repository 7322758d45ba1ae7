"""What is stored comes back as it was, through real JSON text."""

import json
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.codec import (
    event_from_json,
    event_to_json,
    fiscal_from_json,
    fiscal_to_json,
    receipt_from_json,
    receipt_to_json,
)
from app.domain.event import PaymentEvent
from app.domain.ffd import FfdVersion
from app.domain.receipt import FiscalData, Item, Receipt

MODEST = settings(max_examples=200, deadline=None)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
LEAVES: dict[Any, st.SearchStrategy[Any]] = {
    str: st.text(max_size=20),
    int: st.integers(),
    bool: st.booleans(),
    date: st.dates(),
    datetime: st.datetimes(timezones=st.just(UTC)),
    Decimal: st.integers(1, 10**14).map(lambda parts: Decimal(parts) / 10**6),
    dict[str, object]: st.dictionaries(st.text(max_size=5), JSON_VALUES, max_size=3),
    type(None): st.none(),
}


def anything(kind: Any) -> st.SearchStrategy[Any]:
    """Any value of this type, members with a default included."""
    if kind in LEAVES:
        return LEAVES[kind]
    if isinstance(kind, type) and is_dataclass(kind):
        hints = get_type_hints(kind)
        return st.builds(kind, **{each.name: anything(hints[each.name]) for each in fields(kind)})
    if isinstance(kind, UnionType):
        return st.one_of([anything(part) for part in get_args(kind)])
    if get_origin(kind) is tuple:
        first, last = get_args(kind)
        one = anything(first)
        return st.lists(one, max_size=3).map(tuple) if last is Ellipsis else st.tuples(one, anything(last))
    return st.sampled_from(kind)


def through_json(value: dict[str, Any]) -> dict[str, Any]:
    text = json.dumps(value, allow_nan=False)
    back: dict[str, Any] = json.loads(text)
    assert back == value
    return back


@given(anything(Receipt))
@MODEST
def test_receipts_come_back(receipt: Receipt) -> None:
    assert receipt_from_json(through_json(receipt_to_json(receipt))) == receipt


@given(anything(PaymentEvent))
@MODEST
def test_events_come_back(event: PaymentEvent) -> None:
    assert event_from_json(through_json(event_to_json(event))) == event


@given(anything(FiscalData))
@MODEST
def test_fiscal_data_comes_back(fiscal: FiscalData) -> None:
    assert fiscal_from_json(through_json(fiscal_to_json(fiscal))) == fiscal


def nulls(value: object) -> bool:
    if isinstance(value, dict):
        return any(nulls(part) for part in value.values())
    return any(nulls(part) for part in value) if isinstance(value, list) else value is None


@given(anything(Receipt))
@MODEST
def test_a_stored_receipt_has_no_nulls(receipt: Receipt) -> None:
    assert not nulls(receipt_to_json(receipt))


def test_the_stored_form(make_receipt: Callable[..., Receipt], make_item: Callable[..., Item]) -> None:
    stored = receipt_to_json(make_receipt(make_item(100_00, "1.500", sku="A-1"), user_prop=("Заказ", "7")))
    assert stored == {
        "operation": "sell",
        "taxation": "osn",
        "ffd": "1.2",
        "items": [
            {
                "name": "Абонемент, 8 занятий",
                "price": 10000,
                "quantity": "1.5",
                "amount": 15000,
                "vat": "vat22",
                "payment_method": "full_payment",
                "payment_object": "service",
                "measure": "piece",
                "sku": "A-1",
            }
        ],
        "payments": [{"kind": "electronic", "amount": 15000}],
        "customer": {"email": "buyer@example.org"},
        "place": "https://shop.example",
        "timezone": "Europe/Moscow",
        "internet": True,
        "user_prop": ["Заказ", "7"],
    }


def test_fiscal_data_keeps_its_silences() -> None:
    fiscal = FiscalData(
        "7380440700000001", 5, "17", datetime(2026, 11, 23, 12, 5, tzinfo=UTC), "x", ffd=FfdVersion.V1_2
    )
    stored = fiscal_to_json(fiscal)
    assert stored["kkt_rn"] is None
    assert stored["ffd"] == "1.2"
    assert stored["fiscalized_at"] == "2026-11-23T12:05:00Z"


def test_moments_are_stored_in_utc(make_event: Callable[..., PaymentEvent]) -> None:
    moscow = timezone(timedelta(hours=3))
    event = make_event(amount=1, occurred_at=datetime(2026, 11, 23, 15, 5, tzinfo=moscow))
    assert event_to_json(event)["occurred_at"] == "2026-11-23T12:05:00Z"
    assert event_from_json(event_to_json(event)) == event
    with pytest.raises(ValueError, match="time zone"):
        event_to_json(make_event(amount=1, occurred_at=datetime(2026, 11, 23)))  # noqa: DTZ001


def test_metadata_stays_untouched(make_event: Callable[..., PaymentEvent]) -> None:
    metadata = {"a": None, "b": [1.5, {"c": None}]}
    assert event_to_json(make_event(amount=1, metadata=metadata))["metadata"] == metadata


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"items": [{"name": "x"}]}, r"items\[0\] lacks amount"),
        ({"surprise": 1}, "does not know: surprise"),
        ({"internet": 1}, "internet must be bool"),
        ({"payments": [{"kind": "cash", "amount": True}]}, r"payments\[0\].amount must be int"),
        ({"payments": [{"kind": "barter", "amount": 1}]}, "cash, electronic"),
        ({"taxation": 2}, "taxation must be str"),
        ({"user_prop": ["a"]}, "2 parts"),
        ({"correction": {"kind": "self", "corrected_date": "yesterday"}}, "corrected_date is not a date"),
        ({"customer": []}, "customer must be dict"),
    ],
)
def test_what_we_never_wrote_is_named(
    change: dict[str, Any], complaint: str, make_receipt: Callable[..., Receipt], make_item: Callable[..., Item]
) -> None:
    with pytest.raises(ValueError, match=complaint):
        receipt_from_json({**receipt_to_json(make_receipt(make_item())), **change})


@pytest.mark.parametrize("quantity", ["NaN", "Infinity", "many", 1])
def test_a_quantity_is_a_decimal_string(
    quantity: object, make_receipt: Callable[..., Receipt], make_item: Callable[..., Item]
) -> None:
    stored = receipt_to_json(make_receipt(make_item()))
    stored["items"][0]["quantity"] = quantity
    with pytest.raises(ValueError, match="quantity"):
        receipt_from_json(stored)


def test_a_moment_without_zone_is_refused(make_event: Callable[..., PaymentEvent]) -> None:
    stored = event_to_json(make_event(amount=1))
    with pytest.raises(ValueError, match="time zone"):
        event_from_json({**stored, "occurred_at": "2026-11-23T12:05:00"})
