"""Chains: one row per payment, locked before anything is looked up in it.

Three kinds have no payment of ours: the closings of an order that was paid in several payments, the returns of a sale
that another program printed, and a return whose source names no sale. Their `source_id` is the merchant's own id,
which no source has.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import select, text, update
from sqlalchemy.dialects.postgresql import insert

from app.db.tables import chains, event_identities, events, receipts
from app.db.unit_of_work import Tx
from app.domain.event import EventStatus, EventType


@dataclass(frozen=True, slots=True)
class Chain:
    """What was sold, refunded and settled under one payment, kopecks; the database holds refunded ≤ sold."""

    id: UUID
    merchant_id: UUID
    source_id: UUID
    payment_id: str
    sold: int
    refunded: int
    settled: int
    original: dict[str, Any] | None = None

    @property
    def of_order(self) -> bool:
        """The closings of a whole order: sells nothing itself, and draws on the payments' chains."""
        return self.source_id == self.merchant_id and self.payment_id.startswith(_ORDER)

    @property
    def of_return(self) -> bool:
        """One return alone, whose source names no sale."""
        return self.source_id == self.merchant_id and self.payment_id.startswith(_RETURN)


_ORDER = "order "
_DOCUMENT = "document "
_RETURN = "return "


def order_key(order_id: str) -> str:
    """What the chain of an order's closings is called."""
    return f"{_ORDER}{order_id}"


def document_key(fn: str, fd: int) -> str:
    """What the chain of a sale is called that another program printed: its fiscal document's own identity."""
    return f"{_DOCUMENT}{fn}/{fd}"


def return_key(source_id: UUID, external_id: str) -> str:
    """What the chain of a return is called that names no sale: by its own identity."""
    return f"{_RETURN}{source_id.hex} {external_id}"


async def ensure(tx: Tx, merchant_id: UUID, key: str, chain_id: UUID) -> UUID:
    """The chain that no source names, under this key; `chain_id` is its id when it is new."""
    await tx.execute(
        insert(chains)
        .values(id=chain_id, merchant_id=merchant_id, source_id=merchant_id, payment_id=key)
        .on_conflict_do_nothing(index_elements=["merchant_id", "source_id", "payment_id"])
    )
    found: UUID = (
        await tx.execute(
            select(chains.c.id).where(
                chains.c.merchant_id == merchant_id, chains.c.source_id == merchant_id, chains.c.payment_id == key
            )
        )
    ).scalar_one()
    return found


async def set_original(tx: Tx, merchant_id: UUID, chain_id: UUID, original: dict[str, Any], total: int) -> None:
    """Keep a sale that another program printed, so that its later returns respect what is left of it."""
    await tx.execute(
        update(chains)
        .where(chains.c.merchant_id == merchant_id, chains.c.id == chain_id)
        .values(original=original, sold=total)
    )


async def of_order(tx: Tx, merchant_id: UUID, order_id: str) -> list[UUID]:
    """The chains in which payments of this order were sold, in order of id."""
    found = await tx.execute(
        select(chains.c.id)
        .distinct()
        .join(receipts, receipts.c.chain_id == chains.c.id)
        .where(
            receipts.c.merchant_id == merchant_id,
            receipts.c.order_id == order_id,
            receipts.c.operation == "sell",
            chains.c.source_id != merchant_id,
        )
        .order_by(chains.c.id)
    )
    return list(found.scalars())


async def of_document(tx: Tx, merchant_id: UUID, fn: str, fd: int) -> UUID | None:
    """The chain of a sale that we printed ourselves under this number."""
    found: UUID | None = (
        await tx.execute(
            select(receipts.c.chain_id).where(
                receipts.c.merchant_id == merchant_id,
                receipts.c.fd == fd,
                receipts.c.fn == fn,
                receipts.c.operation == "sell",
                receipts.c.chain_id.is_not(None),
            )
        )
    ).scalar_one_or_none()
    return found


async def lock(tx: Tx, merchant_id: UUID, chain_id: UUID) -> Chain | None:
    row = (
        await tx.execute(
            select(chains).where(chains.c.merchant_id == merchant_id, chains.c.id == chain_id).with_for_update()
        )
    ).one_or_none()
    return None if row is None else Chain(**row._mapping)


async def by_id(tx: Tx, merchant_id: UUID, chain_id: UUID) -> Chain | None:
    """A chain as it is just now, without its lock: what is decided from it is decided again under the lock."""
    row = (
        await tx.execute(select(chains).where(chains.c.merchant_id == merchant_id, chains.c.id == chain_id))
    ).one_or_none()
    return None if row is None else Chain(**row._mapping)


async def sale_event(tx: Tx, chain: Chain) -> UUID | None:
    """The payment that this chain is named after; None while nobody has reported it."""
    found: UUID | None = (
        await tx.execute(
            select(event_identities.c.event_id).where(
                event_identities.c.merchant_id == chain.merchant_id,
                event_identities.c.source_id == chain.source_id,
                event_identities.c.type == EventType.PAYMENT_SUCCEEDED.value,
                event_identities.c.external_id == chain.payment_id,
            )
        )
    ).scalar_one_or_none()
    return found


async def reported_before(tx: Tx, merchant_id: UUID, chain_id: UUID, event_id: UUID) -> list[UUID]:
    """Events of this chain that wait for their plan and were reported before this one, in that order."""
    found = await tx.execute(
        select(events.c.id)
        .where(
            events.c.merchant_id == merchant_id,
            events.c.chain_id == chain_id,
            events.c.status == EventStatus.RECEIVED.value,
            events.c.id < event_id,
        )
        .order_by(events.c.id)
    )
    return list(found.scalars())


async def merchant_of(tx: Tx, chain_id: UUID) -> UUID | None:
    """For the worker: its job names a chain, of any merchant."""
    found: UUID | None = (
        await tx.execute(select(chains.c.merchant_id).where(chains.c.id == chain_id))
    ).scalar_one_or_none()
    return found


# A payment is searched in the refund's own source, then by settlement key; an event that was linked to another
# source's report stands for the chain of that report.
_FIND = text("""
WITH named AS (
  SELECT e.id, e.chain_id, e.settlement_key, 0 AS rank FROM event_identities i JOIN events e ON e.id = i.event_id
  WHERE i.merchant_id = :m AND i.source_id = :s AND i.type = 'payment.succeeded' AND i.external_id = :p
  UNION ALL
  SELECT e.id, e.chain_id, e.settlement_key, 1 FROM settlement_keys k JOIN events e ON e.id = k.event_id
  WHERE k.merchant_id = :m AND k.type = 'payment.succeeded' AND k.settlement_key = :p
)
SELECT coalesce(n.chain_id, o.chain_id) AS chain_id
FROM named n
LEFT JOIN settlement_keys k ON n.chain_id IS NULL AND k.merchant_id = :m AND k.type = 'payment.succeeded'
  AND k.settlement_key = n.settlement_key
LEFT JOIN events o ON o.id = k.event_id
ORDER BY n.rank LIMIT 1
""")


async def of_payment(tx: Tx, merchant_id: UUID, source_id: UUID, payment_id: str) -> UUID | None:
    """The chain in which this payment was sold; None when nobody has reported it."""
    found: UUID | None = (
        await tx.execute(_FIND, {"m": merchant_id, "s": source_id, "p": payment_id})
    ).scalar_one_or_none()
    return found
