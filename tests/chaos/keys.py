"""Keys for a service under test, made by its own command."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from reliability import ROOT


@dataclass(frozen=True)
class Keys:
    """A file of keys, and the headers of one for each right."""

    file: Path
    use: dict[str, str]
    metrics: dict[str, str]
    admin: dict[str, str]


def make_keys(file: Path, *options: str) -> Keys:
    """Make a key for each right in *file*; *options* are for the one to use the service with."""
    file.parent.mkdir(parents=True, exist_ok=True)
    return Keys(
        file,
        bearer(make_key(file, "a-user", "use", *options)),
        bearer(make_key(file, "a-scraper", "metrics")),
        bearer(make_key(file, "an-admin", "admin")),
    )


def make_key(file: Path, name: str, right: str, *options: str) -> str:
    """Make a key called *name* with one *right* in *file*; returns it."""
    command = [sys.executable, "-m", "service", "keys", "create", name, "--file", str(file), "--right", right, *options]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return said.stdout.split()[-1]


def bearer(key: str) -> dict[str, str]:
    """The header that presents *key*."""
    return {"Authorization": f"Bearer {key}"}
