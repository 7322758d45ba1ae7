"""`crm-kassa migrate`: the schema of the database, brought forward or compared."""

from typing import Annotated

import typer

from app.cli.configure import DataDir, for_administration
from app.cli.errors import Stop
from app.cli.loop import run
from app.cli.place import join_place
from app.cli.say import OK, examples, out, plain
from app.configured import failpoints_of
from app.db import migrate as schema
from app.settings import Settings

EXAMPLES = examples("crm-kassa migrate", "crm-kassa migrate --check", "crm-kassa migrate --to 0001")


def migrate(
    to: Annotated[str, typer.Option(help="Revision to bring the schema to.")] = "head",
    check: Annotated[bool, typer.Option("--check", help="Only say whether it is there; exit code 1 when not.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Bring the database to the newest schema.

    Run it with the new program before its processes start, while the old ones work: no table is locked for long, one
    that is in use is tried again. It may be started everywhere at once; one that was interrupted is just run again.
    """
    settings = for_administration(data_dir)
    run(_migrate(settings, to, check))


async def _migrate(settings: Settings, to: str, check: bool) -> None:
    async with join_place(settings) as place:
        found, needed = await schema.current(place.schema_url), schema.head()
        if check:
            if found != needed:
                raise Stop(f"The schema is {found or 'not there yet'}, the newest is {needed}: run crm-kassa migrate.")
            await schema.check(place.schema_url)
            out.print(f"{OK} The schema is {found}, the newest, and its tables are as the code says.")
            return
        with out.status(f"Migrating from {found or 'nothing'} to {to} …"):
            hook = failpoints_of(settings).hook("migration.between_steps")
            await schema.upgrade(place.schema_url, to, between_steps=hook, say=plain)
        out.print(f"{OK} The schema is {await schema.current(place.schema_url)} (it was {found or 'not there yet'}).")
