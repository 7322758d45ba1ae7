"""Every operation of the API under ten identities, made from the routes: who hears what, cell by cell.

The victim is always the same merchant; strangers ask for its things by their ids. The matrix holds with the
application's own filter and with reads that have forgotten it, and turns red when nothing is left between the two.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from app.api.deps import Requires
from app.api.problems import Problem
from app.infra.ids import new_api_key
from app.services.principal import SCOPES, Principal
from tests.support.forgetful import forgetting_merchants
from tests.support.town import ABOUT, Shop, Town, body_of, client, open_town, operations, places, put_body, requirements

READ_ONLY = ("events:read", "receipts:read", "webhooks:read", "settings:read")
DONE = frozenset({200, 201, 202, 204, 409, 412})
"""409 and 412: the thing was found, and its present state forbids the action."""

STRANGERS = ("no key", "junk key", "revoked key", "foreign key", "foreign read-only key")
OWN = ("own key without the scope", "own read-only key", "own key", "source-bound key", "admin key")
IDENTITIES = (*STRANGERS, *OWN)

OPEN_TO_THE_PIPELINE = frozenset(
    {"api_keys", "merchants", "sources", "lanes", "jobs", "event_identities", "settlement_keys", "sales"}
)
"""What a GET may read before the wall: who is calling, and tables that the reading role cannot see at all."""


@dataclass(frozen=True)
class Operation:
    """One operation with what its path takes: {name of the parameter: prefix of the id}."""

    name: str
    method: str
    path: str
    in_path: dict[str, str]
    parameters: frozenset[str]
    members: frozenset[str]
    asks: tuple[Requires, ...]

    def allows(self, principal: Principal) -> bool:
        try:
            for one in self.asks:
                one.checked(principal)
        except Problem:
            return False
        return True


@dataclass(frozen=True)
class Cell:
    """Who asked for what, and what came back."""

    identity: str
    operation: Operation
    answer: httpx.Response

    @property
    def heard(self) -> tuple[int, str | None]:
        told = self.answer.headers["content-type"] if self.answer.content else ""
        return self.answer.status_code, self.answer.json()["code"] if told == "application/problem+json" else None

    def __str__(self) -> str:
        return f"{self.operation.name} as {self.identity}: {self.answer.status_code} {self.answer.text[:300]}"


def all_operations(app: Any) -> list[Operation]:
    """In the order of the description, except that what ends a key comes last."""
    asked, found = requirements(app), []
    members: dict[str, set[str]] = {}
    in_path: dict[str, dict[str, str]] = {}
    for place in places(app):
        in_path[place.operation] = place.in_path
        if place.part == "body":
            members.setdefault(place.operation, set()).add(place.name)
    for method, path, told in operations(app):
        name = told["operationId"]
        parameters = frozenset(one["name"] for one in told.get("parameters", ()) if one["in"] == "query")
        own = frozenset(members.get(name, ()))
        found.append(Operation(name, method, path, in_path.get(name, {}), parameters, own, asked[name]))
    return sorted(found, key=lambda one: one.method == "DELETE")


class Crowd:
    """The ten identities, each with a client of its own; keys are made over the API, by whoever may make them."""

    def __init__(self, town: Town, admin: httpx.AsyncClient, stack: AsyncExitStack) -> None:
        self._town = town
        self._stack = stack
        self._admin = admin
        self._clients: dict[tuple[str, ...], httpx.AsyncClient] = {}

    async def speaker(self, identity: str, operation: Operation) -> tuple[httpx.AsyncClient, Principal | None]:
        """The client of an identity and what its key may do; None for a key that does not work at all."""
        mine, other = self._town.mine, self._town.other
        own, foreign = mine.id, other.id
        match identity:
            case "no key":
                return await self._with(identity, None), None
            case "junk key":
                return await self._with(identity, new_api_key(True)), None
            case "revoked key":
                if (identity,) not in self._clients:
                    made = await mine.post("/v1/api-keys", {"scopes": ["*"]})
                    (await mine.http.delete(f"/v1/api-keys/{made['id']}")).raise_for_status()
                    await self._with(identity, made["key"])
                return self._clients[identity,], None
            case "foreign key":
                return other.http, Principal(uuid4(), foreign, None, frozenset({"*"}))
            case "foreign read-only key":
                return await self._key(identity, other, READ_ONLY), Principal(
                    uuid4(), foreign, None, frozenset(READ_ONLY)
                )
            case "own key without the scope":
                less = tuple(sorted(set(SCOPES) - {one.scope for one in operation.asks}))
                return await self._key(identity, mine, less), Principal(uuid4(), own, None, frozenset(less))
            case "own read-only key":
                return await self._key(identity, mine, READ_ONLY), Principal(uuid4(), own, None, frozenset(READ_ONLY))
            case "own key":
                return mine.http, Principal(uuid4(), own, None, frozenset({"*"}))
            case "source-bound key":
                bound = await self._key(identity, mine, ("*",), source_id=mine.things["src"])
                return bound, Principal(uuid4(), own, uuid4(), frozenset({"*"}))
            case _:
                return self._admin, Principal(uuid4(), None, None, frozenset({"admin"}))

    async def _key(self, identity: str, shop: Shop, scopes: tuple[str, ...], **bound: str) -> httpx.AsyncClient:
        known = self._clients.get((identity, *scopes))
        if known is not None:
            return known
        made = await shop.post("/v1/api-keys", {"scopes": list(scopes), **bound})
        return await self._with(identity, made["key"], *scopes)

    async def _with(self, identity: str, key: str | None, *scopes: str) -> httpx.AsyncClient:
        if (identity, *scopes) not in self._clients:
            opened = await self._stack.enter_async_context(client(self._town.app, key))
            self._clients[identity, *scopes] = opened
        return self._clients[identity, *scopes]


def asked_for(operation: Operation, identity: str, mine: Shop) -> dict[str, Any]:
    """The request for the victim's things, as this identity would send it."""
    path = operation.path.replace("{code}", "digitalkassa")
    for name, prefix in operation.in_path.items():
        path = path.replace(f"{{{name}}}", mine.things[prefix])
    headers = {"If-Match": '"0"', "Idempotency-Key": f"{operation.name}-{identity}".replace(" ", "-")}
    told: dict[str, Any] = {
        "method": operation.method,
        "url": path,
        "headers": headers,
    }
    body = body_of(operation.name)
    if identity == "admin key":
        # An admin key is nobody's: it says whose things it means.
        if "merchant_id" in operation.parameters:
            told["params"] = {"merchant_id": mine.things["mer"]}
        if "merchant_id" in operation.members:
            body["merchant_id"] = mine.things["mer"]
    if operation.name in ABOUT:
        member, prefix = ABOUT[operation.name]
        body[member] = mine.things[prefix]
    if operation.name == "createEvent":
        body["external_id"] = headers["Idempotency-Key"]
    put_body(told, operation.name, body)
    return told


def expected(cell: Cell, principal: Principal | None) -> bool:
    """Whether this cell of the matrix holds what it must."""
    match cell.identity:
        case "no key":
            return cell.heard == (401, "authentication_required")
        case "junk key" | "revoked key":
            return cell.heard == (401, "invalid_api_key")
    assert principal is not None
    if not cell.operation.allows(principal):
        return cell.heard == (403, "insufficient_scope")
    if cell.identity in STRANGERS and (cell.operation.in_path or cell.operation.name in ABOUT):
        return cell.heard == (404, "not_found")
    if cell.identity == "source-bound key" and cell.operation.name == "rotateApiKey":
        # Its successor would not be bound to the source: more than this key may do itself.
        return cell.heard == (403, "insufficient_scope")
    return cell.answer.status_code in DONE


@pytest.fixture
async def town(database_url: str, tmp_path: Path) -> AsyncIterator[Town]:
    async with open_town(database_url, tmp_path) as found:
        yield found


async def walk(town: Town, identities: tuple[str, ...]) -> list[tuple[Cell, bool]]:
    """These columns of the matrix, each cell with whether it holds."""
    found = []
    async with AsyncExitStack() as stack:
        crowd = Crowd(town, town.admin, stack)
        for operation in all_operations(town.app):
            for identity in identities:
                http, principal = await crowd.speaker(identity, operation)
                answer = await http.request(**asked_for(operation, identity, town.mine))
                cell = Cell(identity, operation, answer)
                found.append((cell, expected(cell, principal)))
        await town.world.runtime.services.access.close()
    return found


def red(cells: list[tuple[Cell, bool]]) -> Iterator[str]:
    return (str(cell) for cell, holds in cells if not holds)


def a_leak(cells: list[tuple[Cell, bool]], foreign: list[str]) -> Iterator[str]:
    """Answers to strangers that hold an id of the victim's which the question did not hold."""
    for cell, _ in cells:
        asked = str(cell.answer.request.url)
        shown = [one for one in foreign if one in cell.answer.text and one not in asked]
        if shown:
            yield f"{cell} shows {shown}"


@pytest.mark.timeout(600)
@pytest.mark.parametrize("filtering", [True, False], ids=["both walls", "the database's wall alone"])
async def test_every_operation_under_ten_identities(
    town: Town, filtering: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    async with AsyncExitStack() as stack:
        forgetful = None
        if not filtering:
            forgetful = stack.enter_context(forgetting_merchants(town.world.runtime.database.engine))
        before, ids = await town.print_of(town.mine), await town.ids_of(town.mine)
        without_a_word = await walk(town, STRANGERS)
        after = await town.print_of(town.mine)
        insiders = await walk(town, OWN)

    cells = without_a_word + insiders
    wrong = [*red(cells), *a_leak(without_a_word, ids)]
    if wrong:
        pytest.fail("\n".join(wrong))
    # The revoked key was the owner's own doing, and is noted.
    changed = {table for table in before if before[table] != after[table]}
    assert changed == {"api_keys"}, "a stranger changed something"
    assert all(
        cell.answer.headers["www-authenticate"] == "Bearer" for cell, _ in cells if cell.answer.status_code == 401
    )
    count = len(all_operations(town.app))
    assert len(cells) == count * len(IDENTITIES)
    with capsys.disabled():
        how = "" if forgetful is None else f", {forgetful.forgotten} filters forgotten"
        print(f"\n{len(cells)} cells: {count} operations × {len(IDENTITIES)} identities{how}")


async def test_the_matrix_turns_red_when_nothing_is_between_two_merchants(town: Town) -> None:
    """Else its green would prove nothing: no filter and no row-level security, and strangers read what they like."""
    with forgetting_merchants(town.world.runtime.database.engine, wall=False) as forgetful:
        cells = await walk(town, ("foreign read-only key",))
    assert forgetful.forgotten >= 20
    seen = {cell.operation.name for cell, holds in cells if not holds}
    assert seen >= {"getEvent", "getReceipt", "getKassa", "getSource", "getBranch", "getWebhookEndpoint"}


async def test_reads_go_through_the_wall(town: Town) -> None:
    """No GET reads a merchant's things in a transaction of the pipeline, where only the statement protects them."""
    async with AsyncExitStack() as stack:
        crowd = Crowd(town, town.admin, stack)
        for operation in all_operations(town.app):
            if operation.method != "GET":
                continue
            http, _ = await crowd.speaker("own key", operation)
            with forgetting_merchants(town.world.runtime.database.engine) as forgetful:
                answer = await http.request(**asked_for(operation, "own key", town.mine))
            assert answer.status_code == 200, operation.name
            read = {table for _, tables in forgetful.unwalled for table in tables}
            assert read <= OPEN_TO_THE_PIPELINE, f"{operation.name} reads {sorted(read)} before the wall"
