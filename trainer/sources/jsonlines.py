"""Tables as JSON lines, one object a row; other keys may hold anything."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from trainer.errors import BadInput
from trainer.sources.blocks import HEAD, HEAD_LINES, Frames, chunks, first_line, head_with_text, whole_lines
from trainer.sources.roles import find_roles

MALFORMED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

Cell = str | int | float | None


def is_json_lines(start: bytes, named_so: bool) -> bool:
    """
    Whether a file has one object a line, unlike a slice of the Million Playlist Dataset: one object with playlists.

    Args:
        start: its first bytes.
        named_so: whether its name says that they are lines.
    """
    lines = [line for line in start.splitlines() if line.strip()]
    try:
        first = msgspec.json.decode(lines[0])
    except MALFORMED:
        return named_so and lines[0].strip() != b"{"
    several = len(lines) > 1 and lines[1].lstrip().startswith(b"{")
    return isinstance(first, dict) and "playlists" not in first and (several or named_so)


def find_keys(path: Path, columns: Mapping[str, str] | None) -> dict[str, str]:
    """
    The keys of use for each role, among those of the first lines.

    Raises:
        BadInput: these are no objects, or do not have the keys that a table needs.
    """
    start = head_with_text(path, "JSON objects were expected, one a line")
    lines = [line for line in start.split(b"\n") if line.strip()][:HEAD_LINES]
    if len(start) >= HEAD and len(lines) > 1:
        lines.pop()  # which may be broken off
    keys: dict[str, None] = {}
    for number, line in enumerate(lines, 1):
        try:
            keys.update(dict.fromkeys(msgspec.json.decode(line, type=dict[str, msgspec.Raw])))
        except MALFORMED as error:
            raise BadInput(_no_object(path, number, error)) from None
    found = list(keys)
    return {role: found[place] for role, place in find_roles(found, columns, str(path)).items()}


def json_frames(path: Path, keys: Mapping[str, str]) -> Frames:
    """
    The rows, with the *keys* for each role; a number is the text of it, so that ids may be numbers here and text there.

    Raises:
        BadInput: a line is no object, or holds something else than text and numbers for a role.
    """
    fields = {key: f"field_{number}" for number, key in enumerate(dict.fromkeys(keys.values()))}
    typed: list[Any] = [(field, Cell, None) for field in fields.values()]
    row_type: Any = msgspec.defstruct("Row", typed, rename={field: key for key, field in fields.items()})
    decoder = msgspec.json.Decoder(row_type)
    rows = 0
    for block, size in whole_lines(chunks(path), str(path)):
        try:
            found = decoder.decode_lines(block)
        except MALFORMED as error:
            raise BadInput(_broken_line(path, block, decoder, rows, error)) from None
        rows += len(found)
        yield (
            pl.DataFrame({role: _texts([getattr(row, fields[key]) for row in found]) for role, key in keys.items()}),
            size,
        )


def _texts(cells: list[Cell]) -> pl.Series:
    if not set(map(type, cells)) <= {str}:
        cells = ["" if cell is None else str(cell) for cell in cells]
    return pl.Series(cells, dtype=pl.String)


def _broken_line(path: Path, block: bytes, decoder: Any, rows: int, error: Exception) -> str:
    for line in block.split(b"\n"):
        if line.strip():
            rows += 1
            try:
                decoder.decode(line)
            except MALFORMED as its:
                return _no_object(path, rows, its)
    return _no_object(path, rows, error)


def _no_object(path: Path, row: int, error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"{path} is not UTF-8 in data row {row:,}; convert it to UTF-8"
    return f"{path} has no object of text and numbers in data row {row:,}: {first_line(error)}; correct the line"
