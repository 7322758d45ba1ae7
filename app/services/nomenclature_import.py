"""The whole nomenclature as a file: written, and read back in two steps, so that a person sees what would change.

A file replaces all rules. What a preview showed is what its token confirms: the same file over the same version.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any
from uuid import UUID

from app.db.repos import nomenclature as repo
from app.db.repos import settings as settings_repo
from app.db.repos.nomenclature import RuleRow
from app.db.repos.settings import BranchRow, SourceRow
from app.db.unit_of_work import Database, Tx
from app.domain.errors import Conflict, Finding, Invalid, NotFound
from app.domain.nomenclature_csv import AGENT, RuleLine, read_rules, write_rules
from app.domain.receipt import Agent
from app.infra.clock import DatabaseClock
from app.infra.ids import new_id, public
from app.services.catalog import Catalog
from app.services.nomenclature import Nomenclature
from app.services.nomenclature_checks import MAX_RULES, agent_from, findings, tidy
from app.services.nomenclature_rules import Draft, draft_of

_TEXTS = ("payment_type", "sku", "name", "payment_object", "payment_method", "vat", "measure", "comment")


@dataclass(frozen=True, slots=True)
class ImportRow:
    """What becomes of one line of a file: `added`, `changed`, `unchanged` or `refused`, then with its findings."""

    line: int
    state: str
    rule_id: UUID | None = None
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class ImportPlan:
    """What a file would do to the rules of `version`, or, with `applied`, has done. `token` confirms it; None while a
    line is refused."""

    version: int
    rows: tuple[ImportRow, ...]
    deleted: tuple[UUID, ...]
    token: str | None
    applied: bool = False

    def count(self, state: str) -> int:
        return sum(row.state == state for row in self.rows)


@dataclass(slots=True)
class _Judged:
    rows: list[ImportRow] = field(default_factory=list)
    begun: dict[UUID, tuple[Draft, RuleRow | None]] = field(default_factory=dict)
    kept: set[UUID] = field(default_factory=set)


class _Names:
    """How files name sources and branches: by id, or by what people call them."""

    def __init__(self, sources: Sequence[SourceRow], branches: Sequence[BranchRow]) -> None:
        self._sources: dict[str, set[UUID]] = {}
        for source in sources:
            for called in (public("src", source.id), source.name):
                self._sources.setdefault(called, set()).add(source.id)
        self._branches: dict[str, set[UUID]] = {}
        for branch in branches:
            for name in (public("brn", branch.id), branch.external_id, branch.name):
                if name is not None:
                    self._branches.setdefault(name, set()).add(branch.id)

    def source(self, name: str) -> UUID | None:
        return _only(self._sources.get(name))

    def branch(self, name: str) -> UUID | None:
        return _only(self._branches.get(name))


def _only(found: set[UUID] | None) -> UUID | None:
    return next(iter(found)) if found is not None and len(found) == 1 else None


class NomenclatureImport:
    """Exports and imports of one merchant at a time."""

    def __init__(self, database: Database, catalog: Catalog, clock: DatabaseClock, rules: Nomenclature) -> None:
        self._database = database
        self._catalog = catalog
        self._clock = clock
        self._rules = rules

    async def export(self, merchant_id: UUID) -> str:
        """All rules as CSV, oldest first; `preview` of it changes nothing."""
        async with self._database.tenant(merchant_id) as tx:
            merchant = await settings_repo.merchant(tx, merchant_id)
            version = 0 if merchant is None else merchant.nomenclature_version
            return write_rules(map(_cells, await repo.of_version(tx, merchant_id, version)))

    async def preview(self, merchant_id: UUID, text: str) -> ImportPlan:
        """What the file would do; nothing is stored. Invalid when it is no table of rules."""
        async with self._database.tenant(merchant_id) as tx:
            merchant = await settings_repo.merchant(tx, merchant_id)
            if merchant is None:
                raise NotFound("There is no such merchant here.")
            plan, _ = await self._plan(tx, merchant_id, merchant.nomenclature_version, text)
        return plan

    async def confirm(self, actor: str, merchant_id: UUID, text: str, token: str) -> ImportPlan:
        """Replace all rules by those of the file, in one version.

        Conflict when the token is not that of this file over the present version; Invalid when a line is refused.
        """
        async with self._database.pipeline() as tx:
            version = await repo.lock(tx, merchant_id)
            if version is None:
                raise NotFound("There is no such merchant here.")
            plan, judged = await self._plan(tx, merchant_id, version, text)
            if plan.token is None:
                raise Invalid(
                    "lines of this file are no rules", tuple(one for row in plan.rows for one in row.findings)
                )
            if plan.token != token:
                raise Conflict(
                    "the file or the rules changed since the preview; look at it again", rule="token_differs"
                )
            ended = [*(rule for rule, (_, before) in judged.begun.items() if before is not None), *plan.deleted]
            if ended or judged.begun:
                version += 1
                await self._rules.store(tx, actor, merchant_id, version, ended, judged.begun, "nomenclature.imported")
        self._catalog.forget(merchant_id)
        return replace(plan, version=version, applied=True)

    async def _plan(self, tx: Tx, merchant_id: UUID, version: int, text: str) -> tuple[ImportPlan, _Judged]:
        lines, faults = read_rules(text, MAX_RULES)
        if faults:
            raise Invalid("this file is no table of rules", faults)
        known = await repo.of_version(tx, merchant_id, version)
        names = _Names(await settings_repo.sources(tx, merchant_id), await settings_repo.branches(tx, merchant_id))
        judged = self._judge(lines, known, names)
        deleted = tuple(row.id for row in known if row.id not in judged.kept)
        token = None
        if all(row.state != "refused" for row in judged.rows):
            said = [[line.cells, line.priority, line.override] for line in lines]
            content = json.dumps([str(merchant_id), version, said], sort_keys=True, default=dict, ensure_ascii=False)
            token = hashlib.sha256(content.encode()).hexdigest()[:32]
        return ImportPlan(version, tuple(judged.rows), deleted, token), judged

    def _judge(self, lines: Sequence[RuleLine], known: Sequence[RuleRow], names: _Names) -> _Judged:
        by_id = {public("nom", row.id): row for row in known}
        by_key = {draft_of(row).when.key: row for row in known}
        judged = _Judged()
        seen: dict[object, int] = {}
        for line in lines:
            draft, found = self._draft(line, names)
            if draft is None:
                judged.rows.append(ImportRow(line.line, "refused", None, tuple(found)))
                continue
            row = by_id.get(line.cells["id"]) if "id" in line.cells else by_key.get(draft.when.key)
            if "id" in line.cells and row is None:
                found.append(_at(line, "id", "rule_unknown", "is the id of no rule", "нет такого правила"))
            elif row is not None and row.id in judged.kept:
                found.append(_at(line, "id", "rule_repeated", "stands twice", "встречается дважды"))
            if (first := seen.setdefault(draft.when.key, line.line)) != line.line:
                told, told_ru = f"matches exactly what line {first} does", f"совпадает по условиям со строкой {first}"
                found.append(_at(line, "text", "rule_repeated", told, told_ru))
            if found:
                judged.rows.append(ImportRow(line.line, "refused", None, tuple(found)))
                continue
            rule_id = new_id() if row is None else row.id
            judged.kept.add(rule_id)
            same = row is not None and draft_of(row) == draft
            judged.rows.append(
                ImportRow(line.line, "added" if row is None else "unchanged" if same else "changed", rule_id)
            )
            if not same:
                judged.begun[rule_id] = (draft, row)
        return judged

    def _draft(self, line: RuleLine, names: _Names) -> tuple[Draft | None, list[Finding]]:
        found = list(line.findings)
        cells = line.cells
        places: dict[str, Any] = {}
        for name, look_up in (("source", names.source), ("branch", names.branch)):
            places[f"{name}_id"] = None
            if name in cells and (one := look_up(cells[name])) is not None:
                places[f"{name}_id"] = one
            elif name in cells:
                told, told_ru = "is not known here, or several are called so", "не найден или таких несколько"
                found.append(_at(line, name, f"{name}_unknown", told, told_ru))
        try:
            agent = agent_from({name.removeprefix("agent_"): cells.get(name, "") for name in AGENT})
        except ValueError:
            agent = None
            if not any(one.pointer.endswith("/agent_type") for one in found):
                found.append(_at(line, "agent_type", "cell_missing", "is empty", "не заполнено"))
        if found:
            return None, found
        said: dict[str, Any] = {name: cells.get(name) for name in _TEXTS}
        draft = tidy(
            Draft(
                **places,
                **said,
                pattern=cells.get("text"),
                priority=line.priority,
                override=line.override,
                agent=agent,
            )
        )
        wrong = [
            replace(
                one,
                pointer=f"#/rows/{line.number}{one.pointer.removeprefix('#')}",
                detail=f"Line {line.line}: {one.detail}",
                detail_ru=f"Строка {line.line}: {one.detail_ru}",
            )
            for one in findings(draft, self._clock.now())
        ]
        return (None if wrong else draft), wrong


def _cells(row: RuleRow) -> Mapping[str, object]:
    """A stored rule by column."""
    draft = draft_of(row)
    return {
        **{name: getattr(draft, name) for name in _TEXTS},
        "id": public("nom", row.id),
        "priority": row.priority,
        "source": None if row.source_id is None else public("src", row.source_id),
        "branch": None if row.branch_id is None else public("brn", row.branch_id),
        "text": row.pattern,
        "override": row.override,
        **({} if draft.agent is None else _agent_cells(draft.agent)),
    }


def _agent_cells(agent: Agent) -> dict[str, object]:
    cells: dict[str, object] = {}
    for each in fields(Agent):
        value = getattr(agent, each.name)
        cells[f"agent_{each.name}"] = (
            value.code if each.name == "type" else ", ".join(value) if isinstance(value, tuple) else value
        )
    return cells


def _at(line: RuleLine, name: str, rule: str, told: str, told_ru: str) -> Finding:
    return Finding(
        f"#/rows/{line.number}/{name}",
        rule,
        f"Line {line.line}: {name} {told}.",
        f"Строка {line.line}: {name} {told_ru}.",
    )
