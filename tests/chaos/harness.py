"""One chaos run: starts every part, plays load and strikes against it, waits for quiet, and leaves four logs behind."""

import asyncio
import contextlib
import json
import os
import subprocess
import time
import traceback
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg

from app.db import migrate
from app.infra.ids import new_id
from app.keys import Keys, generate
from app.runtime import open_runtime
from app.services.kassas import NewKassa
from app.services.principal import Principal
from app.settings import Settings
from tests.chaos import bugs, clock, personalities
from tests.chaos.children import ROOT, Beside, Child, Nursery, answering, free_port
from tests.chaos.contract import Contract
from tests.chaos.databases import Databases
from tests.chaos.load import Clients, plan
from tests.chaos.pace import Pace
from tests.chaos.personalities import CLASSES, FRESHNESS_SECONDS, VISIBILITY_SECONDS
from tests.chaos.proxy import FaultProxy
from tests.chaos.schedule import Strike, schedule
from tests.chaos.sink import Sink

LEASE_SECONDS = 3.0
EPOCH_SECONDS = 60.0
"""How long the epoch that a takeover opens stands, in a long run."""
API = -1
"""Its place among the numbers of the workers."""

SETTINGS: dict[str, Any] = {
    "testing": True,
    "plugin_packages": personalities.PACKAGE,
    "egress_allow": "127.0.0.0/8",
    "log_format": "json",
    "log_level": "info",
    "worker_slots": 60,
    "worker_poll_seconds": 0.2,
    "lease_seconds": LEASE_SECONDS,
    "freshness_seconds": FRESHNESS_SECONDS,
    "wire_margin_seconds": 1.0,
    "visibility_seconds": VISIBILITY_SECONDS,
    "rescue_every_seconds": 0.3,
    "sweep_every_seconds": 5.0,
    "retry_base_seconds": 0.1,
    "retry_cap_seconds": 1.0,
    "probe_base_seconds": 0.1,
    "probe_cap_seconds": 0.5,
    "delivery_timeout_seconds": 1.5,
    "shutdown_seconds": 5.0,
}

PROVIDER_MIX = {
    "drop_after": 0.05,
    "error_after": 0.02,
    "error_before": 0.02,
    "hang": 0.02,
    "slow": 0.02,
    "drop_before": 0.02,
    "half_body": 0.02,
    "rate_limited": 0.01,
    "duplicate_callback": 0.01,
}
"""What the provider does wrong to a submit, as chances; 1 % of the answers besides come after their callback. In all
20 %; the network between adds its own."""

LATE_ANSWERS = 0.01

HABITS = {"queue": 0.01, "refuse": 0.01, "lose_callback": 0.05}
"""What a provider may do: print later, refuse for good, forget a callback."""

PARAMS = {
    "hang": {"seconds": 3},
    "slow": {"seconds": 2.4},  # printed after the worker gave up waiting
    "error_after": {"status": 502},
    "rate_limited": {"retry_after": 1},
    "queue": {"polls": 1},
}

TO_PROVIDER = {
    "drop_response": 0.02,
    "reset_mid_response": 0.01,
    "reset_before": 0.01,
    "delay": 0.02,
    "blackhole": 0.005,
}
TO_SINK = {"drop_response": 0.01, "reset_mid_response": 0.005, "reset_before": 0.01, "delay": 0.01}
TO_API = {"drop_response": 0.03, "reset_mid_response": 0.02, "reset_before": 0.02, "delay": 0.02}


@dataclass(frozen=True, slots=True)
class Plan:
    """A run, wholly described: the same values give the same load, faults and strikes."""

    seed: str
    events: int = 2000
    rate: float = 40.0
    letter: str = "B"
    merchants: int = 3
    endpoints: int = 4
    workers: int = 3
    kill_every: float = 2.0
    api_kills: int = 3
    database_kills: int = 2
    freezes: int = 1
    failovers: int = 0
    clock_steps: bool = True
    endpoint_faults: bool = True
    network_faults: bool = True
    refunds: bool = True
    quiet_seconds: float = 60.0
    patience_seconds: float = 180.0
    bug: str = ""

    @property
    def seconds(self) -> float:
        return self.events / self.rate

    def strikes(self) -> list[Strike]:
        return schedule(
            self.seed,
            self.seconds,
            workers=self.workers,
            kill_every=self.kill_every,
            api_kills=self.api_kills,
            database_kills=self.database_kills,
            freezes=self.freezes,
            failovers=self.failovers,
            clock_steps=self.clock_steps,
            dead_endpoint=1 if self.endpoint_faults else None,
            gone_endpoint=self.gone_endpoint,
        )

    @property
    def gone_endpoint(self) -> int | None:
        """The second endpoint of the first merchant: the other one must hear that it was switched off."""
        return self.merchants if self.endpoint_faults and self.endpoints > self.merchants else None


@dataclass
class Facts:
    """What the harness itself saw; the checker adds what the logs say."""

    database_url: str = ""
    strikes: Counter[str] = field(default_factory=Counter)
    seconds_load: float = 0.0
    seconds_held: float = 0.0
    seconds_drain: float = 0.0
    seconds_check: float = 0.0
    drained: bool = False
    left: str = ""
    requests: int = 0
    acknowledged: int = 0
    replays: int = 0
    client_errors: dict[str, int] = field(default_factory=dict)
    gave_up: list[str] = field(default_factory=list)
    ack_latencies: list[float] = field(default_factory=list)
    network: dict[str, dict[str, int]] = field(default_factory=dict)
    sink: dict[str, int] = field(default_factory=dict)
    died: dict[str, str] = field(default_factory=dict)
    started_without_database: int = 0
    secrets: list[str] = field(default_factory=list)
    postgres: str = ""
    began: float = 0.0
    outages: list[tuple[str, float, float]] = field(default_factory=list)
    deviations: dict[str, int] = field(default_factory=dict)
    broke: dict[str, int] = field(default_factory=dict)
    answers_checked: int = 0
    commit: str = ""
    cpu: dict[str, float] = field(default_factory=dict)


class Harness:
    """Use once: `async with Harness(plan, folder) as run: facts = await run.play()`; the database lives until exit."""

    def __init__(self, what: Plan, folder: Path) -> None:
        self.plan = what
        self.folder = folder
        self.facts = Facts(began=time.time())
        self._stack = AsyncExitStack()
        self._busy: set[int] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._workers: list[Child] = []
        self._contract = Contract()
        self._pace = Pace(lambda: self._ask(_UNDER_WAY))

    async def __aenter__(self) -> "Harness":
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _start(self) -> None:
        what, folder = self.plan, self.folder
        self.facts.commit = _commit()
        self._databases = Databases(folder, pair=what.failovers > 0)
        self._stack.push_async_callback(self._databases.stop)
        await self._databases.start(migrate.upgrade)
        self._api_port, simulator_port = free_port(), free_port()
        self._api_url = f"http://127.0.0.1:{self._api_port}"
        self._simulator_url = f"http://127.0.0.1:{simulator_port}"
        network = what.network_faults
        self._to_provider = await self._proxy("worker-provider", simulator_port, TO_PROVIDER if network else {})
        self._to_api = await self._proxy("client-api", self._api_port, TO_API if network else {})
        self._sink = Sink(
            self._api_url, lambda: self._databases.primary.url, folder / "sink.jsonl", what.seed, self._contract
        )
        await self._sink.start()
        self._stack.push_async_callback(self._sink.stop)
        self._to_sink = await self._proxy("worker-sink", self._sink.port, TO_SINK if network else {})
        await self._start_simulator(simulator_port)
        self._nursery = Nursery(folder)
        await self._nursery.start()
        self._stack.push_async_callback(self._nursery.stop)
        await self._settle_in()
        # A database is older than its first crash: what initdb wrote a moment ago would be flushed by the recovery.
        await asyncio.to_thread(os.sync)
        if what.bug:
            await bugs.prepare(what.bug, self._databases.primary.url)
        self._api = self._child("api", ["api", "--port", str(self._api_port)])
        await self._api.start()
        for number in range(what.workers):
            follows = folder / f"clock-{number}"
            clock.step(follows, 0)
            clocks = {"CHAOS_CLOCK": str(follows)} if what.clock_steps else {}
            self._workers.append(self._child(f"worker-{number}", ["worker", "--number", str(number + 1)], **clocks))
        for worker in self._workers:
            await worker.start()
        await answering(f"{self._api_url}/readyz")

    async def _proxy(self, name: str, port: int, chances: dict[str, float]) -> FaultProxy:
        proxy = FaultProxy(name, ("127.0.0.1", port), chances, self.plan.seed)
        await proxy.start()
        self._stack.push_async_callback(proxy.stop)
        return proxy

    async def _start_simulator(self, port: int) -> None:
        dedup, lookup = CLASSES[self.plan.letter]
        mix = PROVIDER_MIX | HABITS
        if not lookup:
            mix.pop("queue")  # without a look-up nothing could ask for it later
        config = {
            "port": port,
            "ledger": str(self.folder / "ledger.jsonl"),
            "calls": str(self.folder / "calls.jsonl"),
            "dedup": dedup,
            "lookup": lookup,
            "seed": self.plan.seed,
            "hide_seconds": VISIBILITY_SECONDS * 0.8,
            "lying_callbacks": 0.01,
            "late_answers": LATE_ANSWERS,
            "mix": mix,
            "mix_seed": int.from_bytes(self.plan.seed.encode()[:6], "big"),
            "params": PARAMS,
            "groups": [{"c_group_id": 4321 + n, "actor_token": TOKEN} for n in range(self.plan.merchants)],
        }
        path = self.folder / "simulator.json"
        path.write_text(json.dumps(config))
        self._simulator = Beside("tests.chaos.simulator", str(path), self.folder / "simulator.log")
        await self._simulator.start()
        self._stack.push_async_callback(self._simulator.end)
        await answering(f"{self._simulator_url}/livez")

    async def _settle_in(self) -> None:
        """Merchants, kassas, endpoints and keys, made by the program's own services."""
        made = generate()
        settings = Settings(
            data_dir=self.folder,
            secret_keys=made["KASSA_SECRET_KEYS"],
            search_key=made["KASSA_SEARCH_KEY"],
            key_pepper=made["KASSA_KEY_PEPPER"],
            _env_file=None,
            **{**SETTINGS, "plugin_packages": (personalities.PACKAGE,)},
        )
        self._env = {f"KASSA_{name.upper()}": str(value) for name, value in SETTINGS.items()}
        self._env |= made | {
            "KASSA_DATABASE_URL": self._databases.url,
            "KASSA_DATA_DIR": str(self.folder / "data"),
            "KASSA_PUBLIC_URL": self._api_url,
            "CHAOS_BUG": self.plan.bug,
        }
        self.facts.secrets = list(made.values())
        self._keys: list[str] = []
        keys = Keys.load(settings, generate_in=None)
        async with open_runtime(settings, database_url=self._databases.primary.url, keys=keys) as runtime:
            services = runtime.services
            self.facts.postgres = str(await self._ask("SHOW server_version"))
            root = Principal(new_id(), None, None, frozenset({"admin"}))
            merchants = []
            for number in range(self.plan.merchants):
                merchant = await services.merchants.create("chaos", name=f"Школа {number}", inn="7707083893")
                merchants.append(merchant.id)
                await services.kassas.create("chaos", merchant.id, self._kassa(number))
                key = await services.access.create(root, merchant_id=merchant.id, name="chaos", scopes=["*"])
                self._keys.append(key.text)
            for number in range(self.plan.endpoints):
                merchant_id = merchants[number % len(merchants)]
                url = f"{self._to_sink.url}/hook/{number}"
                endpoint = await services.endpoints.create("chaos", merchant_id, url=url, types=["*"])
                assert endpoint.secret is not None
                self._sink.secrets.append(endpoint.secret)
                self._sink.readers.append(self._keys[number % len(merchants)])
                (self.folder / f"endpoint-{number}").write_text(str(endpoint.endpoint.id))
        self.facts.secrets += [*self._keys, *self._sink.secrets, TOKEN]

    def _kassa(self, number: int) -> NewKassa:
        return NewKassa(
            name="Main",
            provider=personalities.code(self.plan.letter),
            ffd="1.2",
            taxation=["usn_income"],
            place="https://shop.example/",
            timezone="Europe/Moscow",
            internet=True,
            credentials={"actor_id": "1", "actor_token": TOKEN, "c_group_id": 4321 + number},
            base_url=f"{self._to_provider.url}/v2.1/",
            defaults={
                "vat": "none",
                "payment_method": "full_prepayment",
                "payment_object": "service",
                "measure": "piece",
            },
            max_in_flight=12,
        )

    def _child(self, name: str, arguments: list[str], **more: str) -> Child:
        child = Child(self._nursery, name, arguments, {**self._env, **more}, self.folder)
        self._stack.push_async_callback(child.end)
        return child

    async def play(self) -> Facts:
        """Load under strikes, then quiet; returns what was seen. The logs are complete afterwards."""
        reports = plan(self.plan.seed, self.plan.events, self.plan.merchants, self.plan.rate, self.plan.refunds)
        clients = Clients(
            self._to_api.url,
            self._keys,
            self.folder / "acks.jsonl",
            self.plan.patience_seconds,
            self._contract,
            self._pace,
        )
        self._pace.start()
        striking = asyncio.create_task(self._strike(self.plan.strikes()))
        keeping = asyncio.create_task(self._keep_alive())
        pacing = asyncio.create_task(self._pace.watch())
        began = time.monotonic()
        me = asyncio.current_task()

        def broke(task: asyncio.Task[None]) -> None:
            """A harness that no longer strikes or restarts proves nothing: the run ends with it."""
            if not task.cancelled() and (error := task.exception()) is not None:
                traceback.print_exception(error)
                assert me is not None
                me.cancel()

        for task in (striking, keeping, pacing):
            task.add_done_callback(broke)
        try:
            await clients.run(reports)
            await striking
            await asyncio.gather(*self._tasks)
            self.facts.seconds_load = time.monotonic() - began
            self.facts.seconds_held = self._pace.held_seconds
            await self._quieten()
        finally:
            for task in (striking, keeping, pacing, *self._tasks):
                task.cancel()
            await asyncio.gather(striking, keeping, pacing, *self._tasks, return_exceptions=True)
            self._write_down(clients, len(reports))
        for child in (*self._workers, self._api):
            await child.end()
        self.facts.cpu = {child.name: child.cpu for child in (*self._workers, self._api)}
        return self.facts

    async def _strike(self, strikes: list[Strike]) -> None:
        for one in strikes:
            await self._pace.until(one.at)
            # A worker that is frozen is spared: it must come back to show what it does then.
            number = next((n for n in self._from(one.number) if n not in self._busy), None)
            match one.what:
                case "kill worker" if number is not None:
                    await self._restart(number)
                case "kill api":
                    at = time.time()
                    self._busy.add(API)
                    await self._api.kill()
                    await self._api.start()
                    self._busy.discard(API)
                    self._spawn(self._gap("kill api", at))
                case "kill database" if not self._databases.busy:
                    at = time.time()
                    await self._databases.restart()
                    self._spawn(self._gap("kill database", at))
                case "fail over" if not self._databases.busy:
                    self._spawn(self._fail_over())
                case "step clock":
                    clock.step(self.folder / f"clock-{one.number}", one.seconds)
                case "endpoint dies":
                    self._sink.moods[one.number] = "dead"
                case "endpoint revives":
                    self._sink.moods.pop(one.number, None)
                case "endpoint answers 410":
                    self._sink.moods[one.number] = "gone"
                case "freeze worker" if number is not None:
                    self._spawn(self._freeze(number))
                case "freeze worker at point" if number is not None:
                    self._spawn(self._freeze_at(number, one.point))
                case _:
                    continue
            self.facts.strikes[one.what] += 1

    def _from(self, number: int) -> list[int]:
        return [(number + step) % len(self._workers) for step in range(len(self._workers))]

    async def _restart(self, number: int) -> None:
        self._busy.add(number)
        await self._workers[number].kill()
        await self._workers[number].start()
        self._busy.discard(number)

    def _spawn(self, work: Any) -> None:
        self._tasks.add(asyncio.create_task(work))

    async def _gap(self, what: str, at: float) -> None:
        """Notes when the API was ready again."""
        await answering(f"{self._api_url}/readyz")
        self.facts.outages.append((what, at, time.time()))

    async def _fail_over(self) -> None:
        died: list[float] = []
        await self._databases.fail_over(lambda: died.append(time.time()))
        await self._gap("fail over", died[0])
        # The runbook's last step: a synchronous standby forgot nothing, so first sends may go straight again.
        await asyncio.sleep(min(EPOCH_SECONDS, self.plan.seconds / 10))
        operator = self._child("operator", ["restored", "--close"])
        await operator.start()
        await operator.ended()
        self.facts.strikes["close epoch"] += 1

    async def _freeze(self, number: int) -> None:
        self._busy.add(number)
        worker = self._workers[number]
        worker.freeze()
        await asyncio.sleep(LEASE_SECONDS + 1.0)
        await self._rescued()
        worker.thaw()
        await asyncio.sleep(1.0)
        self._busy.discard(number)

    async def _freeze_at(self, number: int, point: str) -> None:
        """Restarted with a failpoint that stops it where it hurts most; it comes back when its lease is lost."""
        self._busy.add(number)
        worker = self._workers[number]
        await worker.kill()
        await worker.start(KASSA_FAILPOINTS=f"{point}=stop:0.2*1")
        until = time.monotonic() + 15
        while not worker.frozen and time.monotonic() < until:
            await asyncio.sleep(0.05)
        if worker.frozen:
            self.facts.strikes["frozen at point"] += 1
            await self._rescued()
            worker.thaw()
            await asyncio.sleep(1.0)
        self._busy.discard(number)

    async def _rescued(self) -> None:
        """Until another marked job was taken from its owner, at most as long as all leases last."""
        lost = "SELECT count(*) FROM timeline WHERE what = 'lease_lost'"
        until = time.monotonic() + LEASE_SECONDS + 4.0
        # The driver answers a kill in the middle of a question with an error of its own, too.
        with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
            before = await self._ask(lost)
            while await self._ask(lost) == before and time.monotonic() < until:
                await asyncio.sleep(0.1)
            return
        await asyncio.sleep(max(0.0, until - time.monotonic()))

    async def _keep_alive(self) -> None:
        """A process that ends by itself is counted and started again, as a service manager would."""
        while True:
            await asyncio.sleep(0.2)
            for number, child in [(API, self._api), *enumerate(self._workers)]:
                if not child.running and number not in self._busy:
                    child.ended_by_itself += 1
                    await child.start()

    async def _quieten(self) -> None:
        """No more faults. What waits for a later delivery is made due: the hours of its schedule are not tested."""
        for proxy in (self._to_provider, self._to_sink, self._to_api):
            proxy.on = False
        self._sink.on = False
        for number, mood in list(self._sink.moods.items()):
            if mood == "dead":
                del self._sink.moods[number]
        for number in range(len(self._workers)):
            clock.step(self.folder / f"clock-{number}", 0)
        await answering(f"{self._simulator_url}/livez")
        with contextlib.suppress(RuntimeError):
            await answering(f"{self._simulator_url}/quiet", 0.1)
        began = time.monotonic()
        while time.monotonic() - began < self.plan.quiet_seconds:
            await self._ask("UPDATE jobs SET run_at = kassa_now() WHERE kind = 6 AND lease_token IS NULL RETURNING 1")
            if await self._ask("SELECT count(*) FROM jobs") == 0 and await self._ask(_UNSETTLED) == 0:
                self.facts.drained = True
                break
            await asyncio.sleep(0.3)
        self.facts.seconds_drain = time.monotonic() - began
        if not self.facts.drained:
            left = "SELECT string_agg(kind || ': ' || n, ', ') FROM (SELECT kind, count(*) n FROM jobs GROUP BY 1) x"
            self.facts.left = str(await self._ask(left))

    async def _ask(self, sql: str) -> Any:
        connection = await asyncpg.connect(self._databases.primary.url)
        try:
            return await connection.fetchval(sql)
        finally:
            await connection.close()

    def _write_down(self, clients: Clients, requests: int) -> None:
        facts = self.facts
        facts.requests, facts.acknowledged, facts.replays = requests, clients.acknowledged, clients.repeats_heard
        facts.client_errors, facts.gave_up = clients.errors, clients.gave_up
        facts.ack_latencies = clients.latencies
        facts.network = {p.name: dict(p.played) for p in (self._to_provider, self._to_api, self._to_sink)}
        facts.sink = dict(self._sink.posts)
        facts.database_url = self._databases.primary.url
        facts.broke = dict(self._sink.broke)
        facts.deviations = dict(clients.deviations + self._sink.deviations)
        facts.answers_checked = self._contract.checked
        for child in (*self._workers, self._api):
            away = child.found_no_database()
            facts.started_without_database += away
            if child.ended_by_itself > away:
                facts.died[child.name] = f"{child.ended_by_itself - away} times; its log ends: {child.last_words()}"


def _commit() -> str:
    """Which commit ran, and whether something was changed since."""
    try:
        told = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "no git"
    return told.stdout.strip()


TOKEN = "canary-provider-token-7f3a91"

_UNDER_WAY = "SELECT count(*) FROM receipts WHERE status IN ('queued', 'sending', 'accepted', 'unknown')"

# A receipt without a job that nothing has decided yet would be lost for ever; those behind a person's decision wait.
_UNSETTLED = """
SELECT count(*) FROM receipts r WHERE status IN ('sending', 'accepted', 'unknown')
  OR status = 'queued' AND NOT EXISTS (SELECT 1 FROM receipts o WHERE o.chain_id = r.chain_id
    AND o.status = 'needs_attention')
"""
