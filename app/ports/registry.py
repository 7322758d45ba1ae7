"""Finds the plug-ins: one module is one plug-in, and nothing else in the program is edited to add one.

A plug-in that is not whole stops the program at start, with a sentence that names its file.
"""

import dataclasses
import importlib
import inspect
import pkgutil
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Any, Generic, TypeVar, cast

from pydantic import BaseModel

from app.domain.errors import ProviderNotConfigured
from app.domain.ffd import FfdEnum
from app.ports.kassa import Capabilities, KassaDriver
from app.ports.source import SourceAdapter, SourceCapabilities

T = TypeVar("T")

EXPORT = "PLUGIN"
KASSAS = ("app.kassas",)
SOURCES = ("app.acquirers", "app.crms")


class PluginError(Exception):
    """A plug-in cannot be used; the sentence names its file and what is wrong with it."""


class Registry(Generic[T]):
    """Plug-ins by code; iteration goes in the order of codes."""

    def __init__(self, plugins: Mapping[str, T], noun: str) -> None:
        self._plugins = {code: plugins[code] for code in sorted(plugins)}
        self._noun = noun

    def get(self, code: str) -> T:
        """The plug-in with this code; ProviderNotConfigured names the known ones."""
        try:
            return self._plugins[code]
        except KeyError:
            known = ", ".join(self._plugins) or "none is installed"
            raise ProviderNotConfigured(
                f"There is no {self._noun} {code!r}; known: {known}.", provider=code, known=list(self._plugins)
            ) from None

    @property
    def codes(self) -> tuple[str, ...]:
        return tuple(self._plugins)

    def __contains__(self, code: object) -> bool:
        return code in self._plugins

    def __iter__(self) -> Iterator[T]:
        return iter(self._plugins.values())

    def __len__(self) -> int:
        return len(self._plugins)


def discover_kassas(*extra: str) -> Registry[KassaDriver]:
    """All kassa drivers. `extra` packages are for tests; whether they may be given is the caller's decision."""
    return _discover((*KASSAS, *extra), _KASSA)


def discover_sources(*extra: str) -> Registry[SourceAdapter]:
    """All source adapters, acquirers and CRMs in one namespace of codes; `extra` as for kassas."""
    return _discover((*SOURCES, *extra), _SOURCE)


def description(plugin: KassaDriver | SourceAdapter) -> dict[str, Any]:
    """What `GET /v1/providers` tells of a plug-in; secret members of the schemas carry `writeOnly`."""
    told: dict[str, Any] = {
        "code": plugin.code,
        "title": plugin.title,
        "docs_url": plugin.docs_url,
        "default_base_url": plugin.default_base_url,
        "capabilities": _plain(plugin.capabilities),
        "credentials": plugin.Credentials.model_json_schema(),
        "settings": None,
    }
    if isinstance(plugin.capabilities, Capabilities):
        told["protocol_version"] = getattr(plugin, "protocol_version", None)
        told["capabilities"]["lookup_class"] = plugin.capabilities.lookup_class(0).value
    settings = getattr(plugin, "Settings", None)
    if settings is not None:
        told["settings"] = settings.model_json_schema()
    return told


@dataclasses.dataclass(frozen=True, slots=True)
class _Port(Generic[T]):
    """What a plug-in of one kind must have; read off the protocol, so that the two cannot differ."""

    noun: str
    protocol: Any
    capabilities: type

    def values(self) -> tuple[str, ...]:
        return tuple(self.protocol.__annotations__)

    def calls(self) -> Iterator[tuple[str, Any]]:
        for name, member in vars(self.protocol).items():
            it = getattr(self.protocol, name) if isinstance(member, staticmethod) else member
            if name[0] != "_" and inspect.isfunction(it):
                yield name, it


_KASSA: _Port[KassaDriver] = _Port("kassa driver", KassaDriver, Capabilities)
_SOURCE: _Port[SourceAdapter] = _Port("source adapter", SourceAdapter, SourceCapabilities)


def _discover(packages: Sequence[str], port: _Port[T]) -> Registry[T]:
    found: dict[str, T] = {}
    files: dict[str, str] = {}
    for name, file in _modules(packages):
        code = name.rpartition(".")[2]
        if code in files:
            raise PluginError(f"{file}: {files[code]} has the code {code!r} already; rename one of the two files.")
        found[code], files[code] = _load(name, file, code, port), file
    return Registry(found, port.noun)


def _modules(packages: Sequence[str]) -> Iterator[tuple[str, str]]:
    for package in packages:
        parent = importlib.import_module(package)
        for info in pkgutil.iter_modules(parent.__path__, prefix=f"{package}."):
            spec = info.module_finder.find_spec(info.name, None)
            yield info.name, (spec.origin if spec and spec.origin else info.name)


def _load(name: str, file: str, code: str, port: _Port[T]) -> T:
    try:
        module = importlib.import_module(name)
    except Exception as error:
        raise PluginError(f"{file}: cannot be imported: {type(error).__name__}: {error}") from error
    plugin: Any = getattr(module, EXPORT, None)
    if not inspect.isclass(plugin):
        raise PluginError(f"{file}: does not export a class {EXPORT}; every module here is one {port.noun}.")
    if faults := list(_faults(plugin, code, port)):
        raise PluginError(f"{file}: {plugin.__name__} is not a whole {port.noun}: {'; '.join(faults)}.")
    try:
        return cast(T, plugin())
    except TypeError as error:
        raise PluginError(f"{file}: {plugin.__name__} cannot be made without arguments: {error}") from error


def _faults(plugin: type, code: str, port: _Port[Any]) -> Iterator[str]:
    """All faults at once; a member that is only inherited from the protocol itself is lacking too."""
    for name in port.values():
        if not hasattr(plugin, name):
            yield f"it lacks {name}"
    for name, wanted in port.calls():
        mine = getattr(plugin, name, None)
        if mine is None or mine is wanted:
            yield f"it lacks {name}()"
        elif not callable(mine):
            yield f"{name} is not a function"
        elif inspect.iscoroutinefunction(mine) is not inspect.iscoroutinefunction(wanted):
            yield f"{name}() must {'' if inspect.iscoroutinefunction(wanted) else 'not '}be async"
        elif _arguments(mine) != _arguments(wanted):
            yield f"{name}() takes other arguments than {', '.join(_arguments(wanted))}"
    if getattr(plugin, "code", code) != code:
        yield f"its code is {getattr(plugin, 'code', None)!r}, but it must be the module's name {code!r}"
    for name in ("Credentials", "Settings"):
        model = getattr(plugin, name, BaseModel)
        if not (inspect.isclass(model) and issubclass(model, BaseModel)):
            yield f"{name} is not a pydantic model"
    if not isinstance(getattr(plugin, "capabilities", None), port.capabilities) and hasattr(plugin, "capabilities"):
        yield f"capabilities is not a {port.capabilities.__name__}"


def _arguments(call: Any) -> list[str]:
    """What a caller gives; whether it is a method or static is the plug-in's own business."""
    return [name for name in inspect.signature(call).parameters if name != "self"]


def _plain(value: Any) -> Any:
    """Dataclasses, sets and enumerations as JSON knows them; sets in the order of their numbers or names."""
    match value:
        case FfdEnum():
            return value.code
        case Enum():
            return value.value
        case set() | frozenset():
            return [_plain(member) for member in sorted(value, key=_rank)]
        case list() | tuple():
            return [_plain(member) for member in value]
        case Mapping():
            return {str(_plain(key)): _plain(member) for key, member in value.items()}
        case _ if dataclasses.is_dataclass(value):
            return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
        case _:
            return value


def _rank(member: Any) -> tuple[int, str]:
    return (getattr(member, "tag_value", 0), str(_plain(member)))
