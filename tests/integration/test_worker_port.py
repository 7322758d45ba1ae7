"""A worker of its own: Prometheus and an orchestrator find it at its port."""

import socket
from pathlib import Path

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
        assert (await world.http.get(f"{base}/v1/events")).status_code == 404, "it serves no API"
        assert not process.ended
