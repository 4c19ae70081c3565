"""
One version of a model as a directory of files: written, described, verified and opened here.

`docs/artifacts.md` lists each file with its dtype, shape and meaning.
"""

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from service.engine.catalogue import Catalogue, write_catalogue
from service.engine.errors import CorruptModel, NoModel, UnsupportedFormat
from service.engine.features import FeatureSpace, Weights
from service.engine.files import write_array, write_text
from service.engine.foldin import gram_matrix
from service.engine.retrieval import NeighbourIndex, RankingVectors, head_length, leading_axes

FORMAT_VERSION = 2
MANIFEST = "manifest.json"
CATALOGUE = "catalogue.sqlite"
NOT_A_MANIFEST = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError)

Kind = Literal["tracks", "artists"]
KINDS: tuple[Kind, ...] = get_args(Kind)

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
        numbers: every number, and the weighting, that changes an answer, by name.
        data: what it was trained on: counts and a fingerprint.
        training: how it was made: what a repetition needs to know beside the numbers and the data.
        metrics: how well it continued playlists that it was not trained on; empty where that was not asked.
        libraries: versions of the libraries that made it.
        files: size in bytes and SHA-256 of each other file of the version.
        format_version: of the directory's layout; raised when an older release could no longer read it.
    """

    version: str
    created_at: str
    shape: Shape
    numbers: Mapping[str, Any]
    data: Mapping[str, Any]
    training: Mapping[str, Any]
    metrics: Mapping[str, Any]
    libraries: Mapping[str, str]
    files: Mapping[str, Mapping[str, Any]]
    format_version: int = FORMAT_VERSION

    @property
    def weights(self) -> Weights:
        """How features are weighed."""
        return weights_of(self.numbers)

    def content(self) -> dict[str, Any]:
        """The manifest as plain values that JSON can hold."""
        return asdict(self)

    def write(self, directory: Path) -> None:
        """Write `manifest.json`, with a checksum of its own content."""
        content = json.loads(json.dumps(self.content()))  # as it will be read again: with texts for keys, say
        text = json.dumps({**content, "checksum": _checksum(content)}, indent=2, ensure_ascii=False)
        write_text(directory / MANIFEST, text + "\n")

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

    def verify(self, directory: Path, threads: int | None = None) -> None:
        """
        Compare each file of *directory* with its size and checksum.

        Args:
            directory: the version.
            threads: how many read at once; None for as many as there are processors, and a few.

        Raises:
            CorruptModel: a file is missing, cut short or changed.
        """
        with ThreadPoolExecutor(threads) as pool:
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
        numbers: every number that changes an answer.
        data, training, libraries: for the manifest.
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
    numbers: Mapping[str, Any]
    data: Mapping[str, Any]
    training: Mapping[str, Any]
    libraries: Mapping[str, str]

    @property
    def shape(self) -> Shape:
        factors = self.vectors.shape[1]
        return Shape(len(self.track_ids), len(self.artist_ids), len(self.words), len(self.grams), factors)


def weights_of(numbers: Mapping[str, Any]) -> Weights:
    """How features are weighed, from the numbers of a manifest."""
    return Weights(
        alpha=numbers["alpha"],
        artist=numbers["artist_weight"],
        title=numbers["title_weight"],
        gram=numbers["gram_weight"],
        weighting=numbers["weighting"],
        cap=numbers["count_cap"],
        mean_length=numbers["mean_length"],
        track_count=numbers["track_count"],
        artist_count=numbers["artist_count"],
    )


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

    Tracks are written by falling |z|, artists by falling |y|, then either by popularity, then id. The axes of all
    vectors are turned so that the first carry the most of what is ranked, which changes no inner product.

    Returns:
        The manifest, written too.
    """
    model = _in_file_order(model)
    numbers = dict(model.numbers)
    ranks = _write_arrays(directory, model)
    write_catalogue(
        directory / CATALOGUE,
        _track_records(model, ranks["tracks"]),
        _artist_records(model, ranks["artists"]),
        model.words,
        model.grams,
    )
    popularity: Mapping[Kind, Ints] = {"tracks": model.track_popularity, "artists": model.artist_popularity}
    for kind in KINDS:
        numbers |= _write_index(directory, kind, model.vectors[_rows(model.shape, kind)], popularity[kind], numbers)
    manifest = Manifest(
        version=version,
        created_at=created_at,
        shape=model.shape,
        numbers=numbers,
        data=model.data,
        training=model.training,
        metrics={},
        libraries=model.libraries,
        files=_describe_files(directory),
    )
    manifest.write(directory)
    return manifest


def amend(directory: Path, training: Mapping[str, Any], metrics: Mapping[str, Any] | None = None) -> Manifest:
    """
    Describe the files of the version in *directory* anew, as some were added, and what is known of it by now.

    Args:
        directory: a version that is not published yet.
        training: added to what its manifest says of the training.
        metrics: in place of its metrics; None to leave them.
    """
    manifest = Manifest.read(directory)
    described = {
        path.name: manifest.files.get(path.name) or _describe_file(path) for path in _files_beside_manifest(directory)
    }
    amended = replace(
        manifest,
        files=described,
        training={**manifest.training, **training},
        metrics=manifest.metrics if metrics is None else metrics,
    )
    amended.write(directory)
    return amended


@dataclass(frozen=True)
class Candidates:
    """
    All tracks, or all artists, as what can be recommended.

    Attributes:
        rows: where they are among all vectors.
        ranking: what continuations are ranked by, by falling norm: z of tracks, y of artists.
        popular: int32, shape (n,). Their rows, the most popular first, then by id.
        popular_ranks: int32, shape (n,). The place of each row in *popular*.
        index: the nearest of them by cosine of y.
        effort: with which *index* is searched.
    """

    rows: slice
    ranking: RankingVectors
    popular: Ints
    popular_ranks: Ints
    index: NeighbourIndex
    effort: int


class Lease:
    """A shared lock on a version: it takes no right to write, and ends with this object or with the process."""

    def __init__(self, directory: Path):
        """
        Lock the version in *directory*.

        Raises:
            CorruptModel: it is not there any more.
        """
        self._descriptor: int | None = None
        try:
            self._descriptor = os.open(directory / MANIFEST, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise CorruptModel(f"{directory} went away while it was opened: {error}") from error
        with contextlib.suppress(OSError):  # a file system without locks serves too
            fcntl.flock(self._descriptor, fcntl.LOCK_SH)

    def close(self) -> None:
        """End it; once more does nothing, for by then the number of the descriptor may be that of another file."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    __del__ = close


@dataclass(frozen=True)
class Artifacts:
    """
    One version, verified and opened; all but the catalogue are memory-mapped arrays.

    Attributes:
        directory: where it lies.
        manifest: what it is.
        catalogue: ids and names to rows and back.
        space: how playlists become features.
        vectors: float32, shape (n_features, n_factors). Y.
        gram: float32, shape (n_factors, n_factors). Y'Y + lambda I.
        candidates: the tracks and the artists.
        lease: holds the version's shared lock, as long as it is in use.
    """

    directory: Path
    manifest: Manifest
    catalogue: Catalogue
    space: FeatureSpace
    vectors: Floats
    gram: Floats
    candidates: Mapping[Kind, Candidates]
    lease: Lease

    @classmethod
    def open(cls, directory: Path, threads: int | None = None) -> Self:
        """
        Verify and open the version in *directory*; until it is closed it counts as in use.

        Args:
            directory: the version.
            threads: how many verify its files at once, as `Manifest.verify` has it.

        Raises:
            ModelError: it is missing, damaged or of another format.
        """
        manifest = Manifest.read(directory)
        lease = Lease(directory)
        try:
            manifest.verify(directory, threads)
            return cls._verified(directory, manifest, lease)
        except BaseException:
            lease.close()
            raise

    @classmethod
    def _verified(cls, directory: Path, manifest: Manifest, lease: Lease) -> Self:
        shape = manifest.shape
        try:
            weights = manifest.weights
            arrays = {name: _map(directory / f"{name}.npy", shape_) for name, shape_ in _array_shapes(shape).items()}
            candidates = {kind: _candidates(directory, kind, manifest, arrays) for kind in KINDS}
            catalogue = open_catalogue(directory)
        except (OSError, ValueError, KeyError) as error:
            raise CorruptModel(f"{directory} does not hold what its manifest says: {error}") from error
        space = FeatureSpace(arrays["track_artists"], shape.artists, shape.words, shape.grams, weights)
        return cls(
            directory, manifest, catalogue, space, arrays["vectors"], np.array(arrays["gram"]), candidates, lease
        )

    def close(self) -> None:
        """
        Unmap the catalogue and the indexes and end the lease; once more does nothing.

        The arrays are unmapped with the last that refers to them.
        """
        self.catalogue.close()
        for candidates in self.candidates.values():
            candidates.index.close()
        self.lease.close()


def open_catalogue(directory: Path) -> Catalogue:
    """Open the catalogue of the version in *directory*; the caller closes it."""
    return Catalogue.open(directory / CATALOGUE)


def in_use(directory: Path) -> bool:
    """Whether any process on this machine has the version in *directory* open."""
    with (directory / MANIFEST).open("r+b") as file:  # network file systems lock what can be written to alone
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:  # a file system without locks tells nothing
            return False
    return False


def _rows(shape: Shape, kind: Kind) -> slice:
    return slice(0, shape.tracks) if kind == "tracks" else slice(shape.tracks, shape.tracks + shape.artists)


def _array_shapes(shape: Shape) -> dict[str, tuple[int, ...]]:
    features = shape.tracks + shape.artists + shape.words + shape.grams
    n_head = head_length(shape.factors)
    shapes: dict[str, tuple[int, ...]] = {
        "vectors": (features, shape.factors),
        "gram": (shape.factors, shape.factors),
        "track_artists": (shape.tracks,),
    }
    for kind, n in (("tracks", shape.tracks), ("artists", shape.artists)):
        shapes |= {f"{kind}_heads": (n, n_head), f"{kind}_tails": (n, shape.factors - n_head)}
        shapes |= {f"{kind}_{name}": (n,) for name in ("norms", "tail_norms", "popular", "popular_ranks")}
    return shapes


def _candidate_arrays(
    kind: str, ranking: RankingVectors, by_popularity: NDArray[np.int64], ranks: NDArray[np.int64]
) -> dict[str, NDArray[Any]]:
    return {
        f"{kind}_heads": ranking.heads,
        f"{kind}_tails": ranking.tails,
        f"{kind}_norms": ranking.norms,
        f"{kind}_tail_norms": ranking.tail_norms,
        f"{kind}_popular": by_popularity.astype(np.int32),
        f"{kind}_popular_ranks": ranks.astype(np.int32),
    }


def _candidates(directory: Path, kind: Kind, manifest: Manifest, arrays: Mapping[str, NDArray[Any]]) -> Candidates:
    heads, tails, norms, tail_norms, popular, popular_ranks = (
        arrays[f"{kind}_{name}"] for name in ("heads", "tails", "norms", "tail_norms", "popular", "popular_ranks")
    )
    return Candidates(
        _rows(manifest.shape, kind),
        RankingVectors(heads, tails, norms, tail_norms),
        popular,
        popular_ranks,
        NeighbourIndex(directory / f"{kind}.ann", manifest.shape.factors),
        int(manifest.numbers[f"{kind}_effort"]),
    )


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


def _ranked(model: Model, beta: float) -> tuple[Floats, Floats]:
    """What tracks and what artists are ranked by: z and y."""
    artists = slice(len(model.track_ids), len(model.track_ids) + len(model.artist_ids))
    return ranking_vectors(model.vectors, model.track_artists, beta), model.vectors[artists]


def _in_file_order(model: Model) -> Model:
    n_tracks, n_artists = len(model.track_ids), len(model.artist_ids)
    beta = model.numbers["beta"]
    tracks, artists = _ranked(model, beta)
    model = replace(model, vectors=model.vectors @ leading_axes(tracks if n_tracks else artists))
    tracks_by_norm, artists_by_norm = (
        np.lexsort((_ranks(ids), -popularity, -np.linalg.norm(vectors, axis=1)))
        for vectors, ids, popularity in zip(
            _ranked(model, beta),
            (model.track_ids, model.artist_ids),
            (model.track_popularity, model.artist_popularity),
            strict=True,
        )
    )
    new_rows = np.full(n_artists + 1, -1, np.int32)  # the last stands for 'no artist', which is row -1
    new_rows[artists_by_norm] = np.arange(n_artists, dtype=np.int32)
    terms = np.arange(n_tracks + n_artists, len(model.vectors))
    return replace(
        model,
        vectors=model.vectors[np.concatenate((tracks_by_norm, n_tracks + artists_by_norm, terms))],
        track_ids=[model.track_ids[row] for row in tracks_by_norm],
        track_names=[model.track_names[row] for row in tracks_by_norm],
        track_artists=new_rows[model.track_artists[tracks_by_norm]],
        track_popularity=model.track_popularity[tracks_by_norm],
        artist_ids=[model.artist_ids[row] for row in artists_by_norm],
        artist_names=[model.artist_names[row] for row in artists_by_norm],
        artist_popularity=model.artist_popularity[artists_by_norm],
    )


def _write_arrays(directory: Path, model: Model) -> dict[Kind, NDArray[np.int64]]:
    """Write all arrays of *model*; returns the place of each track and of each artist by popularity, then id."""
    arrays: dict[str, NDArray[Any]] = {
        "vectors": model.vectors,
        "gram": gram_matrix(model.vectors, model.numbers["regularization"]),
        "track_artists": model.track_artists,
    }
    tracks, artists = _ranked(model, model.numbers["beta"])
    ranks: dict[Kind, NDArray[np.int64]] = {}
    kinds: tuple[tuple[Kind, Floats, Sequence[str], Ints], ...] = (
        ("tracks", tracks, model.track_ids, model.track_popularity),
        ("artists", artists, model.artist_ids, model.artist_popularity),
    )
    for kind, vectors, ids, popularity in kinds:
        by_popularity = np.lexsort((_ranks(ids), -popularity))
        ranks[kind] = np.argsort(by_popularity)
        arrays |= _candidate_arrays(kind, RankingVectors.split(vectors), by_popularity, ranks[kind])
    for name, array in arrays.items():
        write_array(directory / f"{name}.npy", array)
    return ranks


def _artist_records(model: Model, ranks: NDArray[np.int64]) -> Iterator[tuple[str, str, int, int]]:
    popularity = model.artist_popularity.tolist()
    return zip(model.artist_ids, model.artist_names, popularity, ranks.tolist(), strict=True)


def _track_records(model: Model, ranks: NDArray[np.int64]) -> Iterator[tuple[str, str, int | None, int, int]]:
    artists = (None if row < 0 else row for row in model.track_artists.tolist())
    popularity = model.track_popularity.tolist()
    return zip(model.track_ids, model.track_names, artists, popularity, ranks.tolist(), strict=True)


def _write_index(
    directory: Path, name: str, vectors: Floats, popularity: Ints, numbers: Mapping[str, Any]
) -> dict[str, float]:
    """Write the index called *name*, and find the effort to search it with and the recall that it reaches."""
    seed = int(numbers["seed"])
    index = NeighbourIndex.build(directory / f"{name}.ann", vectors, int(numbers["trees"]), seed)
    effort, recall = index.calibrate(vectors, popularity, numbers["neighbour_recall"], int(numbers["neighbours"]), seed)
    return {f"{name}_effort": effort, f"{name}_recall": recall}


def _describe_files(directory: Path) -> dict[str, dict[str, Any]]:
    return {path.name: _describe_file(path) for path in _files_beside_manifest(directory)}


def _files_beside_manifest(directory: Path) -> list[Path]:
    return [path for path in sorted(directory.iterdir()) if path.name != MANIFEST]


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
