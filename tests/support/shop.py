"""A merchant's system that talks to the API of a whole running program, and looks at what was printed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from app.infra.ids import new_id
from app.main import create_app
from app.services.principal import Principal
from tests.support.world import World, open_world

BUYER = {"email": "anna@example.org"}
Json = dict[str, Any]


class Shop:
    """A merchant's system that talks to the API, and looks at what was printed."""

    def __init__(self, world: World, api: httpx.AsyncClient) -> None:
        self.world = world
        self.api = api

    async def report(self, type: str, external_id: str, amount: int, **members: Any) -> Json:
        body = {"type": type, "external_id": external_id, "amount": amount, **members}
        answer = await self.api.post("/v1/events", json=body)
        assert answer.status_code == 202, answer.text
        return dict(answer.json())

    async def pay(self, external_id: str, amount: int, name: str = "Абонемент", **members: Any) -> Json:
        line = {"name": name, "quantity": "1", "price": amount, "amount": amount, "vat": "none"}
        return await self.report(
            "payment.succeeded", external_id, amount, **{"customer": BUYER, "items": [line], **members}
        )

    async def close(self, external_id: str, amount: int, name: str = "Занятие", **members: Any) -> Json:
        line = {"name": name, "quantity": "1", "price": amount, "amount": amount}
        return await self.report("order.settled", external_id, amount, items=[line], **members)

    async def refund(self, external_id: str, amount: int, **members: Any) -> Json:
        return await self.report("refund.succeeded", external_id, amount, **members)

    async def done(self) -> None:
        """Until the worker has nothing left to do."""
        async with self.world.working():
            await self.world.idle(60)

    async def receipt(self, event: Json) -> Json:
        (found,) = (await self.api.get(f"/v1/events/{event['id']}")).json()["receipts"]
        return dict(found)

    async def printed(self) -> list[tuple[str, int]]:
        return [(one["operation"], one["total"]) for one in await self.world.tape()]

    async def ledger(self, **asked: Any) -> list[Json]:
        answer = await self.api.get("/v1/prepayments", params=asked)
        assert answer.status_code == 200, answer.text
        return list(answer.json()["data"])

    async def sums(self, **asked: Any) -> tuple[int, ...]:
        """Received, closed, returned, open."""
        answer = await self.api.get("/v1/prepayments/balance", params=asked)
        assert answer.status_code == 200, answer.text
        found = answer.json()
        assert found["received"] == found["closed"] + found["returned"] + found["open"]
        return found["received"], found["closed"], found["returned"], found["open"]


@asynccontextmanager
async def open_shop(database_url: str, tmp_path: Path) -> AsyncIterator[Shop]:
    async with open_world(database_url, tmp_path) as world:
        app = create_app(world.runtime.services, world.runtime.settings, metrics=world.runtime.metrics)
        admin = Principal(new_id(), None, None, frozenset({"admin"}))
        key = await world.runtime.services.access.create(
            admin, merchant_id=world.merchant_id, name="test", scopes=("*",)
        )
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app),
            base_url="http://kassa.example.org",
            headers={"Authorization": f"Bearer {key.text}"},
            timeout=60,
        ) as api:
            yield Shop(world, api)
