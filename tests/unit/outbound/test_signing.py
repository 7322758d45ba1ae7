"""Our signatures against the published recipe and an independent implementation."""

import base64
import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from app.outbound.signing import new_secret, sign, verify

SECRET = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
PREVIOUS = "whsec_ZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXp7fH1+f4CBgoM="
ID = "msg_019aafab2f007c3d8e4f5a6b7c8d9e0f"
AT = 1795431600
BODY = (
    b'{"type":"receipt.fiscalized","timestamp":"2026-11-23T11:00:00.000000Z",'
    b'"data":{"receipt_id":"rcpt_019aafab2e017aa08c11d2e3f4a5b6c7","status":"fiscalized"}}'
)
WITH_SECRET = "v1,9f9iZQZU7uWwXMJYxGXJ9C+Hg+HIC/x9F/+ZHOSS5qM="
WITH_PREVIOUS = "v1,2XkocIM30N2LahENJMJlCkeFUaBCNMKsHE43DNVwWYg="
V1A = "v1a,MT5pERceErEmosyd3/1q21isAt8Gid90ExkDEkEv4QoYTMAU6J4CPPFTeT3vi6fy/QokDZuq0EkDsMLKn9EXAQ=="


def believed(signature: str, *, secrets=(SECRET,), body=BODY, now=AT, timestamp=str(AT), message_id=ID) -> bool:
    return verify(secrets, message_id, timestamp, signature, body, now)


def test_the_worked_example():
    assert len(BODY) == 155
    assert sign([SECRET], ID, AT, BODY) == WITH_SECRET
    assert sign([PREVIOUS], ID, AT, BODY) == WITH_PREVIOUS
    assert sign([SECRET, PREVIOUS], ID, AT, BODY) == f"{WITH_SECRET} {WITH_PREVIOUS}"


@pytest.mark.parametrize("order", [(SECRET, PREVIOUS), (PREVIOUS, SECRET)])
def test_during_a_rotation_both_receivers_believe(order):
    header = sign(order, ID, AT, BODY)
    assert believed(header, secrets=(SECRET,))
    assert believed(header, secrets=(PREVIOUS,))
    assert believed(WITH_PREVIOUS, secrets=order)


@pytest.mark.parametrize(
    "signature",
    [
        "",
        "v1",
        "v1,",
        "garbage " + WITH_SECRET.removeprefix("v1,"),
        WITH_PREVIOUS,
        WITH_SECRET[:-2],
        WITH_SECRET.replace("v1,", "v2,"),
        V1A,
        "v1,не подпись",
    ],
)
def test_what_does_not_match_is_not_believed(signature):
    assert not believed(signature)


def test_other_versions_in_the_list_are_passed_over():
    assert believed(f"{V1A} {WITH_SECRET}")
    assert believed(f"garbage {WITH_SECRET}")


def test_everything_is_signed():
    assert believed(WITH_SECRET)
    assert not believed(WITH_SECRET, body=BODY + b" ")
    assert not believed(WITH_SECRET, message_id=ID[:-1] + "0")
    assert not believed(WITH_SECRET, timestamp=str(AT + 1))
    assert not believed(WITH_SECRET, secrets=())


@pytest.mark.parametrize(("off", "fine"), [(300, True), (-300, True), (301, False), (-301, False)])
def test_a_timestamp_holds_for_five_minutes(off, fine):
    assert believed(WITH_SECRET, now=AT + off) is fine


@pytest.mark.parametrize("timestamp", ["", "now", "1795431600.0", " 1795431600", "-1", "٣", "9" * 5000])
def test_a_malformed_timestamp_is_not_believed(timestamp):
    assert not believed(WITH_SECRET, timestamp=timestamp)


def test_nothing_leaves_unsigned():
    with pytest.raises(ValueError, match="without a signing secret"):
        sign([], ID, AT, BODY)
    for secret in ("whsec_", "whsec_???", "whsec_AAAA", "whsec_" + base64.b64encode(b"x" * 65).decode()):
        with pytest.raises(ValueError, match="24 to 64 bytes") as caught:
            sign([secret], ID, AT, BODY)
        assert str(caught.value) == "A signing secret is whsec_ followed by the base64 of 24 to 64 bytes."


@pytest.mark.parametrize("message_id", ["", "msg.1"])
def test_an_id_that_would_blur_the_signed_text_is_refused(message_id):
    with pytest.raises(ValueError, match="full stop"):
        sign([SECRET], message_id, AT, BODY)


def test_new_secrets_have_32_random_bytes():
    first, second = new_secret(), new_secret()
    assert first != second
    assert len(base64.b64decode(first.removeprefix("whsec_"), validate=True)) == 32


@given(st.text(max_size=200), st.binary(min_size=24, max_size=64))
def test_an_independent_receiver_believes_us_and_we_believe_it(text, key):
    secret, now, body = "whsec_" + base64.b64encode(key).decode(), int(time.time()), text.encode("utf-8", "replace")
    headers = {"webhook-id": ID, "webhook-timestamp": str(now), "webhook-signature": sign([secret], ID, now, body)}
    oracle = Webhook(secret)
    oracle.verify(body, headers, json_parse=False)
    with pytest.raises(WebhookVerificationError):
        oracle.verify(body + b" ", headers, json_parse=False)
    theirs = oracle.sign(ID, datetime.fromtimestamp(now, UTC), body.decode())
    assert verify([secret], ID, str(now), theirs, body, now)
