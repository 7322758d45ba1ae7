"""The yardstick of HTTP: FastAPI validates the event and serializes it back. It stores nothing."""

from fastapi import FastAPI

from benchmarks.peers.model import Event

app = FastAPI()


@app.post("/events")
async def echo(event: Event) -> Event:
    return event
