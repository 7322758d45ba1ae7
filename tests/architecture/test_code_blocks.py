"""Code on the pages: what is not run (by `tests/e2e`: `test_walks.py`, `test_readme.py`, …) is looked up.

A command has to exist with each of its options, a path in the contract, a setting in `.env.example`, a target in the
Makefile, a test in the tree; JSON has to be JSON. SQL and PgBouncer's settings are those of `tests/crash` and
`tests/integration/test_pooler.py`, pictures are only looked at.
"""

import json
import re
import shlex
from functools import cache
from pathlib import Path

import pytest
from typer.main import get_command

from app.cli.root import app

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "README.ru.md", *(ROOT / "docs").rglob("*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
BLOCKS = [
    pytest.param(
        found[1], found[2], id=f"{page.relative_to(ROOT)}:{page.read_text()[: found.start()].count(chr(10)) + 1}"
    )
    for page in PAGES
    for found in FENCE.finditer(page.read_text(encoding="utf-8"))
]

PATH = re.compile(r"""(?:\$\w+|https?://[\w.:]+)(/v1/[^\s"'?]*)""")
CALL = re.compile(r"^(GET|POST|PUT|PATCH|DELETE) (/v1/[^\s?]*)", re.MULTILINE)
SETTING = re.compile(r"\b(KASSA_[A-Z_]+)=")
OF_THE_READER = {"KASSA_API", "KASSA_KEY", "KASSA_URL"}
"""Variables of the examples, not of the program."""


@cache
def paths() -> list[re.Pattern[str]]:
    document = json.loads((ROOT / "openapi" / "openapi.json").read_text())
    return [re.compile(re.sub(r"\{[^}]+\}", r"[^/]+", path)) for path in document["paths"]]


def known(path: str) -> bool:
    return any(one.fullmatch(path.rstrip("/")) for one in paths())


def commands(code: str) -> list[list[str]]:
    """The words of each `crm-kassa …`, without what the shell does with it."""
    joined = code.replace("\\\n", " ")
    found = []
    for line in joined.splitlines():
        for piece in re.findall(r"(?:^|\$\(|\| )crm-kassa ([^|)>;]*)", line.split("  #")[0].strip()):
            found.append(shlex.split(re.sub(r"<<.*|[…\"]", "", piece)))
    return found


def judge_command(words: list[str]) -> None:
    """Follows the words down to a command, and every option must be one of its own."""
    command = get_command(app)
    while words and not words[0].startswith("-") and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]  # type: ignore[attr-defined]
    assert not getattr(command, "commands", {}), f"crm-kassa has no {words}"
    options = {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
    for word in words:
        if word.startswith("--"):
            assert word.partition("=")[0] in options, f"{command.name} has no {word}"


@pytest.mark.parametrize(("language", "code"), BLOCKS)
def test_a_block_says_what_is_there(language: str, code: str) -> None:
    if language == "json":
        json.loads(code)
        return
    for words in commands(code):
        judge_command(words)
    for path in [*PATH.findall(code), *(path for _, path in CALL.findall(code))]:
        assert known(re.sub(r"\$\w+|\{[^}]*\}", "x", path)), f"no such path: {path}"
    settings = (ROOT / ".env.example").read_text()
    for name in set(SETTING.findall(code)) - OF_THE_READER:
        assert f"{name}=" in settings, f"no such setting: {name}"
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make ([a-z-]+)", code, re.MULTILINE):
        assert f"\n{target}:" in makefile, f"no such target: {target}"
    for path in re.findall(r"\btests/[\w/]+\.py", code):
        assert (ROOT / path).exists(), f"no such test: {path}"


def test_the_pages_have_code_and_a_wrong_command_is_seen() -> None:
    assert len(BLOCKS) > 40
    with pytest.raises(AssertionError, match="has no --nowhere"):
        judge_command(commands("crm-kassa kassa check kas_1 --nowhere")[0])
    with pytest.raises(AssertionError, match="has no"):
        judge_command(commands("crm-kassa kassa add")[0])
    assert not known("/v1/receipts/x/resolved")
