"""Receipts as rows, and what the worker must know to act on one."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Self
from uuid import UUID

from sqlalchemy import ARRAY, Uuid, any_, bindparam, select, text, update

from app.db.tables import attempts, receipts
from app.db.unit_of_work import Tx


class ReceiptRow(NamedTuple):
    """One receipt as stored; `customer` is sealed, `document` lacks the customer, jsonb members are parsed.

    `limit_at`: when a receipt that was never sent is held as late; `alarm_at`: when people are told next that it is not
    there yet. `contact_fallback`: it went to the merchant's own address. `correction_draft`: what correction it could
    become, from the moment at which it was held as late. `remarks`: the notes and adjustments of its plan, None when
    there are none. `nomenclature`: what rules did to its lines, and in which version.
    """

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
    provider_reference: str | None
    operation: str
    correction: bool
    status: str
    sequence: int
    total: int
    currency: str
    taxation: str | None
    order_id: str | None
    external_id: str | None
    document: dict[str, Any] | None
    customer: bytes | None
    items_origin: str | None
    fn: str | None
    fd: int | None
    fpd: str | None
    fiscal: dict[str, Any] | None
    failure: dict[str, Any] | None
    metadata: dict[str, Any]
    marks: int
    first_marked_at: datetime | None
    due_at: datetime | None
    created_at: datetime
    updated_at: datetime
    limit_at: datetime | None = None
    alarm_at: datetime | None = None
    contact_fallback: bool = False
    correction_draft: dict[str, Any] | None = None
    remarks: dict[str, Any] | None = None
    nomenclature: dict[str, Any] | None = None

    def changed(self, **members: Any) -> Self:
        """A copy with other members; the database is not touched."""
        return self._replace(**members)


RECEIPT_COLUMNS = tuple(receipts.c[name] for name in ReceiptRow._fields)


_BY_IDS = select(*RECEIPT_COLUMNS).where(receipts.c.id == any_(bindparam("ids", type_=ARRAY(Uuid))))
"""An array, so that the statement is the same for every number of them and stays prepared."""


async def by_ids(tx: Tx, ids: Sequence[UUID]) -> dict[UUID, ReceiptRow]:
    """Receipts for the worker, of any merchant: the jobs name them."""
    found = await tx.execute(_BY_IDS, {"ids": list(ids)})
    return {row[0]: ReceiptRow(*row) for row in found}


async def by_id(tx: Tx, merchant_id: UUID, receipt_id: UUID, *, lock: bool = False) -> ReceiptRow | None:
    """One receipt of one merchant, locked until the transaction ends if asked for."""
    query = select(*RECEIPT_COLUMNS).where(receipts.c.merchant_id == merchant_id, receipts.c.id == receipt_id)
    row = (await tx.execute(query.with_for_update() if lock else query)).one_or_none()
    return None if row is None else ReceiptRow(**row._mapping)


async def of_event(tx: Tx, merchant_id: UUID, event_id: UUID) -> list[ReceiptRow]:
    found = await tx.execute(
        select(*RECEIPT_COLUMNS)
        .where(receipts.c.merchant_id == merchant_id, receipts.c.event_id == event_id)
        .order_by(receipts.c.number)
    )
    return [ReceiptRow(**row._mapping) for row in found]


async def of_chain(tx: Tx, merchant_id: UUID, chain_id: UUID) -> list[ReceiptRow]:
    """All receipts of a payment, in their order; the caller holds the chain's lock."""
    found = await tx.execute(
        select(*RECEIPT_COLUMNS)
        .where(receipts.c.merchant_id == merchant_id, receipts.c.chain_id == chain_id)
        .order_by(receipts.c.created_at, receipts.c.id)
    )
    return [ReceiptRow(**row._mapping) for row in found]


async def holds(tx: Tx, merchant_id: UUID, chain_id: UUID) -> bool:
    """Whether a receipt of this payment is held."""
    held = select(receipts.c.id).where(
        receipts.c.merchant_id == merchant_id, receipts.c.chain_id == chain_id, receipts.c.status == "held"
    )
    return (await tx.execute(held.limit(1))).first() is not None


@dataclass(frozen=True, slots=True)
class EarlierAttempts:
    """What is left unproven of a receipt: submits under its present id, and ids of earlier versions.

    `evidence`: a submit or a look-up said that the provider has a document under the present id. `undecided_ids`: of
    the earlier ids those that the provider itself has not refused.
    """

    unproven: int
    evidence: bool
    earlier_ids: tuple[str, ...]
    undecided_ids: tuple[str, ...]
    first_marked_at: datetime | None


EVIDENCE = "('accepted', 'pending', 'fiscalized')"
"""Outcomes by which a provider said that it has the document, as SQL."""

_EARLIER = text(f"""
SELECT
  count(*) FILTER (WHERE kind = 'submit' AND provider_id = :pid AND NOT proven_absent
    AND coalesce(outcome, 'unknown') NOT IN ('unavailable', 'rejected')) AS unproven,
  coalesce(bool_or(provider_id = :pid AND NOT proven_absent AND outcome IN {EVIDENCE}), false) AS evidence,
  array_agg(DISTINCT provider_id) FILTER (WHERE kind = 'submit' AND provider_id <> :pid AND NOT proven_absent)
    AS earlier,
  array_agg(DISTINCT provider_id) FILTER (WHERE kind = 'submit' AND provider_id <> :pid AND NOT proven_absent
    AND coalesce(outcome, 'unknown') NOT IN ('unavailable', 'rejected')
    AND NOT (outcome = 'accepted' AND EXISTS (SELECT 1 FROM attempts told WHERE told.receipt_id = :rid
      AND told.provider_id = attempts.provider_id AND told.kind = 'poll' AND told.outcome = 'rejected')))
    AS undecided,
  min(marked_at) FILTER (WHERE kind = 'submit') AS first_marked_at
FROM attempts WHERE receipt_id = :rid AND (CAST(:me AS uuid) IS NULL OR id <> :me)
""")


async def earlier_attempts(
    tx: Tx, receipt_id: UUID, provider_id: str, *, besides: UUID | None = None
) -> EarlierAttempts:
    """What exchanges of this receipt other than `besides` left, as far as nobody has proven it unregistered."""
    row = (await tx.execute(_EARLIER, {"rid": receipt_id, "pid": provider_id, "me": besides})).one()
    return EarlierAttempts(
        row.unproven,
        row.evidence,
        tuple(sorted(row.earlier or ())),
        tuple(sorted(row.undecided or ())),
        row.first_marked_at,
    )


async def vouch_absent(tx: Tx, receipt_id: UUID) -> None:
    """A person says that nothing was registered: earlier submits no longer stand in the way."""
    await tx.execute(update(attempts).where(attempts.c.receipt_id == receipt_id).values(proven_absent=True))
