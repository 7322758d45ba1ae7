"""A receipt as a page: read under its merchant's eyes only, the buyer masked for whoever may not see him."""

from dataclasses import replace
from typing import Any
from uuid import UUID

from app.db.repos import receipts
from app.db.repos import settings as settings_repo
from app.db.repos.receipts import ReceiptRow
from app.db.unit_of_work import Database, Tx
from app.domain.codec import receipt_from_json
from app.domain.errors import NotFound, Severity
from app.domain.ffd import Operation
from app.domain.lifecycle import Status
from app.domain.receipt import Customer
from app.domain.receipt_page import Failure, Page, Related, Seller, buyer_page, promise, receipt_page
from app.infra.crypto import SecretBox
from app.infra.metrics import Metrics
from app.infra.page_links import PageLinks
from app.services.adjustment_notes import adjustment_notes
from app.services.customers import open_customer, shown_customer
from app.services.receipt_rows import fiscal_of
from app.services.views import adjustments_of, remarks_of

_ORIGINS = {
    "default": "Строки чека взяты из настроек: источник их не сообщил.",
    "sale": "Строки чека повторяют чек продажи.",
    "spread": "Сумма распределена по строкам чека продажи.",
}
"""How the lines came about, where the source itself did not say them."""


class ReceiptPages:
    """Pages for the seller by id, for the buyer by the link's token."""

    def __init__(self, database: Database, box: SecretBox, links: PageLinks, metrics: Metrics) -> None:
        self._database = database
        self._box = box
        self._links = links
        self._asked = metrics.receipt_pages

    async def page(self, merchant_id: UUID, receipt_id: UUID, *, masked: bool) -> Page:
        """What the seller sees: a draft and its failure too. NotFound for anybody else's receipt."""
        row, seller, related = await self._read(merchant_id, receipt_id)
        status, failure = Status(row.status), _failure(row)
        if row.document is None:
            return promise(seller, status, total=row.total, failure=failure)
        notes = [_ORIGINS[row.items_origin]] if row.items_origin in _ORIGINS else []
        notes += adjustment_notes(adjustments_of(row))
        notes += [one["detail_ru"] for one in remarks_of(row) if one["severity"] == Severity.WARNING]
        document = replace(receipt_from_json({**row.document, "customer": {}}), customer=self._buyer(row, masked))
        return receipt_page(
            document,
            seller,
            status,
            fiscal=fiscal_of(row),
            qr=_qr(row),
            failure=failure,
            related=related,
            notes=notes,
        )

    async def public(self, token: str) -> Page:
        """What the buyer sees. NotFound, and counted, for a token that was not given out here."""
        named = self._links.read(token) if self._links.on else None
        if named is None:
            self._asked.labels("refused" if self._links.on else "off").inc()
            raise NotFound("there is no such receipt")
        try:
            row, seller, related = await self._read(*named)
        except NotFound:
            self._asked.labels("gone").inc()
            raise
        self._asked.labels("shown").inc()
        if row.document is None:
            return promise(seller, Status(row.status), total=row.total)
        document = replace(receipt_from_json({**row.document, "customer": {}}), customer=self._buyer(row, True))
        return buyer_page(
            document,
            seller,
            Status(row.status),
            fiscal=fiscal_of(row),
            qr=_qr(row),
            related=related,
            notes=adjustment_notes(adjustments_of(row)),
        )

    async def _read(self, merchant_id: UUID, receipt_id: UUID) -> tuple[ReceiptRow, Seller, list[Related]]:
        async with self._database.tenant(merchant_id) as tx:
            row = await receipts.by_id(tx, merchant_id, receipt_id)
            owner = await settings_repo.merchant(tx, merchant_id)
            if row is None or owner is None:
                raise NotFound("there is no such receipt")
            return row, Seller(owner.name, owner.inn), await self._related(tx, row)

    async def _related(self, tx: Tx, row: ReceiptRow) -> list[Related]:
        """Of a refund its sale, of a sale its refunds: printed ones, of the same payment."""
        if row.chain_id is None:
            return []
        chain = await receipts.of_chain(tx, row.merchant_id, row.chain_id)
        turned = not Operation.parse(row.operation).is_refund
        return [
            Related(
                Operation.parse(one.operation),
                one.correction,
                one.total,
                one.fd,
                self._links.url(one.merchant_id, one.id),
            )
            for one in chain
            if one.id != row.id and one.fd is not None and Operation.parse(one.operation).is_refund is turned
        ]

    def _buyer(self, row: ReceiptRow, masked: bool) -> Customer:
        return shown_customer(open_customer(self._box, row.merchant_id, row.id, row.customer), masked=masked)


def _qr(row: ReceiptRow) -> str | None:
    text: Any = None if row.fiscal is None else row.fiscal.get("qr")
    return text if isinstance(text, str) else None


def _failure(row: ReceiptRow) -> Failure | None:
    if row.failure is None:
        return None
    missing = "; ".join(one["detail_ru"] for one in row.failure.get("missing", ()))
    text = row.failure.get("message_ru") or row.failure.get("message") or "Причина не названа."
    return Failure(f"{text} {missing}".strip(), row.failure.get("next_step_ru") or row.failure.get("next_step"))
