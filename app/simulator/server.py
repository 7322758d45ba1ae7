"""The simulator over HTTP: one tape, scripted faults, and every protocol found in `protocols/`.

It is the world outside: it speaks the providers' own protocols and knows nothing of the gateway.
"""

import html
import importlib
import pkgutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI, HTTPException
from fastapi.responses import HTMLResponse, PlainTextResponse
from starlette.types import Receive, Scope, Send

from app.simulator import faults as fault_script
from app.simulator import protocols
from app.simulator.faults import ABORT, HANG_UP
from app.simulator.simulator import ProtocolFront, Simulator, SimulatorConfig
from app.simulator.tape import Document

__all__ = ["UVICORN_OPTIONS", "SimulatorConfig", "create_simulator", "discover"]

UVICORN_OPTIONS: dict[str, Any] = {"access_log": False, "log_level": "warning"}
"""For whoever serves it: the tape and the faults are the record, an access log only hides other output."""


class _App(FastAPI):
    """FastAPI that lets a fault cut the connection it came over, which ASGI has no word for."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            # Seen from outside every middleware, `send` is a method of uvicorn's request cycle, which holds the socket.
            transport = getattr(getattr(send, "__self__", None), "transport", None)
            scope[ABORT] = getattr(transport, "abort", _no_socket)
            scope[HANG_UP] = getattr(transport, "close", _no_socket)
        await super().__call__(scope, receive, send)


def _no_socket() -> None:
    raise RuntimeError("this fault needs a real connection: serve the simulator with uvicorn")


def create_simulator(config: SimulatorConfig | None = None) -> FastAPI:
    """The whole simulator as an ASGI application; `app.state.simulator` is its `Simulator`."""
    simulator = Simulator(config or SimulatorConfig())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with simulator.running():
            yield

    fronts = discover()
    app = _App(title="CRM-Kassa simulator", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.simulator = simulator
    app.include_router(fault_script.router(simulator.faults))
    app.include_router(_common(simulator, sorted(fronts)))
    for front in fronts.values():
        app.include_router(front.router(simulator))
    return app


def discover() -> dict[str, ProtocolFront]:
    """Every protocol front, by code. A module without one, or with another's code, stops the program."""
    found: dict[str, ProtocolFront] = {}
    for info in pkgutil.iter_modules(protocols.__path__):
        if info.name.startswith("_"):
            continue
        module = importlib.import_module(f"{protocols.__name__}.{info.name}")
        front: ProtocolFront = module.PROTOCOL()
        if front.code in found:
            raise RuntimeError(f"{module.__name__}: another protocol is already called {front.code!r}")
        found[front.code] = front
    return found


def _common(simulator: Simulator, codes: list[str]) -> APIRouter:
    api = APIRouter()

    @api.get("/livez", response_class=PlainTextResponse)
    async def livez() -> str:
        return "ok"

    @api.get("/tape")
    async def tape(provider_id: str | None = None, provider: str | None = None, kind: str = "receipts") -> list[Any]:
        documents = simulator.tape.documents if kind == "all" else simulator.tape.receipts
        return [
            document.as_json()
            for document in documents
            if provider_id in (None, document.provider_id) and provider in (None, document.provider)
        ]

    @api.get("/", response_class=HTMLResponse)
    async def front_page() -> str:
        return _page(codes, simulator)

    @api.get("/receipt/{fn}/{fd}/{fpd}", response_class=PlainTextResponse)
    async def receipt(fn: str, fd: int, fpd: int) -> str:
        for document in simulator.tape.documents[max(fd - 1, 0) : fd]:
            if document.is_receipt and (document.fn, document.fpd) == (fn, fpd):
                return _paper(document)
        raise HTTPException(404)

    return api


def _page(codes: list[str], simulator: Simulator) -> str:
    rows = "".join(
        "<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in _row(document)) + "</tr>"
        for document in reversed(simulator.tape.receipts[-100:])
    )
    heads = "".join(f"<th>{name}</th>" for name in ("FD", "FPD", "shift", "time", "what", "roubles", "provider", "id"))
    return (
        "<!doctype html><meta charset=utf-8><title>CRM-Kassa simulator</title>"
        "<style>body{font:14px sans-serif;margin:2em}td,th{padding:.2em .8em;text-align:left}</style>"
        f"<h1>CRM-Kassa simulator</h1><p>A cash register made of software. It speaks: {', '.join(codes)}. "
        f"FN {simulator.tape.fn}, register {simulator.tape.kkt_rn}.</p>"
        "<p><a href=/tape>/tape</a> as JSON, <a href=/faults>/faults</a> what is scripted to go wrong.</p>"
        f"<p>{len(simulator.tape.receipts)} receipts printed, the latest first.</p>"
        f"<table><tr>{heads}</tr>{rows}</table>"
    )


def _row(document: Document) -> tuple[object, ...]:
    what = f"{document.operation} (correction)" if document.correction else document.operation
    shift = f"{document.shift}/{document.number_in_shift}"
    total = f"{document.total // 100}.{document.total % 100:02d}"
    return document.fd, document.fpd, shift, document.local_time, what, total, document.provider, document.provider_id


def _paper(document: Document) -> str:
    heading = "КАССОВЫЙ ЧЕК КОРРЕКЦИИ" if document.correction else "КАССОВЫЙ ЧЕК"
    return (
        f"{heading}\n{document.local_time}\n{document.operation}\n"
        f"ИТОГ {document.total // 100}.{document.total % 100:02d}\n"
        f"РН ККТ {document.kkt_rn}\nФН {document.fn}\nФД {document.fd}\nФП {document.fpd}\n{document.qr}\n"
    )
