"""The README's code runs as it stands: the client in Python, the same in curl, and the set-up of an empty start."""

import re
import shutil
import sys
from pathlib import Path

import pytest
from fastapi import FastAPI, Request, Response

from tests.support.reader import TOOLS, run, running
from tests.support.server import serve

README = Path(__file__).parents[2] / "README.md"


def block(name: str) -> str:
    """The code block that follows `<!-- test: name -->`."""
    found = re.search(rf"<!-- test: {name} -->\n```\w+\n(.*?)```", README.read_text(), re.DOTALL)
    assert found is not None, f"the README has no block {name}"
    return found[1]


async def test_the_client_in_python(tmp_path: Path) -> None:
    async with running(tmp_path, "--demo") as ready:
        said = await run(sys.executable, "-c", block("python"), KASSA_API=ready["api_url"], KASSA_KEY=ready["api_key"])
    receipt, webhook = said.splitlines()
    assert receipt.startswith("receipt fiscalized t=")
    assert webhook.startswith("webhook receipt.fiscalized ")


@pytest.mark.skipif(not all(map(shutil.which, TOOLS)), reason=f"the shell example needs {', '.join(TOOLS)}")
async def test_the_client_in_curl(tmp_path: Path) -> None:
    box = tmp_path / "hook"
    box.mkdir()
    app = FastAPI()

    @app.post("/hook")
    async def hook(request: Request) -> Response:
        (box / "body").write_bytes(await request.body())
        for name in ("id", "timestamp", "signature"):
            (box / name).write_text(request.headers[f"webhook-{name}"])
        return Response(status_code=204)

    async with running(tmp_path, "--demo") as ready, serve(app) as url:
        said = await run(
            "sh",
            "-eu",
            "-c",
            block("sh"),
            KASSA_API=ready["api_url"],
            KASSA_KEY=ready["api_key"],
            HOOK_URL=f"{url}/hook",
            HOOK_DIR=str(box),
        )
    status, qr, verified = said.splitlines()
    assert status == "fiscalized"
    assert qr.startswith("t=")
    assert verified == "webhook verified"


@pytest.mark.skipif(not all(map(shutil.which, TOOLS)), reason=f"the shell example needs {', '.join(TOOLS)}")
async def test_an_empty_start_is_set_up_by_four_calls(tmp_path: Path) -> None:
    async with running(tmp_path, KASSA_EGRESS_ALLOW="127.0.0.0/8") as ready:
        assert ready["api_key"] is None
        said = await run(
            "sh",
            "-eu",
            "-c",
            block("shapes"),
            KASSA_API=ready["api_url"],
            ADMIN_KEY=ready["admin_key"],
            SIMULATOR="http://127.0.0.1:9",
        )
    kassa, status = said.splitlines()
    assert re.fullmatch(r"kas_[0-9a-f]{32}", kassa)
    assert status == "planned"


def test_the_russian_page_has_the_same_code() -> None:
    """What runs from the English page is what a Russian reader copies."""
    russian = (README.parent / "README.ru.md").read_text()
    for name in ("python", "sh", "shapes"):
        assert block(name) in russian, f"README.ru.md has another block {name}"
