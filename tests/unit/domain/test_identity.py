"""Ids are derived the same way for ever: the vectors here must never change."""

import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.codec import event_to_json
from app.domain.event import EventType
from app.domain.identity import differing, fingerprint, provider_id, provider_id_for_key

Make = Callable[..., Any]
PAID = EventType.PAYMENT_SUCCEEDED
GOLDEN_EVENT = "97d4aa699ccc5ceffe1e8052688027a5"
GOLDEN_KEY = "9037fc42edc6cffec0e42e32608ffb94"
GOLDEN_FINGERPRINT = "8f32b52d7a310f60e43711d28be448b22ca34946b95d686f6459a2752c799fdb"


def test_golden_vectors() -> None:
    assert provider_id("mer_1", "src_1", PAID, "pay-1", 1, 1) == GOLDEN_EVENT
    assert provider_id_for_key("mer_1", "key-1", 1, 1) == GOLDEN_KEY


def test_the_documented_encoding() -> None:
    parts = ("crm-kassa/provider-id/event", "mer_1", "src_1", "payment.succeeded", "оплата-1", "2", "3")
    encoded = b"".join(b"%d:%s," % (len(part.encode()), part.encode()) for part in parts)
    expected = hashlib.sha256(encoded).hexdigest()[:32]
    assert provider_id("mer_1", "src_1", PAID, "оплата-1", 2, 3) == expected


@pytest.mark.parametrize(
    "other",
    [
        ("mer_2", "src_1", PAID, "pay-1", 1, 1),
        ("mer_1", "src_2", PAID, "pay-1", 1, 1),
        ("mer_1", "src_1", EventType.REFUND_SUCCEEDED, "pay-1", 1, 1),
        ("mer_1", "src_1", PAID, "pay-2", 1, 1),
        ("mer_1", "src_1", PAID, "pay-1", 2, 1),
        ("mer_1", "src_1", PAID, "pay-1", 1, 2),
        ("mer_1", "src_", PAID, "1pay-1", 1, 1),
    ],
)
def test_every_part_matters(other: tuple[str, str, EventType, str, int, int]) -> None:
    assert provider_id(*other) != provider_id("mer_1", "src_1", PAID, "pay-1", 1, 1)


PARTS = st.text("ab:,01", max_size=4)


@given(st.tuples(PARTS, PARTS, PARTS), st.tuples(PARTS, PARTS, PARTS))
@settings(max_examples=200, deadline=None)
def test_different_parts_never_share_an_id(one: tuple[str, str, str], other: tuple[str, str, str]) -> None:
    ids = [provider_id(a, b, PAID, c, 1, 1) for a, b, c in (one, other)]
    assert (ids[0] == ids[1]) is (one == other)
    assert all(len(found) == 32 and found == found.lower() and int(found, 16) >= 0 for found in ids)


def test_content_is_everything_but_time_and_metadata(make_event: Make, make_line: Make) -> None:
    event = event_to_json(make_event(make_line()))
    same = {**dict(reversed(event.items())), "occurred_at": "2020-01-01T00:00:00Z", "metadata": {"a": 1}}
    assert fingerprint(event) == fingerprint(same)
    assert len(fingerprint(event)) == 32
    changes: tuple[dict[str, Any], ...] = ({"amount": 1}, {"test": True}, {"order_id": "7"}, {"items": []})
    for changed in changes:
        assert fingerprint({**event, **changed}) != fingerprint(event)


def test_a_stored_event_keeps_its_fingerprint_over_upgrades(make_event: Make, make_line: Make) -> None:
    """A new member of an event must be left out of the stored form while it has no value, or every old payment that is
    reported again would contradict itself."""
    assert fingerprint(event_to_json(make_event(make_line()))).hex() == GOLDEN_FINGERPRINT


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({}, ()),
        ({"occurred_at": "2020-01-01T00:00:00Z", "metadata": {"a": 1}}, ()),
        ({"amount": 1, "items": []}, ("amount", "items")),
        ({"order_id": "7"}, ("order_id",)),
        ({"requisites": {"cashier_name": "Ольга", "cashier_inn": "1", "place": "дом"}}, ("cashier", "place")),
    ],
)
def test_what_differs_is_named_as_callers_write_it(
    changes: dict[str, Any], named: tuple[str, ...], make_event: Make, make_line: Make
) -> None:
    event = event_to_json(make_event(make_line()))
    other = {**event, **changes}
    assert differing(event, other) == named
    assert set(differing(other, event)) == set(named)
    assert (fingerprint(event) == fingerprint(other)) is (not named)
