"""Real sources on a real street: their simulated counterparts post over HTTP to the program, and are asked by it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from app.infra.ids import public
from app.main import create_app
from app.services.sources import NewSource
from tests.support.server import serve
from tests.support.world import World, open_world

CONNECTIONS: dict[str, dict[str, Any]] = {
    "moyklass": {
        "credentials": {"api_key": "made_up_key_of_the_company"},
        "settings": {
            "payment_types": {"2": {"kind": "electronic", "internet": True}},
            "balance_method": "advance",
            "settle": "off",
        },
    },
    "yookassa": {
        "credentials": {"shop_id": "100500", "secret_key": "made_up_shop_key"},
        "settings": {},
        "acquirer_fiscalizes": False,
        "fallback_contact": {"email": "boss@example.org"},
    },
    "tbank": {
        "credentials": {"terminal_key": "1700000000001", "password": "simulated_password"},
        "settings": {},
        "defaults": {"item_name": "Занятие"},
        "acquirer_fiscalizes": False,
        "fallback_contact": {"email": "boss@example.org"},
    },
}
_API = {"moyklass": "", "yookassa": "/v3", "tbank": "/v2"}


@dataclass
class Street:
    """The program at `url` with one source; `address` is where its notices go, `api` asks the program."""

    world: World
    kind: str
    source: str
    address: str
    api: httpx.AsyncClient

    async def there(self, method: str, path: str, **options: Any) -> Any:
        """What the counterpart does."""
        answer = await self.world.http.request(method, f"{self.world.simulator_url}/{self.kind}{path}", **options)
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else None

    async def send(self, **order: Any) -> dict[str, Any]:
        """A notice made to measure, and what its sender heard."""
        order = {"target_url": self.address, "attempts": 1} | order
        found: dict[str, Any] = await self.there("POST", "/send", json=order)
        return found

    async def page(self, path: str, **query: Any) -> list[dict[str, Any]]:
        """One page of a list of this source."""
        answer = await self.api.get(f"/v1/{path}", params={"source": self.source, "limit": 100, **query})
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["data"]
        return found

    async def poll(self) -> None:
        """The source is listed now."""
        before = await self._listed()
        assert (await self.api.post(f"/v1/sources/{self.source}/poll")).status_code == 202

        async def again() -> bool:
            return bool(await self._listed() != before)

        await self.world.until(again, 60)

    async def listed_once(self) -> None:
        """Until the first listing is done: from then on only what is posted is heard."""

        async def there() -> bool:
            return await self._listed() is not None

        await self.world.until(there, 60)

    async def _listed(self) -> Any:
        return (await self.api.get(f"/v1/sources/{self.source}")).json()["poll"]["polled_at"]

    async def quiet(self) -> None:
        """Until every notice was acted on and nothing is left to print."""

        async def settled() -> bool:
            return not await self.page("notifications", status="received")

        await self.world.until(settled, 60)
        await self.world.idle(60)

    async def printed(self) -> list[tuple[str, int]]:
        return [(one["operation"], one["total"]) for one in await self.world.tape()]


@asynccontextmanager
async def open_street(database_url: str, tmp_path: Path, kind: str, **changes: Any) -> AsyncIterator[Street]:
    """A running program without a worker, and one connected source of this kind."""
    async with open_world(database_url, tmp_path) as world:
        services = world.runtime.services
        app = create_app(services, world.runtime.settings, metrics=world.runtime.metrics)
        key = await services.access.create(world.principal, merchant_id=world.merchant_id, name="test", scopes=["*"])
        base_url = f"{world.simulator_url}/{kind}{_API[kind]}"
        given = {"name": kind, "defaults": {}, "base_url": base_url, **CONNECTIONS[kind], **changes}
        made = await services.sources.create("test", world.merchant_id, NewSource(kind=kind, **given))
        async with (
            serve(app) as url,
            httpx.AsyncClient(
                base_url=url, headers={"Authorization": f"Bearer {key.text}"}, timeout=60, trust_env=False
            ) as api,
        ):
            path = httpx.URL(made.addresses[0].url).path
            yield Street(world, kind, public("src", made.source.id), f"{url}{path}", api)
