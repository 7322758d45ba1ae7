"""`crm-kassa api`: one API process of an installation over one PostgreSQL."""

from typing import Annotated

import typer

from app.cli.configure import load_settings, set_up_logs
from app.cli.launch import first_of, running_task, serving_api
from app.cli.loop import run, signals
from app.cli.place import open_place, required_schema, required_url
from app.cli.say import OK, err, examples
from app.cli.server import bind, url_of
from app.db import installation
from app.runtime import open_runtime
from app.settings import Settings

EXAMPLES = examples("crm-kassa api", "crm-kassa api --host 0.0.0.0 --port 8000")


def api(
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port; 0: a free one.", show_default="8080")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen at.", show_default="127.0.0.1")] = None,
) -> None:
    """Run one API process over the database of KASSA_DATABASE_URL.

    Receipts are made by crm-kassa worker. On SIGTERM /readyz goes red, KASSA_DRAIN_SECONDS later nothing new is
    accepted, and open requests are answered.
    """
    settings = load_settings(port=port, host=host)
    required_url(settings)
    set_up_logs(settings)
    run(_api(settings))


async def _api(settings: Settings) -> None:
    with signals() as stopping, bind(settings.host, settings.port) as door:
        async with open_place(settings) as place:
            await required_schema(place)
            async with open_runtime(settings, database_url=place.url, keys=place.keys) as runtime:
                # Before the first event: what is told from now on stands behind what a restored database told before.
                await installation.recognise(runtime.database)
                async with serving_api(runtime, door) as server:
                    err.print(f"{OK} API {url_of(door, settings.host)}", soft_wrap=True)
                    await first_of(stopping.wait(), running_task(server))
