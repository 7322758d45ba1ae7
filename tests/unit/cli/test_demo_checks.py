"""The demo's proof can fail: every way in which a day goes wrong is found and named."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from app.cli.demo_checks import check_day
from app.cli.demo_day import API
from app.cli.demo_scenes import COUNTS
from app.cli.demo_town import Deed

REST = [(source, operation) for source, count in COUNTS.items() for operation in count.elements()]
REST.remove((API, "sell"))
REST.remove((API, "sell_refund"))
"""What a whole day has beside the first sale and the first refund of the tests."""


def deed(title: str, provider_id: str, fd: int, amount: int, operation: str = "sell", source: str = API) -> Deed:
    fiscal = {"fn": "9999078902000001", "fd": fd, "fpd": str(fd * 11)}
    receipt = {"id": f"rcpt_{fd}", "sequence": 1, "fiscal": fiscal}
    timeline = [
        {"status": "sending", "attempt": None},
        {"status": None, "attempt": {"provider_id": provider_id}},
    ]
    return Deed(title, source, operation, amount, receipt, timeline)


class Day:
    """What the town would answer; the same members as `Town` where the checks look."""

    def __init__(self) -> None:
        self.deeds = {"one": deed("A sale", "aa", 2, 199_000), "two": deed("A refund", "bb", 3, 50_000, "sell_refund")}
        ids = ["aa", "bb"]
        for source, operation in REST:
            ids.append(f"more-{len(ids)}")
            self.deeds[ids[-1]] = deed("Another", ids[-1], 2 + len(ids), 100, operation, source)
        self.forged = ["666"]
        self.events_of_forged: list[Any] = []
        self.shop = type("Shop", (), {"sources": {"cloudpayments": "src_1"}})()
        self.printed = [
            self.document(one, provider_id) for one, provider_id in zip(self.deeds.values(), ids, strict=True)
        ]
        self.messages = [self.message(one) for one in self.deeds.values()]

    @staticmethod
    def document(one: Deed, provider_id: str) -> dict[str, Any]:
        fiscal = one.receipt["fiscal"]
        return {
            "provider_id": provider_id,
            "fn": fiscal["fn"],
            "fd": fiscal["fd"],
            "fpd": int(fiscal["fpd"]),
            "operation": one.operation,
            "total": one.amount,
        }

    @staticmethod
    def message(one: Deed) -> dict[str, Any]:
        told = {"id": f"msg_{one.receipt['id']}", "type": "receipt.fiscalized", "sequence": 1, "changed": False}
        return told | {"receipt_id": one.receipt["id"], "verified": True, "reason": None}

    async def tape(self) -> list[dict[str, Any]]:
        return self.printed

    async def heard(self, at_least: int = 0, seconds: float = 0.0) -> list[dict[str, Any]]:
        return self.messages

    async def read(self, path: str, **query: Any) -> dict[str, Any]:
        assert (path, query["external_id"]) == ("/v1/events", "666")
        return {"data": self.events_of_forged}


async def found(day: Day) -> list[str]:
    return await check_day(day, 0, 0)  # type: ignore[arg-type]  # a stand-in with the members that are looked at


async def test_a_right_day_has_nothing_to_tell() -> None:
    day = Day()
    assert await found(day) == []
    assert [one.told[0]["type"] for one in day.deeds.values()] == ["receipt.fiscalized"] * 23


async def test_what_an_earlier_day_printed_and_told_is_no_fault() -> None:
    day = Day()
    day.printed.insert(0, Day.document(deed("Yesterday", "cc", 1, 100), "cc"))
    day.messages.insert(0, {**day.messages[0], "verified": False})
    assert await check_day(day, 1, 1) == []  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda day: day.printed.append(deepcopy(day.printed[0])), "2 documents on the tape instead of one"),
        (lambda day: day.printed.pop(), "0 documents on the tape"),
        (lambda day: day.deeds.pop("two"), "neutral API: 1 receipts of sell_refund, the day has 2"),
        (lambda day: day.printed.append({**day.printed[0], "provider_id": "zz"}), "nobody asked for: zz"),
        (lambda day: day.printed[0].update(total=1), "meant sell"),
        (lambda day: day.printed[1].update(operation="sell"), "sell_refund"),
        (lambda day: day.printed[0].update(fd=9), "the tape"),
        (lambda day: day.events_of_forged.append({}), "the forged payment 666 became an event"),
        (lambda day: day.messages[0].update(verified=False, reason="no signature matches"), "could not verify"),
        (lambda day: day.messages[0].update(changed=True), "two bodies"),
        (lambda day: day.messages.pop(), "was not told"),
        (lambda day: day.messages[0].update(sequence=2), "heard changes"),
        (lambda day: day.messages[0].update(type="receipt.rejected"), "was not told"),
    ],
)
async def test_every_fault_of_a_day_is_named(spoil: Callable[[Day], Any], words: str) -> None:
    day = Day()
    spoil(day)
    problems = await found(day)
    assert any(words in problem for problem in problems), problems
