"""How the process runs. What changes an answer is not here but in the manifest of the model."""

import ipaddress
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Read from the environment, each name with the prefix `SEGUE_`; `docs/settings.md` lists them."""

    model_config = SettingsConfigDict(env_prefix="SEGUE_", frozen=True, allow_inf_nan=False)

    models: Path = Field(Path("models"), description="Directory of the store that the trainer publishes to.")
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 for any free one.")

    workers: int = Field(1, ge=1, description="Processes that answer; they share one copy of the model's files.")
    threads: int = Field(1, ge=1, description="Threads of the numeric libraries in each worker.")
    watch_interval_s: float = Field(
        1.0, gt=0, description="Seconds between two looks for a new version, blocklist or file of keys."
    )
    runtime: Path | None = Field(
        None,
        description="Directory in which that of what the workers share is made; if none, `/dev/shm`, or where there is "
        "no such place the system's temporary one.",
    )
    drain_s: float = Field(
        1.0, ge=0, description="Seconds after SIGTERM in which it is not ready but still answers, closing connections."
    )
    stop_within_s: float = Field(20.0, gt=0, description="Seconds that requests in progress have to end after that.")

    log_level: Literal["critical", "error", "warning", "info", "debug"] = Field(
        "info", description="Least severe level that is logged."
    )
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="How log lines are written; `auto`: for a person on a terminal, else as JSON."
    )
    access_log: bool = Field(True, description="Whether each request is logged.")
    otlp_endpoint: str | None = Field(
        None, description="Where OpenTelemetry traces go (OTLP over HTTP), such as `http://collector:4318/v1/traces`."
    )
    audit_share: float = Field(
        0.01, ge=0, le=1, description="Share of `/similar` calls whose neighbours are checked against exact search."
    )

    keys: Path | None = Field(None, description="File of API keys; without one anybody may ask.")
    allow_anyone: bool = Field(
        False,
        description="Serve without keys even on an address that is not loopback; something in front has to guard.",
    )
    cors_origins: list[str] = Field(
        [], description='Origins whose pages may call the service, a JSON list such as `["https://example.org"]`.'
    )
    blocklist: Path | None = Field(
        None, description="File of ids of tracks and artists, one a line, that must never be returned."
    )

    max_waiting: int = Field(
        16,
        ge=0,
        description="Requests a worker lets wait for the engine, where no more comes than it can do; more are refused.",
    )
    max_wait_s: float = Field(1.0, gt=0, description="Seconds a request may wait for the engine; it is refused then.")
    max_connections: int = Field(1000, ge=1, description="Connections a worker holds; more are closed at once.")
    max_body_bytes: int = Field(1 << 20, ge=1, description="Longest body of a request.")
    max_header_bytes: int = Field(32768, ge=1, description="Longest request line and headers.")
    header_timeout_s: float = Field(10.0, gt=0, description="Seconds in which all headers of a request have to come.")
    request_timeout_s: float = Field(
        30.0, gt=0, description="Seconds from the headers to the end of the answer, reading of the body included."
    )
    keep_alive_s: float = Field(15.0, gt=0, description="Seconds that a connection may be idle between two requests.")
    max_tracks: int = Field(1000, ge=1, description="Most tracks in a request.")
    max_artists: int = Field(1000, ge=1, description="Most artists in a request.")
    max_exclude: int = Field(10_000, ge=1, description="Most exclusions in a request.")
    max_title: int = Field(1000, ge=1, description="Most characters of a title, or of words to search.")
    max_k: int = Field(500, ge=1, description="Most answers to one request.")

    @model_validator(mode="after")
    def _opens_to_nobody_by_accident(self) -> Self:
        if self.keys is None and not self.allow_anyone and not _is_loopback(self.host):
            raise ValueError(
                f"SEGUE_HOST is {self.host}, which others can reach, and SEGUE_KEYS names no file of API keys: make "
                "one with `python -m service keys create NAME --file FILE`, or set SEGUE_ALLOW_ANYONE=true where "
                "something in front of the service decides who may ask"
            )
        return self


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
