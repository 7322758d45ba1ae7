"""What a receipt costs a job of a peer: a POST to the provider, a row, a signed POST to the shop, a row.

The HTTP client, the signature and the size of the bodies are those of the program.
"""

import base64
import contextlib
import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import asyncpg
import httpx

from app.infra.dsn import Dsn
from app.infra.egress import EgressPolicy
from app.infra.http import open_http
from app.outbound.sender import Delivered, send
from benchmarks.body import template

CONCURRENCY = 100
TABLE = """
CREATE TABLE IF NOT EXISTS receipts_made (
  id text PRIMARY KEY, status text NOT NULL DEFAULT 'queued', fiscal jsonb, told_at timestamptz
)
"""
_BODY = template("")
_SECRET = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


class Posts:
    """Both calls with what is stored of each."""

    def __init__(self, http: httpx.AsyncClient, pool: Any, sink: str) -> None:
        self._http, self._pool, self._sink = http, pool, sink

    async def prepare(self, ids: list[str]) -> None:
        """A row for each receipt that will be made."""
        await self._pool.execute("INSERT INTO receipts_made (id) SELECT unnest($1::text[])", ids)

    async def make(self, receipt_id: str) -> None:
        """Provider, row, shop, row. RuntimeError when either does not take it."""
        answer = await self._http.post(
            f"{self._sink}/v2.1/c_groups/4321/receipts/{receipt_id}",
            content=(_BODY.before + receipt_id + _BODY.after).encode(),
            headers={"Content-Type": "application/json", "Accept": "application/json"},
            auth=httpx.BasicAuth("1", "t"),
        )
        if answer.status_code != 201:
            raise RuntimeError(f"the provider answered {answer.status_code}")
        await self._pool.execute(
            "UPDATE receipts_made SET status = 'fiscalized', fiscal = $2 WHERE id = $1", receipt_id, answer.text
        )
        body = (_BODY.before + receipt_id + _BODY.after).encode()
        result = await send(self._http, f"{self._sink}/hook", f"msg_{receipt_id}", body, [_SECRET], datetime.now(UTC))
        if not isinstance(result, Delivered):
            raise RuntimeError("the shop did not take it")
        await self._pool.execute("UPDATE receipts_made SET told_at = now() WHERE id = $1", receipt_id)

    async def finished(self) -> int:
        """How many were made and told; the table begins anew."""
        found: int = await self._pool.fetchval(
            "SELECT count(*) FROM receipts_made WHERE status = 'fiscalized' AND told_at IS NOT NULL"
        )
        await self._pool.execute("TRUNCATE receipts_made")
        return found


@contextlib.asynccontextmanager
async def open_posts(url: str, sink: str) -> AsyncIterator[Posts]:
    """Client and pool for a process's whole life."""
    dsn = Dsn.parse(url)
    async with (
        open_http(EgressPolicy.parse("127.0.0.0/8"), limit=CONCURRENCY) as http,
        asyncpg.create_pool(dsn.asyncpg_dsn, min_size=10, max_size=10, **dsn.connect_kwargs) as pool,
    ):
        await pool.execute(TABLE)
        yield Posts(http.client(), pool, sink)


def new_ids(number: int) -> list[str]:
    """Ids as the provider takes them, never used before."""
    run = secrets.token_hex(6)
    return [f"{run}{index:012d}" for index in range(number)]
