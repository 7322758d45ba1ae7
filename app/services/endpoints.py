"""Webhook endpoints: where messages go, how they are signed, and how lost ones are sent once more."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from app.db.repos import audit, lanes_read
from app.db.repos import endpoints as repo
from app.db.repos.endpoints import DeliveryRow, EndpointRow
from app.db.repos.paging import Position
from app.db.repos.settings import merchant
from app.db.unit_of_work import Database, Tx, database_now
from app.domain.errors import Conflict, NotFound, UrlForbidden
from app.domain.lifecycle import MessageType
from app.infra.crypto import SecretBox, aad
from app.infra.egress import EgressPolicy, ForbiddenUrl, Lookup
from app.infra.ids import new_id, public
from app.outbound.messages import message_body
from app.outbound.signing import new_secret
from app.queue import lanes
from app.queue.replay import replay, tell_one
from app.services.alerts import endpoint_named
from app.services.lane_view import LaneView, lane_view
from app.services.sealed import NotValid

TEST_TYPE = "endpoint.test"
MESSAGE_TYPES = (
    *(type.value for type in MessageType),
    "kassa.paused",
    "kassa.resumed",
    "endpoint.disabled",
    "event.alarm",
    "source.silent",
    "source.heard",
    "merchant.vat_regime_review",
)
"""What an endpoint may ask for by name; `receipt.*`, `event.*` and their like take whole families, `*` takes all."""

FAMILIES = ("*", *sorted({f"{type.partition('.')[0]}.*" for type in MESSAGE_TYPES}))
MOST_REPLAYED = 10_000
REPLAY_DAYS = 14


@dataclass(frozen=True, slots=True)
class EndpointView:
    """An endpoint without its secrets, and how much waits for it. `secret` is told when it was just made, only then."""

    endpoint: EndpointRow
    lane: LaneView
    secret: str | None = None


@dataclass(frozen=True, slots=True)
class Replayed:
    """How many messages go out once more; `more` says that the range holds further ones."""

    queued: int
    more: bool


class Endpoints:
    """Webhook endpoints of one merchant at a time."""

    def __init__(
        self,
        database: Database,
        box: SecretBox,
        policy: EgressPolicy,
        *,
        max_in_flight: int = 10,
        rotation_overlap_seconds: float = 86_400.0,
        lookup: Lookup | None = None,
    ) -> None:
        self._database = database
        self._box = box
        self._policy = policy
        self._max_in_flight = max_in_flight
        self._overlap = timedelta(seconds=rotation_overlap_seconds)
        self._lookup = lookup

    async def create(
        self, actor: str, merchant_id: UUID, *, url: str, types: Sequence[str], description: str | None = None
    ) -> EndpointView:
        """An endpoint with its signing secret, which is told now and never again.

        UrlForbidden for an address that we must not call, NotValid for a type of message that does not exist.
        """
        wanted = _checked_types(types)
        await self._permitted(url)
        endpoint_id, secret = new_id(), new_secret()
        async with self._database.pipeline() as tx:
            if await merchant(tx, merchant_id) is None:
                raise NotFound("There is no such merchant here.")
            row = await repo.create(
                tx,
                merchant_id,
                endpoint_id,
                {
                    "url": url,
                    "types": wanted,
                    "description": description,
                    "secret": self._sealed("secret", merchant_id, endpoint_id, secret),
                },
            )
            await lanes.create(
                tx, endpoint_id, kind="endpoint", merchant_id=merchant_id, max_in_flight=self._max_in_flight
            )
            await self._noted(tx, actor, "endpoint.created", row, {"url": url, "types": wanted})
            return await self._view(tx, row, secret)

    async def page(self, merchant_id: UUID, before: Position | None, limit: int) -> list[EndpointView]:
        """At most `limit` endpoints behind a place, newest first."""
        async with self._database.tenant(merchant_id) as tx:
            rows = await repo.page(tx, merchant_id, before, limit)
        async with self._database.pipeline() as tx:
            states = await lanes_read.states(tx, merchant_id, [row.id for row in rows])
        return [EndpointView(row, lane_view(states[row.id])) for row in rows]

    async def read(self, merchant_id: UUID, endpoint_id: UUID) -> EndpointView:
        """One endpoint. NotFound for anybody else's."""
        async with self._database.tenant(merchant_id) as tx:
            row = _found(await repo.by_id(tx, merchant_id, endpoint_id))
        async with self._database.pipeline() as tx:
            return await self._view(tx, row)

    async def change(
        self, actor: str, merchant_id: UUID, endpoint_id: UUID, changes: Mapping[str, Any]
    ) -> EndpointView:
        """Of `url, types, description, status` (active, disabled) those that are given.

        Switched on again it has a clean record; what came meanwhile is sent by `replay`.
        """
        values = dict(changes)
        if "types" in values:
            values["types"] = _checked_types(values["types"])
        if "url" in values:
            await self._permitted(values["url"])
        async with self._database.pipeline() as tx:
            before = _found(await repo.by_id(tx, merchant_id, endpoint_id, lock=True))
            if values.get("status", before.status) != before.status:
                off = values["status"] == "disabled"
                values |= {"disabled_reason": "by_hand" if off else None, "failing_since": None}
            row = await repo.change(tx, merchant_id, endpoint_id, values)
            await self._noted(tx, actor, "endpoint.changed", row, dict(changes))
            return await self._view(tx, row)

    async def rotate_secret(
        self, actor: str, merchant_id: UUID, endpoint_id: UUID, *, force: bool = False
    ) -> EndpointView:
        """A new secret. Messages carry both signatures until the overlap ends, so that no receiver fails meanwhile.

        Conflict while an earlier overlap is open: a third secret would end the first one at once. `force` does it.
        """
        secret = new_secret()
        async with self._database.pipeline() as tx:
            before = _found(await repo.by_id(tx, merchant_id, endpoint_id, lock=True))
            now = await database_now(tx)
            until = before.previous_secret_until
            if until is not None and until > now and not force:
                raise Conflict(
                    "The last change of the secret is still under way: until it ends two secrets sign. Wait, or send "
                    "force: true to end the older one at once.",
                    current_state="rotating",
                )
            old = self._box.open(before.secret, self._where("secret", merchant_id, endpoint_id)).decode()
            row = await repo.change(
                tx,
                merchant_id,
                endpoint_id,
                {
                    "secret": self._sealed("secret", merchant_id, endpoint_id, secret),
                    "previous_secret": self._sealed("previous_secret", merchant_id, endpoint_id, old),
                    "previous_secret_until": now + self._overlap,
                },
            )
            await self._noted(tx, actor, "endpoint.secret_rotated", row, {"force": force})
            return await self._view(tx, row, secret)

    async def test(self, actor: str, merchant_id: UUID, endpoint_id: UUID) -> UUID:
        """Sends an `endpoint.test` message the way every message goes; returns its id, to be found in the deliveries.

        Conflict for an endpoint that is switched off.
        """
        async with self._database.pipeline() as tx:
            row = self._running(await repo.by_id(tx, merchant_id, endpoint_id))
            at = await database_now(tx)
            body = message_body(TEST_TYPE, at, endpoint_named(endpoint_id, row.url))
            message_id = await tell_one(tx, merchant_id, endpoint_id, TEST_TYPE, body, at)
            await self._noted(tx, actor, "endpoint.tested", row, {"message_id": public("msg", message_id)})
        return message_id

    async def replay(
        self,
        actor: str,
        merchant_id: UUID,
        endpoint_id: UUID,
        *,
        message_id: UUID | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        only_failed: bool = True,
    ) -> Replayed:
        """Send one message, or those of a time range, once more: same ids, same bytes, new signatures.

        The range reaches back 14 days at most; it holds what the endpoint's types want, what it missed while it was
        off included. Receivers tell repeats by `webhook-id`.
        """
        if (message_id is None) == (since is None):
            raise NotValid(
                "Name either one message or the beginning of a range.",
                errors=[{"pointer": "#", "detail": "Send message_id or since.", "code": "value_error"}],
            )
        async with self._database.pipeline() as tx:
            row = self._running(await repo.by_id(tx, merchant_id, endpoint_id, lock=True))
            now = await database_now(tx)
            if message_id is not None:
                queued, more = await replay(tx, merchant_id, endpoint_id, message_id=message_id), False
                if not queued:
                    raise NotFound("There is no such message here.")
            else:
                if since is None or since < now - timedelta(days=REPLAY_DAYS):
                    raise Conflict(
                        f"A range begins at most {REPLAY_DAYS} days ago; older messages are read one by one."
                    )
                queued = await replay(
                    tx,
                    merchant_id,
                    endpoint_id,
                    since=since,
                    until=until or now,
                    only_failed=only_failed,
                    types=row.types,
                    limit=MOST_REPLAYED,
                )
                more = queued == MOST_REPLAYED
            await self._noted(tx, actor, "endpoint.replayed", row, {"queued": queued})
        return Replayed(queued, more)

    async def deliveries(
        self, merchant_id: UUID, endpoint_id: UUID, before: Position | None, limit: int
    ) -> list[DeliveryRow]:
        """Attempts to post, newest first."""
        async with self._database.tenant(merchant_id) as tx:
            _found(await repo.by_id(tx, merchant_id, endpoint_id))
            return await repo.deliveries_page(tx, merchant_id, endpoint_id, before, limit)

    def _running(self, row: EndpointRow | None) -> EndpointRow:
        found = _found(row)
        if found.status != "active":
            raise Conflict(
                "The endpoint is switched off; switch it on first (PATCH with status: active).",
                current_state=found.status,
                allowed_states=["active"],
            )
        return found

    async def _permitted(self, url: str) -> None:
        try:
            await self._policy.resolve_and_check(url, self._lookup)
        except ForbiddenUrl as error:
            raise UrlForbidden(str(error), reason=error.reason) from None

    def _where(self, column: str, merchant_id: UUID, endpoint_id: UUID) -> bytes:
        return aad("webhook_endpoints", column, merchant_id, endpoint_id)

    def _sealed(self, column: str, merchant_id: UUID, endpoint_id: UUID, secret: str) -> bytes:
        return self._box.seal(secret.encode(), self._where(column, merchant_id, endpoint_id))

    async def _view(self, tx: Tx, row: EndpointRow, secret: str | None = None) -> EndpointView:
        return EndpointView(row, lane_view((await lanes_read.states(tx, row.merchant_id, [row.id]))[row.id]), secret)

    async def _noted(self, tx: Tx, actor: str, action: str, row: EndpointRow, data: dict[str, Any]) -> None:
        await audit.record(tx, actor, action, merchant_id=row.merchant_id, object_id=public("whe", row.id), data=data)


def _checked_types(types: Sequence[str]) -> list[str]:
    """Known types without repeats, in order."""
    wrong = [(index, type) for index, type in enumerate(types) if type not in (*MESSAGE_TYPES, *FAMILIES)]
    if wrong:
        detail = f"No such type of message; there are {', '.join((*FAMILIES, *MESSAGE_TYPES))}."
        raise NotValid(
            "Some types of message do not exist.",
            errors=[{"pointer": f"#/types/{index}", "detail": detail, "code": "enum"} for index, _ in wrong],
        )
    return list(dict.fromkeys(types))


def _found(row: EndpointRow | None) -> EndpointRow:
    if row is None:
        raise NotFound("There is no such endpoint here.")
    return row
