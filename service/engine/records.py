"""
The records of items: the JSON of each, ready in a memory-mapped file, so that an answer is a join of slices.

A record has the fields that are the same in every answer, without braces: `"id":"...","name":"...","artist":...`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, Self

import numpy as np
import orjson
from numpy.typing import NDArray

from service.engine.catalogue import Catalogue
from service.engine.items import Fields, Kind, Record

Ints = NDArray[np.int32]


class Records(Protocol):
    """The records of all items of one kind."""

    def read(self, rows: Sequence[int]) -> tuple[Sequence[Record], Sequence[int]]:
        """Return the record and the popularity of the item of each of *rows*."""


@dataclass(frozen=True)
class MappedRecords:
    """
    Records in arrays.

    Attributes:
        offsets: int64, shape (n_items + 1,). Item i has `texts[offsets[i]:offsets[i + 1]]`.
        texts: uint8, shape (n_bytes,). UTF-8.
        popularity: int32, shape (n_items,). The number of playlists with each item.
    """

    offsets: NDArray[np.int64]
    texts: NDArray[np.uint8]
    popularity: Ints

    @classmethod
    def of(cls, fields: Iterable[Fields], popularity: Ints) -> Self:
        """Return the records of items with these *fields*."""
        texts, ends = bytearray(), [0]
        for each in fields:
            texts += record(each)
            ends.append(len(texts))
        return cls(np.array(ends, np.int64), np.frombuffer(texts, np.uint8), popularity)

    @classmethod
    def open(cls, arrays: Mapping[str, NDArray[Any]], kind: Kind) -> Self:
        """Return the records of *kind* in *arrays*, as `arrays` names them."""
        return cls(*(arrays[f"{kind}_{name}"] for name in ("record_offsets", "records", "popularity")))

    def arrays(self, kind: Kind) -> dict[str, NDArray[Any]]:
        """Return the arrays by the names of their files."""
        named: dict[str, NDArray[Any]] = {
            "record_offsets": self.offsets,
            "records": self.texts,
            "popularity": self.popularity,
        }
        return {f"{kind}_{name}": array for name, array in named.items()}

    def read(self, rows: Sequence[int]) -> tuple[Sequence[Record], Sequence[int]]:
        places = np.asarray(rows, np.int64)
        starts, stops = self.offsets[places].tolist(), self.offsets[places + 1].tolist()
        texts = self._view
        return [texts[start:stop] for start, stop in zip(starts, stops, strict=True)], self.popularity[places].tolist()

    @cached_property
    def _view(self) -> memoryview:
        return self.texts.data


@dataclass(frozen=True)
class CatalogueRecords:
    """Records read from the catalogue, for a version of format 3 or older."""

    catalogue: Catalogue
    kind: Kind

    def read(self, rows: Sequence[int]) -> tuple[Sequence[Record], Sequence[int]]:
        found = self.catalogue.fields(self.kind, rows)
        return [record(found[row][0]) for row in rows], [found[row][1] for row in rows]


def fields_of(record_: Record) -> dict[str, Any]:
    """Return the fields of an item with this record."""
    fields: dict[str, Any] = orjson.loads(b"".join((b"{", record_, b"}")))
    return fields


def record(fields: Fields) -> bytes:
    """Return the record of an item with these *fields*."""
    return orjson.dumps(fields)[1:-1]
