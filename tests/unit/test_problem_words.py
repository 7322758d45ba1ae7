"""What a client is told of a body that does not fit: in words that say what to write instead."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from app.api import problems
from app.api.schemas.events import EventIn

BODY = {"type": "payment.succeeded", "external_id": "p-1", "amount": 19900}


@pytest.mark.parametrize(
    ("changed", "pointer", "code"),
    [
        ({"amount": 199.00}, "#/amount", "kopecks"),
        ({"amount": 199.50}, "#/amount", "kopecks"),
        ({"amount": "19900"}, "#/amount", "kopecks"),
        ({"amout": 19900}, "#/amout", "extra_forbidden"),
        ({"external_id": 1}, "#/external_id", "string_type"),
        ({"occurred_at": "2026-11-23T11:00:00"}, "#/occurred_at", "timezone_aware"),
    ],
)
def test_a_slip_is_told_with_its_mending_in_both_languages(changed: dict[str, Any], pointer: str, code: str) -> None:
    with pytest.raises(ValidationError) as wrong:
        EventIn.model_validate_json(json.dumps({**BODY, **changed}))
    found = [{**one, "loc": ("body", *one["loc"])} for one in wrong.value.errors()]
    answer = json.loads(problems.from_pydantic({"type": "http", "state": {}, "path": "/"}, found).body)
    (told,) = answer["errors"]
    assert (told["pointer"], told["code"]) == (pointer, code)
    assert told["detail"].endswith(".")
    assert told["detail_ru"].endswith(".")
