"""The program's name and its commands."""

import sys
from typing import Annotated

import typer

from app import __version__
from app.cli import (
    api_process,
    demo,
    doctor,
    generated,
    kassa,
    key,
    merchant,
    migrate,
    nomenclature,
    privacy,
    prune,
    restored,
    simulator_process,
    source,
    source_import,
    source_register,
    up,
    worker_process,
)
from app.cli.errors import PoliteGroup

_RUN, _CARE, _SETTINGS, _DEVELOP = "Run", "Look after", "Connect", "Develop"


def _group(help: str, cls: type[PoliteGroup] = PoliteGroup) -> typer.Typer:
    return typer.Typer(cls=cls, help=help, no_args_is_help=True, rich_markup_mode="rich")


app = typer.Typer(
    name="crm-kassa",
    cls=PoliteGroup,
    help="Every payment of a CRM or acquirer becomes exactly one fiscal receipt (54-FZ).",
    epilog="Settings: environment or .env, prefix KASSA_; .env.example lists them all.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"crm-kassa {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")] = (
        False
    ),
) -> None:
    pass


app.command(epilog=up.EXAMPLES, rich_help_panel=_RUN)(up.up)
app.command(epilog=demo.EXAMPLES, rich_help_panel=_RUN)(demo.demo)
app.command(epilog=api_process.EXAMPLES, rich_help_panel=_RUN)(api_process.api)
app.command(epilog=worker_process.EXAMPLES, rich_help_panel=_RUN)(worker_process.worker)
app.command(epilog=doctor.EXAMPLES, rich_help_panel=_CARE)(doctor.doctor)
app.command(epilog=migrate.EXAMPLES, rich_help_panel=_CARE)(migrate.migrate)
app.command(epilog=prune.EXAMPLES, rich_help_panel=_CARE)(prune.prune)
app.command(epilog=restored.EXAMPLES, rich_help_panel=_CARE)(restored.restored)

_merchants = _group("Merchants: who sells.")
_merchants.command("create", epilog=merchant.CREATE_EXAMPLES)(merchant.create)
_merchants.command("list", epilog=merchant.LIST_EXAMPLES)(merchant.listed)
app.add_typer(_merchants, name="merchant", rich_help_panel=_SETTINGS)

_kassas = _group("Kassas: connections to providers' cash registers.")
_kassas.command("create", epilog=kassa.CREATE_EXAMPLES)(kassa.create)
_kassas.command("list", epilog=kassa.LIST_EXAMPLES)(kassa.listed)
_kassas.command("update", epilog=kassa.UPDATE_EXAMPLES)(kassa.update)
_kassas.command("check", epilog=kassa.CHECK_EXAMPLES)(kassa.check)
_kassas.command("pause", epilog=kassa.PAUSE_EXAMPLES)(kassa.pause)
_kassas.command("resume", epilog=kassa.RESUME_EXAMPLES)(kassa.resume)
app.add_typer(_kassas, name="kassa", rich_help_panel=_SETTINGS)

_sources = _group("Sources: CRMs and acquirers that report payments.", source_register.SourceGroup)
_sources.command("create", epilog=source.CREATE_EXAMPLES)(source.create)
_sources.command("list", epilog=source.LIST_EXAMPLES)(source.listed)
_sources.command("import", epilog=source_import.EXAMPLES)(source_import.import_register)
_sources.command("estimate", epilog=source.ESTIMATE_EXAMPLES)(source.estimate)
_sources.command("kinds", epilog=source.KINDS_EXAMPLES)(source.kinds)
app.add_typer(_sources, name="source", rich_help_panel=_SETTINGS)

_nomenclature = _group("Nomenclature: rules from what sources send to what receipts say.")
_nomenclature.command("export", epilog=nomenclature.EXPORT_EXAMPLES)(nomenclature.export)
_nomenclature.command("import", epilog=nomenclature.IMPORT_EXAMPLES)(nomenclature.imported)
_nomenclature.command("diff", epilog=nomenclature.DIFF_EXAMPLES)(nomenclature.diff)
app.add_typer(_nomenclature, name="nomenclature", rich_help_panel=_SETTINGS)

_keys = _group("API keys, and the keys that seal what is stored.")
_keys.command("generate", epilog=key.GENERATE_EXAMPLES)(key.generate)
_keys.command("create", epilog=key.CREATE_EXAMPLES)(key.create)
_keys.command("list", epilog=key.LIST_EXAMPLES)(key.listed)
_keys.command("revoke", epilog=key.REVOKE_EXAMPLES)(key.revoke)
_keys.command("rotate-secrets", epilog=key.ROTATE_EXAMPLES)(key.rotate_secrets)
app.add_typer(_keys, name="key", rich_help_panel=_SETTINGS)

_buyers = _group("Buyers' data.")
_buyers.command("erase", epilog=privacy.ERASE_EXAMPLES)(privacy.erase)
app.add_typer(_buyers, name="privacy", rich_help_panel=_CARE)

app.command(epilog=simulator_process.EXAMPLES, rich_help_panel=_DEVELOP)(simulator_process.simulator)
app.command(epilog=generated.OPENAPI_EXAMPLES, rich_help_panel=_DEVELOP)(generated.openapi)
app.command(epilog=generated.DOCS_EXAMPLES, rich_help_panel=_DEVELOP)(generated.docs)


def main() -> None:
    """Entry of the console script."""
    app(args=sys.argv[1:], prog_name="crm-kassa")
