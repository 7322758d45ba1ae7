"""What an operator enters for a terminal of T-Bank."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr


class Credentials(BaseModel):
    """The terminal's pair: «Магазины», «Терминалы» of the cabinet. A test terminal's key ends with DEMO."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    terminal_key: str = Field(min_length=1, max_length=20, title="TerminalKey")
    password: SecretStr = Field(min_length=1, title="Пароль терминала")

    @property
    def test(self) -> bool:
        """Whether this terminal moves no money."""
        return self.terminal_key.upper().endswith("DEMO")


class Settings(BaseModel):
    """What the notifications do not say."""

    model_config = ConfigDict(extra="forbid")

    acquirer_fiscalizes: bool = Field(
        description="A till connected at T-Bank («онлайн-касса») makes receipts of this terminal; then none are made "
        "here, or the buyer gets two."
    )
    partial_refunds: Literal["ask", "left", "returned"] = Field(
        default="ask",
        description="What `Amount` means in a notification PARTIAL_REFUNDED; the bank's document does not say. ask: a "
        "person makes these refunds. left: what is left of the payment. returned: what was returned now. Make two test "
        "refunds of one payment before you choose. Full refunds need no answer.",
    )
    contact_from_data: bool = Field(
        default=True,
        description="Take the buyer's phone and e-mail from `Data`, which the bank's support switches on. The token "
        "does not sign them.",
    )
