"""Tables as JSON lines: one object a row; keys without a role may hold anything."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import msgspec
import polars as pl

from trainer.sources.account import Account
from trainer.sources.chunked_files import Chunks, Frames, Head, first_line, whole_lines
from trainer.sources.columns import TRACK_OR_NAME, Columns, find_columns
from trainer.sources.delimited import NOT_UTF8
from trainer.sources.encodings import HALF_A_CHARACTER, HALF_ESCAPED, REPLACEMENT, REPLACEMENT_ESCAPED
from trainer.sources.headers import IDS
from trainer.sources.source import NotData
from trainer.sources.texts import LostDigits, lost_digits, number_text

HEAD_LINES = 1000


class BrokenId(ValueError):
    """An id with half a character. Several broken ids would become one if the halves were replaced."""


MALFORMED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, BrokenId)

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


def find_keys(head: Head, given: Mapping[str, str]) -> Columns:
    """
    Find the keys in the first lines.

    Raises:
        NotData: there are no lines, or their keys are not those of a table.
        BadInput: two keys fit one role.
    """
    head.check_not_empty("One JSON object a line")
    lines = [line for line in head.text.split(b"\n") if line.strip()][:HEAD_LINES]
    keys: dict[str, None] = {}
    for line in lines:
        with suppress(*MALFORMED):
            keys.update(
                dict.fromkeys(
                    msgspec.json.decode(HALF_ESCAPED.sub(REPLACEMENT_ESCAPED, line), type=dict[str, msgspec.Raw])
                )
            )
    if not keys:
        raise NotData(f"cannot read {head.path}: its first lines are not JSON objects. Write one object a line.")
    return find_columns(list(keys), given, str(head.path))


def json_frames(chunks: Chunks, keys: Mapping[str, str], name: str, account: Account) -> Frames:
    """
    Yield the rows with the key for each role, as text or whole numbers, so that 7 and "7" are one id.

    A line that is not an object, or holds something else than text and numbers for a role, is passed over.
    """
    fields = {key: f"field_{number}" for number, key in enumerate(dict.fromkeys(keys.values()))}
    typed: list[Any] = [(field, Cell, None) for field in fields.values()]
    row_type: Any = msgspec.defstruct("Row", typed, rename={field: key for key, field in fields.items()})
    decoder = msgspec.json.Decoder(row_type)
    by_role = {role: fields[key] for role, key in keys.items()}
    for block, size in whole_lines(chunks, name):
        yield _frame(block, decoder, by_role, name, account), size


def _frame(block: bytes, decoder: Any, fields: Mapping[str, str], name: str, account: Account) -> pl.DataFrame:
    """Return the rows in *block* with the field for each role."""
    numbers: list[int] = []
    try:
        rows = decoder.decode_lines(block)
    except MALFORMED:
        ids = [field for role, field in fields.items() if role in ("playlist", "user", "track", TRACK_OR_NAME)]
        rows = _sound_rows(block, decoder, ids, account, numbers)
    columns = {role: _column([getattr(row, field) for row in rows], role, name) for role, field in fields.items()}
    return pl.DataFrame({**columns, "row": numbers} if numbers else columns)


def _sound_rows(block: bytes, decoder: Any, ids: list[str], account: Account, numbers: list[int]) -> list[Any]:
    """Decode *block* line by line and pass over what cannot be decoded; append the number of each row to *numbers*."""
    rows = []
    lines = (line for line in block.split(b"\n") if line.strip())
    for number, line in enumerate(lines, account.records + 1):
        place = f"data row {number:,}"
        try:
            rows.append(_mended(line, decoder, ids, account, place))
            numbers.append(number)
        except MALFORMED as error:
            account.pass_over(_fault(error), place)
            account.records += 1
    return rows


def _mended(line: bytes, decoder: Any, ids: list[str], account: Account, place: str) -> Any:
    """Decode *line*, which may have halves of characters, though not in the fields of *ids*."""
    whole, n = HALF_ESCAPED.subn(REPLACEMENT_ESCAPED, line)
    row = decoder.decode(whole)
    if n and any(REPLACEMENT in str(getattr(row, field)) for field in ids):
        raise BrokenId("half a character in an id")
    if n and any(isinstance(cell, str) and REPLACEMENT in cell for cell in msgspec.structs.astuple(row)):
        account.mend(HALF_A_CHARACTER, place)
    return row


def _fault(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return NOT_UTF8
    if isinstance(error, BrokenId):
        return str(error)
    return f"not a JSON object of text and numbers, {first_line(error).partition(' (byte')[0]}"


def _column(cells: list[Cell], role: str, name: str) -> pl.Series:
    """Return *cells* as text, or as whole numbers if all are, which `bare` converts at once."""
    types = set(map(type, cells))
    if types <= {int, type(None)}:
        with suppress(OverflowError, TypeError):
            return pl.Series(role, cells, dtype=pl.Int64)
    if not types <= {str}:
        cells = [cell if isinstance(cell, str) else _text(cell, role, name) for cell in cells]
    return pl.Series(role, cells, dtype=pl.String)


def _text(cell: float | None, role: str, name: str) -> str:
    if cell is None:
        return ""
    try:
        return number_text(cell)
    except LostDigits:
        if role in (*IDS, TRACK_OR_NAME):
            raise lost_digits(name, role, cell) from None
        return str(cell)
