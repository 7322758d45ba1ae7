"""The demo school's sources: two CRMs and three acquirers, played by the simulator and connected as anybody's would be.

What was connected stays in the folder; the simulator forgets where it posts, and is told again at each start.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import httpx

from app.cli.actor import ACTOR
from app.infra.ids import parse, public
from app.runtime import Runtime
from app.services.sources import NewSource

TERMINAL = "1700000000001"
ONLINE = 2
"""Id of the CRM's way of paying over the Internet."""

_TERMINAL_PASSWORD = "simulated_password"  # noqa: S105 - of the simulated bank
_PORTAL_PATH = "/bitrix24/rest/1/simulated0webhook/"


@dataclass(frozen=True, slots=True)
class Connected:
    """Sources by kind: their ids, and the path of their one address with its secret."""

    ids: dict[str, str]
    paths: dict[str, str]


async def connect(
    runtime: Runtime, merchant_id: UUID, kassa_id: UUID, simulator_url: str, acquirer_secret: str
) -> Connected:
    """All sources but Bitrix24, which is registered at each start (`listen`)."""
    ids, paths = {}, {}
    for kind, given in _sources(simulator_url, acquirer_secret).items():
        new = NewSource(kind=kind, kassa_id=kassa_id, **given)
        made = await runtime.services.sources.create(ACTOR, merchant_id, new)
        ids[kind] = public("src", made.source.id)
        paths[kind] = urlsplit(made.addresses[0].url).path
    return Connected(ids, paths)


async def listen(
    runtime: Runtime, merchant_id: str, kassa_id: str, paths: Mapping[str, str], simulator_url: str
) -> str:
    """The CRMs and YooKassa learn where they post to; the portal's cashbox is entered. The portal's source id."""
    api_url = (runtime.settings.public_url or "").rstrip("/")
    async with httpx.AsyncClient(base_url=simulator_url, timeout=5, trust_env=False) as client:
        for kind in ("moyklass", "yookassa"):
            told = await client.put(f"/{kind}/webhook", json={"url": f"{api_url}{paths[kind]}"})
            told.raise_for_status()
    made = await runtime.services.registrations.register(
        ACTOR,
        parse("mer", merchant_id),
        "bitrix24",
        {"portal_webhook": f"{simulator_url}{_PORTAL_PATH}", "email": "boss@example.org", "vat_zero": "none"},
        name="Bitrix24",
        kassa_id=parse("kas", kassa_id),
    )
    return public("src", made.source.source.id)


def _sources(simulator_url: str, acquirer_secret: str) -> dict[str, dict[str, Any]]:
    """A payment of the CRM and the payment of YooKassa that names it are the same money."""
    return {
        "cloudpayments": {
            "name": "Эквайринг сайта",
            "credentials": {"public_id": "pk_demo", "api_secret": acquirer_secret},
            "settings": {},
            "defaults": {},
            "acquirer_fiscalizes": False,
        },
        "moyklass": {
            "name": "Мой Класс",
            "credentials": {"api_key": secrets.token_hex(16)},
            "settings": {
                "payment_types": {str(ONLINE): {"kind": "electronic", "internet": True}},
                "balance_method": "advance",
                "settle": "off",
            },
            "defaults": {},
            "base_url": f"{simulator_url}/moyklass",
            "settlement_key_from": "payment_id",
        },
        "yookassa": {
            "name": "ЮKassa",
            "credentials": {"shop_id": "100500", "secret_key": secrets.token_hex(16)},
            "settings": {},
            "defaults": {},
            "base_url": f"{simulator_url}/yookassa/v3",
            "acquirer_fiscalizes": False,
            "settlement_key_from": "metadata.crm_payment_id",
        },
        "tbank": {
            "name": "Т‑Банк",
            "credentials": {"terminal_key": TERMINAL, "password": _TERMINAL_PASSWORD},
            "settings": {},
            "defaults": {"item_name": "Курс «Произношение»"},
            "base_url": f"{simulator_url}/tbank/v2",
            "acquirer_fiscalizes": False,
        },
    }
