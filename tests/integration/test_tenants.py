"""One merchant never meets another: every place where an id is given, every list, and the database's own wall behind.

Who may call what at all is `test_tenant_matrix.py`.
"""

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from sqlalchemy import text

from app.db.tables import TENANT_TABLES, metadata
from app.infra.ids import new_id, parse, public
from tests.support.forgetful import forgetting_merchants
from tests.support.town import (
    A_POSITION,
    BY_HAND,
    SALE,
    WALLED,
    Town,
    open_town,
    operations,
    places,
    request,
)

both_walls = pytest.mark.parametrize(
    "town", [True, False], ids=["both walls", "the database's wall alone"], indirect=True
)
"""With the application's own filter, and with reads that have forgotten it: the outcome is the same."""


@pytest.fixture
async def town(request: pytest.FixtureRequest, database_url: str, tmp_path: Path) -> AsyncIterator[Town]:
    async with open_town(database_url, tmp_path) as found:
        if getattr(request, "param", True):
            yield found
        else:
            with forgetting_merchants(found.world.runtime.database.engine) as forgetful:
                yield found
            assert forgetful.forgotten, "no statement had a filter to forget"


def told(answer: httpx.Response, given: str) -> tuple[int, str, list[tuple[str, str]]]:
    """What an answer says, without what every answer has of its own: request id, new ids, times."""
    content = answer.text.replace(given, "<given>").replace(answer.headers["x-request-id"], "<request>")
    content = re.sub(r'"\d{4}-\d\d-\d\dT[^"]*Z"', '"<time>"', content)
    headers = sorted((k, v) for k, v in answer.headers.items() if k not in ("x-request-id", "location", "etag"))
    if answer.is_success and answer.status_code != 200:
        content = re.sub(r"\b([a-z]+)_[0-9a-f]{32}\b", r"\1_<new>", content)
    return answer.status_code, content, headers


@both_walls
async def test_every_route_keeps_a_strangers_things_unfindable(town: Town) -> None:
    """Another merchant's id is answered to the byte as one that never existed, and touches nothing."""
    found = places(town.app)
    assert len({one.operation for one in found if one.part == "path"}) >= 25
    in_paths = {name for _, path, _ in operations(town.app) for name in re.findall(r"\{(\w+)\}", path)}
    assert {one.name for one in found if one.part == "path"} == in_paths - {"code"}, "a path takes an id of no kind"
    before, foreign = await town.print_of(town.mine), await town.ids_of(town.mine)
    for place in found:
        theirs, missing = town.mine.things[place.prefix], public(place.prefix, new_id())  # type: ignore[arg-type]
        answers = []
        for given in (theirs, missing):
            answer = await town.other.http.request(**request(place, town.other, given))
            shown = told(answer, given)
            assert answer.status_code in (200, 201, 202, 404, 422), f"{place}: {answer.text}"
            assert not [one for one in foreign if one in shown[1]], f"{place} names what is another's"
            answers.append(shown)
        if (place.operation, place.name) not in A_POSITION:
            assert answers[0] == answers[1], f"{place} tells a stranger's from a missing one"
        if place.part == "path" or place.name == "merchant_id":
            assert answers[0][0] == 404, f"{place}: {answers[0][1]}"
            assert json.loads(answers[0][1])["code"] == "not_found", place
    assert await town.print_of(town.mine) == before


async def test_the_same_requests_do_something_for_the_owner(town: Town) -> None:
    """Else the matrix would prove nothing: each of its requests gets past the place where a stranger stops."""
    last = {"revokeApiKey": 1}
    for place in sorted(places(town.app), key=lambda one: last.get(one.operation, 0)):
        answer = await town.mine.http.request(**request(place, town.mine, town.mine.things[place.prefix]))
        # 409 and 412: the thing was found, and its present state forbids the action.
        allowed = (200, 201, 202, 204, 409, 412)
        assert answer.status_code in allowed, f"{place}: {answer.status_code} {answer.text}"


def lists(app: Any) -> list[str]:
    return [
        path
        for method, path, operation in operations(app)
        if method == "GET"
        and {"cursor", "after"} & {one["name"] for one in operation.get("parameters", [])}
        and "{" not in path
    ]


@both_walls
async def test_lists_hold_ones_own_and_cursors_open_no_other(town: Town) -> None:
    own, foreign = await town.ids_of(town.other), await town.ids_of(town.mine)
    found = lists(town.app)
    assert len(found) >= 9
    for path in found:
        answer = await town.other.http.get(path, params={"limit": 100})
        shown = answer.json()["data"]
        assert shown, path
        assert all(parse(one["id"].split("_")[0], one["id"]).hex in own for one in shown), path
        assert not [one for one in foreign if one in answer.text], path

        page = (await town.mine.http.get(path, params={"limit": 1})).json()
        cursor = page["next_cursor"]
        assert cursor or path == "/v1/merchants" or not page["has_more"], path
        if cursor:
            name = "after" if path == "/v1/messages" else "cursor"
            rest = await town.other.http.get(path, params={"limit": 100, name: cursor})
            assert rest.status_code == 200, path
            assert not [one for one in foreign if one in rest.text], path
            assert {one["id"] for one in rest.json()["data"]} <= {one["id"] for one in shown}, path
    deliveries = await town.other.http.get(f"/v1/webhook-endpoints/{town.other.things['whe']}/deliveries")
    assert deliveries.json()["data"]
    assert not [one for one in foreign if one in deliveries.text]


@both_walls
async def test_searching_for_what_both_have_finds_ones_own(town: Town) -> None:
    own = await town.ids_of(town.other)
    fiscal = (await town.mine.http.get(f"/v1/receipts/{town.mine.things['rcpt']}")).json()["fiscal"]
    for name, value in (
        ("order_id", "A-1"),
        ("external_id", "p-1"),
        ("email", "anna@example.org"),
        ("phone", "+79990000000"),
        ("phone_tail", "0000"),
        ("fd", fiscal["fd"]),
        ("fpd", fiscal["fpd"]),
    ):
        shown = (await town.other.http.get("/v1/receipts", params={name: value})).json()["data"]
        assert bool(shown) == (name not in ("fd", "fpd")), f"{name} is the other's document"
        assert all(one["id"].removeprefix("rcpt_") in own for one in shown), name


async def test_the_same_names_and_keys_are_each_ones_own(town: Town) -> None:
    """Same external ids, settlement keys and idempotency keys, and yet nothing of the two is one thing."""
    assert not set(town.mine.first) & set(town.other.first)
    again = await town.other.http.post("/v1/receipts", json=BY_HAND, headers={"Idempotency-Key": "k-0"})
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json()["id"] == town.other.first[1]
    repeat = await town.other.http.post("/v1/events", json=SALE)
    assert repeat.json()["id"] == town.other.first[0]


async def test_the_database_shows_each_tenant_its_own_rows_whatever_is_asked(town: Town) -> None:
    """The application's filter left out: row-level security alone must hold, for every table that the API reads."""
    database = town.world.runtime.database
    for shop, stranger in ((town.mine, town.other), (town.other, town.mine)):
        for table in WALLED:
            column = "id" if table == "merchants" else "merchant_id"
            everything = text(f"SELECT {column} FROM {table}")
            async with database.pipeline() as tx:
                every = (await tx.execute(everything)).scalars().all()
            async with database.tenant(shop.id) as tx:
                seen = (await tx.execute(everything)).scalars().all()
                asked_for = (
                    await tx.execute(text(f"SELECT count(*) FROM {table} WHERE {column} = :m"), {"m": stranger.id})
                ).scalar_one()
            assert set(seen) == {shop.id}, table
            assert len(seen) == every.count(shop.id) > 0, table
            assert every.count(stranger.id) > 0, table
            assert asked_for == 0, table


async def test_a_reader_that_names_nobody_sees_nothing_and_writes_nothing(town: Town) -> None:
    connection = await asyncpg.connect(town.world.runtime.database.dsn.asyncpg_dsn)
    try:
        await connection.execute("SET ROLE kassa_api")
        for named in ("", None):
            if named is not None:
                await connection.execute("SELECT set_config('kassa.merchant', $1, false)", named)
            for table in WALLED:
                assert await connection.fetchval(f"SELECT count(*) FROM {table}") == 0, table
        await connection.execute("SELECT set_config('kassa.merchant', $1, false)", str(town.mine.id))
        for table in metadata.tables:
            if table not in WALLED:
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.execute(f"SELECT * FROM {table}")
            for statement in (f"DELETE FROM {table}", f"INSERT INTO {table} DEFAULT VALUES"):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.execute(statement)
    finally:
        await connection.close()


def test_every_table_with_a_merchant_is_walled_or_closed() -> None:
    with_merchant = {name for name, table in metadata.tables.items() if "merchant_id" in table.columns}
    closed = {"lanes", "event_identities", "settlement_keys", "chains", "audit"}
    assert with_merchant - set(TENANT_TABLES) == closed
