"""`crm-kassa nomenclature`: rules from what sources send to what receipts say, as a file, and what no rule covers."""

import sys
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer
from rich.markup import escape

from app.cli.actor import ACTOR
from app.cli.chosen import AsJson, OfMerchant, merchant_of
from app.cli.configure import DataDir, for_administration
from app.cli.errors import Stop
from app.cli.files import write_whole
from app.cli.loop import run
from app.cli.place import administration
from app.cli.say import FAILED, OK, as_json, examples, out, plain, roubles, table
from app.infra.ids import public
from app.services.nomenclature_import import ImportPlan
from app.settings import Settings

EXPORT_EXAMPLES = examples(
    "crm-kassa nomenclature export --out nomenclature.csv", "crm-kassa nomenclature export > nomenclature.csv"
)
IMPORT_EXAMPLES = examples(
    "crm-kassa nomenclature import nomenclature.csv",
    "crm-kassa nomenclature import nomenclature.csv --dry-run --json",
    "crm-kassa nomenclature import - --yes < nomenclature.csv",
)
DIFF_EXAMPLES = examples("crm-kassa nomenclature diff", "crm-kassa nomenclature diff --days 30 --json")

_SHOWN = 40


def export(
    path: Annotated[
        Path | None, typer.Option("--out", help="File to write.", show_default="standard output", dir_okay=False)
    ] = None,
    merchant: OfMerchant = None,
    data_dir: DataDir = None,
) -> None:
    """Write all rules as CSV, to be opened in a spreadsheet and imported again."""
    settings = for_administration(data_dir)
    text = run(_export(settings, merchant))
    if path is None:
        plain(text.removesuffix("\r\n"))
        return
    write_whole(path, text)
    out.print(f"{OK} {escape(str(path))}: {len(text.splitlines()) - 1} rules.", soft_wrap=True)


async def _export(settings: Settings, merchant: str | None) -> str:
    async with administration(settings) as runtime:
        return await runtime.services.nomenclature_import.export(await merchant_of(runtime, merchant))


def imported(
    path: Annotated[Path, typer.Argument(help="CSV file of rules; - is standard input.", metavar="FILE")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would change.")] = False,
    merchant: OfMerchant = None,
    json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Replace all rules by those of a file; shows what would change and asks first. Exit code 1 when lines are refused.

    With --json nothing is asked: add --yes or --dry-run.
    """
    if json and not (yes or dry_run):
        raise Stop("--json asks nothing: add --yes to import, or --dry-run to look.", 2)
    if str(path) == "-" and not (yes or dry_run):
        raise Stop("Standard input is the file, so nothing can be asked: add --yes, or --dry-run to look.", 2)
    settings = for_administration(data_dir)
    text = _text(path)
    merchant_id, plan = run(_preview(settings, merchant, text))
    if not json:
        _tell(plan)
    if plan.token is not None and not dry_run and (yes or typer.confirm("Import it?")):
        plan = run(_confirm(settings, merchant_id, text, plan.token))
        if not json:
            out.print(f"{OK} Version {plan.version} of the nomenclature holds.")
    if json:
        as_json(_shown(plan))
    if plan.count("refused"):
        raise typer.Exit(1)


async def _preview(settings: Settings, merchant: str | None, text: str) -> tuple[UUID, ImportPlan]:
    async with administration(settings) as runtime:
        merchant_id = await merchant_of(runtime, merchant)
        return merchant_id, await runtime.services.nomenclature_import.preview(merchant_id, text)


async def _confirm(settings: Settings, merchant_id: UUID, text: str, token: str) -> ImportPlan:
    async with administration(settings) as runtime:
        return await runtime.services.nomenclature_import.confirm(ACTOR, merchant_id, text, token)


def diff(
    days: Annotated[int, typer.Option(min=1, max=92, help="How far to look back.")] = 7,
    merchant: OfMerchant = None,
    json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Show what sources sent lately that no rule covers, most frequent first."""
    settings = for_administration(data_dir)
    found = run(_diff(settings, merchant, days))
    if json:
        as_json(found)
        return
    table(
        f"What no rule covers, {days} days, {found['events_read']} payments",
        ("lines", "held", "sum", "source", "sku", "text"),
        [
            (one["lines"], one["held"], roubles(one["amount"]), one["source_name"], one["sku"], one["text"])
            for one in found["data"]
        ],
    )


async def _diff(settings: Settings, merchant: str | None, days: int) -> dict[str, Any]:
    async with administration(settings) as runtime:
        merchant_id = await merchant_of(runtime, merchant)
        return await runtime.services.nomenclature_diff.uncovered(merchant_id, days=days, limit=500)


def _text(path: Path) -> str:
    try:
        raw = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
        return raw.decode("utf-8-sig")
    except OSError as error:
        raise Stop(f"{path}: {error.strerror}.", 2) from None
    except UnicodeDecodeError:
        raise Stop(f"{path}: save it as CSV in UTF-8.", 2) from None


def _tell(plan: ImportPlan) -> None:
    counts = ", ".join(f"{plan.count(state)} {state}" for state in ("added", "changed", "unchanged"))
    out.print(f"{counts}, {len(plan.deleted)} deleted; the rules are of version {plan.version}.", soft_wrap=True)
    wrong = [one for row in plan.rows for one in row.findings]
    for one in wrong[:_SHOWN]:
        out.print(f"{FAILED} {escape(one.detail)}{escape(f' → {one.fix}') if one.fix else ''}", soft_wrap=True)
    if wrong:
        out.print("Nothing is imported while a line is refused.")


def _shown(plan: ImportPlan) -> dict[str, Any]:
    return {
        "applied": plan.applied,
        "version": plan.version,
        **{state: plan.count(state) for state in ("added", "changed", "unchanged", "refused")},
        "deleted": [public("nom", one) for one in plan.deleted],
        "findings": [{"line": row.line, "detail": one.detail} for row in plan.rows for one in row.findings],
    }
