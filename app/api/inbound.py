"""Where CRMs, acquirers and providers call us: raw requests, handed on as they came, answered as their sender expects.

Plain routes: no API key, no parsing and no check of parameters, because these senders follow their own rules.
"""

from fastapi import APIRouter, Request, Response

from app.ports.inbound import InboundRequest
from app.services.bundle import Services

router = APIRouter()


async def receive(request: Request) -> Response:
    """A notification of a source; the address may carry a secret of its own."""
    part = request.path_params["part"]
    services: Services = request.app.state.services
    reply = await services.inbound.receive(
        request.path_params["source_id"], part, request.path_params.get("secret"), await _raw(request, part)
    )
    return Response(reply.body, reply.status, reply.headers, reply.media_type)


async def callback(request: Request) -> Response:
    """A provider says that something changed: a reason to ask, never believed."""
    services: Services = request.app.state.services
    await services.inbound.callback(
        request.path_params["kassa_id"], request.path_params["secret"], await _raw(request, "")
    )
    return Response("OK", media_type="text/plain")


router.add_route("/in/{source_id}/s-{secret}/{part}", receive, methods=["GET", "POST"], include_in_schema=False)
router.add_route("/in/{source_id}/{part}", receive, methods=["GET", "POST"], include_in_schema=False)
router.add_route("/callbacks/{kassa_id}/{secret}", callback, methods=["POST"], include_in_schema=False)


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
