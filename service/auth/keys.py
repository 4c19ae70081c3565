"""
API keys and the file that holds them.

A key is 256 random bits. The file holds its SHA-256 only. A slow hash such as Argon2 protects secrets that people
choose; nobody can try 2^256 keys, and a slow hash would slow down every request.
"""

import json
import math
import re
import secrets
from collections import Counter
from datetime import UTC
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, field_serializer, model_validator

from service.files import describe_trouble, read_file

Right = Literal["use", "metrics", "admin"]
RIGHTS: tuple[Right, ...] = get_args(Right)

PREFIX = "segue_"  # scanners for leaked secrets can look for it
KEY_BYTES = 32
# Names go into logs. Neither a key (49 characters) nor a digest (64) is a valid name.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
NAME_RULE = "1 to 32 letters, digits, '.', '_' and '-', the first a letter or a digit"
MIN_RATE, MAX_RATE = 0.001, 1e6
MAX_BURST = 1_000_000

MAX_FILE_BYTES = 1 << 20
MAX_PRESENTED_BYTES = 256
# Compared when no key was sent, so that this takes as long as comparing one. No key has this digest.
NO_DIGEST = "0" * 64


class BadKeys(Exception):
    """The key file cannot be used. The message names the file, the fault and the remedy, and holds no secret."""


class Key(BaseModel):
    """
    One API key, without its secret.

    Attributes:
        name: its name in logs.
        digest: SHA-256 of the key, lower-case hexadecimal.
        rights: at least one; no right includes another.
        rate: requests a second in the long run; None for no limit.
        burst: requests at once after a rest; None without a rate.
        created_at: when it was created, with its time zone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)

    name: Annotated[str, Field(strict=True, pattern=rf"^{NAME.pattern}\z")]
    digest: Annotated[str, Field(strict=True, pattern=r"^[0-9a-f]{64}\z", repr=False)]
    rights: Annotated[tuple[Right, ...], Field(min_length=1)] = ("use",)
    rate: Annotated[float | None, Field(strict=True, ge=MIN_RATE, le=MAX_RATE)] = None
    burst: Annotated[int | None, Field(strict=True, ge=1, le=MAX_BURST)] = None
    created_at: Annotated[AwareDatetime, Field(strict=True)]

    @model_validator(mode="after")
    def _burst_fits_rate(self) -> Self:
        if self.rate is None and self.burst is not None:
            raise ValueError("burst needs a rate")
        if self.rate is not None and self.burst is None:
            object.__setattr__(self, "burst", max(1, math.ceil(self.rate)))  # one second of requests
        return self

    @field_serializer("created_at")
    def _in_utc(self, created_at: AwareDatetime) -> str:
        return created_at.astimezone(UTC).isoformat().replace("+00:00", "Z")


class Keys(BaseModel):
    """The keys of a file, in its order."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    keys: tuple[Key, ...]

    @model_validator(mode="after")
    def _are_distinct(self) -> Self:
        for field in ("name", "digest"):
            repeated = [n for n in Counter(getattr(key, field) for key in self.keys).values() if n > 1]
            if repeated:
                raise ValueError(f"{repeated[0]} keys have the same {field}")
        return self

    @classmethod
    def read(cls, path: Path) -> Self:
        """
        Read the key file at *path*; an empty file holds no keys.

        Raises:
            BadKeys: the file is missing, unreadable or not in the format that `text` writes. An error of the system is
                its cause.
        """
        content = _read_file(path)
        if not content.strip():
            return cls(keys=())
        try:
            return cls.model_validate_json(content)
        except ValidationError as error:
            fault = _describe(error.errors(include_url=False, include_context=False, include_input=False)[0])
            # `from None`: the validation error knows the input.
            raise _bad(path, fault, "correct it, or restore a version that `keys create` wrote") from None

    def text(self) -> str:
        """Return the JSON that `read` reads."""
        return json.dumps(self.model_dump(mode="json", exclude_none=True), indent=2) + "\n"

    def find(self, presented: bytes | None) -> Key | None:
        """
        Return the key that *presented* is, or None.

        Compares against every key in constant time, also when no key was sent, so timing reveals nothing.
        """
        digest = sha256((presented or b"")[:MAX_PRESENTED_BYTES]).hexdigest()
        found = None
        compare_digest(NO_DIGEST, digest)
        for key in self.keys:
            if compare_digest(key.digest, digest):
                found = key
        return found if presented else None


def new_key() -> str:
    """Return a new secret key of 256 random bits."""
    return PREFIX + secrets.token_urlsafe(KEY_BYTES)


def digest_of(secret: str) -> str:
    """Return the digest that the file holds for the key *secret*."""
    return sha256(secret.encode()).hexdigest()


def _read_file(path: Path) -> bytes:
    try:
        return read_file(path, MAX_FILE_BYTES)
    except ValueError as error:
        raise _bad(path, str(error), "name the file that `keys create` wrote") from None
    except FileNotFoundError as error:
        remedy = f"mount the disk that holds it, or create a key: `python -m service keys create NAME --file {path}`"
        raise _bad(path, "there is no such file", remedy) from error
    except OSError as error:
        raise BadKeys(f"the key file {describe_trouble(path, error)}") from error


def _bad(path: Path, fault: str, remedy: str) -> BadKeys:
    return BadKeys(f"the key file {path} cannot be used: {fault}; {remedy}")


def _describe(fault: Any) -> str:
    """Return the place and the reason of a validation error. A field that is unknown may be a secret."""
    reason = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden":
        fault["loc"], reason = fault["loc"][:-1], "unknown field"
    place = [
        f"key {part + 1}" if isinstance(part, int) and index == 1 else part for index, part in enumerate(fault["loc"])
    ]
    return ": ".join([*map(str, place[1:] if len(place) > 1 else place), reason])
