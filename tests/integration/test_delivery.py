"""Messages reach the merchant's system: signed, and repeated under one id with the same bytes."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import standardwebhooks

from tests.support import rows
from tests.support.sink import Sink, open_sink
from tests.support.world import World, open_world


@pytest.fixture
async def world(database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(database_url, tmp_path) as found:
        yield found


@pytest.fixture
async def sink() -> AsyncIterator[Sink]:
    async with open_sink() as found:
        yield found


async def endpoint(world: World, sink: Sink, *types: str) -> tuple[object, str]:
    made = await world.runtime.services.endpoints.create(
        "test", world.merchant_id, url=sink.url, types=list(types or ("receipt.*",))
    )
    assert made.secret is not None
    return made.endpoint.id, made.secret


async def test_the_end_of_a_receipt_is_told_signed(world: World, sink: Sink) -> None:
    _, secret = await endpoint(world, sink)
    event = await world.pay()
    async with world.working():
        row = await world.status(event, "fiscalized")
        await world.idle()
    (message,) = sink.verified(secret)
    assert message["type"] == "receipt.fiscalized"
    assert message["data"]["receipt"]["fiscal"]["fd"] == row.fd
    assert message["data"]["receipt"]["sequence"] == 1
    assert "anna@example.org" not in json.dumps(message), "the buyer's contact is masked"


async def test_a_failed_post_is_repeated_under_the_same_id_with_the_same_bytes(world: World, sink: Sink) -> None:
    _, secret = await endpoint(world, sink)
    sink.answers = [500, 302]
    event = await world.pay()
    async with world.working():
        await world.status(event, "fiscalized")
        for posts in (1, 2, 3):
            await world.until(lambda posts=posts: _posts(sink, posts))
            await rows.due_now(world.runtime.database)
        await world.idle()
    assert len({headers["webhook-id"] for headers, _ in sink.posts}) == 1
    assert len({body for _, body in sink.posts}) == 1
    assert len(sink.verified(secret)) == 3
    log = "SELECT string_agg(outcome, ',' ORDER BY at) FROM deliveries"
    assert await rows.scalar(world.runtime.database, log) == "failed,failed,delivered"


async def test_while_a_secret_changes_both_verify(world: World, sink: Sink) -> None:
    endpoint_id, old = await endpoint(world, sink)
    made = await world.runtime.services.endpoints.rotate_secret("test", world.merchant_id, endpoint_id)  # type: ignore[arg-type]
    assert made.secret is not None
    event = await world.pay()
    async with world.working():
        await world.status(event, "fiscalized")
        await world.idle()
    assert sink.verified(old) == sink.verified(made.secret)
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        sink.verified("whsec_" + "A" * 44)


async def test_410_switches_the_endpoint_off_and_says_so(world: World, sink: Sink) -> None:
    await endpoint(world, sink)
    sink.answers = [410]
    async with open_sink() as other:
        _, secret = await endpoint(world, other, "*")
        event = await world.pay()
        async with world.working():
            await world.status(event, "fiscalized")
            await world.idle()
        told = [message["type"] for message in other.verified(secret)]
    assert sorted(told) == ["endpoint.disabled", "receipt.fiscalized"]
    assert len(sink.posts) == 1
    off = "SELECT count(*) FROM webhook_endpoints WHERE status = 'disabled' AND disabled_reason = 'gone'"
    assert await rows.scalar(world.runtime.database, off) == 1


async def test_a_silent_endpoint_does_not_hold_up_another(world: World, sink: Sink) -> None:
    _, secret = await endpoint(world, sink)
    sink_down = Sink(url="http://127.0.0.1:9/hook")
    await endpoint(world, sink_down)
    event = await world.pay()
    async with world.working():
        await world.status(event, "fiscalized")
        await world.until(lambda: _posts(sink, 1))
    assert sink.verified(secret)[0]["type"] == "receipt.fiscalized"


async def test_the_pull_feed_has_the_same_ids_and_bytes(world: World, sink: Sink) -> None:
    _, _ = await endpoint(world, sink)
    for _ in range(3):
        await world.pay()
    async with world.working():
        await world.until(lambda: _posts(sink, 3))
        await world.idle()
    feed = await world.runtime.services.reads.messages_feed(world.merchant_id, after=None, limit=10)
    pulled = {one["id"]: one["body"] for one in feed.data}
    assert pulled == {headers["webhook-id"]: body.decode() for headers, body in sink.posts}


async def _posts(sink: Sink, number: int) -> bool:
    return len(sink.posts) >= number
