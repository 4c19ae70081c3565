"""
Attributes: columns of what a catalogue says of tracks beside their names, to filter by and to show.

A column is memory-mapped. Texts are numbers of words in a list that is sorted by their folded form, so that a filter
finds a word in any spelling without reading all of them.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from service.engine.features import spans
from service.engine.text import fold

Mask = NDArray[np.bool_]
Rows = NDArray[np.int64]
Type = Literal["number", "boolean", "text", "texts"]
MISSING = -1  # of a boolean, and of a text
EXACT = 2**53  # larger numbers are shown as floats


@dataclass(frozen=True)
class Words:
    """
    The distinct texts of a column, by their folded form.

    Attributes:
        texts: uint8, shape (n_bytes,). UTF-8, end to end.
        offsets: int64, shape (n_words + 1,). Word i is `texts[offsets[i]:offsets[i + 1]]`.
    """

    texts: NDArray[np.uint8]
    offsets: NDArray[np.int64]

    @classmethod
    def of(cls, words: Sequence[str]) -> Self:
        """Return *words*, which are sorted by `(fold(word), word)`."""
        encoded = [word.encode() for word in words]
        ends = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
        return cls(np.frombuffer(b"".join(encoded), np.uint8), ends)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, number: int) -> str:
        return self.texts[self.offsets[number] : self.offsets[number + 1]].tobytes().decode()

    def find(self, text: str) -> range:
        """Return the numbers of the words that fold as *text* does."""
        folded = fold(text)
        return range(bisect_left(self, folded, key=fold), bisect_right(self, folded, key=fold))


@dataclass(frozen=True)
class Column:
    """
    One attribute of all tracks.

    Attributes:
        name: its name.
        type: the type of its values.
        values: float64, shape (n_tracks,), NaN where it is missing; or int8, 1, 0 or -1; or int32, numbers of words, -1
            where it is missing; or, of type `texts`, int32, shape (n_entries,).
        words: its words; None without texts.
        offsets: int64, shape (n_tracks + 1,). Track i has `values[offsets[i]:offsets[i + 1]]`; None but for `texts`.
    """

    name: str
    type: Type
    values: NDArray[Any]
    words: Words | None = None
    offsets: NDArray[np.int64] | None = None

    @classmethod
    def open(cls, arrays: Mapping[str, NDArray[Any]], number: int, described: Mapping[str, Any]) -> Self:
        """Return the column *number* in *arrays*, as `arrays` names them, *described* as `describe` does."""
        prefix = f"attribute_{number}"
        words = f"{prefix}_words"
        return cls(
            described["name"],
            described["type"],
            arrays[prefix],
            Words(arrays[words], arrays[f"{words}_offsets"]) if words in arrays else None,
            arrays.get(f"{prefix}_offsets"),
        )

    def arrays(self, number: int) -> dict[str, NDArray[Any]]:
        """Return the arrays by the names of their files."""
        prefix = f"attribute_{number}"
        named = {prefix: self.values}
        if self.words is not None:
            named |= {f"{prefix}_words": self.words.texts, f"{prefix}_words_offsets": self.words.offsets}
        return named if self.offsets is None else named | {f"{prefix}_offsets": self.offsets}

    def describe(self) -> dict[str, Any]:
        """Return its name, its type and the sizes of its arrays, for the manifest."""
        sizes = {"entries": len(self.values)}
        if self.words is not None:
            sizes |= {"words": len(self.words), "bytes": len(self.words.texts)}
        return {"name": self.name, "type": self.type, **sizes}

    def take(self, rows: Rows) -> "Column":
        """Return the column of the tracks *rows*."""
        if self.offsets is None:
            return replace(self, values=self.values[rows])
        lengths = self.offsets[rows + 1] - self.offsets[rows]
        values = self.values[spans(self.offsets[rows], lengths)]
        return replace(self, values=values, offsets=np.concatenate(([0], np.cumsum(lengths))))

    def read(self, rows: Sequence[int]) -> list[Any]:
        """Return the value of each of *rows*: a number, a boolean, a text, a list of texts, or None."""
        if self.offsets is not None and self.words is not None:
            words = self.words
            slices = (self.values[self.offsets[row] : self.offsets[row + 1]].tolist() for row in rows)
            return [[words[number] for number in numbers] for numbers in slices]
        found = self.values[list(rows)].tolist()
        if self.words is not None:
            return [None if number == MISSING else self.words[number] for number in found]
        if self.type == "boolean":
            return [None if value == MISSING else bool(value) for value in found]
        return list(map(_shown, found))

    def known(self) -> Mask:
        """Return whether each track has a value."""
        if self.offsets is not None:
            return np.asarray(np.diff(self.offsets) > 0)
        return np.asarray(~np.isnan(self.values) if self.type == "number" else self.values != MISSING)

    def holds(self, texts: Sequence[str]) -> Mask:
        """Return whether each track has one of *texts*, in any spelling that folds alike."""
        assert self.words is not None
        wanted = np.zeros(len(self.words) + 1, np.bool_)  # the last for -1
        for text in texts:
            found = self.words.find(text)
            wanted[found.start : found.stop] = True
        if self.offsets is None:
            return np.asarray(wanted[self.values])
        held = np.zeros(len(self.offsets) - 1, np.bool_)
        held[self.offsets.searchsorted(np.flatnonzero(wanted[self.values]), "right") - 1] = True
        return held


def column_shapes(n_tracks: int, columns: Sequence[Mapping[str, Any]]) -> dict[str, tuple[int, ...]]:
    """Return the name and shape of each array of *columns*, described as `Column.describe` does."""
    shapes: dict[str, tuple[int, ...]] = {}
    for number, column in enumerate(columns):
        prefix = f"attribute_{number}"
        shapes[prefix] = (column["entries"],)
        if "words" in column:
            shapes |= {f"{prefix}_words": (column["bytes"],), f"{prefix}_words_offsets": (column["words"] + 1,)}
        if column["type"] == "texts":
            shapes[f"{prefix}_offsets"] = (n_tracks + 1,)
    return shapes


def _shown(value: float) -> float | None:
    """Return a number as JSON shows it: None if it is missing, and an integer if it is one exactly."""
    if value != value:
        return None
    return int(value) if abs(value) < EXACT and value == int(value) else value
