"""Every planted bug still finds the place that it breaks; whether it is caught is for `make chaos-bugs`."""

import os
import subprocess
import sys

import pytest

from app.keys import generate
from tests.chaos.bugs import BUGS


@pytest.mark.parametrize("name", BUGS)
def test_a_bug_finds_its_place(name: str) -> None:
    # In a process of its own, which it spoils.
    code = f"from tests.chaos.bugs import plant; plant({name!r})"
    command, env = [sys.executable, "-c", code], {**os.environ, **generate()}
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
