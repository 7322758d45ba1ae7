"""The comparer of two descriptions of the API, on made-up pairs: what breaks is named, what does not is passed over."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from app.main import openapi_document
from tests.support.contract_changes import breaking_changes

Json = dict[str, Any]

REQUEST: Json = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name"],
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 128},
        "kind": {"type": "string", "enum": ["cat", "dog"]},
        "age": {"anyOf": [{"type": "integer", "minimum": 0, "maximum": 30}, {"type": "null"}], "default": None},
        "weight": {"type": "number"},
        "born": {"type": "string"},
        "owners": {"type": "array", "maxItems": 9, "items": {"$ref": "#/components/schemas/Owner"}},
        "notes": {"type": "object", "additionalProperties": {"type": "string"}},
    },
}
ANSWER: Json = {
    "type": "object",
    "required": ["id", "state"],
    "properties": {
        "id": {"type": "string", "pattern": "^pet_"},
        "state": {"type": "string", "enum": ["here", "gone"]},
        "seen_at": {"type": "string", "format": "date-time"},
        "owner": {"anyOf": [{"$ref": "#/components/schemas/Owner"}, {"type": "null"}]},
        "parent": {"anyOf": [{"$ref": "#/components/schemas/Pet"}, {"type": "null"}]},
    },
}
OLD: Json = {
    "openapi": "3.1.0",
    "paths": {
        "/pets/{id}": {
            "get": {
                "operationId": "getPet",
                "parameters": [
                    {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}},
                    {"name": "shape", "in": "query", "schema": {"type": "string"}},
                ],
                "responses": {
                    "200": {
                        "headers": {"ETag": {"schema": {"type": "string"}}},
                        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Pet"}}},
                    },
                    "404": {"content": {"application/problem+json": {"schema": {"type": "object"}}}},
                },
            }
        },
        "/pets": {
            "post": {
                "operationId": "createPet",
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/NewPet"}}},
                },
                "responses": {
                    "201": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Pet"}}}}
                },
            },
            "get": {"operationId": "listPets", "responses": {"200": {}}},
        },
    },
    "webhooks": {
        "pet.gone": {
            "post": {
                "parameters": [{"name": "webhook-id", "in": "header", "schema": {"type": "string"}}],
                "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Pet"}}}},
                "responses": {"204": {}},
            }
        }
    },
    "components": {
        "schemas": {
            "NewPet": REQUEST,
            "Pet": ANSWER,
            "Owner": {"type": "object", "properties": {"email": {"type": "string"}}},
        }
    },
}

Change = Callable[[Json], Any]


def members(document: Json, schema: str) -> Json:
    found: Json = document["components"]["schemas"][schema]["properties"]
    return found


def schema(document: Json, name: str) -> Json:
    found: Json = document["components"]["schemas"][name]
    return found


def operation(document: Json, path: str, method: str) -> Json:
    found: Json = document["paths"][path][method]
    return found


BREAKING: dict[str, tuple[Change, str]] = {
    "a path": (lambda d: d["paths"].pop("/pets"), "POST /pets: is gone."),
    "an operation": (lambda d: d["paths"]["/pets"].pop("get"), "GET /pets: is gone."),
    "an operation's name": (
        lambda d: operation(d, "/pets", "get").update(operationId="findPets"),
        "GET /pets: its operationId was listPets and is findPets.",
    ),
    "credentials": (
        lambda d: operation(d, "/pets", "get").update(security=[{"Key": []}]),
        "GET /pets: needs credentials now.",
    ),
    "a parameter": (
        lambda d: operation(d, "/pets/{id}", "get")["parameters"].pop(1),
        "GET /pets/{id}: no longer takes the query parameter `shape`.",
    ),
    "a parameter's freedom": (
        lambda d: operation(d, "/pets/{id}", "get")["parameters"][1].update(required=True),
        "GET /pets/{id}: the query parameter `shape` is now required.",
    ),
    "a new duty": (
        lambda d: operation(d, "/pets", "get").update(
            parameters=[{"name": "page", "in": "query", "required": True, "schema": {}}]
        ),
        "GET /pets: the new query parameter `page` is required.",
    ),
    "a parameter's type": (
        lambda d: operation(d, "/pets/{id}", "get")["parameters"][1].update(schema={"type": "integer"}),
        "GET /pets/{id}: the query parameter no longer takes a string for `shape`.",
    ),
    "a body": (lambda d: operation(d, "/pets", "post").pop("requestBody"), "POST /pets: no longer takes a body."),
    "a new body": (
        lambda d: operation(d, "/pets", "get").update(requestBody={"required": True}),
        "GET /pets: a body is now required.",
    ),
    "a media type": (
        lambda d: operation(d, "/pets", "post")["requestBody"].update(content={"text/csv": {}}),
        "POST /pets: the request is no longer application/json.",
    ),
    "a member of a request": (
        lambda d: members(d, "NewPet").pop("weight"),
        "POST /pets: the request no longer takes `weight`.",
    ),
    "a member within a list": (
        lambda d: members(d, "Owner").clear() or schema(d, "Owner").update(additionalProperties=False),
        "POST /pets: the request no longer takes `owners[].email`.",
    ),
    "a newly required member": (
        lambda d: schema(d, "NewPet")["required"].append("kind"),
        "POST /pets: the request now requires `kind`.",
    ),
    "openness": (
        lambda d: schema(d, "Owner").update(additionalProperties=False),
        "POST /pets: the request no longer takes further members in `owners[]`.",
    ),
    "a word": (
        lambda d: members(d, "NewPet")["kind"]["enum"].remove("cat"),
        "POST /pets: the request no longer takes 'cat' for `kind`.",
    ),
    "all words but some": (
        lambda d: members(d, "NewPet")["name"].update(enum=["Rex"]),
        "POST /pets: the request takes only 'Rex' for `name` now.",
    ),
    "a type": (
        lambda d: members(d, "NewPet")["weight"].update(type="integer"),
        "POST /pets: the request no longer takes a number for `weight`.",
    ),
    "null": (
        lambda d: members(d, "NewPet")["age"]["anyOf"].pop(1),
        "POST /pets: the request no longer takes null for `age`.",
    ),
    "a lower bound": (
        lambda d: members(d, "NewPet")["age"]["anyOf"][0].update(minimum=1),
        "POST /pets: the request: minimum of `age` was 0 and is 1.",
    ),
    "an upper bound": (
        lambda d: members(d, "NewPet")["name"].update(maxLength=64),
        "POST /pets: the request: maxLength of `name` was 128 and is 64.",
    ),
    "a new bound": (
        lambda d: members(d, "NewPet")["owners"].update(minItems=1),
        "POST /pets: the request: minItems of `owners` was open and is 1.",
    ),
    "steps": (
        lambda d: members(d, "NewPet")["weight"].update(multipleOf=5),
        "POST /pets: the request: `weight` must now be a multiple of 5.",
    ),
    "a pattern": (
        lambda d: members(d, "NewPet")["name"].update(pattern="^[A-Z]"),
        "POST /pets: the request: `name` must now have the pattern ^[A-Z].",
    ),
    "a format": (
        lambda d: members(d, "NewPet")["born"].update(format="date"),
        "POST /pets: the request: `born` must now have the format date.",
    ),
    "a default": (
        lambda d: members(d, "NewPet")["age"].update(default=3),
        "POST /pets: the request: `age` left out no longer means None.",
    ),
    "the values of a map": (
        lambda d: members(d, "NewPet")["notes"].update(additionalProperties={"type": "integer"}),
        "POST /pets: the request no longer takes a string for `notes.*`.",
    ),
    "an answer": (
        lambda d: operation(d, "/pets", "post").update(responses={"202": {}}),
        "POST /pets: never answers 201 any more.",
    ),
    "a header": (
        lambda d: operation(d, "/pets/{id}", "get")["responses"]["200"].pop("headers"),
        "GET /pets/{id}: the answer 200 no longer has the header ETag.",
    ),
    "the form of an error": (
        lambda d: operation(d, "/pets/{id}", "get")["responses"]["404"].update(content={"text/plain": {}}),
        "GET /pets/{id}: the answer 404 is no longer application/problem+json.",
    ),
    "a member of an answer": (
        lambda d: members(d, "Pet").pop("seen_at"),
        "GET /pets/{id}: the answer 200 no longer has `seen_at`.",
    ),
    "certainty": (
        lambda d: schema(d, "Pet")["required"].remove("state"),
        "GET /pets/{id}: the answer 200 may now lack `state`.",
    ),
    "a null that may come": (
        lambda d: members(d, "Pet").update(id={"anyOf": [members(d, "Pet")["id"], {"type": "null"}]}),
        "GET /pets/{id}: the answer 200 may now have null for `id`.",
    ),
    "an answer's type": (
        lambda d: members(d, "Pet").update(state={"type": "integer"}),
        "GET /pets/{id}: the answer 200 may now have an integer for `state`.",
    ),
    "an answer's form": (
        lambda d: members(d, "Pet")["seen_at"].pop("format"),
        "GET /pets/{id}: the answer 200: `seen_at` no longer has the format date-time.",
    ),
    "an id's form": (
        lambda d: members(d, "Pet")["id"].update(pattern="^p_"),
        "GET /pets/{id}: the answer 200: `id` no longer has the pattern ^pet_.",
    ),
    "a member far down": (
        lambda d: members(d, "Owner").pop("email"),
        "GET /pets/{id}: the answer 200 no longer has `owner.email`.",
    ),
    "a message": (lambda d: d["webhooks"].clear(), "message pet.gone: is never sent any more."),
    "a message's header": (
        lambda d: d["webhooks"]["pet.gone"]["post"].pop("parameters"),
        "message pet.gone: has no header webhook-id any more.",
    ),
    "a member of a message": (
        lambda d: members(d, "Pet").pop("state"),
        "message pet.gone no longer has `state`.",
    ),
}

HARMLESS: dict[str, Change] = {
    "nothing": lambda _: None,
    "a new operation": lambda d: d["paths"].update({"/owners": {"get": {"responses": {}}}}),
    "a new message": lambda d: d["webhooks"].update({"pet.born": {"post": {"responses": {}}}}),
    "another name of what stands in the path": lambda d: d["paths"].update(
        {"/pets/{pet_id}": d["paths"].pop("/pets/{id}")}
    ),
    "a new optional parameter": lambda d: operation(d, "/pets", "get").update(
        parameters=[{"name": "page", "in": "query", "schema": {}}]
    ),
    "a new optional member of a request": lambda d: members(d, "NewPet").update(color={"type": "string"}),
    "a member that may be left out now": lambda d: schema(d, "NewPet").pop("required"),
    "a new word in a request": lambda d: members(d, "NewPet")["kind"]["enum"].append("cow"),
    "any word at all": lambda d: members(d, "NewPet")["kind"].pop("enum"),
    "wider bounds": lambda d: members(d, "NewPet")["name"].update(minLength=0, maxLength=256),
    "a wider type": lambda d: members(d, "NewPet")["age"]["anyOf"][0].update(type="number"),
    "null that may be sent": lambda d: members(d, "NewPet").update(born={"type": ["string", "null"]}),
    "a new member of an answer": lambda d: members(d, "Pet").update(color={"type": "string"}),
    "a new word in an answer": lambda d: members(d, "Pet")["state"]["enum"].append("lost"),
    "null that never comes any more": lambda d: members(d, "Pet")["owner"]["anyOf"].pop(1),
    "a member that always comes now": lambda d: schema(d, "Pet")["required"].append("seen_at"),
    "a refusal that never comes any more": lambda d: operation(d, "/pets/{id}", "get")["responses"].pop("404"),
    "a new refusal": lambda d: operation(d, "/pets", "get")["responses"].update({"429": {}}),
    "words for people": lambda d: schema(d, "Pet").update(description="An animal.", title="Animal"),
    "a schema that got a name": lambda d: (
        d["components"]["schemas"].update({"Kind": members(d, "NewPet")["kind"]}),
        members(d, "NewPet").update(kind={"$ref": "#/components/schemas/Kind"}),
    ),
}


@pytest.mark.parametrize("what", BREAKING)
def test_what_breaks_is_named_in_a_sentence(what: str) -> None:
    change, sentence = BREAKING[what]
    new = copy.deepcopy(OLD)
    change(new)
    assert sentence in breaking_changes(OLD, new)


@pytest.mark.parametrize("what", HARMLESS)
def test_what_clients_live_with_is_passed_over(what: str) -> None:
    new = copy.deepcopy(OLD)
    HARMLESS[what](new)
    assert breaking_changes(OLD, new) == []


def test_our_own_contract_breaks_nothing_against_itself() -> None:
    """A recursive or otherwise odd schema of ours would show here."""
    document = openapi_document()
    assert breaking_changes(document, copy.deepcopy(document)) == []


def test_no_member_of_our_own_contract_can_go_unnoticed() -> None:
    """Of all members that requests and answers have, every seventh is taken away once: a comparison takes its time."""
    document = openapi_document()
    new = copy.deepcopy(document)
    schemas = new["components"]["schemas"]
    every = [(name, member) for name, told in schemas.items() for member in told.get("properties", {})]
    assert len(every) > 300
    for name, member in every[::7]:
        schema = schemas[name]["properties"].pop(member)
        found = breaking_changes(document, new)
        assert any(f"{member}`" in one for one in found), f"{name}.{member}: {found}"
        schemas[name]["properties"][member] = schema
    assert breaking_changes(document, new) == []
