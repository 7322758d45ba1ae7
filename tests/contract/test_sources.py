"""Every source adapter × every scenario; a source that shows nothing fails here, whoever adds it."""

from dataclasses import replace
from typing import Any

import pytest

from app.ports.registry import discover_sources
from app.ports.source import SourceAdapter, Verdict
from tests.contract.source_scenarios import SCENARIOS, gaps, judge, shown_of

SOURCES = discover_sources()
PAIRS = [(code, name) for code in SOURCES.codes for name in SCENARIOS]


@pytest.mark.parametrize("code", SOURCES.codes)
def test_a_source_shows_every_scenario(code: str) -> None:
    assert gaps(SOURCES.get(code), shown_of(code)) == []


@pytest.mark.parametrize(("code", "name"), PAIRS, ids=[f"{code}-{name}" for code, name in PAIRS])
async def test_scenario(code: str, name: str) -> None:
    shown = shown_of(code)
    assert shown is not None, f"tests/contract/exchanges/{code}.py has no SHOWN"
    if name in shown.lacks:
        assert gaps(SOURCES.get(code), shown) == []
        return
    await judge(SOURCES.get(code), shown, name)


# The suite must be able to fail.


def adapter(base: str, **members: Any) -> SourceAdapter:
    """A registered adapter with other members."""
    kind = type("Spoiled", (type(SOURCES.get(base)),), members)
    found: SourceAdapter = kind()
    return found


def test_a_source_without_data_is_told_where_to_write() -> None:
    (told,) = gaps(adapter("tbank", code="newbank"), shown_of("newbank"))
    assert "tests/contract/exchanges/newbank.py" in told


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"forged": ()}, "bad-signature: the capabilities of tbank call for it"),
        ({"refused": None}, "read-back-refused: the capabilities of tbank call for it"),
        ({"differs": None, "lacks": {"read-back-differs": "no"}}, "read-back-differs: the capabilities"),
        ({"lacks": {"invented": "a scenario that nobody knows"}}, "invented: there is no such scenario"),
        ({"lacks": {"bad-signature": "it signs nothing at all"}}, "bad-signature: it is shown as well as excused"),
    ],
)
def test_a_gap_and_a_false_excuse_are_told(changes: dict[str, Any], told: str) -> None:
    shown = shown_of("tbank")
    assert shown is not None
    (line,) = gaps(SOURCES.get("tbank"), replace(shown, **changes))
    assert line.startswith(told)


async def test_an_adapter_that_believes_everybody_is_caught() -> None:
    shown = shown_of("tbank")
    assert shown is not None
    gullible = adapter("tbank", verify=lambda *_: Verdict.Genuine())
    for name in ("bad-signature", "no-secret"):
        with pytest.raises(AssertionError):
            await judge(gullible, shown, name)


async def test_an_adapter_that_believes_the_notice_itself_is_caught() -> None:
    shown = shown_of("yookassa")
    assert shown is not None
    assert shown.differs is not None
    with pytest.raises(AssertionError):
        await judge(SOURCES.get("yookassa"), replace(shown, differs=shown.api), "read-back-differs")
    with pytest.raises(AssertionError):
        await judge(SOURCES.get("yookassa"), replace(shown, refused=shown.api), "read-back-refused")
