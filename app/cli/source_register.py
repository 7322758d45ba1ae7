"""`crm-kassa source <kind> register`: an adapter that can enters us in its counterpart by itself.

Which kinds there are, and what each asks, is read off the adapters when a command is looked for, never at start.
"""

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer
import typer.main
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from app.cli.actor import ACTOR
from app.cli.chosen import AsJson, OfMerchant, id_of, merchant_of
from app.cli.configure import DataDir, for_administration
from app.cli.errors import PoliteGroup, Stop
from app.cli.loop import run
from app.cli.place import administration
from app.cli.say import OK, as_json, examples, out
from app.infra.ids import public
from app.ports.registration import Registering, RegistrationFailed, registers
from app.ports.registry import discover_sources
from app.services.registrations import Registered
from app.settings import Settings

OfSource = Annotated[
    str | None, typer.Option("--source", help="Which source: src_…; made when there is none of this kind.")
]
OfKassa = Annotated[str | None, typer.Option("--kassa", help="Kassa of its receipts: kas_….")]
OfBranch = Annotated[str | None, typer.Option("--branch", help="Branch of its receipts: brn_….")]

_COMMON = {
    "merchant": OfMerchant,
    "source": OfSource,
    "kassa": OfKassa,
    "branch": OfBranch,
    "json": AsJson,
    "data_dir": DataDir,
}
"""Options of the command whatever the kind."""


class SourceGroup(PoliteGroup):
    """The commands of `crm-kassa source`, and a group for every kind that registers itself."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [*super().list_commands(ctx), *(one.code for one in discover_sources() if registers(one))]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        found = super().get_command(ctx, cmd_name)
        if found is not None:
            return found
        kind = next((one for one in discover_sources() if one.code == cmd_name and registers(one)), None)
        return None if kind is None else _group(kind)


def _group(adapter: Any) -> Any:
    group = typer.Typer(cls=PoliteGroup, name=adapter.code, help=f"{adapter.title}.", no_args_is_help=True)
    group.command(
        "register", epilog=examples(f"crm-kassa source {adapter.code} register {_required(adapter)}".strip())
    )(_command(adapter))
    # A group of one command stays a group, and is found by its name.
    return typer.main.get_group(group)


def _required(adapter: Registering) -> str:
    """What cannot be left out, for the example; secrets are asked for."""
    fields = adapter.Registration.model_fields.items()
    return " ".join(f"{_option(name)} …" for name, one in fields if one.is_required() and not _secret(one))


def _command(adapter: Registering) -> Callable[..., None]:
    fields = adapter.Registration.model_fields

    def register(**given: Any) -> None:
        asked = {name: given.pop(name) for name in fields}
        wish = {name: value for name, value in asked.items() if value is not None}
        settings = for_administration(given["data_dir"])
        made = run(_register(settings, adapter, wish, given))
        _show(adapter, made, json=given["json"])

    register.__doc__ = (
        f"Register this program at {adapter.title}: creates the source if there is none, enters its addresses there, "
        "and says what is left to do. Again at any time: what is there is brought up to date."
    )
    parameters = [
        _parameter(name, _of_field(adapter.code, name, field), _default(field)) for name, field in fields.items()
    ]
    parameters += [_parameter(name, kind, False if name == "json" else None) for name, kind in _COMMON.items()]
    signed: Any = register
    signed.__signature__ = inspect.Signature(parameters)
    signed.__annotations__ = {each.name: each.annotation for each in parameters}
    return register


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


def _default(field: FieldInfo) -> Any:
    return inspect.Parameter.empty if field.is_required() else field.default


def _of_field(code: str, name: str, field: FieldInfo) -> Any:
    """A field as an option. A secret comes from the environment or is asked for, and is never shown."""
    kind = str if field.is_required() else str | None
    variable = f"KASSA_{code}_{name}".upper()
    if _secret(field):
        told = f"{field.description or field.title or name} From {variable}, else asked for."
        prompt = field.title or name
        return Annotated[kind, typer.Option(_option(name), envvar=variable, prompt=prompt, hide_input=True, help=told)]
    return Annotated[kind, typer.Option(_option(name), help=field.description or field.title)]


def _secret(field: FieldInfo) -> bool:
    return field.annotation is SecretStr


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


async def _register(
    settings: Settings, adapter: Registering, wish: dict[str, Any], given: dict[str, Any]
) -> Registered:
    source, kassa, branch = given["source"], given["kassa"], given["branch"]
    async with administration(settings) as runtime:
        try:
            return await runtime.services.registrations.register(
                ACTOR,
                await merchant_of(runtime, given["merchant"]),
                adapter.code,
                wish,
                name=str(wish.get("name") or adapter.title),
                source_id=None if source is None else id_of("src", source),
                kassa_id=None if kassa is None else id_of("kas", kassa),
                branch_id=None if branch is None else id_of("brn", branch),
            )
        except RegistrationFailed as failed:
            raise Stop(f"{adapter.title}: {failed}") from None


def _show(adapter: Registering, made: Registered, *, json: bool) -> None:
    source = made.source.source
    if json:
        as_json(
            {
                "id": public("src", source.id),
                "merchant_id": public("mer", source.merchant_id),
                "kind": source.kind,
                "fresh": made.fresh,
                "next_steps": list(made.next_steps),
            }
        )
        return
    done = "connected" if made.fresh else "brought up to date"
    out.print(f"{OK} {public('src', source.id)}  {adapter.title} is {done}.", soft_wrap=True)
    for number, step in enumerate(made.next_steps, 1):
        out.print(f"  {number}. {step}", soft_wrap=True)
