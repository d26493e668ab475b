"""One validated, frozen Settings object: the only reader of the process environment."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

DEVELOPMENT_SECRET = "development-only-not-a-secret"  # noqa: S105  refused in production by _production_is_safe


class InvalidSettings(Exception):
    """The environment holds a value that can't be used; the message names the variable and what to do."""


def _split(value: Any) -> Any:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _seconds(value: Any) -> Any:
    return timedelta(seconds=float(value)) if isinstance(value, str | int | float) else value


def _mapping(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("{"):
        return json.loads(value)
    pairs = [part.rpartition("=") for part in value.split(",") if part.strip()]
    if not all(word.strip() for word, _, _ in pairs):
        raise ValueError("write it as word=role,word=role, or as a JSON object")
    return {word.strip(): meaning.strip() for word, _, meaning in pairs}


Words = Annotated[tuple[str, ...], BeforeValidator(_split)]
Seconds = Annotated[timedelta, BeforeValidator(_seconds)]
Role = Literal["viewer", "operator", "admin"]


class Settings(BaseModel):
    """Everything the processes can be told; each field is read from the variable of its name in capitals.

    Durations are written in seconds, lists with commas.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    environment: Literal["development", "test", "production"] = "development"
    secret_key: str = Field(DEVELOPMENT_SECRET, min_length=16, repr=False)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["console", "json"] | None = None

    redis_url: str = Field("redis://127.0.0.1:6379/0", repr=False)
    redis_tls_ca: Path | None = None
    rq_key_prefix: str = Field("rq", pattern=r"^[A-Za-z0-9_.:{}-]+$")
    database_url: str = Field("sqlite:///var/rq-fleet.db", repr=False)
    storage_url: str = Field("file://var/storage", repr=False)

    job_signing_keys: Words = Field((), repr=False)
    encryption_keys: Words = Field((), repr=False)
    job_modules: Words = ("jobs.domains",)
    foreign_jobs: Words = ()
    exception_handlers: Words = ()
    job_middleware: Words = ()
    otel_exporter_otlp_endpoint: str | None = Field(None, pattern=r"^https?://")
    otel_exporter_otlp_headers: str | None = Field(None, repr=False)
    otel_service_name: str = "rq-fleet"

    jwt_secret: str | None = Field(None, min_length=32, repr=False)
    jwt_jwks_url: str | None = None
    jwt_issuer: str = "rq-fleet"
    jwt_audience: str = "rq-fleet"
    admin_username: str = "admin"
    admin_password_hash: str | None = Field(None, repr=False)
    operators: str = Field("", repr=False)
    operators_file: Path | None = None
    operators_tenant: str = Field("operators", pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    roles_claim: str = Field("roles", min_length=1)
    role_words: Annotated[Mapping[str, Role], BeforeValidator(_mapping)] = {
        "viewer": "viewer",
        "operator": "operator",
        "admin": "admin",
    }
    console_read_only: bool = False
    port: int = Field(8000, ge=1, le=65535)
    web_concurrency: int = Field(2, ge=1, le=64)
    trusted_hosts: Words = ()
    trusted_proxies: int = Field(0, ge=0, le=8)
    release: str = Field("", max_length=100)
    instance_id: str | None = Field(None, pattern=r"^[A-Za-z0-9_-]{1,64}$")
    prometheus_multiproc_dir: Path | None = None
    allowed_origins: Words = ()

    upload_max_bytes: int = Field(100 * 1024 * 1024, gt=0)
    upload_max_files: int = Field(1000, gt=0)
    allow_private_http: bool = False

    use_job_queue: bool = True
    local_fallback: bool = False
    local_concurrency: int = Field(4, ge=1, le=100)

    worker_concurrency: int = Field(10, ge=1, le=1000)
    worker_threads: int = Field(1, ge=1, le=100)
    max_jobs_per_child: int | None = Field(None, ge=1)
    max_rss_mb: int | None = Field(None, ge=1)
    queue_weights: Mapping[str, int] = {"critical": 6, "default": 3, "low": 1}
    queue_order: Literal["weighted", "strict"] = "weighted"
    shutdown_grace: Seconds = timedelta(seconds=25)
    cancel_grace: Seconds = timedelta(seconds=10)
    lease: Seconds = timedelta(seconds=6)
    ledger_retention: Seconds = timedelta(days=30)
    queue_max_retries: int | None = Field(None, ge=0, le=100)
    queue_backoff_strategy: Literal["exponential", "linear", "fixed"] | None = None
    wait_target: Seconds = timedelta(seconds=30)
    breaker_failures: int = Field(5, ge=0, le=1000)
    breaker_window: Seconds = timedelta(seconds=60)
    breaker_open_for: Seconds = timedelta(seconds=30)
    breaker_longest: Seconds = timedelta(minutes=10)
    dead_letter_max_age: Seconds = Field(timedelta(days=14), gt=timedelta(0), le=timedelta(days=3660))
    dead_letter_max_count: int = Field(50_000, ge=0)
    audit_max_age: Seconds = Field(timedelta(days=365), gt=timedelta(0), le=timedelta(days=3660))
    audit_max_count: int = Field(200_000, ge=1)
    overrides: Mapping[str, str] = Field(default_factory=dict, repr=False)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read the environment. Raises InvalidSettings naming each variable that can't be used."""
        source = os.environ if environ is None else environ
        values: dict[str, Any] = {
            name: source[name.upper()]
            for name in cls.model_fields
            if name not in ("overrides", "queue_weights") and source.get(name.upper(), "") != ""
        }
        if "redis_url" not in values and source.get("REDIS_HOST"):
            values["redis_url"] = _redis_url_of(source)
        if (
            source.get("RQ_KEY_PREFIX") == ""
        ):  # elsewhere that is a variable which is not set; to RQ it is one to refuse
            raise InvalidSettings("RQ_KEY_PREFIX: it is empty; write a prefix, or unset it for rq")
        if source.get("QUEUE_WEIGHTS"):
            values["queue_weights"] = _weights_of(source["QUEUE_WEIGHTS"])
        values["overrides"] = {
            name: value
            for name, value in source.items()
            if "__" in name or name.endswith("_QUEUE_CONCURRENCY") or "_RATE_LIMIT_PER_" in name
        }
        try:
            return cls(**values)
        except ValidationError as error:
            raise InvalidSettings(_explain(error)) from None

    def with_flags(self, flags: Mapping[str, Any]) -> Settings:
        """These settings with what a command line says instead, None meaning nothing. Raises InvalidSettings."""
        try:
            return type(self)(**{**dict(self), **{name: value for name, value in flags.items() if value is not None}})
        except ValidationError as error:
            raise InvalidSettings(_explain(error)) from None

    @field_validator("database_url")
    @classmethod
    def _psycopg_is_the_driver(cls, url: str) -> str:
        for old in ("postgres://", "postgresql://"):
            if url.startswith(old):
                return "postgresql+psycopg://" + url.removeprefix(old)
        return url

    @model_validator(mode="after")
    def _production_is_safe(self) -> Settings:
        if self.environment == "production" and self.secret_key == DEVELOPMENT_SECRET:
            raise ValueError("SECRET_KEY must be set in production; make one with: openssl rand -hex 32")
        return self

    @property
    def production(self) -> bool:
        """Whether the stricter rules of a deployment hold."""
        return self.environment == "production"

    @property
    def anybody_can_sign_in(self) -> bool:
        """Whether there is a way in: in production a token's key or an administrator's password is needed."""
        ways = (self.jwt_secret, self.jwt_jwks_url, self.admin_password_hash, self.operators, self.operators_file)
        return not self.production or any(ways)

    @property
    def json_logs(self) -> bool:
        """Whether log lines are JSON objects (the default in production) or coloured text."""
        return self.log_format == "json" or (self.log_format is None and self.production)

    def child_environment(self) -> dict[str, str]:
        """The environment for processes that a worker starts: this one's, with numerical libraries single-threaded."""
        threads = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        return {**threads, **os.environ, "TOKENIZERS_PARALLELISM": "false"}

    def bind_libraries_to_one_thread(self) -> None:
        """The same for this process, before it loads numerical libraries: their threads would not survive a fork."""
        os.environ.update(self.child_environment())

    def override(self, variable: str, job_type: str | None = None) -> str | None:
        """The environment's word on one policy value, or None: `QUEUE_TIMEOUT__DOCUMENTS_INGEST=60`."""
        name = variable if job_type is None else f"{variable}__{job_type.replace('.', '_').upper()}"
        return self.overrides.get(name)


def _redis_url_of(source: Mapping[str, str]) -> str:
    password = source.get("REDIS_PASSWORD")
    user = f":{quote(password, safe='')}@" if password else ""
    return f"redis://{user}{source['REDIS_HOST']}:{source.get('REDIS_PORT') or 6379}/{source.get('REDIS_DB') or 0}"


def _weights_of(text: str) -> dict[str, int]:
    try:
        weights = {name.strip(): int(weight) for name, weight in (part.split("=") for part in text.split(","))}
    except ValueError:
        raise InvalidSettings("QUEUE_WEIGHTS: write it as critical=6,default=3,low=1") from None
    if not weights or min(weights.values()) < 1:
        raise InvalidSettings("QUEUE_WEIGHTS: each queue needs a weight of at least 1")
    return weights


def _explain(error: ValidationError) -> str:
    lines = [
        f"{'_'.join(str(part) for part in problem['loc']).upper()}: {problem['msg']}".removeprefix(": Value error, ")
        for problem in error.errors(include_input=False)
    ]
    return "\n".join(lines)
