"""The page of a receipt as PDF: on a roll one page exactly as long as the receipt, on A4 as many sheets as it takes.

The same `Page` as the HTML, drawn with the embedded PT Sans, so that it looks alike on every machine.
"""

import io
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

import segno
from reportlab.lib.pagesizes import A4
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas

from app.api.receipt_html import Paper
from app.domain.receipt_line import Line
from app.domain.receipt_page import Page
from app.domain.requisites import Group, Part, Requisite

_FONTS: Final = Path(__file__).parent / "fonts"
_REGULAR, _BOLD = "PTSans", "PTSans-Bold"
_LEADING = 1.24
_SOFT = 0.32
_INDENT = 2 * mm
_QR = 32 * mm
_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True, slots=True)
class _Sheet:
    """Page width, side margin, width of the printed column and size of the text, in points."""

    width: float
    margin: float
    column: float
    size: float
    height: float | None


_SHEETS: dict[Paper, _Sheet] = {
    "58": _Sheet(58 * mm, 5 * mm, 48 * mm, 7.5, None),
    "80": _Sheet(80 * mm, 4 * mm, 72 * mm, 9, None),
    "a4": _Sheet(A4[0], 42 * mm, A4[0] - 84 * mm, 10, A4[1]),
}


@dataclass(frozen=True, slots=True)
class _Block:
    """Something drawn as a whole: its height, and how it is drawn below a given top. A rule only parts two others."""

    height: float
    draw: Callable[[Any, float], None]
    is_rule: bool = False


def render(page: Page, paper: Paper) -> bytes:
    """The PDF file; the same page gives the same bytes. Blocks for some 50 ms: call it in a thread."""
    # The library keeps its fonts for the whole process; and files asked for in a crowd must not take every core.
    with _ONE_AT_A_TIME:
        return _render(page, paper)


def _render(page: Page, paper: Paper) -> bytes:
    sheet = _SHEETS[paper]
    blocks = list(_Painter(sheet).page(page))
    margin = sheet.margin if sheet.height is None else 18 * mm
    height = sheet.height or sum(block.height for block in blocks) + 2 * margin
    into = io.BytesIO()
    canvas = Canvas(into, pagesize=(sheet.width, height), invariant=1, lang="ru-RU", pageCompression=1)
    canvas.setTitle(page.title if page.operation is None else f"{page.title} · {page.operation.text}")
    canvas.setAuthor(_text(page.seller[0]))
    canvas.setCreator("CRM-Kassa")
    top = height - margin
    for block, after in zip_longest(blocks, blocks[1:]):
        needed = block.height + (after.height if block.is_rule and after is not None else 0)
        if top - needed < margin - 0.01 and top < height - margin:
            canvas.showPage()
            top = height - margin
            if block.is_rule:
                continue
        block.draw(canvas, top)
        top -= block.height
    canvas.save()
    return into.getvalue()


class _Painter:
    """Turns a page into blocks for one kind of paper."""

    def __init__(self, sheet: _Sheet) -> None:
        self._left = sheet.margin
        self._width = sheet.column
        self._size = sheet.size

    def page(self, page: Page) -> Iterator[_Block]:
        size = self._size
        first, *rest = page.seller
        yield self._centered(_text(first), size * 1.15, _BOLD)
        for part in rest:
            yield self._centered(f"{part.label} {_text(part)}", size * 0.92)
        yield _gap(size * 0.8)
        yield self._centered(page.title, size * 1.25, _BOLD)
        if page.operation is not None:
            yield self._centered(page.operation.text.upper(), size)
        if page.notice is not None:
            yield self._rule()
            yield self._centered(page.notice.title, size * 1.15, _BOLD)
            yield self._centered(page.notice.text, size)
            if page.notice.next_step:
                yield self._centered(f"Что делать: {page.notice.next_step}", size)
            if page.lines:
                yield self._centered("Черновик, не фискальный документ", size * 0.9, _BOLD)
        yield from self._section(page.document)
        yield from self._section(page.basis)
        if page.lines:
            yield self._rule()
        for number, line in enumerate(page.lines, start=1):
            yield from self._line(number, line)
        if page.total is not None:
            yield self._rule()
            yield self._pair(page.total.label, page.total.text, size * 1.5, _BOLD, dark=True)
            yield from self._parts(page.payments, size)
        for section in (page.vat, page.buyer, page.props, page.register, page.sites, page.related):
            yield from self._section(section)
        if page.qr is not None:
            yield self._rule()
            yield self._code(page.qr)
            yield self._centered("Проверить чек: приложение ФНС «Проверка чеков»", size * 0.85)
        if page.notes:
            yield self._rule()
        for note in page.notes:
            yield self._left_text(note, size * 0.85, _REGULAR, dark=False)

    def _section(self, parts: Sequence[Part]) -> Iterator[_Block]:
        if parts:
            yield self._rule()
            yield from self._parts(parts, self._size)

    def _parts(self, parts: Sequence[Part], size: float, indent: float = 0) -> Iterator[_Block]:
        for part in parts:
            match part:
                case Group(label="", parts=inner):
                    yield from self._parts(inner, size, indent)
                case Group(label=label, parts=inner):
                    yield self._left_text(label, size, _REGULAR, indent, dark=False)
                    yield from self._parts(inner, size, indent + _INDENT)
                case Requisite(label=label, text=text) if text:
                    yield self._pair(label, text, size, _REGULAR, indent)
                case _:
                    pass

    def _line(self, number: int, line: Line) -> Iterator[_Block]:
        size = self._size
        mark = "" if line.mark is None else f" {line.mark.text}"
        yield self._left_text(f"{number}. {line.name.text}{mark}", size, _BOLD)
        count = f"{line.quantity.text} {line.measure.text} × {line.price.text}"
        yield self._pair(count, line.amount.text, size, _BOLD, dark=True, plain_label=True)
        kind = f"{line.object.text} · {line.method.text}"
        if line.vat_amount is None:
            yield self._left_text(f"{kind} · {line.vat.text}", size * 0.88, _REGULAR, dark=False)
        else:
            yield self._left_text(kind, size * 0.88, _REGULAR, dark=False)
            yield self._pair(f"в том числе {line.vat.text}", line.vat_amount.text, size * 0.88, _REGULAR)
        yield from self._parts(line.details, size * 0.88)
        yield _gap(size * 0.6)

    def _pair(
        self,
        label: str,
        text: str,
        size: float,
        font: str,
        indent: float = 0,
        *,
        dark: bool = False,
        plain_label: bool = False,
    ) -> _Block:
        """A label on the left and its text on the right: beside it, or below it where both do not fit."""
        width = self._width - indent
        label_font = _REGULAR if plain_label else font
        gap = size * 0.8
        room = width - _measure(label, label_font, size) - gap
        longest = max(_measure(word, font, size) for word in text.split(" "))
        beside = room >= longest and room >= min(_measure(text, font, size), width * 0.45)
        labels = [_printable(label)] if beside else _wrap(label, label_font, size, width)
        texts = _wrap(text, font, size, room if beside else width)
        step = size * _LEADING
        rows = max(len(labels), len(texts)) if beside else len(labels) + len(texts)

        def draw(canvas: Any, top: float) -> None:
            base = top - size
            canvas.setFillGray(0 if dark else _SOFT)
            canvas.setFont(label_font, size)
            for row, one in enumerate(labels):
                canvas.drawString(self._left + indent, base - row * step, one)
            canvas.setFillGray(0)
            canvas.setFont(font, size)
            for row, one in enumerate(texts, start=0 if beside else len(labels)):
                canvas.drawRightString(self._left + self._width, base - row * step, one)

        return _Block(rows * step, draw)

    def _left_text(self, text: str, size: float, font: str, indent: float = 0, *, dark: bool = True) -> _Block:
        rows = _wrap(text, font, size, self._width - indent)
        step = size * _LEADING

        def draw(canvas: Any, top: float) -> None:
            canvas.setFillGray(0 if dark else _SOFT)
            canvas.setFont(font, size)
            for row, one in enumerate(rows):
                canvas.drawString(self._left + indent, top - size - row * step, one)

        return _Block(len(rows) * step, draw)

    def _centered(self, text: str, size: float, font: str = _REGULAR) -> _Block:
        rows = _wrap(text, font, size, self._width)
        step = size * _LEADING

        def draw(canvas: Any, top: float) -> None:
            canvas.setFillGray(0)
            canvas.setFont(font, size)
            for row, one in enumerate(rows):
                canvas.drawCentredString(self._left + self._width / 2, top - size - row * step, one)

        return _Block(len(rows) * step, draw)

    def _rule(self) -> _Block:
        height = self._size * 1.3

        def draw(canvas: Any, top: float) -> None:
            canvas.setStrokeGray(0.45)
            canvas.setLineWidth(0.5)
            canvas.setDash(2, 1.6)
            canvas.line(self._left, top - height / 2, self._left + self._width, top - height / 2)
            canvas.setDash()

        return _Block(height, draw, is_rule=True)

    def _code(self, text: str) -> _Block:
        """QR of 32 mm with its quiet zone; the law's least is 20 mm."""
        matrix = [bytes(row) for row in segno.make(text, error="m", micro=False).matrix_iter(border=4)]
        module = _QR / len(matrix)
        left = self._left + (self._width - _QR) / 2

        def draw(canvas: Any, top: float) -> None:
            canvas.setFillGray(0)
            path = canvas.beginPath()
            for y, row in enumerate(matrix, start=1):
                for x, dark in enumerate(row):
                    if dark:
                        path.rect(left + x * module, top - y * module, module, module)
            canvas.drawPath(path, stroke=0, fill=1)

        return _Block(_QR, draw)


def _gap(height: float) -> _Block:
    return _Block(height, lambda canvas, top: None)


def _text(part: Part) -> str:
    return part.text if isinstance(part, Requisite) else part.label


def _wrap(text: str, font: str, size: float, width: float) -> list[str]:
    """Lines that fit; a word longer than a line is broken where the line ends."""
    rows, row = [], ""
    for word in _printable(text).split(" "):
        tried = f"{row} {word}" if row else word
        if _measure(tried, font, size) <= width:
            row = tried
            continue
        if row:
            rows.append(row)
        row = word
        while len(row) > 1 and _measure(row, font, size) > width:
            end = next(n for n in range(len(row) - 1, 0, -1) if n == 1 or _measure(row[:n], font, size) <= width)
            rows.append(row[:end])
            row = row[end:]
    return [*rows, row]


def _measure(text: str, font: str, size: float) -> float:
    width: float = pdfmetrics.stringWidth(_printable(text), font, size)
    return width


def _printable(text: str) -> str:
    """What the font has no sign for becomes a question mark: better than a hole."""
    known = _register_fonts()
    return "".join(sign if ord(sign) in known else "?" for sign in text)


@cache
def _register_fonts() -> frozenset[int]:
    """Both fonts made known to the library once; the code points that they have."""
    found = []
    for name, file in ((_REGULAR, "PTSans-Regular.ttf"), (_BOLD, "PTSans-Bold.ttf")):
        font = TTFont(name, str(_FONTS / file))
        pdfmetrics.registerFont(font)
        found.append(frozenset(font.face.charToGlyph))
    return found[0] & found[1]
