"""«Мой Класс» over real HTTP: the simulated CRM on one side, the adapter and the whole pipeline on the other."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import httpx
import pytest

from app.crms.moyklass import PLUGIN
from app.domain.errors import Conflict, NotFound
from app.domain.event import EventType, PaymentEvent
from app.infra.ids import new_id, public
from app.infra.pace import EvenPace
from app.infra.tokens import Tokens
from app.main import create_app
from app.ports.source import Alarm, Report, Reported, SourceContext, SourceUnreachable
from app.services.known import KnownEvents
from app.services.sources import NewSource
from tests.support.world import World, open_world

ADAPTER = PLUGIN()
MOSCOW = ZoneInfo("Europe/Moscow")
API_KEY = "made_up_key_of_the_company"
ONLINE = {"kind": "electronic", "internet": True}
SETTINGS: dict[str, Any] = {"payment_types": {"2": ONLINE}, "balance_method": "advance", "settle": "off"}
ANY_CALL = {"provider": "moyklass", "action": "any"}
Json = dict[str, Any]


@dataclass
class School:
    """A company in the simulated CRM, connected as a source of the program."""

    world: World
    source_id: UUID
    hook: str
    api: httpx.AsyncClient
    tokens: Tokens = field(default_factory=Tokens)

    async def crm(self, method: str, path: str, **options: Any) -> Any:
        answer = await self.world.http.request(method, f"{self.world.simulator_url}/moyklass{path}", **options)
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else None

    async def put(self, kind: str, **row: Any) -> Json:
        return dict(await self.crm("POST", f"/data/{kind}", json=row))

    async def pays(self, amount: float = 4900, **row: Any) -> Json:
        return await self.put("payments", **{"userId": 300, "summa": amount, "paymentTypeId": 2, "filialId": 1} | row)

    async def settings(self, **changes: Any) -> None:
        await self.world.runtime.services.sources.change(
            "test", self.world.merchant_id, self.source_id, {"settings": SETTINGS | changes}
        )

    async def context(self) -> SourceContext:
        runtime = self.world.runtime
        view = await runtime.services.sources.read(self.world.merchant_id, self.source_id)
        return SourceContext(
            http=runtime.http.client(),
            base_url=view.source.base_url,
            credentials=PLUGIN.Credentials(api_key=API_KEY),
            settings=PLUGIN.Settings.model_validate(view.source.settings),
            timezone="Europe/Moscow",
            source_id=public("src", self.source_id),
            tokens=self.tokens,
            pace=EvenPace(None),
            known=KnownEvents(runtime.database, self.world.merchant_id, self.source_id),
        )

    async def poll(self) -> list[PaymentEvent | Alarm]:
        """One poll of the last day; its events are taken in."""
        found = []
        async for one in ADAPTER.poll(datetime.now(UTC) - timedelta(days=1), await self.context()):
            found.append(one)
            if isinstance(one, PaymentEvent):
                await self.world.runtime.services.intake.accept(
                    self.world.merchant_id, self.source_id, one, "poll", refuse=False
                )
        return found

    async def done(self) -> None:
        async with self.world.working():
            await self.world.idle(60)

    async def printed(self) -> list[tuple[str, int]]:
        return [(one["operation"], one["total"]) for one in await self.world.tape()]

    async def events(self) -> list[Json]:
        async with self.world.runtime.database.pipeline() as tx:
            found = await tx.exec_driver_sql("SELECT external_id, status, reason FROM events ORDER BY id")
            return [dict(row._mapping) for row in found]


@pytest.fixture
async def school(database_url: str, tmp_path: Path) -> AsyncIterator[School]:
    async with open_world(database_url, tmp_path) as world:
        services = world.runtime.services
        made = await services.sources.create(
            "test",
            world.merchant_id,
            NewSource(
                kind="moyklass",
                name="CRM",
                credentials={"api_key": API_KEY},
                settings=SETTINGS,
                defaults={"vat": "none"},
                base_url=f"{world.simulator_url}/moyklass",
            ),
        )
        (address,) = made.addresses
        app = create_app(services, world.runtime.settings, metrics=world.runtime.metrics)
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://kassa.example.org", timeout=60
        ) as api:
            found = School(world, made.source.id, address.url, api)
            await found.put("users", id=300, name="Пётр", email="pupil@example.org", phone=None, attributes=[])
            await found.put("paymentTypes", id=2, name="Онлайн")
            await found.put("paymentTypes", id=3, name="Рассрочка")
            await found.put("courses", id=100, name="Акварель")
            await found.put("subscriptions", id=12, name="Абонемент «8 занятий»")
            await found.put("userSubscriptions", **OWNED)
            yield found


OWNED: Json = {
    "id": 1504,
    "userId": 300,
    "subscriptionId": 12,
    "price": 4900,
    "courseIds": [100],
    "sellDate": "2026-01-01",
    "statusId": 2,
}


async def test_without_any_webhook_the_poll_alone_finds_every_payment_once(school: School) -> None:
    paid = [await school.pays(userSubscriptionId=1504) for _ in range(3)]
    await school.pays(-1000, optype="debit", invoiceId=1)
    assert [one.external_id for one in await school.poll() if isinstance(one, PaymentEvent)] == [
        str(one["id"]) for one in paid
    ]
    assert await school.poll() == []
    late = await school.pays(100)
    assert [one.external_id for one in await school.poll() if isinstance(one, PaymentEvent)] == [str(late["id"])]
    await school.done()
    assert await school.printed() == [("sell", 490000)] * 3 + [("sell", 10000)]


async def test_pages_of_a_busy_day_are_read_to_the_end(school: School) -> None:
    context = await school.context()
    for number in range(1, 621):
        await school.pays(1 + number, id=number, optype="refund")
    since = datetime.now(UTC) - timedelta(days=1)
    found = [one async for one in ADAPTER.poll(since, context)]
    seen = [one.external_id for one in found]
    assert seen == [str(number) for number in range(1, 621)]
    assert (await school.crm("GET", "/asked"))["/v1/company/payments"] == 2


async def test_with_hints_and_the_poll_there_is_one_receipt_each(school: School) -> None:
    first = await school.pays(userSubscriptionId=1504)
    hint = {"event": "payment_new", "object": {"paymentId": first["id"]}}
    for _ in range(3):
        answer = await school.api.post(school.hook, json=hint)
        assert (answer.status_code, answer.text) == (200, "OK")
    await school.done()
    await school.poll()
    await school.pays(500)
    await school.poll()
    await school.done()
    assert await school.printed() == [("sell", 490000), ("sell", 50000)]


async def test_a_hint_without_the_secret_of_the_address_is_refused_and_not_stored(school: School) -> None:
    assert "/s-" in school.hook
    forged = school.hook.replace("/s-", "/s-x")
    plain = f"/in/{public('src', school.source_id)}/webhook"
    for address in (forged, plain):
        assert (await school.api.post(address, json={"event": "payment_new", "object": {"id": 1}})).status_code == 401
    assert (await school.api.post(school.hook.replace("webhook", "payments"), json={})).status_code == 404
    async with school.world.runtime.database.pipeline() as tx:
        assert (await tx.exec_driver_sql("SELECT count(*) FROM notifications")).scalar_one() == 0
    with pytest.raises(Conflict):
        await school.world.runtime.services.sources.change(
            "test", school.world.merchant_id, school.source_id, {"path_secret": False}
        )


async def test_a_type_that_nobody_mapped_waits_and_goes_on_by_itself_when_it_is(school: School) -> None:
    cash = await school.pays(700, paymentTypeId=3)
    other = await school.pays(800, paymentTypeId=4)
    await school.poll()
    await school.done()
    assert await school.printed() == []
    held = await school.events()
    assert [one["status"] for one in held] == ["held", "held"]
    assert "«Рассрочка»" in str(held[0]["reason"])
    await school.settings(payment_types={"2": ONLINE, "3": ONLINE, "4": "not_fiscalized"})
    await school.done()
    assert await school.printed() == [("sell", 70000)]
    assert {one["external_id"]: one["status"] for one in await school.events()} == {
        str(cash["id"]): "planned",
        str(other["id"]): "ignored",
    }


async def test_who_says_how_it_was_paid_has_answered_for_this_payment(school: School) -> None:
    await school.pays(700, paymentTypeId=3)
    await school.poll()
    world = school.world
    async with world.runtime.database.pipeline() as tx:
        event_id = (await tx.exec_driver_sql("SELECT id FROM events")).scalar_one()
    paid = [{"kind": "electronic", "amount": 70000}]
    await world.runtime.services.actions.patch_event(world.principal, world.merchant_id, event_id, {"payments": paid})
    await school.done()
    assert await school.printed() == [("sell", 70000)]


async def test_a_refund_finds_the_pupil_s_latest_payment(school: School) -> None:
    await school.pays(1000)
    await school.poll()
    await school.done()
    await school.pays(-400, optype="refund")
    await school.poll()
    await school.done()
    assert await school.printed() == [("sell", 100000), ("sell_refund", 40000)]


async def test_lessons_close_what_was_prepaid_for_them(school: School) -> None:
    await school.settings(settle="per_day", settle_hour=0)
    await school.pays(userSubscriptionId=1504)
    await school.poll()
    await school.done()
    today = datetime.now(MOSCOW).date().isoformat()  # the school's day, which is another than UTC's from 21:00 on

    async def lesson(number: int, amount: float) -> None:
        bill = {"id": number, "date": today, "summa": amount, "lessonsCount": 1, "userSubscriptionId": 1504}
        await school.put(
            "lessonRecords",
            id=number,
            userId=300,
            bill=bill,
            lesson={"date": today, "filialId": 1},
            userSubscription=OWNED,
        )

    async def an_hour_later() -> None:
        school.tokens.drop("closings looked at")
        await school.poll()

    await lesson(1, 612.5)
    await lesson(2, 612.5)
    await an_hour_later()
    await lesson(3, 612.5)
    await an_hour_later()
    await school.done()
    # Two closings of one pupil that are planned at once may go in either order.
    first, *closed = await school.printed()
    assert (first, sorted(closed)) == (("sell", 490000), [("sell", 61250), ("sell", 122500)])
    estimate = await school.world.runtime.services.inbound.estimate(school.world.merchant_id, school.source_id, 30)
    assert (estimate.chosen, estimate.charges) == ("per_day", 0)
    with pytest.raises(NotFound):
        await school.world.runtime.services.inbound.estimate(new_id(), school.source_id, 30)
    with pytest.raises(Conflict):
        await school.world.runtime.services.inbound.estimate(school.world.merchant_id, school.world.source_id, 30)


async def test_an_edit_after_the_receipt_is_an_alarm_and_prints_nothing(school: School) -> None:
    paid = await school.pays(1000)
    await school.poll()
    await school.done()
    await school.crm("PATCH", f"/data/payments/{paid['id']}", json={"summa": 900})
    (alarm,) = await school.poll()
    assert isinstance(alarm, Alarm)
    assert (alarm.external_id, alarm.code) == (str(paid["id"]), "amount_changed")
    await school.done()
    assert await school.printed() == [("sell", 100000)]


async def test_the_link_is_written_back_and_its_echo_makes_no_receipt(school: School) -> None:
    await school.settings(payment_comment=True)
    paid = await school.pays(1000)
    await school.poll()
    await school.done()
    report = Report(
        receipt_id="rcpt_1",
        event_type=EventType.PAYMENT_SUCCEEDED,
        event_external_id=str(paid["id"]),
        order_id="moyklass:300",
        operation="sell",
        status="fiscalized",
        total=100000,
        fiscal=None,
        public_url="https://kassa.example.org/r/1",
        failure_ru=None,
        metadata={"user_id": 300},
    )
    for _ in range(2):
        assert await ADAPTER.report(report, await school.context()) == Reported()
    by_worker, by_hand = await school.crm("GET", "/data/userComments")
    assert by_worker["comment"].startswith("Чек на 1000.00 ₽"), "the pipeline has told it already"
    assert (by_hand["userId"], by_hand["showToUser"]) == (300, True)
    (payment,) = await school.crm("GET", "/data/payments")
    assert "Чек на 1000.00 ₽: https://kassa.example.org/r/1" in payment["comment"]
    echo = {"event": "payment_changed", "object": {"paymentId": paid["id"]}}
    assert (await school.api.post(school.hook, json=echo)).status_code == 200
    assert await school.poll() == []
    await school.done()
    assert await school.printed() == [("sell", 100000)]


async def test_an_expired_token_and_a_crm_in_trouble(school: School) -> None:
    await school.pays(1000)
    assert len(await school.poll()) == 1
    await school.crm("DELETE", "/tokens")
    assert await school.poll() == []
    assert (await school.crm("GET", "/asked"))["/v1/company/auth/getToken"] == 2
    for status in (429, 500):
        await school.world.fault(
            "error_before", match={"provider": "moyklass", "action": "any"}, params={"status": status}
        )
        with pytest.raises(SourceUnreachable):
            await school.poll()
    for kind in ("drop_before", "half_body"):
        await school.world.fault(kind, match=ANY_CALL)
        with pytest.raises(SourceUnreachable):
            await school.poll()
    assert await school.poll() == []
