"""The page about providers is what the drivers declare, and nothing that a driver declares is left out of it."""

import importlib
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Field, SecretStr

from app.domain.decide import LookupClass
from app.domain.ffd import FfdVersion, Operation
from app.ports.kassa import Capabilities
from app.ports.registry import discover_kassas
from app.services.provider_docs import markdown, windows

PAGE = Path(__file__).parents[2] / "docs" / "providers.md"
DRIVER = importlib.import_module("app.kassas.digitalkassa").PLUGIN
A, B, C, D = LookupClass


def test_the_page_is_printed_from_the_drivers() -> None:
    assert PAGE.read_text(encoding="utf-8") == markdown(discover_kassas()), "write it anew: crm-kassa docs --out docs"


def _declaring(**changes: Any) -> str:
    class Other(DRIVER):  # type: ignore[misc, valid-type]
        capabilities = replace(DRIVER.capabilities, **changes)

    return markdown([Other()])


OTHERWISE: dict[str, Any] = {
    "ffd": frozenset({FfdVersion.V1_1}),
    "operations": frozenset({Operation.SELL}),
    "corrections": frozenset(),
    "dedup_seconds": 3600,
    "lookup_seconds": 86_400,
    "visibility_seconds": 61,
    "max_items": 99,
    "quantity_decimals": 6,
    "callbacks": False,
    "marking": False,
    "agents": False,
    "additional_receipt_prop": True,
    "max_in_flight": 7,
    "requests_per_second": 2.5,
    "wire_seconds": 11,
    "poll_schedule_seconds": (3,),
    "carries": frozenset({1192}),
    "carries_105": frozenset({1192}),
    "notes": ("Something else.",),
}


@pytest.mark.parametrize("name", [field.name for field in fields(Capabilities)])
def test_every_declaration_is_on_the_page(name: str) -> None:
    assert _declaring(**{name: OTHERWISE[name]}) != markdown([DRIVER()])


@pytest.mark.parametrize(
    ("dedup", "lookup", "wanted", "told"),
    [
        (None, None, [(0, A)], "A, for good"),
        (0, 0, [(0, D)], "D, for good"),
        (None, 0, [(0, C)], "C, for good"),
        (0, None, [(0, B)], "B, for good"),
        (3600, None, [(0, A), (3600, B)], "A until 1 h after the first send, then B"),
        (3600, 0, [(0, C), (3600, D)], "C until 1 h after the first send, then D"),
        (3600, 86_400, [(0, A), (3600, B), (86_400, D)], "A until 1 h, B until 24 h after the first send, then D"),
        (2_764_800, 0, [(0, C), (2_764_800, D)], "C until 32 days after the first send, then D"),
        (90, 90, [(0, A), (90, D)], "A until 90 s after the first send, then D"),
    ],
)
def test_windows_and_classes(dedup: float | None, lookup: float | None, wanted: list[Any], told: str) -> None:
    page = _declaring(dedup_seconds=dedup, lookup_seconds=lookup)
    assert windows(replace(DRIVER.capabilities, dedup_seconds=dedup, lookup_seconds=lookup)) == wanted
    assert f"| class of an unknown outcome | {told} |" in page
    assert f"| {' → '.join(cls.value for _, cls in wanted)} |" in page


def test_credentials_are_told_without_their_defaults() -> None:
    class Secrets(BaseModel):
        login: str = Field(title="Логин | имя")
        password: SecretStr = SecretStr("not-for-a-page")
        group: int | None = None

    class Other(DRIVER):  # type: ignore[misc, valid-type]
        Credentials = Secrets

    page = markdown([Other()])
    assert "| `login` | Логин \\| имя | string | no | yes |" in page
    assert "| `password` | Password | string | yes | no |" in page
    assert "| `group` | Group | integer | no | no |" in page
    assert "not-for-a-page" not in page
