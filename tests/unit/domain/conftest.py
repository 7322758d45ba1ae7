"""Builders of right receipts and events; a test names only what it is about."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from app.domain.event import EventItem, EventType, PaymentEvent
from app.domain.ffd import (
    FfdVersion,
    Operation,
    PaymentKind,
    PaymentMethod,
    PaymentObject,
    Taxation,
)
from app.domain.planning import Defaults, PlanSettings
from app.domain.receipt import Customer, Item, Payment, Receipt
from app.domain.vat import VatRate

TODAY = date(2026, 11, 23)
BUYER = Customer(email="buyer@example.org")


@pytest.fixture(scope="session")
def today() -> date:
    return TODAY


@pytest.fixture(scope="session")
def make_item() -> Callable[..., Item]:
    def make(price: int = 100_00, quantity: str = "1", **given: Any) -> Item:
        amount = given.pop("amount", None)
        members: dict[str, Any] = {
            "name": "Абонемент, 8 занятий",
            "price": price,
            "quantity": Decimal(quantity),
            "amount": int(Decimal(quantity) * price) if amount is None else amount,
            "vat": VatRate.VAT22,
            "payment_method": PaymentMethod.FULL_PAYMENT,
            "payment_object": PaymentObject.COMMODITY if "marking" in given else PaymentObject.SERVICE,
        }
        return Item(**(members | given))

    return make


@pytest.fixture(scope="session")
def make_receipt() -> Callable[..., Receipt]:
    def make(*items: Item, **given: Any) -> Receipt:
        members: dict[str, Any] = {
            "operation": Operation.SELL,
            "taxation": Taxation.OSN,
            "ffd": FfdVersion.V1_2,
            "items": items,
            "payments": (Payment(PaymentKind.ELECTRONIC, sum(item.amount for item in items)),),
            "customer": BUYER,
            "place": "https://shop.example",
            "timezone": "Europe/Moscow",
            "internet": True,
        }
        return Receipt(**(members | given))

    return make


@pytest.fixture(scope="session")
def make_line() -> Callable[..., EventItem]:
    def make(price: int = 100_00, quantity: str = "1", **given: Any) -> EventItem:
        amount = given.pop("amount", None)
        members: dict[str, Any] = {
            "name": "Кружка",
            "quantity": Decimal(quantity),
            "price": price,
            "amount": int(Decimal(quantity) * price) if amount is None else amount,
        }
        return EventItem(**(members | given))

    return make


@pytest.fixture(scope="session")
def make_event() -> Callable[..., PaymentEvent]:
    def make(*items: EventItem, **given: Any) -> PaymentEvent:
        members: dict[str, Any] = {
            "type": EventType.PAYMENT_SUCCEEDED,
            "external_id": "pay-1",
            "amount": sum(item.amount for item in items),
            "occurred_at": datetime(2026, 11, 23, 12, 5, tzinfo=UTC),
            "customer": BUYER,
            "items": items,
        }
        return PaymentEvent(**(members | given))

    return make


@pytest.fixture(scope="session")
def make_settings() -> Callable[..., PlanSettings]:
    def make(defaults: Defaults | None = None, **given: Any) -> PlanSettings:
        members: dict[str, Any] = {
            "kassa_id": "kas_1",
            "ffd": FfdVersion.V1_2,
            "taxation": (Taxation.USN_INCOME,),
            "place": "https://shop.example",
            "timezone": "Europe/Moscow",
            "internet": True,
            "defaults": defaults
            or Defaults(VatRate.VAT22, PaymentMethod.FULL_PAYMENT, PaymentObject.SERVICE, item_name="Занятия в студии"),
            "fallback_contact": None,
        }
        return PlanSettings(**(members | given))

    return make
