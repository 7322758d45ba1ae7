"""Reading through row-level security: every filter, pages, histories, the feed's promise, and waiting."""

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import insert, update

from app.db import tables
from app.db.repos.events import EventFilter
from app.db.unit_of_work import Database, Tx
from app.domain.errors import NotFound
from app.domain.event import EventType, PaymentEvent
from app.domain.receipt import Customer
from app.infra.crypto import SearchHasher, SecretBox, aad
from app.infra.ids import new_id
from app.services.customers import contact_hashes, seal_customer, seal_event
from app.services.reads import CursorInvalid, FeedPage, Reads, ReceiptSearch

AT = datetime(2026, 11, 23, 11, 0, tzinfo=UTC)
BUYER = Customer(email="anna@example.org", phone="+79990000000", name="Анна")
BOX = SecretBox.parse(SecretBox.generate())
HASHER = SearchHasher.parse(SearchHasher.generate())


@pytest.fixture
def reads(database: Database) -> Reads:
    return Reads(database, BOX, HASHER)


@pytest.fixture
async def merchant(database: Database) -> UUID:
    return await a_merchant(database)


async def a_merchant(database: Database) -> UUID:
    merchant_id = new_id()
    async with database.pipeline() as tx:
        await tx.execute(insert(tables.merchants).values(id=merchant_id, name="Школа", inn="7707083893"))
    return merchant_id


async def an_event(database: Database, merchant_id: UUID, **members: Any) -> UUID:
    event_id = members.pop("id", None) or new_id()
    row: dict[str, Any] = {
        "source_id": new_id(),
        "type": "payment.succeeded",
        "external_id": "p-1",
        "status": "planned",
        "amount": 100,
        "currency": "RUB",
        "occurred_at": AT,
        "received_at": AT,
    } | members
    payload = PaymentEvent(EventType(row["type"]), row["external_id"], row["amount"], AT, customer=BUYER)
    async with database.pipeline() as tx:
        sealed = seal_event(BOX, merchant_id, event_id, payload)
        await tx.execute(insert(tables.events).values(id=event_id, merchant_id=merchant_id, payload=sealed, **row))
        source = {"id": row["source_id"], "merchant_id": merchant_id, "kind": "moyklass", "name": "CRM"}
        await tx.execute(insert(tables.sources).values(**source))
        identity = {name: row[name] for name in ("source_id", "type", "external_id")}
        await tx.execute(
            insert(tables.event_identities).values(
                merchant_id=merchant_id, event_id=event_id, content_hash=b"", **identity
            )
        )
    return event_id


async def a_receipt(database: Database, merchant_id: UUID, customer: Customer | None = None, **members: Any) -> UUID:
    receipt_id = new_id()
    email, phone, tail = contact_hashes(HASHER, merchant_id, customer)
    row: dict[str, Any] = {
        "source_id": new_id(),
        "provider_id": receipt_id.hex,
        "operation": "sell",
        "status": "queued",
        "total": 100,
        "created_at": AT,
        "updated_at": AT,
        "customer": seal_customer(BOX, merchant_id, receipt_id, customer),
        "email_hash": email,
        "phone_hash": phone,
        "phone_tail_hash": tail,
    } | members
    async with database.pipeline() as tx:
        await tx.execute(insert(tables.receipts).values(id=receipt_id, merchant_id=merchant_id, **row))
    return receipt_id


async def found(reads: Reads, merchant_id: UUID, wanted: ReceiptSearch) -> list[str]:
    return [one.view["id"] for one in await reads.receipts(merchant_id, wanted, None, 100, masked=True)]


async def test_an_event_is_read_with_its_receipts_in_their_order(
    database: Database, reads: Reads, merchant: UUID
) -> None:
    event_id = await an_event(database, merchant)
    second = await a_receipt(database, merchant, event_id=event_id, number=2)
    first = await a_receipt(database, merchant, BUYER, event_id=event_id, number=1)
    await a_receipt(database, merchant, event_id=new_id())
    view = await reads.event(merchant, event_id, masked=False)
    assert [one["id"] for one in view["receipts"]] == [f"rcpt_{first.hex}", f"rcpt_{second.hex}"]
    assert view["customer"]["email"] == "anna@example.org"
    assert view["receipts"][0]["customer"]["phone"] == "+79990000000"
    assert view["receipts"][1]["customer"] is None
    assert (await reads.event(merchant, event_id, masked=True))["customer"]["email"] == "a***@e***.org"


async def test_another_tenants_things_are_not_there(database: Database, reads: Reads, merchant: UUID) -> None:
    other = await a_merchant(database)
    event_id, receipt_id = await an_event(database, other), await a_receipt(database, other, BUYER)
    with pytest.raises(NotFound):
        await reads.event(merchant, event_id, masked=True)
    with pytest.raises(NotFound):
        await reads.receipt(merchant, receipt_id, masked=True)
    with pytest.raises(NotFound):
        await reads.timeline(merchant, receipt_id)
    with pytest.raises(NotFound):
        await reads.wait(merchant, event_id, 0)
    assert await reads.events(merchant, EventFilter(), None, 10, masked=True) == []
    assert await found(reads, merchant, ReceiptSearch(email="anna@example.org")) == []
    assert await reads.matching(merchant, ReceiptSearch(), None, 10) == (0, [])


async def test_a_linked_event_names_the_one_that_came_first(database: Database, reads: Reads, merchant: UUID) -> None:
    owner = await an_event(database, merchant, settlement_key="k-1")
    linked = await an_event(database, merchant, settlement_key="k-1", external_id="p-2", status="linked")
    async with database.pipeline() as tx:
        for tenant, event_id in ((merchant, owner), (await a_merchant(database), new_id())):
            await tx.execute(
                insert(tables.settlement_keys).values(
                    merchant_id=tenant, type="payment.succeeded", settlement_key="k-1", event_id=event_id
                )
            )
    assert (await reads.event(merchant, linked, masked=True))["linked_to"] == f"evt_{owner.hex}"
    assert (await reads.event(merchant, owner, masked=True))["linked_to"] is None


async def test_events_are_filtered_and_paged_newest_first(database: Database, reads: Reads, merchant: UUID) -> None:
    source = new_id()
    made = [
        await an_event(database, merchant, external_id=f"p-{n}", received_at=AT + timedelta(seconds=n // 2))
        for n in range(5)
    ]
    special = await an_event(
        database,
        merchant,
        external_id="r-1",
        type="refund.succeeded",
        status="held",
        order_id="A-1",
        payment_id="p-1",
        source_id=source,
        received_at=AT - timedelta(days=1),
    )

    async def ids(wanted: EventFilter) -> list[str]:
        return [one.view["id"] for one in await reads.events(merchant, wanted, None, 100, masked=True)]

    for wanted in (
        EventFilter(status=("held", "refused")),
        EventFilter(type=("refund.succeeded",)),
        EventFilter(source_id=source),
        EventFilter(external_id="r-1"),
        EventFilter(payment_id="p-1"),
        EventFilter(order_id="A-1"),
        EventFilter(received_to=AT),
    ):
        assert await ids(wanted) == [f"evt_{special.hex}"]
    assert len(await ids(EventFilter(received_from=AT))) == 5

    seen: list[str] = []
    place = None
    while page := await reads.events(merchant, EventFilter(), place, 2, masked=True):
        seen += [one.view["id"] for one in page]
        place = page[-1].position
    # Two of one moment are told apart by their ids.
    assert seen == [f"evt_{one.hex}" for one in [*reversed(made), special]]


async def test_each_filter_of_receipts_finds_its_own(database: Database, reads: Reads, merchant: UUID) -> None:
    kassa, branch, event_id = new_id(), new_id(), new_id()
    special = await a_receipt(
        database,
        merchant,
        BUYER,
        status="fiscalized",
        operation="sell_refund",
        order_id="A-1",
        external_id="p-77",
        kassa_id=kassa,
        branch_id=branch,
        event_id=event_id,
        fd=17,
        fpd="3456789012",
        created_at=AT - timedelta(days=2),
    )
    other = Customer(email="ivan@example.org", phone="+79990001111")
    for number in range(3):
        await a_receipt(database, merchant, other, order_id="A-2", external_id=f"p-{number}", fd=number)
    for wanted in (
        ReceiptSearch(status=("fiscalized", "rejected")),
        ReceiptSearch(operation=("sell_refund",)),
        ReceiptSearch(order_id="A-1"),
        ReceiptSearch(external_id="p-77"),
        ReceiptSearch(kassa_id=kassa),
        ReceiptSearch(branch_id=branch),
        ReceiptSearch(event_id=event_id),
        ReceiptSearch(created_to=AT),
        ReceiptSearch(fd=17),
        ReceiptSearch(fpd="3456789012"),
        ReceiptSearch(email="Anna@example.org"),
        ReceiptSearch(phone="+79990000000"),
        ReceiptSearch(phone_tail="0000"),
        ReceiptSearch(order_id="A-1", phone_tail="0000"),
    ):
        assert await found(reads, merchant, wanted) == [f"rcpt_{special.hex}"], wanted
        assert await reads.matching(merchant, wanted, None, 10) == (1, [special])
    assert len(await found(reads, merchant, ReceiptSearch(created_from=AT))) == 3
    assert await found(reads, merchant, ReceiptSearch(order_id="A-1", phone_tail="1111")) == []


async def test_receipts_are_paged_newest_first(database: Database, reads: Reads, merchant: UUID) -> None:
    made = [await a_receipt(database, merchant) for _ in range(5)]
    seen: list[str] = []
    place = None
    while page := await reads.receipts(merchant, ReceiptSearch(), place, 2, masked=True):
        seen += [one.view["id"] for one in page]
        place = page[-1].position
    assert seen == [f"rcpt_{one.hex}" for one in reversed(made)]


async def test_what_is_done_in_bulk_goes_on_behind_the_last_one(
    database: Database, reads: Reads, merchant: UUID
) -> None:
    made = [await a_receipt(database, merchant) for _ in range(3)]
    assert await reads.matching(merchant, ReceiptSearch(), None, 2) == (3, made[:2])
    assert await reads.matching(merchant, ReceiptSearch(), made[1], 2) == (3, made[2:])


async def test_a_timeline_tells_states_attempts_and_actors_and_masks_the_exchange(
    database: Database, reads: Reads, merchant: UUID
) -> None:
    event_id = await an_event(database, merchant)
    receipt_id = await a_receipt(database, merchant, BUYER, event_id=event_id)
    attempt_id = new_id()
    wire = [
        {
            "method": "POST",
            "url": "https://kassa.example.org/v1",
            "request": {"headers": {}, "body": '{"client":{"email":"anna@example.org","phone":"+79990000000"}}'},
            "response": {"status": 200, "headers": {}, "body": '{"to":"anna@example.org","fn":"9999078900012345"}'},
            "error": None,
            "seconds": 0.1,
        }
    ]
    sealed = BOX.seal(json.dumps(wire).encode(), aad("attempts", "exchange", merchant, attempt_id))
    lines: list[tuple[str, UUID | None, datetime, str | None, str]] = [
        ("planned", None, AT, None, "source"),
        ("planned", receipt_id, AT, "queued", "intake"),
        ("marked", receipt_id, AT + timedelta(seconds=1), "sending", "w-1"),
        ("retry", receipt_id, AT + timedelta(seconds=3), "accepted", "key_1"),
        ("fiscalized", receipt_id, AT + timedelta(seconds=4), "fiscalized", "w-1"),
    ]
    async with database.pipeline() as tx:
        for what, about, at, status, actor in lines:
            await tx.execute(
                insert(tables.timeline).values(
                    id=new_id(), merchant_id=merchant, event_id=event_id, receipt_id=about, at=at, what=what,
                    status=status, actor=actor,
                )
            )  # fmt: skip
        await tx.execute(
            insert(tables.timeline).values(
                id=new_id(), merchant_id=merchant, event_id=new_id(), at=AT, what="other", actor="w-1"
            )
        )
        await tx.execute(
            insert(tables.attempts).values(
                id=attempt_id, merchant_id=merchant, receipt_id=receipt_id, kind="submit", provider_id="0" * 32,
                worker="w-1", marked_at=AT + timedelta(seconds=1), finished_at=AT + timedelta(seconds=2),
                outcome="accepted", exchange=sealed,
            )
        )  # fmt: skip
    told = await reads.timeline(merchant, receipt_id)
    assert [(one["what"], one["status"], one["actor"]) for one in told] == [
        ("planned", None, "source"),
        ("planned", "queued", "intake"),
        ("marked", "sending", "w-1"),
        ("attempt", None, "w-1"),
        ("retry", "accepted", "key_1"),
        ("fiscalized", "fiscalized", "w-1"),
    ]
    exchange = told[3]["attempt"]["exchanges"][0]
    assert exchange["request"]["body"] == '{"client":{"email":"a***@e***.org","phone":"+7******0000"}}'
    assert exchange["response"]["body"] == '{"to":"a***@e***.org","fn":"9999078900012345"}'


async def a_message(tx: Tx, merchant_id: UUID, body: bytes) -> UUID:
    message_id = new_id()
    await tx.execute(
        insert(tables.messages).values(
            id=message_id, merchant_id=merchant_id, type="receipt.fiscalized", body=body, created_at=AT
        )
    )
    return message_id


async def feed_of(reads: Reads, merchant_id: UUID, after: str | None, count: int) -> FeedPage:
    """The feed once it shows this many: an unrelated transaction of the server may hold it back for a moment."""
    for _ in range(200):
        feed = await reads.messages_feed(merchant_id, after, 100)
        if len(feed.data) >= count:
            return feed
        await asyncio.sleep(0.02)
    raise AssertionError(f"the feed shows {len(feed.data)} messages, not {count}")


async def test_the_feed_gives_ids_and_exact_bytes_in_order(database: Database, reads: Reads, merchant: UUID) -> None:
    bodies = [f'{{"type":"receipt.fiscalized","data":{{"n":{n},"s":"Чек \\u2028"}}}}'.encode() for n in range(3)]
    made = []
    for body in bodies:
        async with database.pipeline() as tx:
            made.append(await a_message(tx, merchant, body))
            await a_message(tx, await _other(tx), b"{}")
    whole = await feed_of(reads, merchant, None, 3)
    assert [one["id"] for one in whole.data] == [f"msg_{one.hex}" for one in made]
    assert [one["body"].encode() for one in whole.data] == bodies
    assert whole.data[0]["timestamp"] == "2026-11-23T11:00:00.000000Z"
    assert not whole.has_more

    first = await reads.messages_feed(merchant, None, 2)
    assert first.has_more
    rest = await reads.messages_feed(merchant, first.after, 2)
    assert [one["id"] for one in (*first.data, *rest.data)] == [one["id"] for one in whole.data]
    nothing = await reads.messages_feed(merchant, rest.after, 2)
    assert nothing.data == []
    assert nothing.after == rest.after
    assert (await reads.messages_feed(await a_merchant(database), None, 2)).after is None


async def _other(tx: Tx) -> UUID:
    merchant_id = new_id()
    await tx.execute(insert(tables.merchants).values(id=merchant_id, name="Другая", inn="7707083893"))
    return merchant_id


async def test_a_late_commit_is_shown_late_and_never_skipped(database: Database, reads: Reads, merchant: UUID) -> None:
    async with database.pipeline() as slow:
        early = await a_message(slow, merchant, b'"early"')
        async with database.pipeline() as tx:
            late = await a_message(tx, merchant, b'"late"')
        # Committed, but an older transaction is open: whoever read it now would never see what that one brings.
        assert (await reads.messages_feed(merchant, None, 10)).data == []
    feed = await feed_of(reads, merchant, None, 2)
    assert [one["id"] for one in feed.data] == [f"msg_{early.hex}", f"msg_{late.hex}"]


@pytest.mark.parametrize("after", ["", "!", "AAAA", "я", "_" * 32, "A" * 33])
async def test_a_place_that_was_never_given_out_is_refused(reads: Reads, after: str) -> None:
    with pytest.raises(CursorInvalid):
        await reads.messages_feed(new_id(), after, 10)


async def test_waiting_ends_when_every_receipt_is_finished_or_a_persons_turn(
    database: Database, reads: Reads, merchant: UUID
) -> None:
    event_id = await an_event(database, merchant)
    await a_receipt(database, merchant, event_id=event_id, number=1, status="held")
    receipt_id = await a_receipt(database, merchant, event_id=event_id, number=2, status="sending")
    assert not await reads.wait(merchant, event_id, 0.05)
    waiting = asyncio.create_task(reads.wait(merchant, event_id, 30))
    async with database.pipeline() as tx:
        await tx.execute(update(tables.receipts).where(tables.receipts.c.id == receipt_id).values(status="fiscalized"))
    assert await asyncio.wait_for(waiting, 5)


async def test_an_event_that_is_only_received_is_no_end_and_an_ignored_one_is(
    database: Database, reads: Reads, merchant: UUID
) -> None:
    received = await an_event(database, merchant, status="received")
    ignored = await an_event(database, merchant, status="ignored", external_id="p-2")
    assert not await reads.wait(merchant, received, 0.05)
    assert await reads.wait(merchant, ignored, 0.05)


async def test_a_search_hash_needs_the_same_merchant(database: Database, reads: Reads, merchant: UUID) -> None:
    other = await a_merchant(database)
    mine = await a_receipt(database, merchant, BUYER)
    theirs = await a_receipt(database, other, replace(BUYER, name=None))
    assert await found(reads, merchant, ReceiptSearch(phone="+79990000000")) == [f"rcpt_{mine.hex}"]
    assert await found(reads, other, ReceiptSearch(phone="+79990000000")) == [f"rcpt_{theirs.hex}"]
