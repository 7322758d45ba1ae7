"""What sources sent lately that no rule covers: grouped, counted, with a rule that would cover it. No buyer in it.

It is asked with the rules of this moment, so that a rule that was just made takes its lines out of the list.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from app.db.repos import events
from app.db.repos.events import EventFilter, EventRow
from app.db.repos.paging import Position
from app.db.unit_of_work import Database
from app.domain.contact import mask_contacts
from app.domain.event import EventItem, EventStatus, EventType, PaymentEvent
from app.domain.nomenclature import ANY, RuleSet, Unmapped, folded
from app.domain.ruled_lines import kinds_of
from app.infra.crypto import SecretBox
from app.infra.ids import public
from app.services.catalog import Catalog, MerchantSettings
from app.services.customers import open_event
from app.services.sales import Sales, policy_of
from app.services.views import rfc3339

MOST_EVENTS = 5000
"""So many of the newest payments are read."""

_PAGE = 250
_SHOWN = 255
_STARS = re.compile(r"\*[\s*]*\*")
_NUMBERS = re.compile(r"(?:№|#)\s*\S*\d\S*|\d{1,2}\.\d{1,2}\.\d{2,4}|\d{4}-\d{2}-\d{2}|\S*\d{5,}\S*")
_CONTACT = re.compile(r"\S*\*{3}\S*|\+\d\*{6}\d{4}")
_NAMES = re.compile(r"[^\W\d_]{3,}")


@dataclass(slots=True)
class _Group:
    """Lines of one source that one rule would cover."""

    source_id: UUID
    sku: str | None
    text: str
    policy: str
    lines: int = 0
    amount: int = 0
    held: int = 0
    branches: set[str] = field(default_factory=set)
    kinds: set[str] = field(default_factory=set)
    events: set[UUID] = field(default_factory=set)
    first_at: datetime | None = None
    last_at: datetime | None = None
    example: dict[str, Any] = field(default_factory=dict)


class NomenclatureDiff:
    """Reports of one merchant at a time."""

    def __init__(self, database: Database, catalog: Catalog, box: SecretBox, sales: Sales) -> None:
        self._database = database
        self._catalog = catalog
        self._box = box
        self._sales = sales

    async def uncovered(self, merchant_id: UUID, *, days: int, limit: int) -> dict[str, Any]:
        """Groups by how often they came, at most `limit`; of the newest `MOST_EVENTS` payments of these days.

        NotFound without such a merchant.
        """
        settings = await self._catalog.merchant(merchant_id, fresh=True)
        since = await self._database.now() - timedelta(days=days)
        groups: dict[tuple[UUID, str | None, str], _Group] = {}
        read, before, more = 0, None, True
        while more and read < MOST_EVENTS:
            page = await self._page(merchant_id, since, before)
            for event in page:
                self._count(settings, event, groups)
            read += len(page)
            more = len(page) == _PAGE
            before = (page[-1].received_at, page[-1].id) if page else None
        found = sorted(groups.values(), key=lambda one: (-one.lines, one.text, one.sku or "", one.source_id))
        return {
            "version": 0 if settings.rules is None else settings.rules.version,
            "since": rfc3339(since),
            "events_read": read,
            "complete": not more,
            "groups": len(found),
            "data": [_view(settings, one) for one in found[:limit]],
        }

    async def _page(self, merchant_id: UUID, since: datetime, before: Position | None) -> list[EventRow]:
        wanted = EventFilter(type=(EventType.PAYMENT_SUCCEEDED.value,), received_from=since)
        async with self._database.tenant(merchant_id) as tx:
            return await events.page(tx, merchant_id, wanted, before, _PAGE)

    def _count(
        self, settings: MerchantSettings, row: EventRow, groups: dict[tuple[UUID, str | None, str], _Group]
    ) -> None:
        if row.status in (EventStatus.IGNORED.value, EventStatus.LINKED.value):
            return
        event = open_event(self._box, row.merchant_id, row.id, row.payload)
        source = settings.sources[row.source_id]
        branch, _ = self._sales.place_of(settings, source, event)
        here = public("src", source.id), None if branch is None else public("brn", branch.id)
        matcher = (settings.rules or RuleSet(0, ())).at(*here, Unmapped.DEFAULT)
        kinds = kinds_of(event)
        for item in _lines(event):
            if matcher.find(item.sku, item.name, kinds) is not None:
                continue
            text = without_buyer(item.name, event)
            key = (source.id, item.sku, "" if item.sku else folded(text))
            group = groups.get(key)
            if group is None:
                group = groups[key] = _Group(source.id, item.sku, text, policy_of(settings, source).value)
                group.example = _example(row, item)
            group.lines += 1
            group.amount += item.amount
            group.held += row.status == EventStatus.HELD.value
            group.events.add(row.id)
            group.kinds |= kinds
            if here[1] is not None:
                group.branches.add(here[1])
            # Newest first.
            group.first_at = row.received_at
            group.last_at = group.last_at or row.received_at


def without_buyer(text: str, event: PaymentEvent) -> str:
    """The text as a rule would match it, a star for what belongs to one payment: contacts, words like the buyer's name,
    numbers of five digits and more, dates and what follows a number sign."""
    text = _CONTACT.sub(ANY, mask_contacts(text))
    for name in _NAMES.findall(event.customer.name or ""):
        # Without its last letter a Russian name is found in every case.
        text = re.sub(rf"\b{re.escape(name[: max(3, len(name) - 1)])}\w*", ANY, text, flags=re.IGNORECASE)
    text = _STARS.sub(ANY, " ".join(_NUMBERS.sub(ANY, text).split()))
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1].rstrip() + ANY


def _lines(event: PaymentEvent) -> Iterator[EventItem]:
    if not event.items:
        yield EventItem(event.description or "", Decimal(1), event.amount, event.amount)
    yield from (item for item in event.items if item.amount)


def _example(row: EventRow, item: EventItem) -> dict[str, Any]:
    """One of the lines, by what the source said of it beside its name."""
    said = ("vat", "payment_object", "payment_method", "measure")
    return {"event_id": public("evt", row.id), "amount": item.amount, **{name: getattr(item, name) for name in said}}


def _view(settings: MerchantSettings, group: _Group) -> dict[str, Any]:
    source = settings.sources[group.source_id]
    return {
        "source_id": public("src", source.id),
        "source_name": source.name,
        "sku": group.sku,
        "text": group.text,
        "policy": group.policy,
        "lines": group.lines,
        "events": len(group.events),
        "held": group.held,
        "amount": group.amount,
        "branches": sorted(group.branches),
        "payment_types": sorted(group.kinds),
        "first_at": None if group.first_at is None else rfc3339(group.first_at),
        "last_at": None if group.last_at is None else rfc3339(group.last_at),
        "example": group.example,
        "match": _match(group),
    }


def _match(group: _Group) -> dict[str, Any] | None:
    """Conditions of a rule that would cover it; None where there is neither a code nor a word."""
    if group.sku is not None:
        return {"sku": group.sku}
    return {"text": group.text} if group.text.replace(ANY, "").strip() else None
