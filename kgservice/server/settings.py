"""What an operator may set: `KGSERVICE_*` variables with their defaults and help, checked before anything starts."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator

from kgservice import resources
from kgservice.answers import MAX_K, MAX_STATEMENTS
from kgservice.errors import RecipeError
from kgservice.store.keys import Scope

PREFIX = "KGSERVICE_"
ELSEWHERE = (
    "KGSERVICE_CAPTION_KEY",
    "KGSERVICE_DATA_MIRROR",
    "KGSERVICE_MILVUS_URL",
    "KGSERVICE_MILVUS_TOKEN",
    "KGSERVICE_NAMES_KEY",
)
"""Variables of other parts of kgservice, which a server leaves alone."""


PREDICTIONS = (".nt", ".ttl", ".nq", ".trig")
"""How a file of predicted links may end."""


class ServerSettings(BaseModel):
    """The settings of one server; `KGSERVICE_MAX_K=50` sets `max_k`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on; 0.0.0.0 for all.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    home: Path = Field(default_factory=resources.home, description="Folder that holds `releases/`.")
    release: str | None = Field(None, description="Release to serve; by default CURRENT, followed as it changes.")
    release_poll_s: float = Field(1.0, gt=0, le=3600, description="Seconds between looks at CURRENT.")
    max_body_bytes: int = Field(1 << 20, ge=1, description="Longest request body.")
    body_timeout_s: float = Field(30.0, gt=0, description="Seconds that a request body may take to arrive.")
    max_bulk: int = Field(1000, ge=1, description="Questions or statements in one request.")
    max_k: int = Field(MAX_K, ge=1, le=MAX_K, description="Candidates or matches per question.")
    max_candidates: int = Field(100_000, ge=1, description="Candidates in one request: questions times k.")
    max_map: int = Field(2000, ge=3, le=20_000, description="Entities on one map; seconds of one thread per thousand.")
    max_statements: int = Field(MAX_STATEMENTS, ge=1, description="Statements on one entity page.")
    max_explained: int = Field(100, ge=1, description="Statements explained in one request.")
    threads: int = Field(2, ge=1, le=256, description="Requests answered at the same time.")
    compute_threads: int = Field(
        1, ge=1, le=256, description="Threads within one product of matrices; more pay from millions of entities on."
    )
    max_waiting: int = Field(1000, ge=0, description="Requests that may wait for a thread; more get a 503.")
    max_wait_s: float = Field(
        10.0, gt=0, description="Seconds that a request may be expected to wait; else it gets a 503."
    )
    ready_timeout_s: float = Field(5.0, gt=0, description="Seconds that /readyz gives its question.")
    workers: int = Field(1, ge=1, le=256, description="Processes that answer; they share mapped files.")
    model_process: bool = Field(
        True,
        description="Under load, answer single questions in a further process beside each that speaks HTTP, where there are more "
        "cores than workers; it opens the release too.",
    )
    drain_s: float = Field(30.0, ge=0, le=3600, description="Seconds that open requests have after SIGTERM.")
    keys: Literal["auto", "required", "off"] = Field(
        "auto",
        description="Whether API keys are asked for: `auto` as soon as one exists, while changes are refused where the server "
        "listens beyond its own machine; `off` where something else guards it.",
    )
    oidc_issuer: str | None = Field(
        None, description="OpenID Connect issuer whose bearer tokens are taken beside keys, as they name it: https://…."
    )
    oidc_audience: str | None = Field(None, description="What tokens for this service name as their audience.")
    oidc_claim: str = Field(
        "scope", min_length=1, description="Where a token's scopes stand; dots lead into objects: realm_access.roles."
    )
    oidc_scopes: tuple[tuple[Scope, str], ...] = Field(
        tuple((scope, f"kgservice:{scope.value}") for scope in Scope),
        description="What the issuer calls each scope: read=NAME,write=NAME,admin=NAME.",
    )
    open_reads: bool = Field(False, description="Answer questions without a key; changes still take one.")
    rate_per_minute: int = Field(0, ge=0, description="Requests of one key, or of one address without; 0 for no limit.")
    database_url: SecretStr | None = Field(
        None, description="`postgresql://…` for keys, jobs and reviews; by default a file beside the releases."
    )
    metrics: bool = Field(True, description="Serve /metrics.")
    canary_s: float = Field(60.0, gt=0, description="Seconds between replays of the release's canaries for /metrics.")
    traces: bool = Field(False, description="Send OpenTelemetry spans, where the extra `traces` is installed.")
    max_jobs: int = Field(
        1, ge=0, le=64, description="Enrichments done at the same time, each in a process of its own."
    )
    max_waiting_jobs: int = Field(100, ge=1, description="Enrichments that are not done; more get a 503.")
    job_poll_s: float = Field(1.0, gt=0, le=3600, description="Seconds between looks for enrichments to be done.")
    read_only: bool = Field(False, description="Take no changes: neither put nor erase entities.")
    sparql_timeout_s: float = Field(10.0, gt=0, le=3600, description="Seconds until a SPARQL query is stopped.")
    sparql_max_rows: int = Field(100_000, ge=1, description="Rows of a SPARQL result.")
    sparql_max_bytes: int = Field(64 << 20, ge=1, description="Longest SPARQL result.")
    sparql_memory_bytes: int = Field(4 << 30, ge=1 << 28, description="Memory of a process that answers SPARQL.")
    sparql_workers: int = Field(
        2, ge=1, le=64, description="SPARQL queries answered at the same time, each by a process."
    )
    sparql_max_waiting: int = Field(50, ge=0, description="SPARQL queries that may wait for a process; more get a 503.")
    sparql_federated: bool = Field(False, description="Let SERVICE ask any address that this machine reaches.")
    sparql_predictions: Path | None = Field(
        None, description="File of predicted links (.nt, .ttl, .nq, .trig) to query too."
    )
    docs: bool = Field(True, description="Serve the page of endpoints at /api, and /openapi.json.")
    console_images: tuple[str, ...] = Field(
        (),
        description="Origins that the console may load pictures of entities from, comma-separated; else it links to them. "
        "Wikidata's: https://commons.wikimedia.org,https://upload.wikimedia.org.",
    )
    console: bool = Field(True, description="Serve the console at /; without it / is the page of endpoints.")
    cors_origins: tuple[str, ...] = Field((), description="Web origins that browsers may call from, comma-separated.")
    log_format: Literal["text", "json"] = Field("text", description="How log lines are written.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged.")

    @field_validator("console_images", mode="after")
    @classmethod
    def _are_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:  # each goes into a header
            if not re.fullmatch(r"https?://[A-Za-z0-9.-]+(:[0-9]+)?", origin):
                raise ValueError(f"expected origins such as https://example.org, not {origin!r}")
        return value

    @field_validator("cors_origins", "console_images", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("sparql_predictions", mode="after")
    @classmethod
    def _is_rdf(cls, value: Path | None) -> Path | None:
        if value is not None and (value.suffix not in PREDICTIONS or not value.is_file()):
            raise ValueError(f"no file that ends in {', '.join(PREDICTIONS)}")
        return value

    @field_validator("oidc_scopes", mode="before")
    @classmethod
    def _pairs(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        pairs = [tuple(part.strip().partition("=")[::2]) for part in value.split(",") if part.strip()]
        if unknown := [name for name, called in pairs if name not in list(Scope) or not called]:
            raise ValueError(f"expected read=NAME,write=NAME,admin=NAME, not {unknown[0]!r}")
        return tuple((Scope(name), called) for name, called in pairs)

    @model_validator(mode="after")
    def _whole_issuer(self) -> Self:
        if (self.oidc_issuer is None) != (self.oidc_audience is None):
            raise ValueError("KGSERVICE_OIDC_ISSUER and KGSERVICE_OIDC_AUDIENCE are given together or not at all")
        if self.oidc_issuer is not None and not is_safe(self.oidc_issuer):
            raise ValueError("KGSERVICE_OIDC_ISSUER: expected https://…, or http:// on this machine")
        if self.oidc_issuer is not None and self.keys == "off":
            raise ValueError(
                "KGSERVICE_KEYS=off asks for no token either: leave out KGSERVICE_OIDC_ISSUER, or the former"
            )
        return self

    @field_validator("release", "database_url", "oidc_issuer", "oidc_audience", "sparql_predictions", mode="before")
    @classmethod
    def _empty_is_none(cls, value: Any) -> Any:
        return value or None

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None, **given: Any) -> Self:
        """Read the environment; `given` values that are not None come first.

        Raises:
            RecipeError: an unknown variable, or a value out of range; names the variable.
        """
        environ = os.environ if environ is None else environ
        values: dict[str, Any] = {}
        for variable, value in environ.items():
            if not variable.startswith(PREFIX) or variable in ELSEWHERE:
                continue
            name = variable.removeprefix(PREFIX).lower()
            if name not in cls.model_fields or variable != variable.upper():
                raise RecipeError(f"{variable} is not a setting. {_suggestion(variable, cls)}")
            if value or name != "home":  # an empty KGSERVICE_HOME means the default, as everywhere
                values[name] = value
        values |= {name: value for name, value in given.items() if value is not None}
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise RecipeError("\n".join(_explain(problem) for problem in error.errors())) from error

    def shown(self) -> dict[str, str]:
        """Every setting as text, for the lines printed at start; a `SecretStr` shows as asterisks."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: _written(value) for name, value in values.items()}


def is_safe(address: str) -> bool:
    """Whether what is read from an address is what its owner wrote: https, or http on this machine."""
    parts = urlsplit(address)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in ("localhost", "127.0.0.1", "::1"))


def _suggestion(variable: str, settings: type[BaseModel]) -> str:
    known = [name.upper() for name in settings.model_fields] + [other.removeprefix(PREFIX) for other in ELSEWHERE]
    close = difflib.get_close_matches(variable.upper().removeprefix(PREFIX), known, n=1, cutoff=0.5)
    return f"Did you mean {PREFIX}{close[0]}?" if close else f"Known: {', '.join(PREFIX + name for name in known)}."


def _written(value: Any) -> str:
    if not isinstance(value, tuple):
        return str(value)
    return ", ".join("=".join(one) if isinstance(one, tuple) else str(one) for one in value)


def _explain(problem: Any) -> str:
    if not problem["loc"]:  # of several settings together
        return str(problem["msg"]).removeprefix("Value error, ") + "."
    name = str(problem["loc"][0]) if problem["loc"] else "settings"
    found = "" if name == "database_url" else f" (found {problem['input']!r})"
    return f"{PREFIX}{name.upper()}: {problem['msg'].removeprefix('Value error, ')}{found}."
