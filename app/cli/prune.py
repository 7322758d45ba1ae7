"""`crm-kassa prune`: what has served its time goes."""

from typing import Annotated

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn

from app.cli.actor import ACTOR
from app.cli.configure import DataDir, for_administration
from app.cli.loop import run
from app.cli.place import administration
from app.cli.say import OK, as_json, err, examples, out, table
from app.services.retention import YEARS, Limits, Pruned, Retention
from app.settings import Settings

EXAMPLES = examples(
    "crm-kassa prune --dry-run",
    "crm-kassa prune",
    "crm-kassa prune --days 30 --receipts-years 7 --json",
    "crm-kassa prune --keep-receipts",
)


def prune(
    days: Annotated[
        int | None,
        typer.Option(
            min=7,
            help="Keep raw exchanges, told messages and inbound bodies this long; KASSA_RETENTION_DAYS.",
            show_default="90",
        ),
    ] = None,
    receipts_years: Annotated[
        int | None,
        typer.Option(min=1, help="Keep receipts this long; KASSA_RETENTION_RECEIPTS_YEARS.", show_default=str(YEARS)),
    ] = None,
    keep_receipts: Annotated[bool, typer.Option("--keep-receipts", help="Let no receipt go.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count; nothing is changed.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Let old data go: raw exchanges and messages after days, receipts with all that belongs to them after years.

    Never what is unfinished, an open prepayment, or a payment with anything newer. The identity of an event stays
    for ever: a payment pressed again after years is still a repeat. Batches are small; stop it and start it again at
    any time, also beside running processes.
    """
    settings = for_administration(data_dir)
    years = receipts_years or settings.retention_receipts_years or YEARS
    limits = Limits(days or settings.retention_days, None if keep_receipts else years)
    done = run(_prune(settings, limits, dry_run))
    if json:
        as_json(
            {
                "dry_run": dry_run,
                "raw_before": done.raw_before.isoformat(),
                "receipts_before": None if done.receipts_before is None else done.receipts_before.isoformat(),
                "counts": done.counts,
            }
        )
        return
    if not done.counts:
        out.print(f"{OK} Nothing is old enough.")
        return
    table("Would go" if dry_run else "Gone", ("what", "how many"), sorted(done.counts.items()))
    out.print(f"Raw data before {done.raw_before:%Y-%m-%d}, ", end="")
    out.print("no receipts." if done.receipts_before is None else f"receipts before {done.receipts_before:%Y-%m-%d}.")


async def _prune(settings: Settings, limits: Limits, dry: bool) -> Pruned:
    async with administration(settings) as runtime:
        with Progress(
            SpinnerColumn(), TextColumn("{task.description} {task.completed}"), console=err, transient=True
        ) as bar:
            task, seen = bar.add_task("Looking for what is old", total=None), [""]

            def progress(name: str, walked: int) -> None:
                if seen[0] != name:
                    seen[0] = name
                    bar.update(task, completed=0, description=f"{'Counting' if dry else 'Pruning'} {name}")
                bar.update(task, advance=walked)

            return await Retention(runtime.database).prune(limits, ACTOR, progress, dry=dry)
