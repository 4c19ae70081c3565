"""
Who may ask what: named keys, where a request carries one, and which right each path needs.

A key is 256 random bits and the file holds its SHA-256 alone. A slow hash such as Argon2 makes up for secrets that
people choose; nobody can try 2^256 keys, and a slow hash would cost every request what it is meant to cost an attacker.
"""

import json
import math
import os
import re
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from hmac import compare_digest
from http import HTTPStatus
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args

Right = Literal["use", "metrics", "admin"]
RIGHTS: tuple[Right, ...] = get_args(Right)

# The right that each path needs, by how it begins; None is open to all. Whatever stands here by no name needs `use`:
# the pages of documentation and paths that do not exist as well. Routes match exactly, so a prefix never asks less.
NEEDS: tuple[tuple[str, Right | None], ...] = (("/health/", None), ("/metrics", "metrics"), ("/admin", "admin"))

# Names go into logs and metrics. Neither a key (49 characters) nor a digest (64) can pass for one.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
NAME_RULE = "1 to 32 letters, digits, '.', '_' and '-', the first a letter or a digit"
LEAST_RATE, MOST_RATE = 0.001, 1e6
MOST_BURST = 1_000_000

MOST_FILE_BYTES = 1 << 20
MOST_PRESENTED_BYTES = 256
DIGEST = re.compile(r"[0-9a-f]{64}")
# What is compared where there is no key at all, so that this takes as long as one key does; nothing hashes to it.
NO_DIGEST = "0" * 64

NO_KEY = "a key that is known here is needed, sent once, as `Authorization: Bearer KEY` or `X-API-Key: KEY`"
ADMIN_IS_CLOSED = (
    "/admin is closed as long as there are no keys: make one by `python -m service keys create NAME --right admin`, "
    "name its file in SEGUE_KEYS and start the service again"
)


class BadKeys(Exception):
    """The file of keys cannot be used; the message says which file, why and what to do, and holds no secret."""


@dataclass(frozen=True)
class Key:
    """
    What is known of one key.

    Attributes:
        digest: SHA-256 of the key, in lower-case hexadecimal.
        rate: requests a second that it may make in the long run; None where it is not limited.
        burst: requests that it may make at once after a rest; 0 where it is not limited.
    """

    name: str
    digest: str = field(repr=False)
    rights: frozenset[Right]
    rate: float | None
    burst: int
    created_at: datetime


@dataclass(frozen=True)
class Keys:
    """The keys of a file, in its order."""

    keys: tuple[Key, ...] = ()

    @staticmethod
    def read(path: Path) -> "Keys":
        """
        The keys that *path* holds; an empty file holds none.

        Raises:
            BadKeys: there is no such file, or it is not as `Keys.text` writes it.
        """
        return Keys(_parse(_File(path)))

    def text(self) -> str:
        """What `read` reads: JSON, because the standard library both reads and writes it."""
        return json.dumps({"keys": [_entry(key) for key in self.keys]}, indent=2) + "\n"

    def find(self, presented: bytes | None) -> Key | None:
        """
        The key that *presented* is, None where it is none of them.

        Every digest is compared, whatever was found before, and nothing presented is hashed as well: the time taken
        tells neither which key it was nor whether it was one.
        """
        digest = sha256((presented or b"")[:MOST_PRESENTED_BYTES]).hexdigest()
        found = None
        compare_digest(NO_DIGEST, digest)
        for key in self.keys:
            if compare_digest(key.digest, digest):
                found = key
        return found if presented else None


@dataclass(frozen=True)
class Denied:
    """
    Why a request is not answered.

    Attributes:
        key: the key that lacks the right, where the status is 403 and there was one.
    """

    status: HTTPStatus
    detail: str
    key: Key | None = None


@dataclass(frozen=True)
class Access:
    """
    Who may ask what.

    Attributes:
        keys: None where the service asks for no keys. No keys in a file that there is are something else: they let
            nobody in.
    """

    keys: Keys | None = None

    def decide(self, path: str, headers: Iterable[tuple[bytes, bytes]]) -> Key | Denied | None:
        """
        Whether a request may be answered.

        Args:
            path: as the ASGI scope has it, percent-decoded.
            headers: as the ASGI scope has them.

        Returns:
            The key that it was made with, None where it needs none, or why it is denied.
        """
        right = needed_right(path)
        if self.keys is None:
            return Denied(HTTPStatus.FORBIDDEN, ADMIN_IS_CLOSED) if right == "admin" else None
        if right is None:
            return None
        key = self.keys.find(presented_key(headers))
        if key is None:
            return Denied(HTTPStatus.UNAUTHORIZED, NO_KEY)
        if right not in key.rights:
            return Denied(HTTPStatus.FORBIDDEN, f"this path needs a key with the right `{right}`", key)
        return key


def needed_right(path: str) -> Right | None:
    """The right that *path* needs; None where it is open to all."""
    return next((right for beginning, right in NEEDS if path.startswith(beginning)), "use")


def presented_key(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """
    The one key that a request carries, by `Authorization: Bearer KEY` or by `X-API-Key: KEY`.

    None where there is none, where one is empty, where a header is repeated or where the two differ: what a proxy and
    we could read in two ways is not read. Other schemes of `Authorization` are not ours and carry no key.
    """
    found: list[bytes] = []
    seen: set[bytes] = set()
    for name, value in headers:
        name = name.lower()
        if name not in (b"authorization", b"x-api-key"):
            continue
        if name in seen:
            return None
        seen.add(name)
        key = value.strip() if name == b"x-api-key" else _bearer(value)
        if key is not None:
            found.append(key)
    return found[0] if found and found[0] and found[-1] == found[0] else None


def _bearer(value: bytes) -> bytes | None:
    """What an `Authorization` of *value* carries, possibly nothing; None where its scheme is another."""
    scheme, _, key = value.strip().partition(b" ")
    return key.strip() if scheme.lower() in (b"bearer", b"") else None


def _entry(key: Key) -> dict[str, Any]:
    limits = {} if key.rate is None else {"rate": key.rate, "burst": key.burst}
    rights = [right for right in RIGHTS if right in key.rights]
    created_at = key.created_at.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return {"name": key.name, "digest": key.digest, "rights": rights, **limits, "created_at": created_at}


class _File:
    """The text of a file of keys, and what is wrong with it, said without quoting what may be a secret."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            # Without waiting: a pipe that nobody writes to would never open.
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb") as file:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    self.refuse("it is not a file", "name the file that `keys create` wrote")
                content = file.read(MOST_FILE_BYTES + 1)
        except FileNotFoundError:
            self.refuse("there is no such file", f"make a key by `python -m service keys create NAME --file {path}`")
        except OSError as error:
            self.refuse(f"it cannot be read ({error.strerror})", "let the user of the service read it")
        if len(content) > MOST_FILE_BYTES:
            self.refuse("it has more than 1 MiB", "revoke the keys that nobody uses")
        try:
            self.text = content.decode()
        except UnicodeDecodeError as error:
            self.refuse(f"expected UTF-8, which ends at byte {error.start}")

    def refuse(self, fault: str, remedy: str = "mend it, or put back what `keys create` wrote") -> NoReturn:
        raise BadKeys(f"the keys in {self.path} cannot be used: {fault}; {remedy}") from None


def _parse(file: _File) -> tuple[Key, ...]:
    if not file.text.strip():
        return ()
    try:
        content = json.loads(file.text, object_pairs_hook=_unrepeated, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        file.refuse(f"expected JSON, which ends at line {error.lineno}, column {error.colno} ({error.msg})")
    except (ValueError, RecursionError):
        file.refuse("expected JSON with each field once, plain numbers and few levels")
    if not isinstance(content, dict) or set(content) != {"keys"} or not isinstance(content["keys"], list):
        file.refuse('expected {"keys": [...]} and nothing beside')
    keys = tuple(_Entry(file, number, entry).key() for number, entry in enumerate(content["keys"], 1))
    _refuse_repeated(file, "name", [key.name for key in keys])
    _refuse_repeated(file, "digest", [key.digest for key in keys])
    return keys


def _unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(fields := dict(pairs)) < len(pairs):
        raise ValueError
    return fields


def _no_constant(_: str) -> NoReturn:
    raise ValueError


def _refuse_repeated(file: _File, what: str, values: Sequence[str]) -> None:
    first: dict[str, int] = {}
    for number, value in enumerate(values, 1):
        if value in first:
            file.refuse(f"keys {first[value]} and {number} have one {what}", f"expected another {what} for each key")
        first[value] = number


class _Entry:
    """One key of the file; whatever is not as expected is refused."""

    REQUIRED = ("name", "digest", "rights", "created_at")
    OPTIONAL = ("rate", "burst")

    def __init__(self, file: _File, number: int, entry: object) -> None:
        self.file, self.number = file, number
        if not isinstance(entry, dict):
            self.refuse(f"expected fields {', '.join(self.REQUIRED)}")
        self.fields: dict[str, Any] = entry
        for name in self.REQUIRED:
            if name not in self.fields:
                self.refuse(f"{name} is missing")
        if unknown := set(self.fields) - {*self.REQUIRED, *self.OPTIONAL}:
            self.refuse(
                f"{len(unknown)} unknown field{'s' * (len(unknown) > 1)}, where there are "
                f"{', '.join((*self.REQUIRED, *self.OPTIONAL))}"
            )

    def refuse(self, fault: str) -> NoReturn:
        self.file.refuse(f"key {self.number}: {fault}")

    def key(self) -> Key:
        rate = self._rate()
        return Key(
            name=self._matching("name", NAME, NAME_RULE),
            digest=self._matching("digest", DIGEST, "a SHA-256 in 64 lower-case hexadecimal digits"),
            rights=self._rights(),
            rate=rate,
            burst=self._burst(rate),
            created_at=self._created_at(),
        )

    def _matching(self, name: str, pattern: re.Pattern[str], rule: str) -> str:
        value = self.fields[name]
        if not isinstance(value, str) or not pattern.fullmatch(value):
            self.refuse(f"{name}: expected {rule}")
        return value

    def _rights(self) -> frozenset[Right]:
        rights = self.fields["rights"]
        if not isinstance(rights, list) or not rights or any(right not in RIGHTS for right in rights):
            self.refuse(f"rights: expected a list of one or more of {', '.join(RIGHTS)}")
        return frozenset(rights)

    def _rate(self) -> float | None:
        rate = self.fields.get("rate")
        if rate is None:
            return None
        if not isinstance(rate, (int, float)) or isinstance(rate, bool) or not LEAST_RATE <= rate <= MOST_RATE:
            self.refuse(f"rate: expected requests a second, {LEAST_RATE:g} to {MOST_RATE:,.0f}, or null for no limit")
        return float(rate)

    def _burst(self, rate: float | None) -> int:
        burst = self.fields.get("burst")
        if rate is None:
            if burst is not None:
                self.refuse("burst: expected only where there is a rate")
            return 0
        if burst is None:
            return default_burst(rate)
        if not isinstance(burst, int) or isinstance(burst, bool) or not 1 <= burst <= MOST_BURST:
            self.refuse(f"burst: expected a whole number, 1 to {MOST_BURST:,}")
        return burst

    def _created_at(self) -> datetime:
        try:
            created_at = datetime.fromisoformat(self.fields["created_at"])
        except (TypeError, ValueError):
            created_at = None
        if created_at is None or created_at.tzinfo is None:
            self.refuse("created_at: expected a time with its zone, such as 2026-01-31T12:00:00Z")
        return created_at


def default_burst(rate: float) -> int:
    """What a key of *rate* may do at once where nothing is said: what it may do in a second, and one at least."""
    return max(1, math.ceil(rate))
