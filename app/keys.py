"""The installation's keys: from the settings, or, for a run on this machine alone, kept in the data folder."""

import base64
import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from app.infra.crypto import KeysInvalid, SearchHasher, SecretBox
from app.settings import Settings


class SettingInvalid(Exception):
    """A setting stops the program; the sentence names the variable and what to do."""


@dataclass(frozen=True, slots=True)
class Keys:
    """What seals, what searches, and what API keys are hashed with."""

    box: SecretBox
    hasher: SearchHasher
    pepper: bytes

    @classmethod
    def load(cls, settings: Settings, *, generate_in: Path | None) -> Self:
        """Keys from `KASSA_SECRET_KEYS`, `KASSA_SEARCH_KEY` and `KASSA_KEY_PEPPER`.

        With `generate_in` (embedded database) missing ones are made once and kept there, readable by the owner only;
        without it they must be set, because a second process with other keys could read nothing.
        """
        kept = _kept(generate_in) if generate_in is not None else {}
        values = {
            "KASSA_SECRET_KEYS": settings.secret_keys,
            "KASSA_SEARCH_KEY": settings.search_key,
            "KASSA_KEY_PEPPER": settings.key_pepper,
        }
        texts = {}
        for name, given in values.items():
            text = given.get_secret_value() if given is not None else kept.get(name)
            if not text:
                raise SettingInvalid(
                    f"{name} is not set: with KASSA_DATABASE_URL all processes must share the same keys; "
                    "`crm-kassa key generate` prints a set."
                )
            texts[name] = text
        try:
            return cls(
                SecretBox.parse(texts["KASSA_SECRET_KEYS"]),
                SearchHasher.parse(texts["KASSA_SEARCH_KEY"]),
                _pepper(texts["KASSA_KEY_PEPPER"]),
            )
        except KeysInvalid as wrong:
            raise SettingInvalid(str(wrong)) from None


def generate() -> dict[str, str]:
    """A fresh set, by variable name."""
    return {
        "KASSA_SECRET_KEYS": SecretBox.generate(),
        "KASSA_SEARCH_KEY": SearchHasher.generate(),
        "KASSA_KEY_PEPPER": base64.b64encode(secrets.token_bytes(32)).decode(),
    }


def _kept(folder: Path) -> dict[str, str]:
    path = folder / "keys.json"
    if path.exists():
        stored: dict[str, str] = json.loads(path.read_text())
        return stored
    made = generate()
    # Renamed when it is whole: half a file would stop every later start.
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    fresh.touch(mode=0o600)
    fresh.write_text(json.dumps(made, indent=1))
    fresh.replace(path)
    return made


def _pepper(text: str) -> bytes:
    try:
        pepper = base64.b64decode(text, validate=True)
    except ValueError:
        pepper = b""
    if len(pepper) < 32:
        raise SettingInvalid(
            "KASSA_KEY_PEPPER is not base64 of at least 32 bytes; `crm-kassa key generate` prints one."
        )
    return pepper
