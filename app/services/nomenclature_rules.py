"""Rules of the nomenclature between their forms: what was said, the stored row, the rule that planning matches."""

from dataclasses import asdict, dataclass, fields
from typing import Any
from uuid import UUID

from app.db.repos.nomenclature import RuleRow
from app.domain.codec import agent_from_json, agent_to_json
from app.domain.defaults import Defaults
from app.domain.ffd import Measure, PaymentKind, PaymentMethod, PaymentObject
from app.domain.nomenclature import Conditions, Rule
from app.domain.receipt import Agent
from app.domain.vat import VatRate
from app.infra.ids import public

__all__ = ["Draft", "RuleRow", "draft_of", "rule_of", "rule_view"]


@dataclass(frozen=True, slots=True)
class Draft:
    """What a rule says, before it has an id; words are API names, `pattern` is the text to be matched."""

    source_id: UUID | None = None
    branch_id: UUID | None = None
    payment_type: str | None = None
    sku: str | None = None
    pattern: str | None = None
    priority: int = 0
    name: str | None = None
    payment_object: str | None = None
    payment_method: str | None = None
    vat: str | None = None
    measure: str | None = None
    agent: Agent | None = None
    override: bool = False
    comment: str | None = None

    @property
    def when(self) -> Conditions:
        return Conditions(
            source=None if self.source_id is None else public("src", self.source_id),
            branch=None if self.branch_id is None else public("brn", self.branch_id),
            payment_type=None if self.payment_type is None else PaymentKind.parse(self.payment_type),
            sku=self.sku,
            text=self.pattern,
        )

    @property
    def answers(self) -> Defaults:
        return Defaults(
            vat=None if self.vat is None else VatRate.parse(self.vat),
            payment_method=None if self.payment_method is None else PaymentMethod.parse(self.payment_method),
            payment_object=None if self.payment_object is None else PaymentObject.parse(self.payment_object),
            measure=None if self.measure is None else Measure.parse(self.measure),
            item_name=self.name,
        )

    def columns(self) -> dict[str, Any]:
        """As the table has it."""
        return {
            **{each.name: getattr(self, each.name) for each in fields(self)},
            "agent": None if self.agent is None else agent_to_json(self.agent),
        }


def draft_of(row: RuleRow) -> Draft:
    """What a stored rule says."""
    said = {each.name: getattr(row, each.name) for each in fields(Draft)}
    return Draft(**{**said, "agent": None if row.agent is None else agent_from_json(row.agent)})


def rule_of(row: RuleRow) -> Rule:
    """A stored rule as planning matches it."""
    said = draft_of(row)
    return Rule(public("nom", row.id), said.when, said.answers, said.agent, said.override, said.priority)


def rule_view(row: RuleRow) -> dict[str, Any]:
    """A rule as the API shows it."""
    agent = None if row.agent is None else asdict(agent_from_json(row.agent))
    if agent is not None:
        agent["type"] = agent["type"].code
    return {
        "id": row.id,
        "version": row.since,
        "ended_in": row.until,
        "priority": row.priority,
        "match": {
            "source_id": row.source_id,
            "branch_id": row.branch_id,
            "payment_type": row.payment_type,
            "sku": row.sku,
            "text": row.pattern,
        },
        "fill": {
            "name": row.name,
            "payment_object": row.payment_object,
            "payment_method": row.payment_method,
            "vat": row.vat,
            "measure": row.measure,
            "agent": agent,
        },
        "override": row.override,
        "comment": row.comment,
        "created_at": row.created_at,
        "changed_at": row.changed_at,
    }
