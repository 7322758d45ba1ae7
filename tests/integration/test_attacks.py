"""Attacks on the promise: each test is a way in which a receipt was once lost, doubled, stuck or told wrongly."""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from app.db.group_commit import CommitUnknown, GroupCommitter
from app.db.repos import notifications, receipts
from app.db.repos.settings import KassaRow
from app.db.unit_of_work import Database
from app.domain.errors import Busy
from app.domain.event import EventType
from app.domain.ffd import CorrectionKind, Operation
from app.domain.outcome import Scope, Unavailable
from app.domain.receipt import CorrectionBasis, Customer
from app.infra.crypto import aad
from app.infra.dsn import Dsn
from app.infra.ids import new_id
from app.ports.source import ReadBackFailed
from app.queue import work
from app.queue.claim import START, claim
from app.queue.jobs import Job, JobKind
from app.queue.mark import mark
from app.queue.rescue import rescue
from app.queue.settle import Verdict, settle
from app.services import evidence
from app.services.inbound import Inbound
from app.services.pacing import Pacing
from tests.integration.test_queue import a_mark, a_settlement, take
from tests.support import rows
from tests.support.world import World, open_world, payment

NOON = datetime(2026, 11, 23, 9, tzinfo=UTC)


@pytest.fixture
async def world(database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(database_url, tmp_path) as found:
        yield found


async def closing_of(world: World, external_id: str, payment_id: str, amount: int) -> UUID:
    """The goods of a prepayment were given: a closing is wanted."""
    event = payment(external_id, amount, type=EventType.ORDER_SETTLED, payment_id=payment_id, items=())
    answer = await world.runtime.services.intake.accept(world.merchant_id, world.source_id, event, "test")
    return answer.event_id


async def chain(world: World, payment_id: str) -> Any:
    async with world.runtime.database.pipeline() as tx:
        return (await tx.execute(text("SELECT * FROM chains WHERE payment_id = :p"), {"p": payment_id})).one()


async def plan_everything(world: World) -> None:
    """Run plan and release jobs alone: what they decide is seen before anything is sent."""
    await rows.scalar(
        world.runtime.database,
        "WITH p AS (UPDATE lanes SET paused_at = kassa_now(), probe_at = 'infinity', pause_cause = 'switched_off'"
        " WHERE kind = 'kassa' RETURNING id) SELECT count(*) FROM p",
    )
    planning = "SELECT count(*) FROM jobs WHERE kind IN (4, 5)"

    async def planned() -> bool:
        return await rows.scalar(world.runtime.database, planning) == 0

    async with world.working():
        await world.until(planned)


async def jobs(world: World) -> set[Any]:
    async with world.runtime.database.pipeline() as tx:
        return {row.ref for row in await tx.execute(text("SELECT ref FROM jobs WHERE kind IN (1, 2, 3)"))}


async def test_a_refund_that_came_before_its_sale_is_not_sent_before_it(world: World) -> None:
    refund = await world.refund("r-1", "p-1", 50_000)
    await plan_everything(world)
    sale = await world.pay("p-1")
    await plan_everything(world)
    assert (await world.receipt(refund)).status == "queued"
    assert await jobs(world) == {(await world.receipt(sale)).id}, "the refund waits for its sale's end"


async def test_a_receipt_filled_late_waits_for_those_that_overtook_it(world: World) -> None:
    """Within a chain one receipt at a time is on its way."""
    await world.pay("p-1")
    too_much = await world.refund("r-1", "p-1", 500_000)
    async with world.working():
        await world.status(too_much, "held")
    await world.fault("queue_forever")
    second = await world.refund("r-2", "p-1", 10_000)
    async with world.working():
        await world.status(second, "accepted")
        await world.runtime.services.actions.patch_event(
            world.principal, world.merchant_id, too_much, {"amount": 20_000}
        )
    assert (await world.receipt(too_much)).status == "queued"
    assert await jobs(world) == {(await world.receipt(second)).id}


async def test_a_closing_that_came_before_its_payment_goes_on_with_it(world: World) -> None:
    closing = await closing_of(world, "o-1", "p-1", 199_000)
    async with world.working():
        await world.status(closing, "held")
        await world.pay("p-1")
        await world.status(closing, "fiscalized")
    assert [d["operation"] for d in await world.tape()] == ["sell", "sell"]


async def test_a_closing_is_never_taken_for_the_sale(world: World) -> None:
    """It came first and has the same operation; a refund of the sale must not be measured by it."""
    closing = await closing_of(world, "o-1", "p-1", 100_000)
    async with world.working():
        await world.status(closing, "held")
        await world.pay("p-1")
        await world.status(closing, "fiscalized")
        refund = await world.refund("r-1", "p-1", 150_000)
        await world.status(refund, "fiscalized")
        await world.idle()
    found = await chain(world, "p-1")
    assert (found.sold, found.refunded, found.settled) == (199_000, 150_000, 100_000)


async def test_the_amount_of_a_filled_sale_bounds_its_refunds(world: World) -> None:
    event = await world.pay("p-1", amount=10_000, customer=Customer(), items=())
    row = await world.receipt(event)
    changes = {
        "customer": {"email": "anna@example.org"},
        "amount": 30_000,
        "items": [{"name": "Абонемент", "quantity": "1", "price": 30_000, "amount": 30_000, "vat": "none"}],
    }
    await world.runtime.services.actions.patch_receipt(world.principal, world.merchant_id, row.id, 1, changes)
    refund = await world.refund("r-1", "p-1", 25_000)
    async with world.working():
        await world.status(refund, "fiscalized")
    assert (await chain(world, "p-1")).sold == 30_000


async def test_a_refused_refund_gives_its_sum_back_to_the_chain(world: World) -> None:
    sale = await world.pay("p-1")
    async with world.working():
        row = await world.status(sale, "fiscalized")
        await world.fault("refuse", params={"type": "UNAVAILABLE_VALUE", "path": "$.loc.billing_place", "desc": "-"})
        refund = await world.refund("r-1", "p-1", 199_000)
        await world.status(refund, "rejected")
        await world.idle()
        again = await world.runtime.services.by_hand.refund(
            world.principal, world.merchant_id, row.id, "k-1", (), None, {}, None
        )
        assert (await world.status(again, "fiscalized")).total == 199_000


async def test_the_fate_of_a_gone_sale_is_told_once(world: World) -> None:
    sale = await world.pay("p-1")
    refund = await world.refund("r-1", "p-1", 199_000)
    await plan_everything(world)
    row = await world.receipt(sale)
    await world.runtime.services.actions.cancel(world.principal, world.merchant_id, row.id, None)
    await plan_everything(world)
    held = await world.receipt(refund)
    assert (held.status, held.sequence) == ("held", 1)
    async with world.runtime.database.pipeline() as tx:
        await tx.execute(text("INSERT INTO jobs (id, kind, lane, ref, run_at) SELECT kassa_uuid7(), 5, source_id, id,"
                              " kassa_now() FROM chains"))  # fmt: skip
    await plan_everything(world)
    assert (await world.receipt(refund)).sequence == 1


async def test_a_corrected_correction_stays_a_correction(world: World) -> None:
    actions = world.runtime.services.actions
    basis = CorrectionBasis(CorrectionKind.SELF, date(2026, 11, 1))
    await world.fault("refuse", params={"type": "UNAVAILABLE_VALUE", "path": "$.loc.billing_place", "desc": "-"})
    event = await world.runtime.services.missing.make(
        world.principal, world.merchant_id, "k-1", Operation.SELL_REFUND, payment("x", occurred_at=NOON), basis
    )
    async with world.working():
        row = await world.status(event, "rejected")
        await actions.patch_receipt(
            world.principal, world.merchant_id, row.id, row.sequence, {"customer": {"email": "olga@example.org"}}
        )
        row = await world.status(event, "fiscalized")
    assert (row.version, row.operation, row.correction) == (2, "sell_refund", True)
    assert [d["operation"] for d in await world.tape()] == ["sell_refund"]


async def test_evidence_after_a_proven_absence_still_blocks_a_resend(database: Database) -> None:
    """A frozen worker's answer comes when a look-up has found nothing already: the absence is disproven."""
    merchant, source = await rows.merchant(database)
    kassa = await rows.kassa(database, merchant)
    receipt = await rows.receipt(database, merchant, source, kassa)
    (job,) = (await take(database)).jobs
    sent = a_mark(job, merchant)
    async with database.raw() as connection:
        assert await mark(connection, [sent]) != [None]
    await rows.move_time(database, 600)
    async with database.raw() as connection:
        await rescue(connection)
    (asking,) = (await take(database)).jobs
    absent = a_settlement(
        asking, merchant, new_id(), expected_status="unknown", status="queued", sequence=0, fiscal=None, fn=None,
        fd=None, fpd=None, next_kind=int(JobKind.FISCALIZE), finishes=False, attempt_kind="lookup",
        outcome="not_found", evidence="{}", proves_absent=True, what="not_found", message_id=None,
        message_type=None, message_body=None,
    )  # fmt: skip
    late = a_settlement(job, merchant, sent.attempt_id, outcome="accepted", data=f'{{"attempt_id": "{new_id()}"}}')
    async with database.raw() as connection:
        assert await settle(connection, [absent]) == [Verdict.SETTLED]
        assert await settle(connection, [late]) == [Verdict.STALE]
        assert await settle(connection, [late]) == [Verdict.STALE], "its commit was lost: the look-up is still to come"
    async with database.pipeline() as tx:
        assert (await receipts.earlier_attempts(tx, receipt, receipt.hex)).evidence


async def test_what_a_look_up_found_blocks_a_resend_too(database: Database) -> None:
    """A person decided to send again while a look-up was on the wire, and the look-up found the document."""
    merchant, source = await rows.merchant(database)
    kassa = await rows.kassa(database, merchant)
    receipt = await rows.receipt(database, merchant, source, kassa)
    (job,) = (await take(database)).jobs
    async with database.pipeline() as tx:
        await receipts.vouch_absent(tx, receipt)
        await work.take_unmarked(tx, receipt)
    found = a_settlement(job, merchant, new_id(), expected_status="unknown", attempt_kind="lookup")
    async with database.raw() as connection:
        assert await settle(connection, [found]) == [Verdict.STALE]
    async with database.pipeline() as tx:
        assert (await receipts.earlier_attempts(tx, receipt, receipt.hex)).evidence


async def test_a_second_document_is_told_at_once(world: World) -> None:
    event = await world.pay("p-1")
    async with world.working():
        row = await world.status(event, "fiscalized")
        await world.idle()
    async with world.runtime.database.pipeline() as tx:
        await tx.execute(
            text(
                "INSERT INTO attempts (id, merchant_id, receipt_id, kassa_id, kind, provider_id, worker, outcome,"
                " finished_at, evidence) SELECT kassa_uuid7(), merchant_id, receipt_id, kassa_id, kind, provider_id,"
                " 'w2', 'fiscalized', kassa_now(), evidence || '{\"fd\": 999999}' FROM attempts"
            )
        )
        await evidence.make_lookup_due(tx, world.runtime.keys.box, world.runtime.links, world.merchant_id, row.id, "w2")
    after = await world.receipt(event)
    assert (after.status, after.sequence) == ("needs_attention", 2)
    assert after.failure is not None
    assert after.failure["message_ru"]
    told = "SELECT count(*) FROM messages WHERE type = 'receipt.needs_attention' AND sequence = 2"
    assert await rows.scalar(world.runtime.database, told) == 1


async def test_lanes_of_one_provider_take_turns(database: Database) -> None:
    """A worker may hold four of a provider's jobs; two deep lanes first in the ring must not take every free place."""
    merchant, source = await rows.merchant(database)
    kassas = [await rows.kassa(database, merchant, max_in_flight=4) for _ in range(3)]
    for kassa in kassas:
        for _ in range(20):
            await rows.receipt(database, merchant, source, kassa)
    served: Counter[UUID] = Counter()
    cursor = START
    for _ in range(6):
        async with database.raw_transaction() as connection:
            found = await claim(
                connection,
                token=new_id(),
                limit=100,
                lease_seconds=60,
                cursor=cursor,
                provider_limit=4,
                provider_running={"digitalkassa": 3},
            )
        cursor = found.cursor
        served.update(job.lane for job in found.jobs)
    assert served == dict.fromkeys(kassas, 2)


async def test_a_lane_that_is_full_elsewhere_leaves_its_share(database: Database) -> None:
    merchant, source = await rows.merchant(database)
    full = await rows.kassa(database, merchant, max_in_flight=4)
    for _ in range(20):
        await rows.receipt(database, merchant, source, full)
    assert len((await take(database)).jobs) == 4, "another worker has the lane's four"
    other = await rows.kassa(database, merchant, max_in_flight=4)
    await rows.receipt(database, merchant, source, other)
    async with database.raw_transaction() as connection:
        found = await claim(connection, token=new_id(), limit=100, lease_seconds=60, provider_limit=4)
    assert [job.lane for job in found.jobs] == [other]


async def test_a_receipt_that_cannot_be_read_stops_no_other(world: World) -> None:
    broken, good = await world.pay("p-1"), await world.pay("p-2")
    async with world.runtime.database.pipeline() as tx:
        await tx.execute(text("UPDATE receipts SET customer = '\\x00' WHERE event_id = :e"), {"e": broken})
    async with world.working():
        await world.status(good, "fiscalized")
    assert (await world.receipt(broken)).status == "queued"


async def test_an_exhausted_pool_is_busy_and_not_a_bug(database_url: str) -> None:
    database = Database(Dsn.parse(database_url), pool_size=1, pool_timeout=0.05, max_overflow=0)
    marks: GroupCommitter[int, int] = GroupCommitter("numbers", database, _numbers)
    try:
        async with database.pipeline():
            with pytest.raises(Busy):
                await database.now()
            with pytest.raises(CommitUnknown):
                await marks.submit(1)
        assert await marks.submit(2) == 2
    finally:
        await marks.close()
        await database.close()


async def _numbers(_: object, batch: Sequence[int]) -> list[int]:
    return list(batch)


async def test_a_kassa_whose_address_changed_meanwhile_is_not_used(database: Database) -> None:
    merchant, source = await rows.merchant(database)
    kassa = await rows.kassa(database, merchant)
    await rows.receipt(database, merchant, source, kassa)
    (job,) = (await take(database)).jobs
    first = a_mark(job, merchant)._replace(
        first_use=True, provider="digitalkassa", base_url="http://127.0.0.1:1/", group_key="g"
    )
    async with database.pipeline() as tx:
        await tx.execute(text("UPDATE kassas SET base_url = 'http://127.0.0.1:2/'"))
    async with database.raw() as connection:
        assert await mark(connection, [first]) == [None]
        assert await mark(connection, [first._replace(base_url="http://127.0.0.1:2/")]) != [None]


async def test_words_that_the_database_cannot_store_keep_no_answer_out(world: World) -> None:
    desc = "место\x00 не подходит"
    await world.fault("refuse", params={"type": "UNAVAILABLE_VALUE", "path": "$.loc.billing_place", "desc": desc})
    event = await world.pay()
    async with world.working():
        row = await world.status(event, "rejected")
    assert row.failure is not None
    assert row.failure["provider_message"] is not None


async def test_a_provider_that_forgets_an_accepted_receipt_is_told_as_that(world: World) -> None:
    """And only after the delay within which a document may be invisible."""
    await world.fault("queue_forever")
    event = await world.pay()
    async with world.working():
        row = await world.status(event, "accepted")
        await world.http.delete(f"{world.simulator_url}/faults")
        gone = {"status": 404, "body": {"type": "RECEIPT_NOT_FOUND"}}
        await world.fault("answer", times=None, match={"action": "lookup"}, params=gone)
        for _ in range(3):
            await world.runtime.services.actions.retry(world.principal, world.merchant_id, row.id)
            await world.until(lambda: nothing_due(world))
        assert (await world.receipt(event)).status == "accepted"
        await rows.move_time(world.runtime.database, 120)
        for _ in range(2):
            await rows.due_now(world.runtime.database)
            await world.until(lambda: nothing_due(world))
            await rows.move_time(world.runtime.database, 240)
        row = await world.status(event, "needs_attention")
    assert row.failure is not None
    assert row.failure["code"] == "vanished"


async def nothing_due(world: World) -> bool:
    due = "SELECT count(*) FROM jobs WHERE lease_token IS NOT NULL OR run_at <= kassa_now()"
    return await rows.scalar(world.runtime.database, due) == 0


async def test_an_outage_that_begins_under_a_rate_limit_is_told(world: World) -> None:
    pacing, kassa = await pacing_of(world)
    job = Job(new_id(), JobKind.FISCALIZE, world.kassa_id, None, new_id(), 1, new_id(), NOON)
    await pacing.heard(job, kassa, Unavailable("rate_limited", retry_after_seconds=30))
    await pacing.heard(job, kassa, Unavailable("credentials_refused", Scope.KASSA))
    await pacing.heard(job, kassa, Unavailable("rate_limited", retry_after_seconds=30))
    told = "SELECT count(*) FROM messages WHERE type = 'kassa.paused'"
    assert await rows.scalar(world.runtime.database, told) == 1
    cause = "SELECT pause_cause FROM lanes WHERE id = :id"
    assert await rows.scalar(world.runtime.database, cause, id=world.kassa_id) == "credentials_refused"


PACING: dict[str, Any] = {
    "retry_base_seconds": 1,
    "retry_cap_seconds": 2,
    "freshness_seconds": 5,
    "visibility_seconds": None,
    "pause_after_failures": 3,
    "probe_base_seconds": 1,
    "probe_cap_seconds": 2,
}


async def pacing_of(world: World) -> tuple[Pacing, KassaRow]:
    settings = await world.runtime.services.catalog.merchant(world.merchant_id)
    return Pacing(world.runtime.database, **PACING), settings.kassas[world.kassa_id]


class Away:
    """Contexts of a source that does not answer when it is asked about its own notification."""

    adapters: "Away"

    def __init__(self) -> None:
        self.adapters = self

    def get(self, _: str) -> "Away":
        return self

    async def of(self, _: object) -> None:
        """It needs nothing to fail."""

    async def parse(self, *_: object) -> ReadBackFailed:
        return ReadBackFailed("no answer")


async def test_an_acknowledged_notification_is_never_given_up(world: World) -> None:
    database, runtime = world.runtime.database, world.runtime
    raw = runtime.keys.box.seal(
        b'{"method": "POST", "query": "", "headers": {}, "body": ""}',
        aad("notifications", "raw", world.merchant_id, (row_id := new_id())),
    )
    settings = await runtime.services.catalog.merchant(world.merchant_id)
    async with database.pipeline() as tx:
        assert await notifications.add(tx, row_id, settings.built_in_source, "pay", b"d", raw) == row_id
        assert await notifications.add(tx, new_id(), settings.built_in_source, "pay", b"d", raw) is None
        await work.enqueue(tx, JobKind.INBOUND, world.source_id, row_id)
    (job,) = (await take(database)).jobs
    away: Any = Away()
    inbound = Inbound(
        database=database,
        contexts=away,
        known=away,
        kassas=runtime.kassas,
        intake=runtime.services.intake,
        actions=runtime.services.actions,
        box=runtime.keys.box,
        metrics=runtime.metrics,
        failpoints=runtime.failpoints,
    )
    await inbound.run(job._replace(attempt=1_000))
    assert await rows.scalar(database, "SELECT count(*) FROM jobs") == 1
    async with database.pipeline() as tx:
        stored = await notifications.by_id(tx, row_id)
        assert stored is not None
        assert stored.status == "received"
        await notifications.finish(tx, stored, "failed", "the source denied it")
        assert await notifications.add(tx, new_id(), settings.built_in_source, "pay", b"d", raw) == row_id, "once more"


async def test_the_windows_of_a_new_version_run_from_its_own_first_send(world: World) -> None:
    await world.fault("refuse", params={"type": "UNAVAILABLE_VALUE", "path": "$.loc.billing_place", "desc": "-"})
    event = await world.pay()
    async with world.working():
        row = await world.status(event, "rejected")
    assert row.first_marked_at is not None
    await world.runtime.services.actions.retry(world.principal, world.merchant_id, row.id)
    again = await world.receipt(event)
    assert (again.version, again.marks, again.first_marked_at) == (2, 1, None)


async def test_a_breaker_without_a_database_keeps_no_answer_out(world: World) -> None:
    """It hears the outcome before the outcome is stored."""
    pacing, kassa = await pacing_of(world)
    job = Job(new_id(), JobKind.FISCALIZE, world.kassa_id, None, new_id(), 1, new_id(), NOON)
    away = Database(Dsn.parse("postgresql://kassa@127.0.0.1:1/kassa"))
    try:
        unreachable = Pacing(away, **PACING)
        await unreachable.heard(job, kassa, Unavailable("credentials_refused", Scope.KASSA))
    finally:
        await away.close()
    await pacing.heard(job, kassa, Unavailable("credentials_refused", Scope.KASSA))
    assert await rows.scalar(world.runtime.database, "SELECT paused_at IS NOT NULL FROM lanes WHERE kind = 'kassa'")
