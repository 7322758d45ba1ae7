"""Plays one scenario against one driver and judges it. Failures are sentences for whoever writes the driver."""

import asyncio
import importlib
import importlib.util
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from app.domain.causes import CATALOGUE
from app.domain.decide import LookupMoment, Past, after_lookup, after_poll, after_submit
from app.domain.lifecycle import Happening
from app.domain.outcome import Fiscalized, LookupOutcome, Rejected, Scope, Unavailable, Unknown
from app.domain.receipt import Receipt
from app.infra.clock import boottime
from app.infra.egress import EgressPolicy
from app.infra.http import RecordingTransport, client_over, open_http
from app.infra.tokens import Tokens
from app.ports.kassa import DriverContext, KassaDriver, KassaProfile
from tests.contract import golden, wire
from tests.contract.scenarios import (
    CALLBACK_URL,
    CREATED_AT,
    MERCHANT_INN,
    PLACE,
    PROVIDER_ID,
    SCENARIOS,
    Cut,
    Exchanges,
    Scenario,
    Step,
    Steps,
)

IMPATIENT = 0.6
PATIENT = 5.0
"""Deadlines of a call, seconds: the short one where no answer will come, yet long enough to connect and ask."""


def wire_of(code: str) -> Exchanges | None:
    """What `exchanges/<code>.py` exports as WIRE, or None while nobody wrote it."""
    name = f"tests.contract.exchanges.{code}"
    if importlib.util.find_spec(name) is None:
        return None
    found = getattr(importlib.import_module(name), "WIRE", None)
    return found if isinstance(found, Exchanges) else None


def readable_wire_of(code: str) -> Exchanges | None:
    """The same, None also where the file is broken: `test_every_driver_has_a_whole_wire` tells of that, and one
    provider's broken file stops nobody else's tests."""
    try:
        return wire_of(code)
    except Exception:
        return None


def unwritten(driver: KassaDriver) -> str:
    """What to tell whoever added a driver without its wire."""
    return (
        f"{driver.title} has no wire: write tests/contract/exchanges/{driver.code}.py with `WIRE = Exchanges(…)`. "
        "The docstring of tests/contract/scenarios.py says how, exchanges/digitalkassa.py is an example, "
        "docs/adding-a-kassa.md takes you through it."
    )


def conversation(driver: KassaDriver, exchanges: Exchanges, scenario: Scenario) -> Steps | None:
    """The steps of a scenario for this provider; None where it is not asked for, or lacked, or not written."""
    if not scenario.needs(driver.capabilities):
        return None
    if scenario.name in exchanges.shown:
        return exchanges.shown[scenario.name]
    if scenario.refused_before_sending:
        return ()
    request = exchanges.receipt_request(scenario.receipt)
    if scenario.makes or scenario.resend:
        return (Step(request, exchanges.made(scenario.receipt)),)
    if scenario.happens_to is None:
        return None
    match scenario.call:
        case "poll":
            request = exchanges.poll_request(scenario.receipt)
        case "lookup":
            assert exchanges.lookup_request is not None, "lookup_seconds is not 0: give WIRE a lookup_request"
            request = exchanges.lookup_request(scenario.receipt)
        case "submit":
            pass
    return (Step(request, scenario.happens_to),)


def gaps(driver: KassaDriver, exchanges: Exchanges) -> list[str]:
    """What the wire of a provider leaves open, a sentence each; empty when it is whole."""
    told: list[str] = []
    where = f"tests/contract/exchanges/{driver.code}.py"
    for name, scenario in SCENARIOS.items():
        shown, lacked = name in exchanges.shown, name in exchanges.lacks
        if not scenario.needs(driver.capabilities):
            if shown or lacked:
                told.append(f"{name}: the capabilities do not call for it; take it out of {where} or declare it.")
        elif lacked and (shown or scenario.always):
            why = "it is shown as well" if shown else "no provider is without it"
            told.append(f"{name}: it cannot be lacked, {why}; take it out of `lacks`.")
        elif lacked and len(exchanges.lacks[name].split()) < 4:
            told.append(f"{name}: say in a sentence why {driver.title} cannot show it.")
        elif not lacked and conversation(driver, exchanges, scenario) is None:
            told.append(
                f'{name}: {scenario.holds}. Show it in `shown["{name}"]` of {where}: the request that the driver '
                f"sends and what {driver.title} answers, from its document"
                + ("." if scenario.always else "; or say in `lacks` why its protocol cannot.")
            )
    told += [
        f"{name}: there is no such scenario; the names are in tests/contract/scenarios.py."
        for name in (*exchanges.shown, *exchanges.lacks)
        if name not in SCENARIOS
    ]
    if driver.capabilities.callbacks and exchanges.callback is None:
        told.append(f"`callback`: the capabilities say callbacks; give WIRE one about {PROVIDER_ID}.")
    return told


@dataclass(frozen=True)
class Played:
    """How a scenario ended."""

    outcome: LookupOutcome
    seen: list[wire.Seen]
    context: DriverContext


def patience(steps: Steps) -> float:
    """The deadline of a call in this conversation, seconds."""
    return IMPATIENT if any(step.back is Cut.SILENT for step in steps) else PATIENT


async def play(driver: KassaDriver, exchanges: Exchanges, scenario: Scenario, steps: Steps) -> Played:
    """One call over the program's own transport to a scripted provider."""
    deadline = patience(steps)
    async with wire.provider(steps) as provider, client(exchanges, deadline) as http:
        fresh = -1.0 if any(step.back is Cut.STALE for step in steps) else 5.0
        context = make_context(
            driver,
            exchanges,
            scenario.receipt,
            http,
            provider.url,
            not_after=boottime() + fresh if scenario.call == "submit" else None,
            deadline=deadline,
            resend=scenario.resend,
        )
        # The worker waits no longer than this either; a driver that does has no deadline of its own.
        async with asyncio.timeout(deadline + 1):
            return Played(await _call(driver, exchanges, scenario, context), provider.seen, context)


async def _call(driver: KassaDriver, exchanges: Exchanges, scenario: Scenario, context: DriverContext) -> LookupOutcome:
    match scenario.call:
        case "submit":
            return await driver.submit(PROVIDER_ID, scenario.receipt, context)
        case "poll":
            return await driver.poll(PROVIDER_ID, exchanges.reference, scenario.receipt, context)
        case "lookup":
            return await driver.lookup(PROVIDER_ID, scenario.receipt, context)


def judge(driver: KassaDriver, exchanges: Exchanges, scenario: Scenario, steps: Steps, played: Played) -> None:
    """AssertionError with a sentence where the promise of the scenario is broken."""
    outcome = played.outcome
    _judge_requests(exchanges, steps, played.seen)
    names = " or ".join(sorted(kind.__name__ for kind in scenario.ends))
    assert type(outcome) in scenario.ends, f"{scenario.holds}: {names} is wanted, the driver says {outcome}"
    happening = _happening(driver, scenario, outcome)
    if scenario.after is not None:
        assert happening in scenario.after, f"{scenario.holds}: the service sees {happening.value} in {outcome}"
    match outcome:
        case Rejected(cause=cause) | Unavailable(cause=cause) | Unknown(stuck=str(cause)):
            assert cause in CATALOGUE, f"{cause!r} is no cause of app/domain/causes.py: nobody would know what to do"
        case Fiscalized(fiscal=fiscal):
            assert fiscal == exchanges.fiscal, "the fiscal data are not what the provider told"
        case _:
            pass
    if scenario.refused_before_sending and isinstance(outcome, Rejected):
        assert outcome.cause == "payload_not_supported", f"the cause is payload_not_supported, not {outcome.cause}"
    if scenario.name == "credentials-refused":
        assert isinstance(outcome, Unavailable)
        assert outcome.scope is Scope.KASSA, "wrong credentials stop every receipt of the kassa, not this one alone"
    if scenario.name.endswith("auth-expired"):
        left = [name for name, token in exchanges.tokens.items() if played.context.tokens.get(name) == token]
        worn = not exchanges.tokens or len(left) < len(exchanges.tokens)
        assert worn, "the token that ran out is still in the cache: the next call would fail as well"
    for private in _private(driver, exchanges, scenario.receipt):
        assert private not in repr(outcome), "an outcome is logged and shown: no secret and no contact belongs in it"


def _happening(driver: KassaDriver, scenario: Scenario, outcome: LookupOutcome) -> Happening:
    cls, late = driver.capabilities.lookup_class(0), LookupMoment(visible=True, confirmed=True)
    match scenario.call:
        case "submit":
            assert not _only_of_lookups(outcome), f"{outcome} is no answer of a submit"
            return after_submit(outcome, scenario.receipt, cls, Past())  # type: ignore[arg-type]
        case "poll":
            return after_poll(outcome, scenario.receipt, late)
        case "lookup":
            return after_lookup(outcome, scenario.receipt, cls, Past(), late)


def _only_of_lookups(outcome: LookupOutcome) -> bool:
    return type(outcome).__name__ in ("NotFound", "CannotTell")


def _judge_requests(exchanges: Exchanges, steps: Steps, seen: list[wire.Seen]) -> None:
    wanted = [step.sent for step in wire.expected(steps)]
    asked, told = ([f"{it.method} {it.path}" for it in side] for side in (seen, wanted))
    assert asked == told, f"the driver sent {', '.join(asked) or 'nothing'}; wanted: {', '.join(told) or 'nothing'}"
    for request, sent in zip(seen, wanted, strict=True):
        for name, value in {**exchanges.headers, **sent.headers}.items():
            found = request.headers.get(name.lower())
            assert found == value, f"header {name} of {sent.method} {sent.path} is {found!r}, wanted {value!r}"
        if not sent.carries_receipt:
            wanted_body = sent.body or ""
            assert request.body == wanted_body, f"{sent.method} {sent.path} sent {request.body!r}, not {wanted_body!r}"


def judge_body(
    driver: KassaDriver, exchanges: Exchanges, scenario: Scenario, steps: Steps, played: Played, *, update: bool
) -> None:
    """What carried the receipt against its golden file, and against what a preview shows."""
    carriers = [number for number, step in enumerate(wire.expected(steps)) if step.sent.carries_receipt]
    if not carriers:
        return
    bodies = {golden.laid_out(played.seen[number].body) for number in carriers}
    assert len(bodies) == 1, "a repeat under one id has another body"
    body, path = bodies.pop(), golden.file(driver.code, scenario.golden)
    if update and scenario.makes:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(body, encoding="utf-8")
    assert path.exists(), f"{_short(path)} is missing: run with --update-golden and compare it with the document"
    assert body == path.read_text(encoding="utf-8"), f"not what {_short(path)} says; if meant, --update-golden"
    preview = driver.payload(PROVIDER_ID, scenario.receipt, played.context)
    assert golden.laid_out_payload(preview) == body, "a preview shows another body than is sent"


def _short(path: Path) -> str:
    return f"tests/contract/golden/{path.parent.name}/{path.name}"


def _private(driver: KassaDriver, exchanges: Exchanges, receipt: Receipt) -> list[str]:
    model = driver.Credentials.model_validate(exchanges.credentials)
    secrets = [value.get_secret_value() for _, value in model if isinstance(value, SecretStr)]
    contacts = [receipt.customer.email, receipt.customer.phone]
    return [text for text in (*secrets, *exchanges.tokens.values(), *contacts) if text]


@cache
def _trust() -> ssl.SSLContext:
    return ssl.create_default_context()


@asynccontextmanager
async def client(exchanges: Exchanges, deadline: float) -> AsyncIterator[httpx.AsyncClient]:
    """The client of a call as the program makes it."""
    async with open_http(EgressPolicy.parse("127.0.0.0/8"), ssl_context=_trust()) as clients:
        yield client_over(RecordingTransport(clients.transport()), deadline=deadline)


def make_context(
    driver: KassaDriver,
    exchanges: Exchanges,
    receipt: Receipt,
    http: httpx.AsyncClient,
    url: str,
    *,
    not_after: float | None = None,
    deadline: float = PATIENT,
    tokens: Mapping[str, str] | None = None,
    resend: bool = False,
) -> DriverContext:
    """A context of a kassa that fits the receipt; its token cache is as after an earlier call."""
    cache = Tokens()
    for name, token in (exchanges.tokens if tokens is None else tokens).items():
        cache.put(name, token, 3600)
    return DriverContext(
        http=http,
        base_url=url + exchanges.base_path.rstrip("/"),
        credentials=_credentials(driver, exchanges.credentials),
        profile=KassaProfile(
            id="kas_1",
            ffd=receipt.ffd,
            taxation=(receipt.taxation,),
            place=PLACE,
            timezone=receipt.timezone,
            internet=receipt.internet,
            merchant_inn=MERCHANT_INN,
        ),
        tokens=cache,
        callback_url=CALLBACK_URL if driver.capabilities.callbacks else None,
        not_after=not_after,
        deadline_seconds=deadline,
        created_at=CREATED_AT,
        resend=resend,
    )


def _credentials(driver: KassaDriver, given: Mapping[str, Any]) -> Any:
    return driver.Credentials.model_validate(given)


def scenario_params(drivers: Any) -> list[Any]:
    """(driver, exchanges, scenario, steps) of everything that can be played; what cannot is told by `gaps`."""
    return [
        pytest.param(driver, exchanges, scenario, steps, id=f"{driver.code}-{scenario.name}")
        for driver in drivers
        if (exchanges := readable_wire_of(driver.code)) is not None
        for scenario in SCENARIOS.values()
        if scenario.name not in exchanges.lacks
        if (steps := conversation(driver, exchanges, scenario)) is not None
    ]
