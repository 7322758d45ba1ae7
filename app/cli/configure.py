"""Settings of one command: options go before the environment, the environment before `.env`."""

from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from pydantic_settings import SettingsError

from app.domain.contact import mask_contacts
from app.infra import logging
from app.keys import SettingInvalid
from app.settings import Settings

DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        help="Folder of the embedded PostgreSQL and its keys; KASSA_DATA_DIR.",
        show_default=".data",
        file_okay=False,
    ),
]
"""Option of every command that may meet the embedded database."""

_LOOPBACK = ("127.0.0.0/8", "::1/128")
DEMO_FILE = "demo.json"


def load_settings(**options: Any) -> Settings:
    """Settings with the options that were given. SettingInvalid names every wrong variable and shows no value."""
    given = {name: value for name, value in options.items() if value is not None}
    return build_settings(**given)


def build_settings(**values: Any) -> Settings:
    """The same, where None is a value: it takes away what the environment says."""
    try:
        return Settings(**values)
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_input=False, include_context=False)
        raise SettingInvalid("; ".join(f"{_variable(one['loc'])}: {one['msg']}" for one in wrong) + ".") from None
    except SettingsError as error:
        raise SettingInvalid(f"The settings cannot be read: {error}.") from None


def with_loopback(settings: Settings) -> Settings:
    """Settings under which this machine itself may be called: where the simulator is the world outside."""
    known = [part.strip() for part in settings.egress_allow.split(",") if part.strip()]
    return settings.model_copy(update={"egress_allow": ",".join(dict.fromkeys((*known, *_LOOPBACK)))})


def for_administration(data_dir: Path | None) -> Settings:
    """Settings of a command that works beside the program and answers itself: only what went wrong is logged.

    A demo's data folder keeps its simulator reachable.
    """
    settings = load_settings(data_dir=data_dir)
    set_up_logs(settings, quiet=True)
    if settings.database_url is None and (settings.data_dir / DEMO_FILE).exists():
        return with_loopback(settings)
    return settings


def set_up_logs(settings: Settings, *, quiet: bool = False) -> None:
    """Logs go to standard error. `quiet`: a command that answers itself, so only what went wrong is logged."""
    level: Any = "ERROR" if quiet else settings.log_level.upper()
    logging.set_up(scrub=mask_contacts, level=level, render=settings.log_format)


def _variable(place: tuple[int | str, ...]) -> str:
    return "KASSA_" + "_".join(str(part) for part in place).upper() if place else "The settings"
