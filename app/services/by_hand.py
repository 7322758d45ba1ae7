"""A receipt made by hand: an event under its Idempotency-Key, and the planned sale turned into what was asked for."""

from dataclasses import replace
from datetime import date

from app.domain.errors import Invalid
from app.domain.event import EventType, PaymentEvent
from app.domain.ffd import Operation
from app.domain.nomenclature import PERSON
from app.domain.receipt import CorrectionBasis, Receipt
from app.domain.rules import findings
from app.services.sales import Shape


def manual_event(event: PaymentEvent, key: str) -> PaymentEvent:
    """The event that stands for a receipt made by hand; its identity is its key, its lines are a person's."""
    return replace(event, type=EventType.PAYMENT_SUCCEEDED, external_id=f"manual:{key}", items_origin=PERSON)


def manual_shape(operation: Operation) -> Shape:
    """Turns a planned sale into a receipt of this operation."""
    return lambda receipt, today: shaped(receipt, today, operation, None)


def shaped(receipt: Receipt, today: date, operation: Operation, basis: CorrectionBasis | None) -> Receipt:
    """The receipt with this operation and basis; Invalid with every finding when it cannot be one."""
    made = replace(receipt, operation=operation, correction=basis)
    found = findings(made, today)
    if found:
        raise Invalid("this cannot become a receipt", found)
    return made
