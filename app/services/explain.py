"""Explain: one receipt in words for people: what happened, why, who acts, by when, and which calls are possible now."""

import json
import shlex
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from app.db.repos import lanes_read, receipts
from app.db.repos.receipts import ReceiptRow
from app.db.unit_of_work import Database, database_now
from app.domain.causes import CATALOGUE, Cause, cause
from app.domain.errors import Severity
from app.domain.explanation import Meaning, meaning
from app.domain.ffd import Operation
from app.domain.lifecycle import TERMINAL, Status
from app.infra.ids import public
from app.services.deadlines import alarms_of
from app.services.lane_view import lane_view
from app.services.late import is_held_late
from app.services.later_contact import may_get_contact
from app.services.views import adjustments_of, remarks_of, rfc3339

Json = dict[str, Any]

_MOSCOW = ZoneInfo("Europe/Moscow")


@dataclass(frozen=True, slots=True)
class Action:
    """One call that is possible in this state."""

    name: str
    title: str
    title_ru: str
    method: str
    path: str
    body: Json | None = None
    headers: tuple[tuple[str, str], ...] = ()


class Explain:
    """Reads one receipt of one merchant."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def receipt(self, merchant_id: UUID, receipt_id: UUID) -> Json | None:
        """The explanation; None for a receipt that is not this merchant's."""
        async with self._database.tenant(merchant_id) as tx:
            row = await receipts.by_id(tx, merchant_id, receipt_id)
            if row is None:
                return None
            sent = await receipts.earlier_attempts(tx, row.id, row.provider_id)
            now = await database_now(tx)
        return explained(row, now, unproven=sent.unproven, pause=await self._pause(row))

    async def _pause(self, row: ReceiptRow) -> str | None:
        """Why the kassa of a waiting receipt stands still; None when it does not."""
        if row.kassa_id is None or row.status != Status.QUEUED.value:
            return None
        async with self._database.pipeline() as tx:
            found = (await lanes_read.states(tx, row.merchant_id, [row.kassa_id])).get(row.kassa_id)
        pause = None if found is None else lane_view(found).pause
        return None if pause is None else pause.cause


def explained(row: ReceiptRow, now: datetime, *, unproven: int, pause: str | None = None) -> Json:
    """`unproven`: sends under the present id of which nobody knows whether they registered anything; `pause`: why its
    kassa stands still."""
    status, failure = Status(row.status), row.failure or {}
    code = pause or failure.get("code")
    why = cause(code) if code in CATALOGUE else None
    means = meaning(status, why)
    over = status in TERMINAL and status is not Status.REJECTED
    document = row.document or {}
    zone = ZoneInfo(document["timezone"]) if document.get("timezone") else _MOSCOW
    return {
        "receipt_id": public("rcpt", row.id),
        "status": row.status,
        "sequence": row.sequence,
        "what": means.what,
        "what_ru": means.what_ru,
        "cause": None if why is None else why.code,
        "why": None if why is None else why.message,
        "why_ru": None if why is None else why.message_ru,
        "who": None if means.who is None else means.who.value,
        "next_step": means.next_step,
        "next_step_ru": means.next_step_ru,
        "retryable": why.retryable if why is not None else not over and means.who is None,
        "missing": failure.get("missing", []),
        "remarks": remarks_of(row),
        "adjustments": adjustments_of(row),
        "provider_code": failure.get("provider_code"),
        "provider_message": failure.get("provider_message"),
        "sends": row.marks,
        "sends_unproven": unproven,
        "due_at": None if row.due_at is None else rfc3339(row.due_at),
        "limit_at": None if row.limit_at is None else rfc3339(row.limit_at),
        "overdue": not over and row.due_at is not None and row.due_at < now,
        "next_alarm_at": None if over else rfc3339(row.alarm_at or alarms_of(row, now)[1].at),
        "correction_draft": row.correction_draft if is_held_late(row) else None,
        "actions": [_shown(one) for one in possible(row)],
        "text": _text(means, why, row, now, zone, over, unproven),
        "text_ru": _text_ru(means, why, row, now, zone, over, unproven),
    }


def possible(row: ReceiptRow) -> list[Action]:
    """The calls that this receipt takes now, in the order in which a person would think of them."""
    here, seen = f"/v1/receipts/{public('rcpt', row.id)}", f'"{row.sequence}"'
    if_match = (("If-Match", seen),)
    retry = Action("retry", "Try now", "Попробовать сейчас", "POST", f"{here}/retry")
    cancel = Action("cancel", "Give the receipt up", "Отказаться от чека", "POST", f"{here}/cancel", {"reason": "Why"})
    add_contact = Action(
        "update",
        "Send the buyer's address",
        "Передать адрес покупателя",
        "PATCH",
        here,
        {"customer": {"email": "buyer@example.org"}},
        if_match,
    )
    match Status(row.status):
        case Status.HELD if is_held_late(row):
            return [
                _confirm(here, "print_now", "Print it now, late", "Пробить сейчас, с опозданием"),
                _confirm(here, "as_correction", "Make a correction receipt of it", "Оформить чеком коррекции"),
                cancel,
            ]
        case Status.HELD if (row.failure or {}).get("code") in ("contact_missing", "data_missing"):
            fill = Action("update", "Fill what is missing", "Дополнить данные", "PATCH", here, _filling(row), if_match)
            return [fill, Action("retry", "Plan again", "Спланировать снова", "POST", f"{here}/retry"), cancel]
        case Status.HELD if (row.failure or {}).get("code") in ("settlement_conflict", "refund_unclear"):
            return _resolutions(row, here, _COMPARED)
        case Status.HELD:
            return [Action("retry", "Plan again", "Спланировать снова", "POST", f"{here}/retry"), cancel]
        case Status.QUEUED:
            return [retry, cancel]
        case Status.ACCEPTED:
            return [retry]
        case Status.UNKNOWN:
            return [retry, *_resolutions(row, here)]
        case Status.NEEDS_ATTENTION:
            return _resolutions(row, here)
        case Status.REJECTED:
            correct = Action("update", "Correct and send again", "Исправить и отправить", "PATCH", here, {}, if_match)
            return [correct, Action("retry", "Send again", "Отправить снова", "POST", f"{here}/retry"), cancel]
        case Status.FISCALIZED:
            found = [add_contact] if may_get_contact(row, frozenset({"customer"})) else []
            if row.operation == Operation.SELL.code and not row.correction:
                key = (("Idempotency-Key", "your-key"),)
                found.append(Action("refund", "Refund", "Вернуть", "POST", f"{here}/refund", {}, key))
            return found
        case _:
            return []


def _confirm(here: str, how: str, title: str, title_ru: str) -> Action:
    return Action(how, title, title_ru, "POST", f"{here}/confirm-late", {"how": how, "reason": "Why"})


_ANSWERS = (
    ("found", "The document exists", "Документ найден"),
    ("send_again", "It certainly does not exist: send again", "Документа точно нет: отправить снова"),
    ("made_elsewhere", "Another receipt stands for this money", "По этим деньгам есть другой чек"),
    ("abandon", "No receipt is wanted", "Чек не нужен"),
)


_COMPARED = (
    ("other_money", "It is other money: print its receipt", "Это другие деньги: пробить чек"),
    ("made_elsewhere", "It is the same money: no second receipt", "Это те же деньги: второй чек не нужен"),
)


def _resolutions(row: ReceiptRow, here: str, answers: tuple[tuple[str, str, str], ...] = _ANSWERS) -> list[Action]:
    return [
        Action(
            f"resolve:{answer}",
            title,
            title_ru,
            "POST",
            f"{here}/resolve",
            {"answer": answer, "sequence": row.sequence, "reason": "What you saw"},
        )
        for answer, title, title_ru in answers
    ]


def _filling(row: ReceiptRow) -> Json:
    """A body to fill in: of each missing member the first part of its pointer."""
    wanted = [one["pointer"].removeprefix("#/").split("/")[0] for one in (row.failure or {}).get("missing", ())]
    examples: dict[str, Any] = {"customer": {"email": "buyer@example.org"}}
    return {name: examples.get(name) for name in dict.fromkeys(wanted) if name}


def _shown(action: Action) -> Json:
    return {
        "action": action.name,
        "title": action.title,
        "title_ru": action.title_ru,
        "method": action.method,
        "path": action.path,
        "headers": dict(action.headers),
        "body": action.body,
        "curl": _curl(action),
    }


def _curl(action: Action) -> str:
    """Ready to copy: `KASSA_URL` and `KASSA_KEY` are the reader's own."""
    words = [f"curl -X {action.method}", f'"$KASSA_URL{action.path}"', '-H "Authorization: Bearer $KASSA_KEY"']
    words += [f"-H {shlex.quote(f'{name}: {value}')}" for name, value in action.headers]
    if action.body is not None:
        said = json.dumps(action.body, ensure_ascii=False)
        words += ["-H 'Content-Type: application/json'", f"-d {shlex.quote(said)}"]
    return " ".join(words)


def _text(
    means: Meaning, why: Cause | None, row: ReceiptRow, now: datetime, zone: ZoneInfo, over: bool, unproven: int
) -> str:
    parts = [means.what]
    if why is not None and not over:
        parts.append(f"Why: {why.message}")
    if unproven and not over:
        parts.append("It may be registered already, so it is never turned into another document by itself.")
    parts += [f"Note: {one['detail']}" for one in remarks_of(row) if one["severity"] == Severity.WARNING]
    parts.append(f"Next: {means.next_step}")
    if not over and row.due_at is not None:
        since = "was due" if row.due_at < now else "is due"
        parts.append(f"It {since} by {_local(row.due_at, zone)}.")
        if row.limit_at is not None:
            late = "is late since" if row.limit_at < now else "will be late after"
            parts.append(f"It {late} {_local(row.limit_at, zone)}.")
    return " ".join(parts)


def _text_ru(
    means: Meaning, why: Cause | None, row: ReceiptRow, now: datetime, zone: ZoneInfo, over: bool, unproven: int
) -> str:
    parts = [means.what_ru]
    if why is not None and not over:
        parts.append(f"Причина: {why.message_ru}")
    if unproven and not over:
        parts.append("Возможно, чек уже пробит, поэтому сам он в другой документ не превратится.")
    parts += [f"Замечание: {one['detail_ru']}" for one in remarks_of(row) if one["severity"] == Severity.WARNING]
    parts.append(f"Что делать: {means.next_step_ru}")
    if not over and row.due_at is not None:
        parts.append(f"Срок чека: {_local(row.due_at, zone)}{' (прошёл)' if row.due_at < now else ''}.")
        if row.limit_at is not None:
            late = "Просрочен с" if row.limit_at < now else "Будет просрочен после"
            parts.append(f"{late} {_local(row.limit_at, zone)}.")
    return " ".join(parts)


def _local(moment: datetime, zone: ZoneInfo) -> str:
    """Local time of the kassa, with its offset."""
    there = moment.astimezone(zone)
    return f"{there:%d.%m.%Y %H:%M} (UTC{there:%z})"
