"""`crm-kassa kassa`: connect cash registers, try them, hold them back and let them go on."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from app.cli.actor import ACTOR
from app.cli.chosen import PAGE, AsJson, OfMerchant, id_of, json_from, kassa_of, merchant_of, merchants_of
from app.cli.configure import DataDir, for_administration
from app.cli.errors import Stop
from app.cli.loop import run
from app.cli.place import administration
from app.cli.say import FAILED, OK, WARNING, as_json, err, examples, out, table
from app.infra.ids import public
from app.runtime import Runtime
from app.services.defaults import given
from app.services.kassas import KassaView, NewKassa
from app.settings import Settings

CREATE_EXAMPLES = examples(
    "crm-kassa kassa create --name Site --provider digitalkassa --ffd 1.2 --taxation usn_income "
    "--place https://shop.example/ --internet --vat none --payment-method full_prepayment "
    "--credentials credentials.json",
    "pass show kassa | crm-kassa kassa create … --credentials -",
)
LIST_EXAMPLES = examples("crm-kassa kassa list", "crm-kassa kassa list --merchant mer_… --json")
UPDATE_EXAMPLES = examples(
    "crm-kassa kassa update kas_0190… --credentials credentials.json",
    "pass show kassa | crm-kassa kassa update kas_0190… --credentials -",
    "crm-kassa kassa update kas_0190… --place https://shop.example/ --taxation usn_income",
)
CHECK_EXAMPLES = examples("crm-kassa kassa check kas_0190…", "crm-kassa kassa check kas_0190… --json")
PAUSE_EXAMPLES = examples("crm-kassa kassa pause kas_0190…")
RESUME_EXAMPLES = examples("crm-kassa kassa resume kas_0190…")

KassaId = Annotated[str, typer.Argument(help="kas_… of crm-kassa kassa list.")]
PaymentObject = Annotated[str | None, typer.Option(help="What is sold, such as service.")]
Measure = Annotated[str | None, typer.Option(help="Unit of quantities, such as piece.")]
ItemName = Annotated[str | None, typer.Option(help="Line of payments that name no goods.")]
BaseUrl = Annotated[str | None, typer.Option(help="Another address of the provider's API.")]


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
    payment_object: PaymentObject = None,
    measure: Measure = None,
    item_name: ItemName = None,
    base_url: BaseUrl = None,
    test: Annotated[bool, typer.Option("--test", help="Takes test payments too.")] = False,
    branch: Annotated[str | None, typer.Option(help="This branch's receipts go through it: brn_….")] = None,
    merchant: OfMerchant = None,
    json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Connect a kassa, then try it. VAT, payment method and the Internet sign are never assumed.

    Exit code 1 when something is wrong. When it was the try that found it, the kassa is stored all the same: put it
    right with crm-kassa kassa update.
    """
    settings = for_administration(data_dir)
    defaults = _defaults(vat, payment_method, payment_object, measure, item_name)
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
    view = run(_create(settings, merchant, new))
    _tell_check(view, json, "The kassa is stored: do not create it again.")


def _defaults(
    vat: str | None, payment_method: str | None, payment_object: str | None, measure: str | None, item_name: str | None
) -> dict[str, Any]:
    """Those of the kassa's defaults that were told."""
    return given(
        {
            "vat": vat,
            "payment_method": payment_method,
            "payment_object": payment_object,
            "measure": measure,
            "item_name": item_name,
        }
    )


async def _create(settings: Settings, merchant: str | None, new: NewKassa) -> KassaView:
    async with administration(settings) as runtime:
        merchant_id = await merchant_of(runtime, merchant)
        made = await runtime.services.kassas.create(ACTOR, merchant_id, new)
        with out.status("Asking the provider …"):
            return await runtime.services.kassas.check(ACTOR, merchant_id, made.kassa.id)


def update(
    kassa_id: KassaId,
    credentials: Annotated[
        Path | None,
        typer.Option(help="JSON file of the provider's credentials, all of them; - is standard input."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="What people call it.")] = None,
    base_url: BaseUrl = None,
    ffd: Annotated[str | None, typer.Option(help="Format with which the register is registered.")] = None,
    taxation: Annotated[
        list[str] | None, typer.Option(help="Taxation systems, several times: these instead of those that are stored.")
    ] = None,
    place: Annotated[
        str | None, typer.Option(help="Place of settlement, to the letter as the provider has it.")
    ] = None,
    timezone: Annotated[str | None, typer.Option(help="Where it sells.")] = None,
    internet: Annotated[
        bool | None, typer.Option("--internet/--in-person", help="Whether buyers pay over the Internet.")
    ] = None,
    vat: Annotated[str | None, typer.Option(help="VAT of lines that name none, such as none.")] = None,
    payment_method: Annotated[str | None, typer.Option(help="What a payment is, such as full_prepayment.")] = None,
    payment_object: PaymentObject = None,
    measure: Measure = None,
    item_name: ItemName = None,
    json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Change what was told of a kassa, then try it as check does; what is left out stays as it is.

    Exit code 1 when something is wrong. A check that finds nothing wrong resumes a kassa that was paused for its
    account, and what waited goes out. Once it made receipts, address and group of registers stay.
    """
    settings = for_administration(data_dir)
    defaults = _defaults(vat, payment_method, payment_object, measure, item_name)
    wanted = {
        "name": name,
        "base_url": base_url,
        "ffd": ffd,
        "taxation": taxation or None,
        "place": place,
        "timezone": timezone,
        "internet": internet,
        "credentials": None if credentials is None else json_from(credentials, "--credentials"),
        "defaults": defaults or None,
    }
    changes = given(wanted)
    if not changes:
        raise Stop("Say what to change, such as --credentials FILE or --name.", 2)
    _tell_check(run(_update(settings, kassa_id, changes)), json, "What was given is stored.")


async def _update(settings: Settings, kassa_id: str, changes: dict[str, Any]) -> KassaView:
    async with administration(settings) as runtime:
        row = await kassa_of(runtime, kassa_id)
        await runtime.services.kassas.change(ACTOR, row.merchant_id, row.id, changes)
        with out.status("Asking the provider …"):
            return await runtime.services.kassas.check(ACTOR, row.merchant_id, row.id)


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


def _tell_check(view: KassaView, json: bool, stored: str = "") -> None:
    """The report of the last check. Exit code 1 when something is wrong, `stored` and what to run next."""
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
        kassa_id = public("kas", view.kassa.id)
        replace = f"What is entered wrong is replaced: crm-kassa kassa update {kassa_id} --credentials FILE"
        err.print(f"{stored} {replace} (other options: --help).".lstrip(), soft_wrap=True)
        if stored:
            err.print(f"To try it again as it is: crm-kassa kassa check {kassa_id}", soft_wrap=True)
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
