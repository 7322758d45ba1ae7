"""The benchmark judges itself rightly: floors, voided figures, counts of the generator and of the sink."""

import asyncio
import json
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks import body, chart, load, report, sink, table
from benchmarks.figures import Figures
from benchmarks.table import Verdict


def judged(figures: Figures, code: str) -> table.Judged:
    (line,) = [line for line in table.judge(figures, long=False) if line.goal.code == code]
    return line


def ratio(above: str, below: str, value: float) -> Figures:
    figures = Figures()
    for _ in range(2):
        figures.add(above, value * 100)
        figures.add(below, 100)
    return figures


@pytest.mark.parametrize(
    ("value", "verdict"), [(1.2, Verdict.GOAL), (0.7, Verdict.PASS), (0.5, Verdict.PASS), (0.49, Verdict.FAIL)]
)
def test_a_ratio_is_held_against_floor_and_goal(value: float, verdict: Verdict) -> None:
    line = judged(ratio("ingest", "echo", value), "I1")
    assert line.verdict is verdict
    assert table.failed([line]) is (verdict is Verdict.FAIL)


@pytest.mark.parametrize(("value", "verdict"), [(0.9, Verdict.GOAL), (1.4, Verdict.PASS), (1.6, Verdict.FAIL)])
def test_where_less_is_better_the_floor_is_above(value: float, verdict: Verdict) -> None:
    assert judged(ratio("ingest_lone_ms", "cte_lone_ms", value), "I3").verdict is verdict


def test_a_wrong_count_voids_every_ratio_of_its_figure() -> None:
    figures = ratio("jobs", "jobs_pgqueuer", 3.0)
    figures.check("jobs", 1000, 999, "jobs run once")
    line = judged(figures, "J2")
    assert line.verdict is Verdict.VOID
    assert table.failed([line])


def test_passes_are_paired_and_the_line_reads_as_promised() -> None:
    figures = Figures()
    for mine, theirs in ((99.0, 100.0), (118.0, 100.0)):
        figures.add("ingest", mine)
        figures.add("echo", theirs)
    assert judged(figures, "I1").line() == "I1 ingest/echo 1.08 [0.99 1.18] floor 0.5 goal 1 GOAL"


def test_page_and_picture_tell_every_ratio() -> None:
    figures = ratio("ingest", "echo", 1.2)
    lines = table.judge(figures, long=False)
    page = report.markdown({"Machine": "2 cores"}, lines, figures, long=False)
    assert all(f"| {line.goal.code} |" in page for line in lines)
    picture = ElementTree.fromstring(chart.draw(lines, "2 cores & <1 disk>"))  # noqa: S314
    assert [bar.get("class") for bar in picture.iter("{http://www.w3.org/2000/svg}rect")] == ["goal"]


async def test_every_request_of_the_generator_reaches_the_other_side_once() -> None:
    taken = sink.Sink()
    server = await asyncio.get_running_loop().create_server(lambda: sink.Connection(taken), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        command: dict[str, Any] = {"do": "post", "port": port, "path": "/v2.1/c_groups/1/receipts/a", "prefix": "x-"}
        told = await load.handle({**command, "connections": 4, "seconds": 30, "count": 50})
    assert (told["acknowledged"], told["refused"], taken.receipts.total()) == (50, 0, 50)
    assert taken.told()["receipts"] == 50
    assert taken.told()["receipts"] == 0


def test_the_body_has_three_lines_and_the_promised_size() -> None:
    template = body.template("p-")
    event = json.loads(template.before + "1" * body.ID_DIGITS + template.after)
    assert event["external_id"] == "p-" + "1" * body.ID_DIGITS
    assert sum(item["amount"] for item in event["items"]) == event["amount"]
    assert len(event["items"]) == 3
    assert 1150 <= template.size <= 1350
