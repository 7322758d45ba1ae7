"""The suite must be able to fail: drivers that lose or double receipts are caught, and gaps are told in sentences."""

import importlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from app.domain.outcome import (
    Accepted,
    CannotTell,
    Fiscalized,
    LookupOutcome,
    NotFound,
    Outcome,
    Rejected,
    Unavailable,
    Unknown,
)
from app.domain.receipt import Receipt
from app.ports.kassa import DriverContext, KassaDriver
from tests.contract import golden
from tests.contract.conformance import conversation, gaps, judge, judge_body, play, unwritten, wire_of
from tests.contract.scenarios import SCENARIOS, Answer, Cut, Exchanges, Sent, Step, Steps

GOOD = importlib.import_module("app.kassas.digitalkassa").PLUGIN


def _wire() -> Exchanges:
    found = wire_of("digitalkassa")
    assert found is not None
    return found


class _Spoiled(GOOD):  # type: ignore[misc, valid-type]
    """A right driver whose outcomes are changed by `spoil`."""

    def __init__(self, spoil: Callable[[Any], Any]) -> None:
        self.spoil = spoil

    async def submit(self, provider_id: str, receipt: Receipt, context: DriverContext) -> Outcome:
        return self.spoil(await super().submit(provider_id, receipt, context))

    async def lookup(self, provider_id: str, receipt: Receipt, context: DriverContext) -> LookupOutcome:
        return self.spoil(await super().lookup(provider_id, receipt, context))


async def _verdict(driver: KassaDriver, name: str, steps: Steps | None = None, wire: Exchanges | None = None) -> None:
    wire, scenario = wire or _wire(), SCENARIOS[name]
    steps = steps or conversation(driver, wire, scenario)
    assert steps is not None
    played = await play(driver, wire, scenario, steps)
    judge(driver, wire, scenario, steps, played)
    judge_body(driver, wire, scenario, steps, played, update=False)


@pytest.mark.parametrize(
    ("name", "becomes", "told"),
    [
        ("lost-reply", Unavailable("wire_not_sent"), "Unknown is wanted"),
        ("lost-reply", Rejected("refused_other"), "Unknown is wanted"),
        ("server-error", Rejected("refused_other"), "Unknown is wanted"),
        ("empty-200", Accepted(), "Unknown is wanted"),
        ("dropped-before", Unknown("?"), "Unavailable is wanted"),
        ("refused", Rejected("no such cause"), "no cause of"),
        ("credentials-refused", Unavailable("credentials_refused"), "wrong credentials stop"),
        ("absent-or-another-group", NotFound("404"), "CannotTell or Unknown is wanted"),
        ("lookup-server-error", NotFound("500"), "CannotTell or Unknown is wanted"),
        ("lookup-server-error", Unavailable("wire_not_sent"), "CannotTell or Unknown is wanted"),
        ("found", CannotTell("?"), "Fiscalized is wanted"),
        ("lost-reply", Unknown("for buyer@example.org"), "no secret and no contact"),
        ("lost-reply", Unknown("not-a-real-token"), "no secret and no contact"),
    ],
)
async def test_a_wrong_outcome_is_caught(name: str, becomes: object, told: str) -> None:
    with pytest.raises(AssertionError, match=told):
        await _verdict(_Spoiled(lambda _: becomes), name)


async def test_other_fiscal_data_are_caught() -> None:
    def next_document(found: object) -> object:
        return replace(found, fiscal=replace(found.fiscal, fd=1)) if isinstance(found, Fiscalized) else found

    with pytest.raises(AssertionError, match="not what the provider told"):
        await _verdict(_Spoiled(next_document), "sale")


class _Twice(GOOD):  # type: ignore[misc, valid-type]
    """Sends again after an answer that it does not understand: what prints a receipt twice."""

    async def submit(self, provider_id: str, receipt: Receipt, context: DriverContext) -> Outcome:
        first = await super().submit(provider_id, receipt, context)
        return await super().submit(provider_id, receipt, context) if isinstance(first, Unknown) else first


async def test_a_driver_that_sends_again_is_caught() -> None:
    with pytest.raises(AssertionError, match=r"the driver sent POST .*, POST "):
        await _verdict(_Twice(), "server-error")


class _Cents(GOOD):  # type: ignore[misc, valid-type]
    """Sends another price than the receipt's."""

    def payload(self, provider_id: str, receipt: Receipt, context: DriverContext) -> dict[str, Any]:
        line = replace(receipt.items[0], price=receipt.items[0].price + 1)
        return super().payload(provider_id, replace(receipt, items=(line, *receipt.items[1:])), context)


async def test_another_number_in_the_body_is_caught() -> None:
    with pytest.raises(AssertionError, match=r"not what tests/contract/golden/digitalkassa/sale\.json says"):
        await _verdict(_Cents(), "sale")


class _Stale(GOOD):  # type: ignore[misc, valid-type]
    """Sends whenever it comes to it, however old the mark is."""

    async def submit(self, provider_id: str, receipt: Receipt, context: DriverContext) -> Outcome:
        return await super().submit(provider_id, receipt, replace(context, not_after=None))


async def test_a_driver_without_the_freshness_bound_is_caught() -> None:
    with pytest.raises(AssertionError):
        await _verdict(_Stale(), "not-fresh")


def test_numbers_keep_their_digits() -> None:
    assert golden.laid_out('{"a": 1490.00, "b": [1.5e1]}') == '{\n  "a": 1490.00,\n  "b": [\n    1.5e1\n  ]\n}\n'
    with pytest.raises(AssertionError, match="float"):
        golden.laid_out_payload({"a": 14.9})


# What a newcomer is told.


class _New(GOOD):  # type: ignore[misc, valid-type]
    code = "newkassa"
    title = "New Kassa"


def test_a_driver_without_a_wire_is_told_what_to_write() -> None:
    assert wire_of("newkassa") is None
    told = unwritten(_New())
    assert "tests/contract/exchanges/newkassa.py" in told
    assert "docs/adding-a-kassa.md" in told


def test_a_scenario_that_is_not_written_is_told() -> None:
    wire = _wire()
    shown = {name: steps for name, steps in wire.shown.items() if name not in ("found", "refused")}
    told = gaps(GOOD(), replace(wire, shown=shown))
    assert [line.split(":")[0] for line in told] == ["refused", "found"]
    assert 'shown["found"]` of tests/contract/exchanges/digitalkassa.py' in told[1]
    assert "`lacks`" in told[0]
    assert "`lacks`" not in told[1]


@pytest.mark.parametrize(
    ("lacks", "told"),
    [
        ({"sale": "it does not feel like selling"}, "no provider is without it"),
        ({"refused": "this protocol never refuses anything"}, "it is shown as well"),
        ({"poll-other-total": "no"}, "say in a sentence"),
        ({"invented": "a scenario that nobody knows"}, "there is no such scenario"),
        ({"no-look-up": "it can be asked by our id"}, "the capabilities do not call for it"),
    ],
)
def test_a_false_excuse_is_told(lacks: dict[str, str], told: str) -> None:
    wire = _wire()
    (line,) = gaps(GOOD(), replace(wire, lacks={**wire.lacks, **lacks}))
    assert line.startswith(next(iter(lacks)))
    assert told in line


def test_a_missing_callback_is_told() -> None:
    (line,) = gaps(GOOD(), replace(_wire(), callback=None))
    assert line.startswith("`callback`")


# Conversations that no registered driver shows yet.


class _NoLookup(GOOD):  # type: ignore[misc, valid-type]
    """Declares that it cannot be asked, and nothing but sales."""

    capabilities = replace(GOOD.capabilities, lookup_seconds=0, marking=False)


async def test_a_provider_that_cannot_be_asked_is_not_asked() -> None:
    with pytest.raises(AssertionError):
        await _verdict(_NoLookup(), "no-look-up")


async def test_what_is_not_declared_must_be_refused_before_sending() -> None:
    with pytest.raises(AssertionError):
        await _verdict(_NoLookup(), "marking-undeclared")


async def test_a_token_that_ran_out_must_leave_the_cache() -> None:
    receipt = SCENARIOS["auth-expired"].receipt
    steps = (Step(_wire().receipt_request(receipt), Answer(401)),)
    await _verdict(GOOD(), "auth-expired", steps)
    with pytest.raises(AssertionError, match="still in the cache"):
        await _verdict(GOOD(), "auth-expired", steps, replace(_wire(), tokens={"token": "worn"}))


async def test_a_request_with_another_header_is_caught() -> None:
    with pytest.raises(AssertionError, match="header Authorization"):
        await _verdict(GOOD(), "found", wire=replace(_wire(), headers={"Authorization": "Basic other"}))


async def test_a_conversation_may_go_on_until_nobody_listens() -> None:
    wire = _wire()
    ask: Sent = wire.poll_request(SCENARIOS["duplicate"].receipt)
    carrier = wire.receipt_request(SCENARIOS["duplicate"].receipt)
    await _verdict(GOOD(), "duplicate", (Step(carrier, Answer(409)), Step(ask, Cut.REFUSED)))
