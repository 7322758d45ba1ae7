"""A Bitrix24 portal as the gateway meets it: its REST methods, orders that are printed, and the agent that asks.

A check is kept as the portal's open code keeps it, with its traps: a failed PRINT_URL leaves it waiting without a UUID,
and a failed CHECK_URL makes it "printed" without fiscal data. Nothing is shared with the adapter on the other side.
"""

import hmac
from dataclasses import dataclass, field
from itertools import count
from typing import Any, ClassVar, Final, Literal

import httpx
from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from app.simulator.faults import Call, play
from app.simulator.protocols._bitrix24_post import php_form, plausible
from app.simulator.simulator import Simulator

CODE = "bitrix24"
AGENT_LIMIT: Final = 5
FIELDS: Final = (
    "REG_NUMBER_KKT",
    "FISCAL_DOC_ATTR",
    "FISCAL_DOC_NUMBER",
    "FISCAL_RECEIPT_NUMBER",
    "FN_NUMBER",
    "SHIFT_NUMBER",
    "PRINT_END_TIME",
)

Status = Literal["N", "P", "Y", "E"]
"""New, handed over and waiting, printed, failed."""


class Settings(BaseModel):
    """`settings["bitrix24"]`: the portal's domain, its webhook's code, VAT records by id, its own e-mail."""

    model_config = ConfigDict(extra="forbid")

    portal: str = "portal.bitrix24.example"
    webhook: str = "simulated0webhook"
    vat: dict[int, tuple[str, int | None]] = Field(
        default_factory=lambda: {1: ("Без НДС", None), 2: ("НДС 10%", 10), 3: ("НДС 22%", 22), 4: ("НДС 0%", 0)}
    )
    system_email: str = "sale@portal.bitrix24.example"


class OrderRequest(BaseModel):
    """A check that a manager or the portal itself prints; `fields` go over those of the type, null takes one away.

    `as_json` posts it as the portal's pages show it, instead of as a form. The cashbox is the newest active one.
    """

    model_config = ConfigDict(extra="forbid")

    type: str = "sell"
    items: list[dict[str, Any]] | None = None
    payments: list[dict[str, Any]] | None = None
    fields: dict[str, Any] = Field(default_factory=dict)
    as_json: bool = False
    repeat: int = Field(default=1, ge=1, le=100)


@dataclass(slots=True)
class Handler:
    """A REST handler of cashboxes."""

    id: int
    code: str
    fields: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        return {"ID": self.id, "CODE": self.code, **self.fields}


@dataclass(slots=True)
class Cashbox:
    """A cashbox of some handler."""

    id: int
    fields: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        return {"ID": self.id, **self.fields}


@dataclass(slots=True)
class Check:
    """A check of the portal; `fiscal` is what the portal believes of the receipt."""

    id: int
    cashbox: Cashbox
    post: dict[str, Any]
    as_json_body: bool
    status: Status = "N"
    uuid: str = ""
    error: str = ""
    fiscal: dict[str, str] = field(default_factory=dict)

    def shown(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "type": self.post.get("type"),
            "status": self.status,
            "uuid": self.uuid,
            "error": self.error,
            "fiscal": self.fiscal,
        }


class Bitrix24:
    """The protocol front."""

    code: ClassVar[str] = CODE

    def router(self, simulator: Simulator) -> APIRouter:
        portal = _Portal(simulator, Settings.model_validate(simulator.settings.get(CODE, {})))
        api = APIRouter()

        @api.post("/bitrix24/rest/{user}/{webhook}/{method}")
        async def rest(webhook: str, method: str, request: Request) -> Response:
            return await portal.rest(webhook, method, request)

        @api.post("/bitrix24/orders")
        async def order(wanted: OrderRequest) -> dict[str, Any]:
            """Make a check and post it to PRINT_URL."""
            check = portal.made(wanted)
            answers = [await portal.print(check) for _ in range(wanted.repeat)]
            return check.shown() | {"answers": answers}

        @api.post("/bitrix24/checks/{number}/print")
        async def again(number: int) -> dict[str, Any]:
            """A manager presses "print" at a failed check."""
            check = portal.check(number)
            answers = [await portal.print(check)]
            return check.shown() | {"answers": answers}

        @api.post("/bitrix24/checks/{number}/ask")
        async def ask(number: int) -> dict[str, Any]:
            """A manager asks for one check by hand."""
            check = portal.check(number)
            await portal.ask(check)
            return check.shown()

        @api.post("/bitrix24/agent")
        async def agent() -> list[dict[str, Any]]:
            """The agent's run, which real portals make every 120 seconds: at most five waiting checks."""
            return await portal.agent()

        @api.get("/bitrix24/checks")
        async def checks() -> list[dict[str, Any]]:
            return [check.shown() for check in portal.checks.values()]

        return api


PROTOCOL = Bitrix24


class _Denied(Exception):
    def __init__(self, code: str, text: str, status: int = 400) -> None:
        super().__init__(code)
        self.answer = JSONResponse({"error": code, "error_description": text}, status)


class _Portal:
    """State and behaviour behind the routes."""

    def __init__(self, simulator: Simulator, settings: Settings) -> None:
        self.simulator, self.settings = simulator, settings
        self.handlers: dict[int, Handler] = {}
        self.cashboxes: dict[int, Cashbox] = {}
        self.checks: dict[int, Check] = {}
        self.ids = count(1)
        # Greater than any of an earlier run: the gateway remembers checks for ever.
        self.numbers = count(int(simulator.now().timestamp() * 1000))

    async def rest(self, webhook: str, method: str, request: Request) -> Response:
        body = await request.json()

        async def act() -> Response:
            if not hmac.compare_digest(webhook.encode(), self.settings.webhook.encode()):
                return _Denied("INVALID_CREDENTIALS", "Invalid request credentials", 401).answer
            try:
                return JSONResponse({"result": self._act(method, body if isinstance(body, dict) else {})})
            except _Denied as denied:
                return denied.answer

        return await play(self.simulator.faults.take(Call(CODE, "other", request.url.path)), request, act)

    def _act(self, method: str, params: dict[str, Any]) -> Any:
        match method:
            case "sale.cashbox.handler.add":
                return self._add_handler(params)
            case "sale.cashbox.handler.update":
                handler = self.handlers.get(_number(params.get("ID")))
                if handler is None:
                    raise _Denied("ERROR_HANDLER_NOT_FOUND", "Handler not found")
                handler.fields |= params.get("FIELDS", {})
                return True
            case "sale.cashbox.handler.list":
                return [handler.as_json() for handler in self.handlers.values()]
            case "sale.cashbox.add":
                return self._add_cashbox(params)
            case "sale.cashbox.update":
                cashbox = self.cashboxes.get(_number(params.get("ID")))
                if cashbox is None:
                    raise _Denied("ERROR_CASHBOX_NOT_FOUND", "Cashbox not found")
                cashbox.fields |= params.get("FIELDS", {})
                return True
            case "sale.cashbox.list":
                return [cashbox.as_json() for cashbox in self.cashboxes.values()]
            case "sale.cashbox.check.apply":
                return self._apply(params)
            case "catalog.vat.get":
                return self._vat(_number(params.get("id")))
            case _:
                raise _Denied("ERROR_METHOD_NOT_FOUND", "Method not found!", 404)

    def _add_handler(self, params: dict[str, Any]) -> int:
        given = dict(params)
        code, settings = given.pop("CODE", ""), given.get("SETTINGS", {})
        if not (code and given.get("NAME") and settings.get("PRINT_URL") and settings.get("CHECK_URL")):
            raise _Denied("ERROR_CHECK_FAILURE", "Required fields are not filled")
        if any(handler.code == code for handler in self.handlers.values()):
            raise _Denied("ERROR_HANDLER_ALREADY_EXIST", "Handler already exists!")
        made = Handler(next(self.ids), code, given)
        self.handlers[made.id] = made
        return made.id

    def _add_cashbox(self, params: dict[str, Any]) -> int:
        if not (params.get("NAME") and params.get("EMAIL") and params.get("REST_CODE")):
            raise _Denied("ERROR_CHECK_FAILURE", "Required fields are not filled")
        if all(handler.code != params["REST_CODE"] for handler in self.handlers.values()):
            raise _Denied("ERROR_CHECK_FAILURE", "Handler not found")
        made = Cashbox(next(self.ids), {"ACTIVE": "N", **params})
        self.cashboxes[made.id] = made
        return made.id

    def _apply(self, params: dict[str, Any]) -> bool:
        uuid = params.get("UUID")
        if not uuid:
            raise _Denied("ERROR_CHECK_FAILURE", "Required field UUID is not filled")
        check = next((one for one in self.checks.values() if one.uuid == uuid), None)
        if check is None:
            raise _Denied("ERROR_CHECK_NOT_FOUND", "Check not found")
        check.status, check.error, check.fiscal = "Y", "", _fiscal(params)
        return True

    def _vat(self, number: int) -> dict[str, Any]:
        if number not in self.settings.vat:
            raise _Denied("ERROR_ENTITY_NOT_FOUND", "VAT rate does not exist.")
        name, rate = self.settings.vat[number]
        return {"vat": {"id": number, "name": name, "rate": rate, "active": "Y", "sort": 100}}

    def made(self, wanted: OrderRequest) -> Check:
        """A new check of the newest active cashbox."""
        active = [one for one in self.cashboxes.values() if one.fields.get("ACTIVE") == "Y"]
        if not active:
            raise HTTPException(409, "the portal has no active cashbox: register one first")
        number, cashbox = next(self.numbers), active[-1]
        post: dict[str, Any] = {
            **plausible(wanted.type, wanted.items, wanted.payments),
            "unique_id": number,
            "uuid": f"check|{self.settings.portal}|{number}",
            "date_create": int(self.simulator.now().timestamp()),
            "client_email": self.settings.system_email,
            "number_kkm": cashbox.fields.get("NUMBER_KKM", ""),
            "service_email": cashbox.fields.get("EMAIL", ""),
            "cashbox_params": cashbox.fields.get("SETTINGS", {}),
            **wanted.fields,
        }
        post = {name: value for name, value in post.items() if value is not None}
        check = Check(number, cashbox, post, wanted.as_json)
        self.checks[number] = check
        return check

    def check(self, number: int) -> Check:
        found = self.checks.get(number)
        if found is None:
            raise HTTPException(404, "no such check")
        return found

    async def print(self, check: Check) -> dict[str, Any]:
        """Post it to PRINT_URL. Only ERRORS is an error: any other trouble leaves it waiting without a UUID."""
        status, answer = await self._post(self._url(check, "PRINT_URL"), check.post, as_json=check.as_json_body)
        if errors := answer.get("ERRORS"):
            check.status, check.error = "E", "; ".join(map(str, errors))
        else:
            check.status, check.error, check.uuid = "P", "", str(answer.get("UUID") or "")
        return {"status": status, "body": answer}

    async def ask(self, check: Check) -> None:
        """Ask CHECK_URL. What is neither WAIT nor ERROR counts as printed, an unreadable answer too."""
        _, answer = await self._post(self._url(check, "CHECK_URL"), {"uuid": check.uuid}, as_json=False)
        known = {str(name).upper(): value for name, value in answer.items()}
        match known.get("STATUS"):
            case "WAIT":
                return
            case "ERROR":
                check.status, check.error = "E", str(known.get("ERROR", ""))
            case _:
                check.status, check.fiscal = "Y", _fiscal(known)

    async def agent(self) -> list[dict[str, Any]]:
        waiting = [check for check in self.checks.values() if check.status == "P"][:AGENT_LIMIT]
        for check in waiting:
            await self.ask(check)
        return [check.shown() for check in waiting]

    def _url(self, check: Check, name: str) -> str:
        code = check.cashbox.fields["REST_CODE"]
        handler = next(one for one in self.handlers.values() if one.code == code)
        return str(handler.fields["SETTINGS"][name])

    async def _post(self, url: str, post: dict[str, Any], *, as_json: bool) -> tuple[int | None, dict[str, Any]]:
        """Status and JSON of the answer; nothing, as the portal has it, for whatever is not 200 with JSON."""
        try:
            if as_json:
                answer = await self.simulator.http.post(url, json=post)
            else:
                media = {"Content-Type": "application/x-www-form-urlencoded"}
                answer = await self.simulator.http.post(url, content=php_form(post), headers=media)
            found = answer.json() if answer.status_code == 200 else {}
        except (httpx.HTTPError, ValueError):
            return None, {}
        return answer.status_code, found if isinstance(found, dict) else {}


def _fiscal(told: dict[str, Any]) -> dict[str, str]:
    return {name: told[name] for name in FIELDS if name in told}


def _number(value: Any) -> int:
    return int(value) if str(value).isdigit() else 0
