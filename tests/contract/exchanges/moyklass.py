"""What «Мой Класс» answers and posts, by its OpenAPI 1.1.8; the webhook's shape, unpublished, is a guess."""

import json
from typing import Any

from app.domain.event import EventType
from app.ports.inbound import InboundReply, InboundRequest
from tests.contract.source_scenarios import Shown

API_KEY = "made_up_key_of_the_company"
TOKEN = {"accessToken": "made_up_token", "expiresAt": "2099-01-01T00:00:00.000Z", "level": "company"}

INCOME: dict[str, Any] = {
    "id": 9007199254740993,
    "userId": 300,
    "date": "2026-11-20",
    "summa": 4900.5,
    "userSubscriptionId": 1504,
    "optype": "income",
    "filialId": 1,
    "comment": None,
    "managerId": 12,
    "paymentTypeId": 2,
    "cashboxId": 777,
}
BALANCE = INCOME | {"id": 41, "userSubscriptionId": None, "summa": 1000}
REFUND = INCOME | {"id": 42, "optype": "refund", "summa": -500.25, "userSubscriptionId": None}
DEBIT = {
    "id": 43,
    "userId": 300,
    "date": "2026-11-20",
    "summa": -1000,
    "userSubscriptionId": None,
    "optype": "debit",
    "filialId": 1,
    "invoiceId": 70,
}
INVOICE = {"id": 70, "userId": 300, "date": "2026-11-19", "price": 1000, "payed": 1000, "userSubscriptionId": 1504}
PUPIL: dict[str, Any] = {
    "id": 300,
    "name": "Пётр Примеров",
    "email": "pupil@example.org",
    "phone": "79990000001",
    "filials": [1],
    "attributes": [
        {"attributeId": 2, "attributeAlias": "level", "attributeType": "select", "value": "Опытный", "valueId": 3},
        {"attributeId": 3, "attributeAlias": "mom_email", "attributeType": "email", "value": "mother@example.org"},
        {"attributeId": 4, "attributeAlias": "mom_phone", "attributeType": "phone", "value": "79990000002"},
    ],
}
USER_SUBSCRIPTION: dict[str, Any] = {
    "id": 1504,
    "externalId": "ЛТ-2305",
    "userId": 300,
    "subscriptionId": 12,
    "price": 4900.5,
    "originalPrice": 5000,
    "discount": 2,
    "sellDate": "2026-11-19",
    "beginDate": "2026-11-20",
    "endDate": None,
    "courseIds": [100],
    "classIds": [7],
    "mainClassId": 7,
    "statusId": 2,
    "stats": {"totalPayed": 4900.5, "totalBilled": 0, "totalVisited": 0, "totalBurned": 0},
}
SUBSCRIPTION = {"id": 12, "name": "Абонемент «8 занятий»", "visitCount": 8, "price": 5000}
COURSES = [{"id": 100, "name": "Акварель", "courseType": "course"}, {"id": 101, "name": "Лепка"}]
PAYMENT_TYPES = [{"id": 2, "name": "Онлайн"}, {"id": 3, "name": "Терминал"}]


def record(bill_id: int, day: str = "2026-11-20", summa: Any = 612.56, **changes: Any) -> dict[str, Any]:
    """One lesson that was charged to the subscription."""
    return {
        "id": bill_id * 10,
        "userId": 300,
        "lessonId": 4,
        "visit": True,
        "yield": 612.56,
        "bill": {
            "id": bill_id,
            "date": day,
            "summa": summa,
            "lessonsCount": 1,
            "lessonRecordId": bill_id * 10,
            "userSubscriptionId": 1504,
        },
        "lesson": {"id": 4, "date": day, "filialId": 1, "classId": 7, "status": 1},
        "userSubscription": USER_SUBSCRIPTION,
    } | changes


def hint(event: str, payment_id: Any, member: str = "paymentId") -> bytes:
    """A webhook about a payment."""
    return json.dumps({"event": event, "object": {member: payment_id, "userId": 300}}).encode()


def _post(body: bytes) -> InboundRequest:
    return InboundRequest("POST", "webhook", "", {"content-type": "application/json"}, body)


_ID = INCOME["id"]
_READ: dict[str, tuple[int, Any]] = {
    "/auth/getToken": (200, TOKEN),
    f"/payments/{_ID}": (200, INCOME),
    "/users/300": (200, PUPIL),
    "/userSubscriptions/1504": (200, USER_SUBSCRIPTION),
    "/subscriptions/12": (200, SUBSCRIPTION),
    "/courses": (200, COURSES),
    "/paymentTypes": (200, PAYMENT_TYPES),
}

SHOWN = Shown(
    credentials={"api_key": API_KEY},
    secrets=("api_key",),
    settings={
        "payment_types": {"2": {"kind": "electronic", "internet": True}},
        "balance_method": "advance",
        "settle": "off",
    },
    good=_post(hint("payment_new", _ID)),
    event=(EventType.PAYMENT_SUCCEEDED, str(_ID), 490_050),
    unknown=_post(hint("lesson_changed", _ID)),
    reply=InboundReply(200, b"OK", "text/plain"),
    api=_READ,
    refused=_READ | {f"/payments/{_ID}": (500, {})},
    differs=_READ | {f"/payments/{_ID}": (200, INCOME | {"optype": "debit"})},
    base_url="https://api.moyklass.test",
    lacks={
        "bad-signature": "Nothing is signed: the secret of the address and the read-back stand for it.",
        "no-secret": "A hint needs no key to be taken, and without one nothing could be read back.",
    },
)
