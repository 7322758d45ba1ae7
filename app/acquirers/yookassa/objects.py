"""Payments and refunds as YooKassa's API tells them, read into events. A notification and the poll pass through the
same reading, so that both tell the same of one payment."""

import re
from datetime import UTC, datetime
from typing import Any, Final

from app.acquirers.yookassa import metadata
from app.acquirers.yookassa.config import Settings
from app.domain.event import EventType, PaymentEvent
from app.domain.money import kopecks
from app.infra.foreign_json import member, one_line
from app.ports.source import Alarm, Parsed

_ID: Final = re.compile(r"[0-9A-Za-z-]{1,64}")
_REGISTERED: Final = ("pending", "succeeded")
"""Values of `receipt_registration` that say that a receipt is being made or made; `canceled` says that none was."""


class Unreadable(Exception):
    """YooKassa says that money moved, and yet it cannot become an event: a person must see it."""

    def __init__(self, reason: str, reason_ru: str) -> None:
        super().__init__(reason)
        self.reason, self.reason_ru = reason, reason_ru


def is_id(text: str) -> bool:
    """Whether this can be an id of YooKassa, to be put into a path."""
    return _ID.fullmatch(text) is not None


def payment(found: dict[str, Any], shop_id: str, settings: Settings) -> Parsed:
    """A payment as it was read: an event when the money was taken, else why there is none."""
    if other := _elsewhere(found, shop_id):
        return Parsed(note=other)
    status = one_line(found.get("status"))[:40]
    if status != "succeeded" or found.get("paid") is not True:
        return Parsed(note=f"the payment is {status or 'without status'} at YooKassa: no money was taken")
    warnings: list[str] = []
    amount = _amount(found)
    said = _metadata(found)
    items = metadata.lines(said, amount, warnings) if settings.items_from_metadata else ()
    event = PaymentEvent(
        type=EventType.PAYMENT_SUCCEEDED,
        external_id=_id(found, "id"),
        amount=amount,
        occurred_at=_moment(found, "captured_at", "created_at"),
        order_id=metadata.word(said, "order_id"),
        customer=metadata.customer(said, found.get("merchant_customer_id"), warnings),
        items=items,
        items_origin="event" if items else None,
        branch=metadata.word(said, "branch"),
        delivered=metadata.delivered(said, warnings),
        description=one_line(found.get("description")) or None,
        metadata=metadata.kept(said, payment_method=one_line(member(found, "payment_method", "type"))[:40]),
        test=found.get("test") is True,
    )
    return _told(found, event, settings, warnings)


def refund(found: dict[str, Any], paid: dict[str, Any], shop_id: str, settings: Settings) -> Parsed:
    """A refund as it was read, with its payment: the refund itself tells neither the shop, nor the order, nor whether
    it is a test."""
    if other := _elsewhere(paid, shop_id):
        return Parsed(note=other)
    status = one_line(found.get("status"))[:40]
    if status != "succeeded":
        return Parsed(note=f"the refund is {status or 'without status'} at YooKassa: nothing was returned")
    said = _metadata(paid)
    event = PaymentEvent(
        type=EventType.REFUND_SUCCEEDED,
        external_id=_id(found, "id"),
        amount=_amount(found),
        occurred_at=_moment(found, "created_at"),
        payment_id=_id(found, "payment_id"),
        order_id=metadata.word(said, "order_id"),
        description=one_line(found.get("description")) or None,
        metadata=metadata.kept(said),
        test=paid.get("test") is True,
    )
    return _told(found, event, settings, [])


def _told(found: dict[str, Any], event: PaymentEvent, settings: Settings, warnings: list[str]) -> Parsed:
    registered = one_line(found.get("receipt_registration"))
    if settings.acquirer_fiscalizes or registered not in _REGISTERED:
        return Parsed(events=(event,), warnings=tuple(warnings))
    alarm = Alarm(
        event.type,
        event.external_id,
        "fiscalized_twice",
        f"YooKassa makes a receipt of this itself (receipt_registration: {registered}), and so do we: the buyer gets "
        "two. Switch one of them off, and undo the second receipt by a correction.",
        f"ЮKassa сама формирует чек (receipt_registration: {registered}), и мы тоже: покупатель получит два чека. "
        "Отключите один из них и исправьте второй чек коррекцией.",
    )
    return Parsed(events=(event,), warnings=(*warnings, alarm.reason), alarms=(alarm,))


def _elsewhere(paid: dict[str, Any], shop_id: str) -> str | None:
    """Why this payment is not of our shop; None when it is. An answer without a recipient is of nobody."""
    account = one_line(member(paid, "recipient", "account_id"))[:40]
    if account == shop_id:
        return None
    return f"the payment is of another shop ({account or 'not named'}), not of {shop_id}"


def _metadata(found: dict[str, Any]) -> dict[str, Any]:
    said = found.get("metadata")
    return said if isinstance(said, dict) else {}


def amount_of(found: Any) -> int | None:
    """Kopecks of an object, None where they cannot be read or are no roubles."""
    if one_line(member(found, "amount", "currency")) != "RUB":
        return None
    try:
        return kopecks(one_line(member(found, "amount", "value")))
    except ValueError:
        return None


def _amount(found: dict[str, Any]) -> int:
    """Receipts are in roubles (54-FZ): another currency is for a person."""
    currency = one_line(member(found, "amount", "currency"))[:8]
    if currency != "RUB":
        raise Unreadable(
            f"the sum is in {currency or 'no currency'}; receipts are made in roubles",
            f"сумма не в рублях ({currency or 'валюта не названа'}), а чеки бывают только в рублях",
        )
    amount = amount_of(found)
    if amount is None or amount <= 0:
        raise Unreadable("amount.value is no sum above zero", "amount.value — не сумма больше нуля")
    return amount


def payment_id_of(refund: dict[str, Any]) -> str:
    """The payment that a refund names. Unreadable where it names none."""
    return _id(refund, "payment_id")


def _id(found: dict[str, Any], name: str) -> str:
    value = one_line(found.get(name))
    if not is_id(value):
        raise Unreadable(f"{name} is no id", f"{name} — не идентификатор")
    return value


def _moment(found: dict[str, Any], *names: str) -> datetime:
    for name in names:
        try:
            moment = datetime.fromisoformat(one_line(found.get(name)))
        except ValueError:
            continue
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    raise Unreadable(f"{names[0]} is no moment", f"{names[0]} — не дата и время")
