"""The database goes and comes back: 503 that says when to come again, and no restart of ours."""

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx

from app.db import migrate
from app.infra.ids import parse
from app.infra.postgres import EmbeddedPostgres
from app.main import create_app
from tests.support.world import open_world

SALE: dict[str, Any] = {
    "type": "payment.succeeded",
    "amount": 5000,
    "customer": {"email": "anna@example.org"},
    "items": [{"name": "Абонемент", "quantity": "1", "price": 5000, "amount": 5000, "vat": "none"}],
}


async def test_without_a_database_everything_waits_and_goes_on_by_itself(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "pg", durable=False)
    async with AsyncExitStack() as stack:
        await server.start()
        stack.push_async_callback(server.stop)
        await migrate.upgrade(server.url)
        world = await stack.enter_async_context(open_world(server.url, tmp_path / "data", lease_seconds=2.0))
        app = create_app(world.runtime.services, world.runtime.settings, metrics=world.runtime.metrics)
        access = world.runtime.services.access
        made = await access.create(world.principal, merchant_id=world.merchant_id, name="crm", scopes=["*"])
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        http = await stack.enter_async_context(
            httpx.AsyncClient(
                transport=transport,
                base_url="https://kassa.example.org",
                headers={"Authorization": f"Bearer {made.text}"},
            )
        )
        await stack.enter_async_context(world.working())
        before = await http.post("/v1/events", json=SALE | {"external_id": "before"})
        assert before.status_code == 202
        await world.status(parse("evt", before.json()["id"]), "fiscalized", seconds=60)

        await server.kill()
        for method, path, body in (
            ("POST", "/v1/events", SALE | {"external_id": "during"}),
            ("GET", "/v1/events", None),
            ("GET", "/v1/receipts", None),
            ("POST", "/v1/branches", {"name": "Улица"}),
        ):
            answer = await http.request(method, path, json=body)
            assert (answer.status_code, answer.json()["code"]) == (503, "service_unavailable"), path
            assert answer.json()["retryable"] is True
            assert int(answer.headers["retry-after"]) >= 1
        assert (await http.get("/readyz")).status_code == 503
        assert (await http.get("/livez")).status_code == 200, "an outage of the database restarts nobody"
        assert (await http.get("/metrics")).status_code == 200

        await server.start()

        async def ready() -> bool:
            return (await http.get("/readyz")).status_code == 200

        await world.until(ready, seconds=60)
        again = await http.post("/v1/events", json=SALE | {"external_id": "during"})
        assert again.status_code in (200, 202), again.text
        await world.status(parse("evt", again.json()["id"]), "fiscalized", seconds=60)
        await world.idle(seconds=60)
        assert len(await world.tape()) == 2, "one document for each payment"
