"""The hours of an outage, played: payments go on, the provider fails in one way after another, then comes back.

Time goes from one thing to the next: a minute's payments are sent, then the clock moves to the moment of each probe
that lies in that minute, and each probe is waited for. So the worker sees as many probes as in real hours.
"""

import asyncio
import hashlib
import json
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TextIO

import aiohttp

from app.queue.jobs import JobKind
from tests.chaos.load import CANARY_EMAIL
from tests.chaos.outage_parts import MAX_IN_FLIGHT, Parts, resident_mib

CLIENTS = 16
WARM = 24
STEP_SECONDS = 60.0
REFUNDS = 0.15

SHAPES: tuple[tuple[float, str, dict[str, Any] | None], ...] = (
    (0.0, "connection refused", None),
    (0.40, "503", {"kind": "error_before", "params": {"status": 503}}),
    (0.75, "printed, connection cut", {"kind": "drop_after"}),
    (0.985, "printed, no answer", {"kind": "hang", "params": {"seconds": 60}}),
)
"""What the provider does wrong, from which part of the outage on; the last one costs a real deadline per probe."""
DEAREST = 5_000
"""Kopecks: all payments of six hours together stay below every bound at which a merchant is told of VAT."""


@dataclass(frozen=True, slots=True)
class Outage:
    """An outage, wholly described. `density` is the share of its events that is really sent."""

    hours: float = 6.0
    rate: float = 20.0
    density: float = 0.02
    lane_rate: int = 200
    seed: str = "outage"

    @property
    def seconds(self) -> float:
        return self.hours * 3600

    @property
    def events(self) -> int:
        return max(round(self.seconds * self.rate * self.density), 2 * MAX_IN_FLIGHT)

    @property
    def steps(self) -> int:
        """The outage is played in so many parts: by the minute, or with some events in each."""
        return max(min(round(self.seconds / STEP_SECONDS), self.events // 4), 10)


@dataclass
class Story:
    """What was seen while it was played; times of the database's clock are seconds since the epoch."""

    statuses: Counter[int] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    seconds_intake: float = 0.0
    memory: dict[str, tuple[float, float]] = field(default_factory=dict)
    began: float = 0.0
    resumed: float = 0.0
    back_at: float = 0.0
    """When the provider came back, by the real clock: the calls at the register are counted by it."""
    ended_at: float = 0.0
    waiting: int = 0
    burnt: dict[int, int] = field(default_factory=dict)
    """Attempts that waiting first submits had used up at the end of the outage → how many of them."""
    stragglers: int = 0
    """Receipts left for later look-ups when the queue had been drained."""
    receipts: list[dict[str, Any]] = field(default_factory=list)
    """Receipts of the outage in the order of their jobs, with their attempts."""
    told: Counter[str] = field(default_factory=Counter)
    heard: Counter[str] = field(default_factory=Counter)
    calls: list[dict[str, Any]] = field(default_factory=list)
    left: int = 0


class Payers:
    """The merchant's systems: each event is sent once, and every answer is written down."""

    def __init__(self, parts: Parts, story: Story, log: TextIO, seed: str) -> None:
        self._parts = parts
        self._story = story
        self._log = log
        self._random = random.Random(f"{seed}/payers")
        self._turn = asyncio.Semaphore(CLIENTS)
        self._sold: list[tuple[str, int]] = []
        self._number = 0
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=CLIENTS), headers={"Authorization": f"Bearer {parts.key}"}
        )

    async def close(self) -> None:
        await self._http.close()

    async def send(self, count: int, *, refunds: bool) -> None:
        """So many events, some of them refunds of what was sold in an earlier call; returns when all are answered."""
        backs = []
        for _ in range(count if refunds else 0):
            if self._sold and self._random.random() < REFUNDS:
                backs.append(self._sold.pop(self._random.randrange(len(self._sold))))
        began = time.monotonic()
        sales = [self._next_sale() for _ in range(count - len(backs))]
        await asyncio.gather(*(self._report("sell", *sale) for sale in sales))
        await asyncio.gather(*(self._report("sell_refund", *sale) for sale in backs))
        self._sold += sales
        if refunds:
            self._story.seconds_intake += time.monotonic() - began

    def _next_sale(self) -> tuple[str, int]:
        self._number += 1
        return f"p-{self._number:06d}", self._random.randrange(100, DEAREST)

    async def _report(self, kind: str, payment: str, total: int) -> None:
        name = f"Абонемент {payment}"
        body: dict[str, Any] = {"amount": total, "currency": "RUB"}
        if kind == "sell":
            line = {"name": name, "quantity": "1", "price": total, "amount": total, "vat": "none"}
            body |= {"type": "payment.succeeded", "external_id": payment}
            body |= {"customer": {"email": CANARY_EMAIL}, "items": [line]}
        else:
            body |= {"type": "refund.succeeded", "external_id": payment.replace("p-", "r-"), "payment_id": payment}
        async with self._turn:
            began = time.monotonic()
            async with self._http.post(f"{self._parts.api_url}/v1/events", json=body) as answer:
                text = await answer.read()
        self._story.statuses[answer.status] += 1
        self._story.latencies.append(time.monotonic() - began)
        record = {"at": time.time(), "merchant": 0, "kind": kind, "external_id": body["external_id"], "name": name}
        record |= {"total": total, "copy": 0, "key": None, "contradicts": False, "status": answer.status}
        record |= {"replayed": False, "sha256": hashlib.sha256(text).hexdigest(), "id": json.loads(text).get("id")}
        self._log.write(json.dumps(record, ensure_ascii=False) + "\n")
        self._log.flush()


class Hours:
    """Moves the clock through an outage, and waits for what it wakes."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def until(self, sql: str, *values: Any, seconds: float = 60.0) -> None:
        """Until the database says yes; TimeoutError with the question otherwise."""
        limit = time.monotonic() + seconds
        while not await self._parts.database.fetchval(sql, *values):
            if time.monotonic() > limit:
                raise TimeoutError(f"not within {seconds:g} s: {sql} {values}")
            await asyncio.sleep(0.01)

    async def still(self) -> None:
        """Nobody holds a lease: moving the clock then takes no running job from its worker."""
        await self.until("SELECT NOT EXISTS (SELECT 1 FROM jobs WHERE lease_token IS NOT NULL)")

    async def pass_to(self, moment: float) -> None:
        """Time passes until then, or until the kassa goes on; every probe of it happens at its own moment."""
        while True:
            await self.still()
            probe = await self._next_probe(moment)
            if probe is None:
                await self._parts.clock.move_to(moment)
                return
            await self._parts.clock.move_to(probe.timestamp())
            await self.until(_PROBED, self._parts.lane, probe)
            if not await self.paused():
                # The provider answered: from now on the worker drains, by the clock as it runs.
                return

    async def paused(self) -> bool:
        return bool(
            await self._parts.database.fetchval(
                "SELECT paused_at IS NOT NULL FROM lanes WHERE id = $1", self._parts.lane
            )
        )

    async def _next_probe(self, moment: float) -> datetime | None:
        """When the kassa is tried next, if before that moment and if there is something to try it with."""
        found: datetime | None = await self._parts.database.fetchval(_PROBE, self._parts.lane, moment)
        return found


_PROBE = """
SELECT probe_at FROM lanes l WHERE id = $1 AND paused_at IS NOT NULL AND probe_at <= to_timestamp($2)
  AND EXISTS (SELECT 1 FROM jobs j WHERE j.lane = l.id AND j.run_at <= l.probe_at)
"""
_PROBED = """
SELECT paused_at IS NULL OR probe_at > $2 AND NOT EXISTS (
  SELECT 1 FROM jobs WHERE lane = l.id AND lease_token IS NOT NULL)
FROM lanes l WHERE id = $1
"""
_PAUSED = """
SELECT paused_at IS NOT NULL AND NOT EXISTS (SELECT 1 FROM jobs WHERE lease_token IS NOT NULL) FROM lanes WHERE id = $1
"""
_NOTHING_DUE = "SELECT NOT EXISTS (SELECT 1 FROM jobs WHERE lease_token IS NOT NULL OR run_at <= kassa_now())"
# Every message but those of the end: a receipt that waits is spoken for by its kassa's alarm until its limit passes.
_TOLD = """
SELECT type, count(*) AS n FROM messages
WHERE type <> 'receipt.fiscalized' AND NOT (type = 'receipt.overdue'
  AND convert_from(body, 'UTF8')::jsonb #>> '{data,deadline,step}' <> 'warning')
GROUP BY 1
"""
_RECEIPTS = """
SELECT r.id, r.provider_id, r.operation, r.marks, r.status, extract(epoch FROM r.created_at)::float8 AS created,
  (SELECT json_agg(json_build_object('kind', a.kind, 'outcome', a.outcome,
      'at', extract(epoch FROM a.marked_at)) ORDER BY a.marked_at, a.id) FROM attempts a WHERE a.receipt_id = r.id)
    AS attempts
FROM receipts r WHERE r.created_at >= to_timestamp($1) ORDER BY r.created_at, r.id
"""


async def play(what: Outage, parts: Parts, say: Callable[[str], None]) -> Story:
    """From a working kassa through the outage to an empty queue."""
    story, hours = Story(), Hours(parts)
    with (parts.folder / "acks.jsonl").open("a") as log:
        payers = Payers(parts, story, log, what.seed)
        try:
            await payers.send(WARM, refunds=False)
            await hours.until("SELECT count(*) = $1 FROM receipts WHERE status = 'fiscalized'", WARM)
            await _outage(what, parts, story, hours, payers, say)
        finally:
            await payers.close()
    await _drain(parts, story, hours, say)
    await _write_down(parts, story)
    return story


async def _outage(
    what: Outage, parts: Parts, story: Story, hours: Hours, payers: Payers, say: Callable[[str], None]
) -> None:
    await hours.still()
    story.began = await parts.clock.now()
    shapes = list(SHAPES)
    steps, sent = what.steps, 0
    first: tuple[float, float] | None = None
    for step in range(steps):
        if shapes and step / steps >= shapes[0][0]:
            _, name, fault = shapes.pop(0)
            await _begin(parts, fault)
            say(f"{step * what.seconds / steps / 3600:.1f} h: {name}; {sent} events taken")
        # What is sent first meets the dead provider in parallel; from then on only probes do.
        wanted = max(what.events * (step + 1) // steps, 2 * MAX_IN_FLIGHT)
        await payers.send(wanted - sent, refunds=True)
        sent = wanted
        if step == 0:
            await hours.until(_PAUSED, parts.lane)
        await hours.pass_to(story.began + (step + 1) * what.seconds / steps)
        if first is None and step + 1 >= steps / 10:
            first = resident_mib(parts.api), resident_mib(parts.worker)
    assert first is not None
    story.memory = {"API": (first[0], resident_mib(parts.api)), "worker": (first[1], resident_mib(parts.worker))}
    story.waiting = await parts.database.fetchval("SELECT count(*) FROM jobs WHERE lane = $1", parts.lane)
    burnt = await parts.database.fetch(
        "SELECT attempt, count(*) AS n FROM jobs WHERE kind = $1 GROUP BY 1", int(JobKind.FISCALIZE)
    )
    story.burnt = {row["attempt"]: row["n"] for row in burnt}


async def _begin(parts: Parts, fault: dict[str, Any] | None) -> None:
    if fault is None:
        await parts.provider_down()
        return
    if not parts.provider_listens:
        await parts.provider_up()
    await parts.provider_does(fault)


async def _drain(parts: Parts, story: Story, hours: Hours, say: Callable[[str], None]) -> None:
    """The provider works; the next probe finds out. Then what waits for a later look-up, each at its time."""
    await parts.provider_does(None)
    story.back_at = time.time()
    while await hours.paused():
        await hours.pass_to(await parts.clock.now() + STEP_SECONDS)
    story.resumed = await parts.clock.now()
    say(f"{(story.resumed - story.began) / 3600:.2f} h: the provider is back, {story.waiting} receipts wait")
    await hours.until(_NOTHING_DUE, seconds=60 + 20 * story.waiting / 100)
    story.ended_at = time.time()
    story.stragglers = await parts.database.fetchval("SELECT count(*) FROM jobs")
    say(f"drained in {story.ended_at - story.back_at:.1f} s, {story.stragglers} wait for a later look-up")
    until = await parts.clock.now() + 2 * 3600
    while (
        due := await parts.database.fetchval("SELECT extract(epoch FROM min(run_at))::float8 FROM jobs")
    ) is not None:
        if due > until:
            break
        await parts.clock.move_to(due)
        await hours.until(_NOTHING_DUE)


async def _write_down(parts: Parts, story: Story) -> None:
    database = parts.database
    story.left = await database.fetchval("SELECT count(*) FROM jobs")
    for row in await database.fetch(_RECEIPTS, story.began):
        story.receipts.append({**row, "attempts": json.loads(row["attempts"] or "[]")})
    told = await database.fetch(_TOLD)
    story.told = Counter({row["type"]: row["n"] for row in told})
    posts = [json.loads(line) for line in (parts.folder / "sink.jsonl").read_text().splitlines()]
    story.heard = Counter(post["type"] for post in posts)
    story.calls = [json.loads(line) for line in (parts.folder / "calls.jsonl").read_text().splitlines()]
