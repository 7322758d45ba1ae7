"""`crm-kassa kassa`: connect cash registers, try them, hold them back and let them go on."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from app.cli.actor import ACTOR
from app.cli.chosen import PAGE, AsJson, OfMerchant, id_of, json_from, kassa_of, merchant_of, merchants_of
from app.cli.configure import DataDir, for_administration
from app.cli.loop import run
from app.cli.place import administration
from app.cli.say import FAILED, OK, WARNING, as_json, examples, out, table
from app.infra.ids import public
from app.runtime import Runtime
from app.services.kassas import KassaView, NewKassa
from app.settings import Settings

CREATE_EXAMPLES = examples(
    "crm-kassa kassa create --name Site --provider digitalkassa --ffd 1.2 --taxation usn_income "
    "--place https://shop.example/ --internet --vat none --payment-method full_prepayment "
    "--credentials credentials.json",
    "pass show kassa | crm-kassa kassa create … --credentials -",
)
LIST_EXAMPLES = examples("crm-kassa kassa list", "crm-kassa kassa list --merchant mer_… --json")
CHECK_EXAMPLES = examples("crm-kassa kassa check kas_0190…", "crm-kassa kassa check kas_0190… --json")
PAUSE_EXAMPLES = examples("crm-kassa kassa pause kas_0190…")
RESUME_EXAMPLES = examples("crm-kassa kassa resume kas_0190…")

KassaId = Annotated[str, typer.Argument(help="kas_… of crm-kassa kassa list.")]


def create(
    name: Annotated[str, typer.Option(help="What people call it.")],
    provider: Annotated[str, typer.Option(help="Code of its driver, such as digitalkassa.")],
    ffd: Annotated[str, typer.Option(help="Format with which the register is registered: 1.05, 1.1 or 1.2.")],
    taxation: Annotated[list[str], typer.Option(help="Taxation system, several times, such as usn_income.")],
    place: Annotated[str, typer.Option(help="Place of settlement, to the letter as the provider has it.")],
    credentials: Annotated[Path, typer.Option(help="JSON file of the provider's credentials; - is standard input.")],
    timezone: Annotated[str, typer.Option(help="Where it sells.")] = "Europe/Moscow",
    internet: Annotated[
        bool | None,
        typer.Option("--internet/--in-person", help="Whether buyers pay over the Internet.", show_default="asked"),
    ] = None,
    vat: Annotated[
        str | None, typer.Option(help="VAT of lines that name none, such as none.", show_default="asked")
    ] = None,
    payment_method: Annotated[
        str | None, typer.Option(help="What a payment is, such as full_prepayment.", show_default="asked")
    ] = None,
    payment_object: Annotated[str | None, typer.Option(help="What is sold, such as service.")] = None,
    measure: Annotated[str | None, typer.Option(help="Unit of quantities, such as piece.")] = None,
    item_name: Annotated[str | None, typer.Option(help="Line of payments that name no goods.")] = None,
    base_url: Annotated[str | None, typer.Option(help="Another address of the provider's API.")] = None,
    test: Annotated[bool, typer.Option("--test", help="Takes test payments too.")] = False,
    branch: Annotated[str | None, typer.Option(help="This branch's receipts go through it: brn_….")] = None,
    merchant: OfMerchant = None,
    json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Connect a kassa, then try it. VAT, payment method and the Internet sign are never assumed."""
    settings = for_administration(data_dir)
    defaults = {
        "vat": vat,
        "payment_method": payment_method,
        "payment_object": payment_object,
        "measure": measure,
        "item_name": item_name,
    }
    new = NewKassa(
        name=name,
        provider=provider,
        ffd=ffd,
        taxation=taxation,
        place=place,
        timezone=timezone,
        internet=internet,
        credentials=json_from(credentials, "--credentials"),
        defaults=defaults,
        base_url=base_url,
        test=test,
        branch_id=None if branch is None else id_of("brn", branch),
    )
    _tell_check(run(_create(settings, merchant, new)), json)


async def _create(settings: Settings, merchant: str | None, new: NewKassa) -> KassaView:
    async with administration(settings) as runtime:
        merchant_id = await merchant_of(runtime, merchant)
        made = await runtime.services.kassas.create(ACTOR, merchant_id, new)
        with out.status("Asking the provider …"):
            return await runtime.services.kassas.check(ACTOR, merchant_id, made.kassa.id)


def listed(merchant: OfMerchant = None, json: AsJson = False, data_dir: DataDir = None) -> None:
    """List kassas with what waits for them; of all merchants unless one is named."""
    settings = for_administration(data_dir)
    found = run(_listed(settings, merchant))
    if json:
        as_json([_shown(one) for one in found])
        return
    table(
        "Kassas",
        ("id", "merchant", "name", "provider", "state", "under way", "waiting"),
        [
            (
                public("kas", one.kassa.id),
                public("mer", one.kassa.merchant_id),
                one.kassa.name,
                one.kassa.provider,
                _state(one),
                one.lane.in_flight,
                one.lane.waiting,
            )
            for one in found
        ],
    )


async def _listed(settings: Settings, merchant: str | None) -> list[KassaView]:
    async with administration(settings) as runtime:
        if merchant is not None:
            return await kassas_of_merchant(runtime, id_of("mer", merchant))
        return [one for owner in await merchants_of(runtime) for one in await kassas_of_merchant(runtime, owner.id)]


async def kassas_of_merchant(runtime: Runtime, merchant_id: Any) -> list[KassaView]:
    """All kassas of one merchant."""
    found: list[KassaView] = []
    before = None
    while page := await runtime.services.kassas.page(merchant_id, before, PAGE):
        found += page
        before = (page[-1].kassa.created_at, page[-1].kassa.id)
    return found


def check(kassa_id: KassaId, json: AsJson = False, data_dir: DataDir = None) -> None:
    """Try a kassa's credentials and settings without making a receipt; exit code 1 when something is wrong.

    A check that finds nothing wrong resumes a kassa that was paused for its account.
    """
    settings = for_administration(data_dir)
    _tell_check(run(_check(settings, kassa_id)), json)


async def _check(settings: Settings, kassa_id: str) -> KassaView:
    async with administration(settings) as runtime:
        row = await kassa_of(runtime, kassa_id)
        with out.status("Asking the provider …"):
            return await runtime.services.kassas.check(ACTOR, row.merchant_id, row.id)


def pause(kassa_id: KassaId, data_dir: DataDir = None) -> None:
    """Switch a kassa off: its receipts wait, nothing is lost."""
    _switch(kassa_id, "off", data_dir)


def resume(kassa_id: KassaId, data_dir: DataDir = None) -> None:
    """Switch a kassa on again: what waited goes out in order."""
    _switch(kassa_id, "active", data_dir)


def _switch(kassa_id: str, status: str, data_dir: Path | None) -> None:
    settings = for_administration(data_dir)
    view = run(_change(settings, kassa_id, status))
    out.print(f"{OK} {view.kassa.name}: {_state(view)}; {view.lane.waiting} waiting.")


async def _change(settings: Settings, kassa_id: str, status: str) -> KassaView:
    async with administration(settings) as runtime:
        row = await kassa_of(runtime, kassa_id)
        return await runtime.services.kassas.change(ACTOR, row.merchant_id, row.id, {"status": status})


def _tell_check(view: KassaView, json: bool) -> None:
    report = view.kassa.check_report or {"ok": False, "lines": []}
    if json:
        as_json(_shown(view))
    else:
        out.print(f"{public('kas', view.kassa.id)}  {escape(view.kassa.name)}", soft_wrap=True)
        marks = {"ok": OK, "warning": WARNING}
        for line in report["lines"]:
            fix = f" → {line['fix']}" if line.get("fix") else ""
            told = escape(f"{line['name']}: {line['detail']}{fix}")
            out.print(f"{marks.get(line['mark'], FAILED)} {told}", soft_wrap=True)
    if not report["ok"]:
        raise typer.Exit(1)


def _state(view: KassaView) -> str:
    if view.kassa.status != "active":
        return "switched off"
    return "works" if view.lane.pause is None else f"paused: {view.lane.pause.cause}"


def _shown(view: KassaView) -> dict[str, Any]:
    row = view.kassa
    names = ("name", "provider", "base_url", "ffd", "taxation", "place", "timezone", "internet", "defaults", "test")
    return {
        "id": public("kas", row.id),
        "merchant_id": public("mer", row.merchant_id),
        **{name: getattr(row, name) for name in names},
        "status": row.status,
        "paused": None if view.lane.pause is None else view.lane.pause.cause,
        "in_flight": view.lane.in_flight,
        "waiting": view.lane.waiting,
        "check": row.check_report,
    }
