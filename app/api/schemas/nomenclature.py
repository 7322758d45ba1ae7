"""Rules of the nomenclature on the wire."""

from typing import Annotated, Any, Literal

from pydantic import Field, StrictBool, StringConstraints

from app.api.schemas.lines import AgentIn, AgentOut, MeasureName, MethodName, ObjectName, PaymentName, VatName
from app.api.types import (
    WHOLE,
    BranchId,
    EventId,
    RequestModel,
    ResponseModel,
    RuleId,
    ShortText,
    SourceId,
    Timestamp,
    optional,
)
from app.services.nomenclature_rules import Draft

UnmappedName = Literal["default", "hold", "refuse"]

UNMAPPED = (
    "What becomes of a line that no rule of the nomenclature covers. `default`: filled from event and defaults. "
    "`hold`: held until a rule is there. `refuse`: its payment is refused."
)
UNMAPPED_OF_SOURCE = UNMAPPED + " Null: as the merchant has it."

_NO_NUL = r"^[^\x00]*[^\s\x00][^\x00]*$"
Text255 = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=255, pattern=_NO_NUL)]
Priority = Annotated[int, Field(ge=-1000, le=1000), WHOLE]

_PRIORITY = "Of the rules that match, the one with the highest priority wins; of equal ones the most specific."
_OVERRIDE = (
    "false: fills what the event leaves open (the name is replaced all the same). true: goes before what the event "
    "says."
)


class MatchIn(RequestModel):
    """What a line must be like, all of it at once; at least one member."""

    source: SourceId | None = Field(default=None, description="Reported by this source.")
    branch: BranchId | None = Field(default=None, description="Sold at this branch.")
    payment_type: PaymentName | None = Field(default=None, description="Some of the money came this way.")
    sku: ShortText | None = Field(default=None, description="The line's `sku`, to the letter.")
    text: Text255 | None = Field(
        default=None,
        description="The line's whole name, or what a payment without lines is described as; `*` stands for any "
        "characters. Case, `ё`, kinds of quotes and dashes do not count.",
        examples=["Абонемент * занятий*"],
    )


class FillIn(RequestModel):
    """What the line says in the receipt; what is left out comes from the event and the defaults. All left out: the
    line is right as it is."""

    name: ShortText | None = Field(default=None, description="Printed in place of the reported name.")
    payment_object: ObjectName | None = None
    payment_method: MethodName | None = Field(
        default=None, description="Goes behind `delivered` of the event, unless `override`."
    )
    vat: VatName | None = Field(
        default=None, description="Rate of a sale of today; a prepayment takes its calculated twin by itself."
    )
    measure: MeasureName | None = None
    agent: AgentIn | None = None


class RuleIn(RequestModel):
    """A new rule."""

    match: MatchIn
    fill: FillIn = Field(default_factory=FillIn)
    priority: Priority = Field(default=0, description=_PRIORITY)
    override: StrictBool = Field(default=False, description=_OVERRIDE)
    comment: Text255 | None = Field(default=None, description="For people; printed nowhere.")

    def to_domain(self) -> Draft:
        """The rule as services take it."""
        return Draft(**_members(self))


class RuleChange(RequestModel):
    """What is to change of a rule; members of `match` and `fill` are changed one by one, null takes one away."""

    match: MatchIn = optional()
    fill: FillIn = optional()
    priority: Priority = optional(description=_PRIORITY)
    override: StrictBool = optional(description=_OVERRIDE)
    comment: Text255 | None = optional(description="For people; printed nowhere.")

    def given(self) -> dict[str, Any]:
        """The members that were sent, as services take them."""
        return _members(self)


def _members(body: RuleIn | RuleChange) -> dict[str, Any]:
    names = {"source": "source_id", "branch": "branch_id", "text": "pattern"}
    sent = {name: getattr(body, name) for name in body.model_fields_set - {"match", "fill"}}
    for part in ("match", "fill"):
        if part in body.model_fields_set:
            said = getattr(body, part)
            sent |= {names.get(name, name): getattr(said, name) for name in said.model_fields_set}
    if sent.get("agent") is not None:
        sent["agent"] = sent["agent"].to_domain()
    return sent


class MatchOut(ResponseModel):
    """What a line must be like; null asks nothing."""

    source_id: SourceId | None
    branch_id: BranchId | None
    payment_type: str | None
    sku: str | None
    text: str | None


class FillOut(ResponseModel):
    """What the line says in the receipt; null: as the event or the defaults say."""

    name: str | None
    payment_object: str | None
    payment_method: str | None
    vat: str | None
    measure: str | None
    agent: AgentOut | None


class RuleOut(ResponseModel):
    """A rule from what sources send to what receipts say."""

    id: RuleId
    version: int = Field(description="Since which version of the nomenclature it is as it is; also the ETag.")
    ended_in: int | None = Field(description="The version that no longer has it so; null: it holds.")
    priority: int
    match: MatchOut
    fill: FillOut
    override: bool
    comment: str | None
    created_at: Timestamp
    changed_at: Timestamp


class ImportFindingOut(ResponseModel):
    """What is wrong with a line."""

    pointer: str
    detail: str
    detail_ru: str
    code: str
    ffd_tag: int | None
    fix: str | None


class ImportRowOut(ResponseModel):
    """What becomes of one line of the file."""

    line: int = Field(description="Number in the file; the heads are line 1.")
    state: str = Field(description="`added`, `changed`, `unchanged` or `refused`.")
    rule_id: RuleId | None = Field(description="Of an added one known once it is stored.")
    findings: list[ImportFindingOut]


class ImportOut(ResponseModel):
    """What a file would do, or has done."""

    applied: bool = Field(description="false: a preview, nothing was stored.")
    version: int = Field(description="Version of the rules that the preview looked at, or that holds now.")
    added: int
    changed: int
    unchanged: int
    refused: int
    deleted: list[RuleId] = Field(description="Rules that are not in the file.")
    rows: list[ImportRowOut]
    token: str | None = Field(description="Send it as `confirm` with the same file; null while a line is refused.")


class DiffExampleOut(ResponseModel):
    """One of the lines, as its source sent it."""

    event_id: EventId
    amount: int
    vat: str | None
    payment_object: str | None
    payment_method: str | None
    measure: str | None


class DiffMatchOut(ResponseModel):
    """`match` of a rule that would cover it."""

    sku: str | None = None
    text: str | None = None


class DiffGroupOut(ResponseModel):
    """Lines of one source that one rule would cover."""

    source_id: SourceId
    source_name: str
    sku: str | None
    text: str = Field(description="The name; `*` for contacts, the buyer's name, long numbers and dates.")
    policy: str = Field(description="What becomes of them: `default`, `hold` or `refuse`.")
    lines: int
    events: int
    held: int = Field(description="Lines whose payment is held.")
    amount: int = Field(description="Sum of the lines, kopecks.")
    branches: list[BranchId]
    payment_types: list[str]
    first_at: Timestamp | None
    last_at: Timestamp | None
    example: DiffExampleOut
    match: DiffMatchOut | None = Field(description="For `POST /v1/nomenclature`; null: there is no code and no word.")


class DiffOut(ResponseModel):
    """What sources sent lately that no rule covers, most frequent first."""

    version: int
    since: Timestamp
    events_read: int
    complete: bool = Field(description="false: only the newest payments of this time were read.")
    groups: int = Field(description="How many there are; `data` shows the first of them.")
    data: list[DiffGroupOut]
