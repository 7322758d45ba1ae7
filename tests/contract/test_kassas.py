"""Every registered kassa driver against every scenario; `scenarios.py` says what must hold and how a wire is written.

Run one provider with `pytest tests/contract/test_kassas.py -k <code>`.
"""

import asyncio
import json
from collections.abc import Iterator
from datetime import date
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.outcome import Accepted, CannotTell, Fiscalized, NotFound, Pending, Rejected, Unavailable, Unknown
from app.domain.rules import findings
from app.ports.inbound import InboundRequest
from app.ports.kassa import KassaDriver, Mark
from app.ports.registry import discover_kassas
from tests.contract import golden
from tests.contract.conformance import (
    client,
    gaps,
    judge,
    judge_body,
    make_context,
    patience,
    play,
    readable_wire_of,
    scenario_params,
    unwritten,
    wire_of,
)
from tests.contract.scenarios import PROVIDER_ID, SALE, SCENARIOS, WORLD, Answer, Exchanges, Scenario, Step, Steps
from tests.contract.wire import provider

DRIVERS = tuple(discover_kassas())
WRITTEN = [
    pytest.param(driver, exchanges, id=driver.code)
    for driver in DRIVERS
    if (exchanges := readable_wire_of(driver.code))
]


@pytest.mark.parametrize("driver", DRIVERS, ids=lambda driver: driver.code)
def test_every_driver_has_a_whole_wire(driver: KassaDriver) -> None:
    exchanges = wire_of(driver.code)
    if exchanges is None:
        pytest.fail(unwritten(driver))
    open_ends = gaps(driver, exchanges)
    assert not open_ends, "\n".join(open_ends)


@pytest.mark.parametrize(("driver", "exchanges", "scenario", "steps"), scenario_params(DRIVERS))
async def test_scenario(
    driver: KassaDriver, exchanges: Exchanges, scenario: Scenario, steps: Steps, update_golden: bool
) -> None:
    played = await play(driver, exchanges, scenario, steps)
    judge(driver, exchanges, scenario, steps, played)
    judge_body(driver, exchanges, scenario, steps, played, update=update_golden)


@pytest.mark.parametrize("driver", DRIVERS, ids=lambda driver: driver.code)
def test_no_golden_file_is_left_over(driver: KassaDriver) -> None:
    wanted = {name for name, it in SCENARIOS.items() if it.makes and it.needs(driver.capabilities)}
    assert {path.stem for path in (golden.FOLDER / driver.code).glob("*")} == wanted


@pytest.mark.parametrize("scenario", [it for it in SCENARIOS.values() if it.makes], ids=lambda it: it.name)
def test_the_receipts_are_lawful(scenario: Scenario) -> None:
    assert findings(scenario.receipt, date(2026, 11, 23)) == ()


# Answers that nobody wrote down.

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
STATUSES = st.sampled_from([200, 201, 202, 204, 299, 302, 400, 404, 408, 409, 413, 422, 500, 502, 503, 504])


def _damaged(value: Any) -> st.SearchStrategy[Any]:
    """The value with some members missing, and some something else."""
    match value:
        case dict():
            return JSON | st.fixed_dictionaries({}, optional={name: _damaged(it) for name, it in value.items()})
        case list():
            return JSON | st.tuples(*map(_damaged, value)).map(list)
        case _:
            return st.just(value) | JSON


def _always(status: int, content: bytes) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(status, content=content)))


def _ask(driver: KassaDriver, exchanges: Exchanges, status: int, content: bytes) -> Iterator[Any]:
    """The outcomes of all three calls when this is all that the provider ever says."""

    async def calls() -> list[Any]:
        async with _always(status, content) as http:
            context = make_context(driver, exchanges, SALE, http, "https://provider.example")
            return [
                await driver.submit(PROVIDER_ID, SALE, context),
                await driver.poll(PROVIDER_ID, exchanges.reference, SALE, context),
                await driver.lookup(PROVIDER_ID, SALE, context),
            ]

    return iter(asyncio.run(calls()))


@pytest.mark.parametrize(("driver", "exchanges"), WRITTEN)
@settings(max_examples=60, deadline=None)
@given(status=STATUSES, content=st.binary(max_size=80) | JSON.map(lambda it: json.dumps(it).encode()))
def test_noise_is_never_final(driver: KassaDriver, exchanges: Exchanges, status: int, content: bytes) -> None:
    for outcome in _ask(driver, exchanges, status, content):
        assert not isinstance(outcome, Fiscalized | Rejected | NotFound), outcome


@pytest.mark.parametrize(("driver", "exchanges"), WRITTEN)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_damaged_success_is_a_document_or_nothing(
    driver: KassaDriver, exchanges: Exchanges, data: st.DataObject
) -> None:
    for whole in (exchanges.made(SALE), exchanges.shown["done"][-1].back):
        assert isinstance(whole, Answer)
        body = data.draw(_damaged(json.loads(whole.content or b"null")))
        for outcome in _ask(driver, exchanges, whole.status, json.dumps(body).encode()):
            match outcome:
                case Fiscalized(fiscal=fiscal):
                    assert len(fiscal.fn) == 16
                    assert fiscal.fn.isascii()
                    assert fiscal.fn.isdecimal()
                    assert 1 <= fiscal.fd < 2**32
                    assert fiscal.fpd.isascii()
                    assert fiscal.fpd.isdecimal()
                    assert fiscal.fiscalized_at.utcoffset() is not None
                case Accepted() | Pending() | Unknown() | CannotTell() | Rejected() | Unavailable():
                    pass
                case _:
                    pytest.fail(f"{outcome} cannot follow from such an answer")


# Callbacks: a hint, never believed.


@pytest.mark.parametrize(("driver", "exchanges"), WRITTEN)
def test_a_callback_names_our_id(driver: KassaDriver, exchanges: Exchanges) -> None:
    if exchanges.callback is None:
        assert not driver.capabilities.callbacks
    else:
        assert driver.callback_hint(exchanges.callback) == PROVIDER_ID


@pytest.mark.parametrize(("driver", "exchanges"), WRITTEN)
@settings(max_examples=60, deadline=None)
@given(
    query=st.text(max_size=40),
    body=st.binary(max_size=80) | JSON.map(lambda it: json.dumps(it).encode()) | st.just(b"[" * 100_000),
)
def test_a_callback_of_another_shape_says_nothing(
    driver: KassaDriver, exchanges: Exchanges, query: str, body: bytes
) -> None:
    assert driver.callback_hint(InboundRequest("POST", "secret", query, {}, body)) in (None, PROVIDER_ID)


# The check of a kassa makes no receipt and survives what the world does.


@pytest.mark.parametrize("name", sorted(WORLD))
@pytest.mark.parametrize(("driver", "exchanges"), WRITTEN)
async def test_a_check_survives(driver: KassaDriver, exchanges: Exchanges, name: str) -> None:
    carrier = exchanges.receipt_request(SALE)
    # Whatever is asked, and however often, this comes back.
    steps = (Step(carrier, WORLD[name]),) * 20
    deadline = patience(steps)
    async with provider(steps) as there, client(exchanges, deadline) as http:
        report = await driver.check(
            make_context(driver, exchanges, SALE, http, there.url, deadline=deadline, tokens={})
        )
        assert there.seen, "a check asks the provider"
        assert all(seen.path != carrier.path for seen in there.seen), "a check makes no receipt"
    assert not report.ok, f"{name}: the check says that all is well"
    assert all(line.fix for line in report.lines if line.mark is Mark.FAILED), "what failed says what to do"
