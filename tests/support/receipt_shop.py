"""A merchant whose receipts are looked at as pages: the whole program on a real port, a public address, a register."""

from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from app.infra.ids import new_id
from app.main import create_app
from app.services.principal import Principal
from tests.support.printed import CODE
from tests.support.server import serve
from tests.support.world import World, open_world

PUBLIC = "https://kassa.example.org"

# 10 % off: FFD has no requisite for a discount, so the price is the one after it.
SALE: dict[str, Any] = {
    "type": "payment.succeeded",
    "external_id": "p-1",
    "order_id": "A-1042",
    "amount": 90_000 + 180_000 + 35_000,
    "currency": "RUB",
    "customer": {"email": "anna@example.org", "phone": "+79990000000", "name": "ООО «Ромашка»", "inn": "7707083893"},
    "payments": [{"type": "electronic", "amount": 205_000}, {"type": "prepaid", "amount": 100_000}],
    "items": [
        {
            "name": "Кроссовки, скидка 10%",
            "quantity": "1",
            "price": 90_000,
            "amount": 90_000,
            "vat": "none",
            "payment_method": "full_payment",
            "payment_object": "commodity_with_marking",
            "marking_code": {"code": CODE, "state": 1},
        },
        {
            "name": "Мастер-класс",
            "quantity": "2",
            "price": 90_000,
            "amount": 180_000,
            "vat": "none",
            "payment_method": "full_payment",
            "payment_object": "service",
            "measure": "hour",
            "agent": {
                "type": "attorney",
                "supplier_inn": "7707083893",
                "supplier_name": "ООО «Мастера»",
                "supplier_phones": ["+74950000000"],
            },
        },
        {
            "name": "Перевод",
            "quantity": "1",
            "price": 35_000,
            "amount": 35_000,
            "vat": "none",
            "payment_method": "full_payment",
            "payment_object": "service",
            "agent": {
                "type": "bank_paying_agent",
                "supplier_inn": "7707083893",
                "supplier_name": "Банк",
                "supplier_phones": ["+74950000004"],
                "paying_agent_operation": "перевод",
                "paying_agent_phones": ["+74950000001"],
                "transfer_operator_name": "Оператор",
                "transfer_operator_inn": "7707083893",
                "transfer_operator_address": "Москва, ул. Ленина, 1",
                "transfer_operator_phones": ["+74950000002"],
            },
        },
    ],
}


@dataclass
class ReceiptShop:
    """A program on a real port, with a client of the merchant's."""

    world: World
    url: str
    api: httpx.AsyncClient

    async def sold(self, **changes: Any) -> dict[str, Any]:
        answer = await self.api.post("/v1/events", json={**SALE, **changes}, headers={"Prefer": "wait=20"})
        assert answer.status_code == 200, answer.text
        (receipt,) = answer.json()["receipts"]
        assert receipt["status"] == "fiscalized", receipt["failure"]
        made: dict[str, Any] = receipt
        return made

    def here(self, public: str) -> str:
        """A link to the installation's public address, as this machine reaches it."""
        assert public.startswith(f"{PUBLIC}/r/")
        return self.url + public.removeprefix(PUBLIC)

    async def requisites(self, receipt_id: str) -> dict[str, Any]:
        answer = await self.api.get(f"/v1/receipts/{receipt_id}/view.json")
        found: dict[str, Any] = answer.raise_for_status().json()
        return found


async def receipt_shop(stack: AsyncExitStack, database_url: str, folder: Path, **settings: Any) -> ReceiptShop:
    world = await stack.enter_async_context(open_world(database_url, folder, **{"public_url": PUBLIC, **settings}))
    app = create_app(world.runtime.services, world.runtime.settings, metrics=world.runtime.metrics)
    url = await stack.enter_async_context(serve(app))
    admin = Principal(new_id(), None, None, frozenset({"admin"}))
    key = await world.runtime.services.access.create(admin, merchant_id=world.merchant_id, name="test", scopes=("*",))
    headers = {"Authorization": f"Bearer {key.text}"}
    api = await stack.enter_async_context(httpx.AsyncClient(base_url=url, headers=headers, timeout=30))
    await stack.enter_async_context(world.working())
    return ReceiptShop(world, url, api)


def flat(parts: list[dict[str, Any]], above: str = "") -> list[tuple[str, str]]:
    """The JSON's requisites as (path of tags, value)."""
    found = []
    for part in parts:
        if part["parts"]:
            found += flat(part["parts"], f"{above}{part['tag']}/")
        elif part["tag"] is not None:
            found.append((f"{above}{part['tag']}", part["value"]))
    return found
