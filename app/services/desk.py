"""What a live part may do at once: report an event of its own source, and learn what became of one."""

from uuid import UUID

from app.db.repos import events, receipts
from app.db.repos.receipts import ReceiptRow
from app.db.repos.settings import SourceRow
from app.db.unit_of_work import Database
from app.domain.errors import Busy, Conflict, DuplicateEvent
from app.domain.event import EventType, PaymentEvent
from app.domain.lifecycle import Status
from app.infra.ids import public
from app.ports.source import Standing
from app.services.actions import Actions
from app.services.alarms import contradicted
from app.services.intake import Intake
from app.services.principal import Principal
from app.services.receipt_rows import fiscal_of


class SourceDesk:
    """`app.ports.source.Desk` for one source. Nothing of another source, or merchant, can be reached through it."""

    def __init__(self, database: Database, intake: Intake, actions: Actions, source: SourceRow) -> None:
        self._database = database
        self._intake = intake
        self._actions = actions
        self._source = source
        name = public("src", source.id)
        self._myself = Principal(source.id, source.merchant_id, source.id, frozenset(), name=name)

    async def accept(self, event: PaymentEvent) -> Standing:
        """Store it once for ever, or say what became of the one that came first; Invalid with all findings."""
        source = self._source
        differs = False
        try:
            await self._intake.accept(source.merchant_id, source.id, event, "source")
        except DuplicateEvent:
            differs = True
            async with self._database.pipeline() as tx:
                await contradicted(tx, source.merchant_id, source.id, event)
        standing = await self._standing(event.type, event.external_id, differs=differs)
        if standing is None:
            # Stored a moment ago, by a database that does not show it: another one took over.
            raise Busy("the database is not reachable at the moment")
        return standing

    async def standing(self, type: EventType, external_id: str) -> Standing | None:
        """As it is now; None: never reported."""
        return await self._standing(type, external_id)

    async def again(self, type: EventType, external_id: str) -> Standing | None:
        """Once more as a new version, if its newest receipt is finally rejected."""
        found = await self._newest(type, external_id)
        if found is None:
            return None
        _, receipt, _ = found
        if receipt is not None and receipt.status == Status.REJECTED.value:
            try:
                await self._actions.send_rejected_again(self._myself, self._source.merchant_id, receipt.id)
            except Conflict:
                # Somebody was faster, or its event is gone: what stands now is told.
                return await self._standing(type, external_id)
        return await self._standing(type, external_id)

    async def _standing(self, type: EventType, external_id: str, *, differs: bool = False) -> Standing | None:
        found = await self._newest(type, external_id)
        if found is None:
            return None
        event_id, receipt, status = found
        failure = None if receipt is None else receipt.failure
        return Standing(
            event_id=public("evt", event_id),
            receipt_id=None if receipt is None else public("rcpt", receipt.id),
            status=status if receipt is None else receipt.status,
            fiscal=None if receipt is None else fiscal_of(receipt),
            failure_ru=None if failure is None else failure.get("message_ru"),
            content_differs=differs,
        )

    async def _newest(self, type: EventType, external_id: str) -> tuple[UUID, ReceiptRow | None, str] | None:
        """The event, its newest receipt (of linked money: that of the first report), and the event's status."""
        merchant_id = self._source.merchant_id
        async with self._database.pipeline() as tx:
            known = await events.identity(tx, merchant_id, self._source.id, type.value, external_id)
            if known is None:
                return None
            row = await events.by_id(tx, merchant_id, known.event_id)
            if row is None:
                return known.event_id, None, "pruned"
            made = await receipts.of_event(tx, merchant_id, row.linked_to or row.id)
        return row.id, made[-1] if made else None, row.status
