"""Whatever a driver, a service or a hold can say as a cause is in the catalogue: nobody reads a bare code."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import app
from app.domain.causes import CATALOGUE
from app.domain.explanation import MEANINGS, meaning
from app.domain.lifecycle import Status
from app.domain.plan import HeldReason

APP = Path(app.__file__).parent
OUTCOMES = {"Rejected": 0, "Unavailable": 0, "failure_json": 0, "_pause": 2, "_count": 2, "kassa_paused": 2}
"""What takes a cause, and as which argument."""
NAMED = {"Rejected": "cause", "Unavailable": "cause", "Unknown": "stuck"}
SWITCHES = {"switched_off"}
"""Not told as a cause: `lane_view` gives it the catalogue's name."""


def words(node: ast.expr) -> Iterator[str]:
    """String constants that an argument can come to, whatever the condition; not those of calls within it."""
    match node:
        case ast.Constant(value=str() as word):
            yield word
        case ast.IfExp(body=body, orelse=orelse):
            yield from words(body)
            yield from words(orelse)
        case ast.BoolOp(values=values):
            for value in values:
                yield from words(value)


def called(node: ast.Call) -> str:
    match node.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case _:
            return ""


def emitted(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = called(node)
            place = OUTCOMES.get(name)
            if place is not None and len(node.args) > place:
                yield from words(node.args[place])
            for keyword in node.keywords:
                if keyword.arg is not None and keyword.arg == NAMED.get(name):
                    yield from words(keyword.value)
        # A driver's tables: provider's word → our cause; a table with one of our causes holds nothing else.
        if isinstance(node, ast.Dict):
            found = [word for value in node.values for word in words(value)]
            if len(found) == len(node.values) and any(word in CATALOGUE for word in found):
                yield from found
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(one, ast.Name) and one.id == "cause" for one in targets):
                yield from words(node.value)


FILES = sorted(path for folder in ("kassas", "services", "queue", "worker") for path in (APP / folder).rglob("*.py"))
EMITTED = {
    (path.relative_to(APP).as_posix(), word) for path in FILES for word in emitted(ast.parse(path.read_text("utf-8")))
}


def test_the_search_finds_what_is_known_to_be_said() -> None:
    said = {word for _, word in EMITTED}
    assert len(said) >= 25
    assert {"register_failed", "not_printed", "credentials_refused", "accepted_too_long", "deadline_passed"} <= said
    assert {word for file, word in EMITTED if file.startswith("kassas/")} >= {"value_invalid", "payload_not_supported"}


@pytest.mark.parametrize(("file", "word"), sorted(EMITTED))
def test_every_cause_that_is_emitted_is_in_the_catalogue(file: str, word: str) -> None:
    assert word in CATALOGUE or word in SWITCHES, f"{file} says {word!r}, which nobody can read"


def test_every_hold_is_in_the_catalogue() -> None:
    assert {reason.value for reason in HeldReason} <= set(CATALOGUE)


def test_every_state_is_explained_in_both_languages() -> None:
    assert set(MEANINGS) == set(Status)
    for status, means in MEANINGS.items():
        for english in (means.what, means.next_step):
            assert english.isascii(), status
            assert english.endswith("."), status
        for russian in (means.what_ru, means.next_step_ru):
            assert any("а" <= letter <= "я" for letter in russian.lower()), status


def test_a_cause_says_who_acts_better_than_the_state() -> None:
    why = CATALOGUE["credentials_refused"]
    assert meaning(Status.QUEUED, why).who is why.who
    assert meaning(Status.QUEUED, None).who is None
    assert meaning(Status.FISCALIZED, why).who is None
