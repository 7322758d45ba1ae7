"""`crm-kassa up`: everything in one command, for a first look and for a small installation alike."""

from pathlib import Path
from typing import Annotated

import typer

from app.cli.configure import DataDir, load_settings, set_up_logs
from app.cli.errors import Stop
from app.cli.files import remove, write_json
from app.cli.launch import Plan, Running, first_of, launch
from app.cli.loop import run, signals
from app.cli.say import OK, err, examples, out
from app.settings import Settings

EXAMPLES = examples(
    "crm-kassa up",
    "crm-kassa up --demo",
    "crm-kassa up --port 0 --data-dir /var/lib/crm-kassa --ready-file /run/crm-kassa.json",
    "KASSA_DATABASE_URL=postgresql://kassa@db/kassa crm-kassa up --workers 4",
)


def up(
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port of the API; 0: a free one.", show_default="8080")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen at.", show_default="127.0.0.1")] = None,
    data_dir: DataDir = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Workers; the first runs in this process.")] = 1,
    demo: Annotated[bool, typer.Option("--demo", help="Add a simulator and a merchant connected to it.")] = False,
    ready_file: Annotated[
        Path | None, typer.Option(help="Written as JSON when everything answers.", dir_okay=False)
    ] = None,
    simulator_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the demo's simulator; 0: a free one, kept afterwards.")
    ] = 0,
) -> None:
    """Run API, worker and an embedded PostgreSQL here, until Ctrl-C.

    With KASSA_DATABASE_URL that database is used (and migrated) instead of an embedded one. Nothing else is needed.
    """
    settings = load_settings(port=port, host=host, data_dir=data_dir)
    if ready_file is not None and not ready_file.parent.is_dir():
        raise Stop(f"--ready-file: there is no folder {ready_file.parent}.", 2)
    set_up_logs(settings)
    run(_up(settings, Plan(workers, demo, simulator_port, ready_file)))


async def _up(settings: Settings, plan: Plan) -> None:
    with signals() as stopping:
        async with launch(settings, plan, _done) as running:
            if plan.ready_file is not None:
                write_json(plan.ready_file, running.as_json())
            try:
                _where(running)
                await first_of(stopping.wait(), running.ended)
            finally:
                remove(plan.ready_file)
            out.print("Stopping: open requests are answered, workers finish what they have …")
    out.print("Stopped.")


def _done(what: str) -> None:
    out.print(f"{OK} {what}", soft_wrap=True)


def _where(running: Running) -> None:
    """What a person does next."""
    lines = [("API documentation", f"{running.api_url}/docs")]
    if running.admin_key is not None:
        lines.append(("Admin key", running.admin_key))
    if running.shop is not None:
        lines += [
            ("Demo merchant", running.shop.merchant_id),
            ("Its API key", running.shop.api_key),
            ("Receipts printed", f"{running.simulator_url}/"),
        ]
    for name, value in lines:
        out.print(f"  {name:<18} {value}", soft_wrap=True)
    if running.admin_key is None:
        err.print("  An admin key exists already; crm-kassa key create --admin makes another.")
    out.print("Ready. Ctrl-C stops.")
