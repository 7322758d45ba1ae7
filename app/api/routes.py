"""Every router, once. Paths are what the outside sees: `/v1/…` behind API keys, the rest without."""

from fastapi import Depends, FastAPI

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


def include(app: FastAPI) -> None:
    """Put all routes into the application."""
    for router in BEHIND_KEYS:
        app.include_router(router, prefix="/v1", dependencies=[Depends(known_parameters)])
    for router in OPEN:
        app.include_router(router)
