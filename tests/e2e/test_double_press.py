"""Everybody presses twice: fifty clients report the same two hundred payments at once, over HTTP."""

import asyncio
import json
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from app.infra.ids import new_id
from app.services.principal import Principal
from tests.chaos.children import answering, free_port
from tests.support import rows
from tests.support.processes import worker
from tests.support.program import program
from tests.support.world import World, open_world

CLIENTS, PAYMENTS, SEED = 50, 200, 20261123


@pytest.fixture
async def world(database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(database_url, tmp_path) as found:
        yield found


@asynccontextmanager
async def api(world: World, folder: Path) -> AsyncIterator[str]:
    """`crm-kassa api` as a process of its own, against the world's database and with its keys."""
    own, port = world.runtime.settings, free_port()
    keys = {name: getattr(own, name) for name in ("secret_keys", "search_key", "key_pepper")}
    environment = {f"KASSA_{name.upper()}": key.get_secret_value() for name, key in keys.items()}
    environment |= {"KASSA_DATABASE_URL": world.runtime.database.dsn.asyncpg_dsn, "KASSA_LOG_LEVEL": "warning"}
    async with program("api", "--port", str(port), cwd=folder, **environment):
        await answering(f"http://127.0.0.1:{port}/readyz")
        yield f"http://127.0.0.1:{port}"


class Press:
    """What all clients heard, by payment."""

    def __init__(self, url: str, key: str) -> None:
        self._url = f"{url}/v1/events"
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self.heard: dict[str, list[tuple[int, str | None, str]]] = defaultdict(list)
        self.turned_away = 0

    async def client(self, number: int, start: asyncio.Event) -> None:
        """One client with its own connection; each shuffles the payments in its own way."""
        bodies = [(f"p-{n}", json.dumps(event(n)).encode()) for n in range(PAYMENTS)]
        random.Random(SEED + number).shuffle(bodies)
        async with aiohttp.ClientSession(headers=self._headers) as session:
            await start.wait()
            for external_id, body in bodies:
                await self._until_answered(session, external_id, body)

    async def _until_answered(self, session: aiohttp.ClientSession, external_id: str, body: bytes) -> None:
        while True:
            async with session.post(self._url, data=body) as answer:
                text = await answer.read()
                if answer.status == 503:
                    # The contract: not taken, ask again after this time.
                    self.turned_away += 1
                    await asyncio.sleep(float(answer.headers["Retry-After"]))
                    continue
                replayed = answer.headers.get("Idempotent-Replayed")
                self.heard[external_id].append((answer.status, replayed, str(json.loads(text).get("id"))))
                return


def event(number: int) -> dict[str, Any]:
    amount = 100_000 + number
    line = {"name": f"Абонемент {number}", "quantity": "1", "price": amount, "amount": amount, "vat": "none"}
    return {
        "type": "payment.succeeded",
        "external_id": f"p-{number}",
        "amount": amount,
        "currency": "RUB",
        "customer": {"email": "anna@example.org"},
        "items": [line],
    }


@pytest.mark.timeout(300)  # ten thousand requests; a machine that is busy with other things takes its time
async def test_fifty_clients_press_the_same_two_hundred_payments(world: World, tmp_path: Path) -> None:
    root = Principal(new_id(), None, None, frozenset({"admin"}))
    created = world.runtime.services.access.create
    key = (await created(root, merchant_id=world.merchant_id, name="CRM", scopes=["*"])).text
    async with worker(world), api(world, tmp_path) as url:
        press, start = Press(url, key), asyncio.Event()
        clients = [asyncio.create_task(press.client(number, start)) for number in range(CLIENTS)]
        await asyncio.sleep(0)
        start.set()
        await asyncio.gather(*clients)
        await world.idle(seconds=60)

    assert sorted(press.heard) == sorted(f"p-{n}" for n in range(PAYMENTS))
    for external_id, answers in press.heard.items():
        firsts = [one for one in answers if one[:2] == (202, None)]
        repeats = [one for one in answers if one[:2] == (200, "true")]
        found = Counter(one[:2] for one in answers)
        assert (len(firsts), len(repeats)) == (1, CLIENTS - 1), f"{external_id} was answered {found}"
        assert len({event_id for _, _, event_id in answers}) == 1, f"{external_id} was taken as several events"
    assert len({answers[0][2] for answers in press.heard.values()}) == PAYMENTS

    database = world.runtime.database
    assert await rows.scalar(database, "SELECT count(*) FROM events") == PAYMENTS
    assert await rows.scalar(database, "SELECT count(*) FROM receipts") == PAYMENTS
    assert await rows.scalar(database, "SELECT count(*) FROM receipts WHERE status = 'fiscalized'") == PAYMENTS
    documents = await world.tape()
    assert sorted(one["total"] for one in documents) == [100_000 + n for n in range(PAYMENTS)]
    assert len({one["provider_id"] for one in documents}) == PAYMENTS
