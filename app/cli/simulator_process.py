"""`crm-kassa simulator`: the world outside on one port, for development and for tests of one's own integration."""

from pathlib import Path
from typing import Annotated

import typer

from app.cli.configure import load_settings, set_up_logs
from app.cli.launch import first_of, running_task
from app.cli.loop import run, signals
from app.cli.say import OK, examples, out
from app.cli.server import bind, serving, url_of
from app.simulator.server import SimulatorConfig, create_simulator

EXAMPLES = examples("crm-kassa simulator", "crm-kassa simulator --port 9000 --tape tape.jsonl")


def simulator(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0: a free one.")] = 9000,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    tape: Annotated[
        Path | None, typer.Option(help="Ledger file, so that documents survive a restart.", dir_okay=False)
    ] = None,
) -> None:
    """Run the simulator: a fiscal storage, the providers' own protocols, an acquirer and a CRM.

    Connect a kassa with base_url http://127.0.0.1:9000/v2.1/ and KASSA_EGRESS_ALLOW=127.0.0.0/8. Never for real
    receipts.
    """
    set_up_logs(load_settings(), quiet=True)
    run(_simulator(host, port, tape))


async def _simulator(host: str, port: int, tape: Path | None) -> None:
    with signals() as stopping, bind(host, port, variable=None) as door:
        app = create_simulator(SimulatorConfig(tape_path=tape))
        async with serving(app, door, patience=2, access_log=False) as server:
            url = url_of(door, host)
            out.print(
                f"{OK} Simulator {url} (documents: {url}/tape, faults: {url}/faults). Ctrl-C stops.", soft_wrap=True
            )
            await first_of(stopping.wait(), running_task(server))
