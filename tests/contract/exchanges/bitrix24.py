"""What a Bitrix24 portal puts on the wire: checks of every type, in PHP's form and in JSON, and its REST answers."""

import json
from typing import Any
from urllib.parse import quote_plus

from app.domain.event import EventType
from app.ports.inbound import InboundReply, InboundRequest
from tests.contract.source_scenarios import Shown

TOKEN = "made_up_cashbox_token_01"
PORTAL = "shop.bitrix24.example"
WEBHOOK = f"https://{PORTAL}/rest/1/made0up0code"
FORM = "application/x-www-form-urlencoded"
JSON = "application/json"

KEY = f"check|{PORTAL}|77"
UUID = f"p:{KEY}"

PARAMS = {"CRM_KASSA": {"TOKEN": TOKEN}}

ITEM: dict[str, Any] = {
    "entity": "",
    "name": "Чай «Байховый»",
    "base_price": "600.0000",
    "price": "500",
    "sum": "1000",
    "currency": "RUB",
    "quantity": "2",
    "measure_code": "796",
    "vat": "3",
    "vat_sum": "180.33",
    "payment_object": "commodity",
    "payment_method": "full_payment",
    "nomenclature_code": "",
    "marking_code": "",
    "barcode": "",
    "discount": {"discount": "200", "discount_type": "C"},
    "properties": [],
}
DELIVERY: dict[str, Any] = {
    "name": "Доставка курьером",
    "base_price": "300",
    "price": "300",
    "sum": "300",
    "currency": "RUB",
    "quantity": "1",
    "vat": "0",
    "payment_object": "service",
    "payment_method": "full_payment",
}
CHECK: dict[str, Any] = {
    "type": "sell",
    "calculated_sign": "income",
    "unique_id": "77",
    "uuid": KEY,
    "date_create": "1795421700",
    "items": [ITEM, DELIVERY],
    "payments": [{"type": "cashless", "is_cash": "N", "sum": "1300", "currency": "RUB"}],
    "client_email": "anna@example.org",
    "client_phone": "8 (999) 000-00-00",
    "total_sum": "1300",
    "number_kkm": "",
    "service_email": "boss@example.org",
    "cashbox_params": PARAMS,
    "additional_params": [],
}

TYPES = {
    "sell": ("payment.succeeded", "full_payment", "cashless"),
    "sellreturn": ("refund.succeeded", "full_payment", "cashless"),
    "sellreturncash": ("refund.succeeded", "full_payment", "cash"),
    "advancepayment": ("payment.succeeded", "advance", "cashless"),
    "advancereturn": ("refund.succeeded", "advance", "cashless"),
    "advancereturncash": ("refund.succeeded", "advance", "cash"),
    "prepayment": ("payment.succeeded", "prepayment", "cashless"),
    "prepaymentreturn": ("refund.succeeded", "prepayment", "cashless"),
    "prepaymentreturncash": ("refund.succeeded", "prepayment", "cash"),
    "fullprepayment": ("payment.succeeded", "full_prepayment", "cashless"),
    "fullprepaymentreturn": ("refund.succeeded", "full_prepayment", "cashless"),
    "fullprepaymentreturncash": ("refund.succeeded", "full_prepayment", "cash"),
    "credit": ("payment.succeeded", "credit", "credit"),
    "creditreturn": ("refund.succeeded", "credit", "credit"),
    "creditpayment": ("payment.succeeded", "credit_payment", "cashless"),
    "creditpaymentreturn": ("refund.succeeded", "credit_payment", "cashless"),
    "creditpaymentreturncash": ("refund.succeeded", "credit_payment", "cash"),
}
"""Type of check → our event, the portal's method (tag 1214) and its word for the payment."""


def check(**changes: Any) -> dict[str, Any]:
    """The check with other members; None takes one away."""
    return {name: value for name, value in (CHECK | changes).items() if value is not None}


def one_line(**changes: Any) -> dict[str, Any]:
    """A check of the tea alone, changed, and paid to the kopeck."""
    item = ITEM | changes
    return check(items=[item], payments=[{"type": "cashless", "sum": item["sum"]}], total_sum=item["sum"])


def of_type(name: str) -> dict[str, Any]:
    """A check of this type as the portal builds it; of a return the method may be missing."""
    kind, method, paid = TYPES[name]
    returns = kind == "refund.succeeded"
    bare = name.startswith("creditpaymentreturn")
    item = ITEM | {"payment_method": "" if bare else method}
    if name.startswith("advance"):
        item |= {"name": "Авансовый платёж", "payment_object": "payment", "quantity": "1", "price": "1000"}
    return check(
        type=name,
        calculated_sign="consumption" if returns else "income",
        items=[item],
        payments=[{"type": paid, "is_cash": "Y" if paid == "cash" else "N", "sum": "1000", "currency": "RUB"}],
        total_sum="1000",
    )


def form(post: dict[str, Any]) -> bytes:
    """As PHP's `http_build_query` writes it: empty lists vanish, true is 1 and false is nothing."""
    return "&".join(f"{quote_plus(name)}={quote_plus(value)}" for name, value in _fields(post, "")).encode()


def as_json(post: dict[str, Any]) -> bytes:
    """As the portal's pages print it: sums are numbers."""
    return json.dumps(_numbers(post), ensure_ascii=False).encode()


def _fields(value: Any, name: str) -> list[tuple[str, str]]:
    match value:
        case dict():
            pairs: Any = value.items()
        case list():
            pairs = enumerate(value)
        case bool():
            return [(name, "1" if value else "")]
        case None:
            return []
        case _:
            return [(name, str(value))]
    return [field for key, member in pairs for field in _fields(member, f"{name}[{key}]" if name else str(key))]


def _numbers(value: Any, name: str = "") -> Any:
    match value:
        case dict():
            return {key: _numbers(member, key) for key, member in value.items()}
        case list():
            return [_numbers(member) for member in value]
        case str() if name in ("price", "sum", "total_sum", "quantity", "date_create", "vat", "unique_id"):
            return float(value) if "." in value else int(value)
        case _:
            return value


VAT_22 = {"result": {"vat": {"id": 3, "name": "НДС 22%", "rate": 22, "active": "Y", "sort": 100}}}
VAT_0 = {"result": {"vat": {"id": 4, "name": "НДС 0%", "rate": 0, "active": "Y"}}}
VAT_NONE = {"result": {"vat": {"id": 5, "name": "Без НДС", "rate": None, "active": "Y"}}}
DENIED = {"error": "insufficient_scope", "error_description": "The request requires higher privileges"}
NOT_FOUND = {"error": "ERROR_CHECK_NOT_FOUND", "error_description": "Check not found"}


def _post(post: dict[str, Any]) -> InboundRequest:
    return InboundRequest("POST", "print", "", {"content-type": FORM}, form(post))


SHOWN = Shown(
    credentials={"token": TOKEN, "portal_webhook": WEBHOOK},
    secrets=("token",),
    settings={"vat_zero": "none", "portal": PORTAL},
    good=_post(CHECK),
    event=(EventType.PAYMENT_SUCCEEDED, KEY, 130_000),
    unknown=_post(check(type="unheard_of")),
    reply=InboundReply(200, f'{{"UUID":"{UUID}"}}'.encode(), "application/json"),
    forged=(
        _post(check(cashbox_params=None)),
        _post(check(cashbox_params={"CRM_KASSA": {"TOKEN": f"{TOKEN}x"}})),
        _post(check(uuid="check|another.example|77")),
    ),
    api={"/catalog.vat.get": (200, VAT_22)},
    refused={"/catalog.vat.get": (403, DENIED)},
    differs={"/catalog.vat.get": (200, VAT_0 | {"result": {"vat": {"id": 9, "name": "?", "rate": 13}}})},
)
