"""A buyer asks to be forgotten (152-FZ): his contacts go, what the law wants kept of the receipt stays."""

import json
import re
from base64 import b64decode
from dataclasses import dataclass, replace
from urllib.parse import unquote_plus
from uuid import UUID

from app.db.repos import audit, privacy
from app.db.repos.privacy import Sealed
from app.db.repos.retention import FIRST
from app.db.unit_of_work import Database, Tx
from app.domain.receipt import Customer
from app.infra.crypto import CannotOpen, SearchHasher, SecretBox, aad
from app.infra.ids import public
from app.services.customers import open_event, seal_event

BATCH = 200
_NO_DIGIT = re.compile(r"\D+")
_LOCAL_DIGITS = 10


@dataclass(frozen=True, slots=True)
class Erased:
    """What was taken, or with a dry run would be. `unfinished` receipts keep their buyer: they still need him."""

    receipts: int = 0
    events: int = 0
    exchanges: int = 0
    notices: int = 0
    unfinished: int = 0


class Privacy:
    """Forgets buyers of one merchant at a time."""

    def __init__(self, database: Database, box: SecretBox, hasher: SearchHasher) -> None:
        self._database = database
        self._box = box
        self._hasher = hasher

    async def erase(
        self, actor: str, merchant_id: UUID, *, email: str | None, phone: str | None, dry: bool = False
    ) -> Erased:
        """Forget whoever has this normalised e-mail or phone (E.164), with all else that is known of him.

        From finished receipts, their events, raw exchanges with providers and raw notifications. Document, fiscal
        members, sums and history stay. May be stopped and run again; each batch is whole by itself, and audited
        without the contact. A contact that was only in a value whose key is gone is not found, and readable by nobody.
        """
        hashes = (
            self._hasher.email(merchant_id, email) if email else None,
            self._hasher.phone(merchant_id, phone) if phone else None,
        )
        done, after = Erased(), FIRST
        while True:
            async with self._database.pipeline() as tx:
                found = await privacy.receipts(tx, merchant_id, *hashes, after, BATCH)
                if not found:
                    break
                after = found[-1].id
                finished = [one for one in found if one.finished]
                gone = await self._receipts(tx, merchant_id, finished)
                if finished:
                    await self._audit(tx, actor, merchant_id, gone)
                if dry:
                    await tx.rollback()
            done = _sum(done, replace(gone, unfinished=len(found) - len(finished)))
        return _sum(done, await self._notices(actor, merchant_id, email, phone, dry=dry))

    async def _receipts(self, tx: Tx, merchant_id: UUID, found: list[privacy.Found]) -> Erased:
        ids = [one.id for one in found]
        events = [one.event_id for one in found if one.event_id is not None]
        receipts = await privacy.forget_buyer(tx, merchant_id, ids)
        exchanges = await privacy.forget_exchanges(tx, merchant_id, ids)
        forgotten = 0
        for event in await privacy.events(tx, merchant_id, events):
            forgotten += await self._event(tx, merchant_id, event)
        return Erased(receipts=receipts, events=forgotten, exchanges=exchanges)

    async def _event(self, tx: Tx, merchant_id: UUID, sealed: Sealed) -> bool:
        try:
            event = open_event(self._box, merchant_id, sealed.id, sealed.blob)
        except CannotOpen:
            return False
        if event.customer == Customer():
            return False
        blob = seal_event(self._box, merchant_id, sealed.id, replace(event, customer=Customer()))
        await privacy.replace_payload(tx, merchant_id, Sealed(sealed.id, blob))
        return True

    async def _notices(
        self, actor: str, merchant_id: UUID, email: str | None, phone: str | None, *, dry: bool
    ) -> Erased:
        """Nothing but their text says whom raw notifications are about: each is opened and read."""
        done, after = 0, FIRST
        while True:
            async with self._database.pipeline() as tx:
                found = await privacy.notices(tx, merchant_id, after, BATCH)
                if not found:
                    return Erased(notices=done)
                after = found[-1].id
                about = [one.id for one in found if self._is_about(merchant_id, one, email, phone)]
                if about:
                    await privacy.delete_notices(tx, merchant_id, about)
                    await self._audit(tx, actor, merchant_id, Erased(notices=len(about)))
                if dry:
                    await tx.rollback()
            done += len(about)

    def _is_about(self, merchant_id: UUID, notice: Sealed, email: str | None, phone: str | None) -> bool:
        try:
            raw = json.loads(self._box.open(notice.blob, aad("notifications", "raw", merchant_id, notice.id)))
        except CannotOpen:
            return False
        body = b64decode(raw["body"]).decode("utf-8", "replace")
        text = unquote_plus(f"{raw['query']} {body}").lower()
        if email and email.lower() in text:
            return True
        # However it was written: one phone too many only lets a raw notification go before its time.
        return bool(phone) and _NO_DIGIT.sub("", phone or "")[-_LOCAL_DIGITS:] in _NO_DIGIT.sub("", text)

    async def _audit(self, tx: Tx, actor: str, merchant_id: UUID, gone: Erased) -> None:
        data = {name: getattr(gone, name) for name in ("receipts", "events", "exchanges", "notices")}
        named = public("mer", merchant_id)
        await audit.record(tx, actor, "buyer.erased", merchant_id=merchant_id, object_id=named, data=data)


def _sum(one: Erased, other: Erased) -> Erased:
    return Erased(*(getattr(one, name) + getattr(other, name) for name in Erased.__slots__))
