"""Tables as JSON lines: one object a row; keys without a role may hold anything."""

from collections.abc import Mapping
from typing import Any

import msgspec
import polars as pl

from trainer.errors import BadInput
from trainer.sources.chunked_files import BYTE_ORDER_MARK, HEAD_BYTES, Chunks, Frames, Head, first_line, whole_lines
from trainer.sources.columns import find_roles

HEAD_LINES = 1000
MALFORMED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

Cell = str | int | float | None


def is_json_lines(text: bytes, named_so: bool) -> bool:
    """
    Tell JSON lines from a slice of the Million Playlist Dataset, which is one object with playlists.

    Args:
        text: the beginning of a file, from its first `{` on.
        named_so: the name of the file ends like those of JSON lines.
    """
    line, _, rest = text.partition(b"\n")
    try:
        first = msgspec.json.decode(line)
    except MALFORMED:
        return named_so and line.strip() != b"{"
    return "playlists" not in first and (named_so or rest.lstrip().startswith(b"{"))


def find_keys(head: Head, columns: Mapping[str, str] | None) -> dict[str, str]:
    """
    Find the key for each role in the first lines.

    Raises:
        NotData: there are no lines, or their keys are not those of a table.
        BadInput: a line is not an object, or two keys fit one role.
    """
    head.check_not_empty("One JSON object a line")
    lines = [line for line in head.text.split(b"\n") if line.strip()][:HEAD_LINES]
    if len(head.text) >= HEAD_BYTES - len(BYTE_ORDER_MARK) and len(lines) > 1:
        lines.pop()  # it may be broken off
    keys: dict[str, None] = {}
    for row, line in enumerate(lines, 1):
        try:
            keys.update(dict.fromkeys(msgspec.json.decode(line, type=dict[str, msgspec.Raw])))
        except MALFORMED as error:
            raise _bad_row(str(head.path), row, error) from None
    names = list(keys)
    return {role: names[place] for role, place in find_roles(names, columns, str(head.path)).items()}


def json_frames(chunks: Chunks, keys: Mapping[str, str], name: str) -> Frames:
    """
    Yield the rows with the key for each role, as text; numbers become their text, so that 7 and "7" are one id.

    Raises:
        BadInput: a line is not an object, or holds something else than text and numbers for a role.
    """
    fields = {key: f"field_{number}" for number, key in enumerate(dict.fromkeys(keys.values()))}
    typed: list[Any] = [(field, Cell, None) for field in fields.values()]
    row_type: Any = msgspec.defstruct("Row", typed, rename={field: key for key, field in fields.items()})
    decoder = msgspec.json.Decoder(row_type)
    rows = 0
    for block, size in whole_lines(chunks, name):
        try:
            found = decoder.decode_lines(block)
        except MALFORMED as error:
            raise _first_bad_row(name, block, decoder, rows, error) from None
        rows += len(found)
        columns = {role: _texts([getattr(row, fields[key]) for row in found]) for role, key in keys.items()}
        yield pl.DataFrame(columns), size


def _texts(cells: list[Cell]) -> pl.Series:
    if not set(map(type, cells)) <= {str}:
        cells = ["" if cell is None else str(cell) for cell in cells]
    return pl.Series(cells, dtype=pl.String)


def _first_bad_row(name: str, block: bytes, decoder: Any, rows: int, error: Exception) -> BadInput:
    """Decode *block* line by line to find the row of *error*; *rows* rows were before it."""
    lines = (line for line in block.split(b"\n") if line.strip())
    for row, line in enumerate(lines, rows + 1):
        try:
            decoder.decode(line)
        except MALFORMED as cause:
            return _bad_row(name, row, cause)
    return _bad_row(name, rows + 1, error)


def _bad_row(name: str, row: int, error: Exception) -> BadInput:
    if isinstance(error, UnicodeDecodeError):
        return BadInput(f"cannot read {name}: data row {row:,} is not UTF-8. Convert the file to UTF-8.")
    return BadInput(
        f"cannot read {name}: data row {row:,} is not a JSON object of text and numbers ({first_line(error)}). "
        f"Correct the line."
    )
