"""One buyer of one merchant: where his contacts are kept, and taking them away. Fiscal members are not touched."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import ARRAY, LargeBinary, TextClause, Uuid, bindparam, text

from app.db.repos.retention import FINAL
from app.db.unit_of_work import Tx


@dataclass(frozen=True, slots=True)
class Found:
    """A receipt that bears a contact of the buyer; `finished`: nothing that runs or waits needs it any more."""

    id: UUID
    event_id: UUID | None
    finished: bool


@dataclass(frozen=True, slots=True)
class Sealed:
    """A sealed value with the row that it belongs to."""

    id: UUID
    blob: bytes


_IDS = bindparam("ids", type_=ARRAY(Uuid))

_RECEIPTS = text(f"""
SELECT r.id, r.event_id,
  r.status IN {FINAL} AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.ref = r.id) AS finished
FROM receipts r
WHERE r.merchant_id = :merchant AND r.id > :after AND (r.email_hash = :email OR r.phone_hash = :phone)
ORDER BY r.id LIMIT :limit FOR UPDATE OF r
""").bindparams(bindparam("email", type_=LargeBinary), bindparam("phone", type_=LargeBinary))

# Reports of the same money by another source bear the buyer too; an event that still plans anything keeps him.
_EVENTS = text(f"""
SELECT e.id, e.payload AS blob FROM events e
WHERE e.merchant_id = :merchant AND (e.id = ANY(:ids) OR e.linked_to = ANY(:ids))
  AND e.status <> 'received' AND (e.status <> 'held' OR EXISTS (SELECT 1 FROM receipts r WHERE r.event_id = e.id))
  AND NOT EXISTS (SELECT 1 FROM receipts r WHERE r.event_id = e.id AND r.status NOT IN {FINAL})
ORDER BY e.id FOR UPDATE OF e
""").bindparams(_IDS)

_NOTICES = text("""
SELECT n.id, n.raw AS blob FROM notifications n
WHERE n.merchant_id = :merchant AND n.id > :after AND n.status <> 'received' ORDER BY n.id LIMIT :limit
""")


_FORGET_BUYER = text("""
UPDATE receipts SET customer = NULL, email_hash = NULL, phone_hash = NULL, phone_tail_hash = NULL
WHERE merchant_id = :merchant AND id = ANY(:ids)
""").bindparams(_IDS)
_FORGET_EXCHANGES = text("""
UPDATE attempts SET exchange = NULL
WHERE merchant_id = :merchant AND receipt_id = ANY(:ids) AND exchange IS NOT NULL
""").bindparams(_IDS)
_DELETE_NOTICES = text("DELETE FROM notifications WHERE merchant_id = :merchant AND id = ANY(:ids)").bindparams(_IDS)
_REPLACE = text("UPDATE events SET payload = :blob WHERE merchant_id = :merchant AND id = :id")


async def receipts(
    tx: Tx, merchant_id: UUID, email_hash: bytes | None, phone_hash: bytes | None, after: UUID, limit: int
) -> list[Found]:
    """The next receipts behind `after` that bear one of these contacts, locked."""
    values = {"merchant": merchant_id, "email": email_hash, "phone": phone_hash, "after": after, "limit": limit}
    return [Found(row.id, row.event_id, row.finished) for row in await tx.execute(_RECEIPTS, values)]


async def forget_buyer(tx: Tx, merchant_id: UUID, receipt_ids: Sequence[UUID]) -> int:
    """Take the buyer and what he is found by from receipts; how many had one. Everything fiscal stays."""
    return await _changed(tx, _FORGET_BUYER, merchant_id, receipt_ids)


async def forget_exchanges(tx: Tx, merchant_id: UUID, receipt_ids: Sequence[UUID]) -> int:
    """Take what went over the wire for these receipts; outcomes and evidence stay."""
    return await _changed(tx, _FORGET_EXCHANGES, merchant_id, receipt_ids)


async def events(tx: Tx, merchant_id: UUID, event_ids: Sequence[UUID]) -> list[Sealed]:
    """These events and other reports of the same money, as far as nothing is planned from them any more, locked."""
    found = await tx.execute(_EVENTS, {"merchant": merchant_id, "ids": list(event_ids)})
    return [Sealed(row.id, bytes(row.blob)) for row in found]


async def replace_payload(tx: Tx, merchant_id: UUID, event: Sealed) -> None:
    """Put another payload in an event's place."""
    await tx.execute(_REPLACE, {"merchant": merchant_id, "id": event.id, "blob": event.blob})


async def notices(tx: Tx, merchant_id: UUID, after: UUID, limit: int) -> list[Sealed]:
    """The next raw notifications behind `after` that were acted on."""
    found = await tx.execute(_NOTICES, {"merchant": merchant_id, "after": after, "limit": limit})
    return [Sealed(row.id, bytes(row.blob)) for row in found]


async def delete_notices(tx: Tx, merchant_id: UUID, notice_ids: Sequence[UUID]) -> int:
    """Raw notifications go whole: one that comes again is a repeat by its event."""
    return await _changed(tx, _DELETE_NOTICES, merchant_id, notice_ids)


async def _changed(tx: Tx, statement: TextClause, merchant_id: UUID, ids: Sequence[UUID]) -> int:
    found = await tx.execute(statement, {"merchant": merchant_id, "ids": list(ids)})
    return int(found.rowcount)
