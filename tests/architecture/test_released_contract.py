"""The API's description against the one of the last release: whoever was built on that still works."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from app.main import openapi_document
from tests.support.contract_changes import breaking_changes

ROOT = Path(__file__).parents[2]
FILE = "openapi/openapi.json"


def git(folder: Path, *arguments: str) -> str | None:
    """What git says; None where it has nothing to say."""
    told = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    return told.stdout if told.returncode == 0 else None


def last_release(folder: Path) -> tuple[str, dict[str, Any]] | None:
    """The newest version tag behind what is checked out, and the description that it had; None before the first."""
    tag = git(folder, "describe", "--tags", "--abbrev=0", "--match", "v[0-9]*")
    text = None if tag is None else git(folder, "show", f"{tag.strip()}:{FILE}")
    return None if tag is None or text is None else (tag.strip(), json.loads(text))


def test_nothing_breaks_who_was_built_on_the_last_release() -> None:
    released = last_release(ROOT)
    if released is None:
        pytest.skip("nothing was released yet: no tag v*")
    tag, document = released
    found = breaking_changes(document, openapi_document())
    assert not found, f"since {tag}: " + "\n".join(found)


def test_a_release_is_found_by_its_tag(tmp_path: Path) -> None:
    """Else the test above would be skipped for ever."""
    document: dict[str, Any] = {"openapi": "3.1.0", "paths": {"/pets": {"get": {"operationId": "a", "responses": {}}}}}
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    assert git(tmp_path, "init", "--quiet") is not None
    assert last_release(tmp_path) is None
    file = tmp_path / FILE
    file.parent.mkdir()
    for version, paths in (("v0.1.0", document["paths"]), ("v0.2.0", {}), (None, document["paths"])):
        file.write_text(json.dumps(document | {"paths": paths}))
        assert git(tmp_path, "add", FILE) is not None
        assert git(tmp_path, *who, "commit", "--quiet", "--message", "x") is not None
        if version is not None:
            assert git(tmp_path, "tag", version) is not None
    found = last_release(tmp_path)
    assert found is not None
    assert (found[0], found[1]["paths"]) == ("v0.2.0", {})
    assert breaking_changes(document, found[1]) == ["GET /pets: is gone."]
