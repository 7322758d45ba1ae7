"""The pages that lead a newcomer by the hand: their blocks run in their order, as they stand, and say what is told."""

import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.support.reader import TOOLS, run, running

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"<!-- walk -->\n```sh\n(.*?)```", re.DOTALL)

pytestmark = pytest.mark.skipif(not all(map(shutil.which, TOOLS)), reason=f"the shell examples need {', '.join(TOOLS)}")


async def walk(page: str, folder: Path, ready: dict[str, str], **environment: str) -> list[str]:
    """What the blocks of a page print, in one shell as a reader types them."""
    blocks = BLOCK.findall((DOCS / page).read_text(encoding="utf-8"))
    assert blocks, f"{page} has nothing to walk through"
    programs = Path(sys.executable).parent
    said = await run(
        "sh",
        "-eu",
        "-c",
        "\n".join([f"cd '{folder}'", *blocks]),
        **{
            "PATH": f"{programs}:{os.environ['PATH']}",
            "KASSA_API": ready["api_url"],
            "SIMULATOR": ready["simulator_url"],
            **environment,
        },
    )
    return said.splitlines()


async def test_the_first_receipt(tmp_path: Path) -> None:
    async with running(tmp_path, "--demo") as ready:
        said = await walk("getting-started.md", tmp_path, ready, KASSA_KEY=ready["api_key"])
    status, qr, page, first, again, conflict, _, operation, returned, total, *findings = said
    assert (status, qr[:2]) == ("fiscalized", "t=")
    assert page.startswith(f"{ready['api_url']}/r/")
    assert first == again
    assert conflict == "duplicate_event"
    assert (operation, returned, total) == ("sell_refund", "fiscalized", "50000")
    assert "totals" in findings


async def test_an_integration(tmp_path: Path) -> None:
    async with running(tmp_path, "--demo") as ready:
        said = await walk("integrate-your-crm.md", tmp_path, ready, KASSA_KEY=ready["api_key"])
    accepted, planned, status, fn, page, refund, kind, endpoint, secret, refused, *findings = said
    assert (accepted, planned) == ("202", "planned")
    assert (status, fn.isdecimal()) == ("fiscalized", True)
    assert page.startswith(f"{ready['api_url']}/r/")
    assert (refund, kind) == ("202", "refund.succeeded")
    assert (endpoint, secret) == ("201", "whsec_")
    assert refused == "422"
    assert any(one.startswith("totals") for one in findings), findings


async def test_a_kassa_is_connected(tmp_path: Path) -> None:
    async with running(tmp_path, "--demo") as ready:
        said = await walk("connect-a-kassa.md", tmp_path, ready, KASSA_DATA_DIR=str(tmp_path / "data"))
    assert said[0] == "true"
    assert "credentials: accepted" in said
    assert said[-4] == "fiscalized"
    assert said[-3].isdecimal()
    assert said[-2:] == ["fiscalized", "sell_refund"]
