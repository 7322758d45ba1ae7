"""`crm-kassa restored`: tells the program that its database went back in time."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from app.cli.configure import DataDir, for_administration
from app.cli.loop import run
from app.cli.place import administration
from app.cli.say import OK, examples, out
from app.db import installation
from app.settings import Settings

EXAMPLES = examples(
    'crm-kassa restored --backup-of "2026-11-23T03:00:00"', "crm-kassa restored", "crm-kassa restored --close"
)


def restored(
    close: Annotated[bool, typer.Option("--close", help="Every source has repeated its payments: end it.")] = False,
    reason: Annotated[str, typer.Option(help="Kept with the epoch.")] = "said by a person",
    backup_of: Annotated[
        datetime | None,
        typer.Option(
            help="Moment of the backup, UTC; without it no provider that answers for a limited time is believed."
        ),
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Say that the database was restored from a backup.

    From then on every first send is looked up at its provider before, because receipts may be printed that this
    database has forgotten. A restore that changed the server's identity is noticed without being told. Running workers
    notice it before their next first send.
    """
    settings = for_administration(data_dir)
    run(_restored(settings, close, reason, backup_of and backup_of.replace(tzinfo=UTC)))


async def _restored(settings: Settings, close: bool, reason: str, backup_of: datetime | None) -> None:
    async with administration(settings) as runtime:
        if close:
            await installation.close_epoch(runtime.database)
            out.print(f"{OK} The epoch is closed: first sends go straight again.")
            return
        found = await installation.restored(runtime.database, reason, backup_of)
        out.print(f"{OK} Epoch {found.epoch} is open: first sends are looked up before, from now on.")
        out.print("  When every source has repeated its payments since the backup: crm-kassa restored --close")
