"""Messages that are about a kassa or an endpoint rather than a receipt: paused, resumed, switched off."""

from typing import Any
from uuid import UUID

from app.db.repos.settings import KassaRow
from app.db.unit_of_work import Tx, database_now
from app.domain.causes import cause as look_up_cause
from app.outbound.messages import message_body
from app.queue.tell import tell


async def kassa_paused(tx: Tx, kassa: KassaRow, cause: str) -> None:
    """One message for the whole pause: which kassa, why, who acts, what next."""
    why = look_up_cause(cause)
    await _about(
        tx,
        kassa.merchant_id,
        "kassa.paused",
        {
            "kassa": _kassa(kassa),
            "cause": {
                "code": why.code,
                "message": why.message,
                "message_ru": why.message_ru,
                "who": why.who,
                "next_step": why.next_step,
            },
        },
    )


async def kassa_resumed(tx: Tx, kassa: KassaRow) -> None:
    await _about(tx, kassa.merchant_id, "kassa.resumed", {"kassa": _kassa(kassa)})


async def endpoint_disabled(tx: Tx, merchant_id: UUID, endpoint_id: UUID, url: str, reason: str) -> None:
    """Told to the merchant's other endpoints and kept in the pull feed."""
    await _about(
        tx,
        merchant_id,
        "endpoint.disabled",
        {"endpoint": {"id": f"whe_{endpoint_id.hex}", "url": url}, "reason": reason},
    )


def _kassa(kassa: KassaRow) -> dict[str, Any]:
    return {"id": f"kas_{kassa.id.hex}", "name": kassa.name, "provider": kassa.provider}


async def _about(tx: Tx, merchant_id: UUID, type: str, data: dict[str, Any]) -> None:
    at = await database_now(tx)
    await tell(tx, merchant_id, type, message_body(type, at, data), at)
