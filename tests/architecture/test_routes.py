"""No route without a declared scope, no refusal without a problem, no documentation that needs another host."""

import importlib
import json
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts

import app.services
from app.api.deps import Requires
from app.api.problems import KINDS, MEDIA_TYPE, PROBLEM_BASE
from app.api.routes import shadowed
from app.domain.errors import KassaError
from app.main import create_app, openapi_document
from app.services.access import Unauthenticated
from app.services.idempotency import canonical_key
from app.services.principal import Principal
from app.settings import Settings

WITHOUT_KEY = {
    "/livez",
    "/readyz",
    "/metrics",
    "/docs",
    "/docs/{name}",
    "/openapi.json",
    "/in/{source_id}/{part}",
    "/in/{source_id}/s-{secret}/{part}",
    "/callbacks/{kassa_id}/{secret}",
    "/r/{token}",
    "/r/{token}/pdf",
}
"""All that may be called without an API key; the last five check their callers in their own way."""


@pytest.fixture(scope="module")
def contexts() -> list[Any]:
    made = create_app(None, Settings.model_construct(public_url=None))
    return list(iter_route_contexts(made.routes))


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return openapi_document()


def requirements(dependant: Dependant) -> Iterator[Requires]:
    if isinstance(dependant.call, Requires):
        yield dependant.call
    for part in dependant.dependencies:
        yield from requirements(part)


def operations(document: dict[str, Any], section: str = "paths") -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document[section].items():
        for method, operation in methods.items():
            yield path, method, operation


def test_every_route_names_a_scope_or_is_known_to_be_open(contexts: list[Any]) -> None:
    open_paths, scoped, plain = set(), set(), set()
    for context in contexts:
        if not context.path.startswith("/v1/"):
            open_paths.add(context.path)
        elif isinstance(context.original_route, APIRoute):
            asked = list(requirements(context.dependant))
            assert asked, f"{sorted(context.methods)} {context.path} names no scope: use requires(…) or tenant(…)"
            reads = context.methods == {"GET"}
            assert reads or all(":read" not in one.scope for one in asked), f"{context.path} changes with a read scope"
            scoped.add((context.path, *context.methods))
        else:
            plain.add((context.path, *context.methods))
    assert open_paths == WITHOUT_KEY
    assert plain <= scoped, "a plain route stands only before one that is described"


class NoServices:
    """Services that may be asked who is calling, and nothing else."""

    def __init__(self, principal: Principal | None) -> None:
        self._principal = principal

    @property
    def access(self) -> "NoServices":
        return self

    async def authenticate(self, header: str | None) -> Principal:
        if self._principal is None:
            raise Unauthenticated("no key")
        return self._principal


@pytest.mark.parametrize(
    ("principal", "status", "code"),
    [
        (None, 401, "authentication_required"),
        (Principal(uuid4(), uuid4(), None, frozenset()), 403, "insufficient_scope"),
        (Principal(uuid4(), None, None, frozenset()), 403, "insufficient_scope"),
    ],
    ids=["no key", "key without scopes", "admin key without scopes"],
)
async def test_no_operation_does_anything_for_a_caller_without_rights(
    document: dict[str, Any], principal: Principal | None, status: int, code: str
) -> None:
    application = create_app(None, Settings.model_construct(public_url=None))
    application.state.services = NoServices(principal)
    transport = httpx.ASGITransport(application)
    async with httpx.AsyncClient(transport=transport, base_url="http://kassa.example.org") as client:
        for path, method, _ in operations(document):
            answer = await client.request(method, re.sub(r"\{\w+\}", "x", path))
            told = (answer.status_code, answer.json()["code"])
            assert told == (status, code), f"{method} {path}: {answer.text}"


async def test_a_path_of_its_own_is_no_id_of_the_path_beside_it(document: dict[str, Any]) -> None:
    """`PATCH /v1/receipts/bulk` was once looked up as the receipt `bulk`."""
    application = create_app(None, Settings.model_construct(public_url=None))
    application.state.services = NoServices(Principal(uuid4(), uuid4(), None, frozenset({"*"})))
    found = shadowed(application)
    assert set(found) >= {"/v1/receipts/bulk", "/v1/corrections/batches", "/v1/nomenclature/diff"}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://k.example") as client:
        for path, methods in found.items():
            for method in {"GET", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "TRACE"} - methods:
                answer = await client.request(method, path)
                assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed"), f"{method} {path}"
                assert answer.headers["allow"] == ", ".join(sorted(methods))
            assert {method.upper() for method in document["paths"][path]} == methods


def test_headers_are_described_as_they_are_judged(document: dict[str, Any]) -> None:
    headers = [
        (operation["operationId"], one)
        for *_, operation in operations(document)
        for one in operation.get("parameters", ())
        if one["in"] == "header"
    ]
    matches = [one for _, one in headers if one["name"] == "If-Match"]
    assert len(matches) >= 3
    assert all(one["required"] for one in matches), "without it the answer is 428"
    keys = {name: one for name, one in headers if one["name"] == "Idempotency-Key"}
    assert {name for name, one in keys.items() if one["required"]} == {"refundReceipt"}
    for one in keys.values():
        for text in ("k", '"k"', "A-z0_.:~+/=", "k" * 255, "", " ", "a b", '"', '"a', "k" * 256, "ключ", 'a"b'):
            try:
                canonical_key([text])
            except KassaError:
                taken = False
            else:
                taken = True
            assert bool(re.search(one["schema"]["pattern"], text)) == taken, text


def test_operation_ids_are_unique_and_fit_for_programs(document: dict[str, Any]) -> None:
    ids = [
        operation["operationId"] for section in ("paths", "webhooks") for *_, operation in operations(document, section)
    ]
    assert len(ids) == len(set(ids))
    assert [one for one in ids if not re.fullmatch(r"[a-z][a-zA-Z0-9]+", one)] == []


def test_every_operation_is_described_and_answers_problems(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        where = f"{method} {path}"
        assert operation.get("summary"), where
        assert operation.get("description"), where
        assert operation["tags"][0] in {tag["name"] for tag in document["tags"]}, where
        assert operation["security"] == [{"ApiKeyAuth": []}], where
        refused = {status: told for status, told in operation["responses"].items() if status >= "400"}
        assert {"401", "403", "422", "500", "503"} <= set(refused), where
        for status, told in refused.items():
            assert list(told["content"]) == [MEDIA_TYPE], f"{where} {status}"


def test_every_reference_of_the_contract_leads_somewhere(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    found = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(document)))
    assert found - set(schemas) == set()
    assert "HTTPValidationError" not in schemas
    assert document["openapi"].startswith("3.1")


def test_the_contract_tells_all_messages(document: dict[str, Any]) -> None:
    from app.services.endpoints import MESSAGE_TYPES, TEST_TYPE

    assert set(document["webhooks"]) == {*MESSAGE_TYPES, TEST_TYPE}
    for _, _, operation in operations(document, "webhooks"):
        headers = {parameter["name"] for parameter in operation["parameters"]}
        assert headers == {"webhook-id", "webhook-timestamp", "webhook-signature"}
        assert list(operation["responses"]) == ["204"]


def test_bounds_are_written_as_json_schema_knows_them(document: dict[str, Any]) -> None:
    """Pydantic writes `ge` for `minimum` where a Field stands behind a validator: nobody would read that."""
    assert re.findall(r'"(?:ge|le|gt|lt)": ', json.dumps(document["components"])) == []


def test_property_names_are_snake_case(document: dict[str, Any]) -> None:
    for name, schema in document["components"]["schemas"].items():
        wrong = [member for member in schema.get("properties", {}) if not re.fullmatch(r"[a-z][a-z0-9_]*", member)]
        assert wrong == [], name


def test_every_business_refusal_has_a_problem() -> None:
    for module in pkgutil.iter_modules(app.services.__path__, "app.services."):
        importlib.import_module(module.name)

    def all_of(kind: type[KassaError]) -> Iterator[type[KassaError]]:
        yield kind
        for below in kind.__subclasses__():
            yield from all_of(below)

    assert {kind.__name__: kind.code for kind in all_of(KassaError) if kind.code not in KINDS} == {}


def test_slugs_are_what_clients_compare() -> None:
    assert PROBLEM_BASE == "https://crm-kassa.dev/problems/"
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", slug) for slug in KINDS)
    assert all(400 <= kind.status < 600 for kind in KINDS.values())


def test_the_documentation_asks_nothing_of_other_hosts() -> None:
    for file in (Path(app.__file__).parent / "api" / "static").iterdir():
        text = file.read_text(encoding="utf-8")
        assert re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}", text) == [], file.name
        assert "@import" not in text
        assert "innerHTML" not in text
