"""
Two published collections of what listeners of Last.fm played, as counts of plays of artists.

HetRec 2011's Last.fm 2K: user_artists.dat with the names in artists.dat beside it, in a directory or in its zip file.
Last.fm 360K: usersha1-artmbid-artname-plays.tsv, plain, gzipped, in a directory, or in the tar file it comes in.
"""

import io
import re
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Literal

import polars as pl

from trainer.errors import BadInput
from trainer.sources.batches import Tally, table_slice
from trainer.sources.blocks import (
    GZIP_MAGIC,
    POLARS_ERRORS,
    ZIP_MAGIC,
    Chunks,
    Frames,
    chunks,
    head,
    pieces,
    starts_with,
    unpacking,
    whole_lines,
)
from trainer.sources.delimited import Delimited, delimited_frames
from trainer.sources.mpd import DAMAGED
from trainer.sources.records import Slice

PLAYS_2K, ARTISTS_2K = "user_artists.dat", "artists.dat"
HEADER_2K = ["userid", "artistid", "weight"]
FORM_2K = Delimited("\t", 3, {"playlist": 0, "artist": 1, "count": 2}, header_lines=1)

PLAYS_360K = "usersha1-artmbid-artname-plays.tsv"
LINE_360K = re.compile(rb"^[0-9a-fA-F]{40}\t[^\t\n]*\t[^\n]*\t[0-9]+\r?$", re.MULTILINE)
LINES_TO_RECOGNISE = 20
MOST_MALFORMED = 0.01
TAR_MAGIC, TAR_MAGIC_AT = b"ustar", 257


def slices(path: Path) -> list[Slice]:
    """
    The collection in *path*; empty where it holds something else.

    Raises:
        BadInput: it is one of the two, but damaged or without its names.
    """
    return _slices_2k(path) or _slices_360k(path)


# HetRec 2011, Last.fm 2K.


def _slices_2k(path: Path) -> list[Slice]:
    if path.is_dir():
        path /= PLAYS_2K
        if not path.is_file():
            return []
    elif starts_with(path, ZIP_MAGIC):
        return _zip_slices_2k(path)
    elif path.name != PLAYS_2K:
        return []
    if _header(head(path)) != HEADER_2K:
        raise BadInput(f"{path} does not begin with userID, artistID, weight; fetch it again or name it otherwise")
    names = path.with_name(ARTISTS_2K)
    if not names.is_file():
        raise BadInput(f"{names} is missing; it holds the names of the artists of {PLAYS_2K}")
    return [table_slice(path, lambda tally: _frames_2k(chunks(path), names.read_bytes(), tally.name))]


def _zip_slices_2k(path: Path) -> list[Slice]:
    members = {PurePath(member).name: member for member in _zip_members(path)}
    if PLAYS_2K not in members:
        return []
    if ARTISTS_2K not in members:
        raise BadInput(f"{path} holds {PLAYS_2K} without {ARTISTS_2K}, the names of its artists; fetch it again")
    return [table_slice(path, lambda _: _zip_frames_2k(path, members[PLAYS_2K], members[ARTISTS_2K]))]


def _zip_members(path: Path) -> list[str]:
    """The files in a zip file; none where it is damaged, which the reader of slices tells of."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except DAMAGED:
        return []


def _zip_frames_2k(path: Path, plays: str, artists: str) -> Frames:
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked, names = archive.read(plays), archive.read(artists)
    except DAMAGED as error:
        raise BadInput(f"{path} cannot be unpacked: {error}; fetch it again") from error
    return _frames_2k([(unpacked, path.stat().st_size)], names, str(path))


def _frames_2k(plays: Chunks, artists: bytes, name: str) -> Frames:
    names = _names_2k(artists)
    for frame, size in delimited_frames(plays, FORM_2K, name):
        yield frame.join(names, on="artist", how="left", maintain_order="left").fill_null(""), size


def _names_2k(artists: bytes) -> pl.DataFrame:
    """Ids and names of artists, of a file with a header or without one."""
    # The published file holds bytes that are not UTF-8; an artist with a letter amiss is better than none.
    lines = artists.decode("utf-8", errors="replace").split("\n")
    fields = [line.rstrip("\r").split("\t") for line in lines]
    names = {row[0]: row[1] for row in fields if len(row) > 1 and row[0].isdigit()}
    columns = {"artist": list(names), "artist_name": list(names.values())}
    return pl.DataFrame(columns, schema={"artist": pl.String, "artist_name": pl.String})


def _header(start: bytes) -> list[str]:
    """The names in the first line, in small letters; one edition has it as a comment."""
    line = start.partition(b"\n")[0].decode("utf-8", errors="replace")
    return [name.strip().lower() for name in line.lstrip("/# ").split("\t")]


# Last.fm 360K.


def _slices_360k(path: Path) -> list[Slice]:
    if path.is_dir():
        found = [file for suffix in ("", ".gz") for file in sorted(path.rglob(PLAYS_360K + suffix)) if file.is_file()]
        return [_slice_360k(found[0])] if found else []
    start = head(path)
    if _is_tar(path, start):
        return [table_slice(path, lambda tally: _frames_360k(_tar_chunks(path), tally))]
    named = path.name.lower() in (PLAYS_360K, f"{PLAYS_360K}.gz")
    first = b"\n".join(start.split(b"\n")[:LINES_TO_RECOGNISE])
    return [_slice_360k(path)] if named or LINE_360K.search(first) else []


def _slice_360k(path: Path) -> Slice:
    return table_slice(path, lambda tally: _frames_360k(chunks(path), tally))


def _is_tar(path: Path, start: bytes) -> bool:
    return start[TAR_MAGIC_AT:].startswith(TAR_MAGIC) or path.name.lower().endswith((".tar.gz", ".tgz", ".tar"))


def _tar_chunks(path: Path) -> Iterator[tuple[bytes, int]]:
    try:
        with unpacking(str(path)), path.open("rb") as raw:
            mode: Literal["r|gz", "r|"] = "r|gz" if starts_with(path, GZIP_MAGIC) else "r|"
            with tarfile.open(fileobj=raw, mode=mode) as archive:
                for member in archive:
                    if member.isfile() and PurePath(member.name).name == PLAYS_360K:
                        yield from pieces(archive.extractfile(member), raw.tell)
                        return
    except tarfile.TarError as error:
        raise BadInput(f"{path} is damaged or cut short: {error}; fetch it again") from error
    raise BadInput(f"{path} holds no {PLAYS_360K}, the one table that is read from a tar file")


def _frames_360k(some: Chunks, tally: Tally) -> Frames:
    """
    The lines that can be used, as rows; notes at the end how many could not.

    Raises:
        BadInput: more of them than one in a hundred are malformed.
    """
    lines = malformed = nameless = 0
    first = ""
    for block, size in whole_lines(some, tally.name):
        frame = _fields_360k(block)
        good, named = frame["good"], (frame["artist"] != "") | (frame["artist_name"] != "")
        if not good.all():
            place = int((~good).arg_max() or 0)
            first = first or f"line {lines + place + 1:,}, {frame['line'][place][:80]!r}"
        lines += frame.height
        malformed += int((~good).sum())
        nameless += int((good & ~named).sum())
        yield frame.filter(good & named).drop("good", "line"), size
    if malformed > MOST_MALFORMED * lines:
        raise BadInput(
            f"{tally.name} has {malformed:,} malformed lines of {lines:,}, the first at {first}; "
            f"a user's 40 hex digits, an id, an artist and plays were expected, with tabs between"
        )
    if malformed:
        tally.notes.append(f"passed over {malformed:,} malformed line{'s' * (malformed > 1)}, the first at {first}")
    if nameless:
        tally.notes.append(f"passed over {nameless:,} line{'s' * (nameless > 1)} without an artist")


def _fields_360k(block: bytes) -> pl.DataFrame:
    """The fields of each line, '' where there is none, and whether the line is *good*."""
    try:
        frame = pl.read_lines(io.BytesIO(block), name="line")
    except POLARS_ERRORS:
        frame = pl.read_lines(io.BytesIO(block.decode("utf-8", errors="replace").encode()), name="line")
    fields = pl.col("line").str.splitn("\t", 4).struct.rename_fields(["playlist", "artist", "artist_name", "count"])
    frame = frame.with_columns(fields.alias("fields")).unnest("fields").fill_null("")
    # A tab in a name: of all that comes after the mbid, the last field alone is plays.
    tab = pl.col("count").str.contains("\t", literal=True)
    name = (
        pl.col("artist_name") + " " + pl.col("count").str.extract(r"^(.*)\t").str.replace_all("\t", " ", literal=True)
    )
    plays = pl.col("count").str.extract(r"\t([^\t]*)$")
    frame = frame.with_columns(
        pl.when(tab).then(name).otherwise(pl.col("artist_name")).alias("artist_name"),
        pl.when(tab).then(plays).otherwise(pl.col("count")).alias("count"),
    )
    good = pl.col("playlist").str.contains("^[0-9a-fA-F]{40}$") & pl.col("count").str.contains("^[0-9]+$")
    return frame.with_columns(good.alias("good"))
