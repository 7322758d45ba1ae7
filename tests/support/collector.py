"""A collector: takes traces over OTLP/HTTP on a real port, decodes them with the protocol's own classes, keeps them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from fastapi import FastAPI, Request, Response
from google.protobuf.json_format import MessageToJson
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.server import serve

KINDS = {1: "internal", 2: "server", 3: "client", 4: "producer", 5: "consumer"}


@dataclass(frozen=True)
class Told:
    """One span as it arrived; ids in hex, `parent` empty for a root, `links` as (trace, span)."""

    trace: str
    id: str
    parent: str
    name: str
    kind: str
    values: dict[str, Any]
    links: list[tuple[str, str]]
    failed: bool
    began: int
    ended: int


@dataclass
class Collector:
    """What arrived, `raw` as JSON that a person reads, and with which status the posts are answered."""

    url: str = ""
    status: int = 200
    spans: list[Told] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    resources: list[dict[str, Any]] = field(default_factory=list)
    raw: list[str] = field(default_factory=list)

    def of(self, trace: UUID) -> list[Told]:
        """The trace with this id, in the order of its spans' beginnings."""
        return sorted((one for one in self.spans if one.trace == trace.hex), key=lambda one: one.began)

    def named(self, trace: UUID, name: str) -> list[Told]:
        return [one for one in self.of(trace) if one.name == name]


@asynccontextmanager
async def open_collector() -> AsyncIterator[Collector]:
    collector = Collector()
    app = FastAPI()

    @app.post("/v1/traces")
    async def take(request: Request) -> Response:
        body = await request.body()
        collector.headers.append(dict(request.headers))
        if collector.status == 200:
            assert request.headers["content-type"] == "application/x-protobuf"
            _keep(collector, ExportTraceServiceRequest.FromString(body))
        return Response(status_code=collector.status)

    async with serve(app) as url:
        collector.url = url
        yield collector


def _keep(collector: Collector, told: ExportTraceServiceRequest) -> None:
    collector.raw.append(MessageToJson(told, ensure_ascii=False))
    for of_resource in told.resource_spans:
        collector.resources.append(_values(of_resource.resource.attributes))
        for of_scope in of_resource.scope_spans:
            for span in of_scope.spans:
                collector.spans.append(
                    Told(
                        trace=span.trace_id.hex(),
                        id=span.span_id.hex(),
                        parent=span.parent_span_id.hex(),
                        name=span.name,
                        kind=KINDS[span.kind],
                        values=_values(span.attributes),
                        links=[(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
                        failed=span.status.code == 2,
                        began=span.start_time_unix_nano,
                        ended=span.end_time_unix_nano,
                    )
                )


def _values(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}
