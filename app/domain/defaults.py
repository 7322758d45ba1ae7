"""What settings answer for a silent event, and how several levels of settings become one answer."""

from dataclasses import dataclass, fields

from app.domain.basket import ZeroLines
from app.domain.ffd import Measure, PaymentMethod, PaymentObject, Taxation
from app.domain.vat import VatRate


@dataclass(frozen=True, slots=True)
class Defaults:
    """What a rule, source, branch or kassa answers when the event is silent; None is no answer."""

    vat: VatRate | None = None
    payment_method: PaymentMethod | None = None
    payment_object: PaymentObject | None = None
    measure: Measure | None = None
    item_name: str | None = None
    taxation: Taxation | None = None
    zero_lines: ZeroLines | None = None


def merge(*levels: Defaults) -> Defaults:
    """The first answer wins, member by member: source, then branch, then kassa."""
    answers = {
        each.name: next((value for level in levels if (value := getattr(level, each.name)) is not None), None)
        for each in fields(Defaults)
    }
    return Defaults(**answers)
