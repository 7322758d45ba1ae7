"""What an operator enters for a shop of YooKassa."""

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

PUBLISHED: Final = (
    *("77.75.153.0/25", "77.75.154.128/25", "77.75.156.11/32", "77.75.156.35/32", "185.71.76.0/27", "185.71.77.0/27"),
    *("2a02:5180:0:1509::/64", "2a02:5180:0:2655::/64", "2a02:5180:0:1533::/64", "2a02:5180:0:2669::/64"),
)
"""Networks of the notifications, as the official SDK lists them (3.13.0)."""


def _network(text: str) -> str:
    if text != "published":
        ip_network(text)
    return text


class Credentials(BaseModel):
    """The shop's pair: «Настройки» and «Интеграция — Ключи API» of the cabinet."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    shop_id: str = Field(pattern=r"^[0-9]{1,20}$", title="shopId", description="Идентификатор магазина.")
    secret_key: SecretStr = Field(min_length=1, title="Секретный ключ")


class Settings(BaseModel):
    """What payments and refunds do not say."""

    model_config = ConfigDict(extra="forbid")

    acquirer_fiscalizes: bool = Field(
        description="«Чеки от ЮKassa» or a till connected to YooKassa makes receipts of this shop; then none are made "
        "here, or the buyer gets two."
    )
    allowed_networks: tuple[Annotated[str, AfterValidator(_network)], ...] = Field(
        default=(),
        description="Take notifications from these networks only; `published` stands for those of YooKassa. Empty: "
        "from anywhere, because only what is read back counts. Behind a proxy this needs its header to be trusted.",
    )
    items_from_metadata: bool = Field(
        default=True, description="Take the lines from `items` or `item_name` of the payment's metadata."
    )

    def lets_in(self, peer: str) -> bool:
        """Whether a notification may come from this address; one that is not known comes from no network."""
        try:
            address = ip_address(peer)
        except ValueError:
            return False
        return any(address in network for network in self._networks())

    def _networks(self) -> list[IPv4Network | IPv6Network]:
        named = [name for name in self.allowed_networks if name != "published"]
        if "published" in self.allowed_networks:
            named += PUBLISHED
        return [ip_network(name) for name in named]
