"""The merchant's system: takes webhooks on a real port, verifies them with an independent library, answers as told."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import standardwebhooks
from fastapi import FastAPI, Request, Response

from tests.support.server import serve


@dataclass
class Sink:
    """What arrived, in order, and with which statuses the next posts are answered (200 when the list is empty)."""

    url: str = ""
    answers: list[int] = field(default_factory=list)
    posts: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    def verified(self, secret: str) -> list[dict[str, Any]]:
        """Every post, opened with the PyPI package `standardwebhooks`; raises for one that does not verify."""
        opener = standardwebhooks.Webhook(secret)
        return [opener.verify(body, headers) for headers, body in self.posts]


@asynccontextmanager
async def open_sink() -> AsyncIterator[Sink]:
    sink = Sink()
    app = FastAPI()

    @app.post("/hook")
    async def hook(request: Request) -> Response:
        sink.posts.append((dict(request.headers), await request.body()))
        return Response(status_code=sink.answers.pop(0) if sink.answers else 200)

    async with serve(app) as url:
        sink.url = f"{url}/hook"
        yield sink
