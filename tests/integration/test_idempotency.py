"""One request per key: replayed byte for byte, refused with other content, tried again when nothing was stored."""

import asyncio
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import insert, select, update

from app.db import tables
from app.db.unit_of_work import Database
from app.domain.errors import Busy, KeyReused, RequestInProgress
from app.infra.crypto import SecretBox
from app.infra.ids import new_id
from app.infra.metrics import Metrics
from app.services.idempotency import Answer, Idempotency

BOX = SecretBox.parse(SecretBox.generate())
ASKED, OTHER = b"a" * 32, b"b" * 32


class Work:
    """A handler that counts how often it ran."""

    def __init__(self, body: bytes = b'{"id":"rcpt_1"}') -> None:
        self.runs = 0
        self._body = body

    async def __call__(self) -> Answer:
        self.runs += 1
        return Answer(202, self._body, {"location": "/v1/receipts/rcpt_1", "content-type": "application/json"})


@pytest.fixture
async def merchant(database: Database) -> UUID:
    merchant_id = new_id()
    async with database.pipeline() as tx:
        await tx.execute(insert(tables.merchants).values(id=merchant_id, name="Школа", inn="7707083893"))
    return merchant_id


@pytest.fixture
def once(database: Database) -> Idempotency:
    return Idempotency(database, BOX)


async def test_a_repeat_hears_the_first_answer_byte_for_byte(database: Database, merchant: UUID) -> None:
    metrics = Metrics()
    once = Idempotency(database, BOX, metrics=metrics)
    work = Work('{"name":"Чек"}\n'.encode())
    first = await once.once(merchant, "k-1", ASKED, work)
    again = await once.once(merchant, "k-1", ASKED, Work(b"something else"))
    assert work.runs == 1
    assert not first.replayed
    assert again.replayed
    assert (again.status, again.body, again.headers) == (first.status, first.body, first.headers)
    assert b"kassa_idempotent_replays_total 1.0" in metrics.exposition()[0]


async def test_other_content_under_the_key_is_refused_and_changes_nothing(once: Idempotency, merchant: UUID) -> None:
    work = Work()
    first = await once.once(merchant, "k-1", ASKED, work)
    with pytest.raises(KeyReused):
        await once.once(merchant, "k-1", OTHER, work)
    assert work.runs == 1
    assert (await once.once(merchant, "k-1", ASKED, work)).body == first.body


async def test_an_answer_is_stored_sealed_and_made_again_when_its_secret_key_is_gone(
    database: Database, once: Idempotency, merchant: UUID
) -> None:
    first = await once.once(merchant, "k-1", ASKED, Work())
    async with database.pipeline() as tx:
        stored = (await tx.execute(select(tables.idempotency_keys.c.body))).scalar_one()
    assert b"rcpt_1" not in stored
    work = Work()
    rotated = Idempotency(database, SecretBox.parse(SecretBox.generate()))
    assert (await rotated.once(merchant, "k-1", ASKED, work)).body == first.body
    assert (await rotated.once(merchant, "k-1", ASKED, work)).replayed
    assert work.runs == 1


async def test_a_key_belongs_to_its_merchant(database: Database, once: Idempotency, merchant: UUID) -> None:
    other = new_id()
    async with database.pipeline() as tx:
        await tx.execute(insert(tables.merchants).values(id=other, name="Другая", inn="7707083893"))
    work = Work()
    await once.once(merchant, "k-1", ASKED, work)
    assert not (await once.once(other, "k-1", OTHER, work)).replayed
    assert work.runs == 2


async def test_while_the_first_runs_a_second_hears_so(database: Database, once: Idempotency, merchant: UUID) -> None:
    running, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> Answer:
        running.set()
        await go_on.wait()
        return Answer(202, b"slow")

    first = asyncio.create_task(once.once(merchant, "k-1", ASKED, slow))
    await running.wait()
    # Also from another process: the row itself is held.
    for process in (once, Idempotency(database, BOX)):
        with pytest.raises(RequestInProgress):
            await process.once(merchant, "k-1", ASKED, Work())
    go_on.set()
    assert (await first).body == b"slow"
    assert (await once.once(merchant, "k-1", ASKED, Work())).body == b"slow"


async def test_two_at_once_do_the_work_once(once: Idempotency, merchant: UUID) -> None:
    work = Work()
    heard = await asyncio.gather(*(once.once(merchant, "k-1", ASKED, work) for _ in range(8)), return_exceptions=True)
    assert work.runs == 1
    answers = [one for one in heard if isinstance(one, Answer)]
    # On a slow machine some are told to come again; nobody hears anything else.
    assert all(isinstance(one, Answer | RequestInProgress) for one in heard)
    assert sum(not answer.replayed for answer in answers) == 1
    assert {answer.body for answer in answers} == {b'{"id":"rcpt_1"}'}


async def test_what_fails_is_not_remembered(once: Idempotency, merchant: UUID) -> None:
    async def broken() -> Answer:
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        await once.once(merchant, "k-1", ASKED, broken)
    work = Work()
    # Nothing was answered, so even other content may use the key.
    assert not (await once.once(merchant, "k-1", OTHER, work)).replayed
    assert work.runs == 1


async def test_a_connection_lost_around_the_commit_is_busy_and_the_work_runs_again(
    database_url: str, once: Idempotency, merchant: UUID
) -> None:
    work = Work()

    async def cut() -> Answer:
        admin = await asyncpg.connect(database_url)
        try:
            ended = await admin.fetchval(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                "WHERE datname = current_database() AND state = 'idle in transaction'"
            )
        finally:
            await admin.close()
        assert ended == 1
        return await work()

    with pytest.raises(Busy):
        await once.once(merchant, "k-1", ASKED, cut)
    answer = await once.once(merchant, "k-1", ASKED, work)
    assert not answer.replayed
    assert work.runs == 2


async def test_after_seven_days_the_key_is_free(database: Database, once: Idempotency, merchant: UUID) -> None:
    work = Work()
    await once.once(merchant, "k-1", ASKED, work)
    await expire(database)
    assert not (await once.once(merchant, "k-1", OTHER, work)).replayed
    assert (await once.once(merchant, "k-1", OTHER, work)).replayed
    assert work.runs == 2


async def test_pruning_deletes_only_what_is_over(database: Database, once: Idempotency, merchant: UUID) -> None:
    for key in ("old-1", "old-2", "old-3"):
        await once.once(merchant, key, ASKED, Work())
    await expire(database)
    await once.once(merchant, "new", ASKED, Work())
    assert await once.prune(2) == 2
    assert await once.prune(2) == 1
    assert await once.prune(2) == 0
    async with database.pipeline() as tx:
        left = (await tx.execute(select(tables.idempotency_keys.c.key))).scalars().all()
    assert left == ["new"]


async def test_many_keys_at_once_leave_connections_for_their_work(database: Database, merchant: UUID) -> None:
    """Each holds a connection while its work needs another; more of them than connections must not lock up."""
    once = Idempotency(database, BOX, at_once=3)
    inside, most = 0, 0

    async def work() -> Answer:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        async with database.pipeline() as tx:
            await tx.execute(select(tables.merchants.c.id))
        inside -= 1
        return Answer(202, b"done")

    answers = await asyncio.gather(*(once.once(merchant, f"k-{n}", ASKED, work) for n in range(40)))
    assert [answer.body for answer in answers] == [b"done"] * 40
    assert most == 3


async def expire(database: Database) -> None:
    async with database.pipeline() as tx:
        await tx.execute(update(tables.idempotency_keys).values(expires_at=tables.idempotency_keys.c.created_at))
