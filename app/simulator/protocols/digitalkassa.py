"""digitalkassa API v2.1 as a client sees it: groups, receipts and corrections by the client's id, shifts, callbacks.

A repeat of an id gives the first result; the same id with another body is 409. With `settings["digitalkassa"]`
`{"dedup": false}` a repeat prints again: a provider that would show our own mistakes.
"""

import asyncio
import base64
import binascii
import hmac
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar

import httpx
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from app.domain.ffd import Operation, Taxation
from app.simulator.faults import Action, Call, Fault, play
from app.simulator.protocols._digitalkassa_schema import (
    Form,
    Refusal,
    ShiftMode,
    ShiftRequest,
    parse,
    parse_form,
    parse_json,
    refusal,
)
from app.simulator.simulator import Simulator
from app.simulator.tape import Document, Order, ShiftError, fingerprint

CODE = "digitalkassa"


class Group(BaseModel):
    """Группа касс with its one actor. `taxation` is a bit mask; `paid` and `active` false answer 402 and 403."""

    model_config = ConfigDict(extra="forbid")

    c_group_id: int = Field(default=4321, ge=1)
    actor_id: str = "1"
    actor_token: str = "t"  # noqa: S105 - the demo group of a simulator
    type: str = "online_store"
    taxation: int = 63
    billing_place_list: list[str] = Field(default_factory=lambda: ["https://shop.example/"])
    ffd: str = "4"
    paid: bool = True
    active: bool = True


class Settings(BaseModel):
    """`settings["digitalkassa"]`."""

    model_config = ConfigDict(extra="forbid")

    groups: list[Group] = Field(default_factory=lambda: [Group()])
    id_pattern: str = r"[A-Za-z0-9]{1,64}"
    dedup: bool = True


@dataclass(slots=True)
class _Plan:
    """When a queued receipt is printed or refused: after `polls` more answers of 202; None: never, or by a timer."""

    polls: int | None
    refuse_with: tuple[dict[str, str], ...] = ()


Key = tuple[str, str, str]


class Digitalkassa:
    """The protocol front."""

    code: ClassVar[str] = CODE

    def router(self, simulator: Simulator) -> APIRouter:
        front = _Front(simulator, Settings.model_validate(simulator.settings.get(CODE, {})))
        api = APIRouter()

        @api.post("/digitalkassa/groups", status_code=201)
        async def add_group(group: Group) -> dict[str, int]:
            front.groups[group.c_group_id] = group
            return {"c_group_id": group.c_group_id}

        @api.get("/v2.1/c_groups/{g}")
        async def group(g: int, request: Request) -> Response:
            return await front.answer(request, g, "check", lambda found, _: front.group_info(found))

        @api.post("/v2.1/c_groups/{g}/receipts/correction/{receipt_id}")
        async def correct(g: int, receipt_id: str, request: Request) -> Response:
            return await front.register(request, g, receipt_id, correction=True)

        @api.get("/v2.1/c_groups/{g}/receipts/correction/{receipt_id}")
        async def correction(g: int, receipt_id: str, request: Request) -> Response:
            return await front.look_up(request, g, receipt_id, correction=True)

        @api.post("/v2.1/c_groups/{g}/receipts/{receipt_id}")
        async def register(g: int, receipt_id: str, request: Request) -> Response:
            return await front.register(request, g, receipt_id, correction=False)

        @api.get("/v2.1/c_groups/{g}/receipts/{receipt_id}")
        async def receipt(g: int, receipt_id: str, request: Request) -> Response:
            return await front.look_up(request, g, receipt_id, correction=False)

        @api.get("/v2.1/c_groups/{g}/shifts/report")
        async def shift_report(g: int, request: Request) -> Response:
            return await front.answer(request, g, "check", lambda _, __: front.shift_status())

        @api.post("/v2.1/c_groups/{g}/shifts/{act}")
        async def shift(g: int, act: str, request: Request) -> Response:
            raw = await request.body()
            return await front.answer(request, g, "other", lambda _, __: front.shift(act, raw))

        return api


class _Front:
    """State and answers behind the routes."""

    def __init__(self, simulator: Simulator, settings: Settings) -> None:
        self.simulator, self.settings = simulator, settings
        self.groups = {group.c_group_id: group for group in settings.groups}
        self.plans: dict[Key, _Plan] = {}
        self.refused: dict[Key, tuple[dict[str, str], ...]] = {}
        self.base = "http://localhost/"

    async def register(self, request: Request, g: int, receipt_id: str, *, correction: bool) -> Response:
        raw = await request.body()
        return await self.answer(
            request,
            g,
            "submit",
            lambda group, fault: self._register(group, receipt_id, raw, fault, correction=correction),
            receipt_id,
            _operation(raw),
        )

    async def look_up(self, request: Request, g: int, receipt_id: str, *, correction: bool) -> Response:
        def found(group: Group, _: Fault | None) -> Response:
            return self._state((CODE, str(group.c_group_id), receipt_id), 200, correction=correction)

        return await self.answer(request, g, "lookup", found, receipt_id)

    async def answer(
        self,
        request: Request,
        g: int,
        action: Action,
        act: Callable[[Group, Fault | None], Response],
        receipt_id: str | None = None,
        operation: str | None = None,
    ) -> Response:
        """One call through its fault, its credentials and its group."""
        fault = self.simulator.faults.take(Call(CODE, action, request.url.path, receipt_id, operation))

        async def admitted() -> Response:
            group = self._admit(request, g)
            if isinstance(group, Response):
                return group
            try:
                return act(group, fault)
            except Refusal as no:
                return JSONResponse(list(no.errors), status_code=400)

        self.base = str(request.base_url)
        return _refusal_by(fault) or await play(fault, request, admitted)

    def group_info(self, group: Group) -> Response:
        return JSONResponse(group.model_dump(include={"type", "taxation", "billing_place_list"}))

    def shift_status(self) -> Response:
        tape = self.simulator.tape
        number = tape.shift.number if tape.shift else (tape.documents[-1].shift if tape.documents else 0)
        return JSONResponse(
            {
                "shift_status": int(tape.shift is not None),
                "shift_number": number,
                "check_number": tape.shift.receipts if tape.shift else 0,
                "mode": int(not tape.auto_shift),
            }
        )

    def shift(self, act: str, raw: bytes) -> Response:
        tape = self.simulator.tape
        if act == "mode":
            tape.auto_shift = parse(ShiftMode, parse_json(raw)).mode == 0
            return self.shift_status()
        if act not in ("open", "close"):
            return _empty_list(404)
        if raw.strip():
            parse(ShiftRequest, parse_json(raw))
        try:
            report = tape.open_shift() if act == "open" else tape.close_shift()
        except ShiftError as error:
            raise refusal("BAD_VALUE", str(error)) from None
        return JSONResponse({"shift_number": report.shift, "fd_number": report.fd, "fiscal_sign": report.fpd})

    def _admit(self, request: Request, g: int) -> Group | Response:
        actor, token = _basic(request)
        own = [group for group in self.groups.values() if _same(group.actor_id, actor)]
        if not any(_same(group.actor_token, token) for group in own):
            return _empty_list(401)
        group = self.groups.get(g)
        if group is None or group not in own:
            return _empty_list(404)
        if not group.active:
            return _empty_list(403)
        return group if group.paid else _empty_list(402)

    def _register(
        self, group: Group, receipt_id: str, raw: bytes, fault: Fault | None, *, correction: bool
    ) -> Response:
        if not re.fullmatch(self.settings.id_pattern, receipt_id):
            raise refusal("BAD_VALUE", "Недопустимый идентификатор чека", "$.receipt_id")
        body = parse_json(raw)
        key = (CODE, str(group.c_group_id), receipt_id)
        if key in self.refused:
            return JSONResponse(list(self.refused[key]), status_code=400)
        known = self._fingerprint(key)
        if known is not None and self.settings.dedup:
            return _empty_list(409) if known != fingerprint(body) else self._state(key, 201, correction=correction)
        form = parse_form(body, correction=correction)
        if form.loc.billing_place not in group.billing_place_list:
            raise refusal("UNAVAILABLE_VALUE", "Место расчетов недоступно группе", "$.loc.billing_place")
        if not form.taxation & group.taxation:
            raise refusal("UNAVAILABLE_VALUE", "Система налогообложения недоступна группе", "$.taxation")
        return self._take(_order(key, form, body, correction=correction), fault)

    def _take(self, order: Order, fault: Fault | None) -> Response:
        tape = self.simulator.tape
        plan = _plan(fault)
        if plan is None and tape.can_print:
            return JSONResponse(self._print(order), status_code=201)
        tape.queue(order)
        if plan is not None:
            self.plans[order.key] = plan
        if fault is not None and "seconds" in fault.params and fault.kind == "queue":
            self.simulator.spawn(self._print_after(order.key, fault.seconds(1)))
        return Response(status_code=202)

    def _state(self, key: Key, done: int, *, correction: bool) -> Response:
        """What is known under an id; a look-up may be the one that a queued receipt was waiting for."""
        waiting = self.simulator.tape.waiting.get(key)
        if waiting is not None and waiting.correction == correction:
            return self._asked_again(waiting, done)
        if key in self.refused:
            return JSONResponse(list(self.refused[key]), status_code=400)
        for document in self.simulator.tape.find(*key):
            if document.correction == correction:
                return JSONResponse(self._result(document), status_code=done)
        return _empty_list(404)

    def _asked_again(self, order: Order, done: int) -> Response:
        plan = self.plans.get(order.key)
        if (plan is not None and plan.polls != 0) or not self.simulator.tape.can_print:
            if plan is not None and plan.polls:
                plan.polls -= 1
            return Response(status_code=202)
        if plan is not None and plan.refuse_with:
            self.simulator.tape.drop(order.key)
            self.refused[order.key] = plan.refuse_with
            return JSONResponse(list(plan.refuse_with), status_code=400)
        return JSONResponse(self._print(order), status_code=done)

    async def _print_after(self, key: Key, seconds: float) -> None:
        await asyncio.sleep(seconds)
        order, plan = self.simulator.tape.waiting.get(key), self.plans.get(key)
        if plan is not None and plan.refuse_with:
            plan.polls = 0
        elif order is not None:
            self._print(order)

    def _print(self, order: Order) -> dict[str, Any]:
        result = self._result(self.simulator.tape.print_receipt(order))
        self.plans.pop(order.key, None)
        if url := (order.body.get("service") or {}).get("callback_url"):
            call = Call(CODE, "callback", str(url), order.provider_id, order.operation.code)
            fault = self.simulator.faults.take(call)
            times = {"lose_callback": 0, "duplicate_callback": 2}.get(fault.kind if fault else "", 1)
            for _ in range(times):
                self.simulator.spawn(self._call_back(str(url), result))
        return result

    async def _call_back(self, url: str, result: dict[str, Any]) -> None:
        with suppress(httpx.HTTPError, httpx.InvalidURL):
            await self.simulator.http.post(url, json=result)

    def _result(self, document: Document) -> dict[str, Any]:
        group = self.groups.get(int(document.group or 0))
        service = {"receipt_url": f"{self.base}receipt/{document.fn}/{document.fd}/{document.fpd}"}
        if url := ((document.body or {}).get("service") or {}).get("callback_url"):
            service["callback_url"] = url
        return {
            "doc": {
                "reg_time": document.local_time,
                "shift_num": document.shift,
                "index": document.number_in_shift,
                "fiscal_sign": document.fpd,
                "fiscal_num": document.fd,
            },
            "cashbox": {
                "rn": document.kkt_rn,
                "ffd": group.ffd if group else "4",
                "fn_num": document.fn,
                "factory_num": document.kkt_serial,
            },
            "service": service,
        }

    def _fingerprint(self, key: Key) -> str | None:
        waiting = self.simulator.tape.waiting.get(key)
        if waiting is not None:
            return waiting.body_sha256
        return next((document.body_sha256 for document in self.simulator.tape.find(*key)), None)


def _order(key: Key, form: Form, body: dict[str, Any], *, correction: bool) -> Order:
    provider, group, provider_id = key
    return Order(
        provider=provider,
        provider_id=provider_id,
        group=group,
        operation=next(operation for operation in Operation if operation.tag_value == form.type),
        correction=correction,
        total=form.total_kopecks,
        taxation=next(taxation for taxation in Taxation if taxation.tag_value == form.taxation),
        body=body,
        utc_offset_hours=form.timezone + 1,
        body_sha256=fingerprint(body),
    )


def _plan(fault: Fault | None) -> _Plan | None:
    if fault is None or fault.kind not in ("queue", "queue_forever"):
        return None
    refuse_with = (_error(fault.params),) if fault.params.get("refuse") else ()
    endless = fault.kind == "queue_forever" or "seconds" in fault.params
    return _Plan(None if endless else int(fault.params.get("polls", 2)), refuse_with)


def _refusal_by(fault: Fault | None) -> Response | None:
    """The faults that are this provider's own words."""
    if fault is None:
        return None
    match fault.kind:
        case "refuse":
            return JSONResponse([_error(fault.params)], status_code=400)
        case "unauthorized":
            return _empty_list(int(fault.params.get("status", 401)))
        case "rate_limited":
            return Response(status_code=429, headers={"Retry-After": str(fault.params.get("retry_after", 1))})
        case _:
            return None


def _error(params: dict[str, Any]) -> dict[str, str]:
    entry = {"type": str(params.get("type", "BAD_VALUE")), "desc": str(params.get("desc", "Неверное значение"))}
    return entry | ({"path": str(params["path"])} if "path" in params else {})


def _operation(raw: bytes) -> str | None:
    """Our name of the operation, for matching faults only: the body may still be anything."""
    with suppress(Refusal):
        kind = parse_json(raw).get("type")
        return next((operation.code for operation in Operation if operation.tag_value == kind), None)
    return None


def _basic(request: Request) -> tuple[str, str]:
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        actor, _, token = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return actor, token


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


def _empty_list(status: int) -> Response:
    return JSONResponse([], status_code=status)


PROTOCOL = Digitalkassa
