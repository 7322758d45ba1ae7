"""The page of a receipt as HTML: one file without a script, its style inside and named in the policy by its hash."""

import base64
import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Literal

import segno
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from app.domain.receipt_page import Page

Paper = Literal["58", "80", "a4"]
"""Width of the roll in millimetres, or a sheet."""

_FOLDER: Final = Path(__file__).parent / "templates"


@dataclass(frozen=True, slots=True)
class Drawn:
    """The document and the policy under which a browser may show it."""

    html: str
    policy: str


def draw(page: Page, paper: Paper, *, pdf: str | None = None) -> Drawn:
    """A page for this paper, readable on any screen. With `pdf`, a relative address, it offers other sizes too."""
    style, digest = _style(paper)
    html = (
        _environment()
        .get_template("receipt.html")
        .render(
            page=page,
            paper=paper,
            style=Markup(style),  # noqa: S704 - our own file
            code=None if page.qr is None else Markup(_code(page.qr)),  # noqa: S704 - drawn by segno from plain text
            sizes=pdf is not None,
            pdf=pdf,
        )
    )
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Drawn(html, policy)


def _code(text: str) -> str:
    """QR (tag 1196) as SVG, level M; its quiet zone of four modules is part of the picture."""
    code: str = segno.make(text, error="m", micro=False).svg_inline(
        border=4, omitsize=True, svgclass=None, lineclass=None, title="QR-код чека", light="#fff"
    )
    return code.replace("<svg ", '<svg role="img" shape-rendering="crispEdges" ', 1)


@cache
def _style(paper: Paper) -> tuple[str, str]:
    text = "".join((_FOLDER / name).read_text(encoding="utf-8") for name in ("receipt.css", f"paper-{paper}.css"))
    return text, base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@cache
def _environment() -> Environment:
    return Environment(loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined, auto_reload=False)
