"""`crm-kassa source`: connect CRMs and acquirers, and see which there are."""

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer

from app.cli.actor import ACTOR
from app.cli.chosen import PAGE, AsJson, OfMerchant, id_of, json_from, merchant_of, merchants_of
from app.cli.configure import DataDir, for_administration
from app.cli.errors import Stop
from app.cli.loop import run
from app.cli.place import administration
from app.cli.say import OK, as_json, examples, out, table
from app.infra.ids import public
from app.ports.registry import description, discover_sources
from app.ports.source import Estimate, SourceUnreachable
from app.runtime import Runtime
from app.services.sources import NewSource, SourceView
from app.services.views import rfc3339
from app.settings import Settings

CREATE_EXAMPLES = examples(
    "crm-kassa source create --kind cloudpayments --name Acquiring --credentials cp.json --we-fiscalize",
)
LIST_EXAMPLES = examples("crm-kassa source list", "crm-kassa source list --json")
ESTIMATE_EXAMPLES = examples(
    "crm-kassa source estimate src_0190a1b2c3d4e5f60718293a4b5c6d7e",
    "crm-kassa source estimate src_0190a1b2c3d4e5f60718293a4b5c6d7e --days 90 --json",
)
KINDS_EXAMPLES = examples("crm-kassa source kinds", "crm-kassa source kinds --json")


def create(
    kind: Annotated[str, typer.Option(help="Code of crm-kassa source kinds.")],
    name: Annotated[str, typer.Option(help="What people call it.")],
    credentials: Annotated[
        Path | None, typer.Option(help="JSON file of the source's credentials; - is standard input.")
    ] = None,
    settings_file: Annotated[Path | None, typer.Option("--settings", help="JSON file of its settings.")] = None,
    acquirer_fiscalizes: Annotated[
        bool | None,
        typer.Option(
            "--acquirer-fiscalizes/--we-fiscalize",
            help="Who makes the receipts, where the acquirer can make them itself.",
            show_default="asked",
        ),
    ] = None,
    base_url: Annotated[str | None, typer.Option(help="Address of the CRM's API where it has its own.")] = None,
    kassa: Annotated[str | None, typer.Option(help="Kassa of its receipts: kas_….")] = None,
    branch: Annotated[str | None, typer.Option(help="Branch of its receipts: brn_….")] = None,
    starts_at: Annotated[
        datetime | None, typer.Option(help="Payments before this moment (UTC) get no receipt here.")
    ] = None,
    path_secret: Annotated[
        bool, typer.Option("--path-secret", help="A secret in its addresses, for senders that cannot sign.")
    ] = False,
    merchant: OfMerchant = None,
    json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Connect a source; answers with the addresses to enter in its cabinet."""
    settings = for_administration(data_dir)
    new = NewSource(
        kind=kind,
        name=name,
        credentials={} if credentials is None else json_from(credentials, "--credentials"),
        settings={} if settings_file is None else json_from(settings_file, "--settings"),
        defaults={},
        base_url=base_url,
        branch_id=None if branch is None else id_of("brn", branch),
        kassa_id=None if kassa is None else id_of("kas", kassa),
        starts_at=None if starts_at is None else starts_at.replace(tzinfo=UTC),
        acquirer_fiscalizes=acquirer_fiscalizes,
        path_secret=path_secret,
    )
    made = run(_create(settings, merchant, new))
    if json:
        as_json(_shown(made))
        return
    out.print(f"{OK} {public('src', made.source.id)}  {made.source.name}", soft_wrap=True)
    if settings.public_url is None:
        out.print("  KASSA_PUBLIC_URL is not set: put your https address before these paths.")
    table("Addresses for its cabinet", ("notice", "address"), [(one.part, one.url) for one in made.addresses])


async def _create(settings: Settings, merchant: str | None, new: NewSource) -> SourceView:
    async with administration(settings) as runtime:
        return await runtime.services.sources.create(ACTOR, await merchant_of(runtime, merchant), new)


def listed(merchant: OfMerchant = None, json: AsJson = False, data_dir: DataDir = None) -> None:
    """List sources and when each was last heard; of all merchants unless one is named."""
    settings = for_administration(data_dir)
    found = run(_listed(settings, merchant))
    if json:
        as_json([_shown(one) for one in found])
        return
    table(
        "Sources",
        ("id", "merchant", "kind", "name", "status", "last heard"),
        [
            (
                public("src", one.source.id),
                public("mer", one.source.merchant_id),
                one.source.kind,
                one.source.name,
                one.source.status,
                _time(one.source.last_heard_at),
            )
            for one in found
        ],
    )


async def _listed(settings: Settings, merchant: str | None) -> list[SourceView]:
    async with administration(settings) as runtime:
        if merchant is not None:
            return await sources_of_merchant(runtime, id_of("mer", merchant))
        return [one for owner in await merchants_of(runtime) for one in await sources_of_merchant(runtime, owner.id)]


async def sources_of_merchant(runtime: Runtime, merchant_id: Any) -> list[SourceView]:
    """All sources of one merchant, the built-in one included."""
    found: list[SourceView] = []
    before = None
    while page := await runtime.services.sources.page(merchant_id, before, PAGE):
        found += page
        before = (page[-1].source.created_at, page[-1].source.id)
    return found


def estimate(
    source: Annotated[str, typer.Argument(help="Which source: src_….")],
    days: Annotated[int, typer.Option(min=1, max=366, help="So much of its history, until yesterday.")] = 30,
    merchant: OfMerchant = None,
    json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """How many closing receipts its lessons would have made, under every choice of the setting; read from the CRM."""
    try:
        found = run(_estimated(for_administration(data_dir), merchant, id_of("src", source), days))
    except SourceUnreachable as error:
        raise Stop(str(error)) from None
    if json:
        as_json(asdict(found))
        return
    table(
        f"{found.charges} charges of {found.customers} pupils, {found.first_day} to {found.last_day}",
        ("settle", "closing receipts", ""),
        [(name, str(number), "now" if name == found.chosen else "") for name, number in found.receipts.items()],
    )


async def _estimated(settings: Settings, merchant: str | None, source_id: UUID, days: int) -> Estimate:
    async with administration(settings) as runtime:
        owner = await merchant_of(runtime, merchant)
        return await runtime.services.inbound.estimate(owner, source_id, days)


def kinds(json: AsJson = False) -> None:
    """List what can be connected, and what each wants. Needs no database."""
    found = [description(adapter) for adapter in discover_sources()]
    if json:
        as_json(found)
        return
    table(
        "Kinds of sources",
        ("kind", "name", "credentials", "notices", "documentation"),
        [
            (
                one["code"],
                one["title"],
                ", ".join(one["credentials"].get("properties", {})),
                ", ".join(one["capabilities"]["parts"]),
                one["docs_url"],
            )
            for one in found
        ],
    )


def _shown(view: SourceView) -> dict[str, Any]:
    row = view.source
    return {
        "id": public("src", row.id),
        "merchant_id": public("mer", row.merchant_id),
        "kind": row.kind,
        "name": row.name,
        "settings": row.settings,
        "acquirer_fiscalizes": row.acquirer_fiscalizes,
        "status": row.status,
        "last_heard_at": _time(row.last_heard_at),
        "addresses": [{"part": one.part, "meaning": one.meaning, "url": one.url} for one in view.addresses],
    }


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else rfc3339(moment)
