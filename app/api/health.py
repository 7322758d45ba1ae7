"""For balancers, orchestrators and Prometheus: alive, ready, and the numbers. No key, no access log."""

from fastapi import APIRouter, Response

from app.api.deps import ServicesDep

router = APIRouter(include_in_schema=False)


@router.get("/livez")
async def alive() -> dict[str, str]:
    """The event loop turns. Never asks the database: its outage must not restart every process."""
    return {"status": "pass"}


@router.get("/readyz")
async def ready(services: ServicesDep, response: Response) -> dict[str, str]:
    """May be given requests: the database answers, its schema is this code's, and nobody is shutting down.

    `warn` with 200: requests are answered, and `output` says what an operator should do.
    """
    found = await services.health.ready()
    if found.ready:
        return {"status": "warn", "output": found.why} if found.why else {"status": "pass"}
    response.status_code = 503
    return {"status": "fail", "output": found.why}


@router.get("/metrics")
async def metrics(services: ServicesDep) -> Response:
    """What Prometheus scrapes; no label holds an id, a URL or a contact."""
    text, media_type = await services.health.exposition()
    return Response(text, media_type=media_type)
