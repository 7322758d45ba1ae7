"""ATOL Online as a kassa: `services` names its compatible twins, `request` writes documents, `answer` reads, `driver`
calls."""

from app.kassas.atol.driver import AtolDriver as PLUGIN

__all__ = ["PLUGIN"]
