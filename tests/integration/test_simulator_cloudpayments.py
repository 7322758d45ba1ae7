"""The simulated acquirer and CRM over real HTTP, with the adapter and the sender on the other side."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request, Response
from pydantic import SecretStr

from app.acquirers.cloudpayments import PLUGIN
from app.domain.event import EventType, PaymentEvent
from app.infra.egress import EgressPolicy
from app.infra.http import open_http
from app.outbound.messages import message_body
from app.outbound.sender import Delivered, Gone, Retry, SendResult, send
from app.outbound.signing import new_secret
from app.ports.inbound import InboundRequest
from app.ports.source import Parsed, Verdict
from app.simulator.server import SimulatorConfig, create_simulator
from tests.contract.contexts import source_context
from tests.support.server import serve

SECRET = "test_api_secret_0001"
ADAPTER = PLUGIN()
CREDENTIALS = PLUGIN.Credentials(public_id="pk_made_up", api_secret=SecretStr(SECRET))
RECEIPT = {
    "Items": [{"label": "Урок", "price": 1990, "quantity": 1, "amount": 1990, "vat": 22, "method": 4, "object": 4}],
    "phone": "+79990000000",
}


@dataclass
class Gateway:
    """The part of the gateway that the acquirer sees: verify, store, answer; `trouble` notices are not stored."""

    events: list[PaymentEvent] = field(default_factory=list)
    notes: list[str | None] = field(default_factory=list)
    forged: int = 0
    trouble: int = 0

    def app(self) -> FastAPI:
        app = FastAPI()

        @app.api_route("/in/src_1/{part:path}", methods=["GET", "POST"])
        async def inbound(part: str, request: Request) -> Response:
            headers = dict(request.headers)
            query = request.scope["query_string"].decode()
            raw = InboundRequest(request.method, part, query, headers, await request.body())
            settings = PLUGIN.Settings(acquirer_fiscalizes=False)
            if ADAPTER.verify(raw, CREDENTIALS, settings) != Verdict.Genuine():
                self.forged += 1
                return Response(status_code=401)
            stored = self.trouble == 0
            self.trouble = max(self.trouble - 1, 0)
            if stored:
                async with httpx.AsyncClient(transport=httpx.MockTransport(_unasked)) as http:
                    context = source_context(http, CREDENTIALS, settings)
                    parsed = await ADAPTER.parse(raw, context)
                assert isinstance(parsed, Parsed), parsed
                self.events += parsed.events
                self.notes.append(parsed.note)
            reply = ADAPTER.reply(raw, stored=stored)
            return Response(reply.body, reply.status, media_type=reply.media_type)

        return app


def _unasked(request: httpx.Request) -> httpx.Response:
    raise AssertionError("a notice carries all that is needed")


@dataclass
class World:
    """The simulator's address, a client for it, and the gateway it talks to."""

    simulator: str
    gateway: Gateway
    target: str
    http: httpx.AsyncClient

    async def acquirer(self, **order: Any) -> list[dict[str, Any]]:
        order = {"target_base_url": self.target, "api_secret": SECRET, "retry_seconds": 0} | order
        answer = await self.http.post(f"{self.simulator}/cloudpayments/send", json=order)
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["answers"]
        return found


@asynccontextmanager
async def world(config: SimulatorConfig | None = None) -> AsyncIterator[World]:
    gateway = Gateway()
    async with (
        serve(create_simulator(config)) as simulator,
        serve(gateway.app()) as target,
        httpx.AsyncClient(timeout=10, trust_env=False) as http,
    ):
        yield World(simulator, gateway, f"{target}/in/src_1/", http)


@pytest.mark.parametrize("form", ["form", "json", "get"])
async def test_a_payment_arrives_in_every_format(form):
    async with world() as here:
        data = {"CloudPayments": {"CustomerReceipt": RECEIPT}}
        fields = {"TransactionId": "700", "InvoiceId": "inv 42+1%", "Amount": "1990.00", "Data": data}
        answers = await here.acquirer(fields=fields, format=form)
    assert [answer["body"] for answer in answers] == ['{"code":0}']
    (event,) = here.gateway.events
    assert (event.type, event.external_id, event.amount) == (EventType.PAYMENT_SUCCEEDED, "700", 199000)
    assert (event.order_id, event.customer.phone) == ("inv 42+1%", "+79990000000")
    assert [(item.name, item.vat) for item in event.items] == [("Урок", "vat22")]


@pytest.mark.parametrize("kind", ["check", "cancel", "fail", "recurrent", "receipt"])
async def test_notices_without_money_are_taken_and_noted(kind):
    async with world() as here:
        (answer,) = await here.acquirer(kind=kind)
    assert answer["accepted"]
    assert here.gateway.events == []
    assert here.gateway.notes[0].startswith(kind)


async def test_two_stages_and_a_partial_refund():
    async with world() as here:
        await here.acquirer(fields={"TransactionId": "700", "Status": "Authorized"})
        assert here.gateway.events == []
        await here.acquirer(kind="confirm", fields={"TransactionId": "700"})
        await here.acquirer(kind="refund", fields={"PaymentTransactionId": "700", "Amount": "490.50"})
    payment, refund = here.gateway.events
    assert payment.external_id == refund.payment_id == "700"
    assert (refund.type, refund.amount) == (EventType.REFUND_SUCCEEDED, 49050)
    assert refund.external_id not in ("", "700")


@pytest.mark.parametrize("form", ["form", "json"])
@pytest.mark.parametrize("forge", ["no_signature", "bad_signature", "body_changed"])
async def test_a_forged_notice_is_refused(forge, form):
    async with world() as here:
        answers = await here.acquirer(forge=forge, format=form, attempts=2)
    assert [(answer["status"], answer["accepted"]) for answer in answers] == [(401, False)] * 2
    assert (here.gateway.forged, here.gateway.events) == (2, [])


async def test_a_notice_is_repeated_until_it_is_taken():
    async with world() as here:
        here.gateway.trouble = 2
        answers = await here.acquirer(attempts=5, fields={"TransactionId": "700"})
    assert [answer["status"] for answer in answers] == [503, 503, 200]
    assert [event.external_id for event in here.gateway.events] == ["700"]


async def test_repetition_is_bounded_and_an_absent_gateway_is_told():
    async with world() as here:
        here.gateway.trouble = 100
        assert len(await here.acquirer(attempts=4)) == 4
        answers = await here.acquirer(attempts=2, target_base_url="http://127.0.0.1:9/")
    assert [(answer["status"], answer["accepted"]) for answer in answers] == [(None, False)] * 2


async def test_a_double_press_is_the_same_event_twice():
    async with world() as here:
        answers = await here.acquirer(repeat=2)
    assert [answer["delivery"] for answer in answers] == [1, 2]
    first, second = here.gateway.events
    assert first == second


async def test_ids_of_two_runs_do_not_meet():
    seen: set[str] = set()
    for _ in range(2):
        async with world() as here:
            for _ in range(3):
                await here.acquirer()
            seen |= {event.external_id for event in here.gateway.events}
    assert len(seen) == 6


async def test_a_field_can_be_taken_away():
    async with world() as here:
        await here.acquirer(fields={"Email": None, "TransactionId": "701"})
    assert here.gateway.events[0].customer.email is None


async def test_a_payment_can_be_read_back_with_the_right_pair():
    pair = {"public_id": "pk_made_up", "api_secret": SECRET}
    async with world(SimulatorConfig(settings={"cloudpayments": pair})) as here:
        await here.acquirer(fields={"TransactionId": "700", "Data": {"a": 1}})
        url = f"{here.simulator}/cloudpayments/api/payments/get"
        right = httpx.BasicAuth("pk_made_up", SECRET)
        found = (await here.http.post(url, json={"TransactionId": 700}, auth=right)).json()
        absent = (await here.http.post(url, json={"TransactionId": 1}, auth=right)).json()
        refused = await here.http.post(url, json={"TransactionId": 700}, auth=httpx.BasicAuth("pk_made_up", "x"))
        nobody = await here.http.post(url, json={"TransactionId": 700})
    assert found["Success"] is True
    assert (found["Model"]["Amount"], found["Model"]["JsonData"]) == ("1990.00", '{"a": 1}')
    assert (absent["Success"], absent["Model"]) == (False, None)
    assert (refused.status_code, nobody.status_code) == (401, 401)


@dataclass
class Hook:
    """One inbox of the simulated CRM."""

    base: str
    http: httpx.AsyncClient
    secret: str = field(default_factory=new_secret)

    @property
    def url(self) -> str:
        return f"{self.base}/crm/hook/main"

    async def set_secret(self) -> None:
        assert (await self.http.put(f"{self.url}/secret", json={"secret": self.secret})).status_code == 204

    async def post(
        self, message_id: str = "msg_1", sequence: int = 1, secrets: list[str] | None = None, late: int = 0
    ) -> SendResult:
        receipt = {"id": "rcpt_1", "status": "fiscalized", "sequence": sequence, "external_id": "455"}
        body = message_body("receipt.fiscalized", datetime(2026, 11, 23, tzinfo=UTC), {"receipt": receipt})
        at = datetime.now(UTC) - timedelta(seconds=late)
        return await send(self.http, self.url, message_id, body, secrets or [self.secret], at, timeout=5)

    async def messages(self, **query: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self.http.get(self.url, params=query)).json()["messages"]
        return found

    async def fault(self, kind: str, **params: Any) -> None:
        match = {"provider": "crm", "action": "any"}
        answer = await self.http.post(f"{self.base}/faults", json={"kind": kind, "match": match, "params": params})
        assert answer.status_code == 201, answer.text


@asynccontextmanager
async def crm() -> AsyncIterator[Hook]:
    async with (
        serve(create_simulator()) as base,
        open_http(EgressPolicy.parse("127.0.0.0/8")) as clients,
        clients.client() as http,
    ):
        hook = Hook(base, http)
        await hook.set_secret()
        yield hook


async def test_the_crm_believes_what_we_sign():
    async with crm() as hook:
        assert isinstance(await hook.post(), Delivered)
        (message,) = await hook.messages()
    assert message["verified"] is True
    assert message["reason"] is None
    assert (message["id"], message["type"], message["receipt_id"]) == ("msg_1", "receipt.fiscalized", "rcpt_1")
    assert (message["status"], message["sequence"], message["external_id"]) == ("fiscalized", 1, "455")


async def test_either_secret_of_a_rotation_is_believed():
    async with crm() as hook:
        assert isinstance(await hook.post(secrets=[new_secret(), hook.secret]), Delivered)
        assert isinstance(await hook.post("msg_2", secrets=[hook.secret, new_secret()]), Delivered)
        assert [message["verified"] for message in await hook.messages()] == [True, True]


async def test_the_crm_refuses_a_foreign_or_stale_signature():
    async with crm() as hook:
        foreign = await hook.post(secrets=[new_secret()])
        stale = await hook.post("msg_2", late=400)
        unsigned = await hook.http.post(hook.url, content=b"{}")
        reasons = [message["reason"] for message in await hook.messages()]
    assert isinstance(foreign, Retry)
    assert isinstance(stale, Retry)
    assert (foreign.status, stale.status, unsigned.status_code) == (401, 401, 401)
    assert reasons == [
        "no signature matches",
        "the timestamp is more than five minutes off",
        "webhook-id or webhook-timestamp is missing",
    ]


async def test_without_a_secret_the_crm_takes_all_and_verifies_nothing():
    async with crm() as hook:
        hook_2 = Hook(hook.base, hook.http)
        await hook.http.put(f"{hook.url}/secret", json={"secret": None})
        assert isinstance(await hook_2.post(), Delivered)
        (message,) = await hook.messages()
    assert (message["verified"], message["reason"]) == (False, "no secret was set for this inbox")


async def test_repeats_are_counted_and_another_body_is_noticed():
    async with crm() as hook:
        await hook.post()
        await hook.post()
        (message,) = await hook.messages()
        assert (message["deliveries"], message["changed"]) == (2, False)
        await hook.post(sequence=2)
        (message,) = await hook.messages()
        assert (message["deliveries"], message["changed"], message["sequence"]) == (3, True, 1)
        await hook.http.delete(hook.url)
        assert await hook.messages() == []


async def test_scripted_faults_of_the_crm():
    async with crm() as hook:
        await hook.fault("answer", status=503, headers={"Retry-After": "7"}, body="busy")
        busy = await hook.post()
        await hook.fault("answer", status=410)
        gone = await hook.post()
        await hook.fault("answer", status=302, headers={"Location": hook.url})
        moved = await hook.post()
        assert await hook.messages() == []
        await hook.fault("drop_after")
        lost = await hook.post()
        assert isinstance(await hook.post(), Delivered)
        (message,) = await hook.messages()
    assert isinstance(busy, Retry)
    assert (busy.status, busy.retry_after_seconds, busy.response_head) == (503, 7, "busy")
    assert isinstance(gone, Gone)
    assert isinstance(moved, Retry)
    assert moved.status == 302
    assert isinstance(lost, Retry)
    assert lost.status is None
    assert "lost" in lost.reason
    assert message["deliveries"] == 2


async def test_one_can_wait_for_messages():
    async with crm() as hook:
        waiting = asyncio.create_task(hook.messages(at_least=2, wait=10))
        await hook.post("msg_1")
        await hook.post("msg_2")
        assert [message["id"] for message in await waiting] == ["msg_1", "msg_2"]
        assert len(await hook.messages(at_least=3, wait=0.05)) == 2


async def test_what_is_no_json_is_kept_too():
    async with crm() as hook:
        for content in (b"\xff not json", b"[1]", b'{"data": 5}'):
            await hook.http.post(hook.url, content=content, headers={"webhook-id": content.hex()})
        found = await hook.messages()
    assert [(message["type"], message["receipt_id"]) for message in found] == [(None, None)] * 3
