"""What one conversation reads of pupils, subscriptions, invoices and courses: each thing is asked once."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import date
from typing import Any, TypeVar

from app.crms.moyklass import wire
from app.crms.moyklass.client import Client, CrmError, Unfit
from app.crms.moyklass.payments import Purchase
from app.crms.moyklass.settings import Settings
from app.crms.moyklass.wire import Charge, Payment, Pupil, Unreadable, UserSubscription

T = TypeVar("T")
NOBODY = Pupil(None, None, None, {})


class ReadBack:
    """Reads for one run of the adapter; what is gone from the CRM is None, what cannot be read raises CrmError."""

    def __init__(self, client: Client, settings: Settings) -> None:
        self._client = client
        self._settings = settings
        self._kept: dict[tuple[str, object], Any] = {}

    async def payment(self, payment_id: int) -> Payment | None:
        """A payment as it stands now."""
        row = await self._row(f"/v1/company/payments/{payment_id}")
        return None if row is None else _read(wire.payment, row)

    async def pupil(self, user_id: int) -> Pupil:
        """A pupil who was deleted has no contact."""

        async def ask() -> Pupil:
            row = await self._row(f"/v1/company/users/{user_id}")
            return NOBODY if row is None else _read(wire.pupil, row)

        return await self._once("pupil", user_id, ask)

    async def purchase(self, payment: Payment) -> Purchase | None:
        """The subscription that a payment names, else the one of the invoice that it paid; None: nothing says it."""
        owned = payment.user_subscription_id
        if owned is None and self._settings.invoices_tell_purpose:
            owned = await self._invoiced(payment)
        found = None if owned is None else await self.user_subscription(owned)
        return None if found is None else await self.purchase_of(found)

    async def purchase_of(self, owned: UserSubscription) -> Purchase | None:
        """A subscription by the name on a receipt: its own, and the course's where there is exactly one."""
        name = await self.subscription_name(owned.kind)
        if name is None:
            return None
        courses = await self._courses() if len(owned.course_ids) == 1 else {}
        course = courses.get(owned.course_ids[0]) if courses else None
        if course and course.casefold() not in name.casefold():
            name = f"{name}, {course}"
        return Purchase(name, owned.kind, owned.price)

    async def user_subscription(self, owned: int) -> UserSubscription | None:
        """A pupil's subscription."""

        async def ask() -> UserSubscription | None:
            row = await self._row(f"/v1/company/userSubscriptions/{owned}")
            return None if row is None else _read(wire.user_subscription, row)

        return await self._once("user_subscription", owned, ask)

    async def subscription_name(self, kind: int) -> str | None:
        """What a kind of subscription is called."""

        async def ask() -> str | None:
            row = await self._row(f"/v1/company/subscriptions/{kind}")
            return None if row is None else wire.text(row.get("name"))

        return await self._once("subscription", kind, ask)

    async def payment_type(self, type_id: int | None) -> str | None:
        """What a payment type is called, for a person who is asked about it."""

        async def ask() -> dict[int, str | None]:
            rows = await self._client.get("/v1/company/paymentTypes")
            return {row["id"]: wire.text(row.get("name")) for row in _list(rows) if isinstance(row.get("id"), int)}

        return None if type_id is None else (await self._once("payment_types", None, ask)).get(type_id)

    async def charges(self, first: date, last: date, user_id: int | None = None) -> AsyncIterator[Charge]:
        """Lessons between two days that were charged, of everybody or of one pupil."""
        params: dict[str, str | int] = {
            "date": f"{first.isoformat()},{last.isoformat()}",
            "includeBills": "true",
            "includeUserSubscriptions": "true",
            "includeLessons": "true",
        }
        if user_id is not None:
            params["userId"] = user_id
        seen: set[int] = set()
        async for row in self._client.pages("/v1/company/lessonRecords", "lessonRecords", params):
            found = _read(wire.charge, row)
            if found is not None and found.bill_id not in seen:
                seen.add(found.bill_id)
                yield found

    async def ended(self, sold_from: date, sold_to: date) -> AsyncIterator[UserSubscription]:
        """Subscriptions sold between two days that have ended."""
        params: dict[str, str | int] = {
            "sellDate": f"{sold_from.isoformat()},{sold_to.isoformat()}",
            "statusId": wire.OVER,
        }
        async for row in self._client.pages("/v1/company/userSubscriptions", "subscriptions", params):
            yield _read(wire.user_subscription, row)

    async def _invoiced(self, payment: Payment) -> int | None:
        """The subscription of the invoice that this income paid.

        The CRM puts no invoice on an income: it then charges the balance (`debit`) and names the invoice there. Only
        one charge of the same pupil, day and sum is believed.
        """
        invoice_id = payment.invoice_id
        if invoice_id is None and payment.optype == wire.INCOME:
            day = payment.day.isoformat()
            params: dict[str, str | int] = {"userId": payment.user_id, "optype": wire.DEBIT, "date": f"{day},{day}"}
            rows = [row async for row in self._client.pages("/v1/company/payments", "payments", params)]
            debits = [_read(wire.payment, row) for row in rows]
            same = {
                one.id: one for one in debits if one.amount == payment.amount and one.user_id == payment.user_id
            }.values()
            if len(same) != 1:
                return None
            (debit,) = same
            if debit.user_subscription_id is not None:
                return debit.user_subscription_id
            invoice_id = debit.invoice_id
        row = None if invoice_id is None else await self._row(f"/v1/company/invoices/{invoice_id}")
        owned = None if row is None else row.get("userSubscriptionId")
        return owned if isinstance(owned, int) else None

    async def _courses(self) -> dict[int, str]:
        async def ask() -> dict[int, str]:
            rows = _list(await self._client.get("/v1/company/courses"))
            named = ((row.get("id"), wire.text(row.get("name"))) for row in rows)
            return {number: name for number, name in named if isinstance(number, int) and name}

        return await self._once("courses", None, ask)

    async def _once(self, what: str, which: object, ask: Callable[[], Awaitable[T]]) -> T:
        key = (what, which)
        if key not in self._kept:
            self._kept[key] = await ask()
        found: T = self._kept[key]
        return found

    async def _row(self, path: str) -> dict[str, Any] | None:
        try:
            row = await self._client.get(path)
        except CrmError as error:
            if error.status == 404:
                return None
            raise
        if not isinstance(row, dict):
            raise Unfit(f"{path}: the CRM's answer is no object")
        return row


def _list(rows: object) -> list[dict[str, Any]]:
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _read(reader: Callable[[dict[str, Any]], T], row: dict[str, Any]) -> T:
    try:
        return reader(row)
    except Unreadable as error:
        raise Unfit(f"the CRM's answer cannot be read: {error}") from None
