"""
Filters: conditions on the attributes of tracks, as masks over the rows of one version.

A filter is a mapping from attributes to conditions, all of which hold: `{"year": {"gte": 2015}, "explicit": false,
"genres": {"any": ["jazz"]}, "artist": {"none": ["Drake"]}}`. A value alone stands for equality. A track without a value
fulfils no condition on it but `none`, `exists: false` and `ne`.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import ge, gt, le, lt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.engine.allowed import tracks_of
from service.engine.artifacts import Artifacts
from service.engine.attributes import Column, Type
from service.engine.errors import BadFilter
from service.engine.items import Kind
from service.engine.records import MappedRecords

Mask = NDArray[np.bool_]
Where = Mapping[str, Any]

COMPARISONS: Mapping[str, Callable[[Any, Any], Any]] = {"gt": gt, "gte": ge, "lt": lt, "lte": le}
OPERATORS: Mapping[str, Sequence[str]] = {
    "number": ("eq", "ne", *COMPARISONS, "any", "none", "exists"),
    "boolean": ("eq", "ne", "exists"),
    "text": ("eq", "ne", "any", "none", "exists"),
    "texts": ("eq", "ne", "any", "all", "none", "exists"),
}
LISTS = ("any", "all", "none")
MOST_CACHED = 16
MOST_VALUES, MOST_OF_ALL, MOST_SHOWN = 1000, 20, 100
LONGEST = 100_000  # characters of a filter


@dataclass(frozen=True)
class Artists:
    """The artists of tracks as an attribute, by id or name."""

    artifacts: Artifacts
    name: str = "artist"
    type: Type = "text"

    def known(self) -> Mask:
        """Return whether each track has an artist."""
        return np.asarray(self.artifacts.space.track_artists >= 0)

    def holds(self, texts: Sequence[str]) -> Mask:
        """Return whether each track is by one of the artists *texts*, ids or names."""
        rows, _ = self.artifacts.catalogue.rows("artists", texts)
        return tracks_of(rows, self.artifacts.space)


@dataclass(frozen=True)
class Filters:
    """
    The filters of one version.

    Attributes:
        n_tracks: the number of its tracks.
        columns: their attributes, by name.
        cached: masks that were asked for, the last one last, by the JSON of their filters.
    """

    n_tracks: int
    columns: Mapping[str, "Column | Artists"]
    cached: dict[str, Mask]

    @classmethod
    def of(cls, artifacts: Artifacts) -> "Filters":
        """Return the filters of a version: by its attributes, the artist, and the number of playlists of a track."""
        columns: dict[str, Column | Artists] = {**artifacts.attributes, "artist": Artists(artifacts)}
        records = artifacts.records["tracks"]
        if isinstance(records, MappedRecords):  # older versions have no such array
            columns["playlists"] = Column("playlists", "number", records.popularity)
        return cls(artifacts.space.n_tracks, columns, {})

    def mask(self, kind: Kind, where: Where) -> Mask:
        """
        Return whether each track passes *where*, bool, shape (n_tracks,).

        Raises:
            BadFilter: it is none of this version, or *kind* is not that of tracks.
        """
        if kind != "tracks":
            raise BadFilter("a filter is about tracks, and artists are asked for; leave `where` out")
        key = _key(where)
        mask = self.cached.pop(key, None)
        if mask is None:
            mask = np.ones(self.n_tracks, np.bool_)
            for name, condition in where.items():
                mask &= self._holds(name, condition)
        self.cached[key] = mask
        if len(self.cached) > MOST_CACHED:
            del self.cached[next(iter(self.cached))]
        return mask

    def show(self, kind: Kind, rows: Sequence[int], names: Sequence[str]) -> list[dict[str, Any]]:
        """
        Return the attributes *names* of each of the tracks *rows*.

        Raises:
            BadFilter: the version has none of a name, or *kind* is not that of tracks.
        """
        columns = [self._attribute(name) for name in names]
        for column in columns:
            if kind != "tracks" or not isinstance(column, Column):
                shown = ", ".join(sorted(name for name, each in self.columns.items() if isinstance(each, Column)))
                raise BadFilter(f"{kind} have no attribute {column.name!r} to show; tracks have {shown}")
        values = zip(*(column.read(rows) for column in columns if isinstance(column, Column)), strict=True)
        return [dict(zip(names, each, strict=True)) for each in values]

    def _attribute(self, name: str) -> "Column | Artists":
        column = self.columns.get(name)
        if column is None:
            raise BadFilter(f"there is no attribute {name[:100]!r}; this version has {', '.join(sorted(self.columns))}")
        return column

    def _holds(self, name: str, condition: Any) -> Mask:
        column = self._attribute(name)
        wanted = condition if isinstance(condition, Mapping) else {"eq": condition}
        if not wanted:
            raise BadFilter(f'the condition on {name!r} is empty; expected one such as {{"eq": value}}')
        held = np.ones(self.n_tracks, np.bool_)
        for operator, value in wanted.items():
            held &= _compare(column, operator, value)
        return held


def _key(where: Where) -> str:
    """
    Return *where* as text, the same for equal filters.

    Raises:
        BadFilter: it is too large, or holds what JSON does not.
    """
    try:
        key = json.dumps(where, sort_keys=True)
    except (TypeError, ValueError, RecursionError) as error:
        raise BadFilter(f"a filter is a JSON object of attributes and conditions: {error}") from None
    if len(key) > LONGEST:
        raise BadFilter(f"a filter may have {LONGEST:,} characters, and this one has {len(key):,}; use fewer values")
    return key


NO_FILTERS = Filters(0, {}, {})  # those of a version that was closed


def _compare(column: Column | Artists, operator: str, value: Any) -> Mask:
    """
    Return whether each track fulfils one condition.

    Raises:
        BadFilter: the column has no such condition, or none with such a value.
    """
    if operator not in OPERATORS[column.type]:
        raise BadFilter(
            f"{column.name!r} is of the type {column.type}, which has no condition {operator[:MOST_SHOWN]!r}; "
            f"it has {', '.join(OPERATORS[column.type])}"
        )
    if operator == "exists":
        _check(column, operator, value, isinstance(value, bool), "true or false")
        return np.asarray(column.known() == value)
    values = _values(column, operator, value)
    if operator in COMPARISONS:
        assert isinstance(column, Column)
        return np.asarray(COMPARISONS[operator](column.values, values[0]))
    if operator == "all":
        held = _is_one_of(column, values[:1])
        for each in values[1:]:
            held &= _is_one_of(column, [each])
        return held
    found = _is_one_of(column, values)
    return ~found if operator in ("ne", "none") else found


def _values(column: Column | Artists, operator: str, value: Any) -> Sequence[Any]:
    """Return the values of a condition, checked."""
    if operator in LISTS:
        most = MOST_OF_ALL if operator == "all" else MOST_VALUES
        is_list = isinstance(value, Sequence) and not isinstance(value, str) and 0 < len(value) <= most
        _check(column, operator, value, is_list, f"a list of 1 to {most:,} values")
    values = value if operator in LISTS else [value]
    for each in values:
        if column.type == "number":
            _check(column, operator, each, _is_number(each), "a number")
        elif column.type == "boolean":
            _check(column, operator, each, isinstance(each, bool), "true or false")
        else:
            _check(column, operator, each, isinstance(each, str), "a text")
    return values


def _check(column: Column | Artists, operator: str, value: Any, fits: bool, expected: str) -> None:
    if not fits:
        given = str(value)[:MOST_SHOWN]
        raise BadFilter(f"the condition {operator!r} on {column.name!r} takes {expected}, and {given!r} came")


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False


def _is_one_of(column: Column | Artists, values: Sequence[Any]) -> Mask:
    if isinstance(column, Artists) or column.words is not None:
        return column.holds(values)
    wanted = np.sort(np.array(values, np.float64))  # `np.isin` takes five times as long over many
    places = np.minimum(wanted.searchsorted(column.values), len(wanted) - 1)
    return np.asarray(wanted[places] == column.values)
