"""Sources: connections to CRMs and acquirers that report payments. One without a secret is refused, not trusted."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from hmac import compare_digest
from typing import Any
from uuid import UUID

from app.db.repos import audit, kassas, merchants, nomenclature
from app.db.repos import sources as repo
from app.db.repos.paging import Position
from app.db.repos.settings import SourceRow, merchant
from app.db.unit_of_work import Database, Tx
from app.domain.contact import mask_email, mask_phone
from app.domain.errors import Conflict, Finding, Invalid, NotFound, UrlForbidden
from app.domain.receipt import Customer
from app.infra.clock import DatabaseClock
from app.infra.contacts import normalize_email, normalize_phone
from app.infra.crypto import SecretBox, aad
from app.infra.egress import EgressPolicy, ForbiddenUrl
from app.infra.ids import new_id, public
from app.ports.registry import Registry
from app.ports.source import SourceAdapter, SourceCapabilities
from app.queue import lanes
from app.queue.replan import replan_held
from app.services.catalog import Catalog
from app.services.crm_reports import IN_FLIGHT
from app.services.customers import open_fallback, seal_fallback
from app.services.defaults import check_defaults, given
from app.services.merchants import BUILT_IN_SOURCE, SOURCE_IN_FLIGHT
from app.services.sealed import NotValid, checked, has_secret, hash_url_secret, new_url_secret, plain, seal_json
from app.services.source_polls import fit_poll

_ANSWER = "acquirer_fiscalizes"
_AS_GIVEN = ("name", "branch_id", "kassa_id", "starts_at", "settlement_key_from", "silent_after_hours", "unmapped")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a source posts one kind of notice."""

    part: str
    meaning: str
    url: str


@dataclass(frozen=True, slots=True)
class SourceView:
    """A source without its secrets. `addresses` hold the path's secret only when it was just made; `can` is None where
    its kind is not installed."""

    source: SourceRow
    addresses: tuple[Address, ...]
    fallback_contact: str | None
    can: SourceCapabilities | None = None


@dataclass(frozen=True, slots=True)
class NewSource:
    """What a source is made of; `acquirer_fiscalizes` None where the caller gave no answer."""

    kind: str
    name: str
    credentials: Mapping[str, Any]
    settings: Mapping[str, Any]
    defaults: Mapping[str, Any]
    base_url: str | None = None
    branch_id: UUID | None = None
    kassa_id: UUID | None = None
    starts_at: datetime | None = None
    acquirer_fiscalizes: bool | None = None
    fallback_contact: Mapping[str, Any] | None = None
    path_secret: bool = False
    settlement_key_from: str | None = None
    silent_after_hours: int | None = None
    unmapped: str | None = None


class Sources:
    """Sources of one merchant at a time; `public_url` is how the outside reaches this installation."""

    def __init__(
        self,
        database: Database,
        catalog: Catalog,
        adapters: Registry[SourceAdapter],
        box: SecretBox,
        policy: EgressPolicy,
        clock: DatabaseClock,
        public_url: str,
    ) -> None:
        self._database = database
        self._catalog = catalog
        self._adapters = adapters
        self._box = box
        self._policy = policy
        self._clock = clock
        self._public_url = public_url.rstrip("/")

    async def create(self, actor: str, merchant_id: UUID, new: NewSource) -> SourceView:
        """A source, its addresses and its lane.

        Invalid while it is not answered whether an acquirer makes receipts itself; NotValid for credentials or
        settings that its adapter refuses, or for a source that could not be told from a forger.
        """
        if new.kind == BUILT_IN_SOURCE:
            raise Conflict("Every merchant has its source api already; it needs no connection.")
        adapter = self._adapters.get(new.kind)
        self._answered(adapter, new.acquirer_fiscalizes, new.settings)
        source_id = new_id()
        secret = new_url_secret() if new.path_secret or not adapter.capabilities.signs else None
        changes = {
            "name": new.name,
            "base_url": new.base_url,
            "credentials": new.credentials,
            "settings": new.settings,
            "defaults": new.defaults,
            "branch_id": new.branch_id,
            "kassa_id": new.kassa_id,
            "starts_at": new.starts_at,
            "acquirer_fiscalizes": new.acquirer_fiscalizes,
            "fallback_contact": new.fallback_contact,
            "settlement_key_from": new.settlement_key_from,
            "silent_after_hours": new.silent_after_hours,
            "unmapped": new.unmapped,
        }
        values = self._values(adapter, merchant_id, source_id, changes)
        self._must_be_secret(adapter, new.credentials, secret is not None)
        async with self._database.pipeline() as tx:
            if await merchant(tx, merchant_id) is None:
                raise NotFound("There is no such merchant here.")
            await self._own(tx, merchant_id, values)
            if adapter.capabilities.reports:
                values["report_lane"] = await self._report_lane(tx, merchant_id)
            row = await repo.create(
                tx,
                merchant_id,
                source_id,
                {**values, "kind": new.kind, "path_secret_hash": None if secret is None else hash_url_secret(secret)},
            )
            await lanes.create(tx, source_id, kind="source", merchant_id=merchant_id, max_in_flight=SOURCE_IN_FLIGHT)
            await fit_poll(tx, row, self._adapters)
            await self._noted(tx, actor, "source.created", row, {"kind": new.kind, "name": new.name})
        self._catalog.forget(merchant_id)
        return self._view(row, secret)

    async def page(self, merchant_id: UUID, before: Position | None, limit: int) -> list[SourceView]:
        """At most `limit` sources behind a place, newest first."""
        async with self._database.tenant(merchant_id) as tx:
            return [self._view(row) for row in await repo.page(tx, merchant_id, before, limit)]

    async def read(self, merchant_id: UUID, source_id: UUID) -> SourceView:
        """One source. NotFound for anybody else's."""
        async with self._database.tenant(merchant_id) as tx:
            return self._view(_found(await repo.by_id(tx, merchant_id, source_id)))

    async def connection(self, merchant_id: UUID, source_id: UUID) -> tuple[dict[str, Any], dict[str, Any]]:
        """Credentials, readable, and settings of one source: for the adapter that enters it in its counterpart."""
        async with self._database.tenant(merchant_id) as tx:
            row = _found(await repo.by_id(tx, merchant_id, source_id))
        return self._opened(row), dict(row.settings)

    def whole_addresses(self, source: SourceRow, told: Iterable[str]) -> tuple[Address, ...] | None:
        """Its addresses with their secret, if one of those that the counterpart was told still has the right one."""
        for url in told:
            secret = _secret_of(url)
            if secret and source.path_secret_hash and compare_digest(hash_url_secret(secret), source.path_secret_hash):
                return self._addresses(source, secret)
        return None

    async def change(self, actor: str, merchant_id: UUID, source_id: UUID, changes: Mapping[str, Any]) -> SourceView:
        """Of `name, base_url, credentials, settings, defaults, branch_id, kassa_id, starts_at, acquirer_fiscalizes,
        fallback_contact, unmapped, status, path_secret, settlement_key_from, silent_after_hours` those that are given.

        `settings` are replaced as a whole, `defaults` one by one. `path_secret` true makes a new secret for the
        addresses (the old ones end at once), false takes it away. The built-in source has no connection to change.
        """
        async with self._database.pipeline() as tx:
            before = _found(await repo.by_id(tx, merchant_id, source_id, lock=True))
            secret = new_url_secret() if changes.get("path_secret") else None
            if before.kind == BUILT_IN_SOURCE:
                values = self._built_in(before, changes)
            else:
                values = self._changed(before, changes, secret)
            await self._own(tx, merchant_id, values)
            row = await repo.change(tx, merchant_id, source_id, values)
            if before.kind != BUILT_IN_SOURCE:
                await fit_poll(tx, row, self._adapters)
            if "unmapped" in changes:
                await nomenclature.policy_changed(tx, merchant_id)
            told = dict.fromkeys(changes, "changed")
            await self._noted(tx, actor, "source.changed", row, {**told, "status": row.status})
            await replan_held(tx, merchant_id)
        self._catalog.forget(merchant_id)
        return self._view(row, secret)

    def _built_in(self, before: SourceRow, changes: Mapping[str, Any]) -> dict[str, Any]:
        beyond = sorted(set(changes) & {"base_url", "credentials", "settings", "path_secret", "status", _ANSWER})
        if beyond:
            raise Conflict(
                f"The built-in source api has no connection: {', '.join(beyond)} cannot be set. "
                "Its callers are let in by their API keys."
            )
        return self._common(before.merchant_id, before.id, self._merged(before, changes))

    def _changed(self, before: SourceRow, changes: Mapping[str, Any], secret: str | None) -> dict[str, Any]:
        adapter = self._adapters.get(before.kind)
        merged = self._merged(before, changes)
        if _ANSWER in changes and "settings" not in changes:
            merged["settings"] = before.settings
        values = self._values(adapter, before.merchant_id, before.id, merged)
        if "status" in changes:
            values["status"] = changes["status"]
        if "path_secret" in changes:
            values["path_secret_hash"] = None if secret is None else hash_url_secret(secret)
        if changes.get("path_secret") is False and not adapter.capabilities.signs:
            raise Conflict(f"{adapter.title} signs nothing: the secret in its addresses is all that tells it apart.")
        if "credentials" in changes or "path_secret" in changes:
            has_path = values.get("path_secret_hash", before.path_secret_hash) is not None
            self._must_be_secret(adapter, changes.get("credentials") or self._opened(before), has_path)
        return values

    def _merged(self, before: SourceRow, changes: Mapping[str, Any]) -> dict[str, Any]:
        merged = dict(changes)
        if "defaults" in merged:
            merged["defaults"] = {**before.defaults, **merged["defaults"]}
        if _ANSWER not in {**merged.get("settings", {}), **merged} and "settings" in merged:
            merged[_ANSWER] = before.acquirer_fiscalizes
        return merged

    def _values(
        self, adapter: SourceAdapter, merchant_id: UUID, source_id: UUID, changes: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Columns for the members that are given."""
        values = self._common(merchant_id, source_id, changes)
        if changes.get("base_url") is not None:
            try:
                self._policy.check_url(changes["base_url"])
            except ForbiddenUrl as error:
                raise UrlForbidden(str(error), reason=error.reason) from None
        if "base_url" in changes:
            values["base_url"] = changes["base_url"] and changes["base_url"].rstrip("/")
        if "credentials" in changes:
            credentials = checked(adapter.Credentials, changes["credentials"], "#/credentials")
            where = aad("sources", "credentials", merchant_id, source_id)
            values["credentials"] = seal_json(self._box, plain(credentials), where)
        if "settings" in changes:
            values |= self._settings(adapter, changes["settings"], changes.get(_ANSWER))
        return values

    def _settings(self, adapter: SourceAdapter, settings: Mapping[str, Any], answer: bool | None) -> dict[str, Any]:
        """An adapter that wants the answer among its settings gets the one given beside them."""
        wanted = dict(settings)
        if _ANSWER in adapter.Settings.model_fields:
            answer = wanted.get(_ANSWER, False) if answer is None else answer
            wanted[_ANSWER] = answer
        return {
            "settings": plain(checked(adapter.Settings, wanted, "#/settings")),
            "acquirer_fiscalizes": bool(answer),
        }

    def _common(self, merchant_id: UUID, source_id: UUID, changes: Mapping[str, Any]) -> dict[str, Any]:
        """What every source may have: its name, place in the routing, defaults and fallback contact."""
        values = {name: changes[name] for name in _AS_GIVEN if name in changes}
        if "defaults" in changes:
            values["defaults"] = given(changes["defaults"])
            if findings := tuple(check_defaults(values["defaults"], self._clock.now())):
                raise Invalid("The source cannot be stored like this.", findings)
        if "fallback_contact" in changes:
            values["fallback_contact"] = self._contact(merchant_id, source_id, changes["fallback_contact"])
        return values

    def _contact(self, merchant_id: UUID, source_id: UUID, contact: Mapping[str, Any] | None) -> bytes | None:
        if contact is None:
            return None
        known: dict[str, str] = {}
        for name, normalize in (("email", normalize_email), ("phone", normalize_phone)):
            if contact.get(name) is None:
                continue
            try:
                known[name] = normalize(contact[name])
            except ValueError as error:
                raise _wrong(f"#/fallback_contact/{name}", str(error)) from None
        if not known:
            raise _wrong("#/fallback_contact", "Give an e-mail or a phone.")
        return seal_fallback(
            self._box, merchant_id, source_id, Customer(email=known.get("email"), phone=known.get("phone"))
        )

    def _answered(self, adapter: SourceAdapter, answer: bool | None, settings: Mapping[str, Any]) -> None:
        if adapter.capabilities.may_fiscalize and answer is None and settings.get(_ANSWER) is None:
            raise Invalid(
                "It is not said who makes the receipts.",
                (
                    Finding(
                        f"#/{_ANSWER}",
                        f"{_ANSWER}_unanswered",
                        f"{adapter.title} can make receipts itself. If it does for this shop and we make them too, "
                        "each buyer gets two and the income doubles at the tax service; so say it before anything is "
                        "connected. true: it makes them; its payments are stored as ignored and no receipt is made "
                        "here. false: it makes none (its receipts are switched off in its cabinet); we make them.",
                        f"{adapter.title} умеет пробивать чеки само. Если для этого магазина оно это делает и мы тоже, "
                        "покупатель получит два чека, а выручка в налоговой удвоится; поэтому ответьте до подключения. "
                        "true: чеки делает оно, его платежи сохраняются без чека. false: оно чеков не делает "
                        "(они выключены в его кабинете), их делаем мы.",
                        None,
                        f"Look into the cabinet of {adapter.title}, then send {_ANSWER}: true or false.",
                    ),
                ),
            )

    def _must_be_secret(self, adapter: SourceAdapter, credentials: Mapping[str, Any], path_secret: bool) -> None:
        if not adapter.capabilities.parts or path_secret:
            return
        if not has_secret(checked(adapter.Credentials, credentials, "#/credentials")):
            raise _wrong(
                "#/credentials",
                "Nothing here is secret, so anybody could report payments in this source's name. Fill the secret it "
                "signs with, or ask for a secret in its addresses with path_secret: true.",
            )

    async def _report_lane(self, tx: Tx, merchant_id: UUID) -> UUID:
        lane_id = new_id()
        await lanes.create(tx, lane_id, kind="report", merchant_id=merchant_id, max_in_flight=IN_FLIGHT)
        return lane_id

    async def _own(self, tx: Tx, merchant_id: UUID, values: Mapping[str, Any]) -> None:
        """What a source points to belongs to the same merchant."""
        if values.get("branch_id") is not None and not await merchants.branch(tx, merchant_id, values["branch_id"]):
            raise NotFound("There is no such branch here.")
        if values.get("kassa_id") is not None and not await kassas.by_id(tx, merchant_id, values["kassa_id"]):
            raise NotFound("There is no such kassa here.")

    def _opened(self, row: SourceRow) -> dict[str, Any]:
        if row.credentials is None:
            return {}
        where = aad("sources", "credentials", row.merchant_id, row.id)
        opened: dict[str, Any] = json.loads(self._box.open(row.credentials, where))
        return opened

    def _view(self, row: SourceRow, secret: str | None = None) -> SourceView:
        can = self._adapters.get(row.kind).capabilities if row.kind in self._adapters else None
        return SourceView(row, self._addresses(row, secret), self._masked_contact(row), can)

    def _addresses(self, row: SourceRow, secret: str | None) -> tuple[Address, ...]:
        if row.kind == BUILT_IN_SOURCE or row.kind not in self._adapters:
            return ()
        middle = f"/s-{secret}" if secret else "/s-…" if row.path_secret_hash else ""
        beginning = f"{self._public_url}/in/{public('src', row.id)}{middle}"
        parts = self._adapters.get(row.kind).capabilities.parts
        return tuple(Address(part, meaning, f"{beginning}/{part}") for part, meaning in parts.items())

    def _masked_contact(self, row: SourceRow) -> str | None:
        known = open_fallback(self._box, row)
        if known is None:
            return None
        return mask_email(known.email) if known.email else mask_phone(known.phone or "")

    async def _noted(self, tx: Tx, actor: str, action: str, row: SourceRow, data: dict[str, Any]) -> None:
        await audit.record(tx, actor, action, merchant_id=row.merchant_id, object_id=public("src", row.id), data=data)


def _secret_of(url: str) -> str | None:
    """The secret in an address of ours."""
    return next((step[2:] for step in url.split("/") if step.startswith("s-")), None)


def _wrong(pointer: str, detail: str) -> NotValid:
    return NotValid(detail, errors=[{"pointer": pointer, "detail": detail, "code": "value_error"}])


def _found(row: SourceRow | None) -> SourceRow:
    if row is None:
        raise NotFound("There is no such source here.")
    return row
