"""What the law wants beside an agent sign (tags 1223, 1224, 1226): who acts for whom, and how to reach them.

Source: the format (FNS order ЕД-7-20/662@ and the text of FFD 1.05, note 18 to table 19). The supplier's phones stand
in the format for paying agents, for the other agents they are practice; which phones of the agent himself a service
wants differs (U), so a driver may ask for more.
"""

import re

from app.domain.errors import Finding
from app.domain.ffd import AgentType
from app.domain.inn import FOREIGN_SUPPLIER, inn_valid
from app.domain.receipt import Agent

_BANK = frozenset({AgentType.BANK_PAYING_AGENT, AgentType.BANK_PAYING_SUBAGENT})
_PAYING = frozenset({AgentType.PAYING_AGENT, AgentType.PAYING_SUBAGENT})
_PHONE = re.compile(r"\+[0-9]{1,18}")


def agent_findings(found: list[Finding], pointer: str, agent: Agent) -> None:
    """Add to `found` all that is missing or wrong in the agent data of one line; `pointer` is where the data stands."""
    _inn(found, pointer, "supplier_inn", 1226, agent.supplier_inn, foreign=True)
    _text(found, pointer, "supplier_name", 1225, agent.supplier_name, 256)
    _phones(found, pointer, "supplier_phones", 1171, agent.supplier_phones)
    if agent.type in _BANK | _PAYING:
        _phones(found, pointer, "paying_agent_phones", 1073, agent.paying_agent_phones)
    if agent.type in _PAYING:
        _phones(found, pointer, "payment_operator_phones", 1074, agent.payment_operator_phones)
    if agent.type in _BANK:
        _text(found, pointer, "paying_agent_operation", 1044, agent.paying_agent_operation, 24)
        _phones(found, pointer, "transfer_operator_phones", 1075, agent.transfer_operator_phones)
        _text(found, pointer, "transfer_operator_name", 1026, agent.transfer_operator_name, 64)
        _text(found, pointer, "transfer_operator_address", 1005, agent.transfer_operator_address, 256)
        _inn(found, pointer, "transfer_operator_inn", 1016, agent.transfer_operator_inn or "", foreign=False)


def _inn(found: list[Finding], pointer: str, member: str, tag: int, inn: str, *, foreign: bool) -> None:
    if inn_valid(inn) or (foreign and inn == FOREIGN_SUPPLIER):
        return
    advice = f" A supplier without a Russian INN is written {FOREIGN_SUPPLIER}." if foreign else ""
    found.append(
        Finding(
            f"{pointer}/{member}",
            "agent_incomplete",
            f"An agent sign needs {member}: 10 or 12 digits with right check digits.",
            f"Для признака агента нужен верный ИНН ({member}): 10 или 12 цифр.",
            tag,
            f"Give the INN from the contract.{advice}",
        )
    )


def _text(found: list[Finding], pointer: str, member: str, tag: int, text: str | None, limit: int) -> None:
    if text and text.strip() and len(text) <= limit:
        return
    found.append(
        Finding(
            f"{pointer}/{member}",
            "agent_incomplete",
            f"This agent sign needs {member}, 1 to {limit} characters.",
            f"Для этого признака агента нужно заполнить {member} (от 1 до {limit} символов).",
            tag,
            "Give it as the contract has it.",
        )
    )


def _phones(found: list[Finding], pointer: str, member: str, tag: int, phones: tuple[str, ...]) -> None:
    if phones and all(_PHONE.fullmatch(phone) for phone in phones):
        return
    found.append(
        Finding(
            f"{pointer}/{member}",
            "agent_incomplete",
            f"This agent sign needs {member}: one phone or more, each as +74951234567.",
            f"Для этого признака агента нужен телефон ({member}) в виде +74951234567.",
            tag,
            "Give at least one phone in international form.",
        )
    )
