"""Every message type as it is promised, one file each: a member more is fine, one less or of another kind is red.

A receiver was written once against these bodies; `golden/` is what it may still rely on.
"""

import json
import os
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel

from app.api.schemas import webhooks
from app.db.repos.events import EventRow, Identity
from app.db.repos.receipts import ReceiptRow
from app.db.repos.settings import KassaRow, SourceRow
from app.domain import deadline
from app.domain.codec import fiscal_to_json, receipt_to_json
from app.domain.event import EventType
from app.domain.lifecycle import MessageType
from app.domain.vat_review import BOUNDS, Reached
from app.infra.page_links import PageLinks
from app.main import openapi_document
from app.outbound.messages import message_body
from app.ports.source import Alarm
from app.services import alarms, alerts
from app.services.catalog import MerchantSettings
from app.services.telling import told
from app.services.views import failure_json
from tests.support.printed import EVERYTHING, FISCAL

GOLDEN = Path(__file__).parent / "golden"
AT = datetime(2026, 11, 23, 11, 0, tzinfo=UTC)
MERCHANT, KASSA, SOURCE, EVENT, RECEIPT, ENDPOINT, BRANCH, RULE = (UUID(int=n) for n in range(1, 9))
LINKS = PageLinks(b"k" * 32, "https://kassa.example.org")

RECEIPT_ROW = ReceiptRow(
    id=RECEIPT,
    merchant_id=MERCHANT,
    branch_id=BRANCH,
    kassa_id=KASSA,
    source_id=SOURCE,
    event_id=EVENT,
    chain_id=None,
    number=1,
    version=1,
    provider_id=RECEIPT.hex,
    provider_reference="r-1",
    operation="sell",
    correction=False,
    status="fiscalized",
    sequence=2,
    total=EVERYTHING.total,
    currency="RUB",
    taxation="osn",
    order_id="A-1042",
    external_id="p-1",
    document={name: value for name, value in receipt_to_json(EVERYTHING).items() if name != "customer"},
    customer=None,
    items_origin="event",
    fn=FISCAL.fn,
    fd=FISCAL.fd,
    fpd=FISCAL.fpd,
    fiscal={**fiscal_to_json(FISCAL), "qr": "t=20261123T1505"},
    failure=None,
    metadata={"lesson": 7},
    marks=1,
    first_marked_at=AT,
    due_at=AT,
    created_at=AT,
    updated_at=AT,
    limit_at=AT,
    nomenclature={"version": 3, "lines": [{"rule": f"nom_{RULE.hex}", "members": ["vat"], "reported": "Абонемент"}]},
)
KASSA_ROW = KassaRow(
    KASSA, MERCHANT, "Касса", "digitalkassa", "https://api.example.org/", "4321", "1.2", ["osn"], "https://shop.example",
    "Europe/Moscow", True, b"", {}, b"", b"", False, "active", AT, AT, None, AT, AT,
)  # fmt: skip
SOURCE_ROW = SourceRow(
    SOURCE, MERCHANT, "moyklass", "CRM", None, None, {}, {}, None, None, None, None, False, None, "active", AT, AT, AT,
    silent_after_hours=24, poll_failing_since=AT, poll_failure="503",
)  # fmt: skip
EVENT_ROW = EventRow(
    EVENT, MERCHANT, SOURCE, "payment.succeeded", "p-1", None, "A-1042", None, None, "planned", None, 199_000, "RUB",
    AT, b"", {}, False, AT,
)  # fmt: skip
STOPPED = {
    MessageType.REJECTED: "rejected_by_provider",
    MessageType.NEEDS_ATTENTION: "lookup_impossible",
    MessageType.HELD: "data_missing",
}

Teller = Callable[[Any], Awaitable[Any]]
ALERTS: dict[str, Teller] = {
    "kassa.paused": lambda tx: alerts.kassa_paused(tx, KASSA_ROW, "credentials_refused"),
    "kassa.resumed": lambda tx: alerts.kassa_resumed(tx, KASSA_ROW),
    "endpoint.disabled": lambda tx: alerts.endpoint_disabled(tx, MERCHANT, ENDPOINT, "https://crm.example.org", "410"),
    "source.silent": lambda tx: alerts.source_silent(tx, SOURCE_ROW, AT),
    "source.heard": lambda tx: alerts.source_heard(tx, SOURCE_ROW, AT),
    "merchant.vat_regime_review": lambda tx: alerts.vat_regime_review(
        tx, MerchantSettings(MERCHANT, "Школа", "7707083893", "active", {}, {}, {}), Reached(2026, 8, BOUNDS[0], 80), AT
    ),
    "receipt.overdue": lambda tx: alerts.receipt_overdue(
        tx, RECEIPT_ROW._replace(status="queued", fiscal=None), EVERYTHING.customer,
        deadline.Alarm(deadline.Step.LIMIT, AT), AT, LINKS,
    ),
    "event.alarm": lambda tx: alarms.raise_alarm(
        tx, MERCHANT, SOURCE, Alarm(EventType.PAYMENT_SUCCEEDED, "p-1", "amount_changed", "Changed", "Изменён")
    ),
}  # fmt: skip
TYPES = sorted(openapi_document()["webhooks"])
MODELS: dict[str, type[BaseModel]] = {
    "receipt": webhooks.ReceiptMessage,
    "kassa": webhooks.KassaMessage,
    "event": webhooks.AlarmMessage,
    "source": webhooks.SourceMessage,
    "merchant": webhooks.MerchantMessage,
    "endpoint": webhooks.EndpointMessage,
}


async def body_of(type: str, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """What would be posted, made by the code that makes it; only the database is away."""
    if type == "endpoint.test":
        return message_body(type, AT, alerts.endpoint_named(ENDPOINT, "https://crm.example.org/"))
    if type not in ALERTS:
        message = MessageType(type)
        cause = STOPPED.get(message)
        row = RECEIPT_ROW
        if cause is not None:
            row = row._replace(status=type.partition(".")[2], fiscal=None, failure=failure_json(cause, at=AT))
        return told(message, row, EVERYTHING.customer, AT, LINKS)
    posted: list[bytes] = []

    async def keep(_tx: Any, _merchant: UUID, _type: str, body: bytes, _at: datetime, **_more: Any) -> None:
        posted.append(body)

    def answering(value: Any) -> Callable[..., Awaitable[Any]]:
        async def answer(*_: Any, **__: Any) -> Any:
            return value

        return answer

    for module in (alerts, alarms):
        monkeypatch.setattr(module, "tell", keep)
        monkeypatch.setattr(module, "database_now", answering(AT))
    monkeypatch.setattr(alarms.alarms, "add", answering(True))
    monkeypatch.setattr(alarms.events, "identity", answering(Identity(EVENT, b"")))
    monkeypatch.setattr(alarms.events, "by_id", answering(EVENT_ROW))
    monkeypatch.setattr(alarms.receipts, "of_event", answering([RECEIPT_ROW]))
    monkeypatch.setattr(alarms.history, "add", answering(None))
    await ALERTS[type](None)
    (body,) = posted
    return body


def broken(old: Any, new: Any, where: str = "$") -> Iterator[str]:
    """What a reader of the old body misses in the new one. Lists are compared by their first element."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name, value in old.items():
            if name not in new:
                yield f"{where}.{name} is gone"
            else:
                yield from broken(value, new[name], f"{where}.{name}")
    elif isinstance(old, list) and isinstance(new, list):
        if old and not new:
            yield f"{where} is empty"
        elif old:
            yield from broken(old[0], new[0], f"{where}[0]")
    elif type(old) is not type(new):
        yield f"{where} was {_kind(old)} and is {_kind(new)}"


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "a text", int: "a whole number", bool: "a boolean"}
    return "null" if value is None else kinds.get(type(value), type(value).__name__)


@pytest.mark.parametrize("type", TYPES)
async def test_a_message_keeps_every_member_that_it_had(type: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """KASSA_WRITE_GOLDEN=1 writes the file of a new type, or adds what came new; see that nothing went."""
    new = json.loads(await body_of(type, monkeypatch))
    file = GOLDEN / f"{type}.json"
    if os.environ.get("KASSA_WRITE_GOLDEN"):
        file.write_text(json.dumps(new, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    assert not list(broken(json.loads(file.read_text(encoding="utf-8")), new))
    MODELS[type.partition(".")[0]].model_validate(new)


def test_no_message_is_without_its_file() -> None:
    assert sorted(file.stem for file in GOLDEN.glob("*.json")) == TYPES


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda d: d["data"]["receipt"].pop("total"), "$.data.receipt.total is gone"),
        (lambda d: d["data"]["receipt"].update(total="1"), "$.data.receipt.total was a whole number and is a text"),
        (lambda d: d["data"]["receipt"].update(fiscal=None), "$.data.receipt.fiscal was an object and is null"),
        (lambda d: d["data"]["receipt"]["items"][0].pop("vat"), "$.data.receipt.items[0].vat is gone"),
        (lambda d: d["data"]["receipt"].update(payments=[]), "$.data.receipt.payments is empty"),
    ],
)
def test_what_a_receiver_would_miss_is_named(change: Callable[[Any], Any], sentence: str) -> None:
    text = (GOLDEN / "receipt.fiscalized.json").read_text(encoding="utf-8")
    new = json.loads(text)
    change(new)
    assert list(broken(json.loads(text), new)) == [sentence]
    new = json.loads(text)
    new["data"]["receipt"]["color"] = "red"
    assert not list(broken(json.loads(text), new)), "a member more breaks nobody"
