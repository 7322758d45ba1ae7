"""Credentials, and the services that speak this protocol: where each lives, what it takes and what it promises."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from app.domain.ffd import FfdVersion

DEFAULT_BASE_URL = "https://online.atol.ru/possystem"


@dataclass(frozen=True, slots=True)
class Service:
    """`versions`: path segment per fiscal format. `deduplicates`: its document says that an external_id is registered
    once; without that a lost answer is never followed by a second send."""

    base_url: str | None
    versions: Mapping[FfdVersion, str]
    deduplicates: bool


_BOTH = {FfdVersion.V1_05: "v4", FfdVersion.V1_2: "v5"}

SERVICES = {
    "atol": Service(DEFAULT_BASE_URL, _BOTH, deduplicates=True),
    # "Описание API (коннектор АТОЛ Онлайн)" of Evotor knows v5 only.
    "evotor": Service("https://fiscalization.evotor.ru/possystem", {FfdVersion.V1_2: "v5"}, deduplicates=False),
    "ekomkassa": Service("https://app.ecomkassa.ru/fiscalorder", {FfdVersion.V1_2: "v5"}, deduplicates=False),
    "compatible": Service(None, _BOTH, deduplicates=False),
}
"""`compatible` is any other service of this protocol: its kassa gives the base URL, if need be with a version."""


class Credentials(BaseModel):
    """What the settings page of the cabinet hands out for one group of registers ("Настройки интегратора")."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    service: Literal["atol", "evotor", "ekomkassa", "compatible"] = Field(default="atol", title="Сервис")
    login: str = Field(min_length=1, max_length=100, pattern=r"^\S+$", title="Логин")
    password: SecretStr = Field(min_length=1, max_length=100, title="Пароль")
    group_code: str = Field(min_length=1, max_length=100, pattern=r"^[\w.\-]+$", title="Код группы (group_code)")
    company_email: str = Field(max_length=64, pattern=r"^[^@\s]+@[^@\s]+$", title="E-mail отправителя чека (тег 1117)")
    token_in_query: bool = Field(default=False, title="Токен в адресе (?token=), а не в заголовке")

    @property
    def speaks(self) -> Service:
        return SERVICES[self.service]


def api_url(base_url: str, credentials: Credentials, ffd: FfdVersion) -> str | None:
    """Address with version segment, no slash at the end; None where this service does not take the format.

    A kassa without an address of its own has the driver's default, which stands for its service's.
    """
    service = credentials.speaks
    version = service.versions.get(ffd)
    if version is None:
        return None
    given = base_url.rstrip("/")
    root = service.base_url if given == DEFAULT_BASE_URL and service.base_url else given
    return root if re.search(r"/v\d+$", root) else f"{root}/{version}"
