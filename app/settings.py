"""Every setting of the program: environment or `.env`, prefix `KASSA_`. Read once, handed down, never reached for."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

Seconds = Annotated[float, Field(gt=0)]


class Settings(BaseSettings):
    """What an operator may set. Unset database and keys mean: embedded PostgreSQL and keys kept in the data folder."""

    model_config = SettingsConfigDict(env_prefix="KASSA_", env_file=".env", env_file_encoding="utf-8", extra="ignore")

    database_url: SecretStr | None = None
    database_direct_url: SecretStr | None = None
    data_dir: Path = Path(".data")
    secret_keys: SecretStr | None = None
    search_key: SecretStr | None = None
    key_pepper: SecretStr | None = None

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    public_url: str | None = None
    receipt_pages: bool = True
    forwarded_allow_ips: str = "127.0.0.1"
    egress_allow: str = ""
    log_format: Literal["console", "json"] = "console"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    otlp_endpoint: str | None = None
    otlp_headers: SecretStr | None = None
    otlp_sample_ratio: Annotated[float, Field(ge=0, le=1)] = 1.0

    db_pool_size: Annotated[int, Field(ge=2, le=200)] = 20
    worker_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    worker_slots: Annotated[int, Field(ge=1, le=2000)] = 200
    worker_poll_seconds: Seconds = 1.0
    lease_seconds: Seconds = 120.0
    freshness_seconds: Seconds = 5.0
    wire_margin_seconds: Seconds = 10.0
    rescue_every_seconds: Seconds = 5.0
    sweep_every_seconds: Seconds = 60.0
    shutdown_seconds: Seconds = 30.0
    drain_seconds: Annotated[float, Field(ge=0)] = 0.0

    retry_base_seconds: Seconds = 5.0
    retry_cap_seconds: Seconds = 600.0
    visibility_seconds: float | None = None
    pause_after_failures: Annotated[int, Field(ge=1)] = 3
    probe_base_seconds: Seconds = 10.0
    probe_cap_seconds: Seconds = 300.0
    accepted_limit_seconds: Seconds = 86_400.0
    unknown_limit_seconds: Seconds = 86_400.0
    refund_wait_seconds: Seconds = 86_400.0

    hold_late_receipts: bool = True
    operational_limit_seconds: Seconds | None = None
    contact_wait_seconds: Annotated[float, Field(ge=0)] = 900.0
    working_days: str = ""

    vat_bounds: str = ""

    delivery_timeout_seconds: Seconds = 15.0
    endpoint_max_in_flight: Annotated[int, Field(ge=1, le=100)] = 10
    rotation_overlap_seconds: Seconds = 86_400.0

    retention_days: Annotated[int, Field(ge=7)] = 90
    retention_receipts_years: Annotated[int, Field(ge=1)] | None = None
    prune_daily: bool = True

    api_body_limit: int = 256 * 1024
    inbound_body_limit: int = 1024 * 1024
    body_seconds: Seconds = 30.0
    intake_queue: Annotated[int, Field(ge=1)] = 4096
    rate_limit_per_minute: Annotated[int, Field(ge=0)] = 0

    testing: bool = False
    failpoints: str = ""
    plugin_packages: Annotated[tuple[str, ...], NoDecode] = ()
    source_packages: Annotated[tuple[str, ...], NoDecode] = ()

    @field_validator("plugin_packages", "source_packages", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("public_url")
    @classmethod
    def _no_slash(cls, value: str | None) -> str | None:
        return value.rstrip("/") if value else None
