"""What the CRM's answers say, read into plain values: ids are whole, sums are kopecks, days are dates."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from app.infra.foreign_json import printable

_NUMBER = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,2})?")
_KOPECK = Decimal("0.01")
_MOST = Decimal(10**10)

INCOME, REFUND, DEBIT = "income", "refund", "debit"
OVER = 4
"""statusId of a subscription that has ended."""


class Unreadable(Exception):
    """An answer lacks what every such answer has; the sentence names the member and no value."""


@dataclass(frozen=True, slots=True)
class Payment:
    """One payment; `amount` is above zero whatever its direction, for that is what `optype` says."""

    id: int
    user_id: int
    day: date
    amount: int
    optype: str
    user_subscription_id: int | None
    filial_id: int | None
    payment_type_id: int | None
    invoice_id: int | None


@dataclass(frozen=True, slots=True)
class Pupil:
    """Who the money is for; `attributes` are the texts by their alias."""

    name: str | None
    email: str | None
    phone: str | None
    attributes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class UserSubscription:
    """A subscription as one pupil has it; `kind` is the subscription that is sold under a name."""

    id: int
    user_id: int | None
    kind: int
    price: int | None
    course_ids: tuple[int, ...]
    sold: date | None
    begins: date | None
    over: date | None
    status: int | None
    billed: int
    burned: int


@dataclass(frozen=True, slots=True)
class Charge:
    """A lesson held that was charged to a pupil. `account` is whose money it was: a family's subscription has one
    owner."""

    bill_id: int
    account: int
    day: date
    amount: int
    user_subscription_id: int | None
    kind: int | None
    sold: date | None
    filial_id: int | None


def number(text: str) -> Decimal:
    """An exact decimal of a sane size. ValueError otherwise."""
    if not _NUMBER.fullmatch(text) or not -40 <= (found := Decimal(text)).adjusted() <= 18:
        raise ValueError("a number is out of range or no number")
    return found


def payment(row: Mapping[str, Any]) -> Payment:
    """Of a list or read alone. Unreadable."""
    return Payment(
        id=_id(row, "id"),
        user_id=_id(row, "userId"),
        day=_day(row, "date"),
        amount=abs(money(row, "summa")),
        optype=str(row.get("optype") or ""),
        user_subscription_id=_id_or_none(row, "userSubscriptionId"),
        filial_id=_id_or_none(row, "filialId"),
        payment_type_id=_id_or_none(row, "paymentTypeId"),
        invoice_id=_id_or_none(row, "invoiceId"),
    )


def pupil(row: Mapping[str, Any]) -> Pupil:
    attributes = {}
    for one in _rows(row, "attributes"):
        alias, value = text(one.get("attributeAlias")), text(one.get("value"))
        if alias and value:
            attributes[alias] = value
    return Pupil(text(row.get("name")), text(row.get("email")), text(row.get("phone")), attributes)


def user_subscription(row: Mapping[str, Any]) -> UserSubscription:
    """Unreadable without its id and kind."""
    stats = row.get("stats")
    stats = stats if isinstance(stats, dict) else {}
    courses = row.get("courseIds")
    return UserSubscription(
        id=_id(row, "id"),
        user_id=_id_or_none(row, "userId"),
        kind=_id(row, "subscriptionId"),
        price=None if row.get("price") is None else money(row, "price"),
        course_ids=tuple(one for one in courses if isinstance(one, int)) if isinstance(courses, list) else (),
        sold=_day_or_none(row, "sellDate"),
        begins=_day_or_none(row, "beginDate"),
        over=_day_or_none(row, "overDate") or _day_or_none(row, "endDate"),
        status=_id_or_none(row, "statusId"),
        billed=0 if stats.get("totalBilled") is None else money(stats, "totalBilled"),
        burned=_id_or_none(stats, "totalBurned") or 0,
    )


def charge(record: Mapping[str, Any]) -> Charge | None:
    """The charge of a lesson record; None where nothing was charged. Unreadable.

    A bill without a sum counts at `yield`, the CRM's own price of a lesson (unconfirmed: no page says when it is so).
    """
    bill = record.get("bill")
    if not isinstance(bill, dict) or not bill:
        return None
    lesson = record.get("lesson")
    lesson = lesson if isinstance(lesson, dict) else {}
    owned = record.get("userSubscription")
    owned = owned if isinstance(owned, dict) else {}
    if bill.get("summa") is not None:
        amount = money(bill, "summa")
    elif record.get("yield") is not None:
        amount = money(record, "yield") * (_id_or_none(bill, "lessonsCount") or 1)
    else:
        amount = 0
    if amount == 0:
        return None
    return Charge(
        bill_id=_id(bill, "id"),
        account=_id_or_none(owned, "userId") or _id(record, "userId"),
        day=_day_or_none(lesson, "date") or _day(bill, "date"),
        amount=abs(amount),
        user_subscription_id=_id_or_none(bill, "userSubscriptionId"),
        kind=_id_or_none(owned, "subscriptionId"),
        sold=_day_or_none(owned, "sellDate"),
        filial_id=_id_or_none(lesson, "filialId"),
    )


def money(row: Mapping[str, Any], name: str) -> int:
    """Roubles, a double in the CRM, as kopecks, halves up."""
    value = row.get(name)
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise Unreadable(f"{name} is no sum")
    exact = Decimal(value)
    if abs(exact) > _MOST:
        raise Unreadable(f"{name} is out of range")
    return int(exact.quantize(_KOPECK, ROUND_HALF_UP).scaleb(2))


def text(value: object) -> str | None:
    """One line of printable text, or None."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return printable(str(value)) or None


def _rows(row: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    found = row.get(name)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _id(row: Mapping[str, Any], name: str) -> int:
    found = _id_or_none(row, name)
    if found is None:
        raise Unreadable(f"{name} is no id")
    return found


def _id_or_none(row: Mapping[str, Any], name: str) -> int | None:
    value = row.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _day(row: Mapping[str, Any], name: str) -> date:
    found = _day_or_none(row, name)
    if found is None:
        raise Unreadable(f"{name} is no date")
    return found


def _day_or_none(row: Mapping[str, Any], name: str) -> date | None:
    value = row.get(name)
    try:
        return date.fromisoformat(value[:10]) if isinstance(value, str) else None
    except ValueError:
        return None
