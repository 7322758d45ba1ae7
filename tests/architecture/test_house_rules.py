"""Rules of the house that no linter knows: who commits, what money is, what must be explained, what is never shared."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import app

APP = Path(app.__file__).parent
REPOS = APP / "db" / "repos"

COMMITS = {
    "db/unit_of_work.py": "the engine's transactions: services and the claim borrow them",
    "db/group_commit.py": "one transaction for all callers that arrived meanwhile",
    "db/migrate.py": "the schema tool: its sessions are its own, beside the programs",
}
CONNECTS = {
    "db/unit_of_work.py": COMMITS["db/unit_of_work.py"],
    "db/migrate.py": COMMITS["db/migrate.py"],
    "infra/postgres.py": "creates the program's database in the embedded server",
    "cli/doctor.py": "asks the server about itself as the login role; changes nothing",
    "queue/notifier.py": "LISTEN holds a connection for as long as the worker lives",
}
"""Who opens a connection of its own: outside a transaction each statement commits itself."""

AUTOCOMMIT = {
    "db/unit_of_work.py": "wraps it into a transaction for the claim",
    "worker/maintenance.py": "rescue: one statement, a transaction by itself",
    "services/catalog.py": "reads a merchant's settings, which are kept for seconds anyway",
    "worker/dispatch.py": "reads what claimed jobs are about; changes nothing",
    "services/fiscalize.py": "reads back a mark whose commit nobody confirmed; changes nothing",
}
"""Who asks for `Database.raw()`, whose statements commit one by one."""

LONG = {
    "api/schemas/lines.py": "a line and all that can be said of it, one page of the contract",
    "db/tables.py": "all tables in the order of the pipeline, read as one page",
    "domain/planning.py": "a payment's way to its receipt, step by step as the law has them",
    "domain/settlement.py": "closings of a payment and of an order under one set of rules",
    "kassas/digitalkassa.py": "a driver is one file from document to wire, so that it is read and copied as one",
    "simulator/protocols/_atol_schema.py": "the provider's whole schema, read beside its document",
    "runtime.py": "the composition root: every part is built once, in the order of what it needs",
    "services/actions.py": "every operator action: they share one lock order and one way of noting who did it",
    "services/intake.py": "one event's way from the request to the committed answer",
    "services/plan.py": "what waits and is planned again: each case ends in the same three writes",
}
"""Files over 400 lines, each with the reason why it is still one thing."""

NAMES_NO_MERCHANT = {
    "the worker's: its job names the row, of any merchant": {
        "attempts.late",
        "chains.merchant_of",
        "crm_reports.by_id",
        "notifications.by_id",
        "outbox.disable",
        "planned.event",
        "receipts.by_ids",
        "source_watch.locked",
    },
    "the caller has the row from its job or read it under its merchant, in the same transaction": {
        "attempts.arrivals",
        "attempts.disprove_absence",
        "attempts.documents",
        "attempts.last_asked",
        "attempts.last_marked",
        "keys.expire",
        "keys.revoke",
        "planned.set_totals",
        "receipts.earlier_attempts",
        "receipts.vouch_absent",
    },
    "asked before any merchant is known: the address or the key itself says whose it is": {
        "keys.by_hash",
        "keys.used",
        "notifications.kassa",
        "notifications.source",
    },
    "an admin's, who stands above the merchants": {
        "keys.admin_exists",
        "keys.any_by_id",
        "keys.create",
        "merchants.page",
    },
    "upkeep of the whole installation": {
        "gauges.sample",
        "idempotency.prune",
        "overdue.contacts_not_waited_for",
        "overdue.late",
        "overdue.refunds_without_payment",
        "overdue.set_alarms",
        "overdue.take_alarms",
        "planned.chains_to_release",
        "retention.batch",
        "retention.expired_keys",
        "retention.receipts",
        "vat.take_due",
        "sealed_columns.key_ids",
        "sealed_columns.of_other_keys",
        "sealed_columns.sample",
        "source_watch.by_ids",
        "source_watch.fell_silent",
        "source_watch.heard_again",
        "source_watch.to_remember",
        "source_watch.without_a_poll",
    },
    "no table of a merchant's is touched": {
        "chains.document_key",
        "chains.order_key",
        "chains.return_key",
        "gauges.answers",
        "gauges.revision",
        "gauges.room",
        "listing.newest",
        "retention.place",
        "retention.remember",
        "retention.take_turn",
        "workers.alive",
        "workers.beat",
        "workers.gone",
    },
}
"""Repository functions that are told no merchant, by the reason."""

ROUBLES = {"simulator/protocols/atol.py": "plays a provider whose answers carry roubles as JSON numbers"}
"""Where a quotient of kopecks is written as somebody else's wire wants it, and never read again."""

MONEY = re.compile(r"(^|_)(amounts?|prices?|totals?|kopecks|sums?)$")
COMPOUND = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.Try, ast.With, ast.AsyncWith, ast.Match)
MUTABLE = {"dict", "list", "set", "defaultdict", "deque", "Counter", "OrderedDict", "WeakValueDictionary"}
CHANGES = {"append", "add", "update", "setdefault", "pop", "popitem", "clear", "extend", "insert", "remove", "discard"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """One file of the program; `name` is its path below `app/`."""

    name: str
    text: str
    tree: ast.Module

    def nodes(self, *kinds: type[Any]) -> Iterator[Any]:
        return (node for node in ast.walk(self.tree) if isinstance(node, kinds))

    def calls(self) -> Iterator[tuple[str, ast.Call]]:
        """Every call with what is called, as written."""
        return ((ast.unparse(call.func), call) for call in self.nodes(ast.Call))

    def at(self, node: Any) -> str:
        return f"{self.name}:{node.lineno} {ast.unparse(node).splitlines()[0][:80]}"


@cache
def modules() -> tuple[Module, ...]:
    found = []
    for path in sorted(APP.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        found.append(Module(path.relative_to(APP).as_posix(), text, ast.parse(text)))
    return tuple(found)


def under(*folders: str) -> list[Module]:
    return [module for module in modules() if module.name.split("/")[0] in folders]


def called_in(*endings: str) -> set[str]:
    """Files that call something with one of these names."""
    return {m.name for m in modules() for called, _ in m.calls() if f".{called}".endswith(endings)}


def test_transactions_that_commit_are_opened_in_two_places() -> None:
    own = {
        module.name
        for module in modules()
        for called, call in module.calls()
        if f".{called}".endswith((".begin", ".begin_nested", ".commit", ".transaction"))
        or any(word.arg in ("isolation_level", "autocommit") for word in call.keywords)
    }
    assert own == set(COMMITS)


def test_no_statement_of_sql_commits() -> None:
    ends = re.compile(r"\s*(BEGIN|COMMIT|ROLLBACK|START TRANSACTION|SAVEPOINT)\b")
    told = [m.at(text) for m in modules() for text in m.nodes(ast.Constant) if isinstance(text.value, str)
            and ends.match(text.value) and text.value.isupper()]  # fmt: skip
    assert told == []


def test_every_metric_that_is_exported_is_fed() -> None:
    def named(module: Module) -> set[str]:
        return {node.attr for node in module.nodes(ast.Attribute)}

    own = next(module for module in modules() if module.name == "infra/metrics.py")
    others = [node for node in own.nodes(ast.FunctionDef) if node.name != "__init__"]
    used = {node.attr for other in others for node in ast.walk(other) if isinstance(node, ast.Attribute)}
    used |= {name for module in modules() if module is not own for name in named(module)}
    assert sorted(named(own) - used - {"registry"}) == []


def test_who_has_a_connection_of_its_own_is_known() -> None:
    assert called_in("asyncpg.connect", "engine.connect", "database.connect", "create_async_engine", "create_pool") == (
        set(CONNECTS)
    )


def test_statements_that_commit_by_themselves_are_few() -> None:
    assert called_in(".raw") == set(AUTOCOMMIT)


def _name(node: ast.expr) -> str:
    """The last name of an expression: `order.amount` is `amount`."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Call(func=called):
            return _name(called)
        case ast.Subscript(slice=ast.Constant(value=str() as key)):
            return key
        case _:
            return ""


def _is_float(annotation: ast.expr | None) -> bool:
    return annotation is not None and re.search(r"\bfloat\b", ast.unparse(annotation)) is not None


def money_in_floats(module: Module) -> Iterator[str]:
    for node in module.nodes(ast.arg, ast.AnnAssign, ast.FunctionDef, ast.AsyncFunctionDef, ast.Call, ast.BinOp):
        match node:
            case ast.arg(arg=name, annotation=kind) if MONEY.search(name) and _is_float(kind):
                yield module.at(node)
            case ast.AnnAssign(target=target, annotation=kind) if MONEY.search(_name(target)) and _is_float(kind):
                yield module.at(node)
            case ast.FunctionDef(name=name, returns=kind) | ast.AsyncFunctionDef(name=name, returns=kind) if (
                MONEY.search(name) and _is_float(kind)
            ):
                yield module.at(node)
            case ast.Call(func=ast.Name(id="float"), args=[value, *_]) if any(
                MONEY.search(_name(part)) for part in ast.walk(value) if isinstance(part, ast.expr)
            ):
                yield module.at(node)
            # A quantity is a Decimal, and so is what it divides; any other quotient of kopecks is a float.
            case ast.BinOp(left=left, op=ast.Div(), right=right) if (
                MONEY.search(_name(left)) or MONEY.search(_name(right))
            ) and _name(right) not in ("quantity", "Decimal"):
                yield module.at(node)


def test_money_is_never_a_float() -> None:
    found = {module.name: list(money_in_floats(module)) for module in modules()}
    assert {name: lines for name, lines in found.items() if lines and name not in ROUBLES} == {}


@pytest.mark.parametrize(
    "line",
    [
        "def f(amount: float) -> None: ...",
        "def f(*, unit_price: float | None = None) -> None: ...",
        "total: list[float] = []",
        "def order_sum() -> float: ...",
        "float(order.amount)",
        "float(row['price'])",
        "float(total / 100)",
        "self.refund_amount / 100",
    ],
)
def test_a_float_for_money_is_noticed(line: str) -> None:
    assert list(money_in_floats(Module("x.py", line, ast.parse(line))))


def test_every_module_says_in_a_few_sentences_what_it_is() -> None:
    wrong = {}
    for module in modules():
        told = ast.get_docstring(module.tree)
        if told is None:
            if module.text.strip():
                wrong[module.name] = "says nothing"
            continue
        sentences = len(re.findall(r"[.!?][)\"'`]?(?=\s|$)", told))
        if not 1 <= sentences <= 3:
            wrong[module.name] = f"{sentences} sentences"
    assert wrong == {}


def _public(body: list[ast.stmt], before: str = "") -> Iterator[tuple[str, Function | ast.ClassDef]]:
    for node in body:
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_"):
            yield before + node.name, node
            if isinstance(node, ast.ClassDef):
                yield from _public(node.body, f"{before}{node.name}.")


def _speaks_for_itself(node: Function | ast.ClassDef) -> bool:
    """At most two plain statements: there is nothing to promise that the name and the types do not say."""
    if isinstance(node, ast.ClassDef):
        return False
    return len(node.body) <= 2 and not any(isinstance(statement, COMPOUND) for statement in node.body)


def test_what_others_call_tells_its_promise() -> None:
    silent = [
        f"{module.name}:{node.lineno} {name}"
        for module in under("domain", "ports", "queue", "services")
        for name, node in _public(module.tree.body)
        if ast.get_docstring(node) is None and not _speaks_for_itself(node)
    ]
    assert silent == []


def test_only_the_command_line_prints() -> None:
    printing = {m.name for m in modules() for called, _ in m.calls() if called in ("print", "rich.print")}
    writing = {m.name for m in modules() if "sys.stdout" in m.text or "sys.stderr.write" in m.text}
    # `python -m app.domain.state_chart` prints a page of the documentation.
    assert {name for name in printing | writing if not name.startswith("cli/")} == {"domain/state_chart.py"}


def test_no_time_without_a_zone() -> None:
    naive = []
    for module in modules():
        for called, call in module.calls():
            last = called.rpartition(".")[2]
            zoneless = not call.args and not any(word.arg == "tz" for word in call.keywords)
            if last in ("utcnow", "utcfromtimestamp", "today") or (called.endswith("datetime.now") and zoneless):
                naive.append(module.at(call))
            if called.endswith("datetime.fromtimestamp") and len(call.args) + len(call.keywords) < 2:
                naive.append(module.at(call))
    assert naive == []


def test_nothing_blocks_the_loop_by_sleeping() -> None:
    # The embedded server's account is looked for in a thread, before the program begins.
    assert called_in("time.sleep") == {"infra/postgres_home.py"}


def _value(node: ast.stmt) -> tuple[str, ast.expr] | None:
    match node:
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            return name, value
        case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
            return name, value
        case _:
            return None


def _container(value: ast.expr) -> bool:
    made = isinstance(value, ast.Call) and _name(value.func) in MUTABLE
    return made or isinstance(value, ast.Dict | ast.List | ast.Set | ast.DictComp | ast.ListComp | ast.SetComp)


def _empty(value: ast.expr) -> bool:
    match value:
        case ast.Dict(keys=[]) | ast.List(elts=[]):
            return True
        case ast.Call(args=[], keywords=[]):
            return True
        case ast.Call(func=called):
            return _name(called) == "defaultdict"
        case _:
            return False


def shared_state(module: Module) -> Iterator[str]:
    """Containers of the module or a class that are there to be filled, and those that are changed somewhere."""
    bodies = [module.tree.body, *(made.body for made in module.nodes(ast.ClassDef))]
    known = {}
    for body in bodies:
        for name, value in filter(None, map(_value, body)):
            if _container(value):
                known[name] = value
    for name, value in known.items():
        if name != "__all__" and (_empty(value) or name.lstrip("_") != name.lstrip("_").upper()):
            yield module.at(value) + f" as {name}"
    for node in module.nodes(ast.Global, ast.Assign, ast.AugAssign, ast.Delete, ast.Call):
        match node:
            case ast.Global():
                yield module.at(node)
            case ast.Assign(targets=[ast.Subscript(value=kept)]) | ast.Delete(targets=[ast.Subscript(value=kept)]):
                changed = isinstance(kept, ast.Name) and kept.id in known
                yield from [module.at(node)] if changed else []
            case ast.AugAssign(target=ast.Subscript(value=ast.Name(id=name))) if name in known:
                yield module.at(node)
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=verb)) if name in known and verb in CHANGES:
                yield module.at(node)


def test_services_and_queue_remember_nothing_between_two_programs_in_one_process() -> None:
    assert [found for module in under("services", "queue") for found in shared_state(module)] == []


@pytest.mark.parametrize(
    "code",
    [
        "_seen = {1: 2}",
        "SEEN: dict[int, int] = {}",
        "SEEN = defaultdict(int)",
        "class A:\n    known: list[int] = []",
        "KINDS = {1: 2}\nKINDS[3] = 4",
        "KINDS = {1}\nKINDS.add(2)",
        "COUNTS = {1: 2}\nCOUNTS[1] += 1",
        "def f():\n    global seen",
    ],
)
def test_shared_state_is_noticed(code: str) -> None:
    assert list(shared_state(Module("x.py", code, ast.parse(code))))


def _names_of_rows() -> set[str]:
    """Row types that carry their merchant."""
    return {
        made.name
        for module in under("db")
        for made in module.nodes(ast.ClassDef)
        for member in made.body
        if isinstance(member, ast.AnnAssign) and _name(member.target) == "merchant_id"
    } | {"Resealed"}  # a pair of a value with its merchant and what comes in its place


def _repo_functions() -> Iterator[tuple[str, Function]]:
    for module in under("db"):
        if module.name.startswith("db/repos/"):
            for node in module.tree.body:
                if isinstance(node, Function) and not node.name.startswith("_"):
                    yield f"{Path(module.name).stem}.{node.name}", node


def test_every_repository_function_is_told_the_merchant() -> None:
    rows = re.compile(rf"\b({'|'.join(sorted(_names_of_rows()))})\b")
    blind, unheeded = set(), []
    for name, node in _repo_functions():
        given = {one.arg: ast.unparse(one.annotation or one) for one in (*node.args.args, *node.args.kwonlyargs)}
        if "merchant_id" in given:
            used = {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}
            unheeded += [] if "merchant_id" in used else [name]
        elif not any(rows.search(kind) for kind in given.values()):
            blind.add(name)
    assert unheeded == [], "they take a merchant and do not ask for it"
    listed = [name for names in NAMES_NO_MERCHANT.values() for name in names]
    assert len(listed) == len(set(listed))
    assert blind == set(listed)


def test_repositories_read_nothing_in_a_transaction_of_their_own() -> None:
    for name, node in _repo_functions():
        if isinstance(node, ast.AsyncFunctionDef):
            first = node.args.args[0]
            assert (first.arg, ast.unparse(first.annotation or first)) == ("tx", "Tx"), name


def test_no_file_knows_the_machine_or_the_index_that_it_came_from() -> None:
    machine = re.compile(r"(?<![\w.$}-])/(root|home|Users|mnt|usr/local)(/|\b)")
    index = re.compile(r"//[\w.-]*/simple/|--(extra-)?index-url|--registry")
    wrong = []
    for module in modules():
        explained = {
            id(node.body[0].value)
            for node in module.nodes(ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
            if node.body and isinstance(node.body[0], ast.Expr)
        }
        wrong += [
            module.at(node)
            for node in module.nodes(ast.Constant)
            if isinstance(node.value, str) and id(node) not in explained and machine.search(node.value)
        ]
        wrong += [f"{module.name}: {found[0]}" for found in index.finditer(module.text)]
    for path in APP.rglob("*"):
        if path.is_file() and path.suffix not in (".py", ".pyc"):
            text = path.read_text(encoding="utf-8", errors="replace")
            wrong += [f"{path.name}: {found[0]}" for found in (*machine.finditer(text), *index.finditer(text))]
    assert wrong == []


def test_long_files_are_known_with_their_reason() -> None:
    assert {module.name for module in modules() if len(module.text.splitlines()) > 400} == set(LONG)
