"""The day at the school's other acquirers: YooKassa, which signs nothing and is read back, and T-Bank, which tells no
sum of a refund; and one payment that the CRM reports, too."""

from typing import Any

from app.cli.demo_crms import MOYKLASS, crm_payment, crm_row
from app.cli.demo_sources import TERMINAL
from app.cli.demo_town import Json, Town, expect

YOOKASSA, TBANK = "YooKassa", "T-Bank"


async def yookassa_pays(town: Town) -> None:
    said = {"order_id": town.id("order-yk"), "email": "olga@example.org", "item_name": "Интенсив, выходные"}
    payment = await _paid(town, "3200.00", said)
    event_id = await town.event_of(payment, "yookassa")
    deed = await town.done("yookassa", "Olga pays through YooKassa", YOOKASSA, event_id, 320_000)
    deed.remark = "read back by the shop's key"


async def yookassa_returns(town: Town) -> None:
    paid = town.deeds["yookassa"].receipt["external_id"]
    body = {"payment_id": paid, "amount": {"value": "1200.00", "currency": "RUB"}}
    back = await _shop(town, "refunds", body, "refund-yk")
    event_id = await town.event_of(back["id"], "yookassa")
    await town.done("refund-yookassa", "Olga gets a part back", YOOKASSA, event_id, 120_000, refund=True)


async def tbank_pays(town: Town) -> None:
    fields = {"Amount": 275_000, "OrderId": town.id("tb")[:36], "Data": {"Email": "pavel@example.org"}}
    payment = str((await _bank(town, fields))["payment_id"])
    event_id = await town.event_of(payment, "tbank")
    await town.done("tbank", "Pavel pays through T-Bank", TBANK, event_id, 275_000)


async def tbank_returns(town: Town) -> None:
    payment = town.deeds["tbank"].receipt["external_id"]
    await _bank(town, {"PaymentId": int(payment), "Status": "REFUNDED", "Amount": 0})
    event_id = await town.event_of(f"{payment}:left:0", "tbank")
    deed = await town.done("refund-tbank", "Pavel gets everything back", TBANK, event_id, 275_000, refund=True)
    deed.remark = "no sum in the notice: what was left"


async def told_by_both(town: Town) -> None:
    pupil = await crm_row(town, "users", name="Никита", email="nikita@example.org", phone=None, attributes=[])
    told_by_crm = await crm_payment(town, pupil["id"], 3500)
    first = await town.event_of(told_by_crm, "moyklass")
    said = {"crm": "moyklass", "crm_payment_id": told_by_crm, "email": "nikita@example.org"}
    second = await town.event_of(await _paid(town, "3500.00", said), "yookassa")
    event = await town.read(f"/v1/events/{second}")
    expect(
        (event["status"], event["linked_to"]) == ("linked", first),
        f"the acquirer's report of the CRM's payment is {event['status']}, not linked to it",
    )
    deed = await town.done("both", "Nikita's payment, told by two sources", MOYKLASS, first, 350_000)
    deed.remark = "YooKassa's report is linked: one receipt"


async def _paid(town: Town, value: str, metadata: Json) -> str:
    """A payment that the shop made and the buyer paid; its id."""
    body = {"amount": {"value": value, "currency": "RUB"}, "capture": True, "metadata": metadata}
    made = await _shop(town, "payments", body, f"{value}-{metadata['email']}")
    await town.play("POST", f"/yookassa/payments/{made['id']}/pay")
    payment_id: str = made["id"]
    return payment_id


async def _shop(town: Town, path: str, body: Json, name: str) -> Json:
    """The shop's own call to YooKassa."""
    how: dict[str, Any] = {"headers": {"Idempotence-Key": town.id(name)}, "auth": ("100500", "of-the-shop")}
    made: Json = await town.play("POST", f"/yookassa/v3/{path}", json=body, **how)
    return made


async def _bank(town: Town, fields: Json) -> Json:
    """A signed notice of the terminal, taken with the two letters that end its repeats."""
    target = f"{town.gateway_url}{town.shop.paths['tbank']}"
    sent: Json = await town.play(
        "POST", "/tbank/send", json={"target_url": target, "fields": {"TerminalKey": TERMINAL} | fields}
    )
    expect(sent["answers"][-1]["accepted"], f"the bank's notice was not taken: {sent['answers']}")
    return sent
