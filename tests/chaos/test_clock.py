"""A worker with a wrong wall clock reads it wrong everywhere, and its monotonic clocks right."""

import json
import subprocess
import sys
from pathlib import Path

from tests.chaos.children import ROOT
from tests.chaos.clock import step

_READ = """
import json, sys, time
from datetime import UTC
from pathlib import Path
import app.infra.clock, app.infra.ids, app.kassas.digitalkassa
from tests.chaos import clock
path = Path(sys.argv[1])
def read():
    return [app.infra.clock.DatabaseClock().now().timestamp(), app.kassas.digitalkassa.datetime.now(UTC).timestamp(),
            time.time(), time.time_ns() / 1e9, (app.infra.ids.new_id().int >> 80) / 1e3, time.monotonic()]
before = read()
clock.follow(path)
right = read()
clock.step(path, -300)
print(json.dumps([before, right, read()]))
"""


def test_a_step_is_seen_at_once_and_only_in_the_wall_clock(tmp_path: Path) -> None:
    step(tmp_path / "clock", 0)
    told = subprocess.run(
        [sys.executable, "-c", _READ, str(tmp_path / "clock")], cwd=ROOT, capture_output=True, check=True, text=True
    )
    before, right, stepped = json.loads(told.stdout)
    assert all(0 <= b - a < 5 for a, b in zip(before, right, strict=True))
    # A millisecond is lost where an id holds whole ones.
    assert all(-300.01 <= b - a < -295 for a, b in zip(right[:-1], stepped[:-1], strict=True))
    assert 0 <= stepped[-1] - right[-1] < 5
