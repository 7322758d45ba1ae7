"""Two sources come to one key of the same money, each by its own rule."""

import re
from datetime import UTC, datetime
from typing import Any

import pytest

from app.domain.event import EventType, PaymentEvent
from app.domain.settlement_key import RULE, by_rule, of_refund


def event(type: EventType = EventType.PAYMENT_SUCCEEDED, **changes: Any) -> PaymentEvent:
    return PaymentEvent(type, "p-1", 100, datetime(2026, 11, 23, tzinfo=UTC), **changes)


@pytest.mark.parametrize(
    ("rule", "changes", "key"),
    [
        (None, {"settlement_key": "own"}, "own"),
        ("none", {"settlement_key": "own"}, None),
        ("order_id", {"order_id": "A-1"}, "A-1"),
        ("order_id", {}, None),
        ("order_id", {"settlement_key": "own"}, "own"),
        ("payment_id", {}, "p-1"),
        ("metadata.deal", {"metadata": {"deal": 17}}, "17"),
        ("metadata.deal", {"metadata": {"deal": " a "}}, "a"),
        ("metadata.deal", {"metadata": {"deal": ""}}, None),
        ("metadata.deal", {"metadata": {"deal": True}}, None),
        ("metadata.deal", {"metadata": {"deal": {"id": 1}}}, None),
        ("metadata.deal", {}, None),
    ],
)
def test_a_rule_makes_the_key_of_a_payment(rule: str | None, changes: dict[str, Any], key: str | None) -> None:
    assert by_rule(rule, event(**changes)) == key


def test_a_refund_is_keyed_by_its_payment_and_a_closing_by_itself() -> None:
    assert by_rule("payment_id", event(EventType.REFUND_SUCCEEDED, payment_id="pay-1")) == "pay-1"
    assert by_rule("order_id", event(EventType.ORDER_SETTLED, order_id="A-1")) is None


def test_returns_of_one_payment_are_told_apart_by_sum_and_number() -> None:
    keys = [*of_refund("p-1", 100), *of_refund("p-1", 200), *of_refund("p-2", 100)]
    assert len(keys) == len(set(keys))
    assert of_refund("p-1", 100)[0] == "p-1/100/1"


@pytest.mark.parametrize("rule", ["none", "order_id", "payment_id", "metadata.deal_id", "metadata.UF-1"])
def test_rules_that_there_are(rule: str) -> None:
    assert re.match(RULE, rule)


@pytest.mark.parametrize("rule", ["", "amount", "metadata.", "metadata.a.b", "order_id "])
def test_rules_that_there_are_not(rule: str) -> None:
    assert not re.match(RULE, rule)
