"""Lists go page by page, newest first: a cursor says where the last page ended and which filters it belongs to."""

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Generic, TypeVar
from uuid import UUID

from fastapi import Depends, Query, Request
from pydantic import BaseModel, Field

from app.api.problems import Problem
from app.api.types import timestamp

Row = TypeVar("Row")
Item = TypeVar("Item")

Position = tuple[datetime, UUID]
"""Where a page ended: (created_at, id) of its last member."""

_VERSION = 1


class Page(BaseModel, Generic[Item]):
    """One page of a list."""

    data: list[Item]
    has_more: bool = Field(description="Whether another page follows.")
    next_cursor: str | None = Field(description="Give it back as `cursor` to read the next page; null on the last one.")


@dataclass(frozen=True, slots=True)
class Paging:
    """What the caller asked for: at most `limit` members after `after` (None: from the newest)."""

    limit: int
    after: Position | None
    filters: str

    @property
    def fetch(self) -> int:
        """One more than a page, to know whether another page follows."""
        return self.limit + 1

    def page(
        self, rows: Sequence[Row], convert: Callable[[Row], Item], position: Callable[[Row], Position]
    ) -> Page[Item]:
        """A page of up to `fetch` rows in list order; `position` tells a row's place."""
        shown = rows[: self.limit]
        more = len(rows) > self.limit
        return Page(
            data=[convert(row) for row in shown],
            has_more=more,
            next_cursor=_encode(position(shown[-1]), self.filters) if more else None,
        )


def paging(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=100, description="Members per page.")] = 20,
    cursor: Annotated[
        str | None, Query(max_length=512, description="`next_cursor` of the page before, with the same filters.")
    ] = None,
) -> Paging:
    """Dependency of every list."""
    given = sorted((k, v) for k, v in request.query_params.multi_items() if k not in ("limit", "cursor"))
    filters = hashlib.sha256(json.dumps([request.url.path, given]).encode()).hexdigest()[:8]
    return Paging(limit, None if cursor is None else _decode(cursor, filters), filters)


PageQuery = Annotated[Paging, Depends(paging)]


def _encode(position: Position, filters: str) -> str:
    at, row_id = position
    told = {"v": _VERSION, "k": [timestamp(at), str(row_id)], "d": "n", "f": filters}
    return base64.urlsafe_b64encode(json.dumps(told, separators=(",", ":")).encode()).decode().rstrip("=")


def _decode(cursor: str, filters: str) -> Position:
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        told = json.loads(raw)
        at, row_id = told["k"]
        position = datetime.fromisoformat(at).astimezone(UTC), UUID(row_id)
        good = told["v"] == _VERSION and told["d"] == "n" and "f" in told
    except (binascii.Error, ValueError, OverflowError, TypeError, KeyError, AttributeError):
        raise _refused("The cursor is not one that this API gave out.") from None
    if not good:
        raise _refused("The cursor is of another version of this API; begin again without it.")
    if told["f"] != filters:
        raise _refused("The cursor belongs to a list with other filters; begin again without it.")
    return position


def _refused(detail: str) -> Problem:
    return Problem(
        "invalid-cursor", detail, errors=[{"parameter": "cursor", "detail": detail, "code": "invalid_cursor"}]
    )
