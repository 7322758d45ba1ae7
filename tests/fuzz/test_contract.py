"""The whole API against its own description: what is answered is documented, and nothing breaks it.

Schemathesis makes requests from `/openapi.json` (examples, boundaries, random data, chains of calls) and checks every
answer. The server is the real program in this process, over embedded PostgreSQL, with a worker beside it. Two merchants
are peers that must not see each other's things; an admin key does what only an admin may.
"""

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from app.db.repos import keys
from app.domain.errors import NotFound
from app.main import create_app
from app.services.principal import Principal
from tests.support.server import serve
from tests.support.town import KASSA, client, operations
from tests.support.world import World, open_world

SEED = os.environ.get("KASSA_FUZZ_SEED", "1")
SHORT = 30
EXAMPLES = int(os.environ.get("KASSA_FUZZ_EXAMPLES", SHORT))
PHASES = ("examples", *(("coverage",) if EXAMPLES > SHORT else ()), "fuzzing", "stateful")
"""Boundary values make the same fifteen thousand cases however few examples are wanted: those are `make test-long`."""

# One worker: two threads that parse Python at once break CPython 3.11 (gh-106905), and Hypothesis parses.
CONFIG = """
seed = {seed}
workers = 1
continue-on-failure = true
request-timeout = 60
suppress-health-check = ["all"]

[generation]
max-examples = {examples}
database = "none"

[auth.wfc]
path = "{auth}"
peers = ["first merchant", "second merchant"]

[checks.positive_data_acceptance]
expected-statuses = ["2xx", "401", "403", "404", "409", "412", "422", "429"]

[checks.negative_data_rejection]
expected-statuses = ["400", "401", "403", "404", "405", "406", "409", "412", "413", "415", "422", "428", "429"]

[checks.missing_required_header]
expected-statuses = ["400", "401", "403", "404", "415", "422", "428"]

[[operations]]
include-method = "GET"
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "401", "403", "404", "422", "429"]

[[operations]]
include-operation-id = ["createReceipt", "createCorrection"]
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "401", "403", "404", "409", "422", "429"]
"""
"""A request may fit the schema and still break a rule between its members (sums, formats): that is a 422. What a schema
cannot say either: a cursor was given out by us (400), a key is needed unless the request is only tried (400)."""


async def keys_of(world: World, url_of_register: str) -> tuple[dict[str, str], set[UUID]]:
    """The callers by name with their keys' texts, and the ids of those keys and of the merchants."""
    app = create_app(world.runtime.services, world.runtime.settings, metrics=world.runtime.metrics)
    texts, ids = {}, set()
    admin_key = await world.runtime.services.access.ensure_admin_key()
    assert admin_key is not None
    async with client(app, admin_key) as admin:
        for name in ("first merchant", "second merchant"):
            merchant = (await admin.post("/v1/merchants", json={"name": name, "inn": "7707083893"})).json()
            made = await admin.post("/v1/api-keys", json={"merchant_id": merchant["id"], "scopes": ["*"]})
            texts[name] = made.json()["key"]
            async with client(app, texts[name]) as own:
                kassa = await own.post("/v1/kassas", json={**KASSA, "base_url": f"{url_of_register}/v2.1/"})
                assert kassa.status_code == 201, kassa.text
            ids |= {UUID(one.partition("_")[2]) for one in (merchant["id"], made.json()["id"])}
        ids |= {UUID(one["id"].partition("_")[2]) for one in (await admin.get("/v1/api-keys")).json()["data"]}
    texts["admin"] = admin_key
    return texts, ids


def spare(world: World, ids: set[UUID], monkeypatch: pytest.MonkeyPatch) -> None:
    """The callers' own keys and merchants cannot be ended: nobody would be left to call."""

    def sparing(wanted: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def spared(*given: Any, **named: Any) -> Any:
            suspends = "status" in (given[-1] if isinstance(given[-1], dict) else {})
            if (wanted.__name__ != "change" or suspends) and ids.intersection(
                one for one in given if isinstance(one, UUID)
            ):
                raise NotFound("There is no such thing here.")
            return await wanted(*given, **named)

        return spared

    services = world.runtime.services
    for owner, method in ((services.access, "revoke"), (services.access, "rotate"), (services.merchants, "change")):
        monkeypatch.setattr(owner, method, sparing(getattr(owner, method)))


@dataclass(frozen=True)
class Target:
    """The program as it is fuzzed: its address and the keys of those who ask."""

    world: World
    app: Any
    url: str
    texts: dict[str, str]

    async def fuzzed(self, folder: Path, examples: int, phases: Sequence[str], *more: str) -> tuple[int | None, str]:
        """Exit code and words of one run; `more` are options of its own."""
        auth, config = folder / "auth.json", folder / "schemathesis.toml"
        headers = {name: [{"name": "Authorization", "value": f"Bearer {text}"}] for name, text in self.texts.items()}
        (folder / "openapi.json").write_text(json.dumps(self.app.openapi()))
        auth.write_text(json.dumps({"auth": [{"name": n, "fixedHeaders": h} for n, h in headers.items()]}))
        config.write_text(CONFIG.format(seed=SEED, examples=examples, auth=auth))
        fuzzer = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "--no-color",
            "run", "openapi.json", "--url", self.url, "--checks", "all", "--phases", ",".join(phases), *more,
            cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        try:
            told, _ = await fuzzer.communicate()
        finally:
            if fuzzer.returncode is None:
                fuzzer.kill()
        return fuzzer.returncode, told.decode()


@pytest.fixture
async def target(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Target]:
    async with AsyncExitStack() as stack:
        world = await stack.enter_async_context(open_world(database_url, tmp_path / "data"))
        texts, ids = await keys_of(world, world.simulator_url)
        spare(world, ids, monkeypatch)
        app = create_app(world.runtime.services, world.runtime.settings, metrics=world.runtime.metrics)
        url = await stack.enter_async_context(serve(app))
        await stack.enter_async_context(world.working())
        yield Target(world, app, url, texts)


@pytest.mark.timeout(60 + 120 * EXAMPLES)
async def test_the_api_is_what_it_says(target: Target, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, text = await target.fuzzed(tmp_path, EXAMPLES, PHASES)
    if out := os.environ.get("KASSA_FUZZ_OUT"):
        Path(out).write_text(text, encoding="utf-8")  # noqa: ASYNC240 - at the end, nothing else runs
    assert code == 0, text
    # A phase that was left out, or an operation that was not asked, would be green as well.
    summary = text.rpartition("Test Phases:")[2]
    assert re.findall(r"✅ +(\w+)", summary) == [one.title() for one in PHASES], text
    assert f"Tested: {len(list(operations(target.app)))}" in text, text
    with capsys.disabled():
        (cases,) = re.findall(r"(\d+) generated", summary)
        print(f"\n{cases} cases in {', '.join(PHASES)}: {EXAMPLES} examples, seed {SEED}, 0 failures")


async def test_a_merchant_who_may_read_anothers_key_is_found(
    target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the green of two identities would prove nothing."""

    async def anybodys(_: Principal, key_id: UUID) -> Any:
        async with target.world.runtime.database.pipeline() as tx:
            found = await keys.any_by_id(tx, key_id)
        if found is None:
            raise NotFound("There is no such key here.")
        return found

    monkeypatch.setattr(target.world.runtime.services.access, "read", anybodys)
    only = [part for name in ("createApiKey", "getApiKey") for part in ("--include-operation-id", name)]
    code, text = await target.fuzzed(tmp_path, 30, ("fuzzing", "stateful"), *only)
    assert code == 1, text
    assert "ST402 Object-level authorization bypass" in text, text
