"""The verifying code of docs/webhooks.md, in each of its languages: believes what was signed, and nothing else."""

import asyncio
import json
import re
import shutil
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.outbound.messages import message_body
from app.outbound.signing import new_secret, sign

PAGE = Path(__file__).parents[2] / "docs" / "webhooks.md"

DRIVERS = {
    "python": (
        "import json, sys\n{code}\n"
        "secret, headers = json.load(open(sys.argv[1]))\n"
        "print(verified(secret, headers, open(sys.argv[2], 'rb').read())['type'])\n"
    ),
    "php": (
        "{code}\n[$secret, $headers] = json_decode(file_get_contents($argv[1]), true);\n"
        "echo verified($secret, $headers, file_get_contents($argv[2]))['type'], PHP_EOL;\n"
    ),
    "node": (
        '{code}\nconst fs = require("node:fs");\n'
        "const [secret, headers] = JSON.parse(fs.readFileSync(process.argv[2]));\n"
        "console.log(verified(secret, headers, fs.readFileSync(process.argv[3])).type);\n"
    ),
}
"""What reads a message from two files and prints its type."""

RUNTIMES = {"python": sys.executable, "php": shutil.which("php"), "node": shutil.which("node")}


def _code(language: str) -> str:
    found = re.search(rf"<!-- verify: {language} -->\n```\w+\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None, f"docs/webhooks.md has no block for {language}"
    return found[1]


async def _says(folder: Path, language: str, secret: str, headers: dict[str, str], body: bytes) -> str | None:
    """The type that the page's code read, None when it refused."""
    program, told, raw = folder / "program", folder / "told.json", folder / "body"
    program.write_text(DRIVERS[language].replace("{code}", _code(language)))
    told.write_text(json.dumps([secret, headers]))
    raw.write_bytes(body)
    runtime = RUNTIMES[language]
    assert runtime is not None
    child = await asyncio.create_subprocess_exec(
        runtime, str(program), str(told), str(raw), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(60):
        out, err = await child.communicate()
    if child.returncode == 0:
        return out.decode().strip()
    said = (out + err).decode()
    assert "too old" in said or "does not match" in said, said
    return None


@pytest.mark.parametrize(
    "language",
    [
        pytest.param(name, marks=pytest.mark.skipif(path is None, reason=f"{name} is not installed here"))
        for name, path in RUNTIMES.items()
    ],
)
async def test_it_believes_what_was_signed_and_nothing_else(tmp_path: Path, language: str) -> None:
    secret, other = new_secret(), new_secret()
    body = message_body(
        "receipt.fiscalized", datetime.now(UTC), {"receipt": {"customer": {"name": "Анна «Примерова»"}}}
    )

    def headers(*secrets: str, seconds_ago: int = 0) -> dict[str, str]:
        at = int(time.time()) - seconds_ago
        signature = sign(secrets, "msg_0190", at, body)
        return {"webhook-id": "msg_0190", "webhook-timestamp": str(at), "webhook-signature": signature}

    async def says(given: dict[str, str], text: bytes = body) -> str | None:
        return await _says(tmp_path, language, secret, given, text)

    assert await says(headers(secret)) == "receipt.fiscalized"
    assert await says(headers(other, secret)) == "receipt.fiscalized", "while the secret is rotated"
    assert await says(headers(other)) is None
    assert await says(headers(secret), body.replace(b"fiscalized", b"rejected")) is None
    assert await says(headers(secret) | {"webhook-id": "msg_0191"}) is None
    assert await says(headers(secret, seconds_ago=400)) is None
    assert await says(headers(secret) | {"webhook-signature": "v1,"}) is None
    assert await says(headers(secret) | {"webhook-signature": "v2,AAAA"}) is None
    for missing in headers(secret):
        assert await says({name: value for name, value in headers(secret).items() if name != missing}) is None
