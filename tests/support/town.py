"""Two merchants that look alike in one running program, and every place where the API takes an id.

Whatever mixes the two up finds something. Operations, places, scopes and bodies are read from the application's own
description: a new route is in every test over them by itself, and asks for a body here if it needs one.
"""

import base64
import hashlib
import hmac
import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts
from sqlalchemy import text

from app.api.deps import Requires
from app.db.tables import TENANT_TABLES, metadata
from app.infra.ids import parse
from app.main import create_app
from tests.support.world import World, open_world

INN = "7707083893"
WALLED = ("merchants", *TENANT_TABLES)
ID = re.compile(r"\^([a-z]+)_\[0-9a-f\]\{32\}\$")

ITEMS = [{"name": "Абонемент", "quantity": "1", "price": 5000, "amount": 5000, "vat": "none"}]
SALE: dict[str, Any] = {
    "type": "payment.succeeded",
    "external_id": "p-1",
    "order_id": "A-1",
    "settlement_key": "s-1",
    "amount": 5000,
    "customer": {"email": "anna@example.org", "phone": "+79990000000"},
    "items": ITEMS,
}
BY_HAND: dict[str, Any] = {"operation": "sell", "amount": 5000, "customer": SALE["customer"], "items": ITEMS}

KASSA: dict[str, Any] = {
    "name": "Касса",
    "provider": "digitalkassa",
    "ffd": "1.2",
    "taxation": ["usn_income"],
    "place": "https://shop.example/",
    "timezone": "Europe/Moscow",
    "internet": True,
    "base_url": "http://127.0.0.1:9/v2.1/",
    "credentials": {"actor_id": "1", "actor_token": "t", "c_group_id": 4321},
    "defaults": {"vat": "none", "payment_method": "full_prepayment", "payment_object": "service"},
}

BODIES: dict[str, Any] = {
    "createApiKey": {"scopes": ["events:read"]},
    "createBranch": {"name": "Улица"},
    "confirmCorrectionBatch": {"token": "0" * 32},
    "createCorrection": {"case": "duplicate"},
    "createCorrectionBatch": {
        "rows": [
            {"payment_id": "m-9", "date": "2026-11-02", **{n: BY_HAND[n] for n in ("amount", "customer", "items")}}
        ]
    },
    "createEvent": {**SALE, "external_id": "p-9", "settlement_key": None},
    "createKassa": KASSA,
    "createNomenclatureRule": {"match": {"text": "Абонемент на лето"}, "fill": {"vat": "none"}},
    "updateNomenclatureRule": {"priority": 1},
    "createMerchant": {"name": "Кружок", "inn": INN},
    "createReceipt": BY_HAND,
    "createSource": {
        "kind": "cloudpayments",
        "name": "Эквайринг",
        "credentials": {"public_id": "pk", "api_secret": "s"},
        "acquirer_fiscalizes": False,
    },
    "createWebhookEndpoint": {"url": "http://127.0.0.1:9/hook", "types": ["receipt.*"]},
    "changeReceipts": {"action": "retry", "filter": {"status": ["fiscalized"]}},
    "updateEvent": {"customer": {"email": "b@example.org"}},
    "updateReceipt": {"customer": {"email": "b@example.org"}},
    "refundReceipt": {"amount": 100},
    "confirmLateReceipt": {"how": "print_now"},
    "resolveReceipt": {"answer": "abandon", "sequence": 1, "reason": "test"},
    "replayWebhookMessages": {"since": "2026-01-01T00:00:00Z"},
    "updateBranch": {"name": "X"},
    "updateKassa": {"name": "X"},
    "updateMerchant": {"name": "X"},
    "replaceVat": {"rates": [{"from": "2026-01-01", "vat": "none"}]},
    "updateSource": {"name": "X"},
    "updateWebhookEndpoint": {"description": "X"},
}
"""A body that the route would carry out for its owner; routes that are not here need none, or tell an example."""

NAMED_BY_TEXT = {
    ("createEvent", "source"): "src",
    ("createEvent", "branch"): "brn",
    ("createReceipt", "branch"): "brn",
    ("createCorrectionBatch", "source"): "src",
}
"""Members that take an id or a name of the caller's own."""

ABOUT = {"createCorrection": ("receipt", "rcpt")}
"""Operations whose body names the thing that they are about, and not their path: (member, prefix)."""

SEEN = {"updateNomenclatureRule": '"1"'}
"""What If-Match has to name, so that the request comes as far as its body."""

FILES = {"importNomenclature": "text;vat\nАбонемент на год;none\n"}
"""Bodies that are CSV."""

A_POSITION = {("changeReceipts", "after")}
"""An id that is only a place in an order: anybody's may be given, and tells nothing."""


@dataclass
class Shop:
    """One merchant with one of everything. `things` are its ids by prefix."""

    id: UUID
    http: httpx.AsyncClient
    things: dict[str, str] = field(default_factory=dict)
    first: list[Any] = field(default_factory=list)

    async def post(self, path: str, body: Any, **headers: str) -> dict[str, Any]:
        answer = await self.http.post(path, json=body, headers=headers)
        assert answer.status_code in (200, 201, 202), answer.text
        made: dict[str, Any] = answer.json()
        assert "idempotent-replayed" not in answer.headers, "another merchant's answer"
        return made


@dataclass
class Town:
    """The program with two shops that look alike."""

    world: World
    app: Any
    admin: httpx.AsyncClient
    mine: Shop
    other: Shop

    async def ids_of(self, shop: Shop) -> list[str]:
        """Every id of a merchant's rows, in both spellings."""
        found: set[UUID] = {shop.id}
        async with self.world.runtime.database.pipeline() as tx:
            for table in TENANT_TABLES:
                columns = [c.name for c in metadata.tables[table].columns if c.name in ("id", "event_id", "receipt_id")]
                if columns:
                    rows = await tx.execute(
                        text(f"SELECT {', '.join(columns)} FROM {table} WHERE merchant_id = :m"), {"m": shop.id}
                    )
                    found |= {value for row in rows for value in row if value is not None}
        return [spelt for one in found for spelt in (one.hex, str(one))]

    async def print_of(self, shop: Shop) -> dict[str, str]:
        """A digest of everything the database has of a merchant."""
        told = {}
        async with self.world.runtime.database.pipeline() as tx:
            for table in WALLED:
                column = "id" if table == "merchants" else "merchant_id"
                rows = await tx.execute(
                    text(f"SELECT t::text FROM {table} t WHERE {column} = :m ORDER BY 1"), {"m": shop.id}
                )
                told[table] = hashlib.sha256("\n".join(row[0] for row in rows).encode()).hexdigest()
        return told


def client(app: Any, key: str | None) -> httpx.AsyncClient:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://kassa.example.org", headers=headers)


async def seed(world: World, http: httpx.AsyncClient, merchant: str) -> Shop:
    """What a real merchant has after a day, made over the API."""
    shop = Shop(parse("mer", merchant), http)
    kassa = await shop.post("/v1/kassas", {**KASSA, "base_url": f"{world.simulator_url}/v2.1/"})
    branch = await shop.post("/v1/branches", {"name": "Ленина", "external_id": "f-1", "kassa": kassa["id"]})
    secret = {"public_id": "pk", "api_secret": "hmac-secret"}
    source = await shop.post("/v1/sources", {**BODIES["createSource"], "credentials": secret})
    endpoint = await shop.post("/v1/webhook-endpoints", {"url": "http://127.0.0.1:9/hook", "types": ["receipt.*"]})
    key = await shop.post("/v1/api-keys", {"scopes": ["events:read"]})
    rule = await shop.post("/v1/nomenclature", {"match": {"text": "Абонемент"}, "fill": {"vat": "none"}})

    event = await shop.post("/v1/events", SALE)
    await shop.post("/v1/events", {**SALE, "external_id": "p-2", "settlement_key": "s-2", "customer": None})
    closing = {"type": "order.settled", "external_id": "c-1", "order_id": SALE["order_id"], "amount": 1000}
    await shop.post("/v1/events", closing)
    by_hand = [await shop.post("/v1/receipts", BY_HAND, **{"Idempotency-Key": f"k-{n}"}) for n in range(2)]
    body = b"TransactionId=700&Amount=50.00&Currency=RUB&Status=Declined&OperationType=Payment"
    signed = base64.b64encode(hmac.digest(b"hmac-secret", body, "sha256")).decode()
    heard = await http.post(f"/in/{source['id']}/pay", content=body, headers={"Content-HMAC": signed})
    assert heard.json() == {"code": 0}
    await by_its_crm(world, shop.id, parse("src", source["id"]), event)

    shop.first = [event["id"], *(one["id"] for one in by_hand)]
    shop.things = {
        "mer": merchant,
        "kas": kassa["id"],
        "brn": branch["id"],
        "src": source["id"],
        "whe": endpoint["id"],
        "key": key["id"],
        "nom": rule["id"],
        "evt": event["id"],
        "rcpt": event["receipts"][0]["id"],
    }
    return shop


async def by_its_crm(world: World, merchant_id: UUID, source_id: UUID, event: dict[str, Any]) -> None:
    """What no acquirer brings about: a result that a CRM is told, and an alarm about a payment that it changed."""
    values = {
        "m": merchant_id,
        "s": source_id,
        "e": parse("evt", event["id"]),
        "r": parse("rcpt", event["receipts"][0]["id"]),
    }
    async with world.runtime.database.pipeline() as tx:
        await tx.execute(
            text(
                "INSERT INTO crm_reports (id, merchant_id, source_id, receipt_id, event_id, version, status) "
                "VALUES (kassa_uuid7(), :m, :s, :r, :e, 1, 'held')"
            ),
            values,
        )
        await tx.execute(
            text(
                "INSERT INTO alarms (id, merchant_id, source_id, type, external_id, code, event_id, reason, reason_ru) "
                "VALUES (kassa_uuid7(), :m, :s, 'payment.succeeded', 'p-1', 'deleted', :e, 'Deleted', 'Удалён')"
            ),
            values,
        )
        await tx.execute(
            text(
                "INSERT INTO vat_reviews (merchant_id, year, kind, bound_year, percent, income, bound) "
                "VALUES (:m, 2026, 'usn_exempt', 2026, 80, 8, 10)"
            ),
            values,
        )


@asynccontextmanager
async def open_town(database_url: str, tmp_path: Path) -> AsyncIterator[Town]:
    async with AsyncExitStack() as stack:
        world = await stack.enter_async_context(open_world(database_url, tmp_path))
        app = create_app(world.runtime.services, world.runtime.settings, metrics=world.runtime.metrics)
        admin = await stack.enter_async_context(client(app, await world.runtime.services.access.ensure_admin_key()))
        shops = []
        for name in ("Школа", "Студия"):
            merchant = (await admin.post("/v1/merchants", json={"name": name, "inn": INN})).json()["id"]
            made = await admin.post("/v1/api-keys", json={"merchant_id": merchant, "scopes": ["*"]})
            http = await stack.enter_async_context(client(app, made.json()["key"]))
            shops.append(await seed(world, http, merchant))
        town = Town(world, app, admin, *shops)

        async def done() -> bool:
            """Receipts made, told to the endpoint that is away, and in the feed."""
            async with world.runtime.database.pipeline() as tx:
                tried = "SELECT count(DISTINCT merchant_id) FROM deliveries WHERE EXISTS "
                tried += "(SELECT 1 FROM notifications n WHERE n.merchant_id = deliveries.merchant_id "
                tried += "AND n.status <> 'received') AND EXISTS (SELECT 1 FROM settlement_parts s WHERE "
                tried += "s.merchant_id = deliveries.merchant_id) AND NOT EXISTS (SELECT 1 FROM receipts r WHERE "
                tried += "r.merchant_id = deliveries.merchant_id AND r.status NOT IN ('fiscalized', 'held'))"
                return (await tx.execute(text(tried))).scalar_one() == 2

        async with world.working():
            await world.until(done)
        await world.runtime.services.access.close()
        for shop in shops:
            wrong = {**BODIES["createCorrection"], "receipt": shop.first[2]}
            correction = await shop.post("/v1/corrections", wrong, **{"Idempotency-Key": "k-correction"})
            batch = await shop.post("/v1/corrections/batches", BODIES["createCorrectionBatch"])
            shop.things |= {"cor": correction["id"], "cbt": batch["id"]}
            feed = await shop.http.get("/v1/messages")
            shop.things["msg"] = feed.json()["data"][0]["id"]
        yield town


def body_of(operation: str) -> Any:
    """A copy of its own for one request."""
    return json.loads(json.dumps(BODIES.get(operation)))


def put_body(asked: dict[str, Any], operation: str, body: Any) -> None:
    """Into a request: JSON, or the CSV that the operation takes."""
    if operation in FILES:
        asked["content"] = FILES[operation].encode()
        asked["headers"]["Content-Type"] = "text/csv"
    elif body is not None:
        asked["json"] = body


@dataclass(frozen=True)
class Place:
    """Where an operation takes an id: which prefix, in which part of the request, under which name."""

    operation: str
    method: str
    path: str
    part: str
    name: str
    prefix: str
    in_path: dict[str, str] = field(hash=False)

    def __str__(self) -> str:
        return f"{self.operation} {self.part} {self.name}"


def _prefix(schema: dict[str, Any]) -> str | None:
    for one in (schema, *schema.get("anyOf", [])):
        found = ID.fullmatch(one.get("pattern", ""))
        if found:
            return found[1]
    return None


def _members(document: dict[str, Any], schema: dict[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """(dotted name, prefix) of the members of a body that take an id."""
    for one in (schema, *schema.get("anyOf", []), *schema.get("oneOf", [])):
        if "$ref" in one:
            yield from _members(document, document["components"]["schemas"][one["$ref"].rpartition("/")[2]], before)
        for name, member in one.get("properties", {}).items():
            prefix = _prefix(member)
            if prefix is not None:
                yield before + name, prefix
            elif member.get("type") != "array":
                yield from _members(document, member, f"{before}{name}.")


def operations(app: Any) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in app.openapi()["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def places(app: Any) -> list[Place]:
    document = app.openapi()
    found = []
    for method, path, operation in operations(app):
        name = operation["operationId"]
        parameters = [(one["in"], one["name"], _prefix(one["schema"])) for one in operation.get("parameters", [])]
        body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
        members = [*_members(document, body)]
        members += [(member, prefix) for (of, member), prefix in NAMED_BY_TEXT.items() if of == name]
        in_path = {one: prefix for part, one, prefix in parameters if part == "path" and prefix}
        given = [(part, one, prefix) for part, one, prefix in parameters if prefix]
        given += [("body", member, prefix) for member, prefix in members]
        found += [Place(name, method, path, part, one, prefix, in_path) for part, one, prefix in given]
    return found


def request(place: Place, shop: Shop, given: str) -> dict[str, Any]:
    """The request of `shop` with `given` in this place; everything else is the shop's own."""
    path = place.path
    for name, prefix in place.in_path.items():
        chosen = (place.part, place.name) == ("path", name)
        path = path.replace(f"{{{name}}}", given if chosen else shop.things[prefix])
    asked: dict[str, Any] = {"method": place.method, "url": path, "headers": {}}
    asked["headers"]["If-Match"] = SEEN.get(place.operation, '"0"')
    asked["headers"]["Idempotency-Key"] = f"{place.operation}-{given}"
    body = body_of(place.operation)
    if place.part == "query":
        asked["params"] = {place.name: given}
    if place.part == "body":
        within = body
        *above, last = place.name.split(".")
        for name in above:
            within = within.setdefault(name, {})
        within[last] = given
    if place.operation == "replayWebhookMessages" and place.name == "message_id":
        body = {"message_id": given}
    if place.operation == "createEvent":
        body["external_id"] = f"p-{given}"
    put_body(asked, place.operation, body)
    return asked


def requirements(app: Any) -> dict[str, tuple[Requires, ...]]:
    """What each operation asks of its caller's key, by operation id."""

    def asked(dependant: Dependant) -> Iterator[Requires]:
        if isinstance(dependant.call, Requires):
            yield dependant.call
        for part in dependant.dependencies:
            yield from asked(part)

    return {
        context.original_route.operation_id: tuple(asked(context.dependant))
        for context in iter_route_contexts(app.routes)
        if isinstance(context.original_route, APIRoute) and context.original_route.operation_id
    }
