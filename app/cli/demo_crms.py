"""The day at the school's CRMs: «Мой Класс», which is told the receipt's link, and Bitrix24, whose cashbox we are."""

from typing import Any

from app.cli.demo_sources import ONLINE
from app.cli.demo_town import Deed, Json, Town, expect

MOYKLASS, BITRIX24 = "Мой Класс", "Bitrix24"

_KEPT_BY_PORTAL = (
    *("REG_NUMBER_KKT", "FISCAL_DOC_ATTR", "FISCAL_DOC_NUMBER", "FISCAL_RECEIPT_NUMBER"),
    *("FN_NUMBER", "SHIFT_NUMBER", "PRINT_END_TIME"),
)
"""Members of a receipt, beside our UUID."""


async def pupil_pays(town: Town) -> None:
    pupil = await crm_row(town, "users", name="Мария Примерова", email="maria@example.org", phone=None, attributes=[])
    course = await crm_row(town, "courses", name="Английский")
    kind = await crm_row(town, "subscriptions", name="Абонемент «8 занятий»")
    await crm_row(town, "paymentTypes", id=ONLINE, name="Онлайн")
    owned = {"userId": pupil["id"], "subscriptionId": kind["id"], "courseIds": [course["id"]], "price": 4900}
    bought = await crm_row(town, "userSubscriptions", **owned, sellDate="2026-01-01", statusId=2)
    paid = await crm_payment(town, pupil["id"], 4900, userSubscriptionId=bought["id"])
    deed = await _done(town, "pupil", "Maria, a pupil, pays in the CRM", paid, 490_000)
    deed.remark = "the link stands as a comment at the pupil"


async def pupil_gets_back(town: Town) -> None:
    first = town.deeds["pupil"].receipt["external_id"]
    pupil = next(one["userId"] for one in await town.play("GET", "/moyklass/data/payments") if str(one["id"]) == first)
    back = await crm_payment(town, pupil, -1000, optype="refund")
    deed = await _done(town, "refund-pupil", "Maria gets a part back", back, 100_000, refund=True)
    deed.remark = "the payment found by the pupil; commented"


async def order(town: Town) -> None:
    await _checked(town, "order", "An order of the shop is printed", "sell", 240_000)


async def order_returned(town: Town) -> None:
    await _checked(town, "refund-order", "The order comes back", "sellreturn", 240_000)


async def crm_row(town: Town, kind: str, **row: Any) -> Json:
    """What somebody types into «Мой Класс»."""
    made: Json = await town.play("POST", f"/moyklass/data/{kind}", json=row)
    return made


async def crm_payment(town: Town, pupil: int, roubles: int, **more: Any) -> str:
    """A payment typed into the CRM, which hints at it at once; its id."""
    row = {"userId": pupil, "summa": roubles, "paymentTypeId": ONLINE, "filialId": 1} | more
    return str((await crm_row(town, "payments", **row))["id"])


async def _done(town: Town, name: str, title: str, external_id: str, amount: int, *, refund: bool = False) -> Deed:
    """The receipt, and the comment with its link at the pupil."""
    event_id = await town.event_of(external_id, "moyklass")
    deed = await town.done(name, title, MOYKLASS, event_id, amount, refund=refund)
    link = deed.receipt["receipt_page_url"]

    async def look() -> bool | None:
        found = await town.play("GET", "/moyklass/data/userComments")
        return True if any(link in one["comment"] for one in found) else None

    await town.until(look, f"«Мой Класс» has no comment with the link {link}")
    return deed


async def _checked(town: Town, name: str, title: str, type: str, amount: int) -> None:
    """The portal prints a check; its receipt is pushed back with all eight members."""
    line = {
        "name": "Учебник «Английский за год»",
        "price": "1200",
        "base_price": "1200",
        "quantity": "2",
        "sum": "2400",
        "currency": "RUB",
        "vat": "1",
        "measure_code": "796",
        "payment_object": "commodity",
        "payment_method": "full_payment",
    }
    wanted = {"type": type, "items": [line], "fields": {"client_email": "buyer@example.org"}}
    check = await town.play("POST", "/bitrix24/orders", json=wanted)
    expect(bool(check["uuid"]), f"the portal's check was not taken: {check['answers']}")
    event_id = await town.event_of(check["uuid"].partition(":")[2], "bitrix24")
    deed = await town.done(name, title, BITRIX24, event_id, amount, refund=type != "sell")

    async def look() -> Json | None:
        checks = await town.play("GET", "/bitrix24/checks")
        known: Json = next(one for one in checks if one["id"] == check["id"])
        return known if known["status"] == "Y" else None

    known = await town.until(look, f"the portal never heard of its check {check['id']}")
    lacking = [one for one in _KEPT_BY_PORTAL if not known["fiscal"].get(one)]
    expect(not lacking, f"the portal was not told {', '.join(lacking)}")
    told, fiscal = str(known["fiscal"]["FISCAL_DOC_NUMBER"]), deed.receipt["fiscal"]
    expect(told == str(fiscal["fd"]), f"the portal believes in document {told}, not {fiscal['fd']}")
    deed.remark = "pushed back to the portal"
