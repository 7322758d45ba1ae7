"""`crm-kassa source import`: a register of payments (CSV) through the same intake as the source's own notices."""

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from app.cli.actor import ACTOR
from app.cli.chosen import AsJson, id_of
from app.cli.configure import DataDir, for_administration
from app.cli.errors import Stop
from app.cli.loop import run
from app.cli.place import administration
from app.cli.say import FAILED, OK, WARNING, as_json, err, examples, out, roubles, table
from app.db.repos import notifications
from app.domain.register import COLUMNS
from app.infra.ids import public
from app.runtime import Runtime
from app.services.register_import import Outcome, Preview, RegisterImport
from app.settings import Settings

EXAMPLES = examples(
    "crm-kassa source import june.csv --source src_… --dry-run",
    "crm-kassa source import june.csv --source src_…",
    "crm-kassa source import june.csv --source src_… --yes --json",
)
_SHOWN = 20
_WORDS = {
    "planned": "get a receipt",
    "received": "are refunds, planned beside their payments",
    "held": "wait for data",
    "linked": "were reported by another source",
    "ignored": "need no receipt here",
    "known": "were reported before",
    "differs": "were reported before, otherwise",
    "refused": "cannot become a receipt",
    "unreadable": "cannot be read",
}
_FINE = ("planned", "received", "linked", "known")


def import_register(
    file: Annotated[Path, typer.Argument(help="CSV, UTF-8 or Windows-1251, with ; or , or tabs; - is standard input.")],
    source: Annotated[str, typer.Option(help="Whose payments these are: src_….")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only the preview.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Send without asking.")] = False,
    json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Report the payments and refunds of a file, as if the source had told them.

    Columns: external_id, date, amount (required), type (payment, refund), payment_id (of a refund), order_id, name,
    vat, email, phone, payment_type, branch, settlement_key, description; Russian heads are known, too. Sums are
    roubles. external_id must be the id that the source's own notices carry: then a row and a notice are one payment,
    and the file can be sent again at any time. With --json nothing is sent without --yes.
    """
    settings = for_administration(data_dir)
    text = _text(file)
    send = not dry_run and (yes or not json)
    preview, sent = run(_work(settings, source, text, send=send, ask=not yes, json=json))
    if json:
        as_json(_told(preview, sent))
    elif sent is not None:
        counts = dict(Counter(one.what for one in sent).most_common())
        table("Sent", ("rows", "which"), [(n, _WORDS.get(what, what)) for what, n in counts.items()])
        _trouble(sent)
        out.print(f"{OK} Receipts are made by the workers; the same file can be sent again.")
    if preview.findings or any(one.what in ("unreadable", "refused", "differs") for one in sent or preview.outcomes):
        raise typer.Exit(1)


async def _work(
    settings: Settings, source: str, text: str, *, send: bool, ask: bool, json: bool
) -> tuple[Preview, list[Outcome] | None]:
    source_id = id_of("src", source)
    async with administration(settings) as runtime:
        merchant_id = await _merchant_of(runtime, source, source_id)
        service = RegisterImport(runtime.database, runtime.services.intake, runtime.contexts)
        preview = await service.preview(merchant_id, source_id, text)
        if not json:
            _show(preview)
        if preview.findings or not send:
            return preview, None
        ready = [one for one in preview.outcomes if one.row.event is not None]
        if not ready:
            return preview, None
        if ask and not typer.confirm(f"Send {len(ready)} rows?", err=True):
            raise Stop("Nothing was sent.", 1)
        columns = (TextColumn("Sending"), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, console=err, transient=True) as bar:
            task = bar.add_task("", total=len(preview.outcomes))
            return preview, await service.send(preview, f"import:{ACTOR}", lambda: bar.advance(task))


async def _merchant_of(runtime: Runtime, source: str, source_id: UUID) -> UUID:
    async with runtime.database.pipeline() as tx:
        found = await notifications.source(tx, source_id)
    if found is None:
        raise Stop(f"There is no source {source}: crm-kassa source list shows them.")
    return found.merchant_id


def _text(file: Path) -> str:
    try:
        raw = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise Stop(f"{file}: {error.strerror}.", 2) from None
    for encoding in ("utf-8-sig", "cp1251"):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise Stop(f"{file}: this is neither UTF-8 nor Windows-1251 text.", 2)


def _show(preview: Preview) -> None:
    for finding in preview.findings:
        out.print(f"{FAILED} {finding.detail} {finding.fix or ''}", markup=True, soft_wrap=True)
    if preview.findings:
        out.print(f"  Columns: {', '.join(COLUMNS)}.", soft_wrap=True)
        return
    sums: Counter[str] = Counter()
    for one in preview.outcomes:
        if one.row.event is not None:
            sums[one.what] += one.row.event.amount
    table(
        f"Preview for {public('src', preview.source.id)} {preview.source.name}",
        ("rows", "which", "sum"),
        [
            (n, _WORDS.get(what, what), roubles(sums[what]) if what in sums else "")
            for what, n in preview.counts.items()
        ],
    )
    _trouble(preview.outcomes)


def _trouble(outcomes: Sequence[Outcome]) -> None:
    wrong = [one for one in outcomes if one.what not in _FINE]
    for one in wrong[:_SHOWN]:
        words = "; ".join(one.words) or _WORDS.get(one.what, one.what)
        out.print(f"{WARNING} line {one.row.line}: {one.row.external_id or '–'}: ", end="")
        out.print(words, markup=False, soft_wrap=True)
    if len(wrong) > _SHOWN:
        out.print(f"  … and {len(wrong) - _SHOWN} more; --json shows all.")


def _told(preview: Preview, sent: list[Outcome] | None) -> dict[str, Any]:
    outcomes = preview.outcomes if sent is None else sent
    return {
        "source_id": public("src", preview.source.id),
        "sent": sent is not None,
        "findings": [one.detail for one in preview.findings],
        "counts": dict(Counter(one.what for one in outcomes).most_common()),
        "rows": [
            {"line": one.row.line, "external_id": one.row.external_id, "what": one.what, "words": list(one.words)}
            for one in sorted(outcomes, key=lambda each: each.row.line)
        ],
    }
