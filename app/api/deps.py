"""What a route may ask for: the services, the caller with a scope, and the merchant that is spoken for."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Query, Request, Security, params
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import get_flat_params
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel

from app.api.problems import Problem
from app.api.types import MerchantId
from app.domain.errors import NotFound
from app.services.bundle import Services
from app.services.principal import SCOPES, Principal

# The middleware has checked the key before this runs; the scheme is here so that OpenAPI shows it.
bearer = HTTPBearer(auto_error=False, scheme_name="ApiKeyAuth", description="`Authorization: Bearer <API key>`")
_Shown = Annotated[HTTPAuthorizationCredentials | None, Security(bearer)]

_KNOWN_SCOPES = frozenset({*SCOPES, "admin"})


def services(request: Request) -> Services:
    """The use cases behind the API."""
    found: Services = request.app.state.services
    return found


ServicesDep = Annotated[Services, Depends(services)]


@dataclass(frozen=True, slots=True)
class Tenant:
    """Who is calling, and for which merchant: every query of a route starts from `merchant_id`."""

    principal: Principal
    merchant_id: UUID


class Requires:
    """Dependency: the caller's key has this scope. With `admin` an installation's admin key may do it too.

    An admin key may read everything without being granted each scope; it changes nothing of a merchant's unless the
    route says so.
    """

    def __init__(self, scope: str, *, admin: bool = False) -> None:
        if scope not in _KNOWN_SCOPES:
            raise ValueError(f"{scope!r} is not a scope; see app/services/principal.py")
        self.scope = scope
        self._admin = admin or ":read" in scope

    def __call__(self, request: Request, _: _Shown) -> Principal:
        return self.check(request)

    def check(self, request: Request) -> Principal:
        return self.checked(getattr(request.state, "principal", None))

    def checked(self, principal: Principal | None) -> Principal:
        """The caller, if the key has the scope; the middleware has put it into the request's state."""
        if principal is None:
            raise Problem("authentication-required", "Send Authorization: Bearer <API key>.")
        if principal.may(self.scope) or (self._admin and principal.admin):
            return principal
        detail = f"This key does not have the scope {self.scope}."
        if principal.admin:
            detail = "An admin key acts for no merchant; make a key of the merchant with POST /v1/api-keys."
        raise Problem("insufficient-scope", detail, required_scopes=[self.scope])


class _WriteTenant(Requires):
    def __call__(self, request: Request, _: _Shown) -> Any:
        return _tenant(self.check(request), None)


class _ReadTenant(Requires):
    def __call__(
        self,
        request: Request,
        _: _Shown,
        merchant_id: Annotated[
            MerchantId | None, Query(description="For admin keys: whose things to read. Other keys read their own.")
        ] = None,
    ) -> Any:
        return _tenant(self.check(request), merchant_id)


def requires(scope: str, *, admin: bool = False) -> Requires:
    """`Annotated[Principal, Depends(requires("…"))]`."""
    return Requires(scope, admin=admin)


def tenant(scope: str) -> Requires:
    """`Annotated[Tenant, Depends(tenant("…"))]`: scope and merchant in one; an admin key names the merchant to read."""
    return _ReadTenant(scope) if ":read" in scope else _WriteTenant(scope)


@dataclass(frozen=True, slots=True)
class _Rules:
    """What is known of a route before its parameters are read."""

    requirements: tuple[Requires, ...]
    query: frozenset[str]


_rules_of: dict[Any, _Rules] = {}


def known_parameters(request: Request) -> None:
    """Dependency of all routers, and the first one: the scope comes before everything else that may be wrong.

    A misspelt query parameter is an error, not a longer list.
    """
    rules = _rules(request.scope["route"])
    for requirement in rules.requirements:
        requirement.check(request)
    strange = sorted(name for name in request.query_params if name not in rules.query)
    if strange:
        raise RequestValidationError(
            [{"type": "extra_forbidden", "loc": ("query", name), "msg": "Unknown parameter"} for name in strange]
        )


def _rules(route: APIRoute) -> _Rules:
    """Read off a route's dependencies once."""
    known = _rules_of.get(route.endpoint)
    if known is None:
        known = _rules_of[route.endpoint] = _Rules(
            tuple(_requirements(route.dependant)), frozenset(_query_names(route.dependant))
        )
    return known


def _requirements(dependant: Dependant) -> Iterator[Requires]:
    if isinstance(dependant.call, Requires):
        yield dependant.call
    for part in dependant.dependencies:
        yield from _requirements(part)


def _query_names(dependant: Dependant) -> Iterator[str]:
    for field in get_flat_params(dependant):
        model = field.field_info.annotation
        if isinstance(model, type) and issubclass(model, BaseModel):
            yield from (member.alias or name for name, member in model.model_fields.items())
        elif isinstance(field.field_info, params.Query):
            yield field.alias


def _tenant(principal: Principal, merchant_id: UUID | None) -> Tenant:
    if principal.merchant_id is None:
        if merchant_id is None:
            missing = "An admin key must say whose things it means."
            raise Problem(
                "validation-failed",
                missing,
                errors=[{"parameter": "merchant_id", "detail": missing, "code": "missing"}],
            )
        return Tenant(principal, merchant_id)
    if merchant_id is not None and merchant_id != principal.merchant_id:
        raise NotFound("There is no such merchant here.")
    return Tenant(principal, principal.merchant_id)
