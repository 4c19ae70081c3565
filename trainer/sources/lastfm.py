"""
Two published collections of listening on Last.fm: plays of artists by users.

HetRec 2011, Last.fm 2K: user_artists.dat beside artists.dat, in a directory or in the zip file of the collection.
Last.fm 360K: usersha1-artmbid-artname-plays.tsv, plain, gzipped, in a directory, or in the tar file of the collection.
"""

import io
import re
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import PurePath

import polars as pl

from trainer.errors import BadInput
from trainer.sources.account import Account
from trainer.sources.chunked_files import (
    POLARS_ERRORS,
    Chunks,
    FilePath,
    Frames,
    Head,
    chunks,
    pieces,
    read_head,
    unpacking,
    whole_lines,
    with_name,
)
from trainer.sources.columns import Columns
from trainer.sources.delimited import Delimited, delimited_frames
from trainer.sources.inputs import Inputs
from trainer.sources.interactions import table_source
from trainer.sources.source import NotData, Source

FORMAT_2K, FORMAT_360K = "HetRec 2011, Last.fm 2K", "Last.fm 360K"

PLAYS_2K, ARTISTS_2K = "user_artists.dat", "artists.dat"
HEADER_2K = ["userid", "artistid", "weight"]
COLUMNS_2K = Columns(FORMAT_2K, ("userID", "artistID", "weight"), {"user": 0, "artist": 1, "count": 2})
FORM_2K = Delimited("\t", 3, COLUMNS_2K.places, header_lines=1)

PLAYS_360K = "usersha1-artmbid-artname-plays.tsv"
NAMES_360K = (PLAYS_360K, f"{PLAYS_360K}.gz")
NAMES = (PLAYS_2K, ARTISTS_2K, *NAMES_360K)
START_360K = b"usersha1-"  # of the names of the files of the collection
LINE_360K = re.compile(rb"^[0-9a-fA-F]{40}\t[^\t\n]*\t[^\n]*\t[0-9]+\r?$", re.MULTILINE)
COLUMNS_360K = Columns(
    FORMAT_360K, ("usersha1", "artmbid", "artname", "plays"), {"user": 0, "artist": 1, "artist_name": 2, "count": 3}
)
LINES_TO_RECOGNISE = 20
MALFORMED_360K = "no line of a user's 40 hex digits, an id, an artist and plays"
TAR_MAGIC, TAR_MAGIC_AT = b"ustar", 257


def find_collection(files: Sequence[FilePath], inputs: Inputs) -> list[Source]:
    """
    Return the plays of the collection in the *files* of a directory or zip file; nothing if it holds none.

    Raises:
        BadInput: the collection lacks the names of its artists.
    """
    for file in files:
        if file.name == PLAYS_2K:
            return [_source_2k(read_head(file), inputs)]
    return [_source_360k(file, inputs) for file in files if file.name in NAMES_360K][:1]


def find_in_file(head: Head, inputs: Inputs) -> list[Source]:
    """
    Return the plays of the collection in a file; nothing if it holds none.

    Raises:
        NotData: it is a tar file of other data.
        BadInput: the collection lacks the names of its artists.
    """
    path = head.path
    if path.name == PLAYS_2K:
        return [_source_2k(head, inputs)]
    if _is_tar(head):
        if START_360K not in head.text:
            raise NotData(f"cannot read {path}: it is a tar file. Unpack it into a directory.")
        return [_source_360k(path, inputs, _tar_chunks)]
    first_lines = b"\n".join(head.text.split(b"\n", LINES_TO_RECOGNISE)[:LINES_TO_RECOGNISE])
    return [_source_360k(path, inputs)] if path.name.lower() in NAMES_360K or LINE_360K.search(first_lines) else []


# HetRec 2011, Last.fm 2K.


def _source_2k(head: Head, inputs: Inputs) -> Source:
    path = head.path
    if _header(head.text) != HEADER_2K:
        raise BadInput(f"cannot read {path}: its header is not userID, artistID, weight. Fetch it again or rename it.")
    names = with_name(path, ARTISTS_2K)
    if not names.is_file():
        raise BadInput(f"cannot read {path}: {names} is missing. It holds the names of the artists.")
    return table_source(
        path,
        lambda size, account: _frames_2k(chunks(path, size), names.read_bytes(), str(path), account),
        COLUMNS_2K,
        _account(COLUMNS_2K),
        inputs,
    )


def _frames_2k(plays: Chunks, artists: bytes, name: str, account: Account) -> Frames:
    names = _names_2k(artists)
    for frame, size in delimited_frames(plays, FORM_2K, name, account):
        yield frame.join(names, on="artist", how="left", maintain_order="left").fill_null(""), size


def _names_2k(artists: bytes) -> pl.DataFrame:
    """Return the ids and names of artists, from a file with or without a header."""
    # The published file has bytes that are not UTF-8; they cost a letter of a name.
    lines = artists.decode("utf-8", errors="replace").split("\n")
    fields = [line.rstrip("\r").split("\t") for line in lines]
    names = {row[0]: row[1] for row in fields if len(row) > 1 and row[0].isdigit()}
    columns = {"artist": list(names), "artist_name": list(names.values())}
    return pl.DataFrame(columns, schema={"artist": pl.String, "artist_name": pl.String})


def _header(text: bytes) -> list[str]:
    """Return the names in the first line, in lower case; in one edition, it is a comment."""
    line = text.partition(b"\n")[0].decode("utf-8", errors="replace")
    return [name.strip().lower() for name in line.lstrip("/# ").split("\t")]


# Last.fm 360K.


def _source_360k(path: FilePath, inputs: Inputs, open_chunks: Callable[[FilePath, int], Chunks] = chunks) -> Source:
    return table_source(
        path,
        lambda size, account: _frames_360k(open_chunks(path, size), str(path), account),
        COLUMNS_360K,
        _account(COLUMNS_360K),
        inputs,
    )


def _account(columns: Columns) -> Account:
    return Account(columns.format, columns.roles)


def _is_tar(head: Head) -> bool:
    named = head.path.name.lower().endswith((".tar.gz", ".tgz", ".tar"))
    return named or head.text[TAR_MAGIC_AT:].startswith(TAR_MAGIC)


def _tar_chunks(path: FilePath, size: int) -> Iterator[tuple[bytes, int]]:
    try:
        with unpacking(str(path)), path.open("rb") as raw, tarfile.open(fileobj=raw, mode="r|*") as archive:
            for member in archive:
                if member.isfile() and PurePath(member.name).name == PLAYS_360K:
                    yield from pieces(archive.extractfile(member), raw.tell, size)
                    return
    except tarfile.TarError as error:
        raise BadInput(f"cannot read {path}: it is damaged or cut short ({error}). Fetch it again.") from error
    raise BadInput(f"cannot read {path}: it holds no {PLAYS_360K}. Unpack other tar files into a directory.")


def _frames_360k(chunks_: Chunks, name: str, account: Account) -> Frames:
    """Yield the rows of the usable lines, and count the others in the account."""
    for block, size in whole_lines(chunks_, name):
        first = account.records + 1
        frame = _fields_360k(block).with_row_index("row", first)
        odd = frame.filter(~pl.col("good"))
        if odd.height:
            account.pass_over(MALFORMED_360K, f"line {odd['row'][0]:,}", odd.height)
        nameless = pl.col("good") & (pl.col("artist") == "") & (pl.col("artist_name") == "")
        account.skip("no artist", frame.filter(nameless).height)
        kept = frame.filter(pl.col("good") & ~nameless).drop("good", "line")
        account.records += frame.height - kept.height
        yield kept, size


def _fields_360k(block: bytes) -> pl.DataFrame:
    """Return the fields of each line, '' for missing ones, and mark the *good* lines."""
    try:
        frame = pl.read_lines(io.BytesIO(block), name="line")
    except POLARS_ERRORS:
        frame = pl.read_lines(io.BytesIO(block.decode("utf-8", errors="replace").encode()), name="line")
    fields = pl.col("line").str.splitn("\t", 4).struct.rename_fields(["user", "artist", "artist_name", "count"])
    frame = frame.with_columns(fields.alias("fields")).unnest("fields").fill_null("")
    # Names may hold tabs: the last field alone is the plays.
    tab = pl.col("count").str.contains("\t", literal=True)
    rest = pl.col("count").str.extract(r"^(.*)\t").str.replace_all("\t", " ", literal=True)
    plays = pl.col("count").str.extract(r"\t([^\t]*)$")
    frame = frame.with_columns(
        pl.when(tab).then(pl.col("artist_name") + " " + rest).otherwise(pl.col("artist_name")).alias("artist_name"),
        pl.when(tab).then(plays).otherwise(pl.col("count")).alias("count"),
    )
    good = pl.col("user").str.contains("^[0-9a-fA-F]{40}$") & pl.col("count").str.contains("^[0-9]+$")
    return frame.with_columns(good.alias("good"))
