"""`up` as an operator starts it, and the same program as single processes over one PostgreSQL."""

import json
import os
import re
import signal
from pathlib import Path

import httpx

from app.keys import generate
from app.simulator.server import UVICORN_OPTIONS, create_simulator
from tests.support.connected import ENVIRONMENT, EVENT, connect
from tests.support.program import Program, program
from tests.support.server import serve

UP = ("up", "--port", "0", "--data-dir", "data", "--ready-file", "ready.json")


async def pay(api_url: str, key: str) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}", "Prefer": "wait=20"}
    async with httpx.AsyncClient(base_url=api_url, headers=headers, timeout=30) as client:
        return await client.post("/v1/events", json=EVENT)


async def stopped(running: Program) -> None:
    code = await running.end(signal.SIGTERM)
    assert code == 0, running.said
    assert "Stopped." in running.said
    assert "Traceback" not in running.said


async def test_up_serves_is_alone_stops_in_order_and_comes_back_with_everything(tmp_path: Path) -> None:
    ready_file = tmp_path / "ready.json"
    async with serve(create_simulator(), **UVICORN_OPTIONS) as simulator_url:
        async with program(*UP, cwd=tmp_path, **ENVIRONMENT) as running:
            await running.says("Ready.")
            ready = json.loads(ready_file.read_text())
            assert {name for name, value in ready.items() if value is None} == {
                "simulator_url",
                "api_key",
                "merchant_id",
                "kassa_id",
            }
            assert ready_file.stat().st_mode & 0o077 == 0
            key = await connect(ready["api_url"], ready["admin_key"], simulator_url)
            paid = await pay(ready["api_url"], key)
            assert paid.status_code == 200, paid.text
            receipt = paid.json()["receipts"][0]
            assert (receipt["status"], receipt["total"]) == ("fiscalized", 199000)

            async with program(*UP, cwd=tmp_path, **ENVIRONMENT) as second:
                assert await second.end() == 1
                assert "is in use by another CRM-Kassa" in second.said
                assert "Traceback" not in second.said
            assert json.loads(ready_file.read_text()) == ready
            listing = ("merchant", "list", "--json", "--data-dir", "data")
            async with program(*listing, cwd=tmp_path) as beside:
                assert await beside.end() == 0
                assert [one["inn"] for one in json.loads(beside.said)] == ["7700000009"]
            await stopped(running)
        assert not ready_file.exists()
        assert not (tmp_path / "data" / "running.json").exists()

        async with program(*UP, "--demo", cwd=tmp_path, **ENVIRONMENT) as running:
            await running.says("Ready.")
            again = json.loads(ready_file.read_text())
            assert again["admin_key"] == ready["admin_key"]
            assert all(again.values())
            repeated = await pay(again["api_url"], key)
            assert repeated.status_code == 200
            assert repeated.headers["Idempotent-Replayed"] == "true"
            assert repeated.json()["receipts"][0]["fiscal"] == receipt["fiscal"]
            shown = await pay(again["api_url"], again["api_key"])
            assert shown.json()["receipts"][0]["status"] == "fiscalized"
            await stopped(running)
        assert not ready_file.exists()

        async with program("up", "--port", "0", "--demo", "--data-dir", "data", cwd=tmp_path, **ENVIRONMENT) as third:
            await third.says(again["api_key"])
            await third.says("Ready.")
            await stopped(third)


async def test_what_dies_beside_the_program_is_started_again(tmp_path: Path) -> None:
    async with (
        serve(create_simulator(), **UVICORN_OPTIONS) as simulator_url,
        program(*UP, "--workers", "2", cwd=tmp_path, **ENVIRONMENT) as running,
    ):
        await running.says("Ready.")
        ready = json.loads((tmp_path / "ready.json").read_text())
        key = await connect(ready["api_url"], ready["admin_key"], simulator_url)
        child = next(line for line in running.lines if re.search(r"Worker \d+$", line))
        os.kill(int(child.split()[-1]), signal.SIGKILL)
        await running.says("worker.process_died")
        await running.says("Worker ")
        server = (tmp_path / "data" / "pg" / "postmaster.pid").read_text().split()[0]
        os.kill(int(server), signal.SIGKILL)
        await running.says("embedded_postgres.restarted")
        paid = await pay(ready["api_url"], key)
        assert paid.json()["receipts"][0]["status"] == "fiscalized"
        await stopped(running)


async def test_api_and_worker_are_processes_of_their_own(database_url: str, tmp_path: Path) -> None:
    environment = {**ENVIRONMENT, **generate(), "KASSA_DATABASE_URL": database_url}
    async with program("key", "create", "--admin", "--json", cwd=tmp_path, **environment) as made_key:
        assert await made_key.end() == 0, made_key.said
        admin_key = json.loads(made_key.said)["key"]
    async with (
        serve(create_simulator(), **UVICORN_OPTIONS) as simulator_url,
        program("api", "--port", "0", cwd=tmp_path, **environment) as api,
        program("worker", cwd=tmp_path, **environment) as worker,
    ):
        api_url = (await api.says("API http")).split()[-1]
        await worker.says("Worker")
        paid = await pay(api_url, await connect(api_url, admin_key, simulator_url))
        assert paid.json()["receipts"][0]["status"] == "fiscalized"
        for process in (api, worker):
            assert await process.end(signal.SIGTERM) == 0, process.said
            assert "Traceback" not in process.said
