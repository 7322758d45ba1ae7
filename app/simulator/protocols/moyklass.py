"""«Мой Класс» as the gateway meets it: the company's API, and webhooks about its payments.

`POST /moyklass/data/{kind}` puts a row as the CRM has it (`payments`, `users`, `subscriptions`, …), `PATCH` and
`DELETE` change and remove one, `GET` shows all; `PUT /moyklass/webhook` says where hints go, null switches them off.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from itertools import count
from typing import Any, ClassVar, Final
from uuid import uuid4

import httpx
from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict

from app.simulator.faults import Action, Call, play
from app.simulator.simulator import Simulator

CODE = "moyklass"
TOKEN_DAYS: Final = 7
MOST_ROWS: Final = 500

KINDS: Final = (
    "payments",
    "users",
    "subscriptions",
    "userSubscriptions",
    "invoices",
    "courses",
    "paymentTypes",
    "filials",
    "lessonRecords",
    "userComments",
    "tasks",
)
_LISTS: Final = {
    "payments": "payments",
    "userSubscriptions": "subscriptions",
    "lessonRecords": "lessonRecords",
    "userComments": "userComments",
}
"""Lists in pages, with the member that holds their rows; the other three are plain arrays."""
_ARRAYS: Final = ("courses", "paymentTypes", "filials")
_PAYMENT_CHANGES: Final = ("date", "summa", "paymentTypeId", "filialId", "cashboxId", "comment")

Row = dict[str, Any]


class Settings(BaseModel):
    """`settings["moyklass"]`: the company's key; without one any key is let in."""

    model_config = ConfigDict(extra="forbid")

    api_key: str | None = None


class Webhook(BaseModel):
    """Where hints are posted; null: nowhere."""

    model_config = ConfigDict(extra="forbid")

    url: str | None = None


class MoyKlass:
    """The protocol front."""

    code: ClassVar[str] = CODE

    def router(self, simulator: Simulator) -> APIRouter:
        company = _Company(simulator, Settings.model_validate(simulator.settings.get(CODE, {})))
        api = APIRouter(prefix="/moyklass")
        _control(api, company)
        _auth(api, company)
        _reads(api, company)
        _writes(api, company)
        return api


PROTOCOL = MoyKlass


class _Company:
    """What the CRM knows, and who may ask."""

    def __init__(self, simulator: Simulator, settings: Settings) -> None:
        self.simulator, self.settings = simulator, settings
        self.rows: dict[str, dict[int, Row]] = {kind: {} for kind in KINDS}
        self.created: dict[tuple[str, int], datetime] = {}
        self.tokens: set[str] = set()
        self.webhook: str | None = None
        self.answers: list[int | str] = []
        self.asked: defaultdict[str, int] = defaultdict(int)
        # Greater than any number of an earlier run: the gateway remembers ids for ever.
        self.numbers = count(int(simulator.now().timestamp() * 1000))

    def put(self, kind: str, row: Row, created_at: datetime | None = None) -> Row:
        """A row under its id, or a new one."""
        number = row.get("id") or next(self.numbers)
        stored = {**row, "id": number}
        self.rows[kind][number] = stored
        self.created[kind, number] = created_at or self.simulator.now()
        return stored

    def found(self, kind: str, number: int) -> Row:
        row = self.rows[kind].get(number)
        if row is None:
            raise HTTPException(404)
        return row

    async def hint(self, event: str, row: Row) -> None:
        """One post; whether the CRM repeats it is not published, so it does not."""
        if self.webhook is None:
            return
        body = {"event": event, "object": {"paymentId": row["id"], "userId": row.get("userId")}}
        try:
            answer = await self.simulator.http.post(self.webhook, json=body)
            self.answers.append(answer.status_code)
        except httpx.HTTPError as error:
            self.answers.append(type(error).__name__)

    async def answered(self, request: Request, act: Callable[[], Awaitable[Any]]) -> Response:
        """An API call: its fault, its token, then its work."""
        self.asked[request.url.path.removeprefix("/moyklass")] += 1

        async def work() -> Response:
            if request.headers.get("x-access-token") not in self.tokens:
                return _refusal(401, "AuthError")
            try:
                return JSONResponse(await act())
            except HTTPException as wrong:
                return _refusal(wrong.status_code, "NotFound" if wrong.status_code == 404 else "Validation")

        action: Action = "lookup" if request.method == "GET" else "submit"
        return await play(self.simulator.faults.take(Call(CODE, action, request.url.path)), request, work)


def _control(api: APIRouter, company: _Company) -> None:
    @api.put("/webhook", status_code=204)
    async def webhook(where: Webhook) -> None:
        company.webhook = where.url

    @api.get("/webhook")
    async def hints() -> dict[str, Any]:
        return {"url": company.webhook, "answers": company.answers}

    @api.get("/asked")
    async def asked() -> dict[str, int]:
        """How often each path of the API was called."""
        return dict(company.asked)

    @api.delete("/tokens", status_code=204)
    async def expire() -> None:
        """Every token that was given is over."""
        company.tokens.clear()

    @api.get("/data/{kind}")
    async def listed(kind: str) -> list[Row]:
        return list(_rows(company, kind).values())

    @api.post("/data/{kind}", status_code=201)
    async def put(kind: str, row: Row) -> Row:
        """`createdAt` is kept beside the row: the CRM filters payments by it, and does not show it."""
        _rows(company, kind)
        created = row.pop("createdAt", None) if kind == "payments" else None
        if kind == "payments":
            row = {"date": company.simulator.now().date().isoformat(), "optype": "income"} | row
        stored = company.put(kind, row, None if created is None else datetime.fromisoformat(created))
        if kind == "payments":
            await company.hint("payment_new", stored)
        return stored

    @api.patch("/data/{kind}/{number}")
    async def change(kind: str, number: int, changes: Row) -> Row:
        row = _rows(company, kind).get(number)
        if row is None:
            raise HTTPException(404)
        row |= changes
        if kind == "payments":
            await company.hint("payment_changed", row)
        return row

    @api.delete("/data/{kind}/{number}", status_code=204)
    async def remove(kind: str, number: int) -> None:
        row = _rows(company, kind).pop(number, None)
        if row is not None and kind == "payments":
            await company.hint("payment_deleted", row)


def _auth(api: APIRouter, company: _Company) -> None:
    @api.post("/v1/company/auth/getToken")
    async def token(request: Request) -> Response:
        company.asked["/v1/company/auth/getToken"] += 1

        async def act() -> Response:
            given = (await request.json()).get("apiKey")
            if not given or company.settings.api_key not in (None, given):
                return _refusal(401, "AuthError")
            made = uuid4().hex
            company.tokens.add(made)
            ends = company.simulator.now() + timedelta(days=TOKEN_DAYS)
            return JSONResponse({"accessToken": made, "expiresAt": _json_time(ends), "level": "company"})

        return await play(company.simulator.faults.take(Call(CODE, "check", request.url.path)), request, act)


def _reads(api: APIRouter, company: _Company) -> None:
    @api.get("/v1/company/{kind}")
    async def listed(kind: str, request: Request) -> Response:
        async def act() -> Any:
            if kind in _ARRAYS:
                return list(company.rows[kind].values())
            if kind not in _LISTS:
                raise HTTPException(404)
            asked = dict(request.query_params)
            rows = [_shown(company, kind, row, asked) for row in _matching(company, kind, asked)]
            start, most = int(asked.get("offset", 0)), int(asked.get("limit", 100))
            if most > MOST_ROWS:
                raise HTTPException(400)
            return {_LISTS[kind]: rows[start : start + most], "stats": {"totalItems": len(rows)}}

        return await company.answered(request, act)

    @api.get("/v1/company/{kind}/{number}")
    async def one(kind: str, number: int, request: Request) -> Response:
        async def act() -> Row:
            if kind not in KINDS:
                raise HTTPException(404)
            return company.found(kind, number)

        return await company.answered(request, act)


def _writes(api: APIRouter, company: _Company) -> None:
    @api.post("/v1/company/userComments")
    async def comment(request: Request) -> Response:
        async def act() -> Row:
            body = await request.json()
            if not isinstance(body.get("userId"), int) or not body.get("comment"):
                raise HTTPException(400)
            made = {"showToUser": True, "createdAt": _json_time(company.simulator.now())} | body
            return company.put("userComments", made)

        return await company.answered(request, act)

    @api.post("/v1/company/tasks")
    async def task(request: Request) -> Response:
        async def act() -> Row:
            body = await request.json()
            if any(not body.get(name) for name in ("body", "beginDate", "endDate")) or len(body["body"]) > 250:
                raise HTTPException(400)
            return company.put("tasks", body)

        return await company.answered(request, act)

    @api.post("/v1/company/payments/{number}")
    async def change(number: int, request: Request) -> Response:
        async def act() -> Row:
            row, body = company.found("payments", number), await request.json()
            if row["optype"] != "income":
                raise HTTPException(403)
            if any(name not in body for name in ("date", "summa", "paymentTypeId")):
                raise HTTPException(400)
            row |= {name: body[name] for name in _PAYMENT_CHANGES if name in body}
            company.simulator.spawn(_later(company, row))
            return row

        return await company.answered(request, act)


async def _later(company: _Company, row: Row) -> None:
    """The hint about a change comes after the answer."""
    await asyncio.sleep(0)
    await company.hint("payment_changed", row)


def _rows(company: _Company, kind: str) -> dict[int, Row]:
    if kind not in KINDS:
        raise HTTPException(404, f"one of {', '.join(KINDS)}")
    return company.rows[kind]


def _matching(company: _Company, kind: str, asked: dict[str, str]) -> list[Row]:
    found = []
    for number, row in company.rows[kind].items():
        if kind in ("payments", "userComments") and not _created_within(
            company.created[kind, number], asked.get("createdAt")
        ):
            continue
        if all(_agrees(kind, row, name, value) for name, value in asked.items()):
            found.append(row)
    return found


def _agrees(kind: str, row: Row, name: str, value: str) -> bool:
    match name:
        case "optype" | "userId" | "statusId":
            return str(row.get(name)) in value.split(",")
        case "date" if kind == "lessonRecords":
            return _day_within((row.get("lesson") or {}).get("date"), value)
        case "date" | "sellDate":
            return _day_within(row.get(name), value)
        case _:
            return True


def _created_within(at: datetime, asked: str | None) -> bool:
    """Days, or moments with their time."""
    if asked is None:
        return True
    first, _, last = asked.partition(",")
    if "T" not in first:
        return _day_within(at.astimezone(UTC).date().isoformat(), asked)
    return datetime.fromisoformat(first) <= at <= datetime.fromisoformat(last or first)


def _day_within(day: str | None, asked: str) -> bool:
    first, _, last = asked.partition(",")
    return day is not None and date.fromisoformat(first) <= date.fromisoformat(day) <= date.fromisoformat(last or first)


def _shown(company: _Company, kind: str, row: Row, asked: dict[str, str]) -> Row:
    """What is in a lesson record only when it was asked for."""
    if kind != "lessonRecords":
        return row
    hidden = {
        name
        for name, wanted in (
            ("bill", "includeBills"),
            ("lesson", "includeLessons"),
            ("userSubscription", "includeUserSubscriptions"),
        )
        if asked.get(wanted) != "true"
    }
    return {name: value for name, value in row.items() if name not in hidden}


def _refusal(status: int, code: str) -> Response:
    return JSONResponse({"code": code, "message": code, "meta": {}}, status)


def _json_time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
