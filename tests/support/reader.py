"""`crm-kassa up` as a reader of the documentation starts it, and commands beside it."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

TOOLS = ("curl", "jq", "openssl", "base64", "od")
"""What the shell examples need."""


@asynccontextmanager
async def running(tmp_path: Path, *options: str, **environment: str) -> AsyncIterator[dict[str, str]]:
    """`crm-kassa up` with these options, as the README starts it; yields its ready file."""
    ready = tmp_path / "ready.json"
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "app", "up", "--port", "0", "--data-dir", str(tmp_path / "data"), "--ready-file", str(ready)),
        *options,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), **environment},
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(60):
            while not ready.exists():
                assert child.returncode is None, f"up ended with {child.returncode}"
                await asyncio.sleep(0.05)
        yield json.loads(ready.read_text())
    finally:
        if child.returncode is None:
            child.send_signal(signal.SIGTERM)
        assert await child.wait() == 0


async def run(*command: str, **environment: str) -> str:
    """What the command prints; fails with its words when it fails."""
    child = await asyncio.create_subprocess_exec(
        *command,
        env={"PATH": os.environ["PATH"], **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(180):
            out, err = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    assert child.returncode == 0, f"{out.decode()}\n{err.decode()}"
    return out.decode()
