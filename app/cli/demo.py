"""`crm-kassa demo`: the whole program in one command, a day of payments through it, and the proof at the end."""

import contextlib
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console
from rich.markup import escape

from app.cli import demo_show as show
from app.cli.chosen import AsJson
from app.cli.configure import DataDir, build_settings
from app.cli.demo_checks import check_day
from app.cli.demo_scenes import DAY
from app.cli.demo_town import Surprise, Town
from app.cli.errors import Stop
from app.cli.launch import Plan, Running, first_of, launch
from app.cli.loop import run, signals
from app.cli.say import FAILED, OK, as_json, err, examples, out
from app.domain.contact import mask_contacts
from app.infra import logging
from app.settings import Settings

EXAMPLES = examples(
    "crm-kassa demo", "crm-kassa demo --once", "crm-kassa demo --once --json", "crm-kassa demo --data-dir .demo"
)

# Ordinary settings, shortened so that nobody waits; the program knows nothing of a demo.
_BRISK: dict[str, Any] = {
    "retry_base_seconds": 0.5,
    "retry_cap_seconds": 5.0,
    "probe_base_seconds": 0.5,
    "probe_cap_seconds": 5.0,
    "sweep_every_seconds": 2.0,
    "rescue_every_seconds": 1.0,
    "shutdown_seconds": 10.0,
    "drain_seconds": 0.0,
}
# A demo never meets the real installation, whatever the environment says.
_OWN: dict[str, Any] = {
    "database_url": None,
    "secret_keys": None,
    "search_key": None,
    "key_pepper": None,
    "public_url": None,
    "host": "127.0.0.1",
    "egress_allow": "",
    "rate_limit_per_minute": 0,
    "testing": False,
}


def demo(
    once: Annotated[bool, typer.Option("--once", help="End after the day: 0 when every payment has one receipt.")] = (
        False
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the API; 0: a free one.")] = 0,
    data_dir: DataDir = None,
    json: AsJson = False,
) -> None:
    """Watch a day of payments become receipts.

    Starts an embedded PostgreSQL, API, worker and simulator in a temporary folder, plays payments and refunds of six
    sources (neutral API, CloudPayments, «Мой Класс», Bitrix24, YooKassa, T-Bank) with everything that usually goes
    wrong, and proves at the end that each has exactly one receipt. Then it keeps serving until Ctrl-C.
    """
    with _folder(data_dir) as folder, _log_file() as log_file:
        settings = build_settings(**_OWN, **_BRISK, port=port, data_dir=folder)
        with log_file.open("w", encoding="utf-8") as stream:
            logging.set_up(scrub=mask_contacts, level="INFO", render="console", stream=stream)
            try:
                problems = run(_demo(settings, once, json))
            except Stop:
                log_file.unlink()
                raise
        if not problems:
            log_file.unlink()
    if problems:
        err.print(f"The log of this run: {log_file}", soft_wrap=True)
        raise typer.Exit(1)


async def _demo(settings: Settings, once: bool, json: bool) -> list[str]:
    console = err if json else out
    began = time.monotonic()
    with signals() as stopping:
        with console.status("Starting PostgreSQL, API, worker and simulator …") as status:
            stack = contextlib.AsyncExitStack()
            running = await stack.enter_async_context(
                launch(settings, Plan(demo=True), lambda what: status.update(f"Starting … {escape(what)}"))
            )
        async with stack:
            console.print(f"{OK} PostgreSQL, API, worker and simulator run ({time.monotonic() - began:.1f} s)")
            async with _town(running) as town:
                problems = await _play(town, console)
            if json:
                as_json(show.summary(town, problems, time.monotonic() - began))
            else:
                show.table(town)
            show.verdict(console, town, problems, time.monotonic() - began)
            if not once:
                show.where(console, running)
                await first_of(stopping.wait(), running.ended)
                console.print("Stopping …")
    return problems


async def _play(town: Town, console: Console) -> list[str]:
    """All scenes one after another, then the checks. A scene that fails does not keep the others from being seen."""
    problems: list[str] = []
    printed_before, heard_before = len(await town.tape()), len(await town.heard())
    for number, scene in enumerate(DAY, start=1):
        known, began = set(town.deeds), time.monotonic()
        with console.status(scene.title) as status:

            def now(state: str, title: str = f"{number}/{len(DAY)} {scene.title}") -> None:
                status.update(f"{escape(title)} … [cyan]{escape(state)}[/]")

            town.now = now
            now("reported")
            try:
                await scene.step(town)
            except (TimeoutError, Surprise, httpx.HTTPError) as error:
                problems.append(f"{scene.title}: {str(error) or type(error).__name__}")
                console.print(f"{FAILED} {escape(problems[-1])}", soft_wrap=True)
                continue
        for name in town.deeds.keys() - known:
            show.deed(console, town.deeds[name], time.monotonic() - began)
        if town.deeds.keys() == known:
            show.refused(console, scene.title)
    with console.status("Comparing with the tape and with what was told …"):
        problems += await check_day(town, printed_before, heard_before)
    return problems


@contextlib.asynccontextmanager
async def _town(running: Running) -> AsyncIterator[Town]:
    if running.shop is None or running.simulator_url is None:
        raise Stop("The demo's merchant is not there.")
    headers = {"Authorization": f"Bearer {running.shop.api_key}"}
    async with (
        httpx.AsyncClient(base_url=running.api_url, headers=headers, timeout=30, trust_env=False) as api,
        httpx.AsyncClient(base_url=running.simulator_url, timeout=30, trust_env=False) as simulator,
    ):
        yield Town(api, simulator, running.shop, running.api_url, lambda _: None)


@contextlib.contextmanager
def _folder(wanted: Path | None) -> Iterator[Path]:
    if wanted is not None:
        yield wanted
        return
    with tempfile.TemporaryDirectory(prefix="crm-kassa-demo-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@contextlib.contextmanager
def _log_file() -> Iterator[Path]:
    """A file of its own, because the screen shows the day; it is kept when something went wrong."""
    with tempfile.NamedTemporaryFile(prefix="crm-kassa-demo-", suffix=".log", delete=False) as file:
        yield Path(file.name)
