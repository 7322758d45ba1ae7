"""The pages that connect a source: their JSON is what the adapter takes, its settings are explained, all of them.

Commands and options are looked up by `test_code_blocks.py`.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from app.ports.registry import discover_sources

ROOT = Path(__file__).parents[2]
SOURCES = discover_sources()
CODES = ("moyklass", "bitrix24", "yookassa", "tbank")
PAGES = {code: (ROOT / "docs" / f"{code}.md").read_text(encoding="utf-8") for code in CODES}
BLOCK = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.S | re.M)
BLOCKS = [(code, language, body) for code, page in PAGES.items() for language, body in BLOCK.findall(page)]


def test_every_block_says_what_it_is() -> None:
    assert {language for _, language, _ in BLOCKS} == {"sh", "json"}


@pytest.mark.parametrize(("code", "body"), [(code, body) for code, language, body in BLOCKS if language == "json"])
def test_json_is_what_the_program_takes(code: str, body: str) -> None:
    """Settings as they stand, or within `settings` of the API; else what a shop writes into its payments."""
    found = json.loads(body)
    if code == "yookassa":
        table = re.findall(r"^\| (`[^|]*`) \|", PAGES[code], re.M)
        known = {name for first in table for name in re.findall(r"`(\w+)`", first)}
        assert set(found) <= known
        assert isinstance(json.loads(found["items"]), list)
        return
    SOURCES.get(code).Settings.model_validate(found.get("settings", found))


@pytest.mark.parametrize("code", ["moyklass", "yookassa", "tbank"])
def test_credentials_are_told_as_they_are_taken(code: str) -> None:
    (told,) = [one for one in re.findall(r"`(\{.*?\})`", PAGES[code]) if "…" in one or "shop_id" in one]
    given: dict[str, Any] = json.loads(told)
    SOURCES.get(code).Credentials.model_validate(given)
    assert set(given) == set(SOURCES.get(code).Credentials.model_fields)


@pytest.mark.parametrize("code", CODES)
def test_every_setting_of_the_adapter_is_explained(code: str) -> None:
    named = set(re.findall(r"\b[a-z][a-z0-9_]+\b", PAGES[code]))
    assert set(SOURCES.get(code).Settings.model_fields) <= named
