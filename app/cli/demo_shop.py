"""The demo's connected merchant: a language school with one kassa, its sources, and a program of its own that listens.

Made through the services as anybody's would be, once per data folder; a restart finds it again by its file.
"""

import secrets
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from app.cli.actor import ACTOR, CLI
from app.cli.configure import DEMO_FILE
from app.cli.demo_sources import connect, listen
from app.cli.errors import Stop
from app.cli.files import read_json, write_json
from app.infra.ids import public
from app.runtime import Runtime
from app.services.kassas import NewKassa

PLACE = "https://shop.example/"
INBOX = "demo"


@dataclass(frozen=True, slots=True)
class Shop:
    """What the demo needs to act as the school's program, its CRMs and its acquirers. Secrets of a demo, kept in its
    folder. `sources` and `paths` are by kind."""

    merchant_id: str
    kassa_id: str
    sources: dict[str, str]
    paths: dict[str, str]
    endpoint_id: str
    api_key: str
    webhook_secret: str
    acquirer_secret: str
    simulator_port: int


def simulator_port_of(data_dir: Path, wanted: int) -> int:
    """The port at which this folder's kassa knows the simulator; `wanted` where there is none yet.

    A kassa that has made receipts never changes its address, so the simulator must come back to it.
    """
    kept = _kept(data_dir)
    if kept is None:
        return wanted
    if wanted not in (0, kept.simulator_port):
        raise Stop(
            f"The demo in {data_dir} knows its simulator at port {kept.simulator_port}; leave out --simulator-port, "
            "or choose another --data-dir.",
            2,
        )
    return kept.simulator_port


async def open_shop(runtime: Runtime, simulator_url: str) -> Shop:
    """The connected merchant, made when the folder has none; its program learns its signing secret again, the simulated
    counterparts where they post to."""
    data_dir = runtime.settings.data_dir.resolve()
    shop = _kept(data_dir)
    if shop is None:
        shop = await _connect(runtime, simulator_url)
        write_json(data_dir / DEMO_FILE, asdict(shop))
    portal = await listen(runtime, shop.merchant_id, shop.kassa_id, shop.paths, simulator_url)
    shop = replace(shop, sources={**shop.sources, "bitrix24": portal})
    async with httpx.AsyncClient(timeout=5, trust_env=False) as client:
        told = await client.put(f"{simulator_url}/crm/hook/{INBOX}/secret", json={"secret": shop.webhook_secret})
        told.raise_for_status()
    return shop


async def _connect(runtime: Runtime, simulator_url: str) -> Shop:
    services = runtime.services
    merchant = await services.merchants.create(ACTOR, name="Школа «Лингва»", inn="7700000009")
    kassa = await services.kassas.create(ACTOR, merchant.id, _kassa(simulator_url))
    await services.kassas.check(ACTOR, merchant.id, kassa.kassa.id)
    acquirer_secret = secrets.token_hex(16)
    connected = await connect(runtime, merchant.id, kassa.kassa.id, simulator_url, acquirer_secret)
    endpoint = await services.endpoints.create(
        ACTOR,
        merchant.id,
        url=f"{simulator_url}/crm/hook/{INBOX}",
        types=["receipt.*"],
        description="The school's CRM",
    )
    if endpoint.secret is None:
        raise RuntimeError("a new endpoint tells its secret")
    key = await services.access.create(CLI, merchant_id=merchant.id, name="The school's CRM", scopes=["*"])
    return Shop(
        merchant_id=public("mer", merchant.id),
        kassa_id=public("kas", kassa.kassa.id),
        sources=connected.ids,
        paths=connected.paths,
        endpoint_id=public("whe", endpoint.endpoint.id),
        api_key=key.text,
        webhook_secret=endpoint.secret,
        acquirer_secret=acquirer_secret,
        simulator_port=urlsplit(simulator_url).port or 0,
    )


def _kassa(simulator_url: str) -> NewKassa:
    """The simulator's own group of registers. VAT, payment method and the Internet sign are the school's answers."""
    return NewKassa(
        name="Касса сайта",
        provider="digitalkassa",
        ffd="1.2",
        taxation=["usn_income"],
        place=PLACE,
        timezone="Europe/Moscow",
        internet=True,
        credentials={"actor_id": "1", "actor_token": "t", "c_group_id": 4321},
        defaults={
            "vat": "none",
            "payment_method": "full_prepayment",
            "payment_object": "service",
            "measure": "piece",
        },
        base_url=f"{simulator_url}/v2.1/",
    )


def _kept(data_dir: Path) -> Shop | None:
    found = read_json(data_dir / DEMO_FILE)
    if found is None:
        return None
    try:
        return Shop(**found)
    except TypeError:
        raise Stop(f"{data_dir / DEMO_FILE} is of another version; choose another --data-dir.") from None
