"""An event that was stored a moment ago, as the API shows it, made of what was stored: nothing is read."""

import json
from collections.abc import Callable
from typing import Any

from app.db.records import NewEvent
from app.db.repos.events import EventRow
from app.db.repos.receipts import ReceiptRow
from app.domain.event import PaymentEvent
from app.infra.page_links import PageLinks
from app.services.views import event_view

View = Callable[[bool], dict[str, Any]]
"""An event's JSON for the API; true: contacts masked."""


def viewer(
    event: NewEvent, rows: list[ReceiptRow], payload: PaymentEvent, body: dict[str, Any], links: PageLinks
) -> View:
    """How a fresh event is shown with its receipts; `body` is what was reported."""

    def view(masked: bool) -> dict[str, Any]:
        row = EventRow(
            id=event.id,
            merchant_id=event.merchant_id,
            source_id=event.source_id,
            type=event.type,
            external_id=event.external_id,
            payment_id=event.payment_id,
            order_id=event.order_id,
            settlement_key=event.settlement_key,
            chain_id=event.chain_id,
            status=event.status,
            reason=None if event.reason is None else json.loads(event.reason),
            amount=event.amount,
            currency=event.currency,
            occurred_at=event.occurred_at,
            payload=event.payload,
            metadata=payload.metadata,
            test=event.test,
            received_at=event.received_at,
        )
        return event_view(row, rows, payload, masked, reported=body, links=links)

    return view
