"""Holds every answer against openapi/openapi.json: its status, its content type and its body."""

import json
from collections.abc import Iterable
from functools import cached_property
from typing import Any
from urllib.parse import quote

import jsonschema_rs

from tests.chaos.children import ROOT


class Contract:
    """The committed description of the API; `deviation` is None for an answer that keeps to it."""

    def __init__(self) -> None:
        text = (ROOT / "openapi" / "openapi.json").read_text()
        self._document: dict[str, Any] = json.loads(text)
        self._validators: dict[str, jsonschema_rs.Draft202012Validator] = {}
        self.checked = 0

    def deviation(self, method: str, path: str, status: int, content_type: str, body: bytes) -> str | None:
        """What is wrong with an answer to `method` on `path` (as in the description, `/v1/receipts/{receipt_id}`)."""
        self.checked += 1
        responses = self._document["paths"][path][method]["responses"]
        where = f"{method.upper()} {path} answered {status}"
        if status == 500:
            return f"{where}: an error that nobody handled"
        if str(status) not in responses:
            return f"{where}, which is not documented"
        told = content_type.partition(";")[0].strip()
        if told not in responses[str(status)].get("content", {}):
            return f"{where} as {told or 'nothing'!r}, which is not documented"
        pointer = "/".join(map(_escaped, ("paths", path, method, "responses", str(status), "content", told, "schema")))
        return self._breach(where, pointer, body)

    def message_deviation(self, type_: str, body: bytes) -> str | None:
        """What is wrong with a webhook of this type."""
        self.checked += 1
        if type_ not in self._document["webhooks"]:
            return f"webhook {type_} is not documented"
        parts = ("webhooks", type_, "post", "requestBody", "content", "application/json", "schema")
        return self._breach(f"webhook {type_}", "/".join(map(_escaped, parts)), body)

    def _breach(self, where: str, pointer: str, body: bytes) -> str | None:
        validator = self._validators.get(pointer)
        if validator is None:
            schema = {**self._root, "$ref": f"#/{quote(pointer)}"}
            validator = self._validators[pointer] = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
        try:
            value = json.loads(body)
        except ValueError:
            return f"{where} with a body that is no JSON"
        error = next(iter(validator.iter_errors(value)), None)
        # The message alone would repeat a buyer's contact into the page.
        return None if error is None else f"{where}: {_path(error.instance_path)} breaks {_path(error.schema_path)}"

    @cached_property
    def _root(self) -> dict[str, Any]:
        return {"$schema": "https://json-schema.org/draft/2020-12/schema", **self._document}


def _path(parts: Iterable[str | int]) -> str:
    return "/".join(map(str, parts)) or "the body"


def _escaped(part: str) -> str:
    return part.replace("~", "~0").replace("/", "~1")
