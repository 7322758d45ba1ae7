"""Adjustments of a receipt in sentences for its page: FFD has no word for a discount, nothing else tells of it."""

from collections.abc import Sequence
from typing import Any

from app.domain.requisites import roubles_text

_REASONS = {
    "line_discount": "скидка на строку",
    "discount": "скидка",
    "bonus": "бонусы",
    "coupon": "купон",
    "zero_line": "копейка для бесплатной строки",
}
_CHANGES = {
    "line_split": "строка разделена на две, цены отличаются на копейку",
    "price_fitted": "цена подобрана под сумму",
    "quantity_in_name": "количество указано в наименовании",
}


def adjustment_notes(adjustments: Sequence[dict[str, Any]]) -> list[str]:
    """A sentence per line that was made cheaper, rewritten or left out."""
    return [_note(one) for one in adjustments]


def _note(one: dict[str, Any]) -> str:
    told = [_taken(part) for part in one["taken"]]
    if not one["items"]:
        reason = f" ({', '.join(told)})" if told else ""
        return f"«{one['name']}»: ничего не стоит{reason}, в чек не включено."
    parts = []
    if told:
        parts.append(f"до скидок {roubles_text(one['full'])}, учтено: {', '.join(told)}, в чеке")
    parts.append(roubles_text(one["amount"]))
    change = _CHANGES.get(one["change"] or "")
    return f"«{one['name']}»: {' '.join(parts)}{'; ' + change if change else ''}."


def _taken(part: dict[str, Any]) -> str:
    name = f" {part['name']}" if part["name"] else ""
    return f"{_REASONS.get(part['reason'], part['reason'])}{name} {roubles_text(part['amount'])}"
