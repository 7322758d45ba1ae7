"""YooKassa as a source: `adapter` is the plug-in, `client` asks the API, `objects` reads payments and refunds,
`metadata` what the shop wrote into them."""

from app.acquirers.yookassa.adapter import YooKassaAdapter as PLUGIN

__all__ = ["PLUGIN"]
