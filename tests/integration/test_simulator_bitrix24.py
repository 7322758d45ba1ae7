"""The simulated portal over real HTTP, with the adapter on the other side: registered, printed, asked, reported."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request, Response
from pydantic import SecretStr

from app.crms.bitrix24 import PLUGIN
from app.domain.event import EventType, PaymentEvent
from app.infra.egress import EgressPolicy
from app.infra.http import open_http
from app.ports.inbound import InboundRequest
from app.ports.registration import RegistrationFailed
from app.ports.source import Report, Reported, ReportFailed, SourceContext, Verdict
from app.simulator.server import SimulatorConfig, create_simulator
from tests.contract.contexts import source_context
from tests.contract.exchanges.bitrix24 import TYPES
from tests.support.desk import PRINTED, MemoryDesk
from tests.support.server import serve

ADAPTER = PLUGIN()
TOKEN = "made_up_cashbox_token_01"
PORTAL = "portal.bitrix24.example"
SECRET = "made-up-path-secret"


@dataclass
class Gateway:
    """The part of the gateway that the portal sees; `broken` answers as a proxy does before a program that is down."""

    desk: MemoryDesk = field(default_factory=MemoryDesk)
    context: SourceContext | None = None
    broken: int | None = None
    forged: int = 0

    def app(self) -> FastAPI:
        app = FastAPI()

        @app.post("/in/src_0/s-{secret}/{part}")
        async def inbound(secret: str, part: str, request: Request) -> Response:
            if self.broken is not None:
                return Response("<html>Bad Gateway</html>", self.broken, media_type="text/html")
            assert self.context is not None
            raw = InboundRequest("POST", part, "", dict(request.headers), await request.body())
            verdict = ADAPTER.verify(raw, self.context.credentials, self.context.settings)
            if secret != SECRET or verdict != Verdict.Genuine():
                self.forged += 1
                reply = ADAPTER.refuse(raw, "forged")
                assert reply is not None
            else:
                reply = await ADAPTER.answer(raw, self.desk, self.context)
            return Response(reply.body, reply.status, media_type=reply.media_type)

        return app


@dataclass
class World:
    """The portal, the gateway it talks to, and what the gateway was told of the portal."""

    simulator: str
    gateway: Gateway
    target: str
    http: httpx.AsyncClient
    context: SourceContext
    wish: Any

    async def register(self, secret: str = SECRET, **changes: Any) -> tuple[str, ...]:
        addresses = {part: f"{self.target}/in/src_0/s-{secret}/{part}" for part in ("print", "check")}
        return await ADAPTER.register(self.wish.model_copy(update=changes), addresses, self.context)

    async def call(self, path: str, **body: Any) -> Any:
        answer = await self.http.post(f"{self.simulator}/bitrix24/{path}", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def rest(self, method: str, **params: Any) -> Any:
        url = f"{self.wish.portal_webhook.get_secret_value()}/{method}"
        return (await self.http.post(url, json=params)).json()

    async def order(self, **wanted: Any) -> dict[str, Any]:
        found: dict[str, Any] = await self.call("orders", **wanted)
        return found

    async def check(self) -> dict[str, Any]:
        """The only check as the portal has it."""
        (found,) = (await self.http.get(f"{self.simulator}/bitrix24/checks")).json()
        return dict(found)

    @property
    def event(self) -> PaymentEvent:
        (found,) = self.gateway.desk.events.values()
        return found

    async def report(self) -> Reported | ReportFailed | Any:
        event = self.event
        operation = "sell_refund" if event.type is EventType.REFUND_SUCCEEDED else "sell"
        report = Report(
            "rcpt_1", event.type, event.external_id, None, operation, "fiscalized", event.amount, PRINTED, None, None
        )
        return await ADAPTER.report(report, self.context)


@asynccontextmanager
async def world(registered: bool = True, **settings: Any) -> AsyncIterator[World]:
    gateway = Gateway()
    async with (
        serve(create_simulator(SimulatorConfig())) as simulator,
        serve(gateway.app()) as target,
        open_http(EgressPolicy.parse("127.0.0.0/8")) as clients,
        clients.client() as outgoing,
        httpx.AsyncClient(timeout=10, trust_env=False) as http,
    ):
        webhook = f"{simulator}/bitrix24/rest/1/simulated0webhook"
        wish = PLUGIN.Registration.model_construct(
            portal_webhook=SecretStr(webhook), email="boss@example.org", name="CRM-Kassa", vat_zero=None, ofd=None
        )
        credentials = PLUGIN.Credentials.model_construct(token=SecretStr(TOKEN), portal_webhook=SecretStr(webhook))
        known = {"system_email": f"sale@{PORTAL}", "portal": PORTAL, "vat_zero": "none"} | settings
        context = source_context(outgoing, credentials, PLUGIN.Settings(**known))
        gateway.context = context
        here = World(simulator, gateway, target, http, context, wish)
        if registered:
            await here.register()
        yield here


class TestRegistration:
    async def test_handler_and_cashbox_are_made(self):
        async with world() as here:
            (handler,) = (await here.rest("sale.cashbox.handler.list"))["result"]
            (cashbox,) = (await here.rest("sale.cashbox.list"))["result"]
            assert await ADAPTER.registered(here.wish, here.context) == {
                "print": f"{here.target}/in/src_0/s-{SECRET}/print",
                "check": f"{here.target}/in/src_0/s-{SECRET}/check",
            }
        assert (handler["CODE"], handler["SUPPORTS_FFD105"]) == ("crm_kassa_0", "Y")
        assert handler["SETTINGS"]["HTTP_VERSION"] == "1.1"
        assert handler["SETTINGS"]["CONFIG"]["CRM_KASSA"]["ITEMS"]["TOKEN"]["REQUIRED"] == "Y"
        assert (cashbox["REST_CODE"], cashbox["ACTIVE"], cashbox["NUMBER_KKM"]) == ("crm_kassa_0", "Y", "src_0")
        assert cashbox["SETTINGS"] == {"CRM_KASSA": {"TOKEN": TOKEN}}

    async def test_again_brings_it_up_to_date_and_makes_no_second(self):
        async with world() as here:
            await here.register(name="Касса школы", secret="another-secret")
            (handler,) = (await here.rest("sale.cashbox.handler.list"))["result"]
            (cashbox,) = (await here.rest("sale.cashbox.list"))["result"]
        assert handler["SETTINGS"]["PRINT_URL"].endswith("/s-another-secret/print")
        assert (handler["NAME"], cashbox["NAME"]) == ("Касса школы", "Касса школы")

    async def test_what_is_left_to_do_is_said(self):
        async with world(registered=False, vat_zero=None) as here:
            await here.rest(
                "sale.cashbox.handler.add",
                CODE="other",
                NAME="Other",
                SETTINGS={"PRINT_URL": "https://other.example/p", "CHECK_URL": "https://other.example/c"},
            )
            await here.rest("sale.cashbox.add", NAME="Other", REST_CODE="other", EMAIL="x@example.org", ACTIVE="Y")
            steps = await here.register()
        assert "--vat-zero" in steps[0]
        assert "1 more active cashboxes" in steps[1]
        assert len(steps) == 3

    async def test_a_wrong_webhook_is_a_sentence_without_it(self):
        async with world(registered=False) as here:
            wrong = here.wish.portal_webhook.get_secret_value().replace("simulated0webhook", "wrong0webhook")
            with pytest.raises(RegistrationFailed) as failed:
                await here.register(portal_webhook=SecretStr(wrong))
            assert "INVALID_CREDENTIALS" in str(failed.value)
            assert "wrong0webhook" not in str(failed.value)
            assert (await here.rest("sale.cashbox.handler.list"))["result"] == []

    async def test_a_portal_that_is_away_is_a_sentence(self):
        async with world(registered=False) as here:
            nobody = SecretStr("http://127.0.0.1:1/rest/1/code0")
            with pytest.raises(RegistrationFailed, match="cannot be reached"):
                await here.register(portal_webhook=nobody)


class TestChecks:
    @pytest.mark.parametrize("as_json", [False, True])
    @pytest.mark.parametrize("name", TYPES)
    async def test_every_type_is_handed_over_and_printed(self, name, as_json):
        async with world() as here:
            check = await here.order(type=name, as_json=as_json)
            assert (check["status"], check["error"]) == ("P", "")
            assert here.event.type.value == TYPES[name][0]
            assert here.event.items[0].vat in ("vat22", "vat122")
            assert here.event.customer.email is None
            (waits,) = await here.call("agent")
            assert waits["status"] == "P"
            here.gateway.desk.ends("fiscalized", fiscal=PRINTED)
            (asked,) = await here.call("agent")
        assert asked["status"] == "Y"
        assert len(asked["fiscal"]) == 7
        assert all(asked["fiscal"].values())
        assert here.gateway.forged == 0

    async def test_the_result_is_pushed_and_the_agent_has_nothing_to_ask(self):
        async with world() as here:
            await here.order()
            here.gateway.desk.ends("fiscalized", fiscal=PRINTED)
            assert await here.report() == Reported()
            check = await here.check()
            assert (check["status"], check["fiscal"]["FISCAL_DOC_NUMBER"]) == ("Y", "41")
            assert await here.call("agent") == []
            assert await here.report() == Reported()

    async def test_a_push_before_the_portal_saved_our_uuid_is_repeated(self):
        async with world() as here:
            key = f"check|{PORTAL}|5"
            report = Report(
                "rcpt_1", EventType.PAYMENT_SUCCEEDED, key, None, "sell", "fiscalized", 1, PRINTED, None, None
            )
            found = await ADAPTER.report(report, here.context)
            assert found == ReportFailed("the portal has not saved our UUID yet")
            await here.order(fields={"uuid": key})
            assert await ADAPTER.report(report, here.context) == Reported()

    async def test_printed_many_times_it_is_one_event(self):
        async with world() as here:
            check = await here.order(repeat=20)
            assert len({answer["body"]["UUID"] for answer in check["answers"]}) == 1
            assert len(here.gateway.desk.events) == 1

    async def test_a_refused_check_is_printed_again_once_it_is_mended(self):
        async with world(vat_zero=None) as here:
            line = {"name": "Доставка", "price": "300", "sum": "300", "quantity": "1", "vat": "0", "currency": "RUB"}
            failed = await here.order(items=[line | {"payment_object": "service"}])
            assert failed["status"] == "E"
            assert "vat_zero" in failed["error"]
            settings = here.context.settings.model_copy(update={"vat_zero": "none"})
            here.gateway.context = source_context(here.context.http, here.context.credentials, settings)
            again = await here.call(f"checks/{failed['id']}/print")
            assert (again["status"], here.event.items[0].vat) == ("P", "none")

    async def test_a_rejected_receipt_is_told_and_tried_again(self):
        async with world() as here:
            check = await here.order()
            here.gateway.desk.ends("rejected", failure_ru="Касса отказала: смена больше 24 часов.")
            (asked,) = await here.call("agent")
            assert (asked["status"], asked["error"]) == ("E", "Касса отказала: смена больше 24 часов.")
            again = await here.call(f"checks/{check['id']}/print")
            assert (again["status"], again["uuid"]) == ("P", check["uuid"])
            here.gateway.desk.ends("fiscalized", fiscal=PRINTED)
            (asked,) = await here.call("agent")
            assert asked["status"] == "Y"

    async def test_a_record_of_vat_is_read_back(self):
        async with world() as here:
            line = {"price": "100", "sum": "100", "quantity": "1", "currency": "RUB", "payment_object": "service"}
            lines = [line | {"name": f"Строка {vat}", "vat": vat} for vat in ("1", "2", "3", "4")]
            await here.order(items=lines)
            assert [item.vat for item in here.event.items] == ["none", "vat10", "vat22", "vat0"]

    async def test_a_refused_read_back_refuses_the_check(self):
        async with world() as here:
            line = {"name": "Чай", "price": "1", "sum": "1", "quantity": "1", "vat": "9", "payment_object": "commodity"}
            assert "с номером 9" in (await here.order(items=[line]))["error"]
            assert here.gateway.desk.events == {}


class TestTheTraps:
    async def test_the_portal_takes_a_broken_answer_for_printed(self):
        """What is avoided: the simulator does as real portals do when something in front of us answers 502."""
        async with world() as here:
            await here.order()
            here.gateway.broken = 502
            (asked,) = await here.call("agent")
            assert (asked["status"], asked["fiscal"]) == ("Y", {})

    async def test_without_our_database_the_portal_waits(self):
        async with world() as here:
            await here.order()
            here.gateway.desk.ends("fiscalized", fiscal=PRINTED)
            here.gateway.desk.away = True
            (asked,) = await here.call("agent")
            assert (asked["status"], asked["fiscal"]) == ("P", {})
            here.gateway.desk.away = False
            (asked,) = await here.call("agent")
            assert (asked["status"], asked["fiscal"]["FN_NUMBER"]) == ("Y", PRINTED.fn)

    async def test_a_check_that_came_without_our_database_fails_at_once_and_does_not_hang(self):
        async with world() as here:
            here.gateway.desk.away = True
            check = await here.order()
            assert (check["status"], check["uuid"]) == ("E", "")
            here.gateway.desk.away = False
            again = await here.call(f"checks/{check['id']}/print")
            assert again["status"] == "P"
            assert again["uuid"]

    @pytest.mark.parametrize("state", ["held", "unknown", "needs_attention", "something new"])
    async def test_no_doubt_is_ever_taken_for_printed(self, state):
        async with world() as here:
            await here.order()
            here.gateway.desk.ends(state)
            (asked,) = await here.call("agent")
            assert asked["status"] == "P"

    async def test_a_wrong_path_secret_or_token_prints_nothing_and_says_nothing(self):
        async with world() as here:
            check = await here.order()
            here.gateway.desk.ends("fiscalized", fiscal=PRINTED)
            await here.register(secret="stale-secret")
            (asked,) = await here.call("agent")
            assert (asked["status"], asked["fiscal"]) == ("P", {})
            other = await here.order()
            assert (other["status"], other["uuid"]) == ("E", "")
            await here.register()
            params = await here.order(fields={"cashbox_params": {"CRM_KASSA": {"TOKEN": "wrong"}}})
            assert params["status"] == "E"
            assert len(here.gateway.desk.events) == 1
            assert check["id"] != other["id"]

    async def test_another_portal_is_refused(self):
        async with world() as here:
            check = await here.order(fields={"uuid": "check|other.bitrix24.example|1"})
            assert check["status"] == "E"
            assert here.gateway.forged == 1

    async def test_the_agent_asks_five_and_the_rest_is_pushed(self):
        async with world() as here:
            for _ in range(7):
                await here.order()
            assert len(await here.call("agent")) == 5
            for type, key in list(here.gateway.desk.events):
                report = Report("rcpt_1", type, key, None, "sell", "fiscalized", 50000, PRINTED, None, None)
                assert await ADAPTER.report(report, here.context) == Reported()
            assert await here.call("agent") == []
