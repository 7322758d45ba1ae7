"""The ASGI application: routes, middleware, problems and contract around the services of a running process."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from fastapi import FastAPI
from starlette.middleware import Middleware

from app import __version__
from app.api import events, health, problems, routes
from app.api.contract import Application
from app.api.middleware import Authenticate, LimitBody, Observe, RateLimit
from app.infra.metrics import Metrics
from app.infra.tracing import OFF, Tracing
from app.services.bundle import Services
from app.settings import Settings

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def create_app(
    services: Services | None,
    settings: Settings,
    *,
    metrics: Metrics | None = None,
    tracing: Tracing = OFF,
    lifespan: Lifespan | None = None,
) -> FastAPI:
    """An application over services that are open already.

    A `lifespan` may open them instead: it puts them at `app.state.services` before the first request.
    """
    around = [
        Middleware(Observe, metrics=metrics or Metrics(), tracing=tracing),
        Middleware(
            LimitBody,
            api_bytes=settings.api_body_limit,
            inbound_bytes=settings.inbound_body_limit,
            seconds=settings.body_seconds,
        ),
        Middleware(Authenticate, rate=RateLimit(settings.rate_limit_per_minute)),
    ]
    app = Application(
        version=__version__,
        license_info={"name": "MIT", "identifier": "MIT"},
        servers=[{"url": settings.public_url or "/", "description": "This installation"}],
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
        lifespan=lifespan,
        middleware=around,
        # Its own would tell whole paths, and those of inbound notices hold secrets.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.services = services
    app.short_cut(events.HOT, around)
    problems.install(app)
    routes.include(app)
    for path, methods in routes.shadowed(app).items():
        app.short_cut(problems.other_methods(path, methods), around)
    return app


def create_watch(services: Services) -> FastAPI:
    """Only what orchestrators and Prometheus ask: for a process that serves no API."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.state.services = services
    app.include_router(health.router)
    return app


def openapi_document() -> dict[str, Any]:
    """The contract as it is committed: of the code alone, whatever this machine's environment says."""
    return create_app(None, Settings.model_construct(public_url=None)).openapi()
