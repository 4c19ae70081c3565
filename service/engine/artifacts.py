"""
One version of a model as a directory of files: written, described, verified and opened here.

`docs/artifacts.md` lists each file with its dtype, shape and meaning.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from service.engine.catalogue import Catalogue, write_catalogue
from service.engine.errors import CorruptModel, NoModel, UnsupportedFormat
from service.engine.features import FeatureSpace, Weights
from service.engine.foldin import gram_matrix
from service.engine.retrieval import NeighbourIndex, RankingVectors, head_length, leading_axes

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
METRICS = "metrics.json"
NOT_A_MANIFEST = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError)

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]


@dataclass(frozen=True)
class Shape:
    """How many there are of each; the columns of the matrix are `tracks | artists | words | grams`."""

    tracks: int
    artists: int
    words: int
    grams: int
    factors: int


@dataclass(frozen=True)
class Manifest:
    """
    What a version is, in one JSON file.

    Attributes:
        version: the name of the version, and of its directory.
        created_at: when it was made, ISO 8601 in UTC.
        shape: how many tracks, artists, terms and factors.
        numbers: every number that changes an answer, by name.
        data: what it was trained on: counts and a fingerprint.
        metrics: how well it continued playlists that it was not trained on; empty where that was not asked.
        libraries: versions of the libraries that made it.
        files: size in bytes and SHA-256 of each other file of the version.
        format_version: of the directory's layout; raised when an older release could no longer read it.
    """

    version: str
    created_at: str
    shape: Shape
    numbers: Mapping[str, float]
    data: Mapping[str, Any]
    metrics: Mapping[str, Any]
    libraries: Mapping[str, str]
    files: Mapping[str, Mapping[str, Any]]
    format_version: int = FORMAT_VERSION

    @property
    def weights(self) -> Weights:
        """How features are weighed."""
        numbers = self.numbers
        return Weights(numbers["alpha"], numbers["artist_weight"], numbers["title_weight"], numbers["gram_weight"])

    def content(self) -> dict[str, Any]:
        """The manifest as plain values that JSON can hold."""
        return asdict(self)

    def write(self, directory: Path) -> None:
        """Write `manifest.json`, with a checksum of its own content."""
        content = self.content()
        text = json.dumps({**content, "checksum": _checksum(content)}, indent=2, ensure_ascii=False)
        (directory / MANIFEST).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, directory: Path) -> Self:
        """
        Read the manifest of the version in *directory*.

        Raises:
            NoModel: *directory* does not exist.
            CorruptModel: the manifest is missing or was changed after it was written.
            UnsupportedFormat: it was written in another format.
        """
        if not directory.is_dir():
            raise NoModel(f"{directory} does not exist")
        path = directory / MANIFEST
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            written, format_version = content.pop("checksum"), content["format_version"]
        except NOT_A_MANIFEST as error:
            raise CorruptModel(f"{path} is not a readable manifest: {error!r}; train or publish again") from error
        if written != _checksum(content):
            raise CorruptModel(f"{path} differs from its own checksum; train or publish again")
        if format_version != FORMAT_VERSION:
            raise UnsupportedFormat(
                f"{path} has format {format_version}; this release reads format {FORMAT_VERSION}: "
                "use the release that wrote it, or train again"
            )
        try:
            return cls(**{**content, "shape": Shape(**content["shape"])})
        except NOT_A_MANIFEST as error:
            raise CorruptModel(f"{path} lacks a field of its format: {error!r}; train or publish again") from error

    def verify(self, directory: Path) -> None:
        """
        Compare each file of *directory* with its size and checksum.

        Raises:
            CorruptModel: a file is missing, cut short or changed.
        """
        with ThreadPoolExecutor() as pool:
            for _ in pool.map(lambda file: _verify_file(directory / file[0], file[1]), self.files.items()):
                pass


@dataclass(frozen=True)
class Model:
    """
    A trained model in memory, rows in whatever order the training had, as `write` takes it.

    Attributes:
        vectors: float32, shape (n_features, n_factors). One for each column of the training matrix.
        track_ids, track_names: one for each track.
        track_artists: int32, shape (n_tracks,). The artist's row of each track, -1 where it has none.
        track_popularity: int32, shape (n_tracks,). In how many playlists each is.
        artist_ids, artist_names: one for each artist.
        artist_popularity: int32, shape (n_artists,).
        words, grams: the title terms of full and of lesser weight.
        numbers: every number that changes an answer; see `NUMBERS`.
        data: what it was trained on, for the manifest.
        libraries: versions of the libraries that made it.
    """

    vectors: Floats
    track_ids: Sequence[str]
    track_names: Sequence[str]
    track_artists: Ints
    track_popularity: Ints
    artist_ids: Sequence[str]
    artist_names: Sequence[str]
    artist_popularity: Ints
    words: Sequence[str]
    grams: Sequence[str]
    numbers: Mapping[str, float]
    data: Mapping[str, Any]
    libraries: Mapping[str, str]

    @property
    def shape(self) -> Shape:
        factors = self.vectors.shape[1]
        return Shape(len(self.track_ids), len(self.artist_ids), len(self.words), len(self.grams), factors)


def ranking_vectors(vectors: Floats, track_artists: Ints, beta: float) -> Floats:
    """
    z_t = y_t + beta * y_artist(t), the vectors that continuations are ranked by; z = y where a track has no artist.

    Args:
        vectors: float32, shape (n_features, n_factors). Tracks first, artists next.
        track_artists: int32, shape (n_tracks,). The artist's row of each track, -1 where it has none.
        beta: how much of the artist's vector is added.

    Returns:
        float32, shape (n_tracks, n_factors).
    """
    n_tracks = len(track_artists)
    ranking = vectors[:n_tracks].copy()
    known = track_artists >= 0
    ranking[known] += np.float32(beta) * vectors[n_tracks + track_artists[known]]
    return ranking


def write(directory: Path, version: str, created_at: str, model: Model) -> Manifest:
    """
    Write *model* as the files of one version into *directory*, which is empty.

    Tracks are written by falling |z|, then popularity, then id; artists by popularity, then id. The axes of all vectors
    are turned so that the first carry the most of z, which changes no inner product.

    Returns:
        The manifest, written too.
    """
    model = _in_file_order(model)
    shape, numbers = model.shape, dict(model.numbers)
    tracks, artists = slice(0, shape.tracks), slice(shape.tracks, shape.tracks + shape.artists)
    ranking = RankingVectors.split(ranking_vectors(model.vectors, model.track_artists, numbers["beta"]))
    by_popularity = np.lexsort((_ranks(model.track_ids), -model.track_popularity))
    arrays = {
        "vectors": model.vectors,
        "gram": gram_matrix(model.vectors, numbers["regularization"]),
        "heads": ranking.heads,
        "tails": ranking.tails,
        "norms": ranking.norms,
        "tail_norms": ranking.tail_norms,
        "track_artists": model.track_artists,
        "popular": by_popularity.astype(np.int32),
        "popular_ranks": np.argsort(by_popularity).astype(np.int32),
    }
    for name, array in arrays.items():
        np.save(directory / f"{name}.npy", np.ascontiguousarray(array))
    write_catalogue(
        directory / "catalogue.sqlite",
        _track_records(model, np.argsort(by_popularity)),
        zip(model.artist_ids, model.artist_names, model.artist_popularity.tolist(), strict=True),
        model.words,
        model.grams,
    )
    for name, rows in (("tracks", tracks), ("artists", artists)):
        numbers |= _write_index(directory, name, model.vectors[rows], numbers)
    manifest = Manifest(
        version, created_at, shape, numbers, model.data, {}, model.libraries, _describe_files(directory)
    )
    manifest.write(directory)
    return manifest


def add_metrics(directory: Path, metrics: Mapping[str, Any], summary: Mapping[str, Any]) -> None:
    """Add `metrics.json` with *metrics* to the version in *directory*, and their *summary* to its manifest."""
    text = json.dumps(metrics, indent=2, ensure_ascii=False)
    (directory / METRICS).write_text(text + "\n", encoding="utf-8")
    manifest = Manifest.read(directory)
    described = {**manifest.files, METRICS: _describe_file(directory / METRICS)}
    replace(manifest, metrics=summary, files=described).write(directory)


@dataclass(frozen=True)
class Artifacts:
    """
    One version, verified and opened; all but the catalogue are memory-mapped arrays.

    Attributes:
        manifest: what it is.
        catalogue: ids and names to rows and back.
        space: how playlists become features.
        vectors: float32, shape (n_features, n_factors). Y.
        gram: float32, shape (n_factors, n_factors). Y'Y + lambda I.
        ranking: Z, by falling norm.
        popular: int32, shape (n_tracks,). Track rows, the most popular first, then by id.
        popular_ranks: int32, shape (n_tracks,). The place of each track row in *popular*.
        tracks_index, artists_index: nearest tracks and artists by cosine of y.
    """

    manifest: Manifest
    catalogue: Catalogue
    space: FeatureSpace
    vectors: Floats
    gram: Floats
    ranking: RankingVectors
    popular: Ints
    popular_ranks: Ints
    tracks_index: NeighbourIndex
    artists_index: NeighbourIndex

    @classmethod
    def open(cls, directory: Path) -> Self:
        """
        Verify and open the version in *directory*.

        Raises:
            ModelError: it is missing, damaged or of another format.
        """
        manifest = Manifest.read(directory)
        manifest.verify(directory)
        shape = manifest.shape
        try:
            arrays = {name: _map(directory / f"{name}.npy", shape_) for name, shape_ in _array_shapes(shape).items()}
            indexes = [NeighbourIndex(directory / f"{name}.ann", shape.factors) for name in ("tracks", "artists")]
            catalogue = Catalogue.open(directory / "catalogue.sqlite")
            weights = manifest.weights
        except (OSError, ValueError, KeyError) as error:
            raise CorruptModel(f"{directory} does not hold what its manifest says: {error}") from error
        space = FeatureSpace(arrays["track_artists"], shape.artists, shape.words, shape.grams, weights)
        return cls(
            manifest=manifest,
            catalogue=catalogue,
            space=space,
            vectors=arrays["vectors"],
            gram=np.array(arrays["gram"]),
            ranking=RankingVectors(arrays["heads"], arrays["tails"], arrays["norms"], arrays["tail_norms"]),
            popular=arrays["popular"],
            popular_ranks=arrays["popular_ranks"],
            tracks_index=indexes[0],
            artists_index=indexes[1],
        )

    def close(self) -> None:
        self.catalogue.close()


def _array_shapes(shape: Shape) -> dict[str, tuple[int, ...]]:
    features = shape.tracks + shape.artists + shape.words + shape.grams
    n_head = head_length(shape.factors)
    return {
        "vectors": (features, shape.factors),
        "gram": (shape.factors, shape.factors),
        "heads": (shape.tracks, n_head),
        "tails": (shape.tracks, shape.factors - n_head),
        "norms": (shape.tracks,),
        "tail_norms": (shape.tracks,),
        "track_artists": (shape.tracks,),
        "popular": (shape.tracks,),
        "popular_ranks": (shape.tracks,),
    }


def _map(path: Path, shape: tuple[int, ...]) -> NDArray[Any]:
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if array.shape != shape:
        raise ValueError(f"{path.name} has shape {array.shape} where {shape} is due")
    # A plain view: indexing a memmap makes a memmap of each piece, which costs more than the arithmetic.
    return np.asarray(array)


def _ranks(keys: Sequence[str]) -> NDArray[np.int64]:
    """The place of each of *keys* in their sorted order."""
    ranks = np.empty(len(keys), np.int64)
    ranks[sorted(range(len(keys)), key=keys.__getitem__)] = np.arange(len(keys))
    return ranks


def _in_file_order(model: Model) -> Model:
    n_tracks, n_artists = len(model.track_ids), len(model.artist_ids)
    beta = model.numbers["beta"]
    vectors = model.vectors @ leading_axes(ranking_vectors(model.vectors, model.track_artists, beta))
    norms = np.linalg.norm(ranking_vectors(vectors, model.track_artists, beta), axis=1)
    tracks = np.lexsort((_ranks(model.track_ids), -model.track_popularity, -norms))
    artists = np.lexsort((_ranks(model.artist_ids), -model.artist_popularity))
    new_rows = np.full(n_artists + 1, -1, np.int32)  # the last stands for 'no artist', which is row -1
    new_rows[artists] = np.arange(n_artists, dtype=np.int32)
    terms = np.arange(n_tracks + n_artists, len(model.vectors))
    return replace(
        model,
        vectors=vectors[np.concatenate((tracks, n_tracks + artists, terms))],
        track_ids=[model.track_ids[row] for row in tracks],
        track_names=[model.track_names[row] for row in tracks],
        track_artists=new_rows[model.track_artists[tracks]],
        track_popularity=model.track_popularity[tracks],
        artist_ids=[model.artist_ids[row] for row in artists],
        artist_names=[model.artist_names[row] for row in artists],
        artist_popularity=model.artist_popularity[artists],
    )


def _track_records(model: Model, ranks: NDArray[np.int64]) -> Iterator[tuple[str, str, int | None, int, int]]:
    artists = (None if row < 0 else row for row in model.track_artists.tolist())
    popularity = model.track_popularity.tolist()
    return zip(model.track_ids, model.track_names, artists, popularity, ranks.tolist(), strict=True)


def _write_index(directory: Path, name: str, vectors: Floats, numbers: Mapping[str, float]) -> dict[str, float]:
    """Write the index called *name*, and find the effort to search it with and the recall that it reaches."""
    seed = int(numbers["seed"])
    index = NeighbourIndex.build(directory / f"{name}.ann", vectors, int(numbers["trees"]), seed)
    effort, recall = index.calibrate(vectors, numbers["neighbour_recall"], int(numbers["neighbours"]), seed)
    return {f"{name}_effort": effort, f"{name}_recall": recall}


def _describe_files(directory: Path) -> dict[str, dict[str, Any]]:
    return {path.name: _describe_file(path) for path in sorted(directory.iterdir()) if path.name != MANIFEST}


def _describe_file(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return {"bytes": os.fstat(file.fileno()).st_size, "sha256": digest}


def _verify_file(path: Path, expected: Mapping[str, Any]) -> None:
    try:
        actual = _describe_file(path)
    except OSError as error:
        raise CorruptModel(f"{path} cannot be read: {error.strerror}; train or publish again") from error
    if actual != dict(expected):
        raise CorruptModel(
            f"{path} differs from its manifest: {expected['bytes']} bytes with SHA-256 {expected['sha256'][:12]}... "
            f"were written, {actual['bytes']} bytes with {actual['sha256'][:12]}... are there; train or publish again"
        )


def _checksum(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
