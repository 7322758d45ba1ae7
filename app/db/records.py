"""Rows as typed values: what services hand to statements, and what statements hand back."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from types import NoneType, UnionType
from typing import Any, NamedTuple, TypeVar, cast, get_args, get_origin
from uuid import UUID

from pydantic_core import from_json


class NewReceipt(NamedTuple):
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


class NewMessage(NamedTuple):
    """A message about a receipt with its frozen body."""

    id: UUID
    merchant_id: UUID
    receipt_id: UUID | None
    type: str
    sequence: int | None
    body: bytes
    created_at: datetime


class NewEvent(NamedTuple):
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


Kind = type[NamedTuple]
"""A kind of rows: named tuples, made of a record's values as they stand, a batch of which turns into arrays."""

Row = TypeVar("Row", bound=tuple[Any, ...])


def columns(kind: Kind, rows: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Rows turned into one array per member, in the order of its declaration."""
    return list(zip(*rows, strict=True)) or [()] * len(kind._fields)


def names(kind: Kind) -> str:
    """Member names as an SQL column list."""
    return ", ".join(kind._fields)


_SQL_TYPES: dict[Any, str] = {
    UUID: "uuid",
    str: "text",
    int: "bigint",
    bool: "boolean",
    float: "double precision",
    bytes: "bytea",
    datetime: "timestamptz",
}


def unnest(kind: Kind, first: int) -> str:
    """`unnest($n::uuid[], …)` for the members of a kind of rows, parameters counted from `first`."""
    arrays = []
    for offset, member in enumerate(kind.__annotations__.values()):
        kinds = [kind for kind in _parts(member) if kind is not NoneType]
        arrays.append(f"${first + offset}::{_SQL_TYPES[kinds[0]]}[]")
    return f"unnest({', '.join(arrays)})"


def _parts(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if isinstance(annotation, UnionType) else (annotation,)


def json_members(kind: Kind) -> tuple[bool, ...]:
    """Which members are jsonb: objects, or null."""
    return tuple(any(get_origin(part) is dict for part in _parts(member)) for member in kind.__annotations__.values())


def reader(kind: type[Row]) -> Callable[[Iterable[Any]], Row]:
    """Makes rows of this kind from values in the order of its members.

    The engine's own connections decode JSON themselves; behind a pooler, and where it is cast, it comes as text.
    """
    documents = [place for place, is_json in enumerate(json_members(cast(Kind, kind))) if is_json]

    def read(record: Iterable[Any]) -> Row:
        values = list(record)
        for place in documents:
            if isinstance(values[place], str):
                values[place] = from_json(values[place])
        return kind(*values)

    return read
