"""`python -m service keys`: create, list and revoke API keys."""

import argparse
import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from service.auth.keys import (
    MAX_BURST,
    MAX_RATE,
    MIN_RATE,
    NAME,
    NAME_RULE,
    RIGHTS,
    BadKeys,
    Key,
    Keys,
    digest_of,
    new_key,
)
from service.streams import check_output, output_failure

PRIVATE = 0o600
DONE, FAILED, USAGE = 0, 1, 2


class KeysError(Exception):
    """The command cannot be carried out. The message gives the reason."""


def add_keys_commands(parser: argparse.ArgumentParser) -> None:
    """Add the commands below `keys` to *parser*; `run` runs them."""
    commands = parser.add_subparsers(dest="keys_command", required=True, metavar="COMMAND")
    create = commands.add_parser("create", help="create a key, print it once and store its hash")
    create.add_argument("name", metavar="NAME", type=_name, help=f"name in logs: {NAME_RULE}")
    create.add_argument(
        "--right",
        action="append",
        choices=RIGHTS,
        help="right of the key; repeatable (default: use, which is everything but /metrics and /admin)",
    )
    create.add_argument("--rate", type=_rate, metavar="R", help="requests a second (default: no limit)")
    create.add_argument("--burst", type=_burst, metavar="B", help="requests at once (default: one second of the rate)")
    show = commands.add_parser("list", help="list names, rights, rates and dates of the keys")
    revoke = commands.add_parser("revoke", help="revoke a key")
    revoke.add_argument("name", metavar="NAME", type=_name, help="name of the key")
    for command in (create, show, revoke):
        command.add_argument(
            "--file",
            type=Path,
            metavar="F",
            default=Path(os.environ.get("SEGUE_KEYS") or "keys.json"),
            help="key file (default: SEGUE_KEYS, else keys.json)",
        )


def run(options: argparse.Namespace) -> int:
    """Run the command in *options*; returns the exit code."""
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


def _create(options: argparse.Namespace) -> None:
    secret = new_key()
    key = Key(
        name=options.name,
        digest=digest_of(secret),
        rights=tuple(right for right in RIGHTS if right in (options.right or ["use"])),
        rate=options.rate,
        burst=options.burst,
        created_at=datetime.now(UTC).replace(microsecond=0),
    )
    with _editing(options.file) as file:
        if any(there.name == key.name for there in file.keys.keys):
            raise KeysError(f"{options.file} already has a key {key.name}: revoke it first, or choose another name")
        file.write(Keys(keys=(*file.keys.keys, key)))
    sys.stdout.write(f"{secret}\n")
    if output_failure() is not None:
        raise KeysError(f"the key {key.name} was stored but could not be printed: revoke it")
    _hint(f"{options.file} holds the hash of {key.name}; the key is shown only this time")
    _hint(f"serve with SEGUE_KEYS={options.file}; a running service accepts the key within seconds")


def _list(path: Path) -> None:
    lines = [f"{'name':<32}  {'rights':<18}{'rate':>10}{'burst':>10}  created"]
    for key in Keys.read(path).keys:
        rate, burst = ("-", "-") if key.rate is None else (f"{key.rate:g}", str(key.burst))
        lines.append(
            f"{key.name:<32}  {','.join(key.rights):<18}{rate:>10}{burst:>10}  {key.created_at:%Y-%m-%d %H:%M}"
        )
    sys.stdout.write("\n".join(lines) + "\n")
    check_output()


def _revoke(path: Path, name: str) -> None:
    Keys.read(path)  # a missing file is an error: revoking must not create one
    with _editing(path) as file:
        left = tuple(key for key in file.keys.keys if key.name != name)
        if len(left) == len(file.keys.keys):
            raise KeysError(f"{path} has no key {name}; `keys list` shows the keys")
        file.write(Keys(keys=left))
    _hint(f"{name} is revoked; a running service refuses it within seconds")
    if not left:
        _hint("no key is left: the service answers nothing but /health")


@dataclass(frozen=True)
class _KeysFile:
    """The key file, locked against other commands."""

    path: Path
    keys: Keys

    def write(self, keys: Keys) -> None:
        """Replace the content atomically: readers find the old keys or the new ones."""
        written = self.path.with_name(f".{self.path.name}.new")
        written.unlink(missing_ok=True)  # left by a command that was killed
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

    def _keep_owner_and_mode(self, descriptor: int) -> None:
        with suppress(FileNotFoundError):
            there, new = self.path.stat(), os.fstat(descriptor)
            if (there.st_uid, there.st_gid) != (new.st_uid, new.st_gid):
                try:
                    os.fchown(descriptor, there.st_uid, there.st_gid)
                except PermissionError:
                    raise KeysError(
                        f"{self.path} belongs to another user: only that user, or root, can change it"
                    ) from None
            os.fchmod(descriptor, there.st_mode & 0o777)


@contextmanager
def _editing(path: Path) -> Iterator[_KeysFile]:
    """Read the keys at *path*, none if there is no file, and lock out other commands."""
    path = Path(os.path.realpath(path))  # a link stays a link
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        # The directory, not the file: the file is a new one after each change.
        _lock(directory, path)
        yield _KeysFile(path, Keys.read(path) if path.exists() else Keys(keys=()))
        os.fsync(directory)
    finally:
        os.close(directory)


def _lock(directory: int, path: Path) -> None:
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
    except OSError as error:
        remedy = "change a copy on a disk with file locks, and copy it back"
        raise KeysError(f"{path.parent} cannot be locked: {error.strerror}; {remedy}") from error


# Errors do not repeat the input: it may be a key.


def _name(text: str) -> str:
    if not NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(f"expected {NAME_RULE}")
    return text


def _rate(text: str) -> float:
    with suppress(ValueError):
        if MIN_RATE <= (rate := float(text)) <= MAX_RATE:
            return rate
    raise argparse.ArgumentTypeError(f"expected requests a second, {MIN_RATE:g} to {MAX_RATE:,.0f}")


def _burst(text: str) -> int:
    with suppress(ValueError):
        if 1 <= (burst := int(text)) <= MAX_BURST:
            return burst
    raise argparse.ArgumentTypeError(f"expected a whole number, 1 to {MAX_BURST:,}")


def _fail(message: str, code: int = FAILED) -> int:
    sys.stderr.write(f"error: {message}\n")
    return code


def _hint(message: str) -> None:
    sys.stderr.write(f"{message}\n")
