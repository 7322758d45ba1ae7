"""The whole program in one test process: real database, real driver over HTTP, and the simulator as everybody else."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx

from app.db.repos import receipts
from app.db.repos.receipts import ReceiptRow
from app.domain.errors import Busy
from app.domain.event import EventItem, EventType, PaymentEvent
from app.domain.money import parse_quantity
from app.domain.receipt import Customer
from app.infra.ids import new_id
from app.keys import Keys, generate
from app.queue.jobs import JobKind
from app.runtime import Runtime, Worker, open_runtime, open_worker
from app.services.kassas import NewKassa
from app.services.principal import Principal
from app.settings import Settings
from app.simulator.server import UVICORN_OPTIONS, SimulatorConfig, create_simulator
from tests.support import rows
from tests.support.server import serve

FAST: dict[str, Any] = {
    "egress_allow": "127.0.0.0/8",
    "worker_poll_seconds": 0.05,
    "lease_seconds": 30.0,
    "rescue_every_seconds": 0.2,
    "sweep_every_seconds": 0.3,
    "retry_base_seconds": 0.05,
    "retry_cap_seconds": 0.3,
    "probe_base_seconds": 0.1,
    "probe_cap_seconds": 0.3,
    "visibility_seconds": 0.2,
    "shutdown_seconds": 5.0,
    "_env_file": None,
}


@dataclass
class World:
    """One merchant with one kassa at the simulator; `drain` runs the worker until nothing is left to do."""

    runtime: Runtime
    simulator_url: str
    merchant_id: UUID
    source_id: UUID
    kassa_id: UUID
    http: httpx.AsyncClient
    principal: Principal
    workers: list[Worker] = field(default_factory=list)
    numbers: int = 0

    async def pay(self, external_id: str | None = None, amount: int = 199_000, **changes: Any) -> UUID:
        """A payment for one subscription; returns its event."""
        self.numbers += 1
        event = payment(external_id or f"p-{self.numbers}", amount, **changes)
        answer = await self.runtime.services.intake.accept(self.merchant_id, self.source_id, event, "test")
        return answer.event_id

    async def press(self, external_id: str, amount: int = 199_000) -> UUID:
        """The same, by a source that repeats its report as long as it hears 503."""
        while True:
            try:
                return await self.pay(external_id, amount)
            except Busy:
                await asyncio.sleep(0.02)

    async def refund(self, external_id: str, payment_id: str, amount: int, **changes: Any) -> UUID:
        event = payment(
            external_id, amount, type=EventType.REFUND_SUCCEEDED, payment_id=payment_id, **{"items": (), **changes}
        )
        answer = await self.runtime.services.intake.accept(self.merchant_id, self.source_id, event, "test")
        return answer.event_id

    async def receipts(self, event_id: UUID) -> list[ReceiptRow]:
        async with self.runtime.database.pipeline() as tx:
            return await receipts.of_event(tx, self.merchant_id, event_id)

    async def receipt(self, event_id: UUID) -> ReceiptRow:
        (found,) = await self.receipts(event_id)
        return found

    async def until(self, condition: Callable[[], Awaitable[Any]], seconds: float = 20.0) -> None:
        """Wait for a condition in the database or at the simulator."""
        async with asyncio.timeout(seconds):
            while not await condition():
                await asyncio.sleep(0.02)

    async def status(self, event_id: UUID, *wanted: str, seconds: float = 20.0) -> ReceiptRow:
        """The receipt of an event once it has one of these states."""

        async def there() -> bool:
            found = await self.receipts(event_id)
            return bool(found) and found[0].status in wanted

        try:
            await self.until(there, seconds)
        except TimeoutError:
            found = await self.receipts(event_id)
            raise AssertionError(f"wanted {wanted}, found {[(r.status, r.failure) for r in found]}") from None
        return await self.receipt(event_id)

    async def idle(self, seconds: float = 20.0) -> None:
        """Until no job is left but the next polls of sources, which never end."""
        left = f"SELECT count(*) FROM jobs WHERE kind <> {JobKind.POLL_SOURCE:d} OR run_at <= kassa_now()"

        async def nothing() -> bool:
            return await rows.scalar(self.runtime.database, left) == 0

        await self.until(nothing, seconds)

    async def tape(self, provider_id: str | None = None) -> list[dict[str, Any]]:
        answer = await self.http.get(
            f"{self.simulator_url}/tape", params={"provider_id": provider_id} if provider_id else {}
        )
        found: Any = answer.json()
        return found if isinstance(found, list) else found["data"]

    async def fault(self, kind: str, **changes: Any) -> None:
        answer = await self.http.post(f"{self.simulator_url}/faults", json={"kind": kind, **changes})
        answer.raise_for_status()

    async def timeline(self, receipt_id: UUID) -> list[str]:
        async with self.runtime.database.engine.connect() as connection:
            found = await connection.exec_driver_sql(
                f"SELECT what FROM timeline WHERE receipt_id = '{receipt_id}' ORDER BY at, id"
            )
            return [row[0] for row in found]

    @asynccontextmanager
    async def working(self, workers: int = 1) -> AsyncIterator[list[Worker]]:
        """Workers that run while the block does, then stop as they do on SIGTERM."""
        async with AsyncExitStack() as stack:
            found = [
                await stack.enter_async_context(open_worker(self.runtime, number=number))
                for number in range(1, workers + 1)
            ]
            tasks = [asyncio.create_task(one.runner.run()) for one in found]
            beside = [asyncio.create_task(one.maintenance.run()) for one in found]
            try:
                yield found
            finally:
                for one in found:
                    one.runner.stop()
                await asyncio.gather(*tasks)
                for task in beside:
                    task.cancel()
                await asyncio.gather(*beside, return_exceptions=True)


def payment(external_id: str, amount: int = 199_000, **changes: Any) -> PaymentEvent:
    """A payment event for one line."""
    values: dict[str, Any] = {
        "type": EventType.PAYMENT_SUCCEEDED,
        "external_id": external_id,
        "amount": amount,
        "occurred_at": datetime.now(UTC),
        "customer": Customer(email="anna@example.org"),
        "items": (EventItem(name="Абонемент", quantity=parse_quantity("1"), price=amount, amount=amount, vat="none"),),
    }
    return PaymentEvent(**{**values, **changes})


@asynccontextmanager
async def open_world(
    database_url: str, tmp_path: Path, *, simulator: dict[str, Any] | None = None, **settings: Any
) -> AsyncIterator[World]:
    """A running program with a connected merchant."""
    made = generate()
    chosen = Settings(
        **{
            **FAST,
            "data_dir": tmp_path,
            "secret_keys": made["KASSA_SECRET_KEYS"],
            "search_key": made["KASSA_SEARCH_KEY"],
            "key_pepper": made["KASSA_KEY_PEPPER"],
            **settings,
        }
    )
    async with AsyncExitStack() as stack:
        app = create_simulator(SimulatorConfig(tape_path=None, settings=simulator or {}))
        url = await stack.enter_async_context(serve(app, **UVICORN_OPTIONS))
        keys = Keys.load(chosen, generate_in=None)
        runtime = await stack.enter_async_context(open_runtime(chosen, database_url=database_url, keys=keys))
        http = await stack.enter_async_context(httpx.AsyncClient(timeout=30))
        merchant = await runtime.services.merchants.create("test", name="Школа", inn="7707083893")
        settings_of = await runtime.services.catalog.merchant(merchant.id)
        kassa = await runtime.services.kassas.create("test", merchant.id, new_kassa(url))
        yield World(
            runtime,
            url,
            merchant.id,
            settings_of.built_in_source.id,
            kassa.kassa.id,
            http,
            Principal(new_id(), merchant.id, None, frozenset({"*"})),
        )


def new_kassa(simulator_url: str, **changes: Any) -> NewKassa:
    values: dict[str, Any] = {
        "name": "Main",
        "provider": "digitalkassa",
        "ffd": "1.2",
        "taxation": ["usn_income"],
        "place": "https://shop.example/",
        "timezone": "Europe/Moscow",
        "internet": True,
        "credentials": {"actor_id": "1", "actor_token": "t", "c_group_id": 4321},
        "base_url": f"{simulator_url}/v2.1/",
        "defaults": {
            "vat": "none",
            "payment_method": "full_prepayment",
            "payment_object": "service",
            "measure": "piece",
        },
        "max_in_flight": 8,
    }
    return NewKassa(**{**values, **changes})
