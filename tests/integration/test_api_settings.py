"""Configuration over HTTP: merchants, kassas, sources, keys and webhook endpoints, on the real application."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI
from standardwebhooks import Webhook
from starlette.requests import Request
from starlette.responses import Response

from app.infra.ids import new_api_key, parse, public
from app.main import create_app
from tests.support import rows
from tests.support.server import serve
from tests.support.world import World, open_world

INN = "7707083893"
OTHER_INN = "500100732259"
UNKNOWN = "0" * 32


@pytest.fixture
async def world(database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(database_url, tmp_path, public_url="https://kassa.example.org") as found:
        yield found


@pytest.fixture
def app(world: World) -> FastAPI:
    return create_app(world.runtime.services, world.runtime.settings, metrics=world.runtime.metrics)


def client(app: FastAPI, key: str | None = None) -> httpx.AsyncClient:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://kassa.example.org", headers=headers)


@pytest.fixture
async def admin(app: FastAPI, world: World) -> AsyncIterator[httpx.AsyncClient]:
    """The installation's admin."""
    async with client(app, await world.runtime.services.access.ensure_admin_key()) as found:
        yield found


async def key_of(admin: httpx.AsyncClient, merchant_id: str, *scopes: str, **more: Any) -> str:
    body = {"merchant_id": merchant_id, "scopes": list(scopes), **more}
    answer = await admin.post("/v1/api-keys", json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["key"])


@pytest.fixture
async def owner(app: FastAPI, world: World, admin: httpx.AsyncClient) -> AsyncIterator[httpx.AsyncClient]:
    """The world's merchant with every right."""
    async with client(app, await key_of(admin, public("mer", world.merchant_id), "*")) as found:
        yield found


@pytest.fixture
async def stranger(app: FastAPI, admin: httpx.AsyncClient) -> AsyncIterator[httpx.AsyncClient]:
    """Another merchant with every right."""
    made = (await admin.post("/v1/merchants", json={"name": "ИП Петрова", "inn": OTHER_INN})).json()
    async with client(app, await key_of(admin, made["id"], "*")) as found:
        yield found


def kassa_body(world: World, **changes: Any) -> dict[str, Any]:
    body = {
        "name": "Касса сайта",
        "provider": "digitalkassa",
        "ffd": "1.2",
        "taxation": ["usn_income"],
        "place": "https://shop.example/",
        "timezone": "Europe/Moscow",
        "internet": True,
        "credentials": {"actor_id": "7", "actor_token": "very-secret-token", "c_group_id": 99},
        "base_url": f"{world.simulator_url}/v2.1",
        "defaults": {"vat": "none", "payment_method": "full_prepayment", "payment_object": "service"},
    }
    return {name: value for name, value in (body | changes).items() if value is not ...}


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    told: dict[str, Any] = answer.json()
    assert told["code"] == code, answer.text
    assert told["type"] == "https://crm-kassa.dev/problems/" + code.replace("_", "-")
    assert told["status"] == status
    assert told["request_id"] == answer.headers["x-request-id"]
    return told


class TestMerchants:
    async def test_an_admin_creates_one_with_its_built_in_source_and_lane(
        self, world: World, app: FastAPI, admin: httpx.AsyncClient
    ) -> None:
        answer = await admin.post("/v1/merchants", json={"name": "  ИП Петрова ", "inn": OTHER_INN})
        assert answer.status_code == 201
        made = answer.json()
        assert answer.headers["location"] == f"/v1/merchants/{made['id']}"
        assert (made["name"], made["inn"], made["status"]) == ("ИП Петрова", OTHER_INN, "active")
        assert made["created_at"].endswith("Z")
        async with client(app, await key_of(admin, made["id"], "settings:read")) as reader:
            (source,) = (await reader.get("/v1/sources")).json()["data"]
            assert source["kind"] == "api"
            assert [one["id"] for one in (await reader.get("/v1/merchants")).json()["data"]] == [made["id"]]
        lane = await rows.scalar(
            world.runtime.database, "SELECT kind FROM lanes WHERE id = :id", id=parse("src", source["id"])
        )
        assert lane == "source"

    @pytest.mark.parametrize("inn", ["7707083894", "0000000000", "123", "77O7083893"])
    async def test_an_inn_with_wrong_check_digits_is_explained(self, admin: httpx.AsyncClient, inn: str) -> None:
        told = problem(await admin.post("/v1/merchants", json={"name": "X", "inn": inn}), 422, "fiscal_rule_violation")
        (error,) = told["errors"]
        assert (error["pointer"], error["code"], error["ffd_tag"]) == ("#/inn", "inn_checksum", 1018)
        assert "ИНН" in error["detail_ru"]

    async def test_only_an_admin_creates_or_suspends(
        self, world: World, owner: httpx.AsyncClient, admin: httpx.AsyncClient
    ) -> None:
        mine = public("mer", world.merchant_id)
        told = problem(await owner.post("/v1/merchants", json={"name": "X", "inn": INN}), 403, "insufficient_scope")
        assert told["required_scopes"] == ["admin"]
        problem(await owner.patch(f"/v1/merchants/{mine}", json={"status": "suspended"}), 403, "insufficient_scope")
        assert (await owner.patch(f"/v1/merchants/{mine}", json={"name": "Школа 2"})).json()["name"] == "Школа 2"
        assert (await admin.patch(f"/v1/merchants/{mine}", json={"status": "suspended"})).status_code == 200
        world.runtime.services.access._known.clear()
        problem(await owner.get("/v1/kassas"), 403, "merchant_suspended")

    async def test_the_inn_stays_once_a_kassa_was_used(self, world: World, owner: httpx.AsyncClient) -> None:
        mine = public("mer", world.merchant_id)
        assert (await owner.patch(f"/v1/merchants/{mine}", json={"inn": OTHER_INN})).status_code == 200
        await used(world, world.kassa_id)
        told = problem(await owner.patch(f"/v1/merchants/{mine}", json={"inn": INN}), 409, "state_conflict")
        assert "another merchant" in told["detail"].lower()
        assert (await owner.patch(f"/v1/merchants/{mine}", json={"inn": OTHER_INN})).status_code == 200

    async def test_lists_go_page_by_page(self, admin: httpx.AsyncClient) -> None:
        for number in range(4):
            await admin.post("/v1/merchants", json={"name": f"M{number}", "inn": INN})
        names: list[str] = []
        cursor: str | None = None
        for _ in range(3):
            page = (
                await admin.get("/v1/merchants", params={"limit": 2, **({"cursor": cursor} if cursor else {})})
            ).json()
            names += [one["name"] for one in page["data"]]
            cursor = page["next_cursor"]
            assert page["has_more"] == (cursor is not None)
        assert names == ["M3", "M2", "M1", "M0", "Школа"]
        assert cursor is None

    async def test_branches(self, world: World, owner: httpx.AsyncClient, stranger: httpx.AsyncClient) -> None:
        body = {"name": "Ленина", "external_id": "f-1", "timezone": "Asia/Yekaterinburg", "defaults": {"vat": "vat5"}}
        made = (await owner.post("/v1/branches", json=body)).json()
        assert (made["defaults"]["vat"], made["kassa_id"]) == ("vat5", None)
        problem(await owner.post("/v1/branches", json=body), 409, "state_conflict")
        where = f"/v1/branches/{made['id']}"
        kassa = public("kas", world.kassa_id)
        changed = await owner.patch(where, json={"kassa": kassa, "defaults": {"vat": None, "measure": "piece"}})
        assert (changed.json()["kassa_id"], changed.json()["defaults"]["measure"]) == (kassa, "piece")
        assert changed.json()["defaults"]["vat"] is None
        assert (await owner.patch(where, json={"status": "off"})).json()["status"] == "off"
        problem(await owner.patch(where, json={"kassa": f"kas_{UNKNOWN}"}), 404, "not_found")
        problem(await owner.patch(where, json={"timezone": "Europe/Lisbon"}), 422, "fiscal_rule_violation")
        problem(await owner.patch(where, json={"name": None}), 422, "validation_failed")
        problem(await stranger.post("/v1/branches", json={"name": "X", "kassa": kassa}), 404, "not_found")


class TestKeys:
    async def test_keys_that_do_not_work_look_the_same(
        self, app: FastAPI, world: World, admin: httpx.AsyncClient
    ) -> None:
        merchant = public("mer", world.merchant_id)
        revoked = (await admin.post("/v1/api-keys", json={"merchant_id": merchant, "scopes": ["*"]})).json()
        assert (await admin.delete(f"/v1/api-keys/{revoked['id']}")).status_code == 204
        expired = await key_of(admin, merchant, "*", expires_at="2999-01-01T00:00:00Z")
        await change(world, "UPDATE api_keys SET expires_at = kassa_now() WHERE expires_at IS NOT NULL")
        answers = set()
        for key in ("nonsense", new_api_key(live=True), revoked["key"], expired, revoked["key"][:-1] + "!"):
            async with client(app, key) as caller:
                answer = await caller.get("/v1/kassas")
                told = problem(answer, 401, "invalid_api_key")
                assert answer.headers["www-authenticate"] == "Bearer"
                answers.add(json.dumps({**told, "request_id": ""}))
        assert len(answers) == 1
        async with client(app) as caller:
            problem(await caller.get("/v1/kassas"), 401, "authentication_required")
            caller.headers["Authorization"] = "Basic dTpw"
            problem(await caller.get("/v1/kassas"), 401, "authentication_required")

    async def test_a_key_gives_out_no_more_than_it_has(
        self, app: FastAPI, world: World, admin: httpx.AsyncClient, stranger: httpx.AsyncClient
    ) -> None:
        merchant = public("mer", world.merchant_id)
        strong = (await admin.post("/v1/api-keys", json={"merchant_id": merchant, "scopes": ["*"]})).json()
        weak = await key_of(admin, merchant, "keys:write", "events:write")
        async with client(app, weak) as keeper:
            made = (await keeper.post("/v1/api-keys", json={"scopes": ["events:write"], "name": "CRM"})).json()
            assert (made["merchant_id"], made["scopes"], made["test"]) == (merchant, ["events:write"], False)
            assert made["key"].startswith("ck_live_")
            for scopes in (["receipts:write"], ["*"], ["admin"]):
                problem(await keeper.post("/v1/api-keys", json={"scopes": scopes}), 403, "insufficient_scope")
            problem(await keeper.post(f"/v1/api-keys/{strong['id']}/rotate"), 403, "insufficient_scope")
            told = problem(await keeper.post("/v1/api-keys", json={"scopes": ["everything"]}), 422, "validation_failed")
            assert told["errors"][0]["pointer"] == "#/scopes/0"
            other = (await stranger.get("/v1/merchants")).json()["data"][0]["id"]
            body = {"scopes": ["events:write"], "merchant_id": other}
            problem(await keeper.post("/v1/api-keys", json=body), 404, "not_found")
            problem(await keeper.get("/v1/api-keys", params={"merchant_id": other}), 404, "not_found")
            listed = (await keeper.get("/v1/api-keys")).json()["data"]
            assert {one["id"] for one in listed} >= {made["id"], strong["id"]}
            assert all("key" not in one for one in listed)
            problem(await stranger.get(f"/v1/api-keys/{made['id']}"), 404, "not_found")
            problem(await stranger.delete(f"/v1/api-keys/{made['id']}"), 404, "not_found")

    async def test_source_bound_and_test_keys_stay_so(
        self, app: FastAPI, world: World, admin: httpx.AsyncClient
    ) -> None:
        merchant, source = public("mer", world.merchant_id), public("src", world.source_id)
        bound = await key_of(admin, merchant, "keys:write", "events:write", source_id=source, test=True)
        assert bound.startswith("ck_test_")
        async with client(app, bound) as keeper:
            problem(await keeper.post("/v1/api-keys", json={"scopes": ["events:write"]}), 403, "insufficient_scope")
            made = await keeper.post("/v1/api-keys", json={"scopes": ["events:write"], "test": True})
            assert (made.json()["source_id"], made.json()["test"]) == (source, True)

    async def test_a_rotated_key_works_on_for_its_grace(
        self, app: FastAPI, world: World, admin: httpx.AsyncClient
    ) -> None:
        merchant = public("mer", world.merchant_id)
        old = (await admin.post("/v1/api-keys", json={"merchant_id": merchant, "scopes": ["settings:read"]})).json()
        new = (await admin.post(f"/v1/api-keys/{old['id']}/rotate")).json()
        assert new["key"] != old["key"]
        assert new["scopes"] == old["scopes"]
        async with client(app, old["key"]) as before, client(app, new["key"]) as after:
            assert (await before.get("/v1/kassas")).status_code == 200
            assert (await after.get("/v1/kassas")).status_code == 200
            newest = await admin.post(f"/v1/api-keys/{new['id']}/rotate", json={"grace_seconds": 0})
            assert newest.status_code == 201
            problem(await after.get("/v1/kassas"), 401, "invalid_api_key")
            problem(await admin.post(f"/v1/api-keys/{new['id']}/rotate"), 409, "state_conflict")
            assert (await before.get("/v1/kassas")).status_code == 200

    async def test_the_use_of_a_key_is_noted_outside_its_request(
        self, app: FastAPI, world: World, admin: httpx.AsyncClient
    ) -> None:
        merchant = public("mer", world.merchant_id)
        made = (await admin.post("/v1/api-keys", json={"merchant_id": merchant, "scopes": ["settings:read"]})).json()
        assert made["last_used_at"] is None
        async with client(app, made["key"]) as caller:
            assert (await caller.get("/v1/kassas")).status_code == 200
        await world.runtime.services.access.close()
        assert (await admin.get(f"/v1/api-keys/{made['id']}")).json()["last_used_at"] is not None

    async def test_the_first_admin_key_is_made_once(self, world: World, admin: httpx.AsyncClient) -> None:
        assert (await admin.get("/v1/api-keys")).json()["data"][0]["scopes"] == ["admin"]
        both = await asyncio.gather(*(world.runtime.services.access.ensure_admin_key() for _ in range(2)))
        assert both == [None, None]
        problem(await admin.post("/v1/api-keys", json={"scopes": ["events:write"]}), 403, "insufficient_scope")
        another = await admin.post("/v1/api-keys", json={"scopes": ["admin"]})
        assert another.json()["merchant_id"] is None

    async def test_an_admin_reads_a_merchants_things_and_changes_none(
        self, world: World, admin: httpx.AsyncClient
    ) -> None:
        merchant = public("mer", world.merchant_id)
        assert len((await admin.get("/v1/kassas", params={"merchant_id": merchant})).json()["data"]) == 1
        problem(await admin.get("/v1/kassas"), 422, "validation_failed")
        told = problem(await admin.post("/v1/kassas", json=kassa_body(world)), 403, "insufficient_scope")
        assert "acts for no merchant" in told["detail"]


class TestKassas:
    async def test_what_is_not_answered_is_explained_and_nothing_is_stored(
        self, world: World, owner: httpx.AsyncClient
    ) -> None:
        body = kassa_body(world, defaults={}, internet=...)
        told = problem(await owner.post("/v1/kassas", json=body), 422, "fiscal_rule_violation")
        by_place = {error["pointer"]: error for error in told["errors"]}
        assert set(by_place) == {"#/defaults/vat", "#/defaults/payment_method", "#/internet"}
        for word in ("none", "vat105", "vat122", "vat5", "УСН"):
            assert word in by_place["#/defaults/vat"]["detail"]
        for word in ("full_prepayment", "full_payment", "advance", "subscription"):
            assert word in by_place["#/defaults/payment_method"]["detail"]
        assert "абонемент" in by_place["#/defaults/payment_method"]["detail_ru"]
        assert by_place["#/internet"]["ffd_tag"] == 1125
        assert len((await owner.get("/v1/kassas")).json()["data"]) == 1

    @pytest.mark.parametrize(
        ("changes", "pointer", "rule"),
        [
            ({"defaults": {"vat": "vat20", "payment_method": "full_payment"}}, "#/defaults/vat", "vat_not_in_force"),
            ({"place": "офис 5"}, "#/place", "place_missing"),
            ({"timezone": "Mars/Olympus"}, "#/timezone", "timezone_unknown"),
            ({"timezone": "UTC"}, "#/timezone", "timezone_foreign"),
            ({"ffd": "1.1"}, "#/ffd", "ffd_unsupported"),
            (
                {"defaults": {"vat": "none", "payment_method": "advance", "taxation": "patent"}},
                "#/defaults/taxation",
                "taxation_unknown",
            ),
        ],
    )
    async def test_what_breaks_a_fiscal_rule_is_refused(
        self, world: World, owner: httpx.AsyncClient, changes: dict[str, Any], pointer: str, rule: str
    ) -> None:
        told = problem(await owner.post("/v1/kassas", json=kassa_body(world, **changes)), 422, "fiscal_rule_violation")
        assert [(error["pointer"], error["code"]) for error in told["errors"]] == [(pointer, rule)]

    async def test_the_stale_rate_names_its_successor(self, world: World, owner: httpx.AsyncClient) -> None:
        body = kassa_body(world, defaults={"vat": "vat120", "payment_method": "full_prepayment"})
        told = problem(await owner.post("/v1/kassas", json=body), 422, "fiscal_rule_violation")
        assert told["errors"][0]["fix"] == "Use vat122."
        assert told["ffd_tag"] == 1199

    async def test_credentials_are_checked_by_the_driver_and_never_shown(
        self, world: World, owner: httpx.AsyncClient
    ) -> None:
        wrong = kassa_body(world, credentials={"actor_id": "7", "actor_token": "hunter2", "c_group_id": "x", "y": 1})
        answer = await owner.post("/v1/kassas", json=wrong)
        told = problem(answer, 422, "validation_failed")
        assert {error["pointer"] for error in told["errors"]} == {"#/credentials/c_group_id", "#/credentials/y"}
        assert "hunter2" not in answer.text
        answer = await owner.post("/v1/kassas", json=kassa_body(world))
        assert answer.status_code == 201, answer.text
        where = answer.headers["location"]
        for shown in (answer, await owner.get(where), await owner.get("/v1/kassas")):
            assert "very-secret-token" not in shown.text
            assert "credentials" not in shown.text
            assert "secret" not in shown.text
        stored = await rows.scalar(world.runtime.database, "SELECT credentials FROM kassas WHERE name = 'Касса сайта'")
        assert isinstance(stored, bytes)
        assert b"very-secret-token" not in stored
        noted = await rows.scalar(
            world.runtime.database,
            "SELECT data::text FROM audit WHERE action = 'kassa.created' ORDER BY at DESC LIMIT 1",
        )
        assert "very-secret-token" not in str(noted)

    async def test_a_new_kassa_tells_its_lane_and_its_provider(self, world: World, owner: httpx.AsyncClient) -> None:
        branch = (await owner.post("/v1/branches", json={"name": "Филиал"})).json()["id"]
        made = (await owner.post("/v1/kassas", json=kassa_body(world, max_in_flight=2, branch=branch))).json()
        assert made["lane"] == {"max_in_flight": 2, "in_flight": 0, "waiting": 0, "pause": None}
        assert made["capabilities"]["lookup_class"] == "A"
        assert (made["status"], made["test"], made["first_used_at"], made["check"]) == ("active", False, None, None)
        assert (await owner.get(f"/v1/branches/{branch}")).json()["kassa_id"] == made["id"]

    async def test_unknown_providers_and_forbidden_addresses(self, world: World, owner: httpx.AsyncClient) -> None:
        told = problem(
            await owner.post("/v1/kassas", json=kassa_body(world, provider="nokassa")), 422, "provider_not_configured"
        )
        assert "digitalkassa" in told["known"]
        for url, reason in (
            ("https://user:pw@pay.example.org", "credentials"),
            ("https://10.0.0.1", "address"),
            ("ftp://pay.example.org", "scheme"),
        ):
            told = problem(
                await owner.post("/v1/kassas", json=kassa_body(world, base_url=url)), 422, "webhook_url_forbidden"
            )
            assert told["reason"] == reason

    async def test_changes_and_what_stays(self, world: World, owner: httpx.AsyncClient) -> None:
        made = (await owner.post("/v1/kassas", json=kassa_body(world))).json()
        where = f"/v1/kassas/{made['id']}"
        changed = (
            await owner.patch(
                where,
                json={
                    "name": "Новая",
                    "taxation": ["usn_income", "patent"],
                    "timezone": "Asia/Omsk",
                    "max_in_flight": 9,
                    "defaults": {"payment_object": None, "item_name": "Абонемент «Йога»"},
                },
            )
        ).json()
        assert (changed["name"], changed["taxation"]) == ("Новая", ["usn_income", "patent"])
        assert changed["lane"]["max_in_flight"] == 9
        assert changed["defaults"] == {
            "vat": "none",
            "payment_method": "full_prepayment",
            "payment_object": None,
            "measure": None,
            "item_name": "Абонемент «Йога»",
            "taxation": None,
            "zero_lines": None,
            "settlement": None,
        }
        told = problem(await owner.patch(where, json={"defaults": {"vat": None}}), 422, "fiscal_rule_violation")
        assert told["errors"][0]["code"] == "vat_unanswered"
        problem(await owner.patch(where, json={"name": None}), 422, "validation_failed")
        problem(await owner.patch(where, json={"inn": INN}), 422, "validation_failed")
        other_group = {"actor_id": "7", "actor_token": "t2", "c_group_id": 100}
        assert (await owner.patch(where, json={"credentials": other_group})).status_code == 200
        await used(world, parse("kas", made["id"]))
        moved = {"base_url": "https://other.example.org/v2"}
        for change_ in (moved, {"credentials": {**other_group, "c_group_id": 5}}):
            told = problem(await owner.patch(where, json=change_), 409, "state_conflict")
            assert "new kassa" in told["detail"]
        same_group = {**other_group, "actor_token": "t3"}
        assert (await owner.patch(where, json={"credentials": same_group})).status_code == 200
        assert (await owner.patch(where, json={"base_url": made["base_url"]})).status_code == 200

    async def test_switched_off_it_waits_and_says_so(self, world: World, owner: httpx.AsyncClient) -> None:
        where = f"/v1/kassas/{public('kas', world.kassa_id)}"
        off = (await owner.patch(where, json={"status": "off"})).json()
        assert (off["status"], off["lane"]["pause"]["cause"]) == ("off", "kassa_switched_off")
        assert off["lane"]["pause"]["probe_at"] is None
        assert "Switch the kassa on" in off["lane"]["pause"]["next_step"]
        checked = (await owner.post(f"{where}/check")).json()
        assert checked["check"]["ok"]
        assert checked["lane"]["pause"]["cause"] == "kassa_switched_off"
        on = (await owner.patch(where, json={"status": "active"})).json()
        assert on["lane"]["pause"] is None
        assert await message_types(world) == ["kassa.paused", "kassa.resumed"]

    async def test_a_good_check_resumes_a_kassa_paused_for_its_account(
        self, world: World, owner: httpx.AsyncClient
    ) -> None:
        where = f"/v1/kassas/{public('kas', world.kassa_id)}"
        pause = "UPDATE lanes SET paused_at = kassa_now(), pause_cause = :cause, probe_at = 'infinity' WHERE id = :id"
        await change(world, pause, cause="credentials_refused", id=world.kassa_id)
        paused = (await owner.get(where)).json()["lane"]["pause"]
        assert (paused["cause"], paused["who"]) == ("credentials_refused", "operator")
        checked = (await owner.post(f"{where}/check")).json()
        assert checked["check"]["ok"], checked["check"]
        assert checked["checked_at"] is not None
        assert checked["lane"]["pause"] is None
        assert await message_types(world) == ["kassa.resumed"]
        await change(world, pause, cause="provider_down", id=world.kassa_id)
        waiting = (await owner.post(f"{where}/check")).json()["lane"]["pause"]
        assert (waiting["cause"], waiting["probe_at"] is not None) == ("provider_down", True)

    async def test_a_bad_check_says_what_to_do_and_resumes_nothing(
        self, world: World, owner: httpx.AsyncClient
    ) -> None:
        body = kassa_body(world, base_url="http://127.0.0.1:1/v2.1")
        made = (await owner.post("/v1/kassas", json=body)).json()
        await change(
            world,
            "UPDATE lanes SET paused_at = kassa_now(), pause_cause = 'credentials_refused' WHERE id = :id",
            id=parse("kas", made["id"]),
        )
        checked = (await owner.post(f"/v1/kassas/{made['id']}/check")).json()
        assert not checked["check"]["ok"]
        assert any(line["mark"] == "failed" for line in checked["check"]["lines"])
        assert checked["lane"]["pause"]["cause"] == "credentials_refused"


class TestSources:
    BODY: dict[str, Any] = {  # noqa: RUF012
        "kind": "cloudpayments",
        "name": "Эквайринг",
        "credentials": {"public_id": "pk_1", "api_secret": "acquirer-secret"},
        "acquirer_fiscalizes": False,
    }

    async def test_who_makes_the_receipts_must_be_answered(self, owner: httpx.AsyncClient) -> None:
        body = {name: value for name, value in self.BODY.items() if name != "acquirer_fiscalizes"}
        told = problem(await owner.post("/v1/sources", json=body), 422, "fiscal_rule_violation")
        (error,) = told["errors"]
        assert error["pointer"] == "#/acquirer_fiscalizes"
        assert "two" in error["detail"]
        assert "два чека" in error["detail_ru"]

    async def test_it_tells_where_to_post(self, owner: httpx.AsyncClient) -> None:
        answer = await owner.post("/v1/sources", json=self.BODY)
        assert answer.status_code == 201, answer.text
        made = answer.json()
        urls = {one["part"]: one["url"] for one in made["addresses"]}
        assert urls["pay"] == f"https://kassa.example.org/in/{made['id']}/pay"
        assert made["path_secret"] is False
        assert "acquirer-secret" not in answer.text
        assert (made["acquirer_fiscalizes"], made["settings"]["acquirer_fiscalizes"]) == (False, False)

    async def test_a_path_secret_is_told_once_and_replaced(self, world: World, owner: httpx.AsyncClient) -> None:
        made = (await owner.post("/v1/sources", json={**self.BODY, "path_secret": True})).json()
        where = f"/v1/sources/{made['id']}"
        first = made["addresses"][0]["url"]
        secret = first.split("/s-")[1].split("/")[0]
        assert len(secret) >= 40
        assert secret not in (await owner.get(where)).text
        again = (await owner.patch(where, json={"path_secret": True})).json()
        assert again["addresses"][0]["url"] != first
        assert (await owner.patch(where, json={"path_secret": False})).json()["path_secret"] is False

    async def test_what_its_adapter_refuses(self, owner: httpx.AsyncClient) -> None:
        body = {**self.BODY, "credentials": {"public_id": "pk_1"}, "settings": {"no_such": 1}}
        told = problem(await owner.post("/v1/sources", json=body), 422, "validation_failed")
        assert told["errors"][0]["pointer"] == "#/credentials/api_secret"
        told = problem(
            await owner.post("/v1/sources", json={**self.BODY, "settings": {"no_such": 1}}), 422, "validation_failed"
        )
        assert told["errors"][0]["pointer"] == "#/settings/no_such"
        for settings in ({"x": "\x00"}, {"x": [[[[[[[[[[1]]]]]]]]]]}):
            problem(await owner.post("/v1/sources", json={**self.BODY, "settings": settings}), 422, "validation_failed")
        problem(await owner.post("/v1/sources", json={**self.BODY, "kind": "nobody"}), 422, "provider_not_configured")
        problem(await owner.post("/v1/sources", json={**self.BODY, "kind": "api"}), 409, "state_conflict")

    async def test_changes(self, world: World, owner: httpx.AsyncClient, stranger: httpx.AsyncClient) -> None:
        made = (await owner.post("/v1/sources", json=self.BODY)).json()
        where = f"/v1/sources/{made['id']}"
        contact = {"email": "Receipts@Example.org"}
        changed = (
            await owner.patch(
                where,
                json={
                    "fallback_contact": contact,
                    "kassa": public("kas", world.kassa_id),
                    "starts_at": "2026-11-01T00:00:00+03:00",
                    "defaults": {"vat": "vat5"},
                    "acquirer_fiscalizes": True,
                },
            )
        ).json()
        assert changed["fallback_contact"] == "R***@e***.org"
        assert changed["starts_at"] == "2026-10-31T21:00:00.000000Z"
        assert (changed["acquirer_fiscalizes"], changed["settings"]["acquirer_fiscalizes"]) == (True, True)
        kept = (await owner.patch(where, json={"settings": {"items_from_data": False}})).json()
        assert (kept["acquirer_fiscalizes"], kept["settings"]["items_from_data"]) == (True, False)
        cleared = (await owner.patch(where, json={"fallback_contact": None, "kassa": None, "status": "off"})).json()
        assert (cleared["fallback_contact"], cleared["kassa_id"], cleared["status"]) == (None, None, "off")
        told = problem(
            await owner.patch(where, json={"fallback_contact": {"email": "nobody"}}), 422, "validation_failed"
        )
        assert told["errors"][0]["pointer"] == "#/fallback_contact/email"
        assert "nobody" not in json.dumps(told)
        theirs = (await stranger.get("/v1/sources")).json()["data"][0]["id"]
        problem(await owner.patch(f"/v1/sources/{theirs}", json={"name": "X"}), 404, "not_found")
        foreign = {"kassa": public("kas", world.kassa_id)}
        problem(await stranger.patch(f"/v1/sources/{theirs}", json=foreign), 404, "not_found")

    async def test_the_built_in_source_has_no_connection(self, world: World, owner: httpx.AsyncClient) -> None:
        where = f"/v1/sources/{public('src', world.source_id)}"
        assert (await owner.get(where)).json()["addresses"] == []
        assert (await owner.patch(where, json={"defaults": {"vat": "vat5"}})).json()["defaults"]["vat"] == "vat5"
        problem(await owner.patch(where, json={"status": "off"}), 409, "state_conflict")
        problem(await owner.patch(where, json={"credentials": {}}), 409, "state_conflict")


@dataclass
class Receiver:
    """A merchant's system that takes webhooks, or refuses them while `status` says so."""

    url: str = ""
    status: int = 204
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        self.got.append((dict(request.headers), await request.body()))
        self.news.set()
        await Response(status_code=self.status)(scope, receive, send)

    async def take(self, count: int) -> list[tuple[dict[str, str], bytes]]:
        """The first `count` posts, once they are there."""
        async with asyncio.timeout(20):
            while len(self.got) < count:
                self.news.clear()
                await self.news.wait()
        return self.got[:count]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    found = Receiver()
    async with serve(found, lifespan="off") as url:
        found.url = f"{url}/hook"
        yield found


class TestEndpoints:
    async def test_a_test_message_goes_the_way_of_all_messages(
        self, world: World, owner: httpx.AsyncClient, receiver: Receiver
    ) -> None:
        answer = await owner.post("/v1/webhook-endpoints", json={"url": receiver.url, "types": ["receipt.*"]})
        assert answer.status_code == 201, answer.text
        made = answer.json()
        where = f"/v1/webhook-endpoints/{made['id']}"
        assert made["secret"].startswith("whsec_")
        assert "whsec_" not in (await owner.get(where)).text + (await owner.get("/v1/webhook-endpoints")).text
        other = await owner.post("/v1/webhook-endpoints", json={"url": receiver.url, "types": ["*"]})
        async with world.working():
            sent = await owner.post(f"{where}/test")
            assert sent.status_code == 202
            ((headers, body),) = await receiver.take(1)
            await world.idle()
        assert headers["webhook-id"] == sent.json()["message_id"]
        assert Webhook(made["secret"]).verify(body, headers)["type"] == "endpoint.test"
        (delivery,) = (await owner.get(f"{where}/deliveries")).json()["data"]
        assert (delivery["outcome"], delivery["response_status"]) == ("delivered", 204)
        assert delivery["message_id"] == sent.json()["message_id"]
        others = await owner.get(f"/v1/webhook-endpoints/{other.json()['id']}/deliveries")
        assert others.json()["data"] == []

    async def test_types_and_addresses_are_checked(self, owner: httpx.AsyncClient, receiver: Receiver) -> None:
        body = {"url": receiver.url, "types": ["receipt.fiscalized", "receipt.printed"]}
        told = problem(await owner.post("/v1/webhook-endpoints", json=body), 422, "validation_failed")
        assert told["errors"][0]["pointer"] == "#/types/1"
        assert "receipt.fiscalized" in told["errors"][0]["detail"]
        for url, reason in (
            ("http://10.1.2.3/hook", "address"),
            ("https://[::ffff:10.0.0.1]/hook", "address"),
            ("https://169.254.169.254/latest", "address"),
            ("https://u:p@crm.example.org/", "credentials"),
            ("file:///etc/passwd", "scheme"),
            ("https://2130706433/", "host"),
        ):
            answer = await owner.post("/v1/webhook-endpoints", json={"url": url, "types": ["*"]})
            assert problem(answer, 422, "webhook_url_forbidden")["reason"] == reason, url

    async def test_while_a_secret_changes_both_sign(
        self, world: World, owner: httpx.AsyncClient, receiver: Receiver
    ) -> None:
        made = (await owner.post("/v1/webhook-endpoints", json={"url": receiver.url, "types": ["*"]})).json()
        where = f"/v1/webhook-endpoints/{made['id']}"
        rotated = (await owner.post(f"{where}/rotate-secret")).json()
        assert rotated["secret"] != made["secret"]
        assert rotated["previous_secret_until"] is not None
        told = problem(await owner.post(f"{where}/rotate-secret"), 409, "state_conflict")
        assert "force" in told["detail"]
        async with world.working():
            await owner.post(f"{where}/test")
            ((headers, body),) = await receiver.take(1)
        for secret in (made["secret"], rotated["secret"]):
            assert Webhook(secret).verify(body, headers)
        forced = await owner.post(f"{where}/rotate-secret", json={"force": True})
        assert forced.status_code == 200

    async def test_what_was_missed_is_sent_once_more(
        self, world: World, owner: httpx.AsyncClient, receiver: Receiver
    ) -> None:
        made = (await owner.post("/v1/webhook-endpoints", json={"url": receiver.url, "types": ["kassa.*"]})).json()
        where = f"/v1/webhook-endpoints/{made['id']}"
        kassa = f"/v1/kassas/{public('kas', world.kassa_id)}"
        assert (await owner.patch(where, json={"status": "disabled"})).json()["disabled_reason"] == "by_hand"
        problem(await owner.post(f"{where}/test"), 409, "state_conflict")
        problem(await owner.post(f"{where}/replay", json={"since": "2026-01-01T00:00:00Z"}), 409, "state_conflict")
        await owner.patch(kassa, json={"status": "off"})
        enabled = (await owner.patch(where, json={"status": "active"})).json()
        assert (enabled["status"], enabled["disabled_reason"]) == ("active", None)
        since = made["created_at"]
        async with world.working():
            queued = await owner.post(f"{where}/replay", json={"since": since})
            assert (queued.status_code, queued.json()) == (202, {"queued": 1, "more": False})
            ((first, body),) = await receiver.take(1)
            await world.idle()
            assert (await owner.post(f"{where}/replay", json={"since": since})).json()["queued"] == 0
            again = await owner.post(f"{where}/replay", json={"message_id": first["webhook-id"]})
            assert again.json()["queued"] == 1
            _, (second, same) = await receiver.take(2)
            await world.idle()
        assert json.loads(body)["type"] == "kassa.paused"
        assert (second["webhook-id"], same) == (first["webhook-id"], body)
        assert len((await owner.get(f"{where}/deliveries", params={"limit": 1})).json()["data"]) == 1
        problem(await owner.post(f"{where}/replay", json={}), 422, "validation_failed")
        problem(await owner.post(f"{where}/replay", json={"message_id": f"msg_{UNKNOWN}"}), 404, "not_found")
        problem(await owner.post(f"{where}/replay", json={"since": "2020-01-01T00:00:00Z"}), 409, "state_conflict")


class TestProviders:
    async def test_they_tell_what_they_want(self, owner: httpx.AsyncClient) -> None:
        listed = (await owner.get("/v1/providers")).json()["data"]
        codes = {(one["kind"], one["code"]) for one in listed}
        assert {("kassa", "digitalkassa"), ("source", "cloudpayments")} <= codes
        one = (await owner.get("/v1/providers/digitalkassa")).json()
        assert one["credentials"]["properties"]["actor_token"]["writeOnly"] is True
        assert "1.2" in one["capabilities"]["ffd"]
        only = (await owner.get("/v1/providers", params={"kind": "source"})).json()["data"]
        assert {one["kind"] for one in only} == {"source"}
        problem(await owner.get("/v1/providers/nobody"), 404, "not_found")


async def test_nobody_reaches_another_merchants_things(
    world: World, owner: httpx.AsyncClient, stranger: httpx.AsyncClient, receiver: Receiver
) -> None:
    """Every operation with an id in its path, made from the contract: a stranger hears 404 and changes nothing."""
    branch = (await owner.post("/v1/branches", json={"name": "Филиал"})).json()["id"]
    endpoint = (await owner.post("/v1/webhook-endpoints", json={"url": receiver.url, "types": ["*"]})).json()["id"]
    key = (await owner.post("/v1/api-keys", json={"scopes": ["settings:read"]})).json()["id"]
    ids = {
        "merchant_id": public("mer", world.merchant_id),
        "kassa_id": public("kas", world.kassa_id),
        "source_id": public("src", world.source_id),
        "branch_id": branch,
        "endpoint_id": endpoint,
        "key_id": key,
    }
    document = (await owner.get("/openapi.json")).json()
    tried = 0
    for path, methods in document["paths"].items():
        named = [name for name in ids if f"{{{name}}}" in path]
        if not named:
            continue
        for method, operation in methods.items():
            body = {"name": "taken over"} if method == "patch" and "endpoint" not in path else {}
            if path.endswith("/replay"):
                body = {"since": "2026-11-20T00:00:00Z"}
            sent = {"json": body} if "requestBody" in operation else {}
            answer = await stranger.request(method.upper(), path.format(**ids), **sent)
            problem(answer, 404, "not_found")
            tried += 1
    assert tried >= 18
    assert (await owner.get(f"/v1/kassas/{ids['kassa_id']}")).json()["name"] == "Main"
    for path in ("kassas", "sources", "branches", "webhook-endpoints", "api-keys"):
        theirs = {one["id"] for one in (await stranger.get(f"/v1/{path}")).json()["data"]}
        assert not theirs & set(ids.values())


class TestShell:
    async def test_requests_that_are_not_valid(self, owner: httpx.AsyncClient) -> None:
        told = problem(await owner.get("/v1/kassas", params={"statsu": "off"}), 422, "validation_failed")
        assert told["errors"][0]["parameter"] == "statsu"
        secret = "anna@example.org"
        answer = await owner.post("/v1/branches", json={"name": 5, "surprise": secret})
        told = problem(answer, 422, "validation_failed")
        assert {error["pointer"] for error in told["errors"]} == {"#/name", "#/surprise"}
        assert secret not in answer.text
        for content in (b"{", b"\xff\xfe", b"[1"):
            answer = await owner.post("/v1/branches", content=content, headers={"Content-Type": "application/json"})
            problem(answer, 400, "malformed_json")
        told = problem(await owner.post("/v1/branches", data={"name": "x"}), 415, "unsupported_media_type")
        assert told["supported"] == ["application/json"]
        problem(await owner.get("/v1/kassas", params={"limit": "101"}), 422, "validation_failed")
        for cursor in ("!", "e30", "я", "eyJ2IjoxfQ"):
            problem(await owner.get("/v1/kassas", params={"cursor": cursor}), 400, "invalid_cursor")

    async def test_a_cursor_belongs_to_its_list(self, owner: httpx.AsyncClient) -> None:
        for number in range(2):
            await owner.post("/v1/branches", json={"name": f"B{number}"})
        cursor = (await owner.get("/v1/branches", params={"limit": 1})).json()["next_cursor"]
        assert (await owner.get("/v1/branches", params={"limit": 5, "cursor": cursor})).status_code == 200
        problem(await owner.get("/v1/sources", params={"cursor": cursor}), 400, "invalid_cursor")

    async def test_unknown_paths_ids_and_methods(self, owner: httpx.AsyncClient) -> None:
        for path in ("/v1/nothing", "/nothing", "/v1/kassas/", "/v1/kassas/kas_1", f"/v1/kassas/src_{UNKNOWN}"):
            problem(await owner.get(path), 404, "not_found")
        for path, methods in (("/v1/kassas", "GET, POST"), (f"/v1/api-keys/key_{UNKNOWN}", "DELETE, GET")):
            answer = await owner.put(path, json={})
            problem(answer, 405, "method_not_allowed")
            assert answer.headers["allow"] == methods

    async def test_bodies_that_are_too_large(self, owner: httpx.AsyncClient) -> None:
        large = json.dumps({"name": "x" * 300_000}).encode()
        headers = {"Content-Type": "application/json"}
        told = problem(await owner.post("/v1/branches", content=large, headers=headers), 413, "payload_too_large")
        assert told["max_bytes"] == 256 * 1024

        async def pieces() -> AsyncIterator[bytes]:
            for start in range(0, len(large), 10_000):
                yield large[start : start + 10_000]

        answer = await owner.post("/v1/branches", content=pieces(), headers={**headers, "Transfer-Encoding": "chunked"})
        problem(answer, 413, "payload_too_large")

    async def test_every_answer_carries_its_id_and_is_not_kept(self, owner: httpx.AsyncClient) -> None:
        answer = await owner.get("/v1/kassas", headers={"X-Request-Id": "crm-4711-abc"})
        assert answer.headers["x-request-id"] == "crm-4711-abc"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        answer = await owner.get("/v1/kassas", headers={"X-Request-Id": "bad id\t"})
        assert answer.headers["x-request-id"].startswith("req_")

    async def test_what_breaks_here_says_nothing_of_the_inside(
        self, app: FastAPI, owner: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def broken(*_: object) -> None:
            raise RuntimeError("password=hunter2")

        monkeypatch.setattr(app.state.services.kassas, "_database", broken)
        answer = await owner.get("/v1/kassas")
        told = problem(answer, 500, "internal_error")
        assert told["retryable"] is True
        assert "hunter2" not in answer.text
        assert "Traceback" not in answer.text

    async def test_rate_limits_are_off_until_an_operator_sets_them(
        self, world: World, admin: httpx.AsyncClient
    ) -> None:
        key = await key_of(admin, public("mer", world.merchant_id), "settings:read")
        limited = create_app(
            world.runtime.services, world.runtime.settings.model_copy(update={"rate_limit_per_minute": 2})
        )
        async with client(limited, key) as caller:
            first = await caller.get("/v1/kassas")
            assert first.headers["ratelimit"] == '"default";r=1;t=60'
            assert first.headers["ratelimit-policy"] == '"default";q=2;w=60'
            assert (await caller.get("/v1/kassas")).status_code == 200
            answer = await caller.get("/v1/kassas")
            assert problem(answer, 429, "rate_limited")["policy"] == "default"
            assert 1 <= int(answer.headers["retry-after"]) <= 30
            assert (await caller.get("/livez")).status_code == 200
        async with client(limited, new_api_key(live=True)) as guesser:
            answers = [(await guesser.get("/v1/kassas")).status_code for _ in range(3)]
            assert answers == [401, 401, 429]

    async def test_health_and_metrics(self, app: FastAPI, world: World) -> None:
        async with client(app) as anybody:
            assert (await anybody.get("/livez")).json() == {"status": "pass"}
            assert (await anybody.get("/readyz")).json() == {"status": "pass"}
            await anybody.get(f"/v1/kassas/kas_{UNKNOWN}")
            text = (await anybody.get("/metrics")).text
            assert 'route="unmatched",status_class="4xx"' in text
            assert "kassa_queue_depth" in text
            assert UNKNOWN not in text
            world.runtime.services.health.drain()
            answer = await anybody.get("/readyz")
            assert (answer.status_code, answer.json()["output"]) == (503, "shutting down")
            assert (await anybody.get("/livez")).status_code == 200

    async def test_another_schema_is_not_ready(self, app: FastAPI, world: World) -> None:
        await change(world, "UPDATE alembic_version SET version_num = 'other'")
        async with client(app) as anybody:
            answer = await anybody.get("/readyz")
        assert answer.status_code == 503
        assert "migrate" in answer.json()["output"]

    async def test_the_documentation_works_without_the_internet(self, app: FastAPI) -> None:
        async with client(app) as anybody:
            page = await anybody.get("/docs")
            assert "default-src 'none'" in page.headers["content-security-policy"]
            for name, media_type in (("docs.css", "text/css"), ("docs.js", "text/javascript")):
                assert f'"docs/{name}"' in page.text
                part = await anybody.get(f"/docs/{name}")
                assert part.headers["content-type"].startswith(media_type)
            problem(await anybody.get("/docs/docs.html"), 404, "not_found")
            contract = (await anybody.get("/openapi.json")).json()
            assert contract["info"]["title"] == "CRM-Kassa"


async def used(world: World, kassa_id: UUID) -> None:
    """As if the kassa had sent a receipt."""
    await change(world, "UPDATE kassas SET first_used_at = kassa_now() WHERE id = :id", id=kassa_id)


async def change(world: World, sql: str, **values: object) -> None:
    await rows.scalar(world.runtime.database, f"{sql} RETURNING 1", **values)


async def message_types(world: World) -> list[str]:
    found = await rows.scalar(world.runtime.database, "SELECT string_agg(type, ' ' ORDER BY txid, id) FROM messages")
    return str(found).split()
