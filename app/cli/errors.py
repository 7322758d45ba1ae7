"""How commands end when something is wrong: one sentence for a person and an exit code, never a traceback.

2: what was set or typed is wrong. 1: it was right, and the thing could not be done.
"""

import asyncio
import socket
from dataclasses import dataclass
from typing import Any

import asyncpg
import typer
from alembic.util.exc import CommandError
from rich.markup import escape
from sqlalchemy.exc import DBAPIError
from typer.core import TyperGroup

from app.cli.say import err
from app.db.trouble import DISK_FULL_ADVICE, Refusal, is_lost, refusal_of, sqlstate
from app.domain.errors import Invalid, KassaError
from app.infra.crypto import CannotOpen
from app.infra.postgres import DataDirInUse, EmbeddedPostgresError
from app.keys import SettingInvalid
from app.ports.registry import PluginError

_NO_RIGHTS = "42501"


class Stop(Exception):
    """Ends the command with this sentence."""

    def __init__(self, sentence: str, code: int = 1) -> None:
        super().__init__(sentence)
        self.code = code


@dataclass(frozen=True, slots=True)
class Ending:
    """What is said and with which code the program ends."""

    text: str
    code: int


class PoliteGroup(TyperGroup):
    """Commands whose known failures end in a sentence; what nobody foresaw keeps its traceback for us."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            ending = ending_of(error)
            if ending is None:
                raise
            err.print(f"[bold red]Error:[/] {escape(ending.text)}", soft_wrap=True)
            raise typer.Exit(ending.code) from None


def ending_of(error: BaseException) -> Ending | None:
    """The ending of a failure that a person can do something about; None for a fault of the program."""
    match error:
        case BaseExceptionGroup(exceptions=(single,)):
            return ending_of(single)
        case _ if refusal_of(error) is Refusal.DISK_FULL:
            return Ending(f"Not done: {DISK_FULL_ADVICE}.", 1)
        case Stop():
            return Ending(str(error), error.code)
        case SettingInvalid() | PluginError():
            return Ending(str(error), 2)
        case DataDirInUse():
            return Ending(str(error), 1)
        case EmbeddedPostgresError():
            return Ending(str(error), 2)
        case Invalid(findings=findings) if findings:
            return Ending("\n".join((error.detail, *(_told(one) for one in findings))), 1)
        case KassaError():
            return Ending("\n".join((error.detail, *_members(error))), 1)
        case CannotOpen() | CommandError():
            return Ending(str(error), 1)
        case asyncpg.InvalidAuthorizationSpecificationError() | asyncpg.InvalidCatalogNameError():
            return Ending(f"KASSA_DATABASE_URL: PostgreSQL refuses it: {error}.", 2)
        case asyncpg.PostgresConnectionError() | asyncpg.CannotConnectNowError():
            return Ending(f"The database does not answer: {error}.", 1)
        case (
            TimeoutError() | ConnectionError() | FileNotFoundError(filename=None)
        ):  # no socket where a server should be
            return Ending(
                f"The database of KASSA_DATABASE_URL does not answer ({str(error) or 'no answer in time'}).", 1
            )
        case asyncio.CancelledError():
            return Ending("Stopped before it was done.", 130)
        case OSError(filename=str() as name, strerror=str() as why):
            return Ending(f"{name}: {why}.", 1)
        case socket.gaierror():
            return Ending(f"KASSA_DATABASE_URL: its host has no address ({error.strerror}).", 2)
        case OSError():
            return Ending(f"The system refuses: {error}.", 1)
        case DBAPIError() if is_lost(error):
            # Also a server that is just starting: whoever starts us again in a moment finds it ready.
            return Ending(f"The database does not answer: {error.orig}.", 1)
        case DBAPIError() if sqlstate(error) == _NO_RIGHTS:
            return Ending(
                "The role of KASSA_DATABASE_URL lacks a right: migrations need the owner of the database, who may "
                "create roles.",
                1,
            )
        case _:
            return None


def _told(finding: Any) -> str:
    fix = f" {finding.fix}" if finding.fix else ""
    return f"  {finding.pointer.removeprefix('#/') or 'request'}: {finding.detail}{fix}"


def _members(error: KassaError) -> list[str]:
    """The single members of a refusal of a plug-in's model."""
    told = error.facts.get("errors")
    found = told if isinstance(told, list) else []
    return [f"  {str(one.get('pointer', '')).removeprefix('#/')}: {one.get('detail')}" for one in found]
