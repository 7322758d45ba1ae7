"""The people of the demo as programs: the school's own over the real API; its CRMs, acquirers and kassa simulated."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import uuid4

import httpx

from app.cli.demo_shop import INBOX, Shop

Json = dict[str, Any]

T = TypeVar("T")

_PATIENCE = 30.0
_FINAL = ("fiscalized", "rejected", "cancelled", "needs_attention", "held")


class Surprise(Exception):
    """The program did something else than the demo's story says."""


def expect(holds: bool, otherwise: str) -> None:
    """Surprise with this sentence where the story does not hold."""
    if not holds:
        raise Surprise(otherwise)


@dataclass(slots=True)
class Deed:
    """One payment or refund that must have exactly one receipt; `amount` is kopecks."""

    title: str
    came_by: str
    operation: str
    amount: int
    receipt: Json
    timeline: list[Json]
    remark: str = ""
    told: list[Json] = field(default_factory=list)

    @property
    def provider_ids(self) -> set[str]:
        """The ids under which the provider was asked for this receipt."""
        return {entry["attempt"]["provider_id"] for entry in self.timeline if entry["attempt"] is not None}

    @property
    def path(self) -> str:
        """The states it went through."""
        states = [entry["status"] for entry in self.timeline if entry["status"] is not None]
        return " → ".join(state for at, state in enumerate(states) if at == 0 or states[at - 1] != state)


@dataclass(slots=True)
class Town:
    """Everybody's clients. `now` is told what is going on; `deeds` are what was done, `claims` what must be checked."""

    api: httpx.AsyncClient
    simulator: httpx.AsyncClient
    shop: Shop
    gateway_url: str
    now: Callable[[str], None]
    deeds: dict[str, Deed] = field(default_factory=dict)
    forged: list[str] = field(default_factory=list)
    # Ids of an earlier run are remembered for ever, so each run has its own.
    run: str = field(default_factory=lambda: uuid4().hex[:8])

    def id(self, name: str) -> str:
        """An id of this run, which no other run has."""
        return f"{name}-{self.run}"

    async def report(self, event: Json) -> httpx.Response:
        """The CRM reports an event, as its developer would."""
        answer = await self.api.post("/v1/events", json=event)
        if answer.status_code not in (200, 202):
            raise Surprise(f"POST /v1/events answered {answer.status_code}: {answer.text[:300]}")
        return answer

    async def notify(self, kind: str, fields: Json, **how: Any) -> Json:
        """The acquirer sends a signed notice, as often as it likes; answers with what it heard."""
        order = {
            "target_base_url": f"{self.gateway_url}/in/{self.shop.sources['cloudpayments']}",
            "api_secret": self.shop.acquirer_secret,
            "kind": kind,
            "fields": fields,
            **how,
        }
        answer = await self.simulator.post("/cloudpayments/send", json=order)
        answer.raise_for_status()
        found: Json = answer.json()
        return found

    async def fault(self, kind: str, **params: Any) -> None:
        """The next receipt that reaches the provider meets this."""
        order = {"kind": kind, "match": {"provider": "digitalkassa", "action": "submit"}, "params": params}
        (await self.simulator.post("/faults", json=order)).raise_for_status()

    async def play(self, method: str, path: str, **options: Any) -> Any:
        """What a counterpart does at the simulator, in its own protocol."""
        answer = await self.simulator.request(method, path, **options)
        if answer.status_code >= 300:
            raise Surprise(f"{method} {path} answered {answer.status_code}: {answer.text[:300]}")
        return answer.json()

    async def until(self, look: Callable[[], Awaitable[T | None]], otherwise: str) -> T:
        """What is there after a while; Surprise with this sentence where it never is."""
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            if (found := await look()) is not None:
                return found
            await asyncio.sleep(0.05)
        raise Surprise(otherwise)

    async def event_of(self, external_id: str, kind: str = "cloudpayments") -> str:
        """The event that what a source of this kind told became."""
        query = {"source": self.shop.sources[kind], "external_id": external_id}

        async def look() -> str | None:
            found = (await self.read("/v1/events", **query))["data"]
            return found[0]["id"] if found else None

        return await self.until(look, f"{external_id} of {kind} became no event")

    async def receipt_of(self, event_id: str, *until: str) -> Json:
        """The receipt of an event once it has come to one of these states, its way there told live."""
        deadline, seen = time.monotonic() + _PATIENCE, ""
        while time.monotonic() < deadline:
            event = await self.read(f"/v1/events/{event_id}")
            for receipt in event["receipts"]:
                if receipt["status"] != seen:
                    seen = receipt["status"]
                    self.now(seen)
                if seen in until:
                    found: Json = receipt
                    return found
                if seen in _FINAL:
                    why = (receipt["failure"] or {}).get("message", "")
                    raise Surprise(f"the receipt became {seen}, not {' or '.join(until)}: {why}")
            if event["status"] in ("ignored", "refused"):
                raise Surprise(f"the event was {event['status']}: {event['reason']}")
            await asyncio.sleep(0.05)
        raise Surprise(f"after {_PATIENCE:g} s the receipt is {seen or 'not planned'}, not {' or '.join(until)}")

    async def done(
        self, name: str, title: str, came_by: str, event_id: str, amount: int, *, refund: bool = False, remark: str = ""
    ) -> Deed:
        """Wait for the receipt of a payment or refund and note the deed."""
        receipt = await self.receipt_of(event_id, "fiscalized")
        timeline = (await self.read(f"/v1/receipts/{receipt['id']}/timeline"))["data"]
        operation = "sell_refund" if refund else "sell"
        self.deeds[name] = Deed(title, came_by, operation, amount, receipt, timeline, remark)
        return self.deeds[name]

    async def read(self, path: str, **query: Any) -> Json:
        """A GET of the API."""
        answer = await self.api.get(path, params=query)
        if answer.status_code != 200:
            raise Surprise(f"GET {path} answered {answer.status_code}: {answer.text[:300]}")
        found: Json = answer.json()
        return found

    async def tape(self) -> list[Json]:
        """Every receipt that the fiscal storage really printed, oldest first."""
        answer = await self.simulator.get("/tape")
        answer.raise_for_status()
        found: list[Json] = answer.json()
        return found

    async def heard(self, at_least: int = 0, seconds: float = 0.0) -> list[Json]:
        """What the CRM was told so far."""
        query = {"at_least": at_least, "wait": seconds}
        answer = await self.simulator.get(f"/crm/hook/{INBOX}", params=query, timeout=seconds + 5)
        answer.raise_for_status()
        found: list[Json] = answer.json()["messages"]
        return found
