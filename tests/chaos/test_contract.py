"""The contract check passes what is documented and names what is not."""

import json

import pytest

from tests.chaos.contract import Contract

RECEIPT = "/v1/receipts/{receipt_id}"


@pytest.mark.parametrize(
    ("status", "content_type", "body", "told"),
    [
        (418, "application/problem+json", b"{}", "which is not documented"),
        (200, "text/html", b"<html>", "as 'text/html'"),
        (200, "application/json", b'{"id"', "no JSON"),
        (200, "application/json", b"{}", "breaks"),
        (500, "application/problem+json", b"{}", "nobody handled"),
    ],
)
def test_an_answer_outside_the_contract_is_named(status: int, content_type: str, body: bytes, told: str) -> None:
    contract = Contract()
    assert told in (contract.deviation("get", RECEIPT, status, content_type, body) or "")
    assert contract.checked == 1


def test_a_webhook_of_an_unknown_type_or_form_is_named() -> None:
    contract = Contract()
    assert "not documented" in (contract.message_deviation("receipt.eaten", b"{}") or "")
    assert "breaks" in (contract.message_deviation("receipt.fiscalized", b'{"type": 1}') or "")


def test_no_contact_of_a_buyer_comes_into_the_report() -> None:
    body = json.dumps({"id": {"email": "buyer@example.org"}}).encode()
    assert "buyer" not in (Contract().deviation("get", RECEIPT, 200, "application/json", body) or "")
