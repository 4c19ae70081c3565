"""Texts and numbers as the report shows them."""

import html
import math
import re
from datetime import datetime
from typing import Any

# Control characters, halves of surrogate pairs, and characters that change the direction of the text around them.
UNWANTED = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]+")

# The name of a measure in a chart and in a table, and its meaning.
MEASURES = {
    "ndcg": ("NDCG", "NDCG", "How near the top the hidden ones are. 1 is perfect."),
    "r_precision": ("R-precision", "R-prec.", "The share of hits among the first n answers, for n hidden ones."),
    "r_precision_artist": ("R-precision with artists", "+ artist", "As R-precision, with a quarter for the artist."),
    "clicks": ("Clicks", "Clicks", "Pages of ten before the first hit. Lower is better."),
    "precision_at_10": ("Precision at 10", "Prec. 10", "The share of hidden ones among the first ten answers."),
    "ndcg_at_10": ("NDCG at 10", "NDCG 10", "As NDCG, for the first ten answers alone."),
    "coverage": ("Coverage", "Cover", "The share of the catalogue that appears in any answer."),
}


def text(value: object, most: int = 80) -> str:
    """Return *value* as printable text of at most *most* characters."""
    clean = " ".join(UNWANTED.sub(" ", str(value)).split()) or "(no name)"
    return clean if len(clean) <= most else f"{clean[: most - 1].rstrip()}…"


def label(value: object, most: int) -> str:
    """Return `text` for a chart, where plotly interprets tags and the entities of these three characters."""
    return html.escape(text(value, most), quote=False)


def measure_name(measure: str, short: bool = False) -> str:
    """Return the name of *measure* for a chart, or a *short* one for a table."""
    return MEASURES[measure][short] if measure in MEASURES else text(measure.replace("_", " "), 24)


def measure_value(value: float | None, measure: str) -> str:
    """Return a value of *measure*."""
    if measure == "coverage" and value is not None:
        return percent(value)
    return _number(value, ".2f") if measure == "clicks" else decimal(value)


def finite(value: Any, default: Any = None) -> Any:
    """Return *value* if it is a number that JSON and a chart can hold, otherwise *default*."""
    return value if isinstance(value, int | float) and math.isfinite(value) else default


def count(value: float) -> str:
    """Return a whole number, such as 1,234."""
    return _number(value, ",.0f")


def decimal(value: float | None, places: int = 4) -> str:
    """Return a share such as .2412."""
    return re.sub(r"^(\W?)0\.", r"\1.", _number(value, f".{places}f"))


def cosine(value: float) -> str:
    """Return a cosine such as .91."""
    return decimal(value, 2)


def percent(share: float) -> str:
    """Return a share as 12.3 %."""
    return f"{_number(100 * share, '.1f')}\N{NO-BREAK SPACE}%"


def change(share: float) -> str:
    """Return a relative change as +1.2 %."""
    return f"{_number(100 * share, '+.1f')}\N{NO-BREAK SPACE}%"


def plain(value: float | str) -> str:
    """Return a number of the configuration with all its digits, or its text."""
    return _number(value, ",.10g") if isinstance(value, int | float) else text(value)


def duration(seconds: float) -> str:
    """Return a time in the units that suit it."""
    if not seconds >= 59.5 or math.isinf(seconds):
        return f"{_number(seconds, '.2g' if seconds < 9.95 else '.0f')} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"


def milliseconds(value: float) -> str:
    """Return a short time, such as 0.35 ms."""
    return f"{value:.2g} ms"


def mib(value: float) -> str:
    """Return a size of memory."""
    return f"{count(value)} MiB"


def moment(iso: str) -> str:
    """Return a time of ISO 8601 as a date and a time of day."""
    try:
        return f"{datetime.fromisoformat(iso):%-d %B %Y, %H:%M %Z}".strip()
    except ValueError:
        return text(iso)


def _number(value: float | None, form: str) -> str:
    return "-" if value is None or not math.isfinite(value) else format(value, form).replace("-", "\N{MINUS SIGN}")
