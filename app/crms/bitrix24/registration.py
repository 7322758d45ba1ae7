"""Registers the gateway as a cashbox of the portal: `sale.cashbox.handler.add`, then `sale.cashbox.add`."""

import secrets
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from app.crms.bitrix24.portal import Answered, Denied, Reply, call
from app.crms.bitrix24.settings import Credentials, Settings, webhook
from app.ports.registration import RegistrationFailed
from app.ports.source import SourceContext

SECTION, TOKEN = "CRM_KASSA", "TOKEN"
"""Where the cashbox's settings in the portal keep our token: `cashbox_params[CRM_KASSA][TOKEN]`."""

_EXISTS: Final = "ERROR_HANDLER_ALREADY_EXIST"
_OFDS: Final = ("firstofd", "platformaofd", "yarusofd", "taxcomofd", "ofdruofd", "tenzorofd", "conturofd")


class Registration(BaseModel):
    """What is asked when the cashbox is registered."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    portal_webhook: SecretStr = Field(
        title="Incoming webhook of the portal",
        description="Address of an administrator's incoming webhook with the scopes cashbox, sale and catalog.",
    )
    email: str = Field(min_length=3, description="Where the portal writes when a check fails.")
    name: str = Field(default="CRM-Kassa", min_length=1, max_length=100, description="What the cashbox is called.")
    vat_zero: str | None = Field(
        default=None,
        description="Rate of delivery and of goods without a VAT record, for which the portal sends 0: none, vat22, …",
    )
    portal: str | None = Field(
        default=None, description="Domain in the keys of the portal's checks; with it those of another are refused."
    )
    ofd: str | None = Field(
        default=None, description=f"OFD of the kassa, for the links in the portal: {', '.join(_OFDS)}."
    )

    @field_validator("portal_webhook")
    @classmethod
    def _is_webhook(cls, given: SecretStr) -> SecretStr:
        return webhook(given)

    @field_validator("ofd")
    @classmethod
    def _is_ofd(cls, given: str | None) -> str | None:
        if not given:
            return None
        if given.removeprefix("bx_") not in _OFDS:
            raise ValueError(f"the portal knows these: {', '.join(_OFDS)}")
        return f"bx_{given.removeprefix('bx_')}"


def connection(wish: Registration, known: tuple[Credentials, Settings] | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """The source's token is made once and stays; what was set and is not asked here stays too."""
    credentials, settings = (None, None) if known is None else known
    token = secrets.token_urlsafe(24) if credentials is None else credentials.token.get_secret_value()
    told = {} if settings is None else settings.model_dump(exclude_none=True)
    told |= wish.model_dump(include={"portal", "vat_zero"}, exclude_none=True)
    return {"token": token, "portal_webhook": wish.portal_webhook.get_secret_value()}, told


def handler_code(source_id: str) -> str:
    """One handler for each source: a portal may have several legal entities."""
    return f"crm_kassa_{source_id.removeprefix('src_')}"


async def registered(wish: Registration, context: SourceContext) -> dict[str, str] | None:
    """The addresses of the handler that the portal has of this source."""
    handler = await _handler(context, wish)
    given = {} if handler is None else handler.get("SETTINGS")
    if not isinstance(given, dict):
        return None
    found = {"print": given.get("PRINT_URL"), "check": given.get("CHECK_URL")}
    return {part: str(url) for part, url in found.items()} if all(found.values()) else None


async def register(wish: Registration, addresses: dict[str, str], context: SourceContext) -> tuple[str, ...]:
    """Handler and cashbox with these addresses and our token; those that are there are brought up to date."""
    code = handler_code(context.source_id)
    fields = {"NAME": wish.name, "SORT": 100, "SETTINGS": _settings(addresses)}
    # Without FFD 1.05 the portal knows sales and returns only.
    added = await _call(context, wish, "sale.cashbox.handler.add", {"CODE": code, "SUPPORTS_FFD105": "Y", **fields})
    if isinstance(added, Denied) and added.code == _EXISTS:
        handler = await _handler(context, wish)
        if handler is None:
            raise RegistrationFailed("The portal says that the handler exists, but does not list it.")
        await _done(context, wish, "sale.cashbox.handler.update", {"ID": handler.get("ID"), "FIELDS": fields})
    else:
        _result(added, "sale.cashbox.handler.add")
    cashbox = await _cashbox(context, wish, code)
    values: dict[str, Any] = {
        "NAME": wish.name,
        "EMAIL": wish.email,
        "ACTIVE": "Y",
        "NUMBER_KKM": context.source_id,
        "SETTINGS": {SECTION: {TOKEN: context.credentials.token.get_secret_value()}},
    }
    if wish.ofd is not None:
        values["OFD"] = wish.ofd
    if cashbox is None:
        await _done(context, wish, "sale.cashbox.add", {"REST_CODE": code, **values})
    else:
        await _done(context, wish, "sale.cashbox.update", {"ID": cashbox.get("ID"), "FIELDS": values})
    return await _next_steps(context, wish)


async def _next_steps(context: SourceContext, wish: Registration) -> tuple[str, ...]:
    steps = ["Pay a small order in the portal and look at its check: it turns to printed when the receipt is made."]
    others = [one for one in await _cashboxes(context, wish) if one.get("ACTIVE") == "Y" and not _ours(one, context)]
    if others:
        steps.insert(
            0,
            f"The portal has {len(others)} more active cashboxes and picks one at random: switch them off, or bind "
            "each to its pay systems.",
        )
    if context.settings.vat_zero is None:
        steps.insert(
            0, "Say which VAT rate delivery and goods without a VAT record have: register again with --vat-zero."
        )
    return tuple(steps)


def _settings(addresses: dict[str, str]) -> dict[str, Any]:
    return {
        "PRINT_URL": addresses["print"],
        "CHECK_URL": addresses["check"],
        "HTTP_VERSION": "1.1",
        "CONFIG": {
            SECTION: {
                "LABEL": "CRM-Kassa",
                "ITEMS": {TOKEN: {"TYPE": "STRING", "REQUIRED": "Y", "LABEL": "Токен (выдаёт CRM-Kassa)"}},
            }
        },
    }


async def _handler(context: SourceContext, wish: Registration) -> dict[str, Any] | None:
    listed = await _done(context, wish, "sale.cashbox.handler.list", {})
    code = handler_code(context.source_id)
    return next((one for one in _rows(listed) if one.get("CODE") == code), None)


async def _cashboxes(context: SourceContext, wish: Registration) -> list[dict[str, Any]]:
    return _rows(await _done(context, wish, "sale.cashbox.list", {}))


async def _cashbox(context: SourceContext, wish: Registration, code: str) -> dict[str, Any] | None:
    """Ours by its number, which is the source's id: not every portal lists the handler's code."""
    found = await _cashboxes(context, wish)
    return next((one for one in found if one.get("REST_CODE") == code or _ours(one, context)), None)


def _ours(cashbox: dict[str, Any], context: SourceContext) -> bool:
    return cashbox.get("NUMBER_KKM") == context.source_id


def _rows(listed: Any) -> list[dict[str, Any]]:
    members = list(listed.values()) if isinstance(listed, dict) else listed
    return [one for one in members if isinstance(one, dict)] if isinstance(members, list) else []


async def _done(context: SourceContext, wish: Registration, method: str, params: dict[str, Any]) -> Any:
    return _result(await _call(context, wish, method, params), method)


async def _call(context: SourceContext, wish: Registration, method: str, params: dict[str, Any]) -> Reply:
    return await call(context, wish.portal_webhook, method, params)


def _result(reply: Reply, method: str) -> Any:
    if isinstance(reply, Answered):
        return reply.result
    if isinstance(reply, Denied) and reply.code in ("ACCESS_DENIED", "insufficient_scope"):
        raise RegistrationFailed(
            f"{method}: {reply}. The webhook must be of an administrator and have the scopes cashbox and sale."
        )
    raise RegistrationFailed(f"{method}: {reply}.")
