"""What a merchant says once of a portal: its secrets, its VAT records, and what its posts leave open."""

import re
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from app.domain.ffd import AgentType
from app.domain.vat import VatRate

_PORTAL: Final = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,120}[a-z0-9])?(?::[0-9]{1,5})?")
_WEBHOOK: Final = re.compile(r"https?://[^/?#\s@]+(?:/[^/?#\s@]+)*/rest/[0-9]+/[A-Za-z0-9_-]+")
_MIN_TOKEN: Final = 16


class Credentials(BaseModel):
    """The token that the portal's cashbox sends, and the portal's incoming webhook."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    token: SecretStr = Field(
        min_length=_MIN_TOKEN,
        title="Токен кассы",
        description="Made by us and kept in the cashbox's settings in the portal, which sends it with every check.",
    )
    portal_webhook: SecretStr | None = Field(
        default=None,
        title="Входящий вебхук портала",
        description="https://portal/rest/user/code/ of an administrator, with the scope cashbox (sale in older "
        "portals); catalog as well where VAT records are to be read. Without it results wait for the portal to ask.",
    )

    @field_validator("portal_webhook")
    @classmethod
    def _is_webhook(cls, given: SecretStr | None) -> SecretStr | None:
        return None if given is None or not given.get_secret_value() else webhook(given)


class Settings(BaseModel):
    """`vat` and `vat_zero` have no default: the portal sends numbers of its own VAT records, and 0 is not "none"."""

    model_config = ConfigDict(extra="forbid")

    portal: str | None = Field(
        default=None,
        description="Domain of the portal as the keys of its checks have it, such as shop.bitrix24.ru: checks of "
        "another one are refused. A portal with several names may use another one when its agent prints.",
    )
    vat: dict[str, str] = Field(
        default_factory=dict,
        description='Id of a VAT record of the portal → our rate, e.g. {"3": "vat22"}. Ids that are not here are '
        "asked for with catalog.vat.get where there is a webhook; otherwise the check is refused.",
    )
    vat_zero: str | None = Field(
        default=None,
        description="Rate of lines whose VAT record is 0: delivery, and goods without a record. Without an answer "
        "such checks are refused: the portal's 0 says neither 0 % nor without VAT.",
    )
    system_email: str | None = Field(
        default=None,
        description="The portal's own address, which it puts where the buyer left none: read as no contact.",
    )
    agent_type: str | None = Field(
        default=None,
        description="Agent sign of lines with a supplier, e.g. commission_agent; the portal does not send it.",
    )
    closings: Literal["ledger", "as_sent"] = Field(
        default="ledger",
        description="A check paid by advance alone whose order is known: ledger closes what was prepaid here, never "
        "more; as_sent prints it as the portal says it, for orders prepaid before this program.",
    )
    returns: Literal["as_sent", "hold"] = Field(
        default="as_sent",
        description="A return names no sale. as_sent: of an order that is known here it takes from that sale, else its "
        "own lines are returned; hold: it waits until a person names the payment.",
    )

    @field_validator("portal")
    @classmethod
    def _is_domain(cls, given: str | None) -> str | None:
        if given is None or not given.strip():
            return None
        domain = given.strip().lower().removeprefix("https://").removeprefix("http://").rstrip("/")
        if not _PORTAL.fullmatch(domain):
            raise ValueError("the portal is a domain such as shop.bitrix24.ru")
        return domain

    @field_validator("vat", mode="before")
    @classmethod
    def _ids(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        wrong = [name for name in given if not re.fullmatch(r"[1-9][0-9]{0,9}", str(name))]
        if wrong:
            raise ValueError("vat is by the id of the portal's record, a whole number above 0; of 0 vat_zero speaks")
        return {str(name): rate for name, rate in given.items()}

    @field_validator("vat")
    @classmethod
    def _rates(cls, given: dict[str, str]) -> dict[str, str]:
        for rate in given.values():
            VatRate.parse(rate)
        return given

    @field_validator("vat_zero")
    @classmethod
    def _rate(cls, given: str | None) -> str | None:
        return None if not given else VatRate.parse(given).code

    @field_validator("agent_type")
    @classmethod
    def _agent(cls, given: str | None) -> str | None:
        return None if not given else AgentType.parse(given).code


def webhook(given: SecretStr) -> SecretStr:
    """An incoming webhook without a slash at its end. ValueError, which does not repeat it, for anything else."""
    address = given.get_secret_value().strip().rstrip("/")
    if not _WEBHOOK.fullmatch(address):
        raise ValueError("an incoming webhook looks like https://portal.bitrix24.ru/rest/1/code/")
    return SecretStr(address)
