"""Every router, once. Paths are what the outside sees: `/v1/…` behind API keys, the rest without."""

import re

from fastapi import Depends, FastAPI
from fastapi.routing import iter_route_contexts

from app.api import (
    corrections,
    docs,
    endpoints,
    events,
    health,
    inbound,
    kassas,
    keys,
    merchants,
    messages,
    nomenclature,
    notifications,
    prepayments,
    providers,
    receipt_pages,
    receipts,
    sources,
    vat,
)
from app.api.deps import known_parameters

BEHIND_KEYS = (
    events.router,
    receipts.router,
    receipt_pages.router,
    corrections.router,
    prepayments.router,
    messages.router,
    merchants.router,
    merchants.branches,
    vat.router,
    kassas.router,
    sources.router,
    nomenclature.router,
    nomenclature.table,
    notifications.router,
    endpoints.router,
    keys.router,
    providers.router,
)
OPEN = (inbound.router, health.router, docs.router, receipt_pages.public)
"""Senders who sign in their own way, orchestrators, people who read, and buyers with the link of their receipt."""


def shadowed(app: FastAPI) -> dict[str, set[str]]:
    """Paths that a path with an id would match as well, such as `/v1/receipts/bulk`, with the methods of their own."""
    known: dict[str, set[str]] = {}
    for context in iter_route_contexts(app.routes):
        if context.path is not None:
            known.setdefault(context.path, set()).update(context.methods or ())
    patterns = [re.compile(re.sub(r"\{[^}]+\}", "[^/]+", path)) for path in known if "{" in path]
    return {path: known[path] for path in known if "{" not in path and any(one.fullmatch(path) for one in patterns)}


def include(app: FastAPI) -> None:
    """Put all routes into the application."""
    for router in BEHIND_KEYS:
        app.include_router(router, prefix="/v1", dependencies=[Depends(known_parameters)])
    for router in OPEN:
        app.include_router(router)
