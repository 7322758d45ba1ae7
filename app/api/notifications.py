"""Notifications: what sources posted, and what came of it; refused and failed ones with their reason."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import Field

from app.api.deps import ServicesDep, Tenant, tenant
from app.api.pagination import Page, PageQuery
from app.api.problems import documented
from app.api.types import NotificationId, ResponseModel, SourceId, Timestamp
from app.services.notices import Notice

router = APIRouter(prefix="/notifications", tags=["sources"])

NoticeStatus = Literal["received", "processed", "ignored", "refused", "failed"]


class NotificationOut(ResponseModel):
    """One notice of a source."""

    id: NotificationId
    source_id: SourceId
    part: str = Field(description="Which of the source's addresses it came to.")
    status: NoticeStatus = Field(
        description="`received`: stored, not acted on yet (`note`: what it waits for); `processed`: its events are "
        "taken; `ignored`: it is about nothing that needs a receipt; `refused`: none of its events could be taken; "
        "`failed`: it cannot be read, a person should look."
    )
    note: str | None = Field(description="Why, or what was noticed; contacts are masked.")
    received_at: Timestamp
    finished_at: Timestamp | None


@router.get(
    "",
    operation_id="listNotifications",
    summary="List what sources posted, newest first",
    responses=documented("invalid-cursor", "validation-failed"),
)
async def list_notifications(
    services: ServicesDep,
    who: Annotated[Tenant, Depends(tenant("events:read"))],
    page: PageQuery,
    source: Annotated[SourceId | None, Query(description="Of this source only.")] = None,
    status: Annotated[list[NoticeStatus] | None, Query(max_length=5, description="In these states only.")] = None,
) -> Page[NotificationOut]:
    """A notice whose signature does not match is answered 401, counted in the metrics, and never stored."""
    found = await services.notices.page(
        who.merchant_id, page.after, page.fetch, source_id=source, status=tuple(status or ())
    )
    return page.page(found, _out, lambda one: (one.received_at, one.id))


def _out(notice: Notice) -> NotificationOut:
    return NotificationOut.model_validate({name: getattr(notice, name) for name in NotificationOut.model_fields})
