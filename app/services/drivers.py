"""Drivers by provider code, and the context in which one kassa's calls are made."""

import json
from dataclasses import dataclass
from datetime import datetime
from functools import cache, reduce
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from app.db.repos.settings import KassaRow
from app.domain.ffd import FfdVersion, Taxation
from app.domain.receipt import Receipt
from app.infra.crypto import SecretBox, aad
from app.infra.http import Exchange, HttpClients, RecordingTransport, client_over
from app.infra.tokens import Tokens
from app.ports.kassa import DriverContext, KassaDriver, KassaProfile
from app.ports.registry import Registry


class Call:
    """One conversation with a provider: the context to hand to the driver, and what went over the wire."""

    def __init__(self, context: DriverContext, transport: RecordingTransport) -> None:
        self.context = context
        self._transport = transport

    @property
    def exchanges(self) -> list[Exchange]:
        return self._transport.exchanges


@dataclass(frozen=True, slots=True)
class _Opened:
    """What all calls of one kassa share, made of exactly this row."""

    row: KassaRow
    merchant_inn: str
    credentials: BaseModel
    secrets: tuple[str, ...]
    profile: KassaProfile
    callback_url: str | None


class Drivers:
    """The registered kassa drivers with everything their calls need."""

    def __init__(
        self, registry: Registry[KassaDriver], http: HttpClients, box: SecretBox, public_url: str | None = None
    ) -> None:
        self.registry = registry
        self._box = box
        self._public_url = public_url
        self._transport = http.transport()
        self._client = client_over(self._transport)
        self._tokens: dict[UUID, Tokens] = {}
        self._opened: dict[UUID, _Opened] = {}

    def driver(self, provider: str) -> KassaDriver:
        """ProviderNotConfigured names the providers there are."""
        return self.registry.get(provider)

    def forget(self, kassa_id: UUID) -> None:
        """Drop the tokens of a kassa whose credentials changed."""
        self._tokens.pop(kassa_id, None)
        self._opened.pop(kassa_id, None)

    def call(
        self,
        kassa: KassaRow,
        merchant_inn: str,
        *,
        not_after: float | None = None,
        deadline_seconds: float = 20.0,
        created_at: datetime | None = None,
        resend: bool = False,
    ) -> Call:
        """A fresh conversation over the shared connections; its secrets are kept out of the record."""
        opened = self._open(kassa, merchant_inn)
        transport = RecordingTransport(self._transport, secrets=opened.secrets)
        return Call(
            DriverContext(
                http=self._client.over(transport, deadline=deadline_seconds),
                base_url=kassa.base_url,
                credentials=opened.credentials,
                profile=opened.profile,
                tokens=self._tokens.setdefault(kassa.id, Tokens()),
                callback_url=opened.callback_url,
                not_after=not_after,
                deadline_seconds=deadline_seconds,
                created_at=created_at,
                resend=resend,
            ),
            transport,
        )

    def payload(self, kassa: KassaRow, merchant_inn: str, provider_id: str, receipt: Receipt) -> dict[str, Any]:
        """The body that this receipt would be sent with now, the kassa's secrets taken out; nothing is sent.

        Invalid (rule `payload_not_supported`) where the protocol cannot carry it.
        """
        context = self.call(kassa, merchant_inn).context
        body: dict[str, Any] = _hidden(
            self.driver(kassa.provider).payload(provider_id, receipt, context), self._open(kassa, merchant_inn).secrets
        )
        return body

    def _open(self, kassa: KassaRow, merchant_inn: str) -> _Opened:
        """The kassa's secrets and settings in the form that drivers take; opened anew when anything of it changed."""
        known = self._opened.get(kassa.id)
        if known is not None and (known.row is kassa or known.row == kassa) and known.merchant_inn == merchant_inn:
            return known
        driver = self.driver(kassa.provider)
        found = json.loads(self._box.open(kassa.credentials, aad("kassas", "credentials", kassa.merchant_id, kassa.id)))
        secrets = _secrets(driver, found)
        callback = None
        if self._public_url and driver.capabilities.callbacks:
            secret = self._box.open(
                kassa.callback_secret, aad("kassas", "callback_secret", kassa.merchant_id, kassa.id)
            ).decode()
            callback = f"{self._public_url}/callbacks/kas_{kassa.id.hex}/{secret}"
            secrets.append(secret)
        opened = _Opened(
            row=kassa,
            merchant_inn=merchant_inn,
            credentials=driver.Credentials.model_validate(found),
            secrets=tuple(secrets),
            profile=KassaProfile(
                id=f"kas_{kassa.id.hex}",
                ffd=FfdVersion(kassa.ffd),
                taxation=tuple(Taxation.parse(name) for name in kassa.taxation),
                place=kassa.place,
                timezone=kassa.timezone,
                internet=kassa.internet,
                merchant_inn=merchant_inn,
            ),
            callback_url=callback,
        )
        self._opened[kassa.id] = opened
        return opened


_SHORTEST_SECRET = 8
"""What is shorter is a word of the receipt by chance; no provider gives out such a secret."""


def _hidden(value: Any, secrets: tuple[str, ...]) -> Any:
    match value:
        case str():
            long = [secret for secret in secrets if len(secret) >= _SHORTEST_SECRET]
            return reduce(lambda text, secret: text.replace(secret, "***"), long, value)
        case dict():
            return {name: _hidden(member, secrets) for name, member in value.items()}
        case list():
            return [_hidden(part, secrets) for part in value]
        case _:
            return value


def _secrets(driver: KassaDriver, opened: dict[str, Any]) -> list[str]:
    return [str(opened[name]) for name in _secret_members(driver.Credentials) if opened.get(name)]


@cache
def _secret_members(model: type[BaseModel]) -> tuple[str, ...]:
    """Members of a driver's credentials that are secret; making a schema costs more than a whole exchange."""
    schema = model.model_json_schema().get("properties", {})
    return tuple(name for name, member in schema.items() if member.get("writeOnly"))
