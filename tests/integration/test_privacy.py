"""A buyer who is forgotten is found nowhere any more, and everything fiscal of his receipts stays."""

import base64
import hmac
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import httpx
import pytest
from sqlalchemy import text

from app.domain.receipt import Customer
from app.infra.ids import public
from app.main import create_app
from app.services.customers import open_event
from app.services.privacy import Erased, Privacy
from app.services.sources import NewSource
from tests.support import rows
from tests.support.world import World, open_world

EMAIL, PHONE = "olga.forgotten@example.org", "+79990001133"
BUYER = Customer(email=EMAIL, phone=PHONE, name="Ольга")


@pytest.fixture
async def world(database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(database_url, tmp_path) as found:
        yield found


async def erase(world: World, **how: Any) -> Erased:
    privacy = Privacy(world.runtime.database, world.runtime.keys.box, world.runtime.keys.hasher)
    return await privacy.erase("test", world.merchant_id, **({"email": EMAIL, "phone": None} | how))


async def bought(world: World, external_id: str, **changes: Any) -> UUID:
    event = await world.pay(external_id, customer=BUYER, **changes)
    async with world.working():
        await world.status(event, "fiscalized")
        await world.idle()
    return event


async def customer_of(world: World, event_id: UUID) -> Customer:
    async with world.runtime.database.pipeline() as tx:
        found = await tx.execute(text("SELECT payload FROM events WHERE id = :e"), {"e": event_id})
        blob = bytes(found.scalar_one())
    return open_event(world.runtime.keys.box, world.merchant_id, event_id, blob).customer


async def test_contacts_go_and_everything_fiscal_stays(world: World) -> None:
    sale = await bought(world, "p-1")
    other = await world.pay("p-2", customer=Customer(email="anna@example.org"))
    async with world.working():
        await world.status(other, "fiscalized")
        await world.idle()
    before, untouched = await world.receipt(sale), await world.receipt(other)

    counted = await erase(world, dry=True)
    assert await world.receipt(sale) == before, "a dry run changes nothing"
    assert counted == await erase(world) == Erased(receipts=1, events=1, exchanges=1)

    after = await world.receipt(sale)
    assert before.fiscal
    assert before.customer
    assert after.customer is None
    assert before.changed(customer=None) == after.changed(customer=None), "only the buyer is gone"
    assert await customer_of(world, sale) == Customer()
    assert await world.receipt(other) == untouched
    assert await customer_of(world, other) != Customer()
    hashes = "SELECT num_nonnulls(email_hash, phone_hash, phone_tail_hash) FROM receipts WHERE event_id = :e"
    async with world.runtime.database.pipeline() as tx:
        assert (await tx.execute(text(hashes), {"e": sale})).scalar_one() == 0
        assert (await tx.execute(text(hashes), {"e": other})).scalar_one() == 1
    assert await erase(world, phone=PHONE) == Erased(), "he is known by nothing any more"
    told = "SELECT data::text FROM audit WHERE action = 'buyer.erased'"
    noted = await rows.scalar(world.runtime.database, told)
    assert isinstance(noted, str)
    assert '"receipts": 1' in noted
    assert EMAIL not in noted


async def test_a_forgotten_buyers_payment_is_still_a_repeat_and_may_be_returned(world: World) -> None:
    sale = await bought(world, "p-1")
    await erase(world)
    assert await bought(world, "p-1") == sale
    back = await world.refund("r-1", "p-1", 10_000, customer=Customer(email="olga.new@example.org"))
    async with world.working():
        await world.status(back, "fiscalized")
    assert [one["operation"] for one in await world.tape()] == ["sell", "sell_refund"]


async def test_what_is_not_finished_keeps_its_buyer_until_it_is(world: World) -> None:
    held = await world.pay("p-1", customer=BUYER, items=())
    async with world.working():
        await world.status(held, "held")
        await world.idle()
    assert await erase(world) == Erased(unfinished=1)
    assert await customer_of(world, held) == BUYER
    row = await world.receipt(held)
    await world.runtime.services.actions.cancel(world.principal, world.merchant_id, row.id, None)
    found = await erase(world, email=None, phone=PHONE)
    assert (found.receipts, found.events, found.unfinished) == (1, 1, 0)


async def test_raw_notices_about_the_buyer_go_however_they_spell_him(world: World) -> None:
    app = create_app(world.runtime.services, world.runtime.settings, metrics=world.runtime.metrics)
    pair = {"public_id": "pk", "api_secret": "hmac-secret"}
    new = NewSource("cloudpayments", "Эквайринг", pair, {}, {}, acquirer_fiscalizes=False)
    made = await world.runtime.services.sources.create("test", world.merchant_id, new)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://kassa.example.org") as http:
        for number, contact in enumerate(({"Email": EMAIL}, {"AccountId": "8 (999) 000-11-33"}, {"Email": "b@b.ru"})):
            told = {"TransactionId": 700 + number, "Amount": "50.00", "Currency": "RUB", "Status": "Declined"}
            raw = urlencode({**told, "OperationType": "Payment", **contact}).encode()
            signed = base64.b64encode(hmac.digest(b"hmac-secret", raw, "sha256")).decode()
            path = f"/in/{public('src', made.source.id)}/pay"
            heard = await http.post(path, content=raw, headers={"Content-HMAC": signed})
            assert heard.json() == {"code": 0}
    async with world.working():
        await world.idle()
    assert await erase(world, phone=PHONE, dry=True) == Erased(notices=2)
    assert await erase(world, phone=PHONE) == Erased(notices=2)
    assert await rows.scalar(world.runtime.database, "SELECT count(*) FROM notifications") == 1
