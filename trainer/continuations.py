"""Continuations of many playlists in a file, made by all processors, which go on after an interruption."""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from errno import EIO
from functools import lru_cache
from importlib.metadata import version as library_version
from itertools import pairwise
from pathlib import Path

import polars as pl
from threadpoolctl import threadpool_limits

from service.engine import Kind, Manifest, Options, Playlist, Plays, Ragged, Recommender, installed_encoder
from trainer.dataset import Dataset
from trainer.errors import BadInput
from trainer.output import check_new, each_in_turn, written_whole
from trainer.progress import progress, say

PART = 1000  # playlists that are continued, written and, after an interruption, kept together
BATCH = 50
SUFFIXES = (".parquet", ".jsonl")
SCHEMA = pl.Schema(
    {"playlist": pl.String(), "strategy": pl.String(), "ids": pl.List(pl.String), "scores": pl.List(pl.Float64)}
)
JOB = "job.json"


@dataclass(frozen=True)
class Job:
    """
    Continuations that are asked for.

    Attributes:
        version: the directory of the version that answers.
        parts: the directory of the parts that are finished.
        k: number of items for each playlist.
        kind: their kind.
    """

    version: str
    parts: str
    k: int
    kind: Kind

    def __call__(self, part: tuple[int, Sequence[str], Sequence[Playlist]]) -> int:
        """Continue the playlists of a *part*, its number, ids and content, write them, and return their number."""
        number, ids, playlists = part
        recommender, options = _opened(self.version), Options(self.k, self.kind)
        answers = [
            answer
            for start in range(0, len(playlists), BATCH)
            for answer in recommender.recommend(playlists[start : start + BATCH], options)
        ]
        rows = {
            "playlist": ids,
            "strategy": [answer.strategy for answer in answers],
            "ids": [answer.found.ids for answer in answers],
            "scores": [[item.score for item in answer.found] for answer in answers],
        }
        part_, partial = _part(Path(self.parts), number), Path(self.parts, f"{number}.partial")
        with writing(part_), partial.open("wb") as file:
            pl.DataFrame(rows, SCHEMA).write_parquet(file)
            file.flush()
            os.fsync(file.fileno())  # the name must not survive a power cut without the content
        partial.rename(part_)
        return len(ids)


def check_out(out: Path) -> None:
    """Raise BadInput if *out* exists or has no suffix of a format; better before hours of work than after them."""
    if out.suffix.lower() not in SUFFIXES:
        raise BadInput(f"cannot write {out}: expected a name that ends in {' or '.join(SUFFIXES)}.")
    check_new(out)


def write_continuations(dataset: Dataset, version: Path, out: Path, k: int, kind: Kind | None) -> int:
    """
    Continue all playlists of *dataset* and write them to *out*, Parquet or JSON lines by its suffix.

    Parts lie in a hidden directory beside *out* until all are finished. A run with the same data, version and options
    goes on after those of an interrupted one.

    Returns:
        The number of playlists.

    Raises:
        BadInput: *out* exists or has another suffix.
        ModelError: *version* cannot be opened.
        OSError: *out* cannot be written.
        MemoryError: the system ended a process.
    """
    check_out(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    parts = out.with_name(f".{out.name}.parts")
    with closing(Recommender.open(version)) as recommender:  # verified once, and in use until the end
        job = Job(str(version), str(parts), k, kind or recommender.kind)
        _begin(parts, {**_key(job, recommender.manifest), "data": dataset.fingerprint})
        bounds = list(enumerate(pairwise([*range(0, len(dataset), PART), len(dataset)])))
        left = [(number, bound) for number, bound in bounds if not _is_whole(_part(parts, number), *bound)]
        if len(left) < len(bounds):
            say(f"goes on after {len(bounds) - len(left):,} of {len(bounds):,} parts of an interrupted run")
        given = (
            (number, dataset.playlist_ids[start:stop], playlists_of(dataset, start, stop))
            for number, (start, stop) in left
        )
        with progress(sum(stop - start for _, (start, stop) in left), "continuing") as bar:
            try:
                for n in each_in_turn(job, given, len(left), few=1):
                    bar.update(n)
            except BrokenExecutor:
                raise MemoryError("the system ended a process; the same command goes on where it was") from None
    _join([_part(parts, number) for number, _ in bounds], out)
    shutil.rmtree(parts)
    return len(dataset)


def playlists_of(dataset: Dataset, start: int, stop: int) -> list[Playlist]:
    """Return the playlists from *start* up to *stop*, with the plays of listeners."""
    vocabulary, found = dataset.vocabulary, []
    for index in range(start, stop):
        tracks, artists = (
            list(_mentions(ragged.slice(index, index + 1), ids))
            for ragged, ids in ((dataset.tracks, vocabulary.track_ids), (dataset.artists, vocabulary.artist_ids))
        )
        found.append(Playlist(tracks, artists, dataset.titles[index]))
    return found


def _mentions(ragged: Ragged, ids: Sequence[str]) -> Iterator[str | Plays]:
    for place, row in enumerate(ragged.rows.tolist()):
        yield ids[row] if ragged.counts is None else Plays(ids[row], float(ragged.counts[place]))


@lru_cache(maxsize=1)
def _opened(version: str) -> Recommender:
    """Return the version, opened once in each process, which uses one processor."""
    threadpool_limits(1)
    return Recommender.open(Path(version), 1)


def _part(parts: Path, number: int) -> Path:
    return parts / f"{number:06}.parquet"


def _is_whole(part: Path, start: int, stop: int) -> bool:
    """Return whether *part* has a row for each playlist from *start* up to *stop*; one that has not is made again."""
    try:
        return bool(pl.read_parquet(part, columns=["playlist"]).height == stop - start)
    except (OSError, pl.exceptions.PolarsError):
        return False


def _key(job: Job, manifest: Manifest) -> dict[str, object]:
    """Return all that an answer depends on beside the data."""
    made_by = {"release": library_version("segue"), "encoder": installed_encoder(), "part": PART, "batch": BATCH}
    return {"version": manifest.version, "k": job.k, "kind": job.kind, **made_by}


def _begin(parts: Path, key: dict[str, object]) -> None:
    """Make the directory of the parts; those of another job are removed."""
    written = None
    with suppress(OSError, ValueError):
        written = json.loads((parts / JOB).read_text())
    if written == key:
        return
    if parts.exists():
        say(f"{parts} has parts of other data, options or versions, which are removed")
        shutil.rmtree(parts)
    parts.mkdir()
    (parts / JOB).write_text(json.dumps(key))


def _join(parts: Sequence[Path], out: Path) -> None:
    rows = pl.scan_parquet(list(parts)) if parts else pl.LazyFrame(schema=SCHEMA)
    with written_whole(out) as partial, writing(out):
        rows.sink_parquet(partial) if out.suffix.lower() == ".parquet" else rows.sink_ndjson(partial)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise the errors of polars for *path* as those of the system, which they are."""
    try:
        yield
    except pl.exceptions.PolarsError as error:
        raise OSError(EIO, str(error).partition("\n")[0], str(path)) from error
