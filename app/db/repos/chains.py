"""Chains: one row per payment, locked before anything is looked up in it."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select, text

from app.db.tables import chains, event_identities
from app.db.unit_of_work import Tx
from app.domain.event import EventType


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


async def lock(tx: Tx, merchant_id: UUID, chain_id: UUID) -> Chain | None:
    row = (
        await tx.execute(
            select(chains).where(chains.c.merchant_id == merchant_id, chains.c.id == chain_id).with_for_update()
        )
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
