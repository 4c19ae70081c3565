"""Texts of ids and names: blanks and quotes around them, texts for missing values, and numbers that are ids."""

import polars as pl

from service.engine import bare_id
from trainer.errors import BadInput
from trainer.sources.columns import ROLE_SHOWN
from trainer.sources.headers import IDS, NEARLY_ALL

# Texts that databases and programs write for a missing id. None is not among them: artists are called so.
NULL = "\\N"
MISSING = (NULL, "NULL", "null", "nan", "NaN", "<NA>")

# Beyond these, floats do not hold every whole number.
LARGEST_WHOLE, LARGEST_WHOLE_32 = 2**53, 2**24
WHOLE_FLOAT = r"^(-?\d+\.\d*(?:[eE]\+?\d+)?)$"


class LostDigits(ValueError):
    """A float that is too large to hold every digit of an id."""


def number_text(number: float) -> str:
    """
    Return *number* as the text of an id: 7.0 and 7 are one id.

    Raises:
        LostDigits: it is a float that lost digits.
    """
    if isinstance(number, float) and abs(number) > LARGEST_WHOLE:
        raise LostDigits(f"a float that lost digits, {number!r}")
    return str(int(number) if isinstance(number, float) and number.is_integer() else number)


def number_texts(floats: pl.Series, name: str) -> pl.Series:
    """
    Return *floats* as `number_text` does.

    Args:
        floats: their name is their role.
        name: the file, for messages.

    Raises:
        BadInput: some lost digits.
    """
    most = LARGEST_WHOLE_32 if floats.dtype == pl.Float32 else LARGEST_WHOLE
    lossy = floats.filter(floats.abs() > most)
    if len(lossy):
        raise lost_digits(name, floats.name, lossy[0])
    whole = floats.cast(pl.Int64, strict=False)
    return whole.cast(pl.String).zip_with(whole == floats, floats.cast(pl.String))


def lost_digits(name: str, role: str, number: float) -> BadInput:
    """Return the error for a *number* that lost digits, an id of *role* in the file *name*."""
    return BadInput(
        f"cannot read {name}: its {ROLE_SHOWN.get(role, role)} ids became floats and lost digits, such as {number!r}. "
        f"Write them as whole numbers or as text."
    )


def are_floats(ids: pl.Series) -> bool:
    """Return True if nearly all *ids* are whole numbers with a decimal point: a column of them became floats."""
    distinct = ids.unique()
    distinct = distinct.filter(distinct != "")
    floats = _floats(distinct)
    return len(distinct) > 0 and (floats == floats.floor()).fill_null(False).sum() >= NEARLY_ALL * len(distinct)


def without_points(ids: pl.Series, name: str) -> pl.Series:
    """Return *ids* with whole numbers in place of those with a decimal point; raise BadInput if some lost digits."""
    floats = _floats(ids)
    return ids.zip_with(floats.is_null(), number_texts(floats, name))


def bare(column: pl.Series) -> pl.Series:
    """
    Return *column* as text without blanks around it; ids also without quotes and texts for missing values.

    Args:
        column: text or whole numbers; its name is its role.
    """
    if column.dtype != pl.String:
        return column.cast(pl.String).fill_null("")
    is_id = column.name in IDS
    if not _has_plain_ends(column):
        column = column.str.strip_chars()
        if is_id and column.str.starts_with('"').any():
            column = column.map_elements(bare_id, pl.String)
    missing = column.is_in(MISSING if is_id else [NULL])
    return column.set(missing, "") if missing.any() else column


def _has_plain_ends(texts: pl.Series) -> bool:
    """Return True if all *texts* begin and end in ASCII characters other than blanks and quotes; quick, as most do."""
    last = texts.str.tail(1)
    plain = (texts >= "#") & (texts < "\x7f") & (last > " ") & (last < "\x7f")
    return bool((plain | (texts == "")).all())


def _floats(ids: pl.Series) -> pl.Series:
    return ids.str.extract(WHOLE_FLOAT).cast(pl.Float64, strict=False)
