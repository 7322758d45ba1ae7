"""What a person decides about a late receipt: print it all the same, or make a correction of it.

The law cures a settlement without a receipt by a correction; whether one that is a little late may still be ordinary is
practice, so it is a person's choice, and the reason is kept.
"""

from dataclasses import replace
from datetime import date
from typing import Literal
from uuid import UUID

from app.db import installation
from app.db.records import TimelineEntry
from app.db.repos import history, planned
from app.db.repos.receipts import ReceiptRow
from app.db.unit_of_work import Database, Tx, database_now
from app.domain.errors import Conflict, Contended, Invalid, NotFound
from app.domain.event import EventType
from app.domain.ffd import CorrectionKind, FfdVersion
from app.domain.identity import provider_id
from app.domain.lifecycle import Happening, Status, step
from app.domain.receipt import CorrectionBasis, Receipt
from app.domain.rules import findings as judge
from app.infra.again import again
from app.ports.kassa import KassaDriver
from app.ports.registry import Registry
from app.queue import work
from app.queue.jobs import JobKind
from app.services.catalog import Catalog, MerchantSettings
from app.services.deadlines import certainly_not_there, locked
from app.services.intake import Intake
from app.services.plan import Planner
from app.services.principal import Principal
from app.services.receipt_rows import filled_row

HOW = ("print_now", "as_correction")
How = Literal["print_now", "as_correction"]


class Late:
    """Confirms late receipts, one at a time; in bulk each is treated as alone."""

    def __init__(
        self,
        *,
        database: Database,
        catalog: Catalog,
        intake: Intake,
        planner: Planner,
        registry: Registry[KassaDriver],
    ) -> None:
        self._database = database
        self._catalog = catalog
        self._intake = intake
        self._planner = planner
        self._registry = registry

    @again(Contended)
    async def confirm(
        self, principal: Principal, merchant_id: UUID, receipt_id: UUID, how: How, reason: str | None
    ) -> None:
        """`print_now`: an ordinary receipt, late. `as_correction`: a correction receipt of the settlement's day (54-FZ,
        art. 4.3 p. 4).

        Conflict for a receipt that is not held as late, or that may be registered already; Invalid when the correction
        would break a rule. A correction is not made while it is open what a restored database forgot.
        """
        settings = await self._catalog.merchant(merchant_id, fresh=True)
        epoch = await installation.present(self._database)
        if how == "as_correction" and epoch is not None and epoch.opened_at is not None:
            raise Conflict(
                "the database was restored and may have forgotten sending this receipt; end the epoch first, or print "
                "it now: the provider is then asked before"
            )
        async with self._database.pipeline() as tx:
            row = await locked(tx, merchant_id, receipt_id)
            if row is None:
                raise NotFound("no such receipt")
            if not is_held_late(row):
                raise Conflict(
                    "only a receipt that is held because its deadline has passed can be confirmed as late",
                    current_state=row.status,
                    allowed_states=[Status.HELD.value],
                )
            if not await certainly_not_there(tx, row):
                raise Conflict("an earlier send of this receipt is not proven absent", current_state=row.status)
            at = await database_now(tx)
            after = row.changed(
                status=step(Status.HELD, Happening.CONFIRMED_LATE).status.value, failure=None, updated_at=at
            )
            if how == "print_now":
                await planned.move_receipt(tx, row, after)
            else:
                after = await self._as_correction(tx, row, after, settings)
            said = {"how": how, "version": after.version, **({"reason": reason} if reason else {})}
            entry = TimelineEntry(Happening.CONFIRMED_LATE.value, principal.actor, after.status, said)
            await history.add(tx, merchant_id, entry, receipt_id=row.id)
            if row.chain_id is not None:
                # While it was held it did not count: Conflict when others returned or closed the same money meanwhile.
                await self._planner.recount_and_advance(tx, row.chain_id, settings)
            elif row.kassa_id is not None:
                await work.enqueue(tx, JobKind.FISCALIZE, row.kassa_id, row.id)

    async def _as_correction(
        self, tx: Tx, row: ReceiptRow, after: ReceiptRow, settings: MerchantSettings
    ) -> ReceiptRow:
        """The same lines as a correction receipt. What was sent once goes under a new id, the old one stays burnt."""
        receipt = self._planner.document(row)
        day = date.fromisoformat((row.correction_draft or {})["corrected_date"])
        shaped = replace(receipt, correction=CorrectionBasis(CorrectionKind.SELF, day, None))
        self._must_be_possible(row, shaped, day, settings)
        after = filled_row(after, shaped, row.items_origin or "event").changed(nomenclature=row.nomenclature)
        if row.marks:
            event = None if row.event_id is None else await planned.of_merchant(tx, row.merchant_id, row.event_id)
            if event is None:
                raise Conflict("this receipt cannot be sent under another id; make a correction of its own")
            version = row.version + 1
            identity = provider_id(
                row.merchant_id.hex, row.source_id.hex, EventType(event.type), event.external_id, row.number, version
            )
            after = after.changed(version=version, provider_id=identity)
        new = self._intake.new_receipt(after, receipt.customer)
        if not await planned.rewrite_receipt(tx, row, new, sequence=row.sequence):
            raise Conflict("the receipt moved meanwhile; read it again")
        return after

    def _must_be_possible(self, row: ReceiptRow, shaped: Receipt, day: date, settings: MerchantSettings) -> None:
        kassa = settings.kassas.get(row.kassa_id) if row.kassa_id is not None else None
        if kassa is None:
            raise Conflict("this receipt has no kassa")
        can = self._registry.get(kassa.provider).capabilities
        if shaped.ffd not in can.corrections:
            raise Conflict(
                f"{kassa.provider} makes no correction receipts in FFD {shaped.ffd.value}; print it now, or make the "
                "correction elsewhere"
            )
        if shaped.ffd is FfdVersion.V1_05 and shaped.operation.is_refund:
            # FFD 1.05 knows no correction with 1054 = 2 or 4: its document is another one, and a person plans it.
            raise Conflict("FFD 1.05 has no correction receipt of a refund; print it now, or plan a correction")
        if found := judge(shaped, day):
            raise Invalid("this cannot become a correction receipt", found)


def is_held_late(row: ReceiptRow) -> bool:
    """Whether the deadline clock holds it."""
    return row.status == Status.HELD.value and (row.failure or {}).get("code") == "deadline_passed"
