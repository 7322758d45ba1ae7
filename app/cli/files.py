"""Small files that must be whole or not be there: ready files, notes and secrets of a data folder."""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from app.cli.errors import Stop


def write_whole(path: Path, text: str) -> None:
    """Written beside and renamed, so that no reader sees half of it; readable by its owner only."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        fresh.replace(path)
    except OSError as error:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)
        raise Stop(f"{path} cannot be written: {error.strerror}.", 2) from None


def existing_folder(path: Path) -> Path:
    """The absolute folder, made when it is not there."""
    path.mkdir(parents=True, exist_ok=True)
    return path.resolve()


def remove(path: Path | None) -> None:
    """Take a file away if there is one."""
    if path is not None:
        path.unlink(missing_ok=True)


def write_json(path: Path, value: dict[str, Any]) -> None:
    write_whole(path, json.dumps(value, ensure_ascii=False, indent=1) + "\n")


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object; None when the file is not there. Stop when it is something else."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        raise Stop(f"{path} cannot be read; move it away and start again.") from None
    if not isinstance(found, dict):
        raise Stop(f"{path} is not what this program writes; move it away and start again.")
    return found
