"""The manifest: the description of a version in one JSON file, by which all other files are verified."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from blake3 import blake3

from service.engine.attributes import column_shapes
from service.engine.encoder import DIMENSIONS
from service.engine.errors import CorruptModel, NoModel, UnsupportedFormat
from service.engine.features import Weights
from service.engine.files import reading, write_text
from service.engine.items import KINDS, Kind
from service.engine.ranker import ranker_shapes

FORMAT_VERSION = 4  # the format that this release writes
OLDEST_FORMAT = 2  # the oldest format that it reads
ATTRIBUTES, PLAYLISTS, RANKER, TITLES = "attributes", "playlists", "ranker", "titles"
PARTS = frozenset((ATTRIBUTES, PLAYLISTS, RANKER, TITLES))  # the optional parts that it knows
MANIFEST = "manifest.json"
DIGEST = "blake3"  # the one that this release writes
DIGESTS: Mapping[str, Callable[[], Any]] = {"blake3": blake3, "sha256": hashlib.sha256}
NOT_A_MANIFEST = (ValueError, KeyError, TypeError, AttributeError, RecursionError)


@dataclass(frozen=True)
class Shape:
    """
    The sizes of the arrays of a version. The columns of the matrix are `tracks | artists | words | grams`.

    Attributes:
        tracks, artists, words, grams, factors: their numbers.
        playlists, playlist_items, postings: the number of kept playlists, of their items, and of the places in which
            their features are noted; 0 if none are kept.
        ranker_networks: the number of networks of the ranker; 0 without it.
        ranker_units: the units of each hidden layer of a network.
        titles, titled, title_axes: the number of the distinct titles that are compared by their meaning, that of the
            kept playlists with one of them, and the length of their vectors; 0 if none are compared.
        record_bytes: the bytes of the records of tracks and of artists; empty before format 4.
        shells: the number of shells of the codes of tracks and of artists; empty before format 4.
        attributes: the attributes of tracks, as `Column.describe` describes them; empty without a catalogue.
    """

    tracks: int
    artists: int
    words: int
    grams: int
    factors: int
    playlists: int = 0
    playlist_items: int = 0
    postings: int = 0
    ranker_networks: int = 0
    ranker_units: Sequence[int] = ()
    titles: int = 0
    titled: int = 0
    title_axes: int = 0
    record_bytes: Sequence[int] = ()
    shells: Sequence[int] = ()
    attributes: Sequence[Mapping[str, Any]] = ()

    @property
    def kind(self) -> Kind:
        """The kind that is recommended by default: tracks, if there are any."""
        return "tracks" if self.tracks else "artists"

    @property
    def features(self) -> int:
        """The number of columns of the matrix."""
        return self.tracks + self.artists + self.words + self.grams

    def rows(self, kind: Kind) -> slice:
        """Return the rows of the items of *kind* among all vectors."""
        return slice(0, self.tracks) if kind == "tracks" else slice(self.tracks, self.tracks + self.artists)

    def arrays(self, format_version: int) -> dict[str, tuple[int, ...]]:
        """Return the name and shape of each array of a version of this format."""
        shapes: dict[str, tuple[int, ...]] = {
            "vectors": (self.features, self.factors),
            "gram": (self.factors, self.factors),
            "track_artists": (self.tracks,),
        }
        for kind, n in zip(KINDS, (self.tracks, self.artists), strict=True):
            shapes |= {f"{kind}_{name}": (n,) for name in ("norms", "popular", "popular_ranks")}
            shapes |= self._of_format_3(kind, n) if format_version <= 3 else self._of_items(kind, n)
        shapes |= self._of_playlists() if self.playlists else {}
        shapes |= self._of_titles() if self.titles else {}
        shapes |= column_shapes(self.tracks, self.attributes)
        return shapes | (ranker_shapes(self.ranker_networks, self.ranker_units) if self.ranker_networks else {})

    def _of_items(self, kind: Kind, n: int) -> dict[str, tuple[int, ...]]:
        return {
            f"{kind}_ranking": (n, self.factors),
            f"{kind}_codes": (n, self.factors),
            f"{kind}_code_shells": (self.shells[KINDS.index(kind)] + 1,),
            f"{kind}_code_steps": (self.shells[KINDS.index(kind)],),
            f"{kind}_code_errors": (self.shells[KINDS.index(kind)],),
            f"{kind}_popularity": (n,),
            f"{kind}_record_offsets": (n + 1,),
            f"{kind}_records": (self.record_bytes[KINDS.index(kind)],),
        }

    def _of_format_3(self, kind: Kind, n: int) -> dict[str, tuple[int, ...]]:
        n_head = (5 * self.factors + 7) // 8
        shapes: dict[str, tuple[int, ...]] = {f"{kind}_heads": (n, n_head), f"{kind}_tails": (n, self.factors - n_head)}
        return shapes | ({f"{kind}_popularity": (n,)} if self.playlists else {})

    def _of_playlists(self) -> dict[str, tuple[int, ...]]:
        return {
            "playlists_item_offsets": (self.playlists + 1,),
            "playlists_items": (self.playlist_items,),
            "playlists_offsets": (self.features + 1,),
            "playlists_rows": (self.postings,),
            "playlists_weights": (self.postings,),
            "playlists_rarity": (self.features,),
        }

    def _of_titles(self) -> dict[str, tuple[int, ...]]:
        return {
            "titles_axes": (DIMENSIONS, self.title_axes),
            "titles_vectors": (self.titles, self.title_axes),
            "titles_offsets": (self.titles + 1,),
            "titles_playlists": (self.titled,),
        }


@dataclass(frozen=True)
class Manifest:
    """
    The description of a version.

    Attributes:
        version: name of the version and of its directory.
        created_at: time of writing, ISO 8601 in UTC.
        shape: numbers of items, terms and factors.
        numbers: every number, and the weighting, that changes an answer, by name.
        data: the training data: counts and a fingerprint.
        training: the training run: what a repetition needs beside the numbers and the data.
        metrics: quality on playlists that were held out; empty if none were.
        libraries: versions of the libraries that made it.
        files: size in bytes and digest of each other file of the version: BLAKE3, or SHA-256 in older ones.
        parts: names of the optional parts that the version has. A release refuses a part that it does not know.
        format_version: format of the directory, raised when an older release can no longer read it.
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
    parts: Sequence[str] = ()
    format_version: int = FORMAT_VERSION

    @property
    def weights(self) -> Weights:
        """The weights of features."""
        return Weights.of(self.numbers)

    def content(self) -> dict[str, Any]:
        """Return the manifest as values that JSON can hold."""
        return asdict(self)

    def write(self, directory: Path) -> None:
        """Write `manifest.json` with a checksum of its own content."""
        content = json.loads(json.dumps(self.content()))  # as a reader sees it: keys are texts, for example
        text = json.dumps({**content, "checksum": checksum(content)}, indent=2, ensure_ascii=False)
        write_text(directory / MANIFEST, text + "\n")

    @classmethod
    def read(cls, directory: Path) -> Self:
        """
        Read the manifest of the version in *directory*.

        Raises:
            NoModel: *directory* does not exist.
            CorruptModel: the manifest cannot be read, or was changed after it was written.
            UnsupportedFormat: this release does not read its format or does not know one of its parts.
        """
        path = directory / MANIFEST
        if _is_missing(directory):
            raise NoModel(f"{directory} does not exist; check the path, or train a model")
        with reading(path):
            text = path.read_bytes()
        try:
            content = json.loads(text)
            written, format_version = content.pop("checksum"), content["format_version"]
        except NOT_A_MANIFEST as error:
            raise CorruptModel(f"{path} is not a readable manifest: {error!r}; train or publish again") from error
        if written != checksum(content):
            raise CorruptModel(f"{path} differs from its own checksum; train or publish again")
        _check_format(path, format_version, content.get("parts", ()))
        try:
            return cls(**{**content, "shape": Shape(**content["shape"])})
        except NOT_A_MANIFEST as error:
            raise CorruptModel(f"{path} lacks a field of its format: {error!r}; train or publish again") from error

    def verify(self, directory: Path, threads: int | None = None) -> None:
        """
        Compare each file of *directory* with its size and checksum.

        Args:
            directory: the version.
            threads: number of files that are read at the same time; None for the default of `ThreadPoolExecutor`.

        Raises:
            CorruptModel: a file cannot be read, is cut short or was changed.
        """
        # The largest first: it would otherwise begin when the other threads are about to end.
        files = sorted(self.files.items(), key=lambda file: -int(file[1]["bytes"]))
        with ThreadPoolExecutor(threads) as pool:
            for _ in pool.map(lambda file: _verify_file(directory / file[0], file[1]), files):
                pass


def checksum(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the *content* of a manifest without its checksum."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def describe_files(
    directory: Path, described: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, Mapping[str, Any]]:
    """Return size and checksum of each file of *directory* but the manifest; those already *described* are kept."""
    known = described or {}
    paths = [path for path in sorted(directory.iterdir()) if path.name != MANIFEST]
    return {path.name: known.get(path.name) or _describe_file(path) for path in paths}


def _is_missing(directory: Path) -> bool:
    with suppress(OSError):  # reading its manifest gives the reason of other errors
        try:
            directory.stat()
        except FileNotFoundError:
            return True
    return False


def _check_format(path: Path, format_version: int, parts: Sequence[str]) -> None:
    if format_version not in range(OLDEST_FORMAT, FORMAT_VERSION + 1):
        raise UnsupportedFormat(
            f"{path} has format {format_version}; this release reads formats {OLDEST_FORMAT} to {FORMAT_VERSION}: "
            "use the release that wrote it, or train again"
        )
    unknown = [part for part in parts if part not in PARTS]
    if unknown:
        raise UnsupportedFormat(
            f"{path} has parts that this release does not know: {', '.join(unknown)}; "
            "use the release that wrote it, or train again"
        )


def _describe_file(path: Path, digest: str = DIGEST) -> dict[str, Any]:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, DIGESTS[digest]).hexdigest()
        return {"bytes": os.fstat(file.fileno()).st_size, digest: found}


def _verify_file(path: Path, expected: Mapping[str, Any]) -> None:
    digest = next((name for name in DIGESTS if name in expected), DIGEST)
    with reading(path):
        actual = _describe_file(path, digest)
    if actual != dict(expected):
        raise CorruptModel(
            f"{path} differs from its manifest: {expected.get('bytes')} bytes with {digest} "
            f"{str(expected.get(digest))[:12]}... were written, {actual['bytes']} bytes with {actual[digest][:12]}... "
            "are there; train or publish again"
        )
