"""Every list and search of receipts and events ends in an index of its own order: nothing walks or sorts a history."""

import itertools
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import event as sqlalchemy_event

from app.db.repos import events, receipt_reads
from app.db.repos.events import EventFilter
from app.db.repos.receipt_reads import ReceiptFilter
from app.db.unit_of_work import Database, Tx
from app.infra.ids import new_id
from tests.support import rows

AT = datetime(2025, 1, 3, tzinfo=UTC)
LONG_AGO = (AT, UUID(int=0))
SHARED = b"shared-by-many!!"

# A history in small: one merchant has nearly everything, another a little, and rare values are rare.
_RECEIPTS = """
INSERT INTO receipts (id, merchant_id, source_id, kassa_id, provider_id, operation, status, total, order_id,
  external_id, email_hash, phone_hash, phone_tail_hash, fd, fpd, created_at)
SELECT kassa_uuid7(), CASE WHEN g % 10 = 0 THEN $2::uuid ELSE $1::uuid END, $3::uuid, $4::uuid,
  md5(g::text),
  CASE WHEN g % 50 = 0 THEN 'sell_refund' ELSE 'sell' END,
  CASE WHEN g % 1000 = 1 THEN 'rejected' WHEN g % 1000 = 2 THEN 'held' ELSE 'fiscalized' END, 100, 'o' || g, 'p' || g,
  CASE WHEN g % 3 = 0 AND g % 10 <> 0 THEN $5::bytea ELSE decode(md5('m' || g), 'hex') END,
  decode(md5('t' || g % 9000), 'hex'),
  decode(md5('t' || g % 500), 'hex'), g, g::text, timestamptz '2025-01-01Z' + g * interval '1 minute'
FROM generate_series(1, 6000) g
"""
_EVENTS = """
INSERT INTO events (id, merchant_id, source_id, type, external_id, payment_id, order_id, status, amount, currency,
  occurred_at, payload, received_at)
SELECT kassa_uuid7(), $1::uuid, $2::uuid,
  CASE WHEN g % 50 = 0 THEN 'refund.succeeded' ELSE 'payment.succeeded' END, 'p' || g,
  CASE WHEN g % 50 = 0 THEN 'p' || g - 1 END, 'o' || g, CASE WHEN g % 1000 = 2 THEN 'held' ELSE 'planned' END, 100,
  'RUB', now(), '', timestamptz '2025-01-01Z' + g * interval '1 minute'
FROM generate_series(1, 6000) g
"""


@pytest.fixture
async def merchants(database: Database) -> tuple[UUID, UUID]:
    """(big, small), with a history that the planner knows."""
    big, source = await rows.merchant(database)
    small, _ = await rows.merchant(database)
    owner = await asyncpg.connect(database.dsn.asyncpg_dsn)
    try:
        await owner.execute(_RECEIPTS, big, small, source, new_id(), SHARED)
        await owner.execute(_EVENTS, big, source)
        await owner.execute("ANALYZE receipts, events")
    finally:
        await owner.close()
    return big, small


RARE = [
    ReceiptFilter(status=("needs_attention",)),
    ReceiptFilter(status=("rejected",)),
    ReceiptFilter(status=("cancelled", "unknown")),
    ReceiptFilter(operation=("buy",)),
    ReceiptFilter(kassa_id=UUID(int=1)),
    ReceiptFilter(branch_id=UUID(int=1)),
    ReceiptFilter(order_id="o77"),
    ReceiptFilter(external_id="p77"),
    ReceiptFilter(fd=77),
    ReceiptFilter(fpd="77"),
    ReceiptFilter(email_hash=b"nobody's"),
    ReceiptFilter(phone_hash=b"nobody's"),
    ReceiptFilter(phone_tail_hash=b"nobody's"),
    ReceiptFilter(created_from=AT, created_to=AT),
    ReceiptFilter(),
]


async def test_no_search_reads_more_than_its_page(database: Database, merchants: tuple[UUID, UUID]) -> None:
    asked = [*itertools.product(merchants, (None, LONG_AGO), RARE)]
    # A contact's hash is its merchant's own: nobody else asks for it.
    asked += [(merchants[0], cursor, ReceiptFilter(email_hash=SHARED)) for cursor in (None, LONG_AGO)]
    for merchant, cursor, wanted in asked:

        async def ask(tx: Tx) -> None:
            await receipt_reads.page(tx, merchant, wanted, cursor, 51)  # noqa: B023

        read = await _rows_read(database, merchant, ask)
        assert read <= 60, f"{wanted} read {read} rows"
    for merchant in merchants:

        async def backlog(tx: Tx) -> None:
            await receipt_reads.ids(tx, merchant, ReceiptFilter(status=("needs_attention",)), None, 51)  # noqa: B023

        assert await _rows_read(database, merchant, backlog) <= 60


async def test_no_list_of_events_reads_more_than_its_page(database: Database, merchants: tuple[UUID, UUID]) -> None:
    for wanted in (
        EventFilter(),
        EventFilter(status=("refused",)),
        EventFilter(type=("order.settled",)),
        EventFilter(order_id="o77"),
        EventFilter(payment_id="p49"),
        EventFilter(source_id=UUID(int=1)),
        EventFilter(ids=(UUID(int=1),)),
    ):

        async def ask(tx: Tx) -> None:
            await events.page(tx, merchants[0], wanted, None, 51)  # noqa: B023

        read = await _rows_read(database, merchants[0], ask)
        assert read <= 60, f"{wanted} read {read} rows"


async def _rows_read(database: Database, merchant: UUID, ask: Any) -> int:
    """Rows that the last statement of `ask` took from tables, told by its own plan with its own values."""
    told: list[tuple[str, Any]] = []

    def note(_: Any, __: Any, statement: str, parameters: Any, ___: Any, ____: Any) -> None:
        told.append((statement, parameters))

    async with database.tenant(merchant) as tx:
        sqlalchemy_event.listen(tx.sync_connection, "before_cursor_execute", note)
        await ask(tx)
        sqlalchemy_event.remove(tx.sync_connection, "before_cursor_execute", note)
        statement, parameters = told[-1]
        plan = await tx.exec_driver_sql(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {statement}", parameters)
        found = plan.scalar_one()
    (root,) = json.loads(found) if isinstance(found, str) else found
    return sum(_taken(node) for node in _nodes(root["Plan"]) if "Relation Name" in node)


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for below in node.get("Plans", ()):
        yield from _nodes(below)


def _taken(node: dict[str, Any]) -> int:
    removed = (node.get(f"Rows Removed by {what}", 0) for what in ("Filter", "Index Recheck"))
    return round((node["Actual Rows"] + sum(removed)) * node["Actual Loops"])
