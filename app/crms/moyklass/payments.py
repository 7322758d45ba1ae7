"""A payment of the CRM as an event: what was paid for, by whom and how; pure, so that every case can be tried.

A payment knows its day and not its time: what was paid today happened now, what was paid before at noon of its day.
"""

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from zoneinfo import ZoneInfo

from app.crms.moyklass.settings import NOT_FISCALIZED, Settings
from app.crms.moyklass.wire import INCOME, REFUND, Payment, Pupil
from app.domain.event import EventItem, EventPayment, EventRequisites, EventType, PaymentEvent, Question
from app.domain.receipt import Customer
from app.infra.contacts import normalize_email, normalize_phone

TYPES = {INCOME: EventType.PAYMENT_SUCCEEDED, REFUND: EventType.REFUND_SUCCEEDED}
"""`debit` is no payment: the balance is charged for an invoice, no money moves and nothing is given."""

_NOON = time(12)


@dataclass(frozen=True, slots=True)
class Purchase:
    """What a payment is for: a subscription of this kind, and what it costs (kopecks), where the CRM says so."""

    name: str
    kind: int
    price: int | None


def account_of(user_id: int, settings: Settings) -> str:
    """The pupil's account as an order: its payments, closings and refunds belong together."""
    return f"{settings.account}:{user_id}"


def zone_of(settings: Settings, otherwise: str) -> ZoneInfo:
    """The zone of the CRM's dates."""
    return ZoneInfo(settings.timezone or otherwise)


def moment_of(day: date, zone: ZoneInfo, now: datetime) -> datetime:
    """When something happened of which only the day is known. Noon is the same day in every zone of the country."""
    if day >= now.astimezone(zone).date():
        return now
    return datetime.combine(day, _NOON, zone).astimezone(UTC)


def event_of(
    payment: Payment,
    pupil: Pupil,
    purchase: Purchase | None,
    type_name: str | None,
    settings: Settings,
    zone: ZoneInfo,
    now: datetime,
) -> PaymentEvent | None:
    """The event of an income or a refund; None when the settings say that it gets no receipt here."""
    kind = TYPES[payment.optype]
    told = {
        "user_id": payment.user_id,
        "filial_id": payment.filial_id,
        "payment_type_id": payment.payment_type_id,
        "payment_type": type_name,
        "user_subscription_id": payment.user_subscription_id,
    }
    event = PaymentEvent(
        type=kind,
        external_id=str(payment.id),
        amount=payment.amount,
        occurred_at=moment_of(payment.day, zone, now),
        order_id=account_of(payment.user_id, settings),
        customer=customer_of(pupil, settings),
        metadata={name: value for name, value in told.items() if value is not None},
    )
    if kind is EventType.PAYMENT_SUCCEEDED:
        line = _line(payment, purchase, settings)
        event = replace(event, items=(line,), items_origin="readback" if purchase else "mapping")
    return routed(event, settings)


def routed(event: PaymentEvent, settings: Settings) -> PaymentEvent | None:
    """An event with what the settings answer about its payment type and filial, or with the question that they leave.

    None: it gets no receipt here. What a filial that is not listed sold waits for its branch under the filial's name.
    """
    filial, paid_by = event.metadata.get("filial_id"), event.metadata.get("payment_type_id")
    listed = None if filial is None else settings.branches.get(str(filial))
    rule = None if paid_by is None else settings.payment_types.get(str(paid_by))
    if listed == NOT_FISCALIZED or isinstance(rule, str):
        return None
    unlisted = f"moyklass filial {filial}"
    # A branch that a person named stays, whatever the settings say later.
    branch = event.branch if event.branch not in (None, unlisted) else listed
    question = None
    if branch is None and settings.branches and event.type is EventType.PAYMENT_SUCCEEDED:
        branch = unlisted
        question = _filial_question(filial)
    if rule is None:
        question = _type_question(paid_by, event.metadata.get("payment_type"))
        return replace(event, branch=branch, question=question)
    return replace(
        event,
        branch=branch,
        question=question,
        payments=(EventPayment(rule.kind, event.amount),),
        requisites=EventRequisites(internet=rule.internet),
    )


def not_wanted(payment: Payment, settings: Settings) -> str | None:
    """Why a payment gets no receipt here, before anything is asked about it; None when it may get one."""
    if payment.optype not in TYPES:
        return f"{payment.optype or 'an operation without a type'} moves no money"
    if payment.amount == 0:
        return "its sum is zero"
    rule = settings.payment_types.get(str(payment.payment_type_id))
    if isinstance(rule, str):
        return f"payment type {payment.payment_type_id} is {rule} by the settings"
    if settings.branches.get(str(payment.filial_id)) == NOT_FISCALIZED:
        return f"filial {payment.filial_id} is not fiscalized by the settings"
    return None


def customer_of(pupil: Pupil, settings: Settings) -> Customer:
    """The payer's contact: the attributes named in the settings, then the pupil's own."""
    emails = [pupil.attributes.get(settings.email_attribute or ""), pupil.email if settings.contact_of_pupil else None]
    phones = [pupil.attributes.get(settings.phone_attribute or ""), pupil.phone if settings.contact_of_pupil else None]
    email = next((found for found in map(_email, emails) if found), None)
    phone = next((found for found in map(_phone, phones) if found), None)
    return Customer(email=email, phone=phone)


def _line(payment: Payment, purchase: Purchase | None, settings: Settings) -> EventItem:
    if purchase is None:
        advance = settings.balance_method == "advance"
        return EventItem(
            name=settings.balance_item_name,
            quantity=Decimal(1),
            price=payment.amount,
            amount=payment.amount,
            payment_method=settings.balance_method,
            payment_object="payment" if advance else "service",
            measure="piece",
        )
    if purchase.kind in settings.delivered_subscriptions:
        method = "full_payment"
    else:
        # A subscription is prepaid; of an instalment the law says so too.
        whole = purchase.price is None or payment.amount >= purchase.price
        method = "full_prepayment" if whole else "prepayment"
    return EventItem(
        name=purchase.name,
        quantity=Decimal(1),
        price=payment.amount,
        amount=payment.amount,
        sku=str(purchase.kind),
        payment_method=method,
        payment_object="service",
        measure="piece",
    )


def _type_question(paid_by: object, name: object) -> Question:
    called = f"{paid_by}" + (f" «{name}»" if name else "")
    return Question(
        "payments",
        f"Payment type {called} is not in the settings of this source: say how it is paid, or that it is not "
        "fiscalized (`payment_types`).",
        f"Тип оплаты {called} не описан в настройках источника: укажите, как им платят, или что чек по нему не нужен "
        "(`payment_types`).",
    )


def _filial_question(filial: object) -> Question:
    return Question(
        "branch",
        f"Filial {filial} is not in the settings of this source: name its branch, or say that it is not fiscalized "
        "(`branches`).",
        f"Филиал {filial} не описан в настройках источника: укажите его точку продаж или что чеки по нему не нужны "
        "(`branches`).",
    )


def _email(given: str | None) -> str | None:
    try:
        return normalize_email(given) if given else None
    except ValueError:
        return None


def _phone(given: str | None) -> str | None:
    """The CRM keeps digits alone: ten or more, the country's code first."""
    if not given:
        return None
    plus = given.isdigit() and len(given) > 10 and not given.startswith("8")
    try:
        return normalize_phone(f"+{given}" if plus else given)
    except ValueError:
        return None
