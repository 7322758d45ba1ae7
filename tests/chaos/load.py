"""What the customers' systems report, drawn from the seed before anything runs, and the clients that report it.

A client repeats a request until it is acknowledged, as the contract tells it to, and writes down every answer.
"""

import asyncio
import hashlib
import json
import random
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from tests.chaos.contract import Contract
from tests.chaos.pace import Pace

CANARY_EMAIL = "kanareyka.canary@example.org"
CANARY_PHONE = "+79990001234"

IN_FLIGHT = 24
"""Requests that all clients together have open; the others wait their turn, as behind a pool of connections."""


@dataclass(frozen=True, slots=True)
class Report:
    """One request of the plan. `name` is the printed line of a sale: the business key that no table of ours knows.

    `copy` counts repeats of the same content; `key` makes it a manual receipt under that Idempotency-Key.
    """

    at: float
    merchant: int
    kind: str
    external_id: str
    name: str
    total: int
    body: dict[str, Any]
    copy: int = 0
    key: str | None = None
    contradicts: bool = False


def plan(seed: str, events: int, merchants: int, rate: float, refunds: bool = True) -> list[Report]:
    """70 % sales, 20 % refunds (one in twenty before its sale), 10 % exact repeats of 1 to 3 copies; in sending order.

    Besides, one event in fifty is a manual receipt under an Idempotency-Key, sent three times, once with other content.
    """
    rng = random.Random(f"{seed}/load")
    sales_wanted = events * 7 // 10 if refunds else events * 9 // 10
    refunds_wanted = events * 2 // 10 if refunds else 0
    repeats_wanted = events - sales_wanted - refunds_wanted
    seconds = events / rate
    made: list[Report] = []
    sales: list[Report] = []
    for number in range(sales_wanted):
        total = rng.randrange(100, 2_000_000)
        sales.append(_sale(rng.uniform(0, seconds * 0.9), rng.randrange(merchants), f"p-{number:06d}", total, rng))
    for sale in rng.sample(sales, refunds_wanted):
        early = rng.random() < 0.05
        at = max(0.0, sale.at - rng.uniform(0.1, 3)) if early else min(seconds, sale.at + rng.uniform(0.05, 8))
        made.append(_refund(at, sale, rng))
    made += sales
    for original in rng.sample(made, repeats_wanted):
        for copy in range(1, rng.randint(1, 3) + 1):
            later = 0.0 if rng.random() < 0.5 else rng.uniform(0.01, 5)
            made.append(_again(original, original.at + later, copy))
    for number in range(events // 50):
        made += _manual(rng.uniform(0, seconds * 0.8), rng.randrange(merchants), number, rng)
    return sorted(made, key=lambda one: (one.at, one.external_id, one.copy))


def _sale(at: float, merchant: int, external_id: str, total: int, rng: random.Random) -> Report:
    contact = {"email": CANARY_EMAIL} if rng.random() < 0.7 else {"phone": CANARY_PHONE}
    name = f"Абонемент {external_id}"
    body = {
        "type": "payment.succeeded",
        "external_id": external_id,
        "amount": total,
        "currency": "RUB",
        "customer": contact,
        "items": [{"name": name, "quantity": "1", "price": total, "amount": total, "vat": "none"}],
    }
    return Report(at, merchant, "sell", external_id, name, total, body)


def _refund(at: float, sale: Report, rng: random.Random) -> Report:
    total = sale.total if rng.random() < 0.5 else rng.randrange(1, sale.total)
    external_id = sale.external_id.replace("p-", "r-")
    body = {
        "type": "refund.succeeded",
        "external_id": external_id,
        "payment_id": sale.external_id,
        "amount": total,
        "currency": "RUB",
    }
    return Report(at, sale.merchant, "sell_refund", external_id, sale.name, total, body)


def _again(original: Report, at: float, copy: int) -> Report:
    return Report(
        at, original.merchant, original.kind, original.external_id, original.name, original.total, original.body, copy
    )


def _manual(at: float, merchant: int, number: int, rng: random.Random) -> list[Report]:
    total = rng.randrange(100, 100_000)
    key = f"m-{number:05d}"
    name = f"Ручной {key}"
    lines = [{"name": name, "quantity": "1", "price": total, "amount": total, "vat": "none"}]
    body = {"operation": "sell", "amount": total, "currency": "RUB", "customer": {"email": CANARY_EMAIL}}
    first = Report(at, merchant, "sell", key, name, total, {**body, "items": lines}, key=key)
    again = Report(at + rng.uniform(0, 3), merchant, "sell", key, name, total, first.body, copy=1, key=key)
    other = {**first.body, "amount": total + 1, "items": [{**lines[0], "price": total + 1, "amount": total + 1}]}
    wrong = Report(at + rng.uniform(0, 3), merchant, "sell", key, name, total, other, copy=2, key=key, contradicts=True)
    return [first, again, wrong]


class Clients:
    """Sends the plan at its times through `url` and writes every acknowledgement to `log`."""

    def __init__(self, url: str, keys: list[str], log: Path, patience: float, contract: Contract, pace: Pace) -> None:
        self._url = url
        self._pace = pace
        self._keys = keys
        self._patience = patience
        self._log = log.open("a")
        self.acknowledged = 0
        self.repeats_heard = 0
        self.errors: dict[str, int] = {}
        self.gave_up: list[str] = []
        self.latencies: list[float] = []
        self._error: BaseException | None = None
        self._turn = asyncio.Semaphore(IN_FLIGHT)
        self._first: dict[str, asyncio.Event] = {}
        self._contract = contract
        self.deviations: Counter[str] = Counter()

    async def run(self, reports: list[Report]) -> None:
        """Until every request of the plan has its answer."""
        connector = aiohttp.TCPConnector(limit=IN_FLIGHT)
        async with aiohttp.ClientSession(connector=connector) as session:
            tasks: set[asyncio.Task[None]] = set()
            for one in reports:
                await self._pace.until(one.at)
                task = asyncio.create_task(self._report(session, one))
                tasks.add(task)
                task.add_done_callback(self._done)
                task.add_done_callback(tasks.discard)
            await asyncio.gather(*tasks)
        self._log.close()
        if self._error is not None:
            raise self._error

    def _done(self, task: asyncio.Task[None]) -> None:
        """A client that broke is a fault of the harness; the run must not go on without it unnoticed."""
        if not task.cancelled() and self._error is None:
            self._error = task.exception()

    async def _report(self, session: aiohttp.ClientSession, one: Report) -> None:
        if one.key is not None and one.copy:
            # Which content comes first under a key is the client's own affair, so it waits for its first answer.
            await self._first.setdefault(one.key, asyncio.Event()).wait()
        until = time.monotonic() + self._patience
        pause = 0.05
        while True:
            async with self._turn:
                began = time.monotonic()
                status, body, replayed = await self._once(session, one)
            if status is not None and 200 <= status < 300:
                self.latencies.append(time.monotonic() - began)
                self.acknowledged += 1
                self.repeats_heard += replayed
                self._note(one, status, body, replayed)
                if one.key is not None:
                    self._first.setdefault(one.key, asyncio.Event()).set()
                return
            if one.contradicts and status in (409, 422):
                self._note(one, status, body, replayed)
                return
            told = str(status) if status is not None else "no answer"
            self.errors[told] = self.errors.get(told, 0) + 1
            # A manual receipt whose first request still runs hears 409: the contract says to ask again.
            temporary = status is None or status in (429, 503) or (status == 409 and one.key is not None)
            if not temporary or time.monotonic() > until:
                self.gave_up.append(f"{one.external_id}: {told} {body[:300]!r}")
                self._note(one, status or 0, body, replayed)
                if one.key is not None:
                    self._first.setdefault(one.key, asyncio.Event()).set()
                return
            await asyncio.sleep(pause)
            pause = min(pause * 2, 0.5)

    async def _once(self, session: aiohttp.ClientSession, one: Report) -> tuple[int | None, bytes, bool]:
        headers = {"Authorization": f"Bearer {self._keys[one.merchant]}", "Content-Type": "application/json"}
        if one.key is not None:
            headers["Idempotency-Key"] = one.key
        path = "/v1/receipts" if one.key is not None else "/v1/events"
        try:
            async with session.post(
                self._url + path,
                data=json.dumps(one.body).encode(),
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=3, sock_read=10),
            ) as answer:
                body = await answer.read()
                wrong = self._contract.deviation("post", path, answer.status, answer.content_type, body)
                if wrong is not None:
                    self.deviations[wrong] += 1
                return answer.status, body, answer.headers.get("Idempotent-Replayed") == "true"
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None, b"", False

    def _note(self, one: Report, status: int, body: bytes, replayed: bool) -> None:
        record = {
            "at": time.time(),
            "merchant": one.merchant,
            "kind": one.kind,
            "external_id": one.external_id,
            "name": one.name,
            "total": one.total,
            "copy": one.copy,
            "key": one.key,
            "contradicts": one.contradicts,
            "status": status,
            "replayed": replayed,
            "sha256": hashlib.sha256(body).hexdigest(),
            "id": _id(body),
        }
        self._log.write(json.dumps(record, ensure_ascii=False) + "\n")
        self._log.flush()


def _id(body: bytes) -> str | None:
    try:
        found = json.loads(body).get("id")
    except (ValueError, AttributeError):
        return None
    return found if isinstance(found, str) else None
