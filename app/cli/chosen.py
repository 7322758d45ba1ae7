"""What the words on a command line mean: ids, the merchant when there is only one, JSON from a file."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer

from app.cli.errors import Stop
from app.db.repos import notifications
from app.db.repos.settings import KassaRow, MerchantRow
from app.infra.ids import Prefix, parse
from app.runtime import Runtime

PAGE = 200

AsJson = Annotated[bool, typer.Option("--json", help="Answer as JSON, for programs.")]
OfMerchant = Annotated[
    str | None, typer.Option("--merchant", help="Whose: mer_…; may be left out while there is only one.")
]


def id_of(prefix: Prefix, text: str) -> UUID:
    """The id that a person typed."""
    try:
        return parse(prefix, text)
    except ValueError as wrong:
        raise Stop(str(wrong), 2) from None


async def merchants_of(runtime: Runtime) -> list[MerchantRow]:
    """All merchants, newest first."""
    found: list[MerchantRow] = []
    before = None
    while page := await runtime.services.merchants.page(before, PAGE):
        found += page
        before = (page[-1].created_at, page[-1].id)
    return found


async def merchant_of(runtime: Runtime, text: str | None) -> UUID:
    """The merchant that was named, or the only one there is."""
    if text is not None:
        return id_of("mer", text)
    found = await merchants_of(runtime)
    match found:
        case [only]:
            return only.id
        case []:
            raise Stop('There is no merchant yet: crm-kassa merchant create "Name" --inn 7700000009.')
        case _:
            raise Stop(f"There are {len(found)} merchants: name one with --merchant (crm-kassa merchant list).", 2)


async def kassa_of(runtime: Runtime, text: str) -> KassaRow:
    """A kassa by its id alone, whoever it belongs to."""
    kassa_id = id_of("kas", text)
    async with runtime.database.pipeline() as tx:
        found = await notifications.kassa(tx, kassa_id)
    if found is None:
        raise Stop(f"There is no kassa {text}: crm-kassa kassa list shows them.")
    return found


def json_from(path: Path, option: str) -> dict[str, Any]:
    """A JSON object from a file; `-` is standard input, so that secrets need not stand on a command line."""
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
        found = json.loads(text)
    except OSError as error:
        raise Stop(f"{option} {path}: {error.strerror}.", 2) from None
    except ValueError:
        raise Stop(f"{option} {path}: this is not JSON.", 2) from None
    if not isinstance(found, dict):
        raise Stop(f'{option} {path}: give a JSON object, such as {{"name": "value"}}.', 2)
    return found
