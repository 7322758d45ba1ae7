"""What planning writes: the receipts of an event, a held one filled, and where the event stands now."""

import json
from typing import Any
from uuid import UUID

from sqlalchemy import and_, case, func, insert, or_, select, text, update

from app.db.records import NewReceipt
from app.db.repos.events import EVENT_COLUMNS, EventRow
from app.db.repos.receipts import ReceiptRow
from app.db.tables import chains, events, receipts
from app.db.unit_of_work import Tx

_JSON = frozenset({"document", "failure", "metadata", "remarks", "nomenclature"})


async def event(tx: Tx, event_id: UUID, *, lock: bool = True) -> EventRow | None:
    """An event for the worker, of any merchant: its job names it."""
    query = select(*EVENT_COLUMNS).where(events.c.id == event_id)
    row = (await tx.execute(query.with_for_update() if lock else query)).one_or_none()
    return None if row is None else EventRow(**row._mapping)


async def of_merchant(tx: Tx, merchant_id: UUID, event_id: UUID) -> EventRow | None:
    """One event of one merchant."""
    row = (
        await tx.execute(select(*EVENT_COLUMNS).where(events.c.merchant_id == merchant_id, events.c.id == event_id))
    ).one_or_none()
    return None if row is None else EventRow(**row._mapping)


async def add_receipt(tx: Tx, new: NewReceipt) -> None:
    """A receipt planned after intake."""
    values: dict[str, Any] = new._asdict()
    for name in _JSON:
        values[name] = None if values[name] is None else json.loads(values[name])
    await tx.execute(insert(receipts).values(**values, updated_at=new.created_at))


async def rewrite_receipt(tx: Tx, before: ReceiptRow, new: NewReceipt, *, sequence: int) -> bool:
    """Give a waiting receipt other content under its own id; False when it is no longer as it was read, or was sent
    once and would change its kassa."""
    found = await tx.execute(
        update(receipts)
        .where(
            receipts.c.merchant_id == before.merchant_id,
            receipts.c.id == before.id,
            receipts.c.status == before.status,
            receipts.c.sequence == before.sequence,
            # What was sent once is asked for where it was sent.
            or_(receipts.c.marks == 0, receipts.c.kassa_id.is_not_distinct_from(new.kassa_id)),
        )
        .values(
            kassa_id=new.kassa_id,
            branch_id=new.branch_id,
            chain_id=new.chain_id,
            version=new.version,
            provider_id=new.provider_id,
            # The provider's windows run from the first send under the present id.
            first_marked_at=case((receipts.c.version == new.version, receipts.c.first_marked_at)),
            operation=new.operation,
            correction=new.correction,
            status=new.status,
            sequence=sequence,
            total=new.total,
            taxation=new.taxation,
            document=None if new.document is None else json.loads(new.document),
            customer=new.customer,
            email_hash=new.email_hash,
            phone_hash=new.phone_hash,
            phone_tail_hash=new.phone_tail_hash,
            items_origin=new.items_origin,
            failure=None if new.failure is None else json.loads(new.failure),
            contact_fallback=new.contact_fallback,
            remarks=None if new.remarks is None else json.loads(new.remarks),
            nomenclature=None if new.nomenclature is None else json.loads(new.nomenclature),
            # Filled after its limit it has an hour: whoever filled it has just looked at it.
            limit_at=receipts.c.limit_at
            if new.status != "queued"
            else case(
                (
                    and_(receipts.c.status == "held", receipts.c.limit_at.is_not(None)),
                    func.greatest(receipts.c.limit_at, func.kassa_now() + text("interval '1 hour'")),
                ),
                else_=receipts.c.limit_at,
            ),
            updated_at=func.kassa_now(),
        )
        .returning(receipts.c.id)
    )
    return found.one_or_none() is not None


async def move_receipt(tx: Tx, before: ReceiptRow, after: ReceiptRow) -> None:
    """The next state of a receipt that the caller has locked."""
    await tx.execute(
        update(receipts)
        .where(receipts.c.merchant_id == before.merchant_id, receipts.c.id == before.id)
        .values(
            # A dict, because a column called `fn` collides with SQLAlchemy's own argument.
            {
                "status": after.status,
                "sequence": after.sequence,
                "failure": after.failure,
                "fiscal": after.fiscal,
                "fn": after.fn,
                "fd": after.fd,
                "fpd": after.fpd,
                "updated_at": after.updated_at,
            }
        )
    )


async def set_status(tx: Tx, row: ReceiptRow, status: str) -> None:
    """The same for a change that is not public."""
    await tx.execute(
        update(receipts)
        .where(receipts.c.merchant_id == row.merchant_id, receipts.c.id == row.id)
        .values(status=status, updated_at=func.kassa_now())
    )


async def set_event(
    tx: Tx, merchant_id: UUID, event_id: UUID, status: str, reason: dict[str, Any] | None, chain_id: UUID | None = None
) -> None:
    values: dict[str, Any] = {"status": status, "reason": reason}
    if chain_id is not None:
        values["chain_id"] = chain_id
    await tx.execute(
        update(events).where(events.c.merchant_id == merchant_id, events.c.id == event_id).values(**values)
    )


async def set_payload(
    tx: Tx, merchant_id: UUID, event_id: UUID, payload: bytes, amount: int, order_id: str | None
) -> None:
    """A person filled or corrected what the source had reported."""
    await tx.execute(
        update(events)
        .where(events.c.merchant_id == merchant_id, events.c.id == event_id)
        .values(payload=payload, amount=amount, order_id=order_id)
    )


async def set_totals(tx: Tx, chain_id: UUID, *, sold: int, refunded: int, settled: int) -> None:
    """What a locked chain sold, has given back and closed; the table's CHECKs have the last word."""
    await tx.execute(
        update(chains).where(chains.c.id == chain_id).values(sold=sold, refunded=refunded, settled=settled)
    )


# Refunds and closings that wait for something which may have come, and receipts whose turn came without a job: the
# net under the pipeline. Chains that are being worked on have their job already. Drawn at random, so that a thousand
# which wait for ever do not hide the others; in order of id, so that two sweeps do not block each other.
# Behind one that is on its way nobody's turn has come, and its end will give it.
_WAITING = text("""
SELECT chain_id, source_id FROM (
  SELECT chain_id, source_id FROM (
    SELECT DISTINCT ON (r.chain_id) r.chain_id, r.source_id FROM receipts r
    WHERE r.status IN ('held', 'queued') AND r.chain_id IS NOT NULL AND (
      (r.status = 'held' AND EXISTS (
        SELECT 1 FROM events e WHERE e.id = r.event_id AND e.type <> 'payment.succeeded'))
      OR (r.status = 'queued' AND r.updated_at < kassa_now() - :age * interval '1 second'
          AND NOT EXISTS (SELECT 1 FROM receipts o LEFT JOIN jobs j ON j.ref = o.id WHERE o.chain_id = r.chain_id
            AND (j.id IS NOT NULL OR o.status IN ('sending', 'accepted', 'unknown', 'needs_attention')))))
      AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.ref = r.chain_id)
    ORDER BY r.chain_id) waiting
  ORDER BY random() LIMIT :limit) drawn
ORDER BY chain_id
""")


async def chains_to_release(tx: Tx, *, age_seconds: float, limit: int = 1000) -> list[tuple[UUID, UUID]]:
    """(chain, source) pairs that a sweep should look at again."""
    found = await tx.execute(_WAITING, {"age": age_seconds, "limit": limit})
    return [(row.chain_id, row.source_id) for row in found]
