"""What a source adapter may offer beside its port: to enter our addresses in its counterpart by itself.

An adapter that has the members of `Registering` gets a command `crm-kassa source <code> register`; its options are
the fields of `Registration`.
"""

from typing import Any, ClassVar, Protocol, TypeGuard

from pydantic import BaseModel

from app.ports.source import SourceAdapter, SourceContext


class RegistrationFailed(Exception):
    """The counterpart did not take it; the sentence is for the operator, without any secret."""


class Registering(Protocol):
    """An adapter that registers itself. Both calls raise RegistrationFailed."""

    code: ClassVar[str]
    title: ClassVar[str]
    Registration: ClassVar[type[BaseModel]]

    def connection(self, wish: Any, known: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Credentials and settings of the source, as JSON with secrets readable.

        `known` is the source's own (credentials, settings), or None for a new one; what the wish leaves open stays.
        """
        ...

    async def registered(self, wish: Any, context: SourceContext) -> dict[str, str] | None:
        """The addresses by part that the counterpart has of this source, None where it has none."""
        ...

    async def register(self, wish: Any, addresses: dict[str, str], context: SourceContext) -> tuple[str, ...]:
        """Enter the addresses, or put them in place of those that are there; sentences about what is to be done next.

        Doing it again changes nothing.
        """
        ...


def registers(adapter: SourceAdapter | Any) -> TypeGuard[Registering]:
    """Whether the adapter has all of it."""
    return all(hasattr(adapter, name) for name in ("Registration", "connection", "registered", "register"))
