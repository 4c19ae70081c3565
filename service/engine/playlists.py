"""
The playlists that a version keeps, to find those that are like a new one.

Playlists are compared by all features that the solve takes: tracks, artists and title terms, each weighed by its
rarity. A version keeps a fixed random sample of its playlists, and of each feature the first of them, so that the cost
of an answer does not grow with their number. All features keep playlists in the same random order: so the samples of
two features have as many playlists in common as their size allows (a coordinated, or bottom-k, sample).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from service.engine.features import Features, Ragged, spans
from service.engine.order import falling

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]

NONE: Floats = np.empty(0, np.float32)

# The powers of the similarity of a neighbour that are its vote: of the features, and of the titles alone.
BY_FEATURES, BY_TITLES = 2, 4


@dataclass(frozen=True)
class Votes:
    """
    The items of a playlist's neighbours.

    Attributes:
        rows: int64, shape (n_items,), ascending, each once.
        sums: float32, shape (n_items,). The sum of the votes of the neighbours that have the item: powers of their
            similarities.
        similarities: float32, shape (n_neighbours,). Of all neighbours, falling.
    """

    rows: Rows
    sums: Floats
    similarities: Floats


NO_VOTES = Votes(np.empty(0, np.int64), NONE, NONE)


@dataclass(frozen=True)
class Sample:
    """
    Playlists of the training data in random order.

    Attributes:
        items: the items of each, rows of tracks or of artists.
        features: the features of each.
        frequencies: int64, shape (n_features,). The playlists with each feature among all training data.
        n_playlists: the number of these.
        titles: the title of each, as written; none if nobody compares them by their meaning.
    """

    items: Ragged
    features: Features
    frequencies: Rows
    n_playlists: int
    titles: Sequence[str] = ()

    def reordered(self, order: Rows, of_items: slice) -> "Sample":
        """
        Return the same playlists for other rows.

        Args:
            order: int64, shape (n_features,). The old row of each new one.
            of_items: the rows of the items among those of all features.
        """
        new, first = np.argsort(order).astype(np.int32), of_items.start
        return replace(
            self,
            items=replace(self.items, rows=new[self.items.rows + first] - first),
            features=replace(self.features, columns=new[self.features.columns]),
            frequencies=self.frequencies[order],
        )


@dataclass(frozen=True)
class Playlists:
    """
    Kept playlists, by their items and by their features.

    Attributes:
        item_offsets: int64, shape (n_playlists + 1,). Playlist i has `items[item_offsets[i]:item_offsets[i + 1]]`.
        items: int32. Rows of tracks, or of artists.
        offsets: int64, shape (n_features + 1,). Feature i has the playlists `rows[offsets[i]:offsets[i + 1]]`.
        rows: int32. Rows of playlists, ascending for each feature.
        weights: float32. The weight of the feature in each of these playlists.
        rarity: float32, shape (n_features,). log(n / n with the feature), over all playlists of the training data.
    """

    item_offsets: NDArray[np.int64]
    items: NDArray[np.int32]
    offsets: NDArray[np.int64]
    rows: NDArray[np.int32]
    weights: Floats
    rarity: Floats

    @classmethod
    def of(cls, sample: Sample, postings: int) -> Self:
        """
        Keep the playlists of *sample*, and of each feature the first *postings* of them.

        A playlist is the vector of its strengths times rarities, divided by the square root of its length. The full
        length would favour short playlists, and none would favour long ones.
        """
        rarity = np.log(sample.n_playlists / np.maximum(sample.frequencies, 1)).astype(np.float32)
        features, shape = sample.features, (len(sample.items), len(rarity))
        vectors = csr_matrix((features.strengths, features.columns, features.offsets), shape=shape)
        vectors.data = vectors.data * rarity[vectors.indices]
        lengths = np.sqrt(np.asarray(vectors.multiply(vectors).sum(axis=1)).ravel())
        vectors.data /= np.repeat(np.sqrt(np.where(lengths > 0, lengths, 1)), np.diff(vectors.indptr))
        columns = vectors.T.tocsr()  # the rows of each ascend
        counts = np.minimum(np.diff(columns.indptr), postings)
        places = spans(columns.indptr[:-1], counts)
        return cls(
            sample.items.offsets,
            sample.items.rows.astype(np.int32),
            np.concatenate(([0], np.cumsum(counts))),
            columns.indices[places].astype(np.int32),
            columns.data[places].astype(np.float32),
            rarity,
        )

    @classmethod
    def open(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Return the playlists in *arrays*, as `arrays` names them."""
        return cls(**{name: arrays[f"playlists_{name}"] for name in cls.__dataclass_fields__})

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays by the names of their files."""
        return {f"playlists_{name}": array for name, array in vars(self).items()}

    def vote(self, columns: NDArray[np.int32], strengths: Floats, n_neighbours: int) -> Votes:
        """
        Let the playlists nearest to another one vote for their items.

        Args:
            columns: int32, shape (n,). The features of that playlist.
            strengths: float32, shape (n,). Their strengths.
            n_neighbours: number of playlists, at most. They have a feature in common with it.
        """
        return self.count(*self._nearest(columns, strengths, n_neighbours), BY_FEATURES)

    def count(self, neighbours: Rows, similarities: Floats, power: int) -> Votes:
        """
        Count the votes of *neighbours* for their items.

        Args:
            neighbours: int64, shape (n,). Rows of playlists.
            similarities: float32, shape (n,). Falling.
            power: the power of a similarity that is a vote.
        """
        starts = self.item_offsets[neighbours]
        lengths = self.item_offsets[neighbours + 1] - starts
        numbers = np.repeat(np.arange(len(neighbours)), lengths)
        items, firsts, voters = _grouped(self.items[spans(starts, lengths)], numbers)
        return Votes(
            items, np.add.reduceat(similarities[voters] ** power, firsts) if len(items) else NONE, similarities
        )

    def holders(
        self, columns: NDArray[np.int32], strengths: Floats, n_neighbours: int, items: Rows, seeds: Sequence[int]
    ) -> tuple[int, list[int], list[int]]:
        """
        Look for *items* in the playlists nearest to another one.

        Args:
            columns, strengths, n_neighbours: as in `vote`.
            items: int64, shape (n_items,).
            seeds: the items of that playlist.

        Returns:
            The number of these neighbours; for each of *items* the number of them that have it, and the median number
            of *seeds* in those.
        """
        neighbours, _ = self._nearest(columns, strengths, n_neighbours)
        starts = self.item_offsets[neighbours]
        lengths = self.item_offsets[neighbours + 1] - starts
        held, owners = self.items[spans(starts, lengths)], np.repeat(np.arange(len(neighbours)), lengths)
        shared = np.bincount(owners[np.isin(held, seeds)], minlength=len(neighbours))
        of_items = [owners[held == item] for item in items.tolist()]
        medians = [int(np.median(shared[each])) if len(each) else 0 for each in of_items]
        return len(neighbours), [len(each) for each in of_items], medians

    def _nearest(self, columns: NDArray[np.int32], strengths: Floats, n_neighbours: int) -> tuple[Rows, Floats]:
        """Return rows of the nearest playlists, at most *n_neighbours*, and their similarities, falling."""
        weights = strengths * self.rarity[columns]
        weights /= np.linalg.norm(weights) or 1
        starts = self.offsets[columns]
        lengths = self.offsets[columns + 1] - starts
        places = spans(starts, lengths)
        rows, firsts, order = _grouped(self.rows[places], np.arange(len(places)))
        if not len(rows):
            return np.empty(0, np.int64), NONE
        products = self.weights[places] * np.repeat(weights, lengths)
        similarities = np.add.reduceat(products[order], firsts)
        nearest = falling(similarities)[:n_neighbours]  # `rows` ascend
        nearest = nearest[similarities[nearest] > 0]
        return rows[nearest], similarities[nearest]


def _grouped(keys: NDArray[np.int32], values: Rows) -> tuple[Rows, Rows, Rows]:
    """
    Group *values* by *keys*.

    Args:
        keys: int32, shape (n,), 0 or more.
        values: int64, shape (n,), from 0 up to 2**32.

    Returns:
        The distinct keys, ascending; the place of the first value of each; and the values by key, then ascending.
    """
    packed = np.sort(keys.astype(np.int64) << 32 | values)  # far faster than `argsort`
    grouped = packed >> 32
    firsts = np.flatnonzero(np.diff(grouped, prepend=-1))
    return grouped[firsts], firsts, packed & 0xFFFFFFFF
