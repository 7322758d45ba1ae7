"""A program whose reads have forgotten their merchant: what row-level security is worth without the application."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

_FILTER = re.compile(r"\b((?:\w+\.)?merchant_id = \$\d+(?:::\w+)?)")
_TABLES = re.compile(r"\b(?:FROM|JOIN) (\w+)")
_READER = "set_config('role', 'kassa_api', true)"


@dataclass
class Forgetful:
    """What was done to the statements: how many filters were dropped, and which tables were read before the wall."""

    forgotten: int = 0
    unwalled: list[tuple[str, frozenset[str]]] = field(default_factory=list)
    """Statements of transactions without the wall: the first word and the tables that are read."""


@contextmanager
def forgetting_merchants(engine: AsyncEngine, *, wall: bool = True) -> Iterator[Forgetful]:
    """In every reading transaction `merchant_id = …` is true for all rows, while the block runs.

    Without `wall` such transactions keep the pipeline's role too: nothing at all is left between two merchants.
    """
    done = Forgetful()

    def rewrite(connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> Any:
        if _READER in statement:
            connection.info["reads"] = True
            return (statement if wall else statement.replace("'kassa_api'", "'kassa_pipeline'")), parameters
        if not connection.info.get("reads"):
            done.unwalled.append((statement.split()[0].upper(), frozenset(_TABLES.findall(statement))))
            return statement, parameters
        relaxed, count = _FILTER.subn(r"(\1 OR true)", statement)
        done.forgotten += count
        return relaxed, parameters

    def ended(connection: Any) -> None:
        connection.info.pop("reads", None)

    sync = engine.sync_engine
    event.listen(sync, "before_cursor_execute", rewrite, retval=True)
    event.listen(sync, "commit", ended)
    event.listen(sync, "rollback", ended)
    try:
        yield done
    finally:
        event.remove(sync, "before_cursor_execute", rewrite)
        event.remove(sync, "commit", ended)
        event.remove(sync, "rollback", ended)
