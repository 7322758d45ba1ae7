"""Settlement keys that are taken when a refund is planned: its source told no sum before, so intake could make none."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert

from app.db.tables import events, settlement_keys
from app.db.unit_of_work import Tx


@dataclass(frozen=True, slots=True)
class KeyRow:
    """Which event came first under a key, and which sources have told it."""

    settlement_key: str
    event_id: UUID
    sources: list[UUID]


async def among(tx: Tx, merchant_id: UUID, type: str, keys: Sequence[str]) -> dict[str, KeyRow]:
    """Those of these keys that were told; `tx` is the pipeline's, whose table it is."""
    found = await tx.execute(
        select(settlement_keys.c.settlement_key, settlement_keys.c.event_id, settlement_keys.c.sources).where(
            settlement_keys.c.merchant_id == merchant_id,
            settlement_keys.c.type == type,
            settlement_keys.c.settlement_key.in_(keys),
        )
    )
    return {row.settlement_key: KeyRow(*row) for row in found}


async def take(tx: Tx, merchant_id: UUID, type: str, key: str, event_id: UUID, source_id: UUID, amount: int) -> bool:
    """Own this key, so that another source's report of the same money is linked; False when somebody was quicker."""
    found = await tx.execute(
        insert(settlement_keys)
        .values(
            merchant_id=merchant_id,
            type=type,
            settlement_key=key,
            event_id=event_id,
            source_id=source_id,
            amount=amount,
            sources=[source_id],
        )
        .on_conflict_do_nothing(index_elements=["merchant_id", "type", "settlement_key"])
        .returning(settlement_keys.c.event_id)
    )
    return found.one_or_none() is not None


async def refunds_of(tx: Tx, merchant_id: UUID, source_id: UUID, payment_id: str) -> list[tuple[UUID, bytes]]:
    """Ids and sealed contents of all refunds that one source told of a payment."""
    found = await tx.execute(
        select(events.c.id, events.c.payload).where(
            events.c.merchant_id == merchant_id,
            events.c.source_id == source_id,
            events.c.type == "refund.succeeded",
            events.c.payment_id == payment_id,
        )
    )
    return [(row.id, row.payload) for row in found]


async def found_out(tx: Tx, merchant_id: UUID, event_id: UUID, amount: int, key: str | None) -> None:
    """The sum of a refund whose source told none, and the key that it took."""
    await tx.execute(
        update(events)
        .where(events.c.merchant_id == merchant_id, events.c.id == event_id)
        .values(amount=amount, **({} if key is None else {"settlement_key": key}))
    )
