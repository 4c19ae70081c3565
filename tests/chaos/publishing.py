"""Versions published as the trainer publishes them, whole or damaged, from the files of a model that is there."""

import os
import random
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from service.engine import FORMAT_VERSION, Manifest, Store, new_version

MANIFEST = "manifest.json"


def publish(store: Store, base: Path, damaged: str | None = None, seed: int = 0, **changes: Any) -> str:
    """
    Publish the model in *base* as a version of its own.

    Args:
        store: where.
        base: its files; all but the manifest are linked, not copied.
        damaged: the file in which one bit is flipped, of which *seed* is the place; None for none.
        changes: of the manifest.

    Returns:
        Its name.
    """
    version = new_version()
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
    """Publish a version in the format of a release that is yet to come."""
    return publish(store, base, format_version=FORMAT_VERSION + 1)


def flip_a_bit(path: Path, seed: int) -> None:
    """
    Flip one bit of *path*, which other versions may share.

    The lowest of a byte: it changes any number, letter or bracket of a manifest into another one.
    """
    content = bytearray(path.read_bytes())
    content[random.Random(f"{path.name} {seed}").randrange(len(content))] ^= 1
    path.unlink()
    path.write_bytes(content)


def artifact_files(base: Path) -> list[str]:
    """Every file of the version in *base*."""
    return sorted(path.name for path in base.iterdir())
