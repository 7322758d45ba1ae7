"""What the nomenclature has to say when a sale is looked back at: its lines keep the names and rates it was sold under.

A refund or closing names lines as its source does; the sale's receipt remembers how it printed them, whatever the rules
say by now.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date
from typing import Any

from app.db.repos.receipts import ReceiptRow
from app.domain.codec import filled_from_json
from app.domain.event import EventItem, EventType, PaymentEvent
from app.domain.nomenclature import Filled, Matcher, as_printed, folded
from app.domain.rates import straight, succeeding
from app.domain.ruled_lines import kinds_of
from app.domain.vat import VatRate


def ruled_row(rows: Iterable[ReceiptRow | None]) -> list[ReceiptRow]:
    """The first of a payment's receipts whose lines rules filled, if any; a corrected sale has those of the first."""
    return [row for row in rows if row is not None and row.nomenclature is not None and row.document is not None][:1]


def retold(event: PaymentEvent, sales: Sequence[ReceiptRow], rules: Matcher | None, today: date) -> PaymentEvent:
    """The event with its lines named as the sales' receipts print them.

    A line of a closing that no sale has (lessons paid by an advance) is filled by the rules of today.
    """
    if not event.items or (rules is None and not sales):
        return event
    known = {folded(item["name"]) for row in sales for item in _items(row)}
    items = as_printed(event.items, [(_filled(row), [item["name"] for item in _items(row)]) for row in sales])
    if event.type is EventType.ORDER_SETTLED and rules is not None:
        kinds = kinds_of(event)
        items = tuple(one if folded(one.name) in known else _by_rule(one, rules, kinds, today) for one in items)
    return replace(event, items=items)


def rates_by_rule(sales: Sequence[ReceiptRow], rules: Matcher | None) -> dict[tuple[str | None, str], VatRate]:
    """The rate of each line whose rate came from a rule: what the rule says today, else what it said then."""
    found: dict[tuple[str | None, str], VatRate] = {}
    for row in sales:
        for item, line in zip(_items(row), _filled(row).lines, strict=False):
            if line is None or "vat" not in line.members:
                continue
            rule = None if rules is None else rules.rule(line.rule)
            today = None if rule is None else rule.answers.vat
            found[item.get("sku"), item["name"]] = today or VatRate.parse(item["vat"])
    return found


def _by_rule(item: EventItem, rules: Matcher, kinds: frozenset[str], today: date) -> EventItem:
    fill = rules.fill(item, kinds)
    if fill is None:
        return item
    given, members = fill.answers, fill.line.members
    changes: dict[str, Any] = {}
    if "vat" in members and given.vat is not None:
        changes["vat"] = succeeding(straight(given.vat), today).code
    if "payment_object" in members and given.payment_object is not None:
        changes["payment_object"] = given.payment_object.code
    if "measure" in members and given.measure is not None:
        changes["measure"] = given.measure.code
    return replace(fill.item, **changes)


def _filled(row: ReceiptRow) -> Filled:
    return filled_from_json(row.nomenclature or {})


def _items(row: ReceiptRow) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = (row.document or {}).get("items", [])
    return items
