"""`crm-kassa openapi` and `crm-kassa docs`: committed files that are made from the code, and compared with it in CI."""

import json
from pathlib import Path
from typing import Annotated

import typer

from app.cli.errors import Stop
from app.cli.say import OK, examples, out
from app.domain.state_chart import markdown
from app.main import openapi_document
from app.ports.registry import discover_kassas
from app.services import provider_docs

OPENAPI_EXAMPLES = examples("crm-kassa openapi --out openapi", "crm-kassa openapi --out openapi --check")
DOCS_EXAMPLES = examples("crm-kassa docs --out docs", "crm-kassa docs --out docs --check")

Check = Annotated[bool, typer.Option("--check", help="Write nothing; exit code 1 when a file differs.")]


def openapi(
    folder: Annotated[Path, typer.Option("--out", help="Folder of openapi.json.", file_okay=False)] = Path("openapi"),
    check: Check = False,
) -> None:
    """Write the API's contract (OpenAPI 3.1) from the code."""
    text = json.dumps(openapi_document(), ensure_ascii=False, indent=2, sort_keys=True) + "\n"
    _keep(folder / "openapi.json", text, "crm-kassa openapi", check)


def docs(
    folder: Annotated[Path, typer.Option("--out", help="Folder of the documentation.", file_okay=False)] = Path("docs"),
    check: Check = False,
) -> None:
    """Write the pages that are made from the code."""
    _keep(folder / "state-machine.md", markdown(), "crm-kassa docs", check)
    _keep(folder / "providers.md", provider_docs.markdown(discover_kassas()), "crm-kassa docs", check)


def _keep(path: Path, text: str, command: str, check: bool) -> None:
    same = path.exists() and path.read_text(encoding="utf-8") == text
    if check and not same:
        raise Stop(f"{path} is not what the code says: run {command} --out {path.parent} and commit it.")
    if same:
        out.print(f"{OK} {path} is what the code says.", soft_wrap=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    out.print(f"{OK} {path} written.", soft_wrap=True)
