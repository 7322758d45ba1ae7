"""What a rule of the nomenclature must be before it is stored, said with everything that is wrong at once."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

from app.domain.errors import Finding
from app.domain.ffd import AgentType
from app.domain.fitting import NAME_LIMIT
from app.domain.nomenclature import ANY, folded
from app.domain.receipt import Agent
from app.domain.rules_agent import agent_findings
from app.domain.text import fit
from app.infra.contacts import normalize_phone
from app.services.defaults import check_defaults
from app.services.nomenclature_rules import Draft

MAX_RULES = 2000
"""Rules of one merchant: what fits into one file of the API."""

LIMITS = {"sku": 128, "pattern": 255, "name": NAME_LIMIT, "comment": 255}
"""Longest texts of a rule, characters."""

PRIORITIES = range(-1000, 1001)

_PHONES = ("supplier_phones", "paying_agent_phones", "payment_operator_phones", "transfer_operator_phones")


def findings(draft: Draft, now: datetime) -> Iterator[Finding]:
    """Everything that hinders this rule; pointers are those of the API's form."""
    if draft.when.key == (None,) * 5:
        yield Finding(
            "#/match",
            "rule_for_everything",
            "A rule needs something to match: a source, branch, payment type, sku or text.",
            "Правилу нужно условие: источник, филиал, вид оплаты, артикул или текст.",
            fix="What holds for everything belongs to the defaults of the source, branch or kassa.",
        )
    if draft.pattern is not None and not folded(draft.pattern).replace(ANY, "").strip():
        yield Finding(
            "#/match/text",
            "text_empty",
            "The text has nothing but stars.",
            "В тексте нет ничего, кроме звёздочек.",
            fix="Leave it out, or give some of the words.",
        )
    if draft.name is not None and not fit(draft.name, NAME_LIMIT)[0]:
        yield Finding(
            "#/fill/name",
            "name_empty",
            "Nothing of the name can be printed.",
            "Такое наименование нельзя напечатать.",
            1030,
        )
    for name, limit in LIMITS.items():
        if len(getattr(draft, name) or "") > limit:
            yield Finding(
                f"#/{_where(name)}",
                "text_long",
                f"{name} has more than {limit} characters.",
                f"Значение {name} длиннее {limit} символов.",
            )
    if draft.priority not in PRIORITIES:
        yield Finding(
            "#/priority",
            "priority_range",
            "The priority lies between -1000 and 1000.",
            "Приоритет должен быть от -1000 до 1000.",
        )
    answers = {name: getattr(draft, name) for name in ("vat", "payment_method", "payment_object", "measure")}
    for found in check_defaults(answers, now):
        yield replace(found, pointer=found.pointer.replace("#/defaults", "#/fill"))
    if draft.agent is not None:
        found_of_agent: list[Finding] = []
        agent_findings(found_of_agent, "#/fill/agent", draft.agent)
        yield from found_of_agent


def tidy(draft: Draft) -> Draft:
    """Texts with single spaces, empty ones as none, the agent's phones in international form where they can
    be read."""
    changes: dict[str, Any] = {name: " ".join((getattr(draft, name) or "").split()) or None for name in LIMITS}
    # A code is compared to the letter.
    changes["sku"] = (draft.sku or "").strip() or None
    if draft.agent is not None:
        phones: dict[str, Any] = {name: tuple(map(_phone, getattr(draft.agent, name))) for name in _PHONES}
        changes["agent"] = replace(draft.agent, **phones)
    return replace(draft, **changes)


def agent_from(members: dict[str, str]) -> Agent | None:
    """Agent data from cells of a table: phones apart by commas; None when all are empty. ValueError for an unknown
    type, or data without one."""
    if not any(members.values()):
        return None
    said: dict[str, Any] = {name: text for name, text in members.items() if name != "type" and text}
    for name in _PHONES:
        if name in said:
            said[name] = tuple(one.strip() for one in members[name].split(",") if one.strip())
    needed: dict[str, Any] = {"supplier_inn": "", "supplier_name": "", **said}
    return Agent(type=AgentType.parse(members.get("type", "")), **needed)


def _where(name: str) -> str:
    return {"sku": "match/sku", "pattern": "match/text", "name": "fill/name"}.get(name, name)


def _phone(text: str) -> str:
    try:
        return normalize_phone(text)
    except ValueError:
        return text
