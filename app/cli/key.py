"""`crm-kassa key`: API keys, and the keys that seal what is stored."""

from typing import Annotated, Any

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn

from app.cli.actor import CLI
from app.cli.chosen import PAGE, AsJson, OfMerchant, id_of, merchant_of
from app.cli.configure import DataDir, for_administration
from app.cli.errors import Stop
from app.cli.loop import run
from app.cli.place import administration
from app.cli.say import FAILED, OK, as_json, err, examples, out, plain, table
from app.db.repos.keys import KeyRow
from app.infra.ids import public
from app.keys import generate as fresh_keys
from app.services.principal import SCOPES
from app.services.rotate_secrets import SealedStore
from app.services.views import rfc3339
from app.settings import Settings

GENERATE_EXAMPLES = examples("crm-kassa key generate >> .env", "crm-kassa key generate --json")
CREATE_EXAMPLES = examples(
    "crm-kassa key create --merchant mer_… --scope events:write --scope receipts:read",
    'crm-kassa key create --scope "*" --name "Our CRM"',
    "crm-kassa key create --admin",
)
LIST_EXAMPLES = examples("crm-kassa key list", "crm-kassa key list --admin --json")
REVOKE_EXAMPLES = examples("crm-kassa key revoke key_0190…")
ROTATE_EXAMPLES = examples("KASSA_SECRET_KEYS=2:NEW…,1:OLD… crm-kassa key rotate-secrets")

Admin = Annotated[bool, typer.Option("--admin", help="The installation's own keys instead of a merchant's.")]


def generate(json: AsJson = False) -> None:
    """Print a fresh set of the keys that an installation needs, as lines for .env.

    All processes share one set. Losing it loses what was sealed with it: keep a copy apart from the database.
    """
    made = fresh_keys()
    if json:
        as_json(made)
        return
    for name, value in made.items():
        plain(f"{name}={value}")


def create(
    merchant: OfMerchant = None,
    admin: Admin = False,
    scope: Annotated[
        list[str] | None,
        typer.Option(help=f"What it may do, several times: * (all), {', '.join(SCOPES)}.", show_default="*"),
    ] = None,
    name: Annotated[str, typer.Option(help="What it is for.")] = "API key",
    source: Annotated[str | None, typer.Option(help="Events of this key belong to this source: src_….")] = None,
    test: Annotated[bool, typer.Option("--test", help="A test key.")] = False,
    json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Create an API key. Its text is shown now and never again."""
    settings = for_administration(data_dir)
    if admin and (merchant or scope or source):
        raise Stop("An admin key has no merchant, source or scopes: give --admin alone.", 2)
    run(_create(settings, merchant, admin, scope or ["*"], name, source, test, json))


async def _create(
    settings: Settings,
    merchant: str | None,
    admin: bool,
    scopes: list[str],
    name: str,
    source: str | None,
    test: bool,
    json: bool,
) -> None:
    async with administration(settings) as runtime:
        made = await runtime.services.access.create(
            CLI,
            merchant_id=None if admin else await merchant_of(runtime, merchant),
            name=name,
            scopes=["admin"] if admin else scopes,
            source_id=None if source is None else id_of("src", source),
            live=not test,
        )
    if json:
        as_json({**_shown(made.key), "key": made.text})
        return
    err.print(f"{OK} {public('key', made.key.id)}: shown now and never again:")
    plain(made.text)


def listed(merchant: OfMerchant = None, admin: Admin = False, json: AsJson = False, data_dir: DataDir = None) -> None:
    """List API keys, newest first. Their texts are not known here."""
    settings = for_administration(data_dir)
    found = run(_listed(settings, merchant, admin))
    if json:
        as_json([_shown(one) for one in found])
        return
    table(
        "API keys",
        ("id", "begins", "name", "scopes", "state", "last used"),
        [
            (public("key", one.id), one.display, one.name, " ".join(one.scopes), _state(one), _time(one.last_used_at))
            for one in found
        ],
    )


async def _listed(settings: Settings, merchant: str | None, admin: bool) -> list[KeyRow]:
    async with administration(settings) as runtime:
        merchant_id = None if admin else await merchant_of(runtime, merchant)
        found: list[KeyRow] = []
        before = None
        while page := await runtime.services.access.page(CLI, merchant_id, before, PAGE):
            found += page
            before = (page[-1].created_at, page[-1].id)
        return found


def revoke(
    key_id: Annotated[str, typer.Argument(help="key_… of crm-kassa key list.")], data_dir: DataDir = None
) -> None:
    """End an API key. Running API processes notice within seconds."""
    settings = for_administration(data_dir)
    run(_revoke(settings, key_id))
    out.print(f"{OK} {key_id} is revoked.")


async def _revoke(settings: Settings, key_id: str) -> None:
    async with administration(settings) as runtime:
        await runtime.services.access.revoke(CLI, id_of("key", key_id))


def rotate_secrets(json: AsJson = False, data_dir: DataDir = None) -> None:
    """Seal everything stored with the first key of KASSA_SECRET_KEYS.

    Put a new key first, keep the old ones behind it, restart all processes, then run this; it may be stopped and
    started again. A key of which nothing is left may be taken away.
    """
    settings = for_administration(data_dir)
    run(_rotate_secrets(settings, json))


async def _rotate_secrets(settings: Settings, json: bool) -> None:
    async with administration(settings) as runtime:
        store = SealedStore(runtime.database, runtime.keys.box)
        total = sum(n for key, n in (await store.key_ids()).items() if key != store.current_key_id)
        with Progress(
            SpinnerColumn(), TextColumn("{task.description} {task.completed}/{task.total}"), console=err, transient=True
        ) as bar:
            task = bar.add_task("Sealing anew", total=total)
            done = await store.rotate(lambda column, n: bar.update(task, advance=n, description=f"Sealing {column}"))
        left = await store.key_ids()
    if json:
        told = {str(key): n for key, n in left.items()}
        as_json({"resealed": done.resealed, "unreadable": done.unreadable, "key_ids": told})
    else:
        out.print(f"{OK} {done.resealed} values were sealed anew with key {store.current_key_id}.")
        table("Values by key", ("key", "values"), left.items())
    if done.unreadable:
        err.print(f"{FAILED} {done.unreadable} values do not open with the keys at hand and keep their form.")
        raise typer.Exit(1)


def _shown(row: KeyRow) -> dict[str, Any]:
    return {
        "id": public("key", row.id),
        "merchant_id": None if row.merchant_id is None else public("mer", row.merchant_id),
        "source_id": None if row.source_id is None else public("src", row.source_id),
        "name": row.name,
        "display": row.display,
        "scopes": row.scopes,
        "test": not row.live,
        "expires_at": _time(row.expires_at),
        "revoked_at": _time(row.revoked_at),
        "last_used_at": _time(row.last_used_at),
        "created_at": rfc3339(row.created_at),
    }


def _state(row: KeyRow) -> str:
    if row.revoked_at is not None:
        return "revoked"
    return "works" if row.expires_at is None else f"ends {rfc3339(row.expires_at)}"


def _time(moment: Any) -> str | None:
    return None if moment is None else rfc3339(moment)
