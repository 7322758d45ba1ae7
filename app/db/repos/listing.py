"""Reading a table newest first, page by page."""

from typing import Any

from sqlalchemy import Select, Table, tuple_

from app.db.repos.paging import Position


def newest(query: Select[Any], table: Table, before: Position | None, limit: int) -> Select[Any]:
    """Up to `limit` rows behind a position, by (created_at, id) descending."""
    if before is not None:
        query = query.where(tuple_(table.c.created_at, table.c.id) < tuple_(*before))
    return query.order_by(table.c.created_at.desc(), table.c.id.desc()).limit(limit)
