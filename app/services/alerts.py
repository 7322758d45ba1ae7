"""Messages that change no receipt: a kassa is paused or resumed, an endpoint switched off, a receipt is overdue, a
source fell silent or is heard again, or a merchant's income nears a bound of its VAT regime."""

from datetime import datetime
from typing import Any
from uuid import UUID

from app.db.repos.receipts import ReceiptRow
from app.db.repos.settings import KassaRow, SourceRow
from app.db.unit_of_work import Tx, database_now
from app.domain.causes import Who
from app.domain.causes import cause as look_up_cause
from app.domain.deadline import Alarm, Step
from app.domain.lifecycle import MessageType
from app.domain.money import roubles
from app.domain.receipt import Customer
from app.domain.vat_review import Reached
from app.infra.page_links import PageLinks
from app.outbound.messages import message_body
from app.queue.tell import tell
from app.services.catalog import MerchantSettings
from app.services.views import receipt_view, rfc3339

_OVERDUE = {
    Step.WARNING: (
        "The money was taken and there is no receipt yet.",
        "Деньги получены, а чека ещё нет.",
    ),
    Step.LIMIT: (
        "The receipt is late: a person should decide now.",
        "Чек просрочен: нужно решение человека.",
    ),
    Step.DAILY: (
        "There is still no receipt for this money; waiting cures nothing.",
        "Чека по этим деньгам всё ещё нет; ожидание ничего не исправит.",
    ),
}


async def kassa_paused(tx: Tx, kassa: KassaRow, cause: str) -> None:
    """One message for the whole pause: which kassa, why, who acts, what next."""
    why = look_up_cause(cause)
    await _about(
        tx,
        kassa.merchant_id,
        "kassa.paused",
        {
            "kassa": _kassa(kassa),
            "cause": {
                "code": why.code,
                "message": why.message,
                "message_ru": why.message_ru,
                "who": why.who,
                "next_step": why.next_step,
            },
        },
    )


async def kassa_resumed(tx: Tx, kassa: KassaRow) -> None:
    await _about(tx, kassa.merchant_id, "kassa.resumed", {"kassa": _kassa(kassa)})


async def endpoint_disabled(tx: Tx, merchant_id: UUID, endpoint_id: UUID, url: str, reason: str) -> None:
    """Told to the merchant's other endpoints and kept in the pull feed."""
    await _about(tx, merchant_id, "endpoint.disabled", {**endpoint_named(endpoint_id, url), "reason": reason})


def endpoint_named(endpoint_id: UUID, url: str) -> dict[str, Any]:
    """Which endpoint a message is about."""
    return {"endpoint": {"id": f"whe_{endpoint_id.hex}", "url": url}}


async def receipt_overdue(
    tx: Tx, row: ReceiptRow, customer: Customer | None, alarm: Alarm, at: datetime, links: PageLinks
) -> None:
    """A reminder: the receipt stays as it is, so its sequence does not grow and the message has none of its own."""
    message, message_ru = _OVERDUE[alarm.step]
    data = {
        "receipt": receipt_view(row, customer, masked=True, links=links),
        "deadline": {
            "step": alarm.step.value,
            "due_at": None if row.due_at is None else rfc3339(row.due_at),
            "limit_at": None if row.limit_at is None else rfc3339(row.limit_at),
            "message": message,
            "message_ru": message_ru,
        },
    }
    body = message_body(MessageType.OVERDUE.value, at, data)
    await tell(tx, row.merchant_id, MessageType.OVERDUE.value, body, at, receipt_id=row.id)


_SILENT = {
    "silent": (
        "Nothing was heard of this source for longer than it is usually silent.",
        "От этого источника давно ничего не слышно: дольше, чем он обычно молчит.",
    ),
    "poll_failing": (
        "This source cannot be listed: payments that it does not report by itself may be missing.",
        "Этот источник не удаётся опросить: платежи, о которых он не сообщил сам, могли потеряться.",
    ),
}


async def source_silent(tx: Tx, source: SourceRow, heard_at: datetime) -> None:
    """Once for a whole silence; `heard_at` is when it was heard last, or made."""
    code = "silent" if source.poll_failing_since is None else "poll_failing"
    message, message_ru = _SILENT[code]
    cause = {"code": code, "message": message, "message_ru": message_ru, "detail": source.poll_failure}
    await _about(tx, source.merchant_id, "source.silent", {"source": _source(source, heard_at), "cause": cause})


async def source_heard(tx: Tx, source: SourceRow, heard_at: datetime) -> None:
    """It is heard again."""
    await _about(tx, source.merchant_id, "source.heard", {"source": _source(source, heard_at)})


def _source(source: SourceRow, heard_at: datetime) -> dict[str, Any]:
    return {
        "id": f"src_{source.id.hex}",
        "name": source.name,
        "kind": source.kind,
        "last_heard_at": rfc3339(heard_at),
        "silent_after_hours": source.silent_after_hours,
    }


async def vat_regime_review(tx: Tx, settings: MerchantSettings, one: Reached, at: datetime) -> None:
    """One share of one bound of a merchant's income: whose, how much, what it decides, what next."""
    bound = one.bound
    then = "for next year" if one.next_year else "for this year"
    then_ru = "на следующий год" if one.next_year else "этого года"
    doubt = "" if bound.confirmed else " The bound is the trade press's figure, not read in the law: ask about it too."
    doubt_ru = "" if bound.confirmed else " Сам предел взят из деловой прессы, а не из текста закона: уточните и его."
    data = {
        "merchant": {"id": f"mer_{settings.id.hex}", "name": settings.name, "inn": settings.inn},
        "vat_review": {
            "year": one.year,
            "income": one.income,
            "kind": bound.kind.value,
            "bound_year": bound.year,
            "bound": bound.income,
            "percent": one.percent,
            "law": bound.law,
            "confirmed": bound.confirmed,
            "message": f"Income of {one.year} has reached {one.percent} % of the bound {then}: "
            f"{roubles(one.income)} of {roubles(bound.income)} roubles.",
            "message_ru": f"Доход за {one.year} год достиг {one.percent} % предела {then_ru}: "
            f"{roubles(one.income)} из {roubles(bound.income)} руб.",
            "who": Who.MERCHANT.value,
            "next_step": "Ask your accountant which rate holds and from which day, then set it with "
            "PUT /v1/merchants/{id}/vat. Above the bound of the year VAT is paid from the first day of the next month."
            + doubt,
            "next_step_ru": "Уточните у бухгалтера ставку и дату и задайте их через PUT /v1/merchants/{id}/vat. При "
            "превышении предела года НДС платят с первого числа следующего месяца." + doubt_ru,
        },
    }
    type = "merchant.vat_regime_review"
    await tell(tx, settings.id, type, message_body(type, at, data), at)


def _kassa(kassa: KassaRow) -> dict[str, Any]:
    return {"id": f"kas_{kassa.id.hex}", "name": kassa.name, "provider": kassa.provider}


async def _about(tx: Tx, merchant_id: UUID, type: str, data: dict[str, Any]) -> None:
    at = await database_now(tx)
    await tell(tx, merchant_id, type, message_body(type, at, data), at)
