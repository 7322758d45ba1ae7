"""A worker of its own: Prometheus and an orchestrator find it at its port."""

import socket
from pathlib import Path

from app import __version__
from tests.support.processes import worker
from tests.support.world import open_world


def free_port() -> int:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        port: int = door.getsockname()[1]
        return port


async def test_a_worker_tells_of_itself_at_its_port(database_url: str, tmp_path: Path) -> None:
    port = free_port()
    async with open_world(database_url, tmp_path) as world, worker(world, worker_port=port) as process:
        event = await world.pay()
        await world.status(event, "fiscalized", seconds=60)
        base = f"http://127.0.0.1:{port}"
        assert (await world.http.get(f"{base}/livez")).json() == {"status": "pass"}
        assert (await world.http.get(f"{base}/readyz")).json() == {"status": "pass"}
        told = (await world.http.get(f"{base}/metrics")).text
        assert 'kassa_receipt_attempts_total{outcome="fiscalized",provider="digitalkassa"} 1.0' in told
        exchange = (
            'kassa_provider_request_seconds_count{operation="submit",provider="digitalkassa",status_class="2xx"} 1.0'
        )
        assert exchange in told
        for committer in ("mark", "settle"):
            assert f'kassa_group_commit_rows_sum{{committer="{committer}"}} 1.0' in told
            assert f'kassa_group_commit_seconds_count{{committer="{committer}"}} 1.0' in told
        assert f'kassa_build_info{{version="{__version__}"}} 1.0' in told, "an alert fires where it is absent"
        assert (await world.http.get(f"{base}/v1/events")).status_code == 404, "it serves no API"
        assert not process.ended
