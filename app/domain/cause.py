"""What a cause is: why a receipt stands still, who can end it and how, in words for people."""

from dataclasses import dataclass
from enum import StrEnum


class Who(StrEnum):
    """Who can end the trouble."""

    BUYER_DATA = "buyer_data"
    MERCHANT = "merchant"
    OPERATOR = "operator"
    PROVIDER = "provider"


@dataclass(frozen=True, slots=True)
class Cause:
    """One cause. `retryable`: the same receipt may succeed later without any change to it."""

    code: str
    message: str
    message_ru: str
    who: Who
    next_step: str
    next_step_ru: str
    retryable: bool
