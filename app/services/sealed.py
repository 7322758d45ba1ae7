"""Credentials on their way into the database: checked by the plug-in's own model, sealed, never told again."""

import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, SecretBytes, SecretStr, ValidationError
from pydantic_core import to_jsonable_python

from app.domain.errors import KassaError
from app.infra.crypto import SecretBox


class NotValid(KassaError):
    """Members of a request that a plug-in's model refuses; `errors` are told as they are, so they hold no values."""

    code = "validation-failed"


def checked(model: type[BaseModel], given: Mapping[str, Any], pointer: str) -> BaseModel:
    """The given members as the plug-in understands them; NotValid points to each one that is wrong.

    `pointer` is where the members stand in the request, such as `#/credentials`.
    """
    try:
        return model.model_validate(dict(given))
    except ValidationError as error:
        told = error.errors(include_url=False, include_context=False, include_input=False)
        raise NotValid(
            "Some members are not what this provider wants; GET /v1/providers shows the schema.",
            errors=[
                {
                    "pointer": "/".join((pointer, *(_escaped(part) for part in one["loc"]))),
                    "detail": one["msg"].removeprefix("Value error, "),
                    "code": one["type"],
                }
                for one in told
            ],
        ) from None


def plain(model: BaseModel) -> dict[str, Any]:
    """Members as JSON with secrets readable: only to be sealed."""
    found: dict[str, Any] = _open(model.model_dump(mode="python"))
    return found


def seal_json(box: SecretBox, value: Mapping[str, Any], aad: bytes) -> bytes:
    """A JSON object as the database keeps it."""
    return box.seal(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(), aad)


def has_secret(model: BaseModel) -> bool:
    """Whether any secret member is filled."""
    return any(_filled(value) for value in model.model_dump(mode="python").values())


def new_url_secret() -> str:
    """256 random bits that may stand in a path."""
    return secrets.token_urlsafe(32)


def hash_url_secret(secret: str) -> bytes:
    """What is stored of a path's secret. Full entropy, so no key and no slow hash is needed."""
    return hashlib.sha256(secret.encode()).digest()


def _open(value: Any) -> Any:
    match value:
        case SecretStr():
            return value.get_secret_value()
        case SecretBytes():
            return value.get_secret_value().decode()
        case Mapping():
            return {str(name): _open(member) for name, member in value.items()}
        case str() | bytes():
            return to_jsonable_python(value)
        case Sequence() | set() | frozenset():
            return [_open(member) for member in value]
        case _:
            return to_jsonable_python(value)


def _filled(value: Any) -> bool:
    match value:
        case SecretStr() | SecretBytes():
            return bool(value.get_secret_value())
        case Mapping():
            return any(_filled(member) for member in value.values())
        case list() | tuple():
            return any(_filled(member) for member in value)
        case _:
            return False


def _escaped(part: object) -> str:
    return str(part).replace("~", "~0").replace("/", "~1")
