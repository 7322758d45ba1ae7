"""The whole program through PgBouncer in transaction mode, where no two transactions need have the same server."""

import asyncio
import os
import shutil
import socket
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import asyncpg
import httpx
import pytest
from sqlalchemy import text

from app.cli.errors import Stop
from app.cli.place import Place, required_schema
from app.db import migrate
from app.db.repos import chains
from app.infra.dsn import Dsn
from app.infra.ids import new_id
from app.main import create_app
from app.services.principal import Principal
from app.services.retention import Limits, Retention
from tests.support import rows
from tests.support.world import World, open_world

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")

pytestmark = pytest.mark.skipif(
    PGBOUNCER is None, reason="PgBouncer is not installed here (Debian: apt-get install pgbouncer)"
)

SERVERS = 3
LOGIN = "kassa_pooled"


@dataclass(frozen=True)
class Pooled:
    """One database by two ways."""

    url: str
    direct_url: str


@pytest.fixture
async def pooled(database_url: str) -> AsyncIterator[Pooled]:
    """PgBouncer before the test's database, with fewer servers than the program has connections."""
    direct = Dsn.parse(database_url)
    admin = await asyncpg.connect(database_url)
    login = f"{LOGIN}_{uuid4().hex[:8]}"
    # As the operations page tells: what the program sets on a connection of its own, the login role sets here.
    await admin.execute(f"CREATE ROLE {login} LOGIN IN ROLE kassa_pipeline, kassa_api")
    await admin.execute(f"ALTER ROLE {login} SET role = 'kassa_pipeline'")
    await admin.execute(f"ALTER ROLE {login} SET idle_in_transaction_session_timeout = '30s'")
    await admin.execute(f"ALTER ROLE {login} SET jit = off")
    owner = Path(direct.hosts[0].name).stat()  # noqa: ASYNC240
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = Path(tempfile.mkdtemp(prefix="kassa-pgb-"))
    try:
        (folder / "users.txt").write_text(f'"{login}" ""\n')
        (folder / "pgbouncer.ini").write_text(
            f"""
[databases]
{direct.database} = host={direct.hosts[0].name} port={direct.hosts[0].port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {folder}/users.txt
pool_mode = transaction
default_pool_size = {SERVERS}
max_client_conn = 200
"""
        )
        same_user = {"user": owner.st_uid, "group": owner.st_gid} if os.geteuid() == 0 else {}
        for one in (folder, folder / "users.txt", folder / "pgbouncer.ini"):
            os.chown(one, owner.st_uid, owner.st_gid)
        process = await asyncio.create_subprocess_exec(
            str(PGBOUNCER), "-q", str(folder / "pgbouncer.ini"), stderr=asyncio.subprocess.DEVNULL, **same_user
        )
        try:
            url = f"postgresql://{login}@127.0.0.1:{port}/{direct.database}?sslmode=disable"
            async with asyncio.timeout(20):
                while not await _answers(url):
                    await asyncio.sleep(0.05)
            yield Pooled(url, database_url)
        finally:
            process.terminate()
            await process.wait()
    finally:
        shutil.rmtree(folder)
        await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1", login)
        await admin.execute(f"DROP ROLE {login}")
        await admin.close()


async def _answers(url: str) -> bool:
    try:
        connection = await asyncpg.connect(url, statement_cache_size=0)
    except (OSError, asyncpg.PostgresError):
        return False
    await connection.close()
    return True


@pytest.fixture
async def world(pooled: Pooled, tmp_path: Path) -> AsyncIterator[World]:
    # A worker that only polled would come too late for these tests: who enqueues must be heard.
    async with open_world(
        pooled.url, tmp_path, database_direct_url=pooled.direct_url, worker_poll_seconds=60.0
    ) as found:
        yield found


async def test_receipts_are_made_through_the_pooler(world: World, pooled: Pooled) -> None:
    app = create_app(world.runtime.services, world.runtime.settings, metrics=world.runtime.metrics)
    admin = Principal(new_id(), None, None, frozenset({"admin"}))
    key = await world.runtime.services.access.create(admin, merchant_id=world.merchant_id, name="t", scopes=("*",))
    payment = {
        "type": "payment.succeeded",
        "amount": 100,
        "currency": "RUB",
        "customer": {"email": "anna@example.org"},
        "items": [{"name": "Урок", "quantity": "1", "price": 100, "amount": 100, "vat": "none"}],
    }
    async with (
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app),
            base_url="http://kassa.example.org",
            headers={"Authorization": f"Bearer {key.text}"},
            timeout=60,
        ) as api,
        world.working(workers=2),
    ):
        answers = await asyncio.gather(
            *(
                api.post("/v1/events", json=payment | {"external_id": f"p-{n % 40}"}, headers={"Prefer": "wait=30"})
                for n in range(60)
            )
        )
        assert {answer.status_code for answer in answers} == {200}
        assert {answer.json()["receipts"][0]["status"] for answer in answers} == {"fiscalized"}
        refund = {"type": "refund.succeeded", "external_id": "r-1", "payment_id": "p-1", "amount": 100}
        back = await api.post("/v1/events", json=refund, headers={"Prefer": "wait=30"})
        assert back.json()["receipts"][0]["status"] == "fiscalized"
        for search in ("email=anna@example.org", "status=fiscalized", "external_id=p-3"):
            listed = await api.get(f"/v1/receipts?{search}&limit=5")
            assert listed.json()["data"][0]["status"] == "fiscalized"
        await world.idle()
    tape = await world.tape()
    assert len(tape) == 41
    assert max(Counter(document["provider_id"] for document in tape).values()) == 1
    watcher = await asyncpg.connect(pooled.direct_url)
    try:
        servers = await watcher.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND usename = $1",
            Dsn.parse(pooled.url).user,
        )
    finally:
        await watcher.close()
    assert 0 < servers <= SERVERS


async def test_nothing_of_a_transaction_is_left_on_a_shared_server(world: World) -> None:
    database = world.runtime.database
    await world.pay("p-1")

    async def read() -> None:
        async with database.tenant(new_id()) as tx:
            assert (await tx.execute(text("SELECT count(*) FROM events"))).scalar_one() == 0

    async def look() -> tuple[str, str, str]:
        async with database.raw() as connection:
            row = await connection.fetchrow(
                "SELECT current_user::text, coalesce(current_setting('kassa.merchant', true), ''),"
                " current_setting('plan_cache_mode')"
            )
            return tuple(row)

    for _ in range(5):
        await asyncio.gather(*(read() for _ in range(8)))
        seen = await asyncio.gather(*(look() for _ in range(8)))
        assert set(seen) == {("kassa_pipeline", "", "auto")}
    async with database.pipeline() as tx:
        merchant, *_ = [row[0] for row in await tx.execute(text("SELECT merchant_id FROM chains"))]
        chain = (await tx.execute(text("SELECT id FROM chains"))).scalar_one()
        assert (await chains.lock(tx, merchant, chain)) is not None
    assert await rows.scalar(database, "SELECT count(*) FROM events") == 1


async def test_upkeep_goes_through_the_pooler_and_migrations_around_it(world: World, pooled: Pooled) -> None:
    await Retention(world.runtime.database).prune(Limits(90, 5), "test")
    await required_schema(Place(pooled.url, world.runtime.keys, direct_url=pooled.direct_url), upgrade=True)
    await migrate.downgrade(pooled.direct_url, "0001")
    with pytest.raises(Stop, match="0001"):
        await required_schema(Place(pooled.url, world.runtime.keys, direct_url=pooled.direct_url))
