"""«Мой Класс» as a source: `adapter` answers the port, `client` calls the CRM, the other files have one task each."""

from app.crms.moyklass.adapter import MoyKlassAdapter as PLUGIN

__all__ = ["PLUGIN"]
