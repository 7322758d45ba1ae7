"""The demo as everybody starts it: a day of payments through the whole program, in a process of its own."""

import json
from collections import Counter
from pathlib import Path

from app.cli.demo_scenes import COUNTS
from tests.support.program import program

# A demo must never meet the installation that this machine is set up for.
ELSEWHERE = {
    "KASSA_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/production",
    "KASSA_PUBLIC_URL": "https://x.example",
}


async def test_a_day_of_payments_becomes_one_receipt_each_and_a_second_day_goes_on(tmp_path: Path) -> None:
    async with program("demo", "--once", "--data-dir", "data", cwd=tmp_path, **ELSEWHERE) as first:
        code = await first.end()
    assert code == 0, first.said
    assert "23 payments and refunds from 6 sources, each with exactly one receipt" in first.said
    assert "the link stands as a comment at the pupil" in first.said
    assert first.said.count("pushed back to the portal") == 2
    assert "YooKassa's report is linked: one receipt" in first.said
    assert "queued → sending → unknown → fiscalized" in first.said
    assert "queued → sending → accepted → fiscalized" in first.said
    assert "refused with 401, nothing was made" in first.said
    assert "t=" in first.said
    assert "&fn=" in first.said

    arguments = ("demo", "--once", "--json", "--data-dir", "data")
    async with program(*arguments, cwd=tmp_path, **ELSEWHERE) as second:
        await second.says("\N{HEAVY CHECK MARK}")
        code = await second.end()
    assert code == 0, second.said
    told = json.loads(second.said[second.said.index("\n{") : second.said.rindex("\n}") + 2])
    assert told["ok"]
    assert told["problems"] == []
    assert told["forged_refused"] == 1
    receipts = told["receipts"]
    assert len(receipts) == 23
    made = {source: Counter(one["operation"] for one in receipts if one["came_by"] == source) for source in COUNTS}
    assert made == COUNTS
    assert sum(COUNTS.values(), Counter()).total() == 23
    assert all(count["sell"] and count["sell_refund"] for count in COUNTS.values())
    # The register's numbers go on where the first day ended, without a gap and without a repeat.
    assert [one["fd"] for one in receipts] == list(range(25, 48))
    assert sum(one["amount"] for one in receipts if one["operation"] == "sell_refund") == 1_050_000
    assert all(one["verified"] and one["told"][-1] == "receipt.fiscalized" for one in receipts)
    held = next(one for one in receipts if "says nothing" in one["payment"])
    assert held["told"] == ["receipt.held", "receipt.fiscalized"]
    assert held["path"].startswith("held")
    assert (tmp_path / "data" / "simulator-tape.jsonl").stat().st_mode & 0o077 == 0
