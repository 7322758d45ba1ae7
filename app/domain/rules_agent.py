"""What the law wants beside an agent sign (tags 1223, 1224, 1226): who acts for whom, and how to reach them."""

import re
from collections.abc import Iterator

from app.domain.errors import Finding
from app.domain.ffd import AgentType
from app.domain.inn import FOREIGN_SUPPLIER, inn_valid
from app.domain.receipt import Agent

_BANK = frozenset({AgentType.BANK_PAYING_AGENT, AgentType.BANK_PAYING_SUBAGENT})
_PAYING = frozenset({AgentType.PAYING_AGENT, AgentType.PAYING_SUBAGENT})
_PHONE = re.compile(r"\+[0-9]{1,18}")


def agent_findings(pointer: str, agent: Agent) -> Iterator[Finding]:
    """Everything missing or wrong in the agent data of one line; `pointer` is where the data stands."""
    yield from _inn(pointer, "supplier_inn", 1226, agent.supplier_inn, foreign=True)
    yield from _text(pointer, "supplier_name", 1225, agent.supplier_name, 256)
    yield from _phones(pointer, "supplier_phones", 1171, agent.supplier_phones)
    if agent.type in _BANK | _PAYING:
        yield from _phones(pointer, "paying_agent_phones", 1073, agent.paying_agent_phones)
    if agent.type in _PAYING:
        yield from _phones(pointer, "payment_operator_phones", 1074, agent.payment_operator_phones)
    if agent.type in _BANK:
        yield from _text(pointer, "paying_agent_operation", 1044, agent.paying_agent_operation, 24)
        yield from _phones(pointer, "transfer_operator_phones", 1075, agent.transfer_operator_phones)
        yield from _text(pointer, "transfer_operator_name", 1026, agent.transfer_operator_name, 64)
        yield from _text(pointer, "transfer_operator_address", 1005, agent.transfer_operator_address, 256)
        yield from _inn(pointer, "transfer_operator_inn", 1016, agent.transfer_operator_inn or "", foreign=False)


def _inn(pointer: str, member: str, tag: int, inn: str, *, foreign: bool) -> Iterator[Finding]:
    if inn_valid(inn) or (foreign and inn == FOREIGN_SUPPLIER):
        return
    advice = f" A supplier without a Russian INN is written {FOREIGN_SUPPLIER}." if foreign else ""
    yield Finding(
        f"{pointer}/{member}",
        "agent_incomplete",
        f"An agent sign needs {member}: 10 or 12 digits with right check digits.",
        f"Для признака агента нужен верный ИНН ({member}): 10 или 12 цифр.",
        tag,
        f"Give the INN from the contract.{advice}",
    )


def _text(pointer: str, member: str, tag: int, text: str | None, limit: int) -> Iterator[Finding]:
    if text and text.strip() and len(text) <= limit:
        return
    yield Finding(
        f"{pointer}/{member}",
        "agent_incomplete",
        f"This agent sign needs {member}, 1 to {limit} characters.",
        f"Для этого признака агента нужно заполнить {member} (от 1 до {limit} символов).",
        tag,
        "Give it as the contract has it.",
    )


def _phones(pointer: str, member: str, tag: int, phones: tuple[str, ...]) -> Iterator[Finding]:
    if phones and all(_PHONE.fullmatch(phone) for phone in phones):
        return
    yield Finding(
        f"{pointer}/{member}",
        "agent_incomplete",
        f"This agent sign needs {member}: one phone or more, each as +74951234567.",
        f"Для этого признака агента нужен телефон ({member}) в виде +74951234567.",
        tag,
        "Give at least one phone in international form.",
    )
