"""Kassas: connections to cash registers. Nothing about money is assumed, and what was used stays as it was."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog
from pydantic_core import to_jsonable_python

from app.db.repos import audit, lanes_read, merchants
from app.db.repos import kassas as repo
from app.db.repos.paging import Position
from app.db.repos.settings import KassaRow, merchant
from app.db.unit_of_work import Database, Tx
from app.domain.contact import mask_contacts
from app.domain.errors import Conflict, Finding, Invalid, NotFound, UrlForbidden
from app.domain.ffd import FfdVersion, Taxation
from app.domain.vat_settings import VatPolicy
from app.infra.clock import DatabaseClock
from app.infra.crypto import SecretBox, aad
from app.infra.egress import EgressPolicy, ForbiddenUrl
from app.infra.ids import new_id, public
from app.ports.kassa import CheckLine, CheckReport, KassaDriver, Mark
from app.queue import lanes
from app.queue.replan import replan_held
from app.services.alerts import kassa_paused, kassa_resumed
from app.services.catalog import Catalog
from app.services.defaults import check_defaults, check_kassa_answers, check_place, check_timezone, given
from app.services.drivers import Drivers
from app.services.lane_view import LaneView, lane_view
from app.services.sealed import checked, hash_url_secret, new_url_secret, plain, seal_json

log = structlog.get_logger(__name__)

ACCOUNT_CAUSES = (
    "credentials_refused",
    "account_inactive",
    "payment_required",
    "group_not_found",
    "kassa_blocked",
)
"""Pauses that speak of the account or the register: a check that succeeds disproves them."""

CHECK_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class KassaView:
    """A kassa without its secrets, with its lane."""

    kassa: KassaRow
    lane: LaneView


@dataclass(frozen=True, slots=True)
class NewKassa:
    """What a kassa is made of, in API names; None where the caller gave no answer."""

    name: str
    provider: str
    ffd: str
    taxation: list[str]
    place: str
    timezone: str
    internet: bool | None
    credentials: Mapping[str, Any]
    defaults: Mapping[str, Any]
    base_url: str | None = None
    max_in_flight: int | None = None
    test: bool = False
    branch_id: UUID | None = None


class Kassas:
    """Kassas of one merchant at a time."""

    def __init__(
        self,
        database: Database,
        catalog: Catalog,
        drivers: Drivers,
        box: SecretBox,
        policy: EgressPolicy,
        clock: DatabaseClock,
    ) -> None:
        self._database = database
        self._catalog = catalog
        self._drivers = drivers
        self._box = box
        self._policy = policy
        self._clock = clock

    async def create(self, actor: str, merchant_id: UUID, new: NewKassa) -> KassaView:
        """A kassa and its lane. Invalid with every finding at once; the findings explain the open choices.

        ProviderNotConfigured for an unknown provider, NotValid for credentials its driver refuses, UrlForbidden for a
        base URL that may not be called.
        """
        driver = self._drivers.driver(new.provider)
        settings = {
            "ffd": new.ffd,
            "taxation": new.taxation,
            "place": new.place,
            "timezone": new.timezone,
            "internet": new.internet,
            "defaults": given(new.defaults),
        }
        answered = await self._vat_answered(merchant_id)
        self._judge(driver, settings, vat_answered=answered)
        credentials = checked(driver.Credentials, new.credentials, "#/credentials")
        if new.base_url is not None:
            self._permitted(new.base_url)
        kassa_id, callback = new_id(), new_url_secret()
        async with self._database.pipeline() as tx:
            if await merchant(tx, merchant_id) is None:
                raise NotFound("There is no such merchant here.")
            row = await repo.create(
                tx,
                merchant_id,
                kassa_id,
                {
                    **settings,
                    "name": new.name,
                    "provider": new.provider,
                    "base_url": (new.base_url or driver.default_base_url).rstrip("/"),
                    "group_key": driver.group_key(credentials),
                    "credentials": seal_json(
                        self._box, plain(credentials), aad("kassas", "credentials", merchant_id, kassa_id)
                    ),
                    "callback_secret": self._box.seal(
                        callback.encode(), aad("kassas", "callback_secret", merchant_id, kassa_id)
                    ),
                    "callback_secret_hash": hash_url_secret(callback),
                    "test": new.test,
                },
            )
            await lanes.create(
                tx,
                kassa_id,
                kind="kassa",
                merchant_id=merchant_id,
                provider=new.provider,
                max_in_flight=new.max_in_flight or driver.capabilities.max_in_flight,
                rate_per_second=_rate(driver),
            )
            if new.branch_id is not None and not await merchants.update_branch(
                tx, merchant_id, new.branch_id, {"kassa_id": kassa_id}
            ):
                raise NotFound("There is no such branch here.")
            await self._noted(tx, actor, "kassa.created", row, {**settings, "provider": new.provider})
            await replan_held(tx, merchant_id)
            view = await self._view(tx, row)
        self._catalog.forget(merchant_id)
        return view

    async def page(self, merchant_id: UUID, before: Position | None, limit: int) -> list[KassaView]:
        """At most `limit` kassas behind a place, newest first."""
        async with self._database.tenant(merchant_id) as tx:
            rows = await repo.page(tx, merchant_id, before, limit)
        async with self._database.pipeline() as tx:
            states = await lanes_read.states(tx, merchant_id, [row.id for row in rows])
        return [KassaView(row, lane_view(states[row.id])) for row in rows]

    async def read(self, merchant_id: UUID, kassa_id: UUID) -> KassaView:
        """One kassa. NotFound for anybody else's."""
        async with self._database.tenant(merchant_id) as tx:
            row = _found(await repo.by_id(tx, merchant_id, kassa_id))
        async with self._database.pipeline() as tx:
            return await self._view(tx, row)

    async def change(self, actor: str, merchant_id: UUID, kassa_id: UUID, changes: Mapping[str, Any]) -> KassaView:
        """Of `name, ffd, taxation, place, timezone, internet, defaults, credentials, base_url, provider, status,
        max_in_flight` those that are given; `defaults` are changed one by one, None takes an answer away.

        Conflict for another provider, base URL or group once the kassa was used: receipts on their way are known to
        that provider by their ids, so such a change is a new kassa.
        """
        answered = await self._vat_answered(merchant_id)
        async with self._database.pipeline() as tx:
            before = _found(await repo.by_id(tx, merchant_id, kassa_id, lock=True))
            values = {
                name: changes[name]
                for name in ("name", "ffd", "taxation", "place", "timezone", "internet", "status")
                if name in changes
            }
            if "defaults" in changes:
                values["defaults"] = given({**before.defaults, **changes["defaults"]})
            values |= self._connection(before, changes)
            driver = self._drivers.driver(values.get("provider", before.provider))
            self._judge(driver, {**_settings(before), **values}, stored=before, vat_answered=answered)
            row = await repo.change(tx, merchant_id, kassa_id, values)
            await lanes.set_limits(tx, kassa_id, max_in_flight=changes.get("max_in_flight"))
            if "credentials" in changes:
                await lanes.probe_now(tx, kassa_id)
            if row.status != before.status:
                await self._switched(tx, row)
            told = {n: v for n, v in changes.items() if n != "credentials"}
            if "credentials" in changes:
                told["credentials"] = "replaced"
            await self._noted(tx, actor, "kassa.changed", row, told)
            await replan_held(tx, merchant_id)
            view = await self._view(tx, row)
        self._drivers.forget(kassa_id)
        self._catalog.forget(merchant_id)
        return view

    async def check(self, actor: str, merchant_id: UUID, kassa_id: UUID) -> KassaView:
        """Try credentials and settings at the provider without making a receipt; keeps the report.

        A check that finds nothing wrong resumes a lane that was paused for the account, and lets one that waits for
        the provider try at once. One that a person switched off stays off.
        """
        async with self._database.tenant(merchant_id) as tx:
            row = _found(await repo.by_id(tx, merchant_id, kassa_id))
            owner = await merchant(tx, merchant_id)
        driver = self._drivers.driver(row.provider)
        call = self._drivers.call(row, owner.inn if owner else "", deadline_seconds=CHECK_SECONDS)
        try:
            report = await driver.check(call.context)
        except Exception:
            log.exception("kassa.check_broke", kassa_id=public("kas", kassa_id), provider=row.provider)
            report = CheckReport((_BROKEN,))
        async with self._database.pipeline() as tx:
            row = await repo.checked(tx, merchant_id, kassa_id, _told(report))
            if report.ok and row.status == "active":
                if await lanes.resume(tx, kassa_id, only_cause=ACCOUNT_CAUSES):
                    await kassa_resumed(tx, row)
                await lanes.probe_now(tx, kassa_id)
            await self._noted(tx, actor, "kassa.checked", row, {"ok": report.ok})
            view = await self._view(tx, row)
        self._catalog.forget(merchant_id)
        return view

    def _connection(self, before: KassaRow, changes: Mapping[str, Any]) -> dict[str, Any]:
        """New values of provider, base URL and credentials, which belong together."""
        provider = changes.get("provider", before.provider)
        driver = self._drivers.driver(provider)
        values: dict[str, Any] = {}
        if provider != before.provider:
            self._unused(before, "provider")
            values["provider"] = provider
            values["base_url"] = driver.default_base_url.rstrip("/")
            if "credentials" not in changes:
                raise Conflict("Another provider needs other credentials; send both.", current_state=before.provider)
        if changes.get("base_url") is not None:
            base_url = changes["base_url"].rstrip("/")
            if base_url != before.base_url:
                self._unused(before, "base_url")
                self._permitted(base_url)
                values["base_url"] = base_url
        if "credentials" in changes:
            credentials = checked(driver.Credentials, changes["credentials"], "#/credentials")
            group = driver.group_key(credentials)
            if group != before.group_key:
                self._unused(before, "group of registers")
                values["group_key"] = group
            where = aad("kassas", "credentials", before.merchant_id, before.id)
            values["credentials"] = seal_json(self._box, plain(credentials), where)
        return values

    def _unused(self, before: KassaRow, what: str) -> None:
        if before.first_used_at is None:
            return
        raise Conflict(
            f"This kassa has made receipts, so its {what} cannot change: the provider knows receipts on their way by "
            "the ids they had there, and asking elsewhere would print them twice. Create a new kassa and switch this "
            "one off; its receipts finish here.",
            current_state="used",
            allowed_states=["unused"],
        )

    def _permitted(self, base_url: str) -> None:
        try:
            self._policy.check_url(base_url)
        except ForbiddenUrl as error:
            raise UrlForbidden(str(error), reason=error.reason) from None

    async def _vat_answered(self, merchant_id: UUID) -> bool:
        """Whether the merchant's dated rates say which one holds today."""
        settings = await self._catalog.merchant(merchant_id, fresh=True)
        return VatPolicy(settings.vat).rate(self._clock.now().date()) is not None

    def _judge(
        self,
        driver: KassaDriver,
        settings: Mapping[str, Any],
        *,
        stored: KassaRow | None = None,
        vat_answered: bool,
    ) -> None:
        """Invalid with everything that is wrong or unanswered; what is already stored is not judged again."""
        now, can = self._clock.now(), driver.capabilities
        touched = {name for name, value in settings.items() if stored is None or getattr(stored, name) != value}
        findings = list(check_kassa_answers(settings["defaults"], settings["internet"], vat_answered=vat_answered))
        ffd = next((version for version in FfdVersion if version.value == settings["ffd"]), None)
        if touched & {"ffd"} and (ffd is None or ffd not in can.ffd):
            known = ", ".join(sorted(version.value for version in can.ffd))
            findings.append(
                Finding(
                    "#/ffd",
                    "ffd_unsupported",
                    f"{driver.title} takes FFD {known}.",
                    f"{driver.title} работает с ФФД {known}.",
                    1209,
                    "Give the version with which the register is registered.",
                )
            )
        if touched & {"taxation"}:
            findings += _taxation(settings["taxation"])
        if touched & {"timezone"}:
            findings += check_timezone(settings["timezone"], now)
        if touched & {"place", "internet"}:
            findings += check_place(settings["place"], settings["internet"])
        if touched & {"defaults", "ffd"}:
            findings += check_defaults(settings["defaults"], now, zone=settings["timezone"], ffd=ffd)
        if touched & {"defaults", "taxation"} and settings["defaults"].get("taxation") not in (
            None,
            *settings["taxation"],
        ):
            findings.append(_DEFAULT_TAXATION)
        if findings:
            raise Invalid("The kassa cannot be stored like this; the findings say what to answer.", tuple(findings))

    async def _switched(self, tx: Tx, row: KassaRow) -> None:
        if row.status == "off":
            await lanes.pause(tx, row.id, lanes.SWITCHED_OFF, None)
            await kassa_paused(tx, row, "kassa_switched_off")
        elif await lanes.resume(tx, row.id):
            await kassa_resumed(tx, row)

    async def _view(self, tx: Tx, row: KassaRow) -> KassaView:
        return KassaView(row, lane_view((await lanes_read.states(tx, row.merchant_id, [row.id]))[row.id]))

    async def _noted(self, tx: Tx, actor: str, action: str, row: KassaRow, data: dict[str, Any]) -> None:
        await audit.record(tx, actor, action, merchant_id=row.merchant_id, object_id=public("kas", row.id), data=data)


_DEFAULT_TAXATION = Finding(
    "#/defaults/taxation",
    "taxation_unknown",
    "The default taxation is not among those of the kassa.",
    "Система налогообложения по умолчанию не входит в список кассы.",
    1055,
    "Choose one of the kassa's taxation systems, or leave it out.",
)
_BROKEN = CheckLine(
    "check",
    Mark.FAILED,
    "The check itself broke; nothing is known about the kassa.",
    "Report the line of the log that is called kassa.check_broke.",
)


def _told(report: CheckReport) -> dict[str, Any]:
    lines = [
        {
            "name": line.name,
            "mark": line.mark.value,
            "detail": mask_contacts(line.detail),
            "fix": line.fix,
        }
        for line in report.lines
    ]
    return {"ok": report.ok, "lines": lines, "facts": to_jsonable_python(report.facts, fallback=str)}


def _taxation(codes: list[str]) -> list[Finding]:
    for code in codes:
        try:
            Taxation.parse(code)
        except ValueError as error:
            known = ", ".join(member.code for member in Taxation)
            return [
                Finding(
                    "#/taxation",
                    "taxation_unknown",
                    str(error).capitalize(),
                    f"Такой системы налогообложения нет; возможны: {known}.",
                    1055,
                    "АУСН has no code of its own: use usn_income or usn_income_outcome by its object.",
                )
            ]
    return []


def _settings(row: KassaRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in ("ffd", "taxation", "place", "timezone", "internet", "defaults")}


def _rate(driver: KassaDriver) -> int | None:
    wanted = driver.capabilities.requests_per_second
    return None if wanted is None else max(1, int(wanted))


def _found(row: KassaRow | None) -> KassaRow:
    if row is None:
        raise NotFound("There is no such kassa here.")
    return row
