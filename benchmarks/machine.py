"""On what a run was made: without it no figure means anything."""

import importlib.metadata
import os
import platform
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.cluster import Cluster, sync_ms

_PACKAGES = (
    "fastapi",
    "starlette",
    "uvicorn",
    "uvloop",
    "httptools",
    "pydantic",
    "SQLAlchemy",
    "asyncpg",
    "psycopg",
    "httpx",
    "aiohttp",
    "procrastinate",
    "pgqueuer",
)


def describe(cluster: Cluster) -> dict[str, str]:
    """Date, machine, versions, settings of the database and the price of a commit, as they are now."""
    settings = cluster.settings
    shown = ", ".join(f"{name}={value}" for name, value in settings.items() if name != "server_version")
    where = "of its own" if cluster.pid else "given"
    sync = f"fdatasync of 8 kB {sync_ms(cluster.folder):.2f} ms" if cluster.pid else "fdatasync not measured"
    return {
        "Date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "Machine": f"{os.cpu_count()} cores, {_processor()}, {_memory()}, {platform.system()} {platform.release()}",
        "Load before": f"{os.getloadavg()[0]:.2f}",
        "Disk": sync,
        "PostgreSQL": f"{settings['server_version']}, {where}: {shown}",
        "Python": platform.python_version(),
        "Packages": ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except FileNotFoundError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _memory() -> str:
    return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GB"
