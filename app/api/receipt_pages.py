"""Receipts as pages: for the seller behind a key, for the buyer behind a link that nobody can guess."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response
from starlette.concurrency import run_in_threadpool

from app.api.answers import json_answer
from app.api.deps import ServicesDep, Tenant, tenant
from app.api.problems import documented
from app.api.receipt_html import Paper, draw
from app.api.receipt_pdf import render
from app.api.schemas.receipt_pages import RequisitesOut
from app.api.types import ReceiptId
from app.domain.errors import NotFound
from app.domain.receipt_page import absent
from app.domain.requisites import Group, Part
from app.infra.ids import public as public_id

router = APIRouter(prefix="/receipts", tags=["receipts"])
public = APIRouter(include_in_schema=False)

Reader = Annotated[Tenant, Depends(tenant("receipts:read"))]
PaperQuery = Annotated[Paper, Query(description="Width of the roll in millimetres, or `a4`.")]

_HTML: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The page, one file without scripts.",
        "content": {"text/html": {"schema": {"type": "string"}}},
    }
}
_PDF: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The file.",
        "content": {"application/pdf": {"schema": {"type": "string", "contentMediaType": "application/pdf"}}},
    }
}
_UNSEEN = {
    "Cache-Control": "private, no-cache",
    "X-Robots-Tag": "noindex, nofollow, noarchive",
    "Referrer-Policy": "no-referrer",
}
"""For whoever has the link, and nobody between or behind."""


_FRAMED_NOWHERE = "frame-ancestors 'none'"
"""A browser's own PDF viewer is a page with styles: a stricter policy would be its policy too."""


@router.get(
    "/{receipt_id}/view",
    operation_id="viewReceipt",
    summary="Read a receipt as a page",
    response_class=Response,
    responses=_HTML | documented("not-found", "validation-failed"),
)
async def view(receipt_id: ReceiptId, services: ServicesDep, who: Reader, paper: PaperQuery = "80") -> Response:
    """In Russian, with every requisite that the law wants; each carries `data-tag` and its value. It prints on a roll
    of 58 or 80 mm and on A4. A receipt that is not printed yet says so, and why."""
    page = await services.pages.page(who.merchant_id, receipt_id, masked=_masked(who))
    drawn = draw(page, paper)
    return Response(drawn.html, headers={"Content-Security-Policy": drawn.policy}, media_type="text/html")


@router.get(
    "/{receipt_id}/view.pdf",
    operation_id="viewReceiptPdf",
    summary="Read a receipt as PDF",
    response_class=Response,
    responses=_PDF | documented("not-found", "validation-failed"),
)
async def view_pdf(receipt_id: ReceiptId, services: ServicesDep, who: Reader, paper: PaperQuery = "80") -> Response:
    """The same page; on a roll it is as long as the receipt."""
    page = await services.pages.page(who.merchant_id, receipt_id, masked=_masked(who))
    return _pdf(await run_in_threadpool(render, page, paper))


@router.get(
    "/{receipt_id}/view.json",
    operation_id="viewReceiptRequisites",
    summary="Read a receipt's requisites with their tags",
    response_model=RequisitesOut,
    responses=documented("not-found"),
)
async def view_json(receipt_id: ReceiptId, services: ServicesDep, who: Reader) -> Response:
    """What the page shows, for programs: requisites by tag, structures with their parts."""
    page = await services.pages.page(who.merchant_id, receipt_id, masked=_masked(who))
    return json_answer(
        {
            "receipt_id": public_id("rcpt", receipt_id),
            "title": page.title,
            "printed": page.printed,
            "qr": page.qr,
            "requisites": [_told(part) for part in page.parts()],
            "notes": list(page.notes),
        }
    )


@public.get("/r/{token}")
async def shown(token: str, services: ServicesDep, paper: str = "80") -> Response:
    """A buyer's receipt. Whoever has no link learns nothing, not even whether there is one."""
    chosen = _paper(paper)
    try:
        page, status = await services.pages.public(token), 200
    except NotFound:
        page, status = absent(), 404
    drawn = draw(page, chosen, pdf=f"{token}/pdf" if page.printed else None)
    return Response(drawn.html, status, _UNSEEN | {"Content-Security-Policy": drawn.policy}, "text/html")


@public.get("/r/{token}/pdf")
async def shown_pdf(token: str, services: ServicesDep, paper: str = "80") -> Response:
    """The same as a file; of a receipt that is not printed there is none."""
    chosen = _paper(paper)
    try:
        page = await services.pages.public(token)
    except NotFound:
        page = absent()
    if not page.printed:
        drawn = draw(page, chosen)
        return Response(drawn.html, 404, _UNSEEN | {"Content-Security-Policy": drawn.policy}, "text/html")
    return _pdf(await run_in_threadpool(render, page, chosen), _UNSEEN)


def _pdf(file: bytes, headers: dict[str, str] | None = None) -> Response:
    named = {"Content-Disposition": 'inline; filename="receipt.pdf"', "Content-Security-Policy": _FRAMED_NOWHERE}
    return Response(file, headers=named | (headers or {}), media_type="application/pdf")


def _paper(asked: str) -> Paper:
    """What a link was cut or mangled to still shows the receipt."""
    return "58" if asked == "58" else "a4" if asked == "a4" else "80"


def _masked(who: Tenant) -> bool:
    return not who.principal.may("receipts:read_pii")


def _told(part: Part) -> dict[str, Any]:
    if isinstance(part, Group):
        inner = [_told(one) for one in part.parts]
        return {"tag": part.tag, "label": part.label, "text": None, "value": None, "link": None, "parts": inner}
    return {
        "tag": part.tag,
        "label": part.label,
        "text": part.text,
        "value": part.value,
        "link": part.link,
        "parts": [],
    }
