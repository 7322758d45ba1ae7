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


async def printed(ready: dict[str, str]) -> int:
    async with aiohttp.ClientSession() as http, http.get(f"{ready['simulator_url']}/tape") as answer:
        found = await answer.json()
    return len(found if isinstance(found, list) else found["data"])


async def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=5.0)
    options.add_argument("--connections", type=int, default=64)
    chosen = options.parse_args()
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.2f}")
    with tempfile.TemporaryDirectory(prefix="kassa-bench-", ignore_cleanup_errors=True) as folder:
        async with program(Path(folder)) as ready:
            began = time.perf_counter()
            accepted, took, latencies = await intake(ready, chosen.seconds, chosen.connections)
            cuts = statistics.quantiles(latencies, n=100)
            print(
                f"durable intake: {accepted / took:,.0f} events/s, {chosen.connections} connections, "
                f"p50 {cuts[49] * 1000:.1f} ms, p99 {cuts[98] * 1000:.1f} ms (worker running beside it)"
            )
            deadline = time.perf_counter() + 300
            while (done := await printed(ready)) < accepted and time.perf_counter() < deadline:
                print(f"\r  {done:,} of {accepted:,} receipts printed", end="", flush=True)
                await asyncio.sleep(0.5)
            total = time.perf_counter() - began
            print(f"\rend to end: {done / total:,.0f} receipts/s from first event to last document ({done:,} receipts)")
            if done != accepted:
                raise SystemExit(f"{accepted} accepted, {done} documents: this must not be")


if __name__ == "__main__":
    asyncio.run(main())
