"""The post of a check as a Bitrix24 portal builds it, and PHP's form of it."""

import secrets
from decimal import Decimal
from typing import Any
from urllib.parse import quote_plus


def plausible(
    type: str, items: list[dict[str, Any]] | None = None, payments: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    """What stands in a check of this type; without items a line of tea, without payments the kind that suits."""
    items = [_item(type)] if items is None else items
    total = str(sum((Decimal(str(item.get("sum", 0))) for item in items), Decimal(0)))
    paid = "credit" if type in ("credit", "creditreturn") else "cash" if type.endswith("cash") else "cashless"
    if payments is None:
        payments = [{"type": paid, "is_cash": "Y" if paid == "cash" else "N", "sum": total, "currency": "RUB"}]
    return {
        "type": type,
        "calculated_sign": "consumption" if "return" in type else "income",
        "items": items,
        "payments": payments,
        "client_phone": "",
        "total_sum": total,
        "additional_params": [],
    }


def php_form(post: dict[str, Any]) -> bytes:
    """As `http_build_query` writes it."""
    return "&".join(f"{quote_plus(name)}={quote_plus(value)}" for name, value in _fields(post, "")).encode()


def _item(type: str) -> dict[str, Any]:
    """A plausible line; a code of goods is drawn, for it is never the same."""
    method = next(
        (
            word
            for beginning, word in (
                ("advance", "advance"),
                ("fullprepayment", "full_prepayment"),
                ("prepayment", "prepayment"),
                ("creditpaymentreturn", ""),
                ("creditpayment", "credit_payment"),
                ("credit", "credit"),
            )
            if type.startswith(beginning)
        ),
        "full_payment",
    )
    return {
        "name": "Авансовый платёж" if method == "advance" else "Чай «Байховый»",
        "base_price": "600.0000",
        "price": "500",
        "sum": "500",
        "currency": "RUB",
        "quantity": "1",
        "measure_code": "796",
        "vat": "3",
        "payment_object": "payment" if method == "advance" else "commodity",
        "payment_method": method,
        "nomenclature_code": secrets.token_hex(8),
        "marking_code": "",
        "discount": {"discount": "100", "discount_type": "C"},
        "properties": [],
    }


def _fields(value: Any, name: str) -> list[tuple[str, str]]:
    """As `http_build_query` of PHP: nothing is left of null and of an empty list."""
    match value:
        case dict():
            return [one for key, each in value.items() for one in _fields(each, f"{name}[{key}]" if name else str(key))]
        case list():
            return [one for key, each in enumerate(value) for one in _fields(each, f"{name}[{key}]")]
        case None:
            return []
        case bool():
            return [(name, "1" if value else "0")]
        case _:
            return [(name, str(value))]
