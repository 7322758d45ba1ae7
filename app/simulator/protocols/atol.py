"""ATOL Online, protocols v4 and v5, as a client sees it: tokens, registration, reports by uuid, callbacks.

A repeat of an external_id gives the first uuid. `settings["atol"]` chooses other ways to answer it, among them those of
which the document is unsure, and `"dedup": false`: a service that would show our own mistakes.
"""

import asyncio
import hmac
import re
import secrets
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar, Literal

import httpx
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from app.domain.ffd import Operation, Taxation
from app.simulator.faults import Action, Call, Fault, play
from app.simulator.protocols._atol_schema import (
    Document,
    Heading,
    Refusal,
    TokenRequest,
    parse,
    parse_document,
    parse_json,
)
from app.simulator.simulator import Simulator
from app.simulator.tape import Document as Printed
from app.simulator.tape import Order, fingerprint

CODE = "atol"
V4_CORRECTIONS = ("sell_correction", "buy_correction")


class Group(BaseModel):
    """Группа ККТ with its one login. `inn` is the company's; a receipt of another one fails in the agent (2003)."""

    model_config = ConfigDict(extra="forbid")

    group_code: str = "v5-simulator_1"
    login: str = "v5-simulator"
    password: str = "password"  # noqa: S105 - the demo group of a simulator
    version: Literal["v4", "v5"] = "v5"
    inn: str | None = None
    active: bool = True


class Settings(BaseModel):
    """`settings["atol"]`. `repeat`: how a known external_id is answered."""

    model_config = ConfigDict(extra="forbid")

    groups: list[Group] = Field(
        default_factory=lambda: [
            Group(),
            Group(group_code="v4-simulator_1", login="v4-simulator", version="v4"),
        ]
    )
    repeat: Literal["uuid", "error", "error_without_uuid"] = "uuid"
    dedup: bool = True
    token_seconds: float = 86_400


@dataclass(slots=True)
class _Plan:
    """When a queued document is printed or fails: after `polls` more reports; None: never, or by a timer."""

    polls: int | None
    fail_with: dict[str, Any] | None = None


Key = tuple[str, str, str]


class Atol:
    """The protocol front."""

    code: ClassVar[str] = CODE

    def router(self, simulator: Simulator) -> APIRouter:
        front = _Front(simulator, Settings.model_validate(simulator.settings.get(CODE, {})))
        api = APIRouter()

        @api.post("/atol/groups", status_code=201)
        async def add_group(group: Group) -> dict[str, str]:
            front.groups[group.group_code] = group
            return {"group_code": group.group_code}

        @api.post("/atol/tokens/expire", status_code=204)
        async def expire() -> None:
            front.tokens = dict.fromkeys(front.tokens, ("", simulator.now()))

        @api.post("/possystem/{version}/getToken")
        async def token(version: Literal["v4", "v5"], request: Request) -> Response:
            raw = await request.body()
            return await front.answer(request, "other", lambda _: front.token(version, raw))

        @api.post("/possystem/{version}/{group}/{operation}")
        async def register(version: Literal["v4", "v5"], group: str, operation: str, request: Request) -> Response:
            return await front.register(request, version, group, operation)

        @api.get("/possystem/{version}/{group}/report/{document}")
        async def report(version: Literal["v4", "v5"], group: str, document: str, request: Request) -> Response:
            key = front.documents.get(document)
            known = key[2] if key else None
            return await front.answer(
                request, "lookup", lambda _: front.report(request, version, group, document), known
            )

        return api


class _Front:
    """State and answers behind the routes."""

    def __init__(self, simulator: Simulator, settings: Settings) -> None:
        self.simulator, self.settings = simulator, settings
        self.groups = {group.group_code: group for group in settings.groups}
        self.tokens: dict[str, tuple[str, datetime]] = {}
        self.plans: dict[Key, _Plan] = {}
        self.failed: dict[Key, tuple[Order, dict[str, Any]]] = {}
        orders = [order.key for order in simulator.tape.waiting.values()]
        printed = [(d.provider or "", d.group or "", d.provider_id or "") for d in simulator.tape.receipts]
        self.documents: dict[str, Key] = {_uuid(key): key for key in (*orders, *printed) if key[0] == CODE}
        self.base = "http://localhost/"

    async def answer(
        self,
        request: Request,
        action: Action,
        act: Callable[[Fault | None], Response],
        provider_id: str | None = None,
        operation: str | None = None,
    ) -> Response:
        """One call through its fault; what the service refuses is an error of its own form."""
        fault = self.simulator.faults.take(Call(CODE, action, request.url.path, provider_id, operation))
        self.base = str(request.base_url)

        async def played() -> Response:
            try:
                kind = request.headers.get("content-type", "")
                if request.method == "POST" and not kind.startswith("application/json"):
                    raise Refusal(415, 41, "Некорректный Content-Type")
                return act(fault)
            except Refusal as no:
                return self._error(no)

        return self._refused_by(fault) or await play(fault, request, played)

    def token(self, version: str, raw: bytes) -> Response:
        asked = parse(TokenRequest, parse_json(raw), 13)
        own = [group for group in self.groups.values() if _same(group.login, asked.login)]
        if not own or not _same(own[0].password, asked.password):
            raise Refusal(401, 12, "Неверный логин или пароль")
        if not own[0].active:
            raise Refusal(403, 14, "Пользователь заблокирован")
        if own[0].version != version:
            raise Refusal(401, 21, "Код группы не поддерживается версией протокола")
        token = secrets.token_hex(16)
        self.tokens[token] = (asked.login, self.simulator.now() + timedelta(seconds=self.settings.token_seconds))
        return JSONResponse({"error": None, "token": token, "timestamp": self._now()})

    async def register(self, request: Request, version: str, code: str, operation: str) -> Response:
        raw = await request.body()
        kind, correction = operation.removesuffix("_correction"), operation.endswith("_correction")
        external_id = None
        with suppress(Refusal):
            external_id = str(parse_json(raw).get("external_id"))

        def taken(fault: Fault | None) -> Response:
            group = self._admit(request, version, code)
            supported = kind in (one.code for one in Operation)
            if not supported or (correction and version == "v4" and operation not in V4_CORRECTIONS):
                raise Refusal(400, 31, "Операция не поддерживается")
            body = parse_json(raw)
            heading, document = parse_document(version, body, correction=correction)
            known = _uuid((CODE, code, heading.external_id))
            if known in self.documents and self.settings.dedup:
                return self._repeated(known)
            order = _order(group, heading, document, Operation.parse(kind), body)
            return self._take(group, order, fault)

        return await self.answer(request, "submit", taken, external_id, kind)

    def report(self, request: Request, version: str, code: str, document: str) -> Response:
        """State by uuid; asking may be what a queued document was waiting for."""
        self._admit(request, version, code)
        key = self.documents.get(document)
        if key is None or key[1] != code:
            return self._error(Refusal(400, 30, f"Не найден документ с uuid: {document}"), status="fail")
        return JSONResponse(self._state(key))

    def _admit(self, request: Request, version: str, code: str) -> Group:
        given = request.headers.get("token") or request.query_params.get("token")
        if not given:
            raise Refusal(401, 10, "Не передан токен")
        login, until = self.tokens.get(given, ("", self.simulator.now()))
        if until <= self.simulator.now():
            raise Refusal(401, 11, "Срок действия токена истёк")
        group = self.groups.get(code)
        if group is None or group.login != login:
            raise Refusal(401, 20, "Код группы не соответствует токену")
        if group.version != version:
            raise Refusal(401, 21, "Код группы не поддерживается версией протокола")
        return group

    def _repeated(self, document: str) -> Response:
        if self.settings.repeat == "uuid":
            return JSONResponse(self._registered(document))
        more = {"uuid": document} if self.settings.repeat == "error" else {}
        return self._error(Refusal(400, 33, "В системе существует чек с таким external_id"), status="wait", **more)

    def _registered(self, document: str) -> dict[str, Any]:
        return {"uuid": document, "timestamp": self._now(), "error": None, "status": "wait"}

    def _take(self, group: Group, order: Order, fault: Fault | None) -> Response:
        document = _uuid(order.key)
        self.documents[document] = order.key
        company = order.body["correction" if order.correction else "receipt"]["company"]
        plan = _plan(fault)
        if group.inn not in (None, company["inn"]):
            plan = _Plan(0, _failure({"type": "agent", "code": 2003, "text": "Некорректный ИНН"}))
        self.simulator.tape.queue(order)
        if plan is None:
            self._print(order)
            return JSONResponse(self._registered(document))
        self.plans[order.key] = plan
        if fault is not None and fault.kind == "queue" and "seconds" in fault.params:
            self.simulator.spawn(self._print_after(order.key, fault.seconds(1)))
        return JSONResponse(self._registered(document))

    def _state(self, key: Key) -> dict[str, Any]:
        waiting, plan = self.simulator.tape.waiting.get(key), self.plans.get(key)
        if waiting is not None:
            if plan is not None and plan.polls != 0:
                plan.polls = plan.polls - 1 if plan.polls else plan.polls
                return self._report(key, "wait", _failure({"type": "system", "code": 34, "text": "Чек в обработке"}))
            self._end(waiting, plan)
        if key in self.failed:
            return self._report(key, "fail", self.failed[key][1])
        return self._report(key, "done", None, self.simulator.tape.find(*key)[-1])

    def _end(self, order: Order, plan: _Plan | None) -> None:
        if plan is not None and plan.fail_with is not None:
            self.simulator.tape.drop(order.key)
            self.failed[order.key] = (order, plan.fail_with)
            self._tell(order)
        else:
            self._print(order)

    async def _print_after(self, key: Key, seconds: float) -> None:
        await asyncio.sleep(seconds)
        order = self.simulator.tape.waiting.get(key)
        if order is not None:
            self._end(order, self.plans.get(key))

    def _print(self, order: Order) -> None:
        self.simulator.tape.print_receipt(order)
        self.plans.pop(order.key, None)
        self._tell(order)

    def _tell(self, order: Order) -> None:
        url = _callback_url(order.body)
        if url is None or not _reachable(url):
            return
        fault = self.simulator.faults.take(Call(CODE, "callback", url, order.provider_id, order.operation.code))
        for _ in range({"lose_callback": 0, "duplicate_callback": 2}.get(fault.kind if fault else "", 1)):
            self.simulator.spawn(self._call_back(url, self._state(order.key)))

    async def _call_back(self, url: str, report: dict[str, Any]) -> None:
        with suppress(httpx.HTTPError, httpx.InvalidURL):
            await self.simulator.http.post(url, json=report)

    def _report(
        self, key: Key, status: str, error: dict[str, Any] | None, printed: Printed | None = None
    ) -> dict[str, Any]:
        body = printed.body if printed else self.failed[key][0].body if key in self.failed else None
        url = _callback_url(body or {}) or ""
        warnings = None if not url or _reachable(url) else {"callback_url": "callback_url не соответствует маске"}
        report: dict[str, Any] = {
            "uuid": _uuid(key),
            "error": error,
            "status": status,
            "timestamp": self._now(),
            "group_code": key[1],
            "daemon_code": "simulator",
            "device_code": self.simulator.tape.kkt_serial,
            "external_id": key[2],
            "callback_url": url,
            "warnings": warnings,
        }
        return report if printed is None else report | {"payload": self._payload(printed)}

    def _payload(self, printed: Printed) -> dict[str, Any]:
        return {
            "total": printed.total / 100,
            "fns_site": "www.nalog.gov.ru",
            "fn_number": printed.fn,
            "shift_number": printed.shift,
            "receipt_datetime": _moment(datetime.fromisoformat(printed.local_time)),
            "fiscal_receipt_number": printed.number_in_shift,
            "fiscal_document_number": printed.fd,
            "ecr_registration_number": printed.kkt_rn,
            "fiscal_document_attribute": printed.fpd,
            "ofd_inn": "7709364346",
            "ofd_receipt_url": f"{self.base}receipt/{printed.fn}/{printed.fd}/{printed.fpd}",
        }

    def _refused_by(self, fault: Fault | None) -> Response | None:
        """The faults that are this service's own words."""
        if fault is None:
            return None
        params = fault.params
        match fault.kind:
            case "refuse":
                no = Refusal(
                    int(params.get("status", 400)), int(params.get("code", 32)), str(params.get("text", "Нет"))
                )
                return self._error(no, status="fail")
            case "unauthorized":
                status = int(params.get("status", 401))
                return self._error(Refusal(status, int(params.get("code", 14 if status == 403 else 12)), "Отказано"))
            case "rate_limited":
                return Response(status_code=429, headers={"Retry-After": str(params.get("retry_after", 1))})
            case _:
                return None

    def _error(self, no: Refusal, **more: Any) -> Response:
        error = _failure({"type": "system", "code": no.code, "text": no.text})
        return JSONResponse({"error": error, "timestamp": self._now()} | more, status_code=no.http)

    def _now(self) -> str:
        return _moment(self.simulator.now())


def _order(group: Group, heading: Heading, document: Document, operation: Operation, body: dict[str, Any]) -> Order:
    correction = heading.correction is not None
    inner = body["correction" if correction else "receipt"]
    sno = inner["company"].get("sno")
    return Order(
        provider=CODE,
        provider_id=heading.external_id,
        group=group.group_code,
        operation=operation,
        correction=correction,
        total=document.total_kopecks,
        taxation=Taxation.parse(sno) if sno else None,
        body=body,
        utc_offset_hours=int(inner.get("timezone", 2)) + 1,
        body_sha256=fingerprint(body),
    )


def _plan(fault: Fault | None) -> _Plan | None:
    if fault is None or fault.kind not in ("queue", "queue_forever"):
        return None
    endless = fault.kind == "queue_forever" or "seconds" in fault.params
    fail_with = _failure(fault.params["fail"]) if fault.params.get("fail") else None
    return _Plan(None if endless else int(fault.params.get("polls", 2)), fail_with)


def _failure(error: dict[str, Any]) -> dict[str, Any]:
    return {"error_id": secrets.token_hex(8), "code": 0, "text": "", "type": "unknown"} | error


def _uuid(key: Key) -> str:
    """The same for the same document, so that it survives a restart of the simulator."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, "/".join(key)))


def _moment(at: datetime) -> str:
    return at.strftime("%d.%m.%Y %H:%M:%S")


def _callback_url(body: dict[str, Any]) -> str | None:
    url = (body.get("service") or {}).get("callback_url")
    return url if isinstance(url, str) else None


def _reachable(url: str) -> bool:
    """The service's mask of addresses."""
    return re.fullmatch(r"https?://[\wа-яА-Я.-]+(:\d+)?(/[\wа-яА-Я\-.?,'/\\+&=%$#]*)?", url) is not None


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


PROTOCOL = Atol
