"""Many payments without receipts at once: a list is previewed with every finding, then confirmed by a person once.

Each payment takes its own identity, so that one that was reported meanwhile is refused at the moment of storing, and a
confirmation that was broken off goes on where it stopped.
"""

import asyncio
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from app.db.repos import correction_batches as repo
from app.db.repos import events
from app.db.repos.correction_batches import BatchRow, PaymentRow
from app.db.unit_of_work import Database, database_now
from app.domain.codec import event_from_json, event_to_json, receipt_to_json
from app.domain.correction_list import MAX_ROWS, Listed, Unreadable
from app.domain.errors import Conflict, DuplicateEvent, Finding, Invalid, NotFound
from app.domain.event import EventType, PaymentEvent
from app.domain.ffd import CorrectionKind, Operation
from app.domain.receipt import CorrectionBasis, Receipt
from app.infra.compact_json import json_bytes
from app.infra.contacts import normalize_email, normalize_phone
from app.infra.crypto import aad
from app.infra.ids import new_id, public
from app.services.catalog import Catalog, MerchantSettings
from app.services.correction_batch_views import batch_view, finding_view
from app.services.correction_views import document_view
from app.services.intake import Intake
from app.services.missing_receipts import MissingReceipts
from app.services.principal import Principal
from app.services.sales import local_date

VALID_FOR = timedelta(hours=24)
"""How long a preview may be confirmed: what it showed should still be so."""

_AT_ONCE = 8
_NOON = time(12)
_MINE = "correction_batch"


@dataclass(frozen=True, slots=True)
class Payment:
    """One payment of a list as the API took it: its id in the source, the day, and what an event would say."""

    payment_id: str
    day: date
    event: PaymentEvent


@dataclass(frozen=True, slots=True)
class _Judged:
    """A row of a preview: its event and document, or why there is none."""

    number: int
    payment_id: str | None
    amount: int | None
    event: PaymentEvent | None
    receipt: Receipt | None
    view: dict[str, Any] | None
    findings: tuple[Finding, ...] = ()

    @property
    def digest(self) -> bytes | None:
        return None if self.receipt is None else _digest(self.receipt)


class CorrectionBatches:
    """Lists of one merchant."""

    def __init__(self, *, database: Database, catalog: Catalog, intake: Intake, missing: MissingReceipts) -> None:
        self._database = database
        self._catalog = catalog
        self._intake = intake
        self._missing = missing
        self._box = intake.box

    async def preview(
        self,
        principal: Principal,
        merchant_id: UUID,
        source: str | None,
        kind: CorrectionKind,
        document_number: str | None,
        rows: Sequence[Payment | Unreadable],
    ) -> dict[str, Any]:
        """Judge every row and keep the list for its confirmation; no receipt is made.

        Invalid when there are more than 1000 rows, or none.
        """
        if not 1 <= len(rows) <= MAX_ROWS:
            raise Invalid("this is no list of payments", (_size(len(rows)),))
        source_id = await self._intake.source_of(principal, merchant_id, source)
        settings = await self._catalog.merchant(merchant_id, fresh=True)
        now = await self._database.now()
        known = await self._known(merchant_id, rows)
        judged = []
        seen: set[str] = set()
        for number, row in enumerate(rows):
            judged.append(self._judge(settings, source_id, number, row, kind, document_number, known, seen, now))
        good = [one for one in judged if one.receipt is not None]
        batch_id = new_id()
        token = hashlib.sha256(batch_id.bytes + b"".join(one.digest or b"" for one in judged)).hexdigest()[:32]
        batch = BatchRow(
            id=batch_id,
            merchant_id=merchant_id,
            source_id=source_id,
            token_hash=hashlib.sha256(token.encode()).digest(),
            documents=len(good),
            refused=len(judged) - len(good),
            total=sum(one.receipt.total for one in good if one.receipt is not None),
            actor=principal.actor,
            created_at=now,
            expires_at=now + VALID_FOR,
        )
        stored = [self._stored(batch, one) for one in judged]
        async with self._database.pipeline() as tx:
            await repo.add(tx, merchant_id, batch, stored)
        shown = batch_view(batch, stored, {})
        for row_view, one in zip(shown["rows"], judged, strict=True):
            row_view["document"] = one.view
        return {**shown, "token": token if good else None}

    async def confirm(self, principal: Principal, merchant_id: UUID, batch_id: UUID, token: str) -> dict[str, Any]:
        """Make the corrections that the preview showed, each once however often this is asked.

        Conflict when the token is not the preview's, or its time is over. A row that meanwhile was reported, or whose
        document would look otherwise by now, is left out and says why.
        """
        async with self._database.pipeline() as tx:
            batch = await repo.by_id(tx, merchant_id, batch_id, lock=True)
            if batch is None:
                raise NotFound("no such list")
            if hashlib.sha256(token.encode()).digest() != batch.token_hash:
                raise Conflict("this is not the token of the preview; look at it again", rule="token_differs")
            if batch.confirmed_at is None:
                if batch.expires_at < await database_now(tx):
                    raise Conflict("the preview is older than a day; make it again", rule="preview_expired")
                await repo.confirm(tx, merchant_id, batch_id, principal.actor)
            rows = [one for one in await repo.of_batch(tx, merchant_id, batch_id) if one.state == "planned"]
        settings = await self._catalog.merchant(merchant_id, fresh=True)
        for first in range(0, len(rows), _AT_ONCE):
            chunk = rows[first : first + _AT_ONCE]
            done = await asyncio.gather(*(self._send(principal, settings, batch, one) for one in chunk))
            async with self._database.pipeline() as tx:
                for row, (state, findings, event_id) in zip(chunk, done, strict=True):
                    told = [finding_view(one) for one in findings]
                    await repo.finish_row(tx, merchant_id, row.id, state, told, event_id)
        return await self.read(merchant_id, batch_id)

    async def read(self, merchant_id: UUID, batch_id: UUID) -> dict[str, Any]:
        """The list with what became of each row. NotFound for anybody else's."""
        async with self._database.tenant(merchant_id) as tx:
            batch = await repo.by_id(tx, merchant_id, batch_id)
            if batch is None:
                raise NotFound("no such list")
            rows = await repo.of_batch(tx, merchant_id, batch_id)
            made = await repo.made(tx, merchant_id, batch_id)
        return batch_view(batch, rows, made)

    async def _known(self, merchant_id: UUID, rows: Sequence[Payment | Unreadable]) -> dict[str, UUID]:
        """Payments that any source of the merchant reported already."""
        ids = sorted({row.payment_id for row in rows if row.payment_id is not None})
        async with self._database.pipeline() as tx:
            return await events.reported_among(tx, merchant_id, ids)

    def _judge(
        self,
        settings: MerchantSettings,
        source_id: UUID,
        number: int,
        row: Payment | Unreadable,
        kind: CorrectionKind,
        document_number: str | None,
        known: Mapping[str, UUID],
        seen: set[str],
        now: datetime,
    ) -> _Judged:
        if isinstance(row, Unreadable):
            return _Judged(number, row.payment_id, None, None, None, None, row.findings)
        at = f"#/rows/{number}"
        found: list[Finding] = []
        if row.payment_id in seen:
            found.append(_repeated(at))
        seen.add(row.payment_id)
        if row.payment_id in known:
            found.append(_reported(at, known[row.payment_id]))
        event, zone = self._event(settings, source_id, row)
        basis = CorrectionBasis(kind, row.day, document_number)
        try:
            plan, kassa = self._missing.plan_missing(
                settings, source_id, event, Operation.SELL, basis, local_date(now, zone)
            )
        except Invalid as refused:
            told = refused.findings or (Finding("#", "not_possible", refused.detail, refused.detail),)
            found += [replace(one, pointer=at + one.pointer.removeprefix("#")) for one in told]
            return _Judged(number, row.payment_id, event.amount, event, None, None, tuple(found))
        if found:
            return _Judged(number, row.payment_id, event.amount, event, None, None, tuple(found))
        document = plan.documents[0]
        view = document_view(document, self._missing.means(kassa))
        return _Judged(number, row.payment_id, event.amount, event, document.receipt, view)

    def _event(self, settings: MerchantSettings, source_id: UUID, row: Payment) -> tuple[PaymentEvent, str]:
        _, kassa = self._intake.sales.place_of(settings, settings.sources[source_id], row.event)
        zone = "Europe/Moscow" if kassa is None else kassa.timezone
        at = datetime.combine(row.day, _NOON, ZoneInfo(zone))
        named = replace(row.event, type=EventType.PAYMENT_SUCCEEDED, external_id=row.payment_id, occurred_at=at)
        return named, zone

    def _stored(self, batch: BatchRow, one: _Judged) -> PaymentRow:
        row_id = new_id()
        payload = None
        if one.receipt is not None and one.event is not None and one.receipt.correction is not None:
            basis = one.receipt.correction
            kept = {
                "event": event_to_json(one.event),
                "kind": basis.kind.code,
                "day": basis.corrected_date.isoformat(),
                "number": basis.document_number,
            }
            payload = self._box.seal(json_bytes(kept), aad("correction_rows", "payload", batch.merchant_id, row_id))
        return PaymentRow(
            id=row_id,
            merchant_id=batch.merchant_id,
            batch_id=batch.id,
            number=one.number,
            external_id=one.payment_id,
            amount=one.amount,
            state="refused" if payload is None else "planned",
            findings=[finding_view(each) for each in one.findings],
            digest=one.digest,
            payload=payload,
            event_id=None,
        )

    async def _send(
        self, principal: Principal, settings: MerchantSettings, batch: BatchRow, row: PaymentRow
    ) -> tuple[str, tuple[Finding, ...], UUID | None]:
        """One row through intake under its own identity; what became of it."""
        if row.payload is None or row.external_id is None:
            raise ValueError("a planned row keeps what was told of it")
        kept = json.loads(self._box.open(row.payload, aad("correction_rows", "payload", row.merchant_id, row.id)))
        event = event_from_json(kept["event"])
        basis = CorrectionBasis(CorrectionKind.parse(kept["kind"]), date.fromisoformat(kept["day"]), kept["number"])
        mine = (_MINE, public("cbt", batch.id))
        event = replace(event, metadata={**event.metadata, mine[0]: mine[1]})
        _, zone = self._event(settings, batch.source_id, Payment(row.external_id, basis.corrected_date, event))
        today = local_date(await self._database.now(), zone)
        try:
            await self._missing.must_be_unreported(row.merchant_id, row.external_id, mine=mine)
            plan, _ = self._missing.plan_missing(settings, batch.source_id, event, Operation.SELL, basis, today)
            if _digest(plan.documents[0].receipt) != row.digest:
                return "failed", (_CHANGED,), None
            shape = self._missing.missing_shape(settings, batch.source_id, event, Operation.SELL, basis, today)
            answer = await self._intake.accept(row.merchant_id, batch.source_id, event, principal.actor, shape=shape)
            if not answer.fresh:
                # Broken off after it was stored, or reported by its source in this very moment.
                await self._missing.must_be_unreported(row.merchant_id, row.external_id, mine=mine)
        except Invalid as refused:
            return "failed", refused.findings or (Finding("#", "not_possible", refused.detail, refused.detail),), None
        except (Conflict, DuplicateEvent):
            return "refused", (_REPORTED_MEANWHILE,), None
        return "sent", (), answer.event_id


def listed(row: Listed | Unreadable) -> Payment | Unreadable:
    """A line of a file with its contacts in their normal form; one that has none is unreadable and says so."""
    if isinstance(row, Unreadable):
        return row
    found = []
    contact: dict[str, str | None] = {}
    for name, normal in (("email", normalize_email), ("phone", normalize_phone)):
        text = getattr(row.customer, name)
        try:
            contact[name] = None if text is None else normal(text)
        except ValueError as wrong:
            found.append(
                Finding(
                    f"#/rows/{row.number}/{name}",
                    "contact_format",
                    f"Line {row.line}: {wrong}.",
                    f"Строка {row.line}: контакт покупателя записан неверно.",
                    1008,
                )
            )
    if found:
        return Unreadable(row.number, row.line, row.payment_id, tuple(found))
    return Payment(
        row.payment_id,
        row.day,
        PaymentEvent(
            type=EventType.PAYMENT_SUCCEEDED,
            external_id=row.payment_id,
            amount=row.amount,
            occurred_at=datetime.combine(row.day, _NOON, ZoneInfo("Europe/Moscow")),
            order_id=row.order_id,
            customer=replace(row.customer, email=contact["email"], phone=contact["phone"]),
            items=row.items,
            payments=row.payments,
            taxation=row.taxation,
            branch=row.branch,
        ),
    )


def _digest(receipt: Receipt) -> bytes:
    told = json.dumps(receipt_to_json(receipt), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(told.encode()).digest()


def _size(count: int) -> Finding:
    return Finding(
        "#/rows",
        "list_size",
        f"The list has {count} payments; 1 to {MAX_ROWS} are taken at once.",
        f"В списке {count} платежей, за один раз принимается от 1 до {MAX_ROWS}.",
        fix="Send it in parts.",
    )


def _repeated(at: str) -> Finding:
    return Finding(
        f"{at}/payment_id",
        "payment_repeated",
        "This payment stands in the list already.",
        "Этот платёж уже есть в списке.",
        fix="Leave one of the two out; different payments need ids of their own.",
    )


def _reported(at: str, event_id: UUID) -> Finding:
    return Finding(
        f"{at}/payment_id",
        "payment_already_reported",
        f"This payment was reported already ({public('evt', event_id)}): it is not missing.",
        "Этот платёж уже зарегистрирован в системе: чека на него не «нет».",
        fix="Look at its receipt; correct that one if it is wrong.",
    )


_REPORTED_MEANWHILE = Finding(
    "#/payment_id",
    "payment_already_reported",
    "This payment was reported after the preview; it takes its ordinary way.",
    "Этот платёж поступил после предварительного просмотра и проходит обычным путём.",
)
_CHANGED = Finding(
    "#",
    "changed_since_preview",
    "By the settings of now the document would differ from the one that was confirmed.",
    "По нынешним настройкам чек отличался бы от показанного в предварительном просмотре.",
    fix="Make the preview again.",
)
