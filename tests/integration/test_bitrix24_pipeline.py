"""A portal and the whole program: a check becomes one document and its eight fields are in the portal; never a false
"printed", also while the database is away."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from app.db.unit_of_work import Database
from app.infra.dsn import Dsn
from app.main import create_app
from app.services.registrations import Registrations
from tests.support.server import serve
from tests.support.world import World, open_world

PORTAL = "portal.bitrix24.example"


@dataclass
class Shop:
    """An online shop in the simulated portal, whose cashbox is the program."""

    world: World

    async def call(self, path: str, **body: Any) -> Any:
        answer = await self.world.http.post(f"{self.world.simulator_url}/bitrix24/{path}", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def checks(self) -> list[dict[str, Any]]:
        answer = await self.world.http.get(f"{self.world.simulator_url}/bitrix24/checks")
        found: list[dict[str, Any]] = answer.json()
        return found

    async def told(self, status: str) -> dict[str, Any]:
        """The only check, once the portal was told by the program itself."""

        async def so() -> bool:
            return [one["status"] for one in await self.checks()] == [status]

        await self.world.until(so, 30)
        (found,) = await self.checks()
        return found


@pytest.fixture
async def shop(database_url: str, tmp_path: Path) -> AsyncIterator[Shop]:
    async with open_world(database_url, tmp_path) as world:
        runtime = world.runtime
        app = create_app(runtime.services, runtime.settings, metrics=runtime.metrics)
        async with serve(app) as url:
            # Which port the program has is known only now.
            runtime.services.sources._public_url = url
            registrations = Registrations(runtime.services.sources, runtime.sources, runtime.http, url)
            webhook = f"{world.simulator_url}/bitrix24/rest/1/simulated0webhook"
            wish = {"portal_webhook": SecretStr(webhook), "email": "boss@example.org", "vat_zero": "none"}
            await registrations.register("test", world.merchant_id, "bitrix24", wish, name="Portal")
            yield Shop(world)


async def test_a_check_becomes_one_document_and_all_eight_fields_arrive(shop: Shop) -> None:
    check = await shop.call("orders", repeat=3)
    assert (check["status"], check["error"]) == ("P", "")
    async with shop.world.working():
        printed = await shop.told("Y")
    (document,) = await shop.world.tape()
    fiscal = printed["fiscal"]
    assert (fiscal["FISCAL_DOC_NUMBER"], fiscal["FISCAL_DOC_ATTR"]) == (str(document["fd"]), str(document["fpd"]))
    assert printed["uuid"] == check["uuid"]
    # With the UUID these are the eight members of sale.cashbox.check.apply.
    assert len(fiscal) == 7
    assert all(fiscal.values())


async def test_without_the_database_the_portal_waits_and_is_told_later(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shop.call("orders")
    # The program has served the portal's source once, as any that has run for a moment.
    (asked,) = await shop.call("agent")
    assert asked["status"] == "P"
    with monkeypatch.context() as away:
        nowhere, pipeline = Database(Dsn.parse("postgresql://nobody@127.0.0.1:9/nothing")), Database.pipeline
        away.setattr(Database, "pipeline", lambda _: pipeline(nowhere))
        (asked,) = await shop.call("agent")
        assert (asked["status"], asked["fiscal"]) == ("P", {})
    async with shop.world.working():
        printed = await shop.told("Y")
    assert printed["fiscal"]["FN_NUMBER"]
    assert len(await shop.world.tape()) == 1
