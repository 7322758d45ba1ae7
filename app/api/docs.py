"""The API's documentation as a page of our own: it draws openapi.json and asks nothing of any other host."""

from pathlib import Path
from typing import Final

from fastapi import APIRouter, HTTPException, Response

router = APIRouter(include_in_schema=False)

_FOLDER = Path(__file__).parent / "static"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_MEDIA_TYPES: Final = {"docs.css": "text/css", "docs.js": "text/javascript"}


@router.get("/docs")
async def page() -> Response:
    """The page itself; its address has no slash at the end, so its parts are found beside it."""
    return _file("docs.html", "text/html")


@router.get("/docs/{name}")
async def part(name: str) -> Response:
    """Its script and its style."""
    if name not in _MEDIA_TYPES:
        raise HTTPException(404)
    return _file(name, _MEDIA_TYPES[name])


_read: dict[str, bytes] = {}


def _file(name: str, media_type: str) -> Response:
    if name not in _read:
        _read[name] = (_FOLDER / name).read_bytes()
    headers = {"Content-Security-Policy": _POLICY, "Cache-Control": "no-cache"}
    return Response(_read[name], headers=headers, media_type=media_type)
