"""Bitrix24 as a source: the gateway is a REST cashbox of the portal (`adapter` the posts, `check` what is printed)."""

from app.crms.bitrix24.adapter import Bitrix24Adapter as PLUGIN

__all__ = ["PLUGIN"]
