"""The same page in HTML and PDF: golden markup, nothing lost, nothing executed, the QR code readable."""

import base64
import hashlib
import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pypdfium2
import pytest
import zxingcpp

from app.api.receipt_html import Paper, draw
from app.api.receipt_pdf import render
from app.domain.qr import parse_qr
from app.domain.receipt_page import Page
from app.domain.requisites import Group, Part, values
from tests.support.printed import EVERYTHING, FISCAL, TOTAL, pages, printed, read_back

GOLDEN = Path(__file__).parent / "golden"
PAPERS: tuple[Paper, ...] = get_args(Paper)


@pytest.mark.parametrize("name", pages())
def test_markup_is_what_was_looked_at(name: str) -> None:
    """KASSA_WRITE_GOLDEN=1 writes it anew; look at it in a browser before you keep it."""
    html = draw(pages()[name], "80", pdf="token/pdf").html
    body = re.sub(r"<style>.*?</style>", "<style></style>", html, flags=re.DOTALL)
    file = GOLDEN / f"{name}.html"
    if os.environ.get("KASSA_WRITE_GOLDEN"):
        file.write_text(body, encoding="utf-8")
    assert body == file.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", pages())
@pytest.mark.parametrize("paper", PAPERS)
def test_every_requisite_reads_back_from_the_attributes(name: str, paper: Paper) -> None:
    page = pages()[name]
    assert sorted(read_back(draw(page, paper).html)) == sorted(values(page.parts()))


@pytest.mark.parametrize("paper", PAPERS)
def test_the_policy_names_the_style_and_allows_nothing_else(paper: Paper) -> None:
    drawn = draw(printed(), paper)
    (style,) = re.findall(r"<style>(.*?)</style>", drawn.html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in drawn.policy
    assert drawn.policy.startswith("default-src 'none'")
    assert not re.search(r"<script|\son\w+=|\sstyle=|<img|<link|url\(|@import", drawn.html)


def test_what_people_write_is_text_and_nothing_else() -> None:
    html = draw(printed(), "80").html
    assert "Кроссовки, модель &lt;42-EU&gt;" in html
    assert "<42-EU>" not in html


def _words(parts: Part) -> list[str]:
    if isinstance(parts, Group):
        return [parts.label, *(word for part in parts.parts for word in _words(part))]
    return [parts.label, parts.text] if parts.text else []


PLAIN_BY_PLACE = {"Продавец", "Признак расчета"}
"""Labels of what stands at the head, where it needs none."""


def _text(file: bytes) -> str:
    document = pypdfium2.PdfDocument(file)
    text = "".join(document[number].get_textpage().get_text_bounded() for number in range(len(document)))
    return re.sub(r"\s+", "", text)


@pytest.mark.parametrize("name", pages())
@pytest.mark.parametrize("paper", PAPERS)
def test_the_pdf_says_the_same(name: str, paper: Paper) -> None:
    page = pages()[name]
    file = render(page, paper)
    assert file == render(page, paper)
    found = _text(file)
    for part in page.parts():
        if isinstance(part, Group) and part.tag == 1059:
            continue
        for word in set(_words(part)) - PLAIN_BY_PLACE:
            assert re.sub(r"\s+", "", word).lower() in found.lower(), word
    for line in page.lines:
        for one in (line.name, line.amount, line.price, line.object, line.method, line.vat):
            assert re.sub(r"\s+", "", one.text) in found, one


@pytest.mark.parametrize("paper", PAPERS)
def test_the_pdfs_code_decodes_to_the_document(paper: Paper) -> None:
    document = pypdfium2.PdfDocument(render(printed(), paper))
    codes = [
        found.text
        for number in range(len(document))
        for found in zxingcpp.read_barcodes(document[number].render(scale=3).to_pil())
    ]
    (read,) = map(parse_qr, codes)
    assert (read.fn, read.fd, read.fpd) == (FISCAL.fn, FISCAL.fd, FISCAL.fpd)
    assert (read.total, read.operation, read.local_time) == (TOTAL, EVERYTHING.operation, FISCAL.local_time)


@pytest.mark.parametrize(("paper", "width"), [("58", 58), ("80", 80)])
def test_a_roll_is_as_long_as_the_receipt(paper: Paper, width: int) -> None:
    def size(page: Page) -> tuple[float, float]:
        document = pypdfium2.PdfDocument(render(page, paper))
        assert len(document) == 1
        measured: tuple[float, float] = document[0].get_size()
        return measured

    short, long = size(pages()["lesson"]), size(pages()["everything"])
    assert short[0] == long[0] == pytest.approx(width * 72 / 25.4)
    assert short[1] < long[1]


def test_signs_that_the_font_lacks_do_not_break_the_file() -> None:
    items = (replace(EVERYTHING.items[0], name="Занятие \U0001f600 中文 \x1d"), *EVERYTHING.items[1:])
    assert "Занятие???" in _text(render(printed(replace(EVERYTHING, items=items)), "58"))


def test_files_are_made_side_by_side() -> None:
    alone = render(printed(), "58")
    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(lambda _: render(printed(), "58"), range(8))) == {alone}
