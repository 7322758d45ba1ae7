"""A merchant connected over the API as an integrator does it, and the payment that its CRM reports."""

from typing import Any

import httpx

EVENT = {
    "type": "payment.succeeded",
    "external_id": "p-1",
    "amount": 199000,
    "currency": "RUB",
    "customer": {"email": "anna@example.org"},
    "items": [{"name": "Абонемент", "quantity": "1", "price": 199000, "amount": 199000, "vat": "none"}],
}
ENVIRONMENT = {"KASSA_EGRESS_ALLOW": "127.0.0.0/8", "KASSA_LOG_LEVEL": "warning"}


def kassa_json(simulator_url: str) -> dict[str, Any]:
    return {
        "name": "Касса сайта",
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
    }


async def made(client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = await client.post(path, json=body)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def connect(api_url: str, admin_key: str, simulator_url: str) -> str:
    """A merchant with a kassa, connected over the API with the admin key; answers with the merchant's key."""
    async with httpx.AsyncClient(base_url=api_url, headers={"Authorization": f"Bearer {admin_key}"}) as admin:
        merchant = await made(admin, "/v1/merchants", {"name": "Школа «Лингва»", "inn": "7700000009"})
        key = await made(admin, "/v1/api-keys", {"name": "CRM", "scopes": ["*"], "merchant_id": merchant["id"]})
    text: str = key["key"]
    async with httpx.AsyncClient(base_url=api_url, headers={"Authorization": f"Bearer {text}"}) as client:
        kassa = await made(client, "/v1/kassas", kassa_json(simulator_url))
        checked = await client.post(f"/v1/kassas/{kassa['id']}/check")
        assert checked.json()["check"]["ok"], checked.text
    return text
