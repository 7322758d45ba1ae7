"""The merchants' systems: take webhooks, verify them with another library, read the receipt back before they answer."""

import asyncio
import hashlib
import json
import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import asyncpg
import standardwebhooks
from aiohttp import web

from tests.chaos.contract import Contract

FAULTS = {"500": 0.06, "timeout": 0.02, "302": 0.03, "429": 0.04, "close": 0.05}
"""What goes wrong in one post of five."""


class Sink:
    """Endpoints `/hook/0`, `/hook/1`, …; `secrets` and `readers` (an API key each) are filled in when they are made.

    Every post is written down with its bytes' hash, its answer, and what was committed of the receipt at that moment;
    one in ten with what the API showed of it. `moods` makes an endpoint "dead" (cuts every call) or "gone" (410).
    """

    def __init__(
        self,
        api_url: str,
        database_url: str | Callable[[], str],
        log: Path,
        seed: str,
        contract: Contract | None = None,
    ) -> None:
        self._api = api_url
        self._database_url = database_url
        self._database: asyncpg.Connection | None = None
        self._turn = asyncio.Lock()
        self._count = 0
        self._log = log.open("a")
        self._random = random.Random(f"{seed}/sink")
        self.on = True
        self.secrets: list[str] = []
        self.readers: list[str] = []
        self.port = 0
        self.posts: Counter[str] = Counter()
        self._runner: web.AppRunner | None = None
        self._http: aiohttp.ClientSession | None = None
        self._contract = contract or Contract()
        self.deviations: Counter[str] = Counter()
        self.broke: Counter[str] = Counter()
        self.moods: dict[int, str] = {}

    async def start(self) -> None:
        app = web.Application()
        app.router.add_post("/hook/{number}", self._heard)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=0.5))

    async def stop(self) -> None:
        assert self._runner is not None
        assert self._http is not None
        await self._http.close()
        if self._database is not None:
            self._database.terminate()
        await self._runner.cleanup()
        self._log.close()

    async def _heard(self, request: web.Request) -> web.StreamResponse:
        try:
            return await self._hook(request)
        except Exception as error:
            self.broke[repr(error)[:300]] += 1
            raise

    async def _hook(self, request: web.Request) -> web.StreamResponse:
        number = int(request.match_info["number"])
        body = await request.read()
        record: dict[str, Any] = {
            "at": time.time(),
            "endpoint": number,
            "id": request.headers.get("webhook-id"),
            "sha256": hashlib.sha256(body).hexdigest(),
        }
        try:
            told = standardwebhooks.Webhook(self.secrets[number]).verify(body, dict(request.headers))
            record["verified"] = True
        except standardwebhooks.WebhookVerificationError as error:
            record["verified"], record["error"] = False, str(error)
            told = json.loads(body)
        record["type"] = told["type"]
        if (wrong := self._contract.message_deviation(told["type"], body)) is not None:
            self.deviations[wrong] += 1
        mood = self.moods.get(number)
        receipt = told["data"].get("receipt")
        if receipt is not None:
            record["receipt"], record["sequence"] = receipt["id"], receipt["sequence"]
            self._count += 1
            if self._count % 10 == 0 and mood is None:
                record["seen"], record["shown"] = await asyncio.gather(
                    self._committed(receipt["id"]), self._read_back(number, receipt["id"])
                )
            else:
                record["seen"] = await self._committed(receipt["id"])
        fault = mood or self._draw()
        record["answer"] = fault or "204"
        self.posts[record["answer"]] += 1
        self._log.write(json.dumps(record) + "\n")
        self._log.flush()
        return await self._answer(request, fault)

    def _draw(self) -> str | None:
        point = self._random.random() if self.on else 1.0
        for fault, chance in FAULTS.items():
            point -= chance
            if point < 0:
                return fault
        return None

    async def _answer(self, request: web.Request, fault: str | None) -> web.StreamResponse:
        match fault:
            case "500":
                return web.Response(status=500, text="broken")
            case "timeout":
                await asyncio.sleep(3)
                return web.Response(status=204)
            case "302":
                return web.Response(status=302, headers={"Location": "/elsewhere"})
            case "429":
                return web.Response(status=429, headers={"Retry-After": "1"})
            case "gone":
                return web.Response(status=410)
            case "close" | "dead":
                if request.transport is not None:  # None: the worker hung up first
                    request.transport.abort()
                return web.Response(status=204)
            case _:
                return web.Response(status=204)

    async def _committed(self, receipt_id: str) -> int | str:
        """The sequence that is committed at this moment: asked past the program, so that nothing can hide it."""
        async with self._turn:
            try:
                async with asyncio.timeout(1):
                    url = self._database_url
                    if self._database is None or self._database.is_closed():
                        self._database = await asyncpg.connect(url if isinstance(url, str) else url())
                    sql = "SELECT sequence FROM receipts WHERE id = $1"
                    found = await self._database.fetchval(sql, UUID(receipt_id.removeprefix("rcpt_")))
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
                return "no answer"
        return "not there" if found is None else int(found)

    async def _read_back(self, number: int, receipt_id: str) -> int | str:
        """The sequence that the API shows now, or why it shows none."""
        assert self._http is not None
        headers = {"Authorization": f"Bearer {self.readers[number]}"}
        try:
            async with self._http.get(f"{self._api}/v1/receipts/{receipt_id}", headers=headers) as answer:
                body = await answer.read()
                wrong = self._contract.deviation(
                    "get", "/v1/receipts/{receipt_id}", answer.status, answer.content_type, body
                )
                if wrong is not None:
                    self.deviations[wrong] += 1
                if answer.status != 200:
                    return f"HTTP {answer.status}"
                return int(json.loads(body)["sequence"])
        except (aiohttp.ClientError, TimeoutError, OSError):
            return "no answer"
