"""Reading for the tests of sources: zip files, the ids that are read, and the reasons of refusals."""

import zipfile
from pathlib import Path

import pytest

from trainer.config import ReadOptions
from trainer.errors import BadInput
from trainer.sources import SourcePlaylist, read
from trainer.sources.chunked_files import BLOCK_BYTES


def a_zip(path: Path, members: dict[str, bytes]) -> Path:
    """Write a zip file."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def ids(*paths: Path) -> list[str]:
    """Return the ids of the playlists, in their order."""
    found: list[str] = []
    for item in read(paths):
        found += [item.id] if isinstance(item, SourcePlaylist) else item.playlist_ids
    return found


def refusal(path: Path, block_bytes: int = BLOCK_BYTES, **columns: str) -> str:
    """Return the text of the error that reading *path* raises, which is one line."""
    with pytest.raises(BadInput) as refused:
        list(read([path], ReadOptions(columns), block_bytes))
    assert "\n" not in str(refused.value)
    return str(refused.value)
