"""Who the command line is to the services: whoever may run it on this machine is the installation's admin."""

from typing import Final
from uuid import UUID

from app.services.principal import Principal

ACTOR: Final = "cli"


class _CommandLine(Principal):
    """An admin without a key: the history names the command line."""

    @property
    def actor(self) -> str:
        return ACTOR


CLI: Final[Principal] = _CommandLine(UUID(int=0), None, None, frozenset({"admin"}))
