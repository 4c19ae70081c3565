"""Keys for a service under test, created by its own command."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from reliability import ROOT


@dataclass(frozen=True)
class Keys:
    """A key file, and headers with a key for each right."""

    file: Path
    use: dict[str, str]
    metrics: dict[str, str]
    admin: dict[str, str]


def make_keys(file: Path, *options: str) -> Keys:
    """Create a key for each right in *file*; *options* apply to the one with the right `use`."""
    file.parent.mkdir(parents=True, exist_ok=True)
    return Keys(
        file,
        bearer(make_key(file, "a-user", "use", *options)),
        bearer(make_key(file, "a-scraper", "metrics")),
        bearer(make_key(file, "an-admin", "admin")),
    )


def make_key(file: Path, name: str, right: str, *options: str) -> str:
    """Create the key *name* with one *right* in *file* and return it."""
    command = [sys.executable, "-m", "service", "keys", "create", name, "--file", str(file), "--right", right, *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.split()[-1]


def bearer(key: str) -> dict[str, str]:
    """Return the header with *key*."""
    return {"Authorization": f"Bearer {key}"}
