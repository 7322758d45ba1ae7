"""Public ids and API keys."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.infra.ids import PREFIXES, hash_api_key, new_api_key, new_id, parse, public, well_formed


def test_ids_are_uuid7_in_the_order_of_their_making():
    made = [new_id() for _ in range(2000)]
    assert made == sorted(set(made))
    assert {type(one) for one in made} == {UUID}
    assert {one.version for one in made} == {7}
    told = datetime.fromtimestamp((made[-1].int >> 80) / 1000, UTC)
    assert abs(told - datetime.now(UTC)) < timedelta(seconds=30)


@given(st.uuids(), st.sampled_from(sorted(PREFIXES)))
def test_a_public_id_leads_back(value, prefix):
    text = public(prefix, value)
    assert parse(prefix, text) == value
    assert len(text) == len(prefix) + 33


@pytest.mark.parametrize(
    "text",
    [
        "",
        "rcpt",
        "rcpt_",
        "evt_019aafab2e017aa08c11d2e3f4a5b6c7",
        "rcpt_019aafab2e017aa08c11d2e3f4a5b6c",
        "rcpt_019aafab2e017aa08c11d2e3f4a5b6c70",
        "rcpt_019AAFAB2E017AA08C11D2E3F4A5B6C7",
        "rcpt_019aafab-2e01-7aa0-8c11-d2e3f4a5b6c7",
        "rcpt_{19aafab2e017aa08c11d2e3f4a5b6c7}",
        "rcpt_019aafab2e017aa08c11d2e3f4a5b6c7\n",
        "019aafab2e017aa08c11d2e3f4a5b6c7",
        " rcpt_019aafab2e017aa08c11d2e3f4a5b6c7",
        "rcpt_٠19aafab2e017aa08c11d2e3f4a5b6c7",
    ],
)
def test_anything_else_is_refused_saying_what_was_expected(text):
    with pytest.raises(ValueError, match="The id of a receipt is rcpt_ followed by 32 lower-case hex digits"):
        parse("rcpt", text)


def test_the_worked_api_key():
    key = "ck_test_" + "A" * 43 + "0ltHlP"
    assert well_formed(key)
    assert not well_formed(key[:-1] + "Q")
    assert not well_formed(key.replace("test", "live"))


@pytest.mark.parametrize("live", [True, False])
def test_new_keys_are_well_formed_and_never_repeat(live):
    keys = {new_api_key(live) for _ in range(50)}
    assert len(keys) == 50
    assert all(well_formed(key) and key.startswith("ck_live_" if live else "ck_test_") for key in keys)
    assert {len(key) for key in keys} == {57}


@given(st.data())
def test_a_typing_error_shows(data):
    key = new_api_key(live=True)
    at = data.draw(st.integers(8, len(key) - 1))
    typed = data.draw(st.sampled_from("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"))
    changed = key[:at] + typed + key[at + 1 :]
    assert well_formed(changed) is (changed == key)


@given(st.text(max_size=80))
def test_any_text_may_be_asked_about(text):
    assert not well_formed(text)


def test_a_stored_key_depends_on_the_pepper():
    key = new_api_key(live=False)
    assert len(hash_api_key(b"pepper", key)) == 32
    assert hash_api_key(b"pepper", key) == hash_api_key(b"pepper", key)
    assert hash_api_key(b"pepper", key) != hash_api_key(b"salt", key)
    assert hash_api_key(b"pepper", key) != hash_api_key(b"pepper", new_api_key(live=False))
