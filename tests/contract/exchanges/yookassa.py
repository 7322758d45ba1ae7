"""What YooKassa puts on the wire: a payment, a refund, what is read back, and its refusals."""

import json
from typing import Any

from app.domain.event import EventType
from app.ports.inbound import InboundReply, InboundRequest
from tests.contract.source_scenarios import Shown

SHOP_ID = "100500"
SECRET = "live_made_up_key"
BASE = "https://api.yookassa.test/v3"
PAYMENT_ID = "2f1c0b6e-000f-5000-8000-1b1b1b1b1b1b"
REFUND_ID = "2f1c0b6e-0015-5000-9000-2c2c2c2c2c2c"

PAYMENT: dict[str, Any] = {
    "id": PAYMENT_ID,
    "status": "succeeded",
    "paid": True,
    "amount": {"value": "1990.00", "currency": "RUB"},
    "income_amount": {"value": "1934.28", "currency": "RUB"},
    "refunded_amount": {"value": "0.00", "currency": "RUB"},
    "captured_at": "2026-11-23T08:15:31.135Z",
    "created_at": "2026-11-23T08:15:07.129Z",
    "description": "Абонемент",
    "metadata": {
        "crm": "moyklass",
        "crm_payment_id": "777",
        "order_id": "inv-42",
        "email": "anna@example.org",
        "phone": "8 (999) 000-00-00",
    },
    "recipient": {"account_id": SHOP_ID, "gateway_id": "2000001"},
    "payment_method": {"type": "sbp", "id": PAYMENT_ID, "saved": False, "title": "SBP"},
    "refundable": True,
    "test": False,
}
REFUND: dict[str, Any] = {
    "id": REFUND_ID,
    "payment_id": PAYMENT_ID,
    "status": "succeeded",
    "created_at": "2026-11-24T10:00:00.000Z",
    "amount": {"value": "500.50", "currency": "RUB"},
    "description": "Возврат",
}
LINES = [
    {"name": "Занятие", "quantity": "8", "price": 200_00, "vat": "none", "payment_method": "full_prepayment"},
    {"name": "Учебник", "sku": "B-1", "price": 390_00, "payment_object": "commodity", "measure": "piece"},
]
"""1990.00 together."""

NOT_FOUND = (404, {"type": "error", "id": "made-up", "code": "not_found", "description": "Payment doesn't exist"})
UNAUTHORIZED = (401, {"type": "error", "id": "made-up", "code": "invalid_credentials", "description": "secret"})


def notice(event: str, about: dict[str, Any]) -> bytes:
    return json.dumps({"type": "notification", "event": event, "object": about}, ensure_ascii=False).encode()


def page(*items: dict[str, Any], cursor: str | None = None) -> dict[str, Any]:
    return {"type": "list", "items": list(items)} | ({"next_cursor": cursor} if cursor else {})


def with_metadata(**members: str) -> dict[str, Any]:
    return PAYMENT | {"metadata": PAYMENT["metadata"] | members}


def _post(body: bytes) -> InboundRequest:
    return InboundRequest("POST", "notify", "", {"content-type": "application/json"}, body)


_PAID = f"/payments/{PAYMENT_ID}"

SHOWN = Shown(
    credentials={"shop_id": SHOP_ID, "secret_key": SECRET},
    secrets=("secret_key",),
    settings={"acquirer_fiscalizes": False},
    good=_post(notice("payment.succeeded", PAYMENT)),
    event=(EventType.PAYMENT_SUCCEEDED, PAYMENT_ID, 199_000),
    unknown=_post(notice("payment.unheard_of", PAYMENT)),
    reply=InboundReply(200),
    api={_PAID: (200, PAYMENT)},
    refused={_PAID: UNAUTHORIZED},
    differs={_PAID: (200, PAYMENT | {"amount": {"value": "1.00", "currency": "RUB"}})},
    base_url=BASE,
    lacks={"bad-signature": "YooKassa signs nothing: the address's secret and the read-back stand for it."},
)
