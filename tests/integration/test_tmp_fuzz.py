import asyncio, os
from pathlib import Path
import pytest
from app.infra.ids import public
from app.main import create_app
from tests.support.server import serve
from tests.support.world import open_world
from tests.integration.test_api_settings import client, key_of

@pytest.mark.timeout(580)
async def test_fuzz(database_url, tmp_path):
    async with open_world(database_url, tmp_path, public_url=None) as world:
        app = create_app(world.runtime.services, world.runtime.settings, metrics=world.runtime.metrics)
        async with client(app, await world.runtime.services.access.ensure_admin_key()) as admin:
            key = await key_of(admin, public("mer", world.merchant_id), "*")
        async with serve(app) as url:
            p = await asyncio.create_subprocess_exec(
                "/work/main/.venv/bin/st", "run", f"{url}/openapi.json", "--checks", "all", "--phases", "coverage,fuzzing",
                "-n", "25", "--seed", "1", "-H", f"Authorization: Bearer {key}", "--max-time", "400", "--continue-on-failure",
                *os.environ.get("ST_ARGS", "").split(),
                stdout=open("/tmp/h/st.log", "wb"), stderr=asyncio.subprocess.STDOUT, cwd="/tmp/h")
            await p.wait()
