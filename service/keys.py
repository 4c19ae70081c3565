"""`python -m service keys`: make, list and revoke the keys that the service lets in."""

import argparse
import fcntl
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from service.access import (
    LEAST_RATE,
    MOST_BURST,
    MOST_RATE,
    NAME,
    NAME_RULE,
    RIGHTS,
    BadKeys,
    Key,
    Keys,
    default_burst,
)

PREFIX = "segue_"
KEY_BYTES = 32
PRIVATE = 0o600
DONE, FAILED, USAGE = 0, 1, 2


class KeysError(Exception):
    """What was asked cannot be done; the message says why."""


def add_keys_commands(parser: argparse.ArgumentParser) -> None:
    """Give *parser* the commands below `keys`; `run` runs what it parses."""
    commands = parser.add_subparsers(dest="keys_command", required=True, metavar="COMMAND")
    create = commands.add_parser("create", help="make a key, print it once and store its hash")
    create.add_argument("name", metavar="NAME", type=_name, help=f"what logs call it: {NAME_RULE}")
    create.add_argument(
        "--right",
        action="append",
        choices=RIGHTS,
        help="what it may do; repeatable (default: use, which is all but /metrics and /admin)",
    )
    create.add_argument("--rate", type=_rate, metavar="R", help="requests a second (default: no limit)")
    create.add_argument("--burst", type=_burst, metavar="B", help="requests at once (default: those of a second)")
    show = commands.add_parser("list", help="names, rights, rates and ages of the keys")
    revoke = commands.add_parser("revoke", help="let a key in no more")
    revoke.add_argument("name", metavar="NAME", type=_name, help="as `list` names it")
    for command in (create, show, revoke):
        command.add_argument(
            "--file",
            type=Path,
            metavar="F",
            default=Path(os.environ.get("SEGUE_KEYS") or "keys.json"),
            help="the file of keys (default: %(default)s, by SEGUE_KEYS)",
        )


def run(options: argparse.Namespace) -> int:
    """Do what was parsed; returns the exit code."""
    if options.keys_command == "create" and options.burst is not None and options.rate is None:
        return _fail("--burst needs a --rate", USAGE)
    try:
        match options.keys_command:
            case "create":
                _create(options)
            case "list":
                _list(options.file)
            case "revoke":
                _revoke(options.file, options.name)
    except (BadKeys, KeysError) as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(f"{error.filename or options.file} cannot be used: {error.strerror or error}")
    return DONE


def new_key() -> str:
    """256 random bits, by a prefix that scanners for leaked secrets can look for."""
    return PREFIX + secrets.token_urlsafe(KEY_BYTES)


def _create(options: argparse.Namespace) -> None:
    secret = new_key()
    key = Key(
        name=options.name,
        digest=sha256(secret.encode()).hexdigest(),
        rights=frozenset(options.right or ["use"]),
        rate=options.rate,
        burst=0 if options.rate is None else options.burst or default_burst(options.rate),
        created_at=datetime.now(UTC).replace(microsecond=0),
    )
    with _editing(options.file) as file:
        if any(there.name == key.name for there in file.keys.keys):
            raise KeysError(f"there is a key {key.name} in {options.file}: revoke it first, or choose another name")
        file.write(Keys((*file.keys.keys, key)))
    try:
        sys.stdout.write(f"{secret}\n")
        sys.stdout.flush()
    except OSError as error:
        # Python would try again when it ends, and complain in lines of its own.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise KeysError(f"the key {key.name} was stored but could not be printed: revoke it") from error
    _hint(f"{options.file} holds the hash of {key.name}; the key is shown this once")
    _hint(f"serve with SEGUE_KEYS={options.file}; a service that reads it already takes the key within seconds")


def _list(path: Path) -> None:
    lines = [f"{'name':<32}  {'rights':<18}{'rate':>10}{'burst':>10}  created"]
    for key in Keys.read(path).keys:
        rights = ",".join(right for right in RIGHTS if right in key.rights)
        rate, burst = ("-", "-") if key.rate is None else (f"{key.rate:g}", str(key.burst))
        lines.append(f"{key.name:<32}  {rights:<18}{rate:>10}{burst:>10}  {key.created_at:%Y-%m-%d %H:%M}")
    sys.stdout.write("\n".join(lines) + "\n")


def _revoke(path: Path, name: str) -> None:
    Keys.read(path)  # there has to be one: nothing is made where nothing was
    with _editing(path) as file:
        left = tuple(key for key in file.keys.keys if key.name != name)
        if len(left) == len(file.keys.keys):
            raise KeysError(f"there is no key {name} in {path}; `keys list` names those there are")
        file.write(Keys(left))
    _hint(f"{name} is revoked; a service that reads {path} lets it in no more within seconds")
    if not left:
        _hint("no key is left: the service lets nobody in, but answers /health")


@dataclass(frozen=True)
class _KeysFile:
    """The file of keys, while nobody else changes it."""

    path: Path
    keys: Keys

    def write(self, keys: Keys) -> None:
        """Put *keys* in the place of what it held: whoever reads it finds the old ones or the new ones, whole."""
        written = self.path.with_name(f".{self.path.name}.new")
        written.unlink(missing_ok=True)  # of a command that was killed
        try:
            with os.fdopen(os.open(written, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE), "w") as file:
                self._keep_owner_and_mode(file.fileno())
                file.write(keys.text())
                file.flush()
                os.fsync(file.fileno())
            written.replace(self.path)
        except BaseException:
            written.unlink(missing_ok=True)
            raise
        _synchronize(self.path.parent)

    def _keep_owner_and_mode(self, descriptor: int) -> None:
        with suppress(FileNotFoundError):
            there, new = self.path.stat(), os.fstat(descriptor)
            if (there.st_uid, there.st_gid) != (new.st_uid, new.st_gid):
                try:
                    os.fchown(descriptor, there.st_uid, there.st_gid)
                except PermissionError:
                    raise KeysError(
                        f"{self.path} belongs to another user: only that user, or root, may change it"
                    ) from None
            os.fchmod(descriptor, there.st_mode & 0o777)


@contextmanager
def _editing(path: Path) -> Iterator[_KeysFile]:
    """The keys of *path*, none where there is no such file; another command waits until this one is done."""
    path = Path(os.path.realpath(path))  # a link stays a link
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        # The directory and not the file, which is another one after each change.
        fcntl.flock(directory, fcntl.LOCK_EX)
        yield _KeysFile(path, Keys.read(path) if path.exists() else Keys())
    finally:
        os.close(directory)


def _synchronize(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# What is typed is not repeated in an error: it may be a key.


def _name(text: str) -> str:
    if not NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(f"expected {NAME_RULE}")
    return text


def _rate(text: str) -> float:
    with suppress(ValueError):
        if LEAST_RATE <= (rate := float(text)) <= MOST_RATE:
            return rate
    raise argparse.ArgumentTypeError(f"expected requests a second, {LEAST_RATE:g} to {MOST_RATE:,.0f}")


def _burst(text: str) -> int:
    with suppress(ValueError):
        if 1 <= (burst := int(text)) <= MOST_BURST:
            return burst
    raise argparse.ArgumentTypeError(f"expected a whole number, 1 to {MOST_BURST:,}")


def _fail(message: str, code: int = FAILED) -> int:
    sys.stderr.write(f"error: {message}\n")
    return code


def _hint(message: str) -> None:
    sys.stderr.write(f"{message}\n")
