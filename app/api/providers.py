"""Which kassas and sources can be connected: capabilities, and the schema of the credentials."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query
from pydantic import Field

from app.api.deps import ServicesDep, requires
from app.api.problems import documented
from app.api.types import ResponseModel
from app.services.principal import Principal

router = APIRouter(prefix="/providers", tags=["providers"])

Reader = Annotated[Principal, Depends(requires("settings:read"))]


class ProviderOut(ResponseModel):
    """A kassa driver or a source adapter of this installation."""

    kind: str = Field(description="`kassa` or `source`.")
    code: str
    title: str
    docs_url: str
    protocol_version: str | None = Field(default=None, description="Of the provider's protocol, where it has one.")
    default_base_url: str | None
    capabilities: dict[str, Any]
    credentials: dict[str, Any] = Field(description="JSON Schema; secret members carry `writeOnly`.")
    settings: dict[str, Any] | None = Field(description="JSON Schema; null: it has none.")


class ProviderList(ResponseModel):
    """All of them: there are few."""

    data: list[ProviderOut]
    has_more: bool = False
    next_cursor: str | None = None


@router.get("", operation_id="listProviders", summary="List providers", responses=documented("validation-failed"))
async def list_providers(
    services: ServicesDep,
    _: Reader,
    kind: Annotated[Literal["kassa", "source"] | None, Query(description="Only these.")] = None,
) -> ProviderList:
    """Kassas first. A form for the credentials can be made from each schema."""
    return ProviderList.model_validate({"data": services.providers.all(kind)})


@router.get("/{code}", operation_id="getProvider", summary="Read a provider", responses=documented("not-found"))
async def read_provider(
    code: Annotated[str, Path(description="Such as `digitalkassa`.")], services: ServicesDep, _: Reader
) -> ProviderOut:
    """One by its code."""
    return ProviderOut.model_validate(services.providers.read(code))
