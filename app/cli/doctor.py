"""`crm-kassa doctor`: everything an operator would check by hand, each with what to do about it."""

from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from ipaddress import ip_network
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import asyncpg
import typer
from rich.markup import escape

from app.cli.actor import ACTOR
from app.cli.chosen import AsJson, merchants_of
from app.cli.configure import DataDir, for_administration
from app.cli.errors import ending_of
from app.cli.kassa import kassas_of_merchant
from app.cli.loop import run
from app.cli.place import WHERE_ELSE, Place, join_place, no_database
from app.cli.say import FAILED, OK, WARNING, as_json, examples, out
from app.cli.source import sources_of_merchant
from app.db import installation, migrate
from app.db.repos import gauges, workers
from app.db.trouble import DISK_FULL_ADVICE, Refusal, refusal_of
from app.domain.errors import Busy
from app.infra.dsn import Dsn
from app.infra.ids import public
from app.runtime import Runtime, open_runtime
from app.services.kassas import KassaView
from app.services.rotate_secrets import SealedStore
from app.settings import Settings

EXAMPLES = examples("crm-kassa doctor", "crm-kassa doctor --json", "crm-kassa doctor --data-dir /var/lib/crm-kassa")

_OLDEST_POSTGRES = 15
_SKEW_WARNING, _SKEW_FAILED = 2.0, 30.0


class Verdict(StrEnum):
    """`failed` ends the command with 1."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at; `fix` is what a person does next."""

    what: str
    verdict: Verdict
    detail: str
    fix: str | None = None


def doctor(json: AsJson = False, data_dir: DataDir = None) -> None:
    """Check the installation: database, schema, keys, kassas, sources, workers, clock, addresses, webhooks.

    Exit code 1 when something fails. No receipt is made; every kassa is asked as crm-kassa kassa check does.
    """
    settings = for_administration(data_dir)
    with out.status("Looking …"):
        found = run(_examine(settings))
    healthy = all(one.verdict is not Verdict.FAILED for one in found)
    if json:
        as_json({"ok": healthy, "findings": [asdict(one) for one in found]})
    else:
        for one in found:
            _tell(one)
    if not healthy:
        raise typer.Exit(1)


def _tell(one: Finding) -> None:
    mark = {Verdict.OK: OK, Verdict.WARNING: WARNING, Verdict.FAILED: FAILED}[one.verdict]
    out.print(f"{mark} [bold]{escape(one.what)}[/]: {escape(one.detail)}", soft_wrap=True)
    if one.fix:
        out.print(f"    → {escape(one.fix)}", soft_wrap=True)


async def _examine(settings: Settings) -> list[Finding]:
    found = [_time_zones(), _public_url(settings), _egress(settings)]
    if (missing := no_database(settings)) is not None:
        return [Finding("database", Verdict.FAILED, missing, WHERE_ELSE), *found]
    try:
        async with join_place(settings) as place:
            return [*(await _database(settings, place)), *found]
    except Exception as error:
        return [_broken("database", error), *found]


async def _database(settings: Settings, place: Place) -> list[Finding]:
    found = [await _version(place)]
    revision, needed = await migrate.current(place.schema_url), migrate.head()
    if revision != needed:
        detail = f"the schema is {revision or 'not there yet'}, this program needs {needed}"
        return [*found, Finding("schema", Verdict.FAILED, detail, "Run crm-kassa migrate.")]
    found.append(Finding("schema", Verdict.OK, f"{revision}, the newest"))
    async with open_runtime(settings, database_url=place.url, keys=place.keys) as runtime:
        checks: tuple[tuple[str, Callable[[Runtime], Awaitable[list[Finding]]]], ...] = (
            ("disk", disk),
            ("clock", _clock),
            ("keys", _keys),
            ("restore", _restore),
            ("workers", _workers),
            ("kassas", _kassas),
            ("sources", _sources),
            ("webhooks", _webhooks),
        )
        for what, check in checks:
            try:
                found += await check(runtime)
            except Exception as error:
                found.append(_broken(what, error))
    return found


async def _version(place: Place) -> Finding:
    dsn = Dsn.parse(place.url)
    connection = await asyncpg.connect(dsn.asyncpg_dsn, timeout=5, **dsn.connect_kwargs)
    try:
        version = connection.get_server_version()
    finally:
        await connection.close()
    told = f"PostgreSQL {version.major}.{version.minor} answers ({place.told})"
    if version.major < _OLDEST_POSTGRES:
        return Finding("database", Verdict.FAILED, told, f"Use PostgreSQL {_OLDEST_POSTGRES} or newer.")
    return Finding("database", Verdict.OK, told)


async def disk(runtime: Runtime) -> list[Finding]:
    """Whether the database can still write."""
    try:
        async with runtime.database.pipeline() as tx:
            await gauges.room(tx)
    except Busy as refused:
        if refusal_of(refused) is not Refusal.DISK_FULL:
            raise
        return [Finding("disk", Verdict.FAILED, refused.detail.partition(";")[0], DISK_FULL_ADVICE)]
    return [Finding("disk", Verdict.OK, "the database finds room to write")]


async def _restore(runtime: Runtime) -> list[Finding]:
    found = await installation.present(runtime.database)
    if found is None or found.opened_at is None:
        return [Finding("restore", Verdict.OK, "no restore is being caught up with")]
    told = f"since {found.opened_at:%d.%m.%Y %H:%M} UTC first sends are looked up before (epoch {found.epoch})"
    fix = "When every source has repeated its payments: crm-kassa restored --close."
    return [Finding("restore", Verdict.WARNING, told, fix)]


async def _clock(runtime: Runtime) -> list[Finding]:
    before = datetime.now(UTC)
    there = await runtime.database.now()
    after = datetime.now(UTC)
    skew = abs((there - (before + (after - before) / 2)).total_seconds())
    told = f"{skew:.1f} s between this machine and the database"
    fix = "Set both clocks by NTP: webhook signatures and receipts carry these times."
    if skew > _SKEW_FAILED:
        return [Finding("clock", Verdict.FAILED, told, fix)]
    if skew > _SKEW_WARNING:
        return [Finding("clock", Verdict.WARNING, told, fix)]
    return [Finding("clock", Verdict.OK, told)]


async def _keys(runtime: Runtime) -> list[Finding]:
    store = SealedStore(runtime.database, runtime.keys.box)
    if wrong := await store.unreadable():
        fix = "Put the missing key back into KASSA_SECRET_KEYS; without it these values are lost."
        return [Finding("keys", Verdict.FAILED, "; ".join(wrong), fix)]
    kept = await store.key_ids()
    old = sum(n for key, n in kept.items() if key != store.current_key_id)
    told = f"what is stored opens; key {store.current_key_id} seals"
    if old:
        fix = "Run crm-kassa key rotate-secrets before the old key is taken away."
        return [Finding("keys", Verdict.WARNING, f"{told}, {old} values are under older keys", fix)]
    return [Finding("keys", Verdict.OK, told)]


async def _workers(runtime: Runtime) -> list[Finding]:
    async with runtime.database.pipeline() as tx:
        alive = await workers.alive(tx)
    if not alive:
        fix = "Start crm-kassa worker (or crm-kassa up): without it no receipt is made."
        return [Finding("workers", Verdict.FAILED, "none has shown itself within half a minute", fix)]
    versions = sorted({one.version for one in alive})
    told = f"{len(alive)} alive, version {', '.join(versions)}"
    if len(versions) > 1:
        return [Finding("workers", Verdict.WARNING, told, "Finish the roll-out: let one version run.")]
    return [Finding("workers", Verdict.OK, told)]


async def _kassas(runtime: Runtime) -> list[Finding]:
    found = [
        await _kassa(runtime, view)
        for owner in await merchants_of(runtime)
        for view in await kassas_of_merchant(runtime, owner.id)
    ]
    return found or [Finding("kassas", Verdict.WARNING, "none is connected", "crm-kassa kassa create --help")]


async def _kassa(runtime: Runtime, view: KassaView) -> Finding:
    what = f"kassa {view.kassa.name} ({public('kas', view.kassa.id)})"
    if view.kassa.status != "active":
        fix = "crm-kassa kassa resume lets it go on."
        return Finding(what, Verdict.WARNING, f"switched off, {view.lane.waiting} waiting", fix)
    try:
        checked = await runtime.services.kassas.check(ACTOR, view.kassa.merchant_id, view.kassa.id)
    except Exception as error:
        return _broken(what, error)
    lines = (checked.kassa.check_report or {}).get("lines", [])
    wrong = [line for line in lines if line["mark"] != "ok"]
    detail = "; ".join(f"{line['name']}: {line['detail']}" for line in wrong or lines)
    cures = dict.fromkeys(line["fix"] for line in wrong if line.get("fix"))
    if any(line["mark"] == "failed" for line in wrong):
        return Finding(what, Verdict.FAILED, detail, " ".join(cures))
    if checked.lane.pause is not None:
        return Finding(what, Verdict.FAILED, f"paused: {checked.lane.pause.message}", checked.lane.pause.next_step)
    return Finding(what, Verdict.WARNING if wrong else Verdict.OK, detail, " ".join(cures))


async def _sources(runtime: Runtime) -> list[Finding]:
    found = []
    for owner in await merchants_of(runtime):
        for view in await sources_of_merchant(runtime, owner.id):
            row = view.source
            what = f"source {row.name} ({public('src', row.id)})"
            heard = "never heard" if row.last_heard_at is None else f"last heard {row.last_heard_at:%Y-%m-%d %H:%M} UTC"
            if row.kind == "api":
                continue
            if row.kind not in runtime.sources:
                fix = "Use a version of the program that has it, or switch the source off."
                found.append(Finding(what, Verdict.FAILED, f"its adapter {row.kind} is not here", fix))
            elif row.status != "active":
                fix = "Switch it on when it is wanted."
                found.append(Finding(what, Verdict.WARNING, f"switched off; {heard}", fix))
            elif row.poll_failing_since is not None:
                since = f"{row.poll_failing_since:%Y-%m-%d %H:%M} UTC"
                fix = "Check its address and credentials; it is asked again by itself, nothing is skipped."
                detail = f"cannot be listed since {since}: {row.poll_failure}; {heard}"
                found.append(Finding(what, Verdict.FAILED, detail, fix))
            elif row.silent_since is not None:
                fix = "Look into its cabinet whether its notices still come here."
                found.append(Finding(what, Verdict.FAILED, f"silent for too long; {heard}", fix))
            elif row.acquirer_fiscalizes:
                found.append(Finding(what, Verdict.OK, f"the acquirer makes the receipts; {heard}"))
            elif row.last_heard_at is None:
                fix = "Enter its addresses in its cabinet: crm-kassa source list --json shows them."
                found.append(Finding(what, Verdict.WARNING, heard, fix))
            else:
                found.append(Finding(what, Verdict.OK, heard))
    return found


async def _webhooks(runtime: Runtime) -> list[Finding]:
    found = []
    for owner in await merchants_of(runtime):
        for view in await runtime.services.endpoints.page(owner.id, None, 200):
            row = view.endpoint
            what = f"webhook endpoint {urlsplit(row.url).hostname} ({public('whe', row.id)})"
            last = await runtime.services.endpoints.deliveries(owner.id, row.id, None, 1)
            told = "nothing was sent yet" if not last else f"last delivery: {last[0].outcome}"
            told += f", {view.lane.waiting} waiting"
            if row.status != "active":
                fix = "Mend the receiver, then PATCH it to status active and replay what it missed."
                found.append(Finding(what, Verdict.FAILED, f"switched off ({row.disabled_reason}); {told}", fix))
            elif row.failing_since is not None:
                fix = "Look at its deliveries: GET /v1/webhook-endpoints/{id}/deliveries."
                found.append(Finding(what, Verdict.FAILED, f"failing since {row.failing_since:%H:%M} UTC; {told}", fix))
            else:
                found.append(Finding(what, Verdict.OK, told))
    return found


def _time_zones() -> Finding:
    try:
        ZoneInfo("Asia/Kamchatka")
    except ZoneInfoNotFoundError:
        fix = "Install the system's tzdata or pip install tzdata: receipts carry local times."
        return Finding("time zones", Verdict.FAILED, "this machine has no time zone data", fix)
    return Finding("time zones", Verdict.OK, "the data is there")


def _public_url(settings: Settings) -> Finding:
    url = settings.public_url
    if url is None:
        fix = "Set it to the https address under which acquirers and providers reach this installation."
        return Finding("KASSA_PUBLIC_URL", Verdict.WARNING, "not set: no provider can call back, only polls", fix)
    if urlsplit(url).scheme != "https":
        return Finding("KASSA_PUBLIC_URL", Verdict.FAILED, f"{url} is not https", "Put TLS in front of the API.")
    return Finding("KASSA_PUBLIC_URL", Verdict.OK, url)


def _egress(settings: Settings) -> Finding:
    told = settings.egress_allow or "public https addresses only"
    try:
        networks = [ip_network(part.strip()) for part in settings.egress_allow.split(",") if part.strip()]
    except ValueError as error:
        return Finding("KASSA_EGRESS_ALLOW", Verdict.FAILED, str(error), "Write it like 10.1.2.0/24.")
    if any(network.prefixlen == 0 for network in networks):
        fix = "Name the networks that are meant: customers' URLs could reach anything."
        return Finding("KASSA_EGRESS_ALLOW", Verdict.FAILED, told, fix)
    return Finding("KASSA_EGRESS_ALLOW", Verdict.OK, told)


def _broken(what: str, error: Exception) -> Finding:
    ending = ending_of(error)
    if ending is None:
        return Finding(what, Verdict.FAILED, f"the check itself broke: {type(error).__name__}: {error}")
    return Finding(what, Verdict.FAILED, ending.text)
