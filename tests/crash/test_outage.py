"""The provider is down for six hours of the database's clock, thinned so far that it fits into a test."""

from pathlib import Path

import pytest

from tests.chaos.outage import run
from tests.chaos.outage_report import attempts_in_outage, busiest_second, figures, judge
from tests.chaos.outage_story import Outage


@pytest.mark.timeout(300)  # half a minute of work; a machine that is busy with other things takes its time
async def test_six_hours_without_the_provider(tmp_path: Path) -> None:
    """Everything is taken, one alarm is told, nothing waits in vain or is sent too fast, nothing is printed twice."""
    what = Outage(hours=6, rate=20, density=1 / 1000, lane_rate=100)
    story, checker = await run(what, tmp_path)
    told = figures(what, story, checker)
    assert judge(what, story, checker) == [], told
    assert checker.counts["documents"] == checker.counts["acknowledged"] > what.events, told
    outcomes = {one["outcome"] for one in attempts_in_outage(story)}
    assert {"unavailable", "unknown"} <= outcomes, f"the provider was not down in several ways: {told}"
    assert story.waiting > what.events // 2, f"nothing had to wait: {told}"
    assert busiest_second(story) > 0, told
