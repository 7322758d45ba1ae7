"""Where CRMs, acquirers and providers call us: raw requests, handed on as they came, answered as their sender expects.

No API key, no parsing and no check of parameters here, because these senders follow their own rules.
"""

from fastapi import APIRouter, Request, Response

from app.ports.inbound import InboundRequest
from app.services.bundle import Services

router = APIRouter(include_in_schema=False)


@router.api_route("/in/{source_id}/{part}", methods=["GET", "POST"])
@router.api_route("/in/{source_id}/s-{secret}/{part}", methods=["GET", "POST"])
async def receive(request: Request) -> Response:
    """A notification of a source; the address may carry a secret of its own."""
    services: Services = request.app.state.services
    named = request.path_params
    reply = await services.inbound.receive(
        named["source_id"], named["part"], named.get("secret"), await _raw(request, named["part"])
    )
    return Response(reply.body, reply.status, reply.headers, reply.media_type)


@router.post("/callbacks/{kassa_id}/{secret}")
async def callback(request: Request) -> Response:
    """A provider says that something changed: a reason to ask, never believed."""
    services: Services = request.app.state.services
    named = request.path_params
    await services.inbound.callback(named["kassa_id"], named["secret"], await _raw(request, ""))
    return Response("OK", media_type="text/plain")


async def _raw(request: Request, part: str) -> InboundRequest:
    headers: dict[str, str] = {}
    for name, value in request.headers.items():
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return InboundRequest(
        method=request.method,
        part=part,
        query=request.url.query,
        headers=headers,
        body=await request.body(),
        peer="" if request.client is None else request.client.host,
    )
