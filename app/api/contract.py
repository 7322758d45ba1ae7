"""The public contract: OpenAPI 3.1 with our problems on every operation and the messages that we post."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final

from fastapi import FastAPI, Header
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.middleware import Middleware
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.problems import MEDIA_TYPE, ProblemDocument, documented
from app.api.schemas.events import EventIn
from app.api.schemas.webhooks import (
    RECEIPT_MESSAGES,
    AlarmMessage,
    EndpointMessage,
    KassaMessage,
    MerchantMessage,
    ReceiptMessage,
    SourceMessage,
)

TITLE: Final = "CRM-Kassa"
SUMMARY: Final = "Every payment of a CRM or acquirer becomes exactly one fiscal receipt (54-FZ)."
DESCRIPTION: Final = """
Report a payment or a refund with `POST /v1/events`, as often as you like: it becomes one receipt, for ever. What came
of it is posted to your webhook endpoint, or read with `GET /v1/receipts`.

Send `Authorization: Bearer <API key>` with every call. Money is an integer number of kopecks, times are RFC 3339,
errors are problems (RFC 9457). Pass over members of answers that you do not know: new ones may come at any time.
"""
TAGS: Final = [
    {"name": "events", "description": "What happened to money: reported by a CRM, an acquirer, or by you."},
    {"name": "receipts", "description": "What became of it: found, read, made by hand, refunded, corrected, decided."},
    {"name": "prepayments", "description": "Money taken before goods or lessons: closed, returned, still open."},
    {"name": "webhooks", "description": "Where messages go, what was sent there, and the feed for those who poll."},
    {"name": "merchants", "description": "Who sells: merchants and their branches."},
    {"name": "kassas", "description": "Connections to providers' cash registers."},
    {"name": "sources", "description": "Connections to CRMs and acquirers that report payments."},
    {
        "name": "nomenclature",
        "description": "Rules from what sources send to what receipts say.",
    },
    {"name": "api keys", "description": "Who may call."},
    {"name": "providers", "description": "What can be connected, and what each wants."},
]

_LINKS: Final = {
    "createEvent": {"getEvent": "id", "getReceipt": "receipts/0/id", "explainReceipt": "receipts/0/id"},
    "createReceipt": {"getReceipt": "id", "getReceiptTimeline": "id"},
    "refundReceipt": {"getEvent": "id", "getReceipt": "receipts/0/id"},
    "createCorrectionBatch": {"getCorrectionBatch": "id"},
    "createMerchant": {"getMerchant": "id", "getVat": "id"},
    "createBranch": {"getBranch": "id"},
    "createKassa": {"getKassa": "id", "checkKassa": "id"},
    "createSource": {"getSource": "id"},
    "createNomenclatureRule": {"getNomenclatureRule": "id"},
    "createWebhookEndpoint": {"getWebhookEndpoint": "id", "listWebhookDeliveries": "id"},
    "createApiKey": {"getApiKey": "id"},
}
"""Which operation takes what was just made, and where in the answer its id stands."""

_METHODS = ("get", "put", "post", "patch", "delete")
_UNKNOWN_TO_ROUTES: tuple[type[BaseModel], ...] = (EventIn, ProblemDocument)
_NAMES = {"ProblemDocument": "Problem"}
_REF = "#/components/schemas/{model}"

# 422 everywhere: a query parameter that nobody knows is refused on every route.
_EVERYWHERE = documented(
    "validation-failed",
    "authentication-required",
    "invalid-api-key",
    "insufficient-scope",
    "merchant-suspended",
    "rate-limited",
    "internal-error",
    "service-unavailable",
)
_WITH_BODY = documented("malformed-json", "request-timeout", "payload-too-large", "unsupported-media-type")
_WITH_PATH = documented("not-found")


class Application(FastAPI):
    """FastAPI that tells the contract: webhooks declared, and our problems in place of FastAPI's own errors."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(title=TITLE, summary=SUMMARY, description=DESCRIPTION.strip(), openapi_tags=TAGS, **settings)
        self._short_cuts: dict[tuple[str, str], ASGIApp] = {}
        _declare_webhooks(self)

    def short_cut(self, route: Route, around: Sequence[Middleware]) -> None:
        """Serve this route before any other and without the framework's own middleware, only with what is `around`."""
        served = route.endpoint
        for each in reversed(around):
            served = each.cls(served, *each.args, **each.kwargs)
        for method in route.methods or ():
            self._short_cuts[method, route.path] = served

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        served = self._short_cuts.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if served is None:
            await super().__call__(scope, receive, send)
            return
        scope["app"] = self
        await served(scope, receive, send)

    def openapi(self) -> dict[str, Any]:
        """Made once, after all routes are in."""
        if self.openapi_schema is None:
            self.openapi_schema = _document(self)
        return self.openapi_schema


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        description=app.description,
        routes=app.routes,
        webhooks=app.webhooks.routes,
        tags=app.openapi_tags,
        servers=app.servers,
        license_info=app.license_info,
        contact=app.contact,
    )
    schemas: dict[str, Any] = document.setdefault("components", {}).setdefault("schemas", {})
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    _, found = models_json_schema([(model, "validation") for model in _UNKNOWN_TO_ROUTES], ref_template=_REF)
    for name, schema in found["$defs"].items():
        schemas.setdefault(_NAMES.get(name, name), schema)
    for path in document["paths"].values():
        for method in _METHODS:
            if method in path:
                _tell_problems(path[method])
    _tell_links(document["paths"])
    for path in document.get("webhooks", {}).values():
        path["post"]["responses"].pop("422", None)
        # No scheme of ours: a receiver authenticates a message by its signature headers.
        path["post"]["security"] = []
    return document


def _tell_problems(operation: dict[str, Any]) -> None:
    """The problems that every operation of this shape may answer, beside those that it names itself."""
    responses: dict[str, Any] = operation["responses"]
    if MEDIA_TYPE not in responses.get("422", {}).get("content", {}):
        responses.pop("422", None)
    places = {parameter["in"] for parameter in operation.get("parameters", ())}
    general = dict(_EVERYWHERE)
    if "requestBody" in operation:
        general |= _WITH_BODY
    for parameter in operation.get("parameters", ()):
        # The framework would answer 422 where it is missing; we answer 428, and it is needed all the same.
        if parameter["name"] == "If-Match":
            parameter |= {"required": True, "schema": {"type": "string"}}
    # An admin key names a merchant in the query, so a list too may not be there.
    if "path" in places or any(parameter["name"] == "merchant_id" for parameter in operation.get("parameters", ())):
        general |= _WITH_PATH
    for status, told in general.items():
        responses.setdefault(str(status), told)
    operation["responses"] = dict(sorted(responses.items()))


def _tell_links(paths: dict[str, Any]) -> None:
    """Where to go on with the answer of an operation that made something."""
    operations = {
        path[method]["operationId"]: path[method] for path in paths.values() for method in path.keys() & set(_METHODS)
    }
    for name, links in _LINKS.items():
        told = {}
        for target, pointer in links.items():
            (wanted,) = (one["name"] for one in operations[target]["parameters"] if one["in"] == "path")
            told[target] = {"operationId": target, "parameters": {wanted: f"$response.body#/{pointer}"}}
        for status in {"201", "202"} & operations[name]["responses"].keys():
            operations[name]["responses"][status]["links"] = told


_Id = Annotated[str, Header(description="Id of the message, the same on every attempt: drop what you have seen.")]
_Time = Annotated[int, Header(description="Unix time of this attempt; refuse what is older than five minutes.")]
_Signature = Annotated[
    str, Header(description="Space-separated `v1,<base64>`: HMAC-SHA-256 of `id.timestamp.body` (Standard Webhooks).")
]


def _declare_webhooks(app: FastAPI) -> None:
    """Nothing of this is ever called: FastAPI reads the messages' shapes off the signatures."""

    def receipt(body: ReceiptMessage, webhook_id: _Id, webhook_timestamp: _Time, webhook_signature: _Signature) -> None:
        """Answer 2xx within 15 seconds; anything else is sent again, for three days."""

    def kassa(body: KassaMessage, webhook_id: _Id, webhook_timestamp: _Time, webhook_signature: _Signature) -> None:
        """Nothing is lost: receipts wait in order and go on by themselves."""

    def alarm(body: AlarmMessage, webhook_id: _Id, webhook_timestamp: _Time, webhook_signature: _Signature) -> None:
        """Told once for each event and code, however often the source repeats it."""

    def source(body: SourceMessage, webhook_id: _Id, webhook_timestamp: _Time, webhook_signature: _Signature) -> None:
        """Told once for a whole silence; `silent_after_hours` of the source switches it on."""

    def endpoint(
        body: EndpointMessage, webhook_id: _Id, webhook_timestamp: _Time, webhook_signature: _Signature
    ) -> None:
        """`endpoint.disabled` goes to the merchant's other endpoints, `endpoint.test` to the one under test."""

    def merchant(
        body: MerchantMessage, webhook_id: _Id, webhook_timestamp: _Time, webhook_signature: _Signature
    ) -> None:
        """Nothing is changed by itself: which rate holds is the merchant's answer."""

    told: list[tuple[str, str, Callable[..., None]]] = [
        *((type, summary, receipt) for type, summary in RECEIPT_MESSAGES.items()),
        ("kassa.paused", "A kassa stands still", kassa),
        ("kassa.resumed", "A kassa goes on", kassa),
        ("event.alarm", "Reported money changed at its source", alarm),
        ("source.silent", "Nothing is heard of a source", source),
        ("source.heard", "A source is heard again", source),
        ("merchant.vat_regime_review", "A merchant's income nears a bound of its VAT regime", merchant),
        ("endpoint.disabled", "An endpoint was switched off", endpoint),
        ("endpoint.test", "A test of this endpoint", endpoint),
    ]
    for type, summary, stub in told:
        app.webhooks.post(
            type,
            operation_id="on" + "".join(word.title() for word in type.replace(".", "_").split("_")),
            summary=summary,
            status_code=204,
            response_description="The message was taken.",
            tags=["webhooks"],
        )(stub)
