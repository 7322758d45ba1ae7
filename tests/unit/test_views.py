"""The public JSON of receipts, events and histories: every member there, nothing unmasked that must not be."""

import json
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from app.api.schemas.events import EventOut
from app.api.schemas.receipts import ReceiptOut, TimelineOut
from app.db.repos.events import EventRow
from app.db.repos.receipts import ReceiptRow
from app.db.repos.timeline import AttemptRow, TimelineRow
from app.domain.causes import CATALOGUE, Who
from app.domain.codec import fiscal_to_json, receipt_to_json
from app.domain.event import EventItem, EventType, PaymentEvent
from app.domain.ffd import (
    AgentType,
    CorrectionKind,
    FfdVersion,
    Operation,
    PaymentKind,
    PaymentMethod,
    PaymentObject,
    Taxation,
)
from app.domain.plan import Held, HeldReason, Missing
from app.domain.receipt import (
    Agent,
    CorrectionBasis,
    Customer,
    FiscalData,
    Item,
    MarkingCode,
    Payment,
    Receipt,
)
from app.domain.vat import VatRate
from app.infra.crypto import SearchHasher, SecretBox
from app.infra.ids import new_id
from app.services.customers import (
    contact_hashes,
    customer_view,
    masked_json,
    open_customer,
    open_event,
    seal_customer,
    seal_event,
)
from app.services.views import event_view, failure_json, held_failure, receipt_view, rfc3339, timeline_view
from tests.support.printed import EVERYTHING

AT = datetime(2026, 11, 23, 11, 0, tzinfo=UTC)
BUYER = Customer(email="anna@example.org", phone="+79990000000", name="Анна Петрова", inn="500100732259")

MEMBERS = [
    "id",
    "merchant_id",
    "branch_id",
    "kassa_id",
    "event_id",
    "order_id",
    "external_id",
    "operation",
    "correction",
    "status",
    "sequence",
    "version",
    "total",
    "currency",
    "taxation",
    "ffd",
    "internet",
    "place",
    "timezone",
    "cashier",
    "user_prop",
    "additional_prop",
    "sectoral_props",
    "operating_prop",
    "customer",
    "items",
    "items_origin",
    "adjustments",
    "nomenclature",
    "payments",
    "remarks",
    "fiscal",
    "receipt_page_url",
    "failure",
    "contact_fallback",
    "due_at",
    "limit_at",
    "correction_draft",
    "created_at",
    "updated_at",
    "metadata",
]


def document(**changes: Any) -> dict[str, Any]:
    receipt = Receipt(
        operation=Operation.SELL,
        taxation=Taxation.OSN,
        ffd=FfdVersion.V1_2,
        items=(
            Item(
                name="Абонемент",
                price=199000,
                quantity=Decimal("1.50"),
                amount=298500,
                vat=VatRate.NONE,
                payment_method=PaymentMethod.FULL_PREPAYMENT,
                payment_object=PaymentObject.SERVICE,
                **changes.pop("item", {}),
            ),
        ),
        payments=(Payment(PaymentKind.ELECTRONIC, 298500),),
        customer=Customer(),
        place="https://example.org",
        timezone="Europe/Moscow",
        internet=True,
        **changes,
    )
    stored = receipt_to_json(receipt)
    stored.pop("customer", None)
    return stored


def row(**changes: Any) -> ReceiptRow:
    members: dict[str, Any] = {
        "id": new_id(),
        "merchant_id": new_id(),
        "branch_id": None,
        "kassa_id": new_id(),
        "source_id": new_id(),
        "event_id": new_id(),
        "chain_id": None,
        "number": 1,
        "version": 1,
        "provider_id": "0" * 32,
        "provider_reference": None,
        "operation": "sell",
        "correction": False,
        "status": "queued",
        "sequence": 0,
        "total": 298500,
        "currency": "RUB",
        "taxation": "osn",
        "order_id": "A-1",
        "external_id": "p-1",
        "document": document(),
        "customer": None,
        "items_origin": "event",
        "fn": None,
        "fd": None,
        "fpd": None,
        "fiscal": None,
        "failure": None,
        "metadata": {"lesson": 7},
        "marks": 0,
        "first_marked_at": None,
        "due_at": None,
        "created_at": AT,
        "updated_at": AT,
    }
    return ReceiptRow(**(members | changes))


def event_row(**changes: Any) -> EventRow:
    members: dict[str, Any] = {
        "id": new_id(),
        "merchant_id": new_id(),
        "source_id": new_id(),
        "type": "payment.succeeded",
        "external_id": "p-1",
        "payment_id": None,
        "order_id": None,
        "settlement_key": None,
        "chain_id": None,
        "status": "planned",
        "reason": None,
        "amount": 100,
        "currency": "RUB",
        "occurred_at": AT,
        "payload": b"",
        "metadata": {},
        "test": False,
        "received_at": AT,
    }
    return EventRow(**(members | changes))


def test_a_receipt_has_exactly_the_promised_members_and_fits_its_schema() -> None:
    view = receipt_view(row(), None, masked=True)
    assert list(view) == MEMBERS
    ReceiptOut.model_validate(json.loads(json.dumps(view)), strict=False)
    assert view["correction"] is None
    assert view["fiscal"] is None
    assert view["failure"] is None
    assert view["customer"] is None
    assert view["items"] == [
        {
            "name": "Абонемент",
            "sku": None,
            "quantity": "1.5",
            "price": 199000,
            "amount": 298500,
            "vat": "none",
            "payment_method": "full_prepayment",
            "payment_object": "service",
            "measure": "piece",
            "marking_code": None,
            "agent": None,
            "discount": None,
            "excise": None,
            "country": None,
            "declaration": None,
            "additional_props": None,
            "vat_group": None,
            "shipped_on": None,
            "sectoral_props": [],
        }
    ]
    assert view["payments"] == [{"type": "electronic", "amount": 298500}]


def test_ids_are_public_and_times_have_six_decimals() -> None:
    moscow = timezone(timedelta(hours=3))
    one = row(id=UUID(int=5), due_at=datetime(2026, 11, 23, 15, 5, 7, tzinfo=moscow))
    view = receipt_view(one, None, masked=True)
    assert view["id"] == f"rcpt_{5:032x}"
    assert view["due_at"] == "2026-11-23T12:05:07.000000Z"
    assert view["created_at"] == "2026-11-23T11:00:00.000000Z"


def test_a_held_receipt_without_a_document_has_no_lines() -> None:
    missing = (Missing("vat", "#/items/0/vat", "no VAT", "нет НДС", Who.MERCHANT),)
    failure = held_failure(Held(HeldReason.DATA_MISSING, missing), AT)
    view = receipt_view(row(document=None, kassa_id=None, status="held", failure=failure), None, masked=True)
    assert view["items"] == []
    assert view["payments"] == []
    assert view["kassa_id"] is None
    assert view["failure"]["code"] == "data_missing"
    assert view["failure"]["missing"] == [
        {"field": "vat", "pointer": "#/items/0/vat", "detail": "no VAT", "detail_ru": "нет НДС", "who": "merchant"}
    ]
    ReceiptOut.model_validate(view)


def test_a_correction_shows_its_basis() -> None:
    basis = CorrectionBasis(CorrectionKind.INSTRUCTION, date(2026, 11, 2), "17-25/001")
    view = receipt_view(row(correction=True, document=document(correction=basis)), None, masked=True)
    assert view["correction"] == {
        "kind": "instruction",
        "corrected_date": "2026-11-02",
        "document_number": "17-25/001",
    }
    held = receipt_view(row(correction=True, document=None), None, masked=True)
    assert held["correction"] == {"kind": None, "corrected_date": None, "document_number": None}


def test_fiscal_data_is_whole_and_its_moment_is_ours_while_the_local_time_is_the_providers() -> None:
    fiscal = FiscalData("9999078900012345", 17, "3456789012", AT, "23.11.2026 14:00", ffd=FfdVersion.V1_2)
    view = receipt_view(row(fiscal={**fiscal_to_json(fiscal), "qr": "t=1"}), None, masked=True)["fiscal"]
    assert view == {
        "fn": "9999078900012345",
        "fd": 17,
        "fpd": "3456789012",
        "kkt_rn": None,
        "kkt_serial": None,
        "shift": None,
        "number_in_shift": None,
        "fiscalized_at": "2026-11-23T11:00:00.000000Z",
        "local_time": "23.11.2026 14:00",
        "ffd": "1.2",
        "receipt_url": None,
        "qr": "t=1",
    }


def test_marking_codes_come_back_as_they_are_sent() -> None:
    plain = row(document=document(item={"marking": MarkingCode("0104\x1d91")}))
    assert receipt_view(plain, None, masked=True)["items"][0]["marking_code"] == "0104\x1d91"
    part = row(document=document(item={"marking": MarkingCode("0104", 2, 1, 3)}))
    assert receipt_view(part, None, masked=True)["items"][0]["marking_code"] == {
        "code": "0104",
        "state": 2,
        "numerator": 1,
        "denominator": 3,
    }


def test_an_agent_is_told_with_every_member() -> None:
    agent = Agent(AgentType.COMMISSION_AGENT, "7707083893", "ООО «Ромашка»", ("+79990000000",))
    view = receipt_view(row(document=document(item={"agent": agent})), None, masked=True)
    assert view["items"][0]["agent"]["type"] == "commission_agent"
    assert view["items"][0]["agent"]["supplier_phones"] == ["+79990000000"]
    assert view["items"][0]["agent"]["payment_operator_phones"] == []
    ReceiptOut.model_validate(view)


def test_a_masked_person_is_unreadable_and_an_organisation_is_not_a_person() -> None:
    person = dict.fromkeys(("birth_date", "citizenship", "document_code", "document_data", "address"))
    assert customer_view(BUYER, masked=False) == person | {
        "email": "anna@example.org",
        "phone": "+79990000000",
        "name": "Анна Петрова",
        "inn": "500100732259",
    }
    assert customer_view(BUYER, masked=True) == person | {
        "email": "a***@e***.org",
        "phone": "+7******0000",
        "name": "А*** П***",
        "inn": "5001********",
    }
    firm = customer_view(Customer(email="office@example.org", name="ООО «Ромашка»", inn="7707083893"), masked=True)
    assert firm == person | {"email": "o***@e***.org", "phone": None, "name": "ООО «Ромашка»", "inn": "7707083893"}
    assert customer_view(Customer(), masked=True) is None


@pytest.mark.parametrize("code", CATALOGUE)
def test_every_cause_makes_a_failure_for_people(code: str) -> None:
    failure = failure_json(code, at=AT, provider_code="E7", provider_message="нет anna@example.org", pointer=None)
    assert failure["code"] == code
    assert failure["provider_message"] == "нет a***@e***.org"
    assert failure["at"] == "2026-11-23T11:00:00.000000Z"
    assert "pointer" not in failure
    assert all(failure[member] for member in ("message", "message_ru", "who", "next_step", "next_step_ru"))
    ReceiptOut.model_validate(receipt_view(row(failure=failure), None, masked=True))


def test_an_unknown_cause_is_still_a_documented_one() -> None:
    failure = failure_json("no such cause", pointer="#/items/0")
    assert failure["code"] == "refused_other"
    assert failure["pointer"] == "#/items/0"


def test_an_event_tells_its_receipts_and_what_is_missing() -> None:
    payload = PaymentEvent(
        EventType.PAYMENT_SUCCEEDED, "p-1", 100, AT, customer=BUYER, items=(EventItem("Урок", Decimal(1), 100, 100),)
    )
    missing = (Missing("vat", "#/items/0/vat", "no VAT", "нет НДС"),)
    reason = held_failure(Held(HeldReason.DATA_MISSING, missing, limit=5), AT)
    view = event_view(event_row(status="held", reason=reason), [row()], payload, masked=True)
    assert view["missing"][0]["pointer"] == "#/items/0/vat"
    assert view["reason"]["code"] == "data_missing"
    assert "missing" not in view["reason"]
    assert view["customer"]["email"] == "a***@e***.org"
    assert view["receipts"][0]["customer"] == view["customer"]
    assert view["items"][0]["vat"] is None
    EventOut.model_validate(view)


def test_a_linked_event_names_the_first_and_the_buyer_of_each_receipt_is_its_own() -> None:
    owner, receipt = new_id(), row()
    view = event_view(event_row(status="linked"), [receipt], None, True, customers={receipt.id: BUYER}, linked_to=owner)
    assert view["linked_to"] == f"evt_{owner.hex}"
    assert view["customer"] is None
    assert view["items"] == []
    assert view["missing"] == []
    assert view["receipts"][0]["customer"]["phone"] == "+7******0000"


def attempt(at: datetime, **changes: Any) -> AttemptRow:
    members: dict[str, Any] = {
        "id": new_id(),
        "merchant_id": new_id(),
        "receipt_id": new_id(),
        "kassa_id": new_id(),
        "kind": "submit",
        "provider_id": "0" * 32,
        "worker": "w-1",
        "marked_at": at,
        "finished_at": None,
        "outcome": None,
        "cause": None,
        "provider_code": None,
        "provider_message": None,
        "evidence": None,
        "proven_absent": False,
        "exchange": None,
    }
    return AttemptRow(**(members | changes))


def line(at: datetime, what: str, **data: Any) -> TimelineRow:
    return TimelineRow(new_id(), None, new_id(), at, what, "sending", "w-1", data)


def test_a_history_reads_in_order_even_when_the_clock_stood_still() -> None:
    later = AT + timedelta(seconds=1)
    polled, marked = attempt(later, kind="poll"), attempt(AT)
    told = timeline_view(
        [line(later, "fiscalized"), line(AT, "marked")],
        [polled, marked],
        {polled.id: [{"url": "https://example.org"}]},
    )
    assert [entry["what"] for entry in told] == ["marked", "attempt", "attempt", "fiscalized"]
    assert told[2]["attempt"]["exchanges"] == [{"url": "https://example.org"}]
    TimelineOut.model_validate({"data": told})


def test_nothing_in_a_history_shows_a_contact() -> None:
    said = attempt(AT, provider_message="bad +79990000000", evidence={"detail": "anna@example.org"})
    told = json.dumps(timeline_view([line(AT, "rejected", reason="anna@example.org")], [said], {}))
    assert "anna@example.org" not in told
    assert "+79990000000" not in told


def test_masking_reaches_every_text_of_a_value() -> None:
    masked = masked_json({"a": [{"b": "to anna@example.org"}, 5, None], "c": True})
    assert masked == {"a": [{"b": "to a***@e***.org"}, 5, None], "c": True}


def test_what_is_sealed_opens_for_its_own_row_only() -> None:
    box = SecretBox.parse(SecretBox.generate())
    merchant, receipt, event = new_id(), new_id(), new_id()
    sealed = seal_customer(box, merchant, receipt, BUYER)
    assert sealed is not None
    assert b"anna" not in sealed
    assert open_customer(box, merchant, receipt, sealed) == BUYER
    assert seal_customer(box, merchant, receipt, Customer()) is None
    assert open_customer(box, merchant, receipt, None) is None
    payload = PaymentEvent(EventType.REFUND_SUCCEEDED, "r-1", 5, AT, payment_id="p-1", customer=BUYER)
    assert open_event(box, merchant, event, seal_event(box, merchant, event, payload)) == payload


def test_search_hashes_are_the_merchants_own() -> None:
    hasher = SearchHasher.parse(SearchHasher.generate())
    one, other = new_id(), new_id()
    email, phone, tail = contact_hashes(hasher, one, BUYER)
    assert (email, phone, tail) == contact_hashes(hasher, one, BUYER)
    assert tail == hasher.phone_tail(one, "0000")
    assert contact_hashes(hasher, other, BUYER)[0] != email
    assert contact_hashes(hasher, one, Customer(email="anna@example.org"))[1:] == (None, None)
    assert contact_hashes(hasher, one, None) == (None, None, None)


def test_a_time_without_fraction_keeps_its_six_decimals() -> None:
    assert rfc3339(AT) == "2026-11-23T11:00:00.000000Z"


def test_every_requisite_of_a_receipt_is_shown_and_a_person_is_not() -> None:
    stored = receipt_to_json(EVERYTHING)
    del stored["customer"]
    shown = receipt_view(row(document=stored), EVERYTHING.customer, masked=False)
    ReceiptOut.model_validate(json.loads(json.dumps(shown)), strict=False)
    assert shown["ffd"] == "1.2"
    assert (shown["internet"], shown["place"]) == (True, "https://shop.example.org")
    assert shown["cashier"] == {"name": "Иванова А. П.", "inn": "770708389312"}
    assert shown["user_prop"] == {"name": "Заказ", "value": "A-1042"}
    assert shown["sectoral_props"] == [{"federal_id": "020", "date": "2024-01-15", "number": "77", "value": "наряд 5"}]
    assert shown["operating_prop"] == {"id": 0, "data": "заезд 12", "at": "2026-11-23T12:00:00.000000Z"}
    shoes, transfer = shown["items"][1], shown["items"][4]
    assert (shoes["country"], shoes["declaration"]) == ("643", "10702030/060520/0013422")
    assert shoes["sectoral_props"][0]["federal_id"] == "030"
    assert shoes["shipped_on"] == "2026-11-22"
    assert (transfer["excise"], transfer["additional_props"]) == (1_500, "серия 12")
    assert shown["customer"]["birth_date"] == "1990-05-17"
    assert shown["customer"]["document_data"] == "4510 000000"
    masked = receipt_view(row(document=stored), EVERYTHING.customer, masked=True)["customer"]
    person = ("birth_date", "citizenship", "document_code", "document_data", "address")
    assert {name: masked[name] for name in person} == dict.fromkeys(person)
