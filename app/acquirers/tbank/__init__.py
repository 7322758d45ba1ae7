"""T-Bank («Т‑Касса») as a source: `adapter` is the plug-in, `token` signs, `client` asks for a payment's state,
`refunds` reads what went back."""

from app.acquirers.tbank.adapter import TBankAdapter as PLUGIN

__all__ = ["PLUGIN"]
