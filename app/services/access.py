"""Who may come in: API keys are checked by their hash, made, rotated and revoked; their text is shown once."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import structlog

from app.db.repos import audit, keys, sources
from app.db.repos.keys import KeyRow, KnownKey
from app.db.repos.paging import Position
from app.db.repos.settings import merchant
from app.db.unit_of_work import Database, Tx
from app.domain.errors import Busy, Conflict, KassaError, NotFound
from app.infra.ids import hash_api_key, new_api_key, new_id, public, well_formed
from app.services.principal import SCOPES, Principal
from app.services.remembered import Remembered

log = structlog.get_logger(__name__)

_DISPLAYED = 12
_NOTE_EVERY_SECONDS = 60.0
ROTATION_GRACE_SECONDS = 86_400
"""How long a rotated key works beside its successor unless the caller says otherwise."""


class Unauthenticated(KassaError):
    """No key was sent."""

    code = "authentication-required"


class KeyInvalid(KassaError):
    """Malformed, unknown, revoked and expired keys look the same to whoever tries them."""

    code = "invalid-api-key"

    def __init__(self) -> None:
        super().__init__("This API key is not known here; keys can be revoked and can expire.")


class Forbidden(KassaError):
    """The key is good, but not for this."""

    code = "insufficient-scope"


class Suspended(KassaError):
    """The key's merchant was suspended by the operator of this installation."""

    code = "merchant-suspended"


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key just made; `text` is shown now and never again."""

    key: KeyRow
    text: str


@dataclass(frozen=True, slots=True)
class _Known:
    """A key as it was looked up, and whom it speaks for."""

    row: KnownKey
    principal: Principal


class Access:
    """API keys of one installation. What was looked up is believed for `cache_seconds`, in other processes too."""

    def __init__(
        self, database: Database, pepper: bytes, now: Callable[[], datetime], *, cache_seconds: float = 5.0
    ) -> None:
        self._database = database
        self._pepper = pepper
        self._now = now
        self._known: Remembered[bytes, _Known] = Remembered(cache_seconds)
        self._noted: dict[UUID, float] = {}
        self._notes: set[asyncio.Task[None]] = set()

    async def authenticate(self, header: str | None) -> Principal:
        """The caller behind an `Authorization` header.

        Raises Unauthenticated without a bearer key, KeyInvalid for any key that does not work, Suspended for one
        whose merchant is suspended.
        """
        scheme, _, text = (header or "").strip().partition(" ")
        text = text.strip()
        if scheme.lower() != "bearer" or not text:
            raise Unauthenticated("Send Authorization: Bearer <API key>.")
        known = await self._look_up(text)
        if known is None:
            raise KeyInvalid
        key = known.row.key
        if key.revoked_at is not None or (key.expires_at is not None and key.expires_at <= self._now()):
            raise KeyInvalid
        if known.row.merchant_status == "suspended":
            raise Suspended("This merchant is suspended; the operator of this installation can lift it.")
        self._note_use(key.id)
        return known.principal

    async def create(
        self,
        principal: Principal,
        *,
        merchant_id: UUID | None,
        name: str,
        scopes: Sequence[str],
        source_id: UUID | None = None,
        live: bool = True,
        expires_at: datetime | None = None,
    ) -> NewKey:
        """A key for the caller's merchant, or for any when the caller is an admin (None: another admin key).

        Forbidden for more than the caller's own key may do; NotFound for another merchant or its source.
        """
        if not principal.admin:
            if merchant_id not in (None, principal.merchant_id):
                raise NotFound("There is no such merchant here.")
            merchant_id = principal.merchant_id
            source_id = source_id or principal.source_id
        self._within(principal, merchant_id, scopes, source_id, live)
        if expires_at is not None and expires_at <= self._now():
            raise Conflict("expires_at lies in the past; a key that has expired is of no use.")
        async with self._database.pipeline() as tx:
            if merchant_id is not None and await merchant(tx, merchant_id) is None:
                raise NotFound("There is no such merchant here.")
            if source_id is not None and (
                merchant_id is None or await sources.by_id(tx, merchant_id, source_id) is None
            ):
                raise NotFound("There is no such source here.")
            return await self._store(tx, principal.actor, merchant_id, source_id, name, scopes, live, expires_at)

    async def page(
        self, principal: Principal, merchant_id: UUID | None, before: Position | None, limit: int
    ) -> list[KeyRow]:
        """Newest first; for an admin the installation's own keys, or those of the merchant named."""
        wanted = merchant_id if principal.admin else principal.merchant_id
        if merchant_id not in (None, wanted):
            raise NotFound("There is no such merchant here.")
        async with self._reading(principal) as tx:
            return await keys.page(tx, wanted, before, limit)

    async def read(self, principal: Principal, key_id: UUID) -> KeyRow:
        """A key that the caller may see. NotFound for anybody else's."""
        async with self._reading(principal) as tx:
            return await self._visible(tx, principal, key_id)

    async def rotate(
        self, principal: Principal, key_id: UUID, *, grace_seconds: float = ROTATION_GRACE_SECONDS
    ) -> NewKey:
        """A successor with the same rights; the old key works on for the grace period.

        Forbidden for a key that may do more than the caller's own, because its successor's text is told.
        """
        async with self._database.pipeline() as tx:
            old = await self._visible(tx, principal, key_id, lock=True)
            if old.revoked_at is not None or (old.expires_at is not None and old.expires_at <= self._now()):
                raise Conflict("This key has ended; create a new one instead.", current_state="ended")
            self._within(principal, old.merchant_id, old.scopes, old.source_id, old.live)
            made = await self._store(
                tx, principal.actor, old.merchant_id, old.source_id, old.name, old.scopes, old.live, old.expires_at
            )
            await keys.expire(tx, old.id, grace_seconds)
            await audit.record(
                tx,
                principal.actor,
                "key.rotated",
                merchant_id=old.merchant_id,
                object_id=public("key", old.id),
                data={"successor": public("key", made.key.id), "grace_seconds": grace_seconds},
            )
        self._forget(old.id)
        return made

    async def revoke(self, principal: Principal, key_id: UUID) -> None:
        """At once in this process, within the cache's age in others. Revoking again changes nothing."""
        async with self._database.pipeline() as tx:
            old = await self._visible(tx, principal, key_id, lock=True)
            await keys.revoke(tx, old.id)
            await audit.record(
                tx, principal.actor, "key.revoked", merchant_id=old.merchant_id, object_id=public("key", old.id)
            )
        self._forget(old.id)

    async def ensure_admin_key(self) -> str | None:
        """The text of a first admin key, made now; None when one exists already."""
        async with self._database.pipeline() as tx:
            if await keys.admin_exists(tx):
                return None
            made = await self._store(tx, "start", None, None, "first admin key", ("admin",), True, None)
        return made.text

    async def close(self) -> None:
        """Wait for the notes of last use that are on their way."""
        await asyncio.gather(*self._notes)

    async def _look_up(self, text: str) -> _Known | None:
        key_hash = hash_api_key(self._pepper, text)
        known = self._known.peek(key_hash)
        if known is not None or not well_formed(text):
            return known
        return await self._known.get(key_hash, self._read)

    async def _read(self, key_hash: bytes) -> _Known | None:
        async with self._database.pipeline() as tx:
            row = await keys.by_hash(tx, key_hash)
        if row is None:
            return None
        key = row.key
        return _Known(row, Principal(key.id, key.merchant_id, key.source_id, frozenset(key.scopes), key.live))

    def _note_use(self, key_id: UUID) -> None:
        """Outside the request's transaction: a request must not wait for, or fail by, this note."""
        now = time.monotonic()
        if now - self._noted.get(key_id, -_NOTE_EVERY_SECONDS) < _NOTE_EVERY_SECONDS:
            return
        self._noted[key_id] = now
        task = asyncio.create_task(self._note(key_id), name="key-last-used")
        self._notes.add(task)
        task.add_done_callback(self._notes.discard)

    async def _note(self, key_id: UUID) -> None:
        try:
            async with self._database.pipeline() as tx:
                await keys.used(tx, key_id)
        except Busy:
            log.info("key.use_not_noted", key_id=public("key", key_id))

    def _reading(self, principal: Principal) -> AbstractAsyncContextManager[Tx]:
        """Under row-level security for whoever speaks for a merchant."""
        if principal.merchant_id is None:
            return self._database.pipeline()
        return self._database.tenant(principal.merchant_id)

    async def _visible(self, tx: Tx, principal: Principal, key_id: UUID, *, lock: bool = False) -> KeyRow:
        if principal.admin:
            found = await keys.any_by_id(tx, key_id, lock=lock)
        else:
            found = await keys.by_id(tx, principal.merchant_id, key_id, lock=lock)
        if found is None:
            raise NotFound("There is no such API key here.")
        return found

    def _within(
        self, principal: Principal, merchant_id: UUID | None, scopes: Sequence[str], source_id: UUID | None, live: bool
    ) -> None:
        """A key hands out no more than it has itself."""
        legal = {"admin"} if merchant_id is None else {*SCOPES, "*"}
        wrong = sorted(set(scopes) - legal)
        if wrong:
            whose = "an admin key" if merchant_id is None else "a merchant's key"
            raise Forbidden(
                f"{', '.join(wrong)} cannot be given to {whose}; possible: {', '.join(sorted(legal))}.",
                required_scopes=wrong,
            )
        if principal.admin:
            return
        beyond = sorted(scope for scope in set(scopes) if not _holds(principal, scope))
        if beyond:
            raise Forbidden(
                f"This key cannot give {', '.join(beyond)}: it does not have it itself.", required_scopes=beyond
            )
        if principal.source_id is not None and source_id != principal.source_id:
            raise Forbidden("A key that is bound to a source can only give out keys bound to the same source.")
        if live and not principal.live:
            raise Forbidden("A test key can only give out test keys.")

    async def _store(
        self,
        tx: Tx,
        actor: str,
        merchant_id: UUID | None,
        source_id: UUID | None,
        name: str,
        scopes: Sequence[str],
        live: bool,
        expires_at: datetime | None,
    ) -> NewKey:
        text, key_id = new_api_key(live), new_id()
        row = await keys.create(
            tx,
            key_id,
            hash_api_key(self._pepper, text),
            {
                "merchant_id": merchant_id,
                "source_id": source_id,
                "name": name,
                "display": f"{text[:_DISPLAYED]}…{text[-4:]}",
                "scopes": sorted(set(scopes)),
                "live": live,
                "expires_at": expires_at,
            },
        )
        await audit.record(
            tx,
            actor,
            "key.created",
            merchant_id=merchant_id,
            object_id=public("key", key_id),
            data={"scopes": sorted(set(scopes)), "live": live},
        )
        return NewKey(row, text)

    def _forget(self, key_id: UUID) -> None:
        self._known.forget_where(lambda known: known.row.key.id == key_id)


def _holds(principal: Principal, scope: str) -> bool:
    return "*" in principal.scopes if scope == "*" else principal.may(scope)
