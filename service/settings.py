"""Settings of the process. Numbers that change an answer are in the manifest of the model."""

import ipaddress
import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, IPvAnyNetwork, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from service.files import printable

BLANKS_AND_QUOTES = " \"'"


def url_prefix(text: str) -> str:
    """
    Return *text* as a prefix of paths: empty, or with a slash in front and none at the end.

    Raises:
        ValueError: it has other characters than letters, digits, `-`, `.`, `_` and `~`.
    """
    prefix = f"/{text.strip().strip('/')}".rstrip("/")
    if not re.fullmatch(r"(/[A-Za-z0-9._~-]+)*", prefix):
        raise ValueError("expected a path such as /segue, of letters, digits, '-', '.', '_' and '~'")
    return prefix


def json_list(value: Any) -> Any:
    """
    Return the JSON list in the text *value*; other values stay as they are.

    Raises:
        ValueError: it is another text. The message has the list that was probably meant.
    """
    if not isinstance(value, str):
        return value
    with suppress(ValueError):
        if isinstance(found := json.loads(value), list):
            return found
    parts = re.sub(r"^\[(.*)\]$", r"\1", value.strip()).split(",")
    meant = [entry for part in parts if (entry := part.strip(BLANKS_AND_QUOTES))]
    raise ValueError(f"expected a JSON list, such as {json.dumps(meant)}")


class Settings(BaseSettings):
    """Settings read from the environment, with the prefix `SEGUE_`; `docs/settings.md` lists them."""

    model_config = SettingsConfigDict(env_prefix="SEGUE_", env_ignore_empty=True, frozen=True, allow_inf_nan=False)

    models: Path = Field(Path("models"), description="Directory of the store that the trainer publishes to.")
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 for any free port.")
    root_path: Annotated[str, AfterValidator(url_prefix)] | None = Field(
        None, description="Prefix under which a proxy publishes the service, such as `/segue`."
    )
    trusted_proxies: Annotated[list[IPvAnyNetwork], NoDecode, BeforeValidator(json_list)] = Field(
        [],
        description="Addresses and networks of proxies whose `X-Forwarded-Prefix` is believed, a JSON list such as "
        '`["10.0.0.0/8"]`.',
    )

    workers: int = Field(1, ge=1, description="Number of worker processes. They share one copy of the model's files.")
    threads: int = Field(1, ge=1, description="Threads of the numeric libraries in each worker.")
    watch_interval_s: float = Field(
        1.0, gt=0, description="Seconds between two polls for a new model, blocklist and key file."
    )
    runtime: Path | None = Field(
        None,
        description="Parent directory for files shared between workers. Default: `/dev/shm` if writable, otherwise the "
        "system's temporary directory. That one is also used if this one has no room.",
    )
    drain_s: float = Field(
        1.0, ge=0, description="Seconds after SIGTERM in which it reports unready and still answers."
    )
    stop_within_s: float = Field(20.0, gt=0, description="Seconds that requests in progress have to end after that.")

    log_level: Literal["critical", "error", "warning", "info", "debug"] = Field(
        "info", description="Lowest level that is logged."
    )
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="Format of log lines. `auto`: columns on a terminal, JSON otherwise."
    )
    access_log: bool = Field(True, description="Log each request.")
    otlp_endpoint: str | None = Field(
        None,
        description="OpenTelemetry collector for traces (OTLP over HTTP), such as `http://collector:4318/v1/traces`.",
    )
    audit_share: float = Field(
        0.01, ge=0, le=1, description="Share of `/similar` requests that are compared with exact search."
    )

    keys: Path | None = Field(None, description="Key file. Without one, no request needs a key.")
    allow_anyone: bool = Field(
        False, description="Serve without keys on an address that is not loopback. Something else must authorize."
    )
    cors_origins: Annotated[list[str], NoDecode, BeforeValidator(json_list)] = Field(
        [], description='Origins whose pages may call the service, a JSON list such as `["https://example.org"]`.'
    )
    page: bool = Field(True, description="Serve a page at `/` on which a person continues a playlist.")
    ranker: bool = Field(True, description="Order recommendations by the ranker, if the model has one.")
    blocklist: Path | None = Field(
        None, description="File of ids of tracks and artists, one a line, that are never returned."
    )

    max_waiting: int = Field(4, ge=0, description="Maximum queue length per worker. Further requests get 503.")
    max_wait_s: float = Field(1.0, gt=0, description="Seconds that a request may wait in the queue before it gets 503.")
    max_connections: int = Field(1000, ge=1, description="Connections per worker. Further ones are closed at once.")
    max_body_bytes: int = Field(1 << 20, ge=1, description="Maximum length of a request body.")
    max_header_bytes: int = Field(32768, ge=1, description="Maximum length of the request line and headers.")
    header_timeout_s: float = Field(10.0, gt=0, description="Seconds in which the headers of a request must arrive.")
    request_timeout_s: float = Field(
        30.0, gt=0, description="Seconds from the headers to the end of the response, including the request body."
    )
    keep_alive_s: float = Field(15.0, gt=0, description="Seconds that a connection may be idle between requests.")
    max_tracks: int = Field(1000, ge=1, description="Maximum tracks in a request.")
    max_artists: int = Field(1000, ge=1, description="Maximum artists in a request.")
    max_exclude: int = Field(10_000, ge=1, description="Maximum exclusions, or items of `among`, in a request.")
    max_title: int = Field(1000, ge=1, description="Maximum characters of a title, or of a search.")
    max_batch: int = Field(100, ge=1, description="Maximum playlists in a batch.")
    max_k: int = Field(500, ge=1, description="Maximum number of items in an answer.")

    @field_validator("host", mode="before")
    @classmethod
    def _without_brackets(cls, host: Any) -> Any:
        return host.strip("[]") if isinstance(host, str) else host

    @field_validator("models", "runtime", "keys", "blocklist")
    @classmethod
    def _is_utf_8(cls, path: Path | None) -> Path | None:
        if path is not None and printable(str(path)) != str(path):
            raise ValueError("its bytes are not UTF-8, which JSON and the index of neighbours need: rename it")
        return path

    @model_validator(mode="after")
    def _is_not_open_by_accident(self) -> Self:
        if self.keys is None and not self.allow_anyone and not _is_loopback(self.host):
            raise ValueError(
                f"SEGUE_HOST is {self.host}, which other machines can reach, and SEGUE_KEYS names no key file: create "
                "one with `python -m service keys create NAME --file FILE`, or set SEGUE_ALLOW_ANYONE=true if "
                "something in front of the service authorizes requests"
            )
        return self


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
