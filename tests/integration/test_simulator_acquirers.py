"""The simulated YooKassa and T-Bank over real HTTP, with the adapters on the other side; YooKassa's own SDK judges what
the simulator says."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request, Response
from yookassa.domain.notification import WebhookNotificationFactory
from yookassa.domain.response import (
    PaymentListResponse,
    PaymentResponse,
    RefundListResponse,
    RefundResponse,
)

from app.acquirers.tbank import PLUGIN as TBANK
from app.acquirers.yookassa import PLUGIN as YOOKASSA
from app.domain.event import EventType, PaymentEvent
from app.infra.egress import EgressPolicy
from app.infra.http import open_http
from app.ports.inbound import InboundRequest
from app.ports.source import Alarm, Parsed, ReadBackFailed, Verdict
from app.simulator.server import SimulatorConfig, create_simulator
from tests.contract.contexts import source_context
from tests.support.server import serve

SHOP = {"shop_id": "100500", "secret_key": "live_made_up_key"}
TERMINAL = {"terminal_key": "1700000000001", "password": "made_up_password_1"}
EPOCH = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass
class Gateway:
    """The part of the gateway that an acquirer sees: verify, store, answer; then, apart from it, read back."""

    adapter: Any
    credentials: Any
    settings: Any
    stored: list[InboundRequest] = field(default_factory=list)
    forged: int = 0
    trouble: int = 0
    heard: asyncio.Event = field(default_factory=asyncio.Event)

    def app(self) -> FastAPI:
        app = FastAPI()

        @app.post("/notify")
        async def inbound(request: Request) -> Response:
            peer = "" if request.client is None else request.client.host
            raw = InboundRequest("POST", "notify", "", dict(request.headers), await request.body(), peer)
            if isinstance(self.adapter.verify(raw, self.credentials, self.settings), Verdict.Forged):
                self.forged += 1
                return Response(status_code=401)
            stored = self.trouble == 0
            self.trouble = max(self.trouble - 1, 0)
            if stored:
                self.stored.append(raw)
                self.heard.set()
            reply = self.adapter.reply(raw, stored=stored)
            return Response(reply.body, reply.status, media_type=reply.media_type)

        return app


@dataclass
class World:
    """The simulator, the gateway it notifies, and the clients of both sides."""

    url: str
    api: str
    gateway: Gateway
    target: str
    http: httpx.AsyncClient
    ours: httpx.AsyncClient

    def context(self) -> Any:
        return source_context(self.ours, self.gateway.credentials, self.gateway.settings, self.api)

    async def send(self, **order: Any) -> dict[str, Any]:
        order = {"target_url": self.target, "retry_seconds": 0} | order
        answer = await self.http.post(f"{self.url}/send", json=order)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def parsed(self) -> list[Parsed | ReadBackFailed]:
        """What the stored notices mean by now."""
        return [await self.gateway.adapter.parse(raw, self.context()) for raw in self.gateway.stored]

    async def events(self) -> list[PaymentEvent]:
        return [event for found in await self.parsed() if isinstance(found, Parsed) for event in found.events]

    async def notified(self, times: int) -> None:
        """Until so many notices were stored."""
        async with asyncio.timeout(20):
            while len(self.gateway.stored) < times:
                self.gateway.heard.clear()
                await self.gateway.heard.wait()

    async def polled(self, since: datetime = EPOCH) -> list[PaymentEvent | Alarm]:
        return [one async for one in self.gateway.adapter.poll(since, self.context())]

    async def fault(self, provider: str, kind: str, **params: Any) -> None:
        order = {"kind": kind, "match": {"provider": provider, "action": "lookup"}, "params": params}
        answer = await self.http.post(f"{self.url.rpartition('/')[0]}/faults", json=order)
        assert answer.status_code == 201, answer.text


@asynccontextmanager
async def _world(code: str, config: dict[str, Any], gateway: Gateway, path: str) -> AsyncIterator[World]:
    async with (
        serve(create_simulator(SimulatorConfig(settings={code: config}))) as simulator,
        serve(gateway.app()) as target,
        httpx.AsyncClient(timeout=20, trust_env=False) as http,
        open_http(EgressPolicy.parse("127.0.0.0/8")) as clients,
        clients.client() as ours,
    ):
        base = f"{simulator}/{code}"
        yield World(base, f"{base}/{path}", gateway, f"{target}/notify", http, ours)


@asynccontextmanager
async def yookassa(settings: dict[str, Any] | None = None, **config: Any) -> AsyncIterator[World]:
    given = YOOKASSA.Settings(**({"acquirer_fiscalizes": False} | (settings or {})))
    gateway = Gateway(YOOKASSA(), YOOKASSA.Credentials(**SHOP), given)
    async with _world("yookassa", SHOP | config, gateway, "v3") as world:
        yield world


@asynccontextmanager
async def tbank(settings: dict[str, Any] | None = None, **config: Any) -> AsyncIterator[World]:
    given = TBANK.Settings(**({"acquirer_fiscalizes": False} | (settings or {})))
    gateway = Gateway(TBANK(), TBANK.Credentials(**TERMINAL), given)
    async with _world("tbank", TERMINAL | config, gateway, "v2") as world:
        yield world


@dataclass
class Shop:
    """A shop's own program at YooKassa: makes payments and refunds by the API."""

    world: World
    calls: int = 0

    async def post(self, path: str, body: dict[str, Any], key: str | None = None) -> dict[str, Any]:
        self.calls += 1
        pair = base64.b64encode(f"{SHOP['shop_id']}:{SHOP['secret_key']}".encode()).decode()
        headers = {"Authorization": f"Basic {pair}", "Idempotence-Key": key or f"key-{self.calls}"}
        answer = await self.world.http.post(f"{self.world.api}/{path}", json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def pay(self, value: str = "1990.00", **more: Any) -> str:
        body = {"amount": {"value": value, "currency": "RUB"}, "capture": True} | more
        id: str = (await self.post("payments", body))["id"]
        await self.world.http.post(f"{self.world.url}/payments/{id}/pay")
        return id

    async def refund(self, payment_id: str, value: str) -> str:
        body = {"payment_id": payment_id, "amount": {"value": value, "currency": "RUB"}}
        id: str = (await self.post("refunds", body))["id"]
        return id

    async def get(self, path: str) -> dict[str, Any]:
        auth = httpx.BasicAuth(SHOP["shop_id"], SHOP["secret_key"])
        found: dict[str, Any] = (await self.world.http.get(f"{self.world.api}/{path}", auth=auth)).json()
        return found

    async def listens(self) -> None:
        answer = await self.world.http.put(f"{self.world.url}/webhook", json={"url": self.world.target})
        assert answer.status_code == 204


async def nothing_then_all(here) -> None:
    """While the API is away the notice is kept for later; read again, it tells its one event."""
    (away,) = await here.parsed()
    (back,) = await here.parsed()
    assert isinstance(away, ReadBackFailed)
    assert not away.final
    assert isinstance(back, Parsed)
    assert len(back.events) == 1


class TestYooKassa:
    async def test_a_payment_and_its_refunds_from_the_shops_first_call_to_the_events(self):
        async with yookassa() as here:
            shop = Shop(here)
            await shop.listens()
            metadata = {"order_id": "inv-42", "email": "anna@example.org", "item_name": "Урок"}
            paid = await shop.pay(metadata=metadata, description="Абонемент")
            await here.notified(1)
            first, second = await shop.refund(paid, "500.50"), await shop.refund(paid, "500.50")
            await here.notified(3)
            events = {event.external_id: event for event in await here.events()}
        assert events.keys() == {paid, first, second}
        assert (events[paid].amount, events[paid].order_id, events[paid].items[0].name) == (199000, "inv-42", "Урок")
        assert {(events[id].payment_id, events[id].amount) for id in (first, second)} == {(paid, 50050)}

    async def test_two_stages_and_a_partial_capture(self):
        async with yookassa() as here:
            shop = Shop(here)
            await shop.listens()
            paid = await shop.pay(capture=False)
            await here.notified(1)
            assert await here.events() == []
            await shop.post(f"payments/{paid}/capture", {"amount": {"value": "1490.00", "currency": "RUB"}})
            await here.notified(2)
            assert [event.amount for event in await here.events()] == [149000]

    async def test_fifty_of_one_notice_at_once_are_one_event(self):
        async with yookassa() as here:
            sent = await here.send(repeat=50, at_once=True)
            assert {answer["status"] for answer in sent["answers"]} == {200}
            events = await here.events()
        assert len(events) == 50
        assert all(event == events[0] for event in events)

    async def test_a_notice_is_repeated_until_it_is_taken(self):
        async with yookassa() as here:
            here.gateway.trouble = 2
            sent = await here.send(attempts=5)
        assert [answer["status"] for answer in sent["answers"]] == [503, 503, 200]

    async def test_forged_another_shops_and_differing_ones(self):
        async with yookassa() as here:
            await here.send(known=False)
            await here.send(object={"recipient": {"account_id": "1", "gateway_id": "2"}})
            await here.send(claims={"amount": {"value": "1.00", "currency": "RUB"}})
            await here.send(object={"status": "pending"})
            made_up, foreign, differs, pending = await here.parsed()
        assert isinstance(made_up, ReadBackFailed)
        assert made_up.final
        assert isinstance(foreign, Parsed)
        assert (foreign.events, "another shop" in str(foreign.note)) == ((), True)
        assert isinstance(differs, Parsed)
        assert (differs.events, "another sum" in str(differs.note)) == ((), True)
        assert isinstance(pending, Parsed)
        assert pending.events == ()

    async def test_from_outside_the_allowed_networks(self):
        async with yookassa({"allowed_networks": ["published"]}) as here:
            sent = await here.send(attempts=1)
            assert [answer["status"] for answer in sent["answers"]] == [401]
            here.gateway.settings = YOOKASSA.Settings(acquirer_fiscalizes=False, allowed_networks=["127.0.0.0/8"])
            sent = await here.send(attempts=1)
            assert [answer["status"] for answer in sent["answers"]] == [200]

    @pytest.mark.parametrize("kind", ["drop_after", "half_body", "error_before"])
    async def test_while_the_api_is_away_nothing_is_decided_and_later_all_is(self, kind):
        async with yookassa() as here:
            await here.send()
            await here.fault("yookassa", kind)
            await nothing_then_all(here)

    async def test_a_wrong_key_is_refused(self):
        async with yookassa() as here:
            await here.send()
            here.gateway.credentials = YOOKASSA.Credentials(shop_id="100500", secret_key="another")
            (refused,) = await here.parsed()
        assert isinstance(refused, ReadBackFailed)
        assert not refused.final

    async def test_a_receipt_of_their_own_and_a_test_shop(self):
        async with yookassa(test=True) as here:
            shop = Shop(here)
            await shop.listens()
            await shop.pay(receipt={"items": []})
            await here.notified(1)
            (found,) = await here.parsed()
        assert isinstance(found, Parsed)
        assert found.events[0].test
        assert [alarm.code for alarm in found.alarms] == ["fiscalized_twice"]

    async def test_what_never_notified_is_found_by_the_poll(self):
        async with yookassa() as here:
            shop = Shop(here)
            paid = [await shop.pay(f"{100 + number}.00") for number in range(3)]
            returned = await shop.refund(paid[0], "50.00")
            found = await here.polled()
            none = await here.polled(datetime.now(UTC) + timedelta(days=1))
            await here.send(object=(await shop.get(f"payments/{paid[0]}")))
            (told,) = await here.events()
        assert [one.external_id for one in found] == [*paid, returned]
        assert found[0] == told
        assert none == []

    async def test_the_poll_goes_through_all_pages(self):
        async with yookassa() as here:
            for _ in range(101):
                await here.send(target_url="http://127.0.0.1:9/", attempts=1)
            found = await here.polled()
        assert len({one.external_id for one in found}) == 101
        assert {type(one) for one in found} == {PaymentEvent}

    async def test_the_same_key_is_the_same_payment(self):
        async with yookassa() as here:
            shop, body = Shop(here), {"amount": {"value": "1.00", "currency": "RUB"}, "capture": True}
            first, second = await shop.post("payments", body, "one"), await shop.post("payments", body, "one")
            listed = await shop.get("payments")
        assert first == second
        assert len(listed["items"]) == 1


class TestOfficialSdk:
    """YooKassa's own program reads what our simulator sends: an outside judge of its words."""

    async def test_notifications(self):
        async with yookassa() as here:
            await here.send(object={"metadata": {"order_id": "inv-42"}})
            await here.send(event="refund.succeeded", object={"payment_id": "p-1"})
            await here.send(event="payment.waiting_for_capture")
            bodies = [json.loads(raw.body) for raw in here.gateway.stored]
        payment, refund, held = (WebhookNotificationFactory().create(body) for body in bodies)
        assert (payment.event, payment.object.id) == ("payment.succeeded", bodies[0]["object"]["id"])
        assert isinstance(payment.object, PaymentResponse)
        assert (str(payment.object.amount.value), payment.object.amount.currency) == ("1990.00", "RUB")
        assert (payment.object.status, payment.object.paid, payment.object.test) == ("succeeded", True, False)
        assert payment.object.recipient.account_id == SHOP["shop_id"]
        assert payment.object.metadata == {"order_id": "inv-42"}
        assert payment.object.payment_method.type == "sbp"
        assert datetime.fromisoformat(payment.object.captured_at).tzinfo is not None
        assert isinstance(refund.object, RefundResponse)
        assert (refund.object.payment_id, refund.object.status) == ("p-1", "succeeded")
        assert (held.event, held.object.status) == ("payment.waiting_for_capture", "waiting_for_capture")

    async def test_read_back_and_lists(self):
        async with yookassa() as here:
            shop = Shop(here)
            paid = [await shop.pay() for _ in range(2)]
            returned = await shop.refund(paid[0], "10.00")
            one = PaymentResponse(await shop.get(f"payments/{paid[0]}"))
            back = RefundResponse(await shop.get(f"refunds/{returned}"))
            page = PaymentListResponse(await shop.get("payments?limit=1"))
            rest = PaymentListResponse(await shop.get(f"payments?limit=1&cursor={page.next_cursor}"))
            refunds = RefundListResponse(await shop.get("refunds"))
        assert (one.id, str(one.refunded_amount.value), one.refundable) == (paid[0], "10.00", True)
        assert (back.id, back.payment_id, str(back.amount.value)) == (returned, paid[0], "10.00")
        assert {page.items[0].id, rest.items[0].id} == set(paid)
        assert (page.type, rest.next_cursor) == ("list", None)
        assert [found.id for found in refunds.items] == [returned]


@dataclass
class Terminal:
    """A shop's own program at T-Bank; signs as the document says, apart from the simulator and the adapter."""

    world: World

    async def call(self, method: str, **fields: Any) -> dict[str, Any]:
        from tests.contract.exchanges.tbank import token

        body = {"TerminalKey": TERMINAL["terminal_key"]} | fields
        body["Token"] = token(body, TERMINAL["password"])
        answer = await self.world.http.post(f"{self.world.api}/{method}", json=body)
        found: dict[str, Any] = answer.json()
        return found

    async def pay(self, amount: int = 199_000, **more: Any) -> str:
        fields = {"OrderId": "inv-42", "Amount": amount, "NotificationURL": self.world.target} | more
        id: str = (await self.call("Init", **fields))["PaymentId"]
        await self.world.http.post(f"{self.world.url}/payments/{id}/pay")
        return id


class TestTBank:
    async def test_a_payment_and_its_refunds_from_the_shops_first_call_to_the_events(self):
        async with tbank({"partial_refunds": "left"}) as here:
            terminal = Terminal(here)
            paid = await terminal.pay()
            await here.notified(1)
            told = await terminal.call("Cancel", PaymentId=paid, Amount=50_000)
            await here.notified(2)
            read_at_once = await here.events()
            await terminal.call("Cancel", PaymentId=paid, Amount=50_000)
            await here.notified(3)
            await terminal.call("Cancel", PaymentId=paid)
            await here.notified(4)
            read_late = await here.events()
        assert (told["OriginalAmount"], told["NewAmount"]) == (199_000, 149_000)
        sale, refund = read_at_once
        assert (sale.type, sale.external_id, sale.amount) == (EventType.PAYMENT_SUCCEEDED, paid, 199_000)
        assert (refund.external_id, refund.left_after, refund.payment_id) == (f"{paid}:left:149000", 149_000, paid)
        assert [event.left_after for event in read_late] == [None, 0, 0, 0]

    async def test_equal_parts_are_told_apart_by_what_is_left(self):
        async with tbank({"partial_refunds": "left"}) as here:
            terminal = Terminal(here)
            paid = await terminal.pay()
            for times in (2, 3):
                await terminal.call("Cancel", PaymentId=paid, Amount=50_000)
                await here.notified(times)
            events = await here.events()
        assert [event.left_after for event in events] == [None, 149_000, 99_000]

    async def test_the_other_reading_and_the_wrong_setting(self):
        async with tbank({"partial_refunds": "returned"}, refund_amount="returned") as here:
            terminal = Terminal(here)
            paid = await terminal.pay()
            await terminal.call("Cancel", PaymentId=paid, Amount=50_000)
            await here.notified(2)
            assert sorted(event.amount for event in await here.events()) == [50_000, 199_000]
            here.gateway.settings = TBANK.Settings(acquirer_fiscalizes=False, partial_refunds="left")
            found = [one for one in await here.parsed() if isinstance(one, Parsed) and one.alarms]
        assert len(found) == 1
        assert found[0].events == ()

    async def test_two_stages_with_a_partial_capture(self):
        async with tbank() as here:
            terminal = Terminal(here)
            paid = await terminal.pay(PayType="T")
            await here.notified(1)
            assert await here.events() == []
            await terminal.call("Confirm", PaymentId=paid, Amount=149_000)
            await here.notified(2)
            assert [event.amount for event in await here.events()] == [149_000]

    @pytest.mark.parametrize("forge", ["no_token", "bad_token", "body_changed"])
    async def test_a_forged_notice_is_refused(self, forge):
        async with tbank() as here:
            sent = await here.send(forge=forge, attempts=2)
        assert [answer["status"] for answer in sent["answers"]] == [401, 401]
        assert here.gateway.stored == []

    async def test_the_exact_answer_ends_the_repetitions(self):
        async with tbank() as here:
            here.gateway.trouble = 2
            sent = await here.send(attempts=5)
        assert [answer["body"] for answer in sent["answers"]] == ["NOT STORED", "NOT STORED", "OK"]

    async def test_fifty_of_one_notice_at_once_are_one_event(self):
        async with tbank() as here:
            sent = await here.send(repeat=50, at_once=True)
            events = await here.events()
        assert {answer["body"] for answer in sent["answers"]} == {"OK"}
        assert len(events) == 50
        first, *others = [replace(event, occurred_at=EPOCH) for event in events]
        assert all(event == first for event in others)

    @pytest.mark.parametrize("kind", ["drop_after", "half_body", "error_before"])
    async def test_while_the_api_is_away_nothing_is_decided_and_later_all_is(self, kind):
        async with tbank() as here:
            await here.send(fields={"Status": "REFUNDED"})
            await here.fault("tbank", kind)
            await nothing_then_all(here)

    async def test_a_refund_that_the_bank_does_not_know_is_not_made(self):
        async with tbank() as here:
            await here.send(fields={"Status": "REFUNDED"}, state=None)
            (found,) = await here.parsed()
        assert isinstance(found, ReadBackFailed)

    async def test_the_banks_own_receipt(self):
        async with tbank() as here:
            await here.send(fields={"Status": "RECEIPT", "FiscalNumber": 12, "Receipt": {"Items": []}})
            (found,) = await here.parsed()
        assert isinstance(found, Parsed)
        assert [alarm.code for alarm in found.alarms] == ["fiscalized_twice"]

    async def test_orders_can_be_asked_for(self):
        async with tbank() as here:
            terminal = Terminal(here)
            paid = await terminal.pay()
            order = await terminal.call("CheckOrder", OrderId="inv-42")
            wrong = await here.http.post(f"{here.api}/GetState", json={"TerminalKey": "x", "PaymentId": paid})
        assert [(one["PaymentId"], one["Status"]) for one in order["Payments"]] == [(paid, "CONFIRMED")]
        assert wrong.json()["Success"] is False
