"""
Writing a trained model as the files of one version.

`docs/artifacts.md` lists each file with its dtype, shape and meaning.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import repeat
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from service.engine.attributes import Column
from service.engine.catalogue import CATALOGUE, write_catalogue
from service.engine.codes import even_axes
from service.engine.encoder import installed_encoder
from service.engine.exact import RankingVectors, ranking_vectors
from service.engine.files import write_array
from service.engine.foldin import gram_matrix
from service.engine.inputs import INPUTS
from service.engine.items import KINDS, Fields, Kind, item_fields
from service.engine.manifest import ATTRIBUTES, PLAYLISTS, RANKER, TITLES, Manifest, Shape, describe_files
from service.engine.neighbours import NeighbourIndex
from service.engine.playlists import Playlists, Sample
from service.engine.ranker import Ranker
from service.engine.records import MappedRecords
from service.engine.text import normalize_title
from service.engine.titles import Titles

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class ItemTable:
    """
    All tracks or all artists of a model.

    Attributes:
        ids, names: one for each item.
        popularity: int32, shape (n_items,). The number of playlists with each.
    """

    ids: Sequence[str]
    names: Sequence[str]
    popularity: Ints

    def take(self, rows: Rows) -> Self:
        """Return the items in the order of *rows*."""
        ids, names = [self.ids[row] for row in rows], [self.names[row] for row in rows]
        return replace(self, ids=ids, names=names, popularity=self.popularity[rows])

    @cached_property
    def by_popularity(self) -> Rows:
        """The rows by falling popularity, then by id."""
        return np.lexsort((_ranks(self.ids), -self.popularity))

    def by_norm(self, vectors: Floats) -> Rows:
        """Return the rows by falling norm of *vectors*, then by falling popularity, then by id."""
        return np.lexsort((_ranks(self.ids), -self.popularity, -np.linalg.norm(vectors, axis=1)))


@dataclass(frozen=True)
class Model:
    """
    A trained model in memory, its rows in any order.

    Attributes:
        vectors: float32, shape (n_features, n_factors). One for each column of the training matrix.
        items: the tracks and the artists.
        track_artists: int32, shape (n_tracks,). The artist's row of each track, -1 if it has none.
        words, grams: the title terms of full and of lesser weight.
        numbers: every number that changes an answer.
        data, training, libraries: for the manifest.
        sample: some of the playlists; None if none are kept.
        ranker: the ranker; None for none.
        attributes: what a catalogue says of the tracks.
    """

    vectors: Floats
    items: Mapping[Kind, ItemTable]
    track_artists: Ints
    words: Sequence[str]
    grams: Sequence[str]
    numbers: Mapping[str, Any]
    data: Mapping[str, Any]
    training: Mapping[str, Any]
    libraries: Mapping[str, str]
    sample: Sample | None = None
    ranker: Ranker | None = None
    attributes: Sequence[Column] = ()

    @property
    def titled(self) -> bool:
        """True if playlists are kept with titles to compare by their meaning."""
        return self.sample is not None and any(map(normalize_title, self.sample.titles))

    @property
    def shape(self) -> Shape:
        """The sizes of its arrays, without those of the optional parts."""
        tracks, artists = (len(self.items[kind].ids) for kind in KINDS)
        return Shape(tracks, artists, len(self.words), len(self.grams), self.vectors.shape[1])

    def ranking(self, kind: Kind) -> Floats:
        """Return the vectors that rank items of *kind*: z of tracks, y of artists."""
        if kind == "tracks":
            return ranking_vectors(self.vectors, self.track_artists, self.numbers["beta"])
        return self.vectors[self.shape.rows(kind)]


def write_version(directory: Path, version: str, created_at: str, model: Model) -> Manifest:
    """
    Write *model* as the files of one version into *directory*, which is empty.

    Tracks are written by falling |z|, artists by falling |y|, then by popularity, then by id. The axes of all vectors
    are rotated so that they carry about as much, which changes no inner product.

    Returns:
        The manifest, which is written too.
    """
    model = _in_file_order(model)
    shape = _write_arrays(directory, model)
    parts = {ATTRIBUTES: model.attributes, PLAYLISTS: model.sample, RANKER: model.ranker, TITLES: model.titled}
    numbers = dict(model.numbers)
    if model.ranker is not None:
        numbers["ranker_inputs"] = INPUTS
    if model.titled:
        numbers["title_encoder"] = installed_encoder()
    rows = _track_rows(model), _artist_rows(model)
    with ThreadPoolExecutor(1) as beside:  # SQLite takes one core, and Annoy the others
        catalogue = beside.submit(write_catalogue, directory / CATALOGUE, *rows, model.words, model.grams)
        for kind in KINDS:
            numbers |= _write_index(directory, kind, model)
        catalogue.result()
    manifest = Manifest(
        version=version,
        created_at=created_at,
        shape=shape,
        numbers=numbers,
        data=model.data,
        training=model.training,
        metrics={},
        libraries=model.libraries,
        files=describe_files(directory),
        parts=[part for part, has in parts.items() if has],
    )
    manifest.write(directory)
    return manifest


def amend_version(directory: Path, training: Mapping[str, Any], metrics: Mapping[str, Any] | None = None) -> Manifest:
    """
    Add new files and facts to the manifest of the version in *directory*.

    Args:
        directory: a version that is not published yet.
        training: facts to add to those about the training.
        metrics: metrics that replace those of the manifest; None to keep them.

    Returns:
        The manifest, which is written too.
    """
    manifest = Manifest.read(directory)
    amended = replace(
        manifest,
        files=describe_files(directory, manifest.files),
        training={**manifest.training, **training},
        metrics=manifest.metrics if metrics is None else metrics,
    )
    amended.write(directory)
    return amended


def _in_file_order(model: Model) -> Model:
    model = replace(model, vectors=model.vectors @ even_axes(model.vectors.shape[1]))
    tracks, artists = (model.items[kind].by_norm(model.ranking(kind)) for kind in KINDS)
    # The last element stands for 'no artist', which is row -1.
    new_artists = np.append(np.argsort(artists), -1).astype(np.int32)
    terms = np.arange(len(tracks) + len(artists), len(model.vectors))
    order = np.concatenate((tracks, len(tracks) + artists, terms))
    return replace(
        model,
        vectors=model.vectors[order],
        items={"tracks": model.items["tracks"].take(tracks), "artists": model.items["artists"].take(artists)},
        track_artists=new_artists[model.track_artists[tracks]],
        attributes=[column.take(tracks) for column in model.attributes],
        sample=None if model.sample is None else model.sample.reordered(order, model.shape.rows(model.shape.kind)),
    )


def _write_arrays(directory: Path, model: Model) -> Shape:
    """Write all arrays and return their sizes. None stays in memory: the indexes take as much again."""
    arrays = _arrays(model)
    for name, array in arrays.items():
        write_array(directory / f"{name}.npy", array)
    return _shape(model, arrays)


def _shape(model: Model, arrays: Mapping[str, NDArray[Any]]) -> Shape:
    shape = replace(
        model.shape,
        record_bytes=[len(arrays[f"{kind}_records"]) for kind in KINDS],
        shells=[len(arrays[f"{kind}_code_steps"]) for kind in KINDS],
        attributes=[column.describe() for column in model.attributes],
    )
    if model.sample is None:
        return shape
    titles, axes = arrays["titles_vectors"].shape if model.titled else (0, 0)
    return replace(
        shape,
        playlists=len(model.sample.items),
        playlist_items=len(arrays["playlists_items"]),
        postings=len(arrays["playlists_rows"]),
        ranker_networks=model.ranker.networks if model.ranker else 0,
        ranker_units=model.ranker.units if model.ranker else (),
        titles=titles,
        titled=len(arrays["titles_playlists"]) if titles else 0,
        title_axes=axes,
    )


def _arrays(model: Model) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {
        "vectors": model.vectors,
        "gram": gram_matrix(model.vectors, model.numbers["regularization"]),
        "track_artists": model.track_artists,
    }
    for kind in KINDS:
        ranking, popular = RankingVectors.of(model.ranking(kind)), model.items[kind].by_popularity
        arrays |= {f"{kind}_ranking": ranking.parts[0], f"{kind}_norms": ranking.norms}
        arrays |= ranking.codes.arrays(kind)
        arrays |= {f"{kind}_popular": popular.astype(np.int32)}
        arrays |= {f"{kind}_popular_ranks": np.argsort(popular).astype(np.int32)}
        arrays |= MappedRecords.of(_fields(model, kind), model.items[kind].popularity).arrays(kind)
    for number, column in enumerate(model.attributes):
        arrays |= column.arrays(number)
    if model.sample is not None:
        arrays |= Playlists.of(model.sample, int(model.numbers["postings"])).arrays()
        arrays |= Titles.of(model.sample.titles, int(model.numbers["title_axes"])).arrays() if model.titled else {}
    return arrays if model.ranker is None else arrays | model.ranker.arrays()


def _fields(model: Model, kind: Kind) -> Iterator[Fields]:
    items, artists = model.items[kind], model.items["artists"]
    if kind == "artists":
        yield from map(item_fields, repeat(kind), items.ids, items.names)
        return
    for id_, name, row in zip(items.ids, items.names, model.track_artists.tolist(), strict=True):
        artist = () if row < 0 else (artists.ids[row], artists.names[row])
        yield item_fields(kind, id_, name, *artist)


def _artist_rows(model: Model) -> Iterator[tuple[str, str, int, int]]:
    artists = model.items["artists"]
    ranks = np.argsort(artists.by_popularity)
    return zip(artists.ids, artists.names, artists.popularity.tolist(), ranks.tolist(), strict=True)


def _track_rows(model: Model) -> Iterator[tuple[str, str, int | None, int, int]]:
    tracks = model.items["tracks"]
    ranks = np.argsort(tracks.by_popularity)
    artists = (None if row < 0 else row for row in model.track_artists.tolist())
    return zip(tracks.ids, tracks.names, artists, tracks.popularity.tolist(), ranks.tolist(), strict=True)


def _write_index(directory: Path, kind: Kind, model: Model) -> dict[str, float]:
    """Write the index of *kind*; return the effort to search it with and the recall of that effort."""
    numbers, vectors, popularity = model.numbers, model.vectors[model.shape.rows(kind)], model.items[kind].popularity
    seed = int(numbers["seed"])
    index = NeighbourIndex.build(directory / f"{kind}.ann", vectors, int(numbers["trees"]), seed)
    effort, recall = index.calibrate(vectors, popularity, numbers["neighbour_recall"], int(numbers["neighbours"]), seed)
    return {f"{kind}_effort": effort, f"{kind}_recall": recall}


def _ranks(keys: Sequence[str]) -> Rows:
    """Return the place of each of *keys* in their sorted order."""
    ranks = np.empty(len(keys), np.int64)
    ranks[sorted(range(len(keys)), key=keys.__getitem__)] = np.arange(len(keys))
    return ranks
