"""Rough speed of the real program on this machine: durable intake through the API, and receipts end to end.

Everything is real but the other side: the API with its authentication and planning, embedded PostgreSQL with fsync, a
worker, the digitalkassa driver over HTTP to the simulator, signed webhooks. Load, program, database and simulator
share the cores. Figures are printed, never judged.
"""

import argparse
import asyncio
import json
import os
import platform
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

import aiohttp

READY_SECONDS = 60


@asynccontextmanager
async def program(folder: Path) -> AsyncIterator[dict[str, str]]:
    """`crm-kassa up --demo` as a child process; yields its ready file."""
    ready = folder / "ready.json"
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "app",
        "up",
        "--demo",
        "--port",
        "0",
        "--data-dir",
        str(folder / "data"),
        "--ready-file",
        str(ready),
        env={**os.environ, "KASSA_LOG_LEVEL": "error"},
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(READY_SECONDS):
            while not ready.exists():
                if child.returncode is not None:
                    raise SystemExit(f"crm-kassa up ended with {child.returncode}")
                await asyncio.sleep(0.05)
        yield json.loads(ready.read_text())
    finally:
        if child.returncode is None:
            child.send_signal(signal.SIGTERM)
            await child.wait()


def event(number: int) -> bytes:
    """A payment of one subscription, as a CRM would report it."""
    return json.dumps(
        {
            "type": "payment.succeeded",
            "external_id": f"bench-{number}",
            "amount": 199000,
            "currency": "RUB",
            "customer": {"email": "anna@example.org"},
            "items": [{"name": "Абонемент", "quantity": "1", "price": 199000, "amount": 199000, "vat": "none"}],
        }
    ).encode()


async def intake(ready: dict[str, str], seconds: float, connections: int) -> tuple[int, float, list[float]]:
    """Post distinct events for a while; (accepted, seconds, latencies)."""
    url = f"{ready['api_url']}/v1/events"
    headers = {"Authorization": f"Bearer {ready['api_key']}", "Content-Type": "application/json"}
    latencies: list[float] = []
    number = 0
    began = time.perf_counter()
    until = began + seconds

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=connections)) as http:

        async def caller() -> None:
            nonlocal number
            while time.perf_counter() < until:
                number += 1
                started = time.perf_counter()
                async with http.post(url, data=event(number), headers=headers) as answer:
                    if answer.status != 202:
                        raise SystemExit(f"intake answered {answer.status}: {await answer.text()}")
                    await answer.read()
                latencies.append(time.perf_counter() - started)

        await asyncio.gather(*(caller() for _ in range(connections)))
    return len(latencies), time.perf_counter() - began, latencies


async def widen(ready: dict[str, str]) -> None:
    """Let the one kassa take many receipts at once: the pipeline is measured, not a provider's limit."""
    headers = {"Authorization": f"Bearer {ready['api_key']}"}
    url = f"{ready['api_url']}/v1/kassas/{ready['kassa_id']}"
    async with aiohttp.ClientSession() as http, http.patch(url, json={"max_in_flight": 64}, headers=headers) as answer:
        if answer.status != 200:
            raise SystemExit(f"the kassa was not changed: {await answer.text()}")


async def tape(ready: dict[str, str]) -> list[dict[str, str]]:
    """What the register printed, each with its moment."""
    async with aiohttp.ClientSession() as http, http.get(f"{ready['simulator_url']}/tape") as answer:
        found = await answer.json()
    documents: list[dict[str, str]] = found if isinstance(found, list) else found["data"]
    return documents


async def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=5.0)
    options.add_argument("--connections", type=int, default=64)
    chosen = options.parse_args()
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.2f}")
    with tempfile.TemporaryDirectory(prefix="kassa-bench-", ignore_cleanup_errors=True) as folder:
        async with program(Path(folder)) as ready:
            await widen(ready)
            accepted, took, latencies = await intake(ready, chosen.seconds, chosen.connections)
            cuts = statistics.quantiles(latencies, n=100)
            print(
                f"durable intake: {accepted / took:,.0f} events/s, {chosen.connections} connections, "
                f"p50 {cuts[49] * 1000:.1f} ms, p99 {cuts[98] * 1000:.1f} ms (worker running beside it)"
            )
            deadline = time.perf_counter() + 300
            while len(documents := await tape(ready)) < accepted and time.perf_counter() < deadline:
                print(f"  {len(documents):,} of {accepted:,} receipts printed", flush=True)
                # Rarely: showing the whole tape takes the simulator's time away from printing.
                await asyncio.sleep(4)
            if len(documents) != accepted:
                raise SystemExit(f"{accepted} accepted, {len(documents)} documents: this must not be")
            moments = sorted(datetime.fromisoformat(one["at"]) for one in documents)
            took = (moments[-1] - moments[0]).total_seconds()
            print(f"end to end: {accepted / took:,.0f} receipts/s from first to last of {accepted:,} documents")


if __name__ == "__main__":
    asyncio.run(main())
