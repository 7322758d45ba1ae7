"""What every source adapter must show: who is believed, what becomes an event, what the sender hears.

A source writes its side into `SHOWN` of `tests/contract/exchanges/<code>.py`. A registered source without one fails the
suite, and so does a scenario that is neither shown nor excused; an excuse must agree with the declared capabilities.
"""

import importlib
import importlib.util
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import httpx

from app.domain.codec import event_to_json
from app.domain.event import EventType, PaymentEvent
from app.domain.identity import fingerprint
from app.ports.inbound import InboundReply, InboundRequest
from app.ports.source import Parsed, ReadBackFailed, SourceAdapter, SourceContext, Verdict
from tests.contract.contexts import source_context
from tests.support.desk import MemoryDesk

SCENARIOS: Final = (
    "good",
    "bad-signature",
    "no-secret",
    "replay",
    "unknown-kind",
    "exact-reply",
    "read-back-refused",
    "read-back-differs",
)

Api = Mapping[str, tuple[int, Any]]
"""Answers of the source's API by the end of the path; whatever is not there is answered 404."""


@dataclass(frozen=True)
class Shown:
    """One source's side. `forged` and `unknown` are posts; `refused` and `differs` the API of these scenarios, with
    `read_back` as the post that is read back where `good` is not. `event` is what `good` becomes."""

    credentials: Mapping[str, Any]
    secrets: Sequence[str]
    settings: Mapping[str, Any]
    good: InboundRequest
    event: tuple[EventType, str, int]
    unknown: InboundRequest
    reply: InboundReply
    forged: Sequence[InboundRequest] = ()
    api: Api = field(default_factory=dict)
    refused: Api | None = None
    differs: Api | None = None
    read_back: InboundRequest | None = None
    base_url: str = "https://source.test"
    lacks: Mapping[str, str] = field(default_factory=dict)


def shown_of(code: str) -> Shown | None:
    """The side that a source has written; None where there is none."""
    name = f"tests.contract.exchanges.{code}"
    if importlib.util.find_spec(name) is None:
        return None
    return getattr(importlib.import_module(name), "SHOWN", None)


def gaps(adapter: SourceAdapter, shown: Shown | None) -> list[str]:
    """What is not shown, each in a sentence."""
    if shown is None:
        return [f"{adapter.code}: tests/contract/exchanges/{adapter.code}.py has no SHOWN (docs/adding-a-source.md)"]
    can = adapter.capabilities
    excusable = {
        "bad-signature": not can.signs,
        "no-secret": not can.signs and can.reads_back,
        "read-back-refused": not can.reads_back,
        "read-back-differs": not can.reads_back,
    }
    has = {
        "bad-signature": bool(shown.forged),
        "no-secret": bool(shown.secrets) and "no-secret" not in shown.lacks,
        "read-back-refused": shown.refused is not None,
        "read-back-differs": shown.differs is not None,
    }
    told = [f"{name}: there is no such scenario" for name in shown.lacks if name not in SCENARIOS]
    for name, there in has.items():
        if not there and not excusable[name]:
            told.append(f"{name}: the capabilities of {adapter.code} call for it")
        elif not there and len(shown.lacks.get(name, "").split()) < 4:
            told.append(f"{name}: say in a sentence in `lacks` why {adapter.code} cannot show it")
        elif there and name in shown.lacks:
            told.append(f"{name}: it is shown as well as excused")
    return told


async def judge(adapter: SourceAdapter, shown: Shown, name: str) -> None:
    """One scenario. AssertionError says what the adapter did."""
    match name:
        case "good":
            await _good(adapter, shown)
        case "bad-signature":
            for one in shown.forged:
                assert isinstance(_verdict(adapter, shown, one), Verdict.Forged), "a forged post was believed"
        case "no-secret":
            _no_secret(adapter, shown)
        case "replay":
            await _replay(adapter, shown)
        case "unknown-kind":
            await _unknown(adapter, shown)
        case "exact-reply":
            await _reply(adapter, shown)
        case "read-back-refused":
            await _refused(adapter, shown)
        case "read-back-differs":
            await _differs(adapter, shown)
        case _:
            raise AssertionError(f"there is no scenario {name}")


async def _good(adapter: SourceAdapter, shown: Shown) -> None:
    assert not isinstance(_verdict(adapter, shown, shown.good), Verdict.Forged)
    found = await _events(adapter, shown, shown.good, shown.api)
    assert [(one.type, one.external_id, one.amount) for one in found] == [shown.event]


def _no_secret(adapter: SourceAdapter, shown: Shown) -> None:
    for secret in shown.secrets:
        empty = _credentials(adapter, shown)
        kind = type(getattr(empty, secret))
        empty = empty.model_copy(update={secret: kind(" ")})
        verdict = adapter.verify(shown.good, empty, _settings(adapter, shown))
        assert isinstance(verdict, Verdict.Forged), f"believed without a {secret}"


async def _replay(adapter: SourceAdapter, shown: Shown) -> None:
    """Whatever comes again is the same event with the same content: identity drops it."""
    first = await _events(adapter, shown, shown.good, shown.api)
    again = await _events(adapter, shown, shown.good, shown.api)
    assert [_identity(one) for one in first] == [_identity(one) for one in again]
    assert first


async def _unknown(adapter: SourceAdapter, shown: Shown) -> None:
    asked: list[httpx.Request] = []
    found, answers = await _acted(adapter, shown, shown.unknown, shown.api, asked)
    assert found == []
    assert asked == [], "something was asked for a post that means nothing"
    assert answers, "nobody hears why"


async def _reply(adapter: SourceAdapter, shown: Shown) -> None:
    if shown.good.part in adapter.capabilities.live_parts:
        _, answers = await _acted(adapter, shown, shown.good, shown.api, [])
        assert answers == [shown.reply]
        return
    assert adapter.reply(shown.good, stored=True) == shown.reply
    other = adapter.reply(shown.good, stored=False)
    assert (other.status, other.body) != (shown.reply.status, shown.reply.body)
    assert other.status >= 500, "what was not stored must come again"


async def _refused(adapter: SourceAdapter, shown: Shown) -> None:
    assert shown.refused is not None
    request = shown.read_back or shown.good
    found, answers = await _acted(adapter, shown, request, shown.refused, [])
    assert found == []
    (answer,) = answers
    if request.part in adapter.capabilities.live_parts:
        return
    assert isinstance(answer, ReadBackFailed), f"a refused read-back became {answer}"
    assert not answer.final, "a source that refuses for a while would lose the payment"
    for secret in shown.secrets:
        assert str(shown.credentials[secret]) not in answer.reason


async def _differs(adapter: SourceAdapter, shown: Shown) -> None:
    """What is read counts, or nothing does: never the claim of the post."""
    assert shown.differs is not None
    found, answers = await _acted(adapter, shown, shown.read_back or shown.good, shown.differs, [])
    assert found == []
    assert answers, "nobody hears why"


async def _events(adapter: SourceAdapter, shown: Shown, request: InboundRequest, api: Api) -> list[PaymentEvent]:
    return (await _acted(adapter, shown, request, api, []))[0]


async def _acted(
    adapter: SourceAdapter, shown: Shown, request: InboundRequest, api: Api, asked: list[httpx.Request]
) -> tuple[list[PaymentEvent], list[Any]]:
    """Events of a post, and what tells why there are none: a note, a failure, the answer of a live part."""

    def answer(call: httpx.Request) -> httpx.Response:
        asked.append(call)
        for end, (status, body) in api.items():
            if call.url.path.endswith(end):
                return httpx.Response(status, content=json.dumps(body).encode())
        return httpx.Response(404, json={})

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        context = _context(adapter, shown, http)
        if request.part in adapter.capabilities.live_parts:
            desk = MemoryDesk()
            reply = await adapter.answer(request, desk, context)
            return list(desk.events.values()), [reply]
        found = await adapter.parse(request, context)
    if isinstance(found, Parsed):
        return list(found.events), [found.note] if found.note else []
    return [], [found]


def _context(adapter: SourceAdapter, shown: Shown, http: httpx.AsyncClient) -> SourceContext:
    base_url = shown.base_url
    context = source_context(http, _credentials(adapter, shown), _settings(adapter, shown), base_url)
    return replace(context, deadline_seconds=5)


def _verdict(adapter: SourceAdapter, shown: Shown, request: InboundRequest) -> Any:
    return adapter.verify(request, _credentials(adapter, shown), _settings(adapter, shown))


def _credentials(adapter: SourceAdapter, shown: Shown) -> Any:
    return adapter.Credentials.model_validate(shown.credentials)


def _settings(adapter: SourceAdapter, shown: Shown) -> Any:
    return adapter.Settings.model_validate(shown.settings)


def _identity(event: PaymentEvent) -> tuple[EventType, str, bytes]:
    return (event.type, event.external_id, fingerprint(event_to_json(event)))
