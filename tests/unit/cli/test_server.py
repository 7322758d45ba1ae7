"""The HTTP server's connections between two requests."""

import asyncio

from fastapi import FastAPI

from app.cli.server import bind, serving

POOLED_SECONDS = 60
"""How long load balancers keep an idle connection: nginx `keepalive_timeout` of an upstream and most clouds."""


async def test_an_idle_connection_is_ended_by_whoever_pools_it_and_does_not_keep_the_server_from_ending() -> None:
    with bind("127.0.0.1", 0) as door:
        async with serving(FastAPI(), door, patience=30) as server:
            # Ended by us first, a connection can die under the request that is just being written into it.
            assert server.config.timeout_keep_alive > POOLED_SECONDS
            reader, writer = await asyncio.open_connection(*door.getsockname())
            writer.write(b"GET /nothing HTTP/1.1\r\nHost: here\r\n\r\n")
            assert (await reader.readline()).startswith(b"HTTP/1.1 404")
            async with asyncio.timeout(20):
                await server.stop()
    writer.close()
