"""Versions made from an existing model, whole or damaged, and published as the trainer does."""

import os
import random
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from service.engine import FORMAT_VERSION, Manifest, Store

MANIFEST = "manifest.json"


def publish(store: Store, base: Path, damaged: str | None = None, seed: int = 0, **changes: Any) -> str:
    """
    Publish the model in *base* as a new version.

    Args:
        store: the store.
        base: the directory of the model. All files but the manifest are linked, not copied.
        damaged: the file in which one bit is flipped; None for none.
        seed: chooses the bit.
        changes: fields of the manifest.

    Returns:
        The name of the version.
    """
    version = store.next_version()
    with store.writing(), store.staging(version) as staged:
        for path in base.iterdir():
            if path.name != MANIFEST:
                os.link(path, staged / path.name)
        manifest = Manifest.read(base)
        now = datetime.now(UTC).isoformat()
        replace(manifest, version=version, created_at=now, **changes).write(staged)
        if damaged is not None:
            flip_a_bit(staged / damaged, seed)
        store.publish(staged)
    return version


def publish_a_newer_format(store: Store, base: Path) -> str:
    """Publish a version in the format of a future release."""
    return publish(store, base, format_version=FORMAT_VERSION + 1)


def flip_a_bit(path: Path, seed: int) -> None:
    """
    Flip one bit of *path* and leave its other links alone.

    It is the lowest bit of a byte, so that a number, letter or bracket of a manifest becomes another one.
    """
    content = bytearray(path.read_bytes())
    content[random.Random(f"{path.name} {seed}").randrange(len(content))] ^= 1
    path.unlink()
    path.write_bytes(content)


def artifact_files(base: Path) -> list[str]:
    """Return the names of all files in *base*."""
    return sorted(path.name for path in base.iterdir())
