"""The prepayment ledger as people ask for it: what was received, closed, returned and is open, payment by payment."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from app.db.repos import prepayments
from app.db.repos.paging import Position
from app.db.repos.prepayments import PrepaymentFilter
from app.db.repos.receipts import ReceiptRow
from app.db.unit_of_work import Database, Tx, database_now
from app.domain.errors import Invalid
from app.domain.ledger import Balance, balance
from app.infra.crypto import SearchHasher, SecretBox
from app.infra.ids import public
from app.services.customers import customer_view, open_customer
from app.services.reads import Shown
from app.services.story import Taken, closings, document, is_refund, moved, refunds
from app.services.views import rfc3339

_AT_ONCE = 100
_COUNTED_AT_MOST = 2000


@dataclass(frozen=True, slots=True)
class PrepaymentSearch:
    """Which prepayments: each member narrows, an empty one does not. E-mail and phone are normalised already."""

    open: bool | None = None
    older_than: timedelta | None = None
    order_id: str | None = None
    email: str | None = None
    phone: str | None = None


class Prepayments:
    """Reads under row-level security. Buyers are shown masked unless `masked` is False."""

    def __init__(self, database: Database, box: SecretBox, hasher: SearchHasher) -> None:
        self._database = database
        self._box = box
        self._hasher = hasher

    async def page(
        self, merchant_id: UUID, wanted: PrepaymentSearch, before: Position | None, limit: int, *, masked: bool
    ) -> list[Shown]:
        """At most `limit` prepayments behind a place, newest first; one row per payment."""
        async with self._database.tenant(merchant_id) as tx:
            now = await database_now(tx)
            rows = await prepayments.page(tx, merchant_id, self._filter(merchant_id, wanted, now), before, limit)
            taken = await self._taken(tx, merchant_id, rows)
        return [Shown(self._view(row, taken[row.id], now, masked), (row.created_at, row.id)) for row in rows]

    async def balance(self, merchant_id: UUID, wanted: PrepaymentSearch) -> dict[str, int]:
        """The sums of all prepayments that match, kopecks. Invalid when they are too many to add up."""
        counted, total = 0, Balance(0, 0, 0, 0)
        place: Position | None = None
        async with self._database.tenant(merchant_id) as tx:
            narrowed = self._filter(merchant_id, wanted, await database_now(tx))
            while counted < _COUNTED_AT_MOST:
                rows = await prepayments.page(tx, merchant_id, narrowed, place, _AT_ONCE)
                taken = await self._taken(tx, merchant_id, rows)
                for row in rows:
                    total = _sum(total, _balance(row, taken[row.id]))
                counted += len(rows)
                if len(rows) < _AT_ONCE:
                    return {"payments": counted, **_sums(total)}
                place = (rows[-1].created_at, rows[-1].id)
        raise Invalid(f"more than {_COUNTED_AT_MOST} prepayments match; narrow the question")

    def _filter(self, merchant_id: UUID, wanted: PrepaymentSearch, now: datetime) -> PrepaymentFilter:
        return PrepaymentFilter(
            open=wanted.open,
            order_id=wanted.order_id,
            created_to=None if wanted.older_than is None else now - wanted.older_than,
            email_hash=None if wanted.email is None else self._hasher.email(merchant_id, wanted.email),
            phone_hash=None if wanted.phone is None else self._hasher.phone(merchant_id, wanted.phone),
        )

    async def _taken(self, tx: Tx, merchant_id: UUID, rows: Sequence[ReceiptRow]) -> dict[UUID, Taken]:
        """What every receipt took from each of these payments."""
        found = [row.chain_id for row in rows if row.chain_id is not None]
        members = await prepayments.of_chains(tx, merchant_id, found) if found else []
        parts = await prepayments.parts_on(tx, merchant_id, found)
        return {
            sale.id: Taken(
                [row for row in members if row.chain_id == sale.chain_id],
                next((row for row in members if row.id == sale.id), sale),
                [part for part in parts if part.chain_id == sale.chain_id],
            )
            for sale in rows
        }

    def _view(self, row: ReceiptRow, taken: Taken, now: datetime, masked: bool) -> dict[str, Any]:
        customer = open_customer(self._box, row.merchant_id, row.id, row.customer)
        later = [one for one in taken.counted if one.id != row.id]
        closed_by = [one.id for one in later if not is_refund(one)]
        closed_by += [part.receipt_id for part in taken.parts if part.amount > 0]
        return {
            "id": public("rcpt", row.id),
            "event_id": None if row.event_id is None else public("evt", row.event_id),
            "payment_id": row.external_id,
            "order_id": row.order_id,
            "source_id": public("src", row.source_id),
            "branch_id": None if row.branch_id is None else public("brn", row.branch_id),
            "kassa_id": None if row.kassa_id is None else public("kas", row.kassa_id),
            "status": row.status,
            "customer": customer_view(customer, masked=masked),
            **_sums(_balance(row, taken)),
            "closed_by": [public("rcpt", one) for one in closed_by],
            "returned_by": [public("rcpt", one.id) for one in later if is_refund(one)],
            "age_days": (now - row.created_at).days,
            "created_at": rfc3339(row.created_at),
        }


def _balance(row: ReceiptRow, taken: Taken) -> Balance:
    return balance(document(row), closings(taken), refunds(taken), *moved(taken))


def _sums(found: Balance) -> dict[str, int]:
    return {
        "received": found.received,
        "closed": found.closed,
        "returned": found.returned,
        "open": found.open,
        "returned_later": found.returned_later,
    }


def _sum(one: Balance, other: Balance) -> Balance:
    return Balance(
        one.received + other.received,
        one.closed + other.closed,
        one.returned + other.returned,
        one.open + other.open,
        one.returned_later + other.returned_later,
    )
