"""Rows as typed values: what services hand to statements, and what statements hand back."""

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from datetime import datetime
from operator import attrgetter
from types import NoneType
from typing import Any, get_args
from uuid import UUID


@dataclass(frozen=True, slots=True)
class NewReceipt:
    """A receipt as it is first stored; jsonb members are JSON text, `customer` is sealed."""

    id: UUID
    merchant_id: UUID
    branch_id: UUID | None
    kassa_id: UUID | None
    source_id: UUID
    event_id: UUID | None
    chain_id: UUID | None
    number: int
    version: int
    provider_id: str
    operation: str
    correction: bool
    status: str
    sequence: int
    total: int
    taxation: str | None
    order_id: str | None
    external_id: str | None
    document: str | None
    customer: bytes | None
    email_hash: bytes | None
    phone_hash: bytes | None
    phone_tail_hash: bytes | None
    items_origin: str | None
    failure: str | None
    metadata: str
    due_at: datetime | None
    created_at: datetime
    limit_at: datetime | None = None
    alarm_at: datetime | None = None
    contact_fallback: bool = False
    remarks: str | None = None
    nomenclature: str | None = None


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message about a receipt with its frozen body."""

    id: UUID
    merchant_id: UUID
    receipt_id: UUID | None
    type: str
    sequence: int | None
    body: bytes
    created_at: datetime


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event as intake accepts it. `chain_payment_id` names its chain, `sold` what it adds to it (kopecks).

    `claims_key`: its settlement key stands for a receipt, made here or by the source itself. `links_own`: its source
    speaks for several systems, so its own second report of a key may be the same money.
    """

    id: UUID
    merchant_id: UUID
    source_id: UUID
    type: str
    external_id: str
    content_hash: bytes
    payment_id: str | None
    order_id: str | None
    settlement_key: str | None
    chain_id: UUID | None
    chain_payment_id: str | None
    sold: int
    status: str
    reason: str | None
    amount: int
    currency: str
    occurred_at: datetime
    payload: bytes
    metadata: str
    test: bool
    received_at: datetime
    actor: str
    claims_key: bool = True
    links_own: bool = False


@dataclass(frozen=True, slots=True)
class Acceptance:
    """One event with everything that is stored beside it in T1."""

    event: NewEvent
    receipts: tuple[NewReceipt, ...] = ()
    messages: tuple[NewMessage, ...] = ()


@dataclass(frozen=True, slots=True)
class Accepted:
    """T1's verdict: `fresh` was stored now; otherwise `event_id` is the event that came first under this identity.

    `linked`: another event has reported this money. `clashes`: another one has its settlement key, and contradicts.
    """

    event_id: UUID
    fresh: bool
    linked: bool = False
    same_content: bool = True
    clashes: bool = False


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """One line of the history of an event or a receipt; `data` holds no secret and no buyer contact."""

    what: str
    actor: str
    status: str | None = None
    data: dict[str, Any] = field(default_factory=dict)


def columns(kind: type, rows: Iterable[Any]) -> list[list[Any]]:
    """Rows of a dataclass turned into one array per member, in the order of its declaration."""
    names = [f.name for f in fields(kind)]
    return [list(column) for column in zip(*map(attrgetter(*names), rows), strict=True)] or [[] for _ in names]


def names(kind: type) -> str:
    """Member names of a dataclass as an SQL column list."""
    return ", ".join(f.name for f in fields(kind))


_SQL_TYPES: dict[Any, str] = {
    UUID: "uuid",
    str: "text",
    int: "bigint",
    bool: "boolean",
    float: "double precision",
    bytes: "bytea",
    datetime: "timestamptz",
}


def unnest(kind: type, first: int) -> str:
    """`unnest($n::uuid[], …) AS x(id, …)` for the members of a dataclass, parameters counted from `first`."""
    arrays = []
    for offset, member in enumerate(fields(kind)):
        kinds = [kind for kind in (get_args(member.type) or (member.type,)) if kind is not NoneType]
        arrays.append(f"${first + offset}::{_SQL_TYPES[kinds[0]]}[]")
    return f"unnest({', '.join(arrays)})"
