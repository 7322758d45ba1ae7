"""Secrets at rest open only where they were put, with a key that is still there."""

import base64
from uuid import UUID, uuid4

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from app.infra.crypto import CannotOpen, KeysInvalid, SearchHasher, SecretBox, UnknownKey, aad, key_id_of

KEY = {number: base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2, 3)}
OLD, NEW = f"1:{KEY[1]}", f"2:{KEY[2]},1:{KEY[1]}"
BOX = SecretBox.parse(OLD)
WHERE = aad("kassas", "credentials", UUID(int=1), UUID(int=2))


@given(st.binary(max_size=300), st.binary(max_size=60))
def test_what_is_sealed_opens_in_its_place(plain, place):
    blob = BOX.seal(plain, place)
    assert BOX.open(blob, place) == plain
    assert len(blob) == len(plain) + 31
    assert key_id_of(blob) == 1
    assert BOX.seal(plain, place) != blob


@given(st.binary(max_size=100), st.data())
def test_no_single_byte_can_be_changed(plain, data):
    blob = BOX.seal(plain, WHERE)
    at = data.draw(st.integers(0, len(blob) - 1))
    flip = data.draw(st.integers(1, 255))
    changed = blob[:at] + bytes([blob[at] ^ flip]) + blob[at + 1 :]
    with pytest.raises(CannotOpen):
        BOX.open(changed, WHERE)


@given(st.binary(max_size=50), st.data())
def test_no_part_of_it_opens(plain, data):
    blob = BOX.seal(plain, WHERE)
    with pytest.raises(CannotOpen):
        BOX.open(blob[: data.draw(st.integers(0, len(blob) - 1))], WHERE)


@pytest.mark.parametrize(
    "place",
    [
        aad("sources", "credentials", UUID(int=1), UUID(int=2)),
        aad("kassas", "other", UUID(int=1), UUID(int=2)),
        aad("kassas", "credentials", UUID(int=9), UUID(int=2)),
        aad("kassas", "credentials", UUID(int=1), UUID(int=9)),
        b"",
    ],
)
def test_a_secret_copied_elsewhere_does_not_open(place):
    with pytest.raises(CannotOpen, match="another row"):
        BOX.open(BOX.seal(b"api secret", WHERE), place)


def test_the_format_is_stable():
    assert SecretBox.parse(f"258:{KEY[1]}").seal(b"x", WHERE)[:3] == b"\x01\x01\x02"
    nonce = bytes(range(12))
    stored = b"\x01" + b"\x00\x01" + nonce + AESGCM(bytes([1]) * 32).encrypt(nonce, b"api secret", WHERE)
    assert BOX.open(stored, WHERE) == b"api secret"
    for foreign in (b"", b"\x02" + stored[1:], stored[:30]):
        with pytest.raises(CannotOpen, match="not in the form"):
            key_id_of(foreign)


def test_the_place_is_named_exactly():
    merchant, row = UUID("019aafab-2e01-7aa0-8c11-d2e3f4a5b6c7"), UUID(int=2)
    assert aad("kassas", "credentials", merchant, row) == (
        b"crmkassa|kassas|credentials|019aafab-2e01-7aa0-8c11-d2e3f4a5b6c7|00000000-0000-0000-0000-000000000002"
    )


def test_the_first_key_encrypts_and_all_decrypt():
    old, new = SecretBox.parse(OLD), SecretBox.parse(NEW)
    blob = old.seal(b"secret", WHERE)
    assert new.open(blob, WHERE) == b"secret"
    assert (new.current_key_id, new.key_ids) == (2, frozenset({1, 2}))
    moved = new.reseal(blob, WHERE)
    assert key_id_of(moved) == 2
    assert new.open(moved, WHERE) == b"secret"
    assert new.reseal(moved, WHERE) is moved
    with pytest.raises(UnknownKey, match="put that key back") as caught:
        old.open(moved, WHERE)
    assert caught.value.key_id == 2


def test_resealing_proves_the_place_first():
    blob = SecretBox.parse(OLD).seal(b"secret", WHERE)
    with pytest.raises(CannotOpen):
        SecretBox.parse(NEW).reseal(blob, b"elsewhere")


def test_a_key_replaced_under_its_id_does_not_open():
    blob = SecretBox.parse(OLD).seal(b"secret", WHERE)
    with pytest.raises(CannotOpen):
        SecretBox.parse(f"1:{KEY[3]}").open(blob, WHERE)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " , ",
        KEY[1],
        f":{KEY[1]}",
        f"a:{KEY[1]}",
        f"0:{KEY[1]}",
        f"65536:{KEY[1]}",
        f"{'9' * 5000}:{KEY[1]}",
        f"٣:{KEY[1]}",
        "1:",
        "1:***",
        "1:" + base64.b64encode(b"x" * 31).decode(),
        "1:" + base64.b64encode(b"x" * 33).decode(),
        f"1:{KEY[1]},1:{KEY[2]}",
        f"2:{KEY[1]},1:{KEY[1]}",
    ],
)
def test_bad_keys_are_refused_in_one_sentence_without_showing_them(text):
    with pytest.raises(KeysInvalid) as caught:
        SecretBox.parse(text)
    assert "KASSA_SECRET_KEYS" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert KEY[1] not in str(caught.value)


def test_keys_may_be_written_with_spaces():
    assert SecretBox.parse(f" 2:{KEY[2]} ,\n1:{KEY[1]},").key_ids == frozenset({1, 2})


def test_a_generated_key_works_and_never_repeats():
    first, second = SecretBox.generate(), SecretBox.generate(7)
    assert SecretBox.parse(f"{second},{first}").current_key_id == 7
    assert SecretBox.generate() != first


def test_keys_do_not_show():
    box = SecretBox.parse(OLD)
    assert KEY[1] not in repr(box) + repr(vars(box))


class TestSearchHasher:
    merchant, other = uuid4(), uuid4()
    hasher = SearchHasher(bytes(range(32)))

    def test_the_hash_is_stable_over_restarts(self):
        merchant = UUID("019aafab-2e01-7aa0-8c11-d2e3f4a5b6c7")
        again = SearchHasher.parse(base64.b64encode(bytes(range(32))).decode())
        assert again.email(merchant, "anna@example.org") == self.hasher.email(merchant, "anna@example.org")
        assert self.hasher.email(merchant, "anna@example.org").hex() == "5bf4428e8340b2acc5886ad59d572085"
        assert self.hasher.phone(merchant, "+79990000000").hex() == "0c233c9ba1d3f6c16d2ace9f66f8b59e"
        assert self.hasher.phone_tail(merchant, "0000").hex() == "3e1fcb6d861ab7f4bf08815b8226e457"

    def test_letter_case_and_spaces_do_not_hide_a_buyer(self):
        found = self.hasher.email(self.merchant, " Anna@Example.org")
        assert found == self.hasher.email(self.merchant, "anna@example.org")

    def test_a_tail_is_found_by_the_phone_and_by_the_digits(self):
        assert self.hasher.phone_tail(self.merchant, "+7 (999) 000-12-34") == self.hasher.phone_tail(
            self.merchant, "1234"
        )
        with pytest.raises(ValueError, match="four digits"):
            self.hasher.phone_tail(self.merchant, "+1-23")

    @given(st.text(st.characters(codec="utf-8"), max_size=30))
    def test_merchants_kinds_and_keys_never_meet(self, value):
        hashes = [
            self.hasher.email(self.merchant, value),
            self.hasher.email(self.other, value),
            self.hasher.phone(self.merchant, value),
            self.hasher.phone(self.other, value),
            SearchHasher(bytes(32)).email(self.merchant, value),
        ]
        assert len(set(hashes)) == len(hashes)
        assert {len(found) for found in hashes} == {16}

    @pytest.mark.parametrize("text", ["", "***", "AAAA", KEY[1] + "AAAA"])
    def test_a_bad_key_is_refused_in_one_sentence(self, text):
        with pytest.raises(KeysInvalid, match="KASSA_SEARCH_KEY"):
            SearchHasher.parse(text)
        with pytest.raises(KeysInvalid, match="KASSA_SEARCH_KEY"):
            SearchHasher(b"short")

    def test_a_generated_key_works(self):
        assert SearchHasher.parse(SearchHasher.generate()).phone(self.merchant, "+79990000000")
