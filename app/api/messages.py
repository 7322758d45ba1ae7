"""The pull feed: every message of a merchant in commit order, for systems that cannot be called."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response
from pydantic import Field

from app.api.answers import json_answer
from app.api.deps import ServicesDep, Tenant, tenant
from app.api.problems import Problem, documented
from app.api.types import MessageId, ResponseModel, Timestamp
from app.services.reads import CursorInvalid

router = APIRouter(prefix="/messages", tags=["webhooks"])


class MessageOut(ResponseModel):
    """One message; the same id and the same bytes as its webhook."""

    id: MessageId = Field(description="The `webhook-id` of its deliveries: drop what you have seen.")
    type: str
    timestamp: Timestamp
    body: str = Field(description="The webhook's body exactly as it is posted: its UTF-8 bytes are what is signed.")


class MessageFeed(ResponseModel):
    """Messages behind a place in the feed, oldest first."""

    data: list[MessageOut]
    has_more: bool = Field(description="Whether more can be read at once.")
    next_cursor: str | None = Field(
        description="Give it as `after` next time, also when nothing came; null while the feed is empty."
    )


@router.get(
    "",
    response_model=MessageFeed,
    operation_id="listMessages",
    summary="Read messages in order",
    responses=documented("invalid-cursor", "not-found", "validation-failed"),
)
async def list_messages(
    services: ServicesDep,
    who: Annotated[Tenant, Depends(tenant("webhooks:read"))],
    after: Annotated[
        str | None, Query(max_length=64, description="`next_cursor` of the last answer; left out: from the beginning.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=100, description="Members per page.")] = 20,
) -> Response:
    """Ordered by commit: a message that is committed late is shown late, never skipped."""
    try:
        feed = await services.reads.messages_feed(who.merchant_id, after, limit)
    except CursorInvalid as wrong:
        detail = str(wrong)
        raise Problem(
            "invalid-cursor", detail, errors=[{"parameter": "after", "detail": detail, "code": "invalid_cursor"}]
        ) from None
    return json_answer({"data": feed.data, "has_more": feed.has_more, "next_cursor": feed.after})
