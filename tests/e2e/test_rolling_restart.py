"""A deploy under load: both APIs and both workers are replaced one after another by SIGTERM, and no client notices.

Clients do what the documentation asks of them: what was not answered is sent once more, to the other address.
"""

import asyncio
import itertools
import json
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from app.keys import generate
from app.simulator.server import UVICORN_OPTIONS, create_simulator
from tests.support.connected import ENVIRONMENT, EVENT, connect
from tests.support.program import Program, program
from tests.support.server import serve

CLIENTS = 8
BETWEEN = 60
"""Acknowledged payments before the next process is replaced."""
_ON_THEIR_WAY = "status=queued&status=sending&status=accepted&status=unknown"


@dataclass
class Till:
    """Clients over two addresses."""

    urls: list[str]
    key: str
    acknowledged: list[str] = field(default_factory=list)
    repeated: int = 0
    failed: list[str] = field(default_factory=list)
    numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    @asynccontextmanager
    async def pressing(self) -> AsyncIterator[None]:
        ending = asyncio.Event()
        tasks = [asyncio.create_task(self._press(turn, ending)) for turn in range(CLIENTS)]
        try:
            yield
        finally:
            ending.set()
            await asyncio.gather(*tasks)

    async def _press(self, turn: int, ending: asyncio.Event) -> None:
        async with httpx.AsyncClient(headers={"Authorization": f"Bearer {self.key}"}, timeout=30) as http:
            while not ending.is_set():
                name = f"p-{next(self.numbers)}"
                first, second = (self.urls[(turn + step) % 2] for step in (0, 1))
                if not await self._asked(http, first, name):
                    self.repeated += 1
                    if not await self._asked(http, second, name):
                        self.failed.append(name)
                        continue
                self.acknowledged.append(name)

    async def _asked(self, http: httpx.AsyncClient, url: str, name: str) -> bool:
        try:
            answer = await http.post(f"{url}/v1/events", json=EVENT | {"external_id": name})
        except httpx.TransportError:
            return False
        assert answer.status_code in (200, 202, 503), answer.text
        return answer.status_code != 503

    async def more(self, number: int) -> None:
        wanted = len(self.acknowledged) + number
        async with asyncio.timeout(60):
            while len(self.acknowledged) < wanted:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def started(folder: Path, environment: dict[str, str], *command: str) -> AsyncIterator[Program]:
    async with program(*command, cwd=folder, **environment) as running:
        await running.says("API http" if command[0] == "api" else "Worker")
        yield running


async def test_no_client_notices_a_deploy(
    database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    environment = {**ENVIRONMENT, **generate(), "KASSA_DATABASE_URL": database_url}
    async with program("key", "create", "--admin", "--json", cwd=tmp_path, **environment) as made_key:
        assert await made_key.end() == 0, made_key.said
        admin_key = json.loads(made_key.said)["key"]
    async with AsyncExitStack() as stack:
        simulator_url = await stack.enter_async_context(serve(create_simulator(), **UVICORN_OPTIONS))

        async def start(*command: str) -> Program:
            return await stack.enter_async_context(started(tmp_path, environment, *command))

        apis = [await start("api", "--port", "0") for _ in range(2)]
        urls = [api.lines[-1].split()[-1] for api in apis]
        workers = [await start("worker") for _ in range(2)]
        till = Till(urls, await connect(urls[0], admin_key, simulator_url))
        async with till.pressing():
            await till.more(BETWEEN)
            for place in range(2):
                assert await apis[place].end(signal.SIGTERM) == 0, apis[place].said
                await till.more(BETWEEN)
                apis[place] = await start("api", "--port", urls[place].rpartition(":")[2])
                assert await workers[place].end(signal.SIGTERM) == 0, workers[place].said
                workers[place] = await start("worker")
                await till.more(BETWEEN)
        async with httpx.AsyncClient(base_url=urls[0], headers={"Authorization": f"Bearer {till.key}"}) as http:
            async with asyncio.timeout(120):
                while (await http.get(f"/v1/receipts?{_ON_THEIR_WAY}&limit=1")).json()["data"]:
                    await asyncio.sleep(0.1)
            printed: Counter[str] = Counter()
            cursor = ""
            while True:
                page = (await http.get(f"/v1/receipts?limit=100{cursor}")).json()
                printed.update(one["external_id"] for one in page["data"] if one["status"] == "fiscalized")
                if not page["has_more"]:
                    break
                cursor = f"&cursor={page['next_cursor']}"
    assert not till.failed, f"{len(till.failed)} payments failed twice"
    assert printed == Counter(till.acknowledged), "each acknowledged payment has its one receipt"
    with capsys.disabled():
        told = f"{len(till.acknowledged)} acknowledged, {till.repeated} sent twice, 0 failed, 0 lost"
        print(f"\n  two APIs and two workers replaced under load: {told}")
