"""What the CRM is told of a receipt: a comment at the pupil, one in the payment by setting, a task when it failed."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from app.crms.moyklass.client import Client, CrmError
from app.crms.moyklass.settings import FailureTask, Settings
from app.crms.moyklass.wire import INCOME
from app.domain.event import EventType
from app.domain.money import roubles
from app.ports.source import Report, Reported, ReportFailed

FISCALIZED: Final = "fiscalized"
TASK_LIMIT: Final = 250
_FINAL = (400, 403, 404)
_SEARCH_DAYS = 30

_WORDS = {
    EventType.PAYMENT_SUCCEEDED: "Чек",
    EventType.REFUND_SUCCEEDED: "Чек возврата",
    EventType.ORDER_SETTLED: "Чек зачёта предоплаты",
}


async def tell(report: Report, client: Client, settings: Settings) -> Reported | ReportFailed:
    """Everything that the settings want told. What was told before is found in the CRM and not told twice."""
    if report.event_type is EventType.ORDER_SETTLED and not settings.report_closings:
        return Reported()
    user_id = report.metadata.get("user_id")
    if not isinstance(user_id, int):
        return ReportFailed("the event does not say whose payment it is", final=True)
    try:
        if report.status != FISCALIZED:
            if settings.failure_task is not None and report.failure_ru:
                await _task(report, user_id, client, settings.failure_task)
            return Reported()
        text = words(report)
        if settings.pupil_comment != "off":
            await _pupil_comment(text, user_id, client, shown=settings.pupil_comment == "shown")
        if settings.payment_comment and report.event_type is EventType.PAYMENT_SUCCEEDED:
            await _payment_comment(text, report.event_external_id, client)
    except CrmError as error:
        return ReportFailed(str(error), final=error.status in _FINAL)
    return Reported()


def words(report: Report) -> str:
    """One sentence with the link, or with the requisites by which the receipt is found where there is none."""
    fiscal = report.fiscal
    link = report.public_url or (fiscal.receipt_url if fiscal is not None else None)
    beginning = f"{_WORDS[report.event_type]} на {roubles(report.total)} ₽"
    if link:
        return f"{beginning}: {link}"
    if fiscal is None:
        return f"{beginning} пробит"
    return f"{beginning}: ФН {fiscal.fn}, ФД {fiscal.fd}, ФПД {fiscal.fpd}"


async def _pupil_comment(text: str, user_id: int, client: Client, *, shown: bool) -> None:
    """Whether an earlier try arrived is looked up first: the CRM takes the same comment any number of times."""
    now = datetime.now(UTC)
    params: dict[str, str | int] = {
        "userId": user_id,
        "createdAt": f"{(now - timedelta(days=_SEARCH_DAYS)):%Y-%m-%d},{(now + timedelta(days=1)):%Y-%m-%d}",
    }
    async for row in client.pages("/v1/company/userComments", "userComments", params):
        if row.get("comment") == text:
            return
    await client.post("/v1/company/userComments", {"userId": user_id, "comment": text, "showToUser": shown})


async def _payment_comment(text: str, payment_id: str, client: Client) -> None:
    """Read, add, write back: only an income may be changed. The CRM's webhook about it finds a payment it knows."""
    path = f"/v1/company/payments/{payment_id}"
    found = await client.get(path)
    if not isinstance(found, dict) or found.get("optype") != INCOME:
        return
    before = str(found.get("comment") or "")
    if text in before:
        return
    kept = {name: _plain(found[name]) for name in _WRITTEN_BACK if found.get(name) is not None}
    await client.post(path, {**kept, "comment": f"{before}\n{text}" if before else text})


_WRITTEN_BACK = ("date", "summa", "paymentTypeId", "filialId", "cashboxId")


async def _task(report: Report, user_id: int, client: Client, wanted: FailureTask) -> None:
    """Of the fields of a task only those that the API's document requires, the people, the pupil and the category."""
    now = datetime.now(UTC)
    body = f"Чек на {roubles(report.total)} ₽ не пробит: {report.failure_ru}"
    task: dict[str, Any] = {
        "body": body if len(body) <= TASK_LIMIT else f"{body[: TASK_LIMIT - 1]}…",
        "beginDate": _moment(now),
        "endDate": _moment(now + timedelta(days=1)),
        "managerIds": wanted.manager_ids,
        "userId": user_id,
    }
    if wanted.category_id is not None:
        task["categoryId"] = wanted.category_id
    await client.post("/v1/company/tasks", task)


def _moment(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _plain(value: Any) -> Any:
    """The CRM's doubles, read exactly, as JSON writes them."""
    return value if isinstance(value, str | int) else float(value)
