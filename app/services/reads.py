"""Reading: events, receipts, histories and the message feed, for one merchant at a time, under row-level security."""

import asyncio
import base64
import binascii
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from app.db.repos import events as event_repo
from app.db.repos import messages as message_repo
from app.db.repos import receipt_reads, receipts
from app.db.repos import timeline as timeline_repo
from app.db.repos.events import EventFilter, EventRow
from app.db.repos.paging import Position
from app.db.repos.receipt_reads import ReceiptFilter
from app.db.repos.receipts import ReceiptRow
from app.db.unit_of_work import Database, Tx
from app.domain.errors import NotFound
from app.domain.event import EventStatus, PaymentEvent
from app.domain.lifecycle import SETTLED
from app.domain.receipt import Customer
from app.infra.crypto import SearchHasher, SecretBox
from app.infra.ids import public
from app.infra.page_links import NO_LINKS, PageLinks
from app.services.customers import open_customer, open_event, open_exchange
from app.services.views import event_view, receipt_view, rfc3339, timeline_view

__all__ = ["CursorInvalid", "EventFilter", "FeedPage", "Reads", "ReceiptSearch", "Shown"]

Json = dict[str, Any]

_SETTLED = frozenset(status.value for status in SETTLED)
PRUNED = "pruned"
"""Status of an event of which only the identity is left."""

_FIRST_PAUSE = 0.03
_LONGEST_PAUSE = 0.5


@dataclass(frozen=True, slots=True)
class ReceiptSearch:
    """Which receipts: each member narrows, an empty one does not. E-mail and phone are normalised already."""

    status: tuple[str, ...] = ()
    operation: tuple[str, ...] = ()
    order_id: str | None = None
    external_id: str | None = None
    kassa_id: UUID | None = None
    branch_id: UUID | None = None
    event_id: UUID | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None
    fd: int | None = None
    fpd: str | None = None
    email: str | None = None
    phone: str | None = None
    phone_tail: str | None = None
    cause: str | None = None


class CursorInvalid(ValueError):
    """Not a place in the feed that this installation gave out."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A view with its place in the list: time and id."""

    view: Json
    position: Position


@dataclass(frozen=True, slots=True)
class FeedPage:
    """Messages in feed order; `after` is the place behind the last one, or the given place when there was none."""

    data: list[Json]
    has_more: bool
    after: str | None


class Reads:
    """What the API tells of the pipeline. Buyers are shown masked unless `masked` is False."""

    def __init__(self, database: Database, box: SecretBox, hasher: SearchHasher, links: PageLinks = NO_LINKS) -> None:
        self._database = database
        self._box = box
        self._hasher = hasher
        self._links = links

    async def event(self, merchant_id: UUID, event_id: UUID, *, masked: bool) -> Json:
        """One event with its receipts. NotFound for anybody else's."""
        async with self._database.tenant(merchant_id) as tx:
            row = await event_repo.by_id(tx, merchant_id, event_id)
            if row is None:
                raise NotFound("no such event")
            made = await receipts.of_event(tx, merchant_id, event_id)
        return (await self._event_views(merchant_id, [row], {row.id: made}, masked))[0]

    def pruned(self, merchant_id: UUID, event_id: UUID, source_id: UUID, report: PaymentEvent, *, masked: bool) -> Json:
        """A repeated event whose row has served its time: what the repeat says, because it says the same.

        Its receipts are not kept any more either; its status is `pruned`. The id tells when it was first heard.
        """
        row = EventRow(
            id=event_id,
            merchant_id=merchant_id,
            source_id=source_id,
            type=report.type.value,
            external_id=report.external_id,
            payment_id=report.payment_id,
            order_id=report.order_id,
            settlement_key=report.settlement_key,
            chain_id=None,
            status=PRUNED,
            reason=None,
            amount=report.amount,
            currency=report.currency,
            occurred_at=report.occurred_at,
            payload=b"",
            metadata=dict(report.metadata),
            test=report.test,
            received_at=datetime.fromtimestamp((event_id.int >> 80) / 1000, UTC),
        )
        return event_view(row, [], report, masked)

    async def events(
        self, merchant_id: UUID, wanted: EventFilter, before: Position | None, limit: int, *, masked: bool
    ) -> list[Shown]:
        """At most `limit` events behind a place, newest first."""
        if wanted.external_id is not None:
            async with self._database.pipeline() as tx:
                known = await event_repo.reported_as(tx, merchant_id, wanted.external_id)
            wanted = replace(wanted, ids=tuple(known))
        async with self._database.tenant(merchant_id) as tx:
            rows = await event_repo.page(tx, merchant_id, wanted, before, limit)
            made = await receipt_reads.of_events(tx, merchant_id, [row.id for row in rows])
        views = await self._event_views(merchant_id, rows, made, masked)
        return [Shown(view, (row.received_at, row.id)) for view, row in zip(views, rows, strict=True)]

    async def receipt(self, merchant_id: UUID, receipt_id: UUID, *, masked: bool) -> Json:
        """One receipt. NotFound for anybody else's."""
        async with self._database.tenant(merchant_id) as tx:
            row = await self._receipt(tx, merchant_id, receipt_id)
        return self._receipt_view(row, masked)

    async def receipts(
        self, merchant_id: UUID, wanted: ReceiptSearch, before: Position | None, limit: int, *, masked: bool
    ) -> list[Shown]:
        """At most `limit` receipts behind a place, newest first."""
        async with self._database.tenant(merchant_id) as tx:
            rows = await receipt_reads.page(tx, merchant_id, self._filter(merchant_id, wanted), before, limit)
        return [Shown(self._receipt_view(row, masked), (row.created_at, row.id)) for row in rows]

    async def matching(
        self, merchant_id: UUID, wanted: ReceiptSearch, after: UUID | None, limit: int
    ) -> tuple[int, list[UUID]]:
        """How many receipts match, and the oldest ones behind `after`: what an action in bulk is about to touch."""
        narrowed = self._filter(merchant_id, wanted)
        async with self._database.tenant(merchant_id) as tx:
            count = await receipt_reads.count(tx, merchant_id, narrowed)
            return count, await receipt_reads.ids(tx, merchant_id, narrowed, after, limit)

    async def timeline(self, merchant_id: UUID, receipt_id: UUID) -> list[Json]:
        """Every state, exchange, decision and actor of a receipt in order; the buyer in exchanges is always masked."""
        async with self._database.tenant(merchant_id) as tx:
            row = await self._receipt(tx, merchant_id, receipt_id)
            lines = await timeline_repo.of_receipt(tx, merchant_id, receipt_id, row.event_id)
            attempts = await timeline_repo.attempts_of(tx, merchant_id, receipt_id)
        buyer = self._customer(row)
        opened = {one.id: open_exchange(self._box, merchant_id, one.id, one.exchange, buyer) for one in attempts}
        return timeline_view(lines, attempts, opened)

    async def messages_feed(self, merchant_id: UUID, after: str | None, limit: int) -> FeedPage:
        """The pull feed: what the webhooks carry, in commit order. `body` is a message's text exactly as it is posted.

        CursorInvalid for a place that was never given out.
        """
        place = None if after is None else _read_place(after)
        async with self._database.tenant(merchant_id) as tx:
            rows = await message_repo.feed(tx, merchant_id, place, limit + 1)
        shown = rows[:limit]
        data = [
            {
                "id": public("msg", row.id),
                "type": row.type,
                "timestamp": rfc3339(row.created_at),
                "body": row.body.decode(),
            }
            for row in shown
        ]
        return FeedPage(
            data, len(rows) > limit, _place(shown[-1].epoch, shown[-1].txid, shown[-1].id) if shown else after
        )

    async def wait(self, merchant_id: UUID, event_id: UUID, seconds: float) -> bool:
        """Wait until every receipt of the event is finished or a person's turn; False when the time is up first."""
        until = time.monotonic() + seconds
        pause = _FIRST_PAUSE
        while not await self._settled(merchant_id, event_id):
            left = until - time.monotonic()
            if left <= 0:
                return False
            await asyncio.sleep(min(pause, left))
            pause = min(pause * 1.5, _LONGEST_PAUSE)
        return True

    async def _settled(self, merchant_id: UUID, event_id: UUID) -> bool:
        async with self._database.tenant(merchant_id) as tx:
            status = await event_repo.status(tx, merchant_id, event_id)
            if status is None:
                raise NotFound("no such event")
            made = await receipt_reads.statuses_of_event(tx, merchant_id, event_id)
        # A refund is `received` until its plan job ran: it has no receipts yet, and that is no end.
        return status != EventStatus.RECEIVED.value and _SETTLED.issuperset(made)

    def _filter(self, merchant_id: UUID, wanted: ReceiptSearch) -> ReceiptFilter:
        """Contacts become the keyed hashes that the database knows them by."""
        hasher = self._hasher
        return ReceiptFilter(
            status=wanted.status,
            operation=wanted.operation,
            order_id=wanted.order_id,
            external_id=wanted.external_id,
            kassa_id=wanted.kassa_id,
            branch_id=wanted.branch_id,
            event_id=wanted.event_id,
            created_from=wanted.created_from,
            created_to=wanted.created_to,
            fd=wanted.fd,
            fpd=wanted.fpd,
            email_hash=None if wanted.email is None else hasher.email(merchant_id, wanted.email),
            phone_hash=None if wanted.phone is None else hasher.phone(merchant_id, wanted.phone),
            phone_tail_hash=None if wanted.phone_tail is None else hasher.phone_tail(merchant_id, wanted.phone_tail),
            cause=wanted.cause,
        )

    async def _receipt(self, tx: Tx, merchant_id: UUID, receipt_id: UUID) -> ReceiptRow:
        row = await receipts.by_id(tx, merchant_id, receipt_id)
        if row is None:
            raise NotFound("no such receipt")
        return row

    def _customer(self, row: ReceiptRow) -> Customer | None:
        return open_customer(self._box, row.merchant_id, row.id, row.customer)

    def _receipt_view(self, row: ReceiptRow, masked: bool) -> Json:
        return receipt_view(row, self._customer(row), masked=masked, links=self._links)

    async def _event_views(
        self, merchant_id: UUID, rows: Sequence[EventRow], made: dict[UUID, list[ReceiptRow]], masked: bool
    ) -> list[Json]:
        first = await self._reported_first(merchant_id, rows)
        return [
            event_view(
                row,
                made[row.id],
                open_event(self._box, merchant_id, row.id, row.payload),
                masked,
                customers={receipt.id: self._customer(receipt) for receipt in made[row.id]},
                linked_to=first.get(row.id),
                links=self._links,
            )
            for row in rows
        ]

    async def _reported_first(self, merchant_id: UUID, rows: Sequence[EventRow]) -> dict[UUID, UUID]:
        """For each linked event the one that owns its settlement key."""
        linked = {
            row.id: (row.type, row.settlement_key)
            for row in rows
            if row.status == EventStatus.LINKED.value and row.settlement_key is not None
        }
        if not linked:
            return {}
        async with self._database.pipeline() as tx:
            owners = await event_repo.owners(tx, merchant_id, set(linked.values()))
        return {event_id: owners[key] for event_id, key in linked.items() if key in owners}


def _place(epoch: int, txid: int, message_id: UUID) -> str:
    """Opaque outside: a place in the feed is given back as it was got."""
    return base64.urlsafe_b64encode(epoch.to_bytes(4, "big") + txid.to_bytes(8, "big") + message_id.bytes).decode()


def _read_place(text: str) -> message_repo.Place:
    try:
        raw = base64.b64decode(text.encode("ascii"), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise CursorInvalid("this place in the feed was not given out here") from None
    if len(raw) != 28 or (raw[0] | raw[4]) & 0x80:
        raise CursorInvalid("this place in the feed was not given out here")
    return int.from_bytes(raw[:4], "big"), int.from_bytes(raw[4:12], "big"), UUID(bytes=raw[12:])
