"""The public JSON of receipts and events: what the API answers and what outbound messages carry, made in one place.

Every member is always there, null where nothing is known; ids carry their prefix; times are RFC 3339 in UTC with six
decimals; money is integer kopecks.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from app.db.repos.events import EventRow
from app.db.repos.receipts import ReceiptRow
from app.db.repos.timeline import AttemptRow, TimelineRow
from app.domain.causes import cause
from app.domain.codec import event_to_json
from app.domain.contact import mask_contacts
from app.domain.errors import Finding
from app.domain.event import PaymentEvent
from app.domain.plan import Held, Missing
from app.domain.receipt import Customer
from app.domain.remarks import remarks
from app.infra.ids import Prefix, public
from app.infra.page_links import NO_LINKS, PageLinks
from app.services.customers import customer_view, masked_json

Json = dict[str, Any]

_FISCAL = (
    "fn",
    "fd",
    "fpd",
    "kkt_rn",
    "kkt_serial",
    "shift",
    "number_in_shift",
    "fiscalized_at",
    "local_time",
    "ffd",
    "receipt_url",
    "qr",
)
_AGENT = (
    "type",
    "supplier_inn",
    "supplier_name",
    "paying_agent_operation",
    "transfer_operator_name",
    "transfer_operator_inn",
    "transfer_operator_address",
)
_AGENT_PHONES = ("supplier_phones", "paying_agent_phones", "payment_operator_phones", "transfer_operator_phones")
_LINE = ("excise", "country", "declaration", "additional_props", "vat_group", "shipped_on")
_STATE_UNKNOWN = 255
_FAILURE = (
    "code",
    "message",
    "message_ru",
    "who",
    "next_step",
    "next_step_ru",
    "retryable",
    "provider_code",
    "provider_message",
    "at",
)


def receipt_view(row: ReceiptRow, customer: Customer | None, *, masked: bool, links: PageLinks = NO_LINKS) -> Json:
    """A receipt as everybody outside sees it; `customer` is the opened one."""
    document = row.document or {}
    return {
        "id": public("rcpt", row.id),
        "merchant_id": public("mer", row.merchant_id),
        "branch_id": _public("brn", row.branch_id),
        "kassa_id": _public("kas", row.kassa_id),
        "event_id": _public("evt", row.event_id),
        "order_id": row.order_id,
        "external_id": row.external_id,
        "operation": row.operation,
        "correction": _correction(document) if row.correction else None,
        "status": row.status,
        "sequence": row.sequence,
        "version": row.version,
        "total": row.total,
        "currency": row.currency,
        "taxation": row.taxation,
        **_requisites(document),
        "customer": customer_view(customer, masked=masked),
        "items": [_line(item) for item in document.get("items", ())],
        "items_origin": row.items_origin,
        "adjustments": adjustments_of(row),
        "nomenclature": None if row.nomenclature is None else filled_view(row.nomenclature),
        "payments": [{"type": paid["kind"], "amount": paid["amount"]} for paid in document.get("payments", ())],
        "remarks": remarks_of(row),
        "fiscal": None if row.fiscal is None else _fiscal(row.fiscal),
        "receipt_page_url": links.url(row.merchant_id, row.id),
        "failure": None if row.failure is None else _failure(row.failure),
        "contact_fallback": row.contact_fallback,
        "due_at": _time(row.due_at),
        "limit_at": _time(row.limit_at),
        "correction_draft": row.correction_draft if row.status == "held" else None,
        "created_at": rfc3339(row.created_at),
        "updated_at": rfc3339(row.updated_at),
        "metadata": row.metadata,
    }


def event_view(
    row: EventRow,
    receipts: Sequence[ReceiptRow],
    payload: PaymentEvent | None,
    masked: bool,
    *,
    customers: Mapping[UUID, Customer | None] | None = None,
    linked_to: UUID | None = None,
    reported: Json | None = None,
    links: PageLinks = NO_LINKS,
) -> Json:
    """An event with its receipts.

    `customers` are the opened buyers by receipt; without them the event's own buyer is each receipt's. `linked_to` is
    the event that reported the same money first. `payload` None leaves out what only the payload holds; `reported` is
    the payload as JSON where the caller has it already.
    """
    if reported is None:
        reported = {} if payload is None else event_to_json(payload)
    buyer = None if payload is None else payload.customer
    made = [
        receipt_view(one, buyer if customers is None else customers.get(one.id), masked=masked, links=links)
        for one in receipts
    ]
    reason = dict(row.reason or {})
    missing = reason.pop("missing", None)
    return {
        "id": public("evt", row.id),
        "merchant_id": public("mer", row.merchant_id),
        "source_id": public("src", row.source_id),
        "type": row.type,
        "external_id": row.external_id,
        "payment_id": row.payment_id,
        "order_id": row.order_id,
        "status": row.status,
        "reason": reason or None,
        "missing": missing if missing is not None else _missing_of(made),
        "amount": row.amount,
        "currency": row.currency,
        "customer": customer_view(buyer, masked=masked),
        "items": [_line(item) for item in reported.get("items", ())],
        "occurred_at": rfc3339(row.occurred_at),
        "received_at": rfc3339(row.received_at),
        "settlement_key": row.settlement_key,
        "linked_to": _public("evt", linked_to),
        "metadata": row.metadata,
        "test": row.test,
        "receipts": made,
    }


def timeline_view(
    lines: Sequence[TimelineRow], attempts: Sequence[AttemptRow], exchanges: Mapping[UUID, list[Json]]
) -> list[Json]:
    """The history in order: states and decisions as they were noted, each exchange at the moment it was marked.

    Of one moment the event comes first, then the mark, then the exchange, then what it led to.
    """
    entries = [((line.at, _rank(line), line.id), _line_view(line)) for line in lines]
    entries += [((one.marked_at, _EXCHANGE, one.id), _attempt_view(one, exchanges.get(one.id, []))) for one in attempts]
    return [view for _, view in sorted(entries, key=lambda entry: entry[0])]


def failure_json(
    cause_code: str,
    *,
    at: datetime | None = None,
    provider_code: str | None = None,
    provider_message: str | None = None,
    missing: Sequence[Missing] = (),
    **facts: Any,
) -> Json:
    """The `failure` member of a receipt for a code of the cause catalogue, ready to be stored.

    The provider's own words are kept with buyer contacts masked. `facts` are further JSON members, such as `pointer`;
    empty ones are left out.
    """
    known = cause(cause_code)
    failure: Json = {
        "code": known.code,
        "message": known.message,
        "message_ru": known.message_ru,
        "who": known.who.value,
        "next_step": known.next_step,
        "next_step_ru": known.next_step_ru,
        "retryable": known.retryable,
        "provider_code": provider_code,
        "provider_message": provider_message and mask_contacts(provider_message),
        "at": _time(at),
    }
    if missing:
        failure["missing"] = missing_json(missing)
    return failure | {name: masked_json(fact) for name, fact in facts.items() if fact is not None}


def held_failure(held: Held, at: datetime) -> Json:
    """The `failure` member of a receipt that waits: the reason, and everything that is missing at once."""
    return failure_json(held.reason.value, at=at, missing=held.missing, limit=held.limit, until=_time(held.until))


def missing_json(missing: Sequence[Missing]) -> list[Json]:
    """What a held event or receipt lacks: which member (a JSON pointer into the event), in both languages, and who."""
    return [
        {
            "field": one.field,
            "pointer": one.pointer,
            "detail": one.detail,
            "detail_ru": one.detail_ru,
            "who": one.who.value,
        }
        for one in missing
    ]


def finding_json(finding: Finding) -> Json:
    """A finding as the API tells it; the same members as in an error."""
    return {
        "severity": finding.severity.value,
        "code": finding.rule,
        "pointer": finding.pointer,
        "detail": finding.detail,
        "detail_ru": finding.detail_ru,
        "ffd_tag": finding.tag,
        "fix": finding.fix,
    }


def remarks_of(row: ReceiptRow) -> list[Json]:
    """What planning noticed or put right, in today's words."""
    return [finding_json(one) for one in remarks((row.remarks or {}).get("notes", ()))]


def adjustments_of(row: ReceiptRow) -> list[Json]:
    """How the lines of the event became those of the receipt, where they are not the same."""
    found: list[Json] = (row.remarks or {}).get("adjustments", [])
    return found


@lru_cache(maxsize=256)
def rfc3339(moment: datetime) -> str:
    """A moment in UTC with `Z` and always six decimals."""
    text = (moment if moment.tzinfo is UTC else moment.astimezone(UTC)).isoformat(timespec="microseconds")
    return f"{text[:-6]}Z"


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else rfc3339(moment)


def _public(prefix: Prefix, value: UUID | None) -> str | None:
    return None if value is None else public(prefix, value)


def _correction(document: Json) -> Json:
    basis = document.get("correction", {})
    return {name: basis.get(name) for name in ("kind", "corrected_date", "document_number")}


def _requisites(document: Json) -> Json:
    """What the document says beside its lines and money."""
    cashier = {"name": document.get("cashier_name"), "inn": document.get("cashier_inn")}
    prop, operating = document.get("user_prop"), document.get("operating_prop")
    return {
        "ffd": document.get("ffd"),
        "internet": document.get("internet"),
        "place": document.get("place"),
        "timezone": document.get("timezone"),
        "cashier": cashier if any(cashier.values()) else None,
        "user_prop": None if prop is None else {"name": prop[0], "value": prop[1]},
        "additional_prop": document.get("additional_prop"),
        "sectoral_props": document.get("sectoral_props", []),
        "operating_prop": operating and {**operating, "at": rfc3339(datetime.fromisoformat(operating["at"]))},
    }


def lines_view(items: Sequence[Json]) -> list[Json]:
    """Lines as a receipt shows them, from the form in which they are stored."""
    return [_line(item) for item in items]


def _line(item: Json) -> Json:
    """One line, the same members for what a source reported and for what is printed."""
    agent = item.get("agent")
    marking = item.get("marking")
    return {
        "name": item["name"],
        "sku": item.get("sku"),
        "quantity": item["quantity"],
        "price": item["price"],
        "amount": item["amount"],
        "vat": item.get("vat"),
        "payment_method": item.get("payment_method"),
        "payment_object": item.get("payment_object"),
        "measure": item.get("measure"),
        "marking_code": None if marking is None else _marking(marking),
        "agent": None if agent is None else _agent(agent),
        "discount": item.get("discount"),
        **{name: item.get(name) for name in _LINE},
        "sectoral_props": item.get("sectoral_props", []),
    }


def _marking(marking: Json) -> str | Json:
    """As it is sent to us: the code alone, or with its state and part where they say more."""
    state = marking.get("state", _STATE_UNKNOWN)
    part = marking.get("numerator")
    if state == _STATE_UNKNOWN and part is None:
        code: str = marking["code"]
        return code
    return {"code": marking["code"], "state": state, "numerator": part, "denominator": marking.get("denominator")}


def _agent(agent: Json) -> Json:
    return {name: agent.get(name) for name in _AGENT} | {name: agent.get(name, []) for name in _AGENT_PHONES}


def _fiscal(stored: Json) -> Json:
    shown = {name: stored.get(name) for name in _FISCAL}
    if shown["fiscalized_at"] is not None:
        shown["fiscalized_at"] = rfc3339(datetime.fromisoformat(shown["fiscalized_at"]))
    return shown


def _failure(stored: Json) -> Json:
    return {name: stored.get(name) for name in _FAILURE} | stored


def _missing_of(receipts: Sequence[Json]) -> list[Json]:
    return [one for receipt in receipts for one in (receipt["failure"] or {}).get("missing", ())]


def filled_view(stored: Json) -> Json:
    """What rules of the nomenclature gave the lines of a receipt."""
    lines = [
        line and {"rule_id": line["rule"], "members": line["members"], "reported_name": line.get("reported")}
        for line in stored["lines"]
    ]
    return {"version": stored["version"], "lines": lines}


_EVENT, _MARK, _EXCHANGE, _CONSEQUENCE = range(4)


def _rank(line: TimelineRow) -> int:
    if line.receipt_id is None:
        return _EVENT
    return _MARK if line.what == "marked" else _CONSEQUENCE


def _line_view(line: TimelineRow) -> Json:
    data = dict(line.data)
    if "notes" in data and "adjustments" in data:
        data["remarks"] = [finding_json(one) for one in remarks(data.pop("notes"))]
    return {
        "at": rfc3339(line.at),
        "what": line.what,
        "status": line.status,
        "actor": line.actor,
        "data": masked_json(data),
        "attempt": None,
    }


def _attempt_view(attempt: AttemptRow, exchanges: list[Json]) -> Json:
    return {
        "at": rfc3339(attempt.marked_at),
        "what": "attempt",
        "status": None,
        "actor": attempt.worker,
        "data": {},
        "attempt": {
            "id": public("att", attempt.id),
            "kind": attempt.kind,
            "kassa_id": _public("kas", attempt.kassa_id),
            "provider_id": attempt.provider_id,
            "finished_at": _time(attempt.finished_at),
            "outcome": attempt.outcome,
            "cause": attempt.cause,
            "provider_code": attempt.provider_code,
            "provider_message": attempt.provider_message and mask_contacts(attempt.provider_message),
            "evidence": masked_json(attempt.evidence),
            "proven_absent": attempt.proven_absent,
            "exchanges": exchanges,
        },
    }
