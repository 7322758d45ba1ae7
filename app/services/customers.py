"""Buyers at rest and on show: sealed in the database, found by keyed hashes, masked for whoever may not read them.

An event's payload and a provider's exchange hold the buyer too; they are sealed and opened here in the same way.
"""

import json
from collections.abc import Collection, Mapping
from functools import reduce
from typing import Any
from uuid import UUID

from app.db.repos.settings import SourceRow
from app.domain.codec import customer_from_json, customer_to_json, event_from_json, event_to_json
from app.domain.contact import mask_contacts, mask_email, mask_phone
from app.domain.event import PaymentEvent
from app.domain.receipt import Customer
from app.infra.compact_json import json_bytes
from app.infra.crypto import SearchHasher, SecretBox, aad

_MEMBERS = ("email", "phone", "name", "inn")
_PERSON = ("birth_date", "citizenship", "document_code", "document_data", "address")
_ORGANISATION_INN = 10


def seal_customer(box: SecretBox, merchant_id: UUID, receipt_id: UUID, customer: Customer | None) -> bytes | None:
    """A receipt's buyer as the database keeps it; None when nothing is known of the buyer."""
    known = {} if customer is None else customer_to_json(customer)
    return box.seal(json_bytes(known), aad("receipts", "customer", merchant_id, receipt_id)) if known else None


def open_customer(box: SecretBox, merchant_id: UUID, receipt_id: UUID, sealed: bytes | None) -> Customer | None:
    """The reverse of `seal_customer`. CannotOpen when the value was changed or belongs to another receipt."""
    if sealed is None:
        return None
    return customer_from_json(json.loads(box.open(sealed, aad("receipts", "customer", merchant_id, receipt_id))))


def seal_event(box: SecretBox, merchant_id: UUID, event_id: UUID, event: PaymentEvent) -> bytes:
    """An event's payload as the database keeps it: all of it sealed, because its buyer is inside."""
    return box.seal(json_bytes(event_to_json(event)), aad("events", "payload", merchant_id, event_id))


def open_event(box: SecretBox, merchant_id: UUID, event_id: UUID, sealed: bytes) -> PaymentEvent:
    """The reverse of `seal_event`."""
    return event_from_json(json.loads(box.open(sealed, aad("events", "payload", merchant_id, event_id))))


def open_exchange(
    box: SecretBox, merchant_id: UUID, attempt_id: UUID, sealed: bytes | None, customer: Customer | None = None
) -> list[dict[str, Any]]:
    """What went over the wire in one attempt; empty when nothing did.

    Every contact in it is masked, and so is what else it says of `customer`. A body that is no text is not shown.
    """
    if sealed is None:
        return []
    exchanges: list[dict[str, Any]] = json.loads(box.open(sealed, aad("attempts", "exchange", merchant_id, attempt_id)))
    known = [] if customer is None else _beyond_contacts(customer)
    # A body is JSON within a text, where a provider may write the same name in escapes.
    words = {form for word in known for form in (word, json.dumps(word)[1:-1])}
    return [masked_json(_without(one, words)) for one in exchanges]


def _beyond_contacts(customer: Customer) -> list[str]:
    """Who the buyer is; his contacts are masked so that an operator still knows them again."""
    return [word for word in customer.private_words if word not in (customer.email, customer.phone)]


def _without(value: Any, words: Collection[str]) -> Any:
    match value:
        case str() if value.startswith("base64:"):
            return "[a body that is no text]"
        case str():
            return reduce(lambda text, word: text.replace(word, "***"), words, value)
        case Mapping():
            return {name: _without(member, words) for name, member in value.items()}
        case list():
            return [_without(part, words) for part in value]
        case _:
            return value


def contact_hashes(
    hasher: SearchHasher, merchant_id: UUID, customer: Customer | None
) -> tuple[bytes | None, bytes | None, bytes | None]:
    """Keyed hashes of e-mail, phone and the phone's last four digits: what a buyer is searched by."""
    if customer is None:
        return None, None, None
    return (
        hasher.email(merchant_id, customer.email) if customer.email else None,
        hasher.phone(merchant_id, customer.phone) if customer.phone else None,
        hasher.phone_tail(merchant_id, customer.phone) if customer.phone else None,
    )


def customer_view(customer: Customer | None, *, masked: bool) -> dict[str, str | None] | None:
    """The buyer as the API shows it; None when nothing is known.

    Masked, a person's name and INN go the way of the contacts; an organisation's (ten digits of INN) are public facts.
    Who a person is beyond that (tags 1243-1246, 1254) is not shown at all.
    """
    if customer is None or customer == Customer():
        return None
    if not masked:
        known = customer_to_json(customer)
        return {name: known.get(name) for name in (*_MEMBERS, *_PERSON)}
    organisation = customer.inn is not None and len(customer.inn) == _ORGANISATION_INN
    return {
        "email": customer.email and mask_email(customer.email),
        "phone": customer.phone and mask_phone(customer.phone),
        "name": customer.name if organisation else customer.name and _initials(customer.name),
        "inn": customer.inn if organisation else customer.inn and f"{customer.inn[:4]}********",
        **dict.fromkeys(_PERSON),
    }


def shown_customer(customer: Customer | None, *, masked: bool) -> Customer:
    """The buyer as a page shows him: what `customer_view` tells, as a value."""
    known = customer_view(customer, masked=masked) or {}
    return customer_from_json({name: value for name, value in known.items() if value is not None})


def masked_json(value: Any) -> Any:
    """A JSON value with every e-mail and phone in its texts masked."""
    if isinstance(value, str):
        return mask_contacts(value)
    if isinstance(value, Mapping):
        return {name: masked_json(member) for name, member in value.items()}
    return [masked_json(part) for part in value] if isinstance(value, list) else value


def masked_body(body: Mapping[str, Any], customer: Customer) -> dict[str, Any]:
    """A request body with every contact in its texts masked, the buyer's name and INN left out."""
    words = set(_beyond_contacts(customer))
    masked: dict[str, Any] = masked_json(_without(body, words))
    return masked


def _known(customer: Customer) -> dict[str, str]:
    return {name: value for name in _MEMBERS if (value := getattr(customer, name)) is not None}


def _initials(name: str) -> str:
    return " ".join(f"{word[0]}***" for word in name.split())


def seal_fallback(box: SecretBox, merchant_id: UUID, source_id: UUID, customer: Customer) -> bytes:
    """A source's fallback contact as the database keeps it."""
    known = customer_to_json(customer)
    return box.seal(json_bytes(known), aad("sources", "fallback_contact", merchant_id, source_id))


def open_fallback(box: SecretBox, source: SourceRow) -> Customer | None:
    """The merchant's own address for receipts whose buyer left none; None when the source has no such address."""
    if source.fallback_contact is None:
        return None
    sealed = box.open(source.fallback_contact, aad("sources", "fallback_contact", source.merchant_id, source.id))
    return customer_from_json(json.loads(sealed))
