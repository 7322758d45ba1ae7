"""What simulated acquirers have in common: a notice is posted again until the answer is the one that they take."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
from pydantic import BaseModel, ConfigDict, Field

from app.simulator.simulator import Simulator


class Repeats(BaseModel):
    """How often a notice is sent: `repeat` times over, each until accepted or `attempts` times."""

    model_config = ConfigDict(extra="forbid")

    repeat: int = Field(default=1, ge=1, le=100)
    attempts: int = Field(default=3, ge=1, le=100)
    retry_seconds: float = Field(default=0.2, ge=0, le=60)
    at_once: bool = Field(default=False, description="Send the repeats all at the same time.")


Post = Callable[[], Awaitable[httpx.Response]]
"""Sends the notice once."""


async def deliver(post: Post, repeats: Repeats, accepted: Callable[[httpx.Response], bool]) -> list[dict[str, Any]]:
    """Every answer, in the order of deliveries."""

    async def once(delivery: int) -> list[dict[str, Any]]:
        answers: list[dict[str, Any]] = []
        for attempt in range(1, repeats.attempts + 1):
            if attempt > 1:
                await asyncio.sleep(repeats.retry_seconds)
            told = await _told(post, accepted)
            answers.append({"delivery": delivery, "attempt": attempt} | told)
            if told["accepted"]:
                break
        return answers

    numbers = range(1, repeats.repeat + 1)
    if repeats.at_once:
        found = await asyncio.gather(*(once(number) for number in numbers))
    else:
        found = [await once(number) for number in numbers]
    return [answer for answers in found for answer in answers]


def json_to(simulator: Simulator, url: str, body: bytes) -> Post:
    """A notice as JSON."""

    def post() -> Awaitable[httpx.Response]:
        return simulator.http.post(url, content=body, headers={"Content-Type": "application/json"})

    return post


async def _told(post: Post, accepted: Callable[[httpx.Response], bool]) -> dict[str, Any]:
    try:
        answer = await post()
    except httpx.HTTPError as error:
        return {"status": None, "body": type(error).__name__, "accepted": False}
    return {"status": answer.status_code, "body": answer.text, "accepted": accepted(answer)}
