"""`crm-kassa merchant`: merchants of the installation."""

from typing import Annotated, Any

import typer

from app.cli.actor import ACTOR
from app.cli.chosen import AsJson, merchants_of
from app.cli.configure import DataDir, for_administration
from app.cli.loop import run
from app.cli.place import administration
from app.cli.say import OK, as_json, examples, out, table
from app.db.repos.settings import MerchantRow
from app.infra.ids import public
from app.services.views import rfc3339
from app.settings import Settings

CREATE_EXAMPLES = examples(
    'crm-kassa merchant create "Школа «Лингва»" --inn 7700000009',
    'crm-kassa merchant create "ИП Иванова" --inn 500100732259 --json',
)
LIST_EXAMPLES = examples("crm-kassa merchant list", "crm-kassa merchant list --json")


def create(
    name: Annotated[str, typer.Argument(help="Name of the legal entity or ИП.")],
    inn: Annotated[str, typer.Option(help="Its INN: 10 or 12 digits.")],
    json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Create a merchant. Its source api is there at once."""
    settings = for_administration(data_dir)
    run(_create(settings, name, inn, json))


async def _create(settings: Settings, name: str, inn: str, json: bool) -> None:
    async with administration(settings) as runtime:
        made = await runtime.services.merchants.create(ACTOR, name=name, inn=inn)
    if json:
        as_json(_shown(made))
        return
    merchant_id = public("mer", made.id)
    out.print(f"{OK} {merchant_id}  {made.name}", soft_wrap=True)
    out.print(f'  Next: crm-kassa key create --merchant {merchant_id} --scope "*"', soft_wrap=True)


def listed(json: AsJson = False, data_dir: DataDir = None) -> None:
    """List merchants, newest first."""
    settings = for_administration(data_dir)
    found = run(_listed(settings))
    if json:
        as_json([_shown(one) for one in found])
        return
    rows = [(public("mer", one.id), one.name, one.inn, one.status) for one in found]
    table("Merchants", ("id", "name", "INN", "status"), rows)


async def _listed(settings: Settings) -> list[MerchantRow]:
    async with administration(settings) as runtime:
        return await merchants_of(runtime)


def _shown(row: MerchantRow) -> dict[str, Any]:
    return {
        "id": public("mer", row.id),
        "name": row.name,
        "inn": row.inn,
        "status": row.status,
        "created_at": rfc3339(row.created_at),
    }
