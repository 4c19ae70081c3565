"""Well-known files that are not data that Segue reads, told by their first bytes or by their names."""

from collections.abc import Sequence
from typing import NamedTuple

from trainer.sources.chunked_files import ZIP_MAGIC, Head
from trainer.sources.source import NotData

TEXT_BYTES = 4096


class _Kind(NamedTuple):
    what: str
    advice: str
    magics: Sequence[bytes] = ()
    suffixes: Sequence[str] = ()


OLE_MAGIC = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
KINDS = (
    _Kind("a spreadsheet", "Save it as CSV.", (), (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods", ".fods", ".numbers")),
    _Kind(
        "a document", "Save its table as CSV.", (b"%PDF-", b"{\\rtf", OLE_MAGIC), (".pdf", ".docx", ".odt", ".pages")
    ),
    _Kind("an SQLite database", "Export its tables as CSV.", (b"SQLite format 3\0",), (".sqlite", ".sqlite3", ".db")),
    _Kind("an Access database", "Export its tables as CSV.", (b"\0\1\0\0Standard ",), (".mdb", ".accdb")),
    _Kind(
        "an archive",
        "Unpack it into a directory, or pack the files as a zip file.",
        (b"Rar!\x1a\x07", b"7z\xbc\xaf\x27\x1c", b"\x1f\x9d", b"\x04\x22\x4d\x18"),
        (".rar", ".7z", ".lz4", ".lz", ".z", ".br", ".sz"),
    ),
    _Kind(
        "a file of another program",
        "Write it as Parquet or CSV.",
        (b"ARROW1", b"FEA1", b"Obj\1", b"\x89HDF", b"\x93NUMPY", b"RDX3\n", b"RDX2\n"),
        tuple(
            ".feather .arrow .orc .avro .h5 .hdf5 .npy .npz .pkl .pickle .rds .rdata .sav .dta .sas7bdat .mat".split()
        ),
    ),
    _Kind(
        "a web page, perhaps of a sign-in",
        "Download the file itself.",
        (b"<!doctype html", b"<html", b"<!DOCTYPE html", b"<!DOCTYPE HTML"),
    ),
    _Kind("a pointer of Git LFS", "Fetch the file with `git lfs pull`.", (b"version https://git-lfs",)),
    _Kind("an unfinished download", "Download it again.", (), (".part", ".crdownload", ".download", ".partial")),
    _Kind(
        "a picture",
        "It holds no data.",
        (b"\x89PNG", b"\xff\xd8\xff", b"GIF87a", b"GIF89a"),
        (".png", ".jpg", ".jpeg", ".gif", ".webp", ".heic"),
    ),
    _Kind(
        "a recording",
        "Give a table or a playlist that names it.",
        (b"ID3\2", b"ID3\3", b"ID3\4", b"fLaC", b"OggS\0"),
        (".mp3", ".flac", ".ogg", ".opus", ".m4a", ".wav", ".aac", ".wma"),
    ),
)


def refuse_foreign(head: Head) -> None:
    """
    Refuse a well-known file of another kind, so that the error can name it.

    A name alone decides only if the content is no text: many a table in text is named `.xls`.

    Raises:
        NotData: it is one.
    """
    text, suffix = head.text.lstrip(), head.path.suffix.lower()
    binary = b"\0" in head.raw[:TEXT_BYTES] or head.raw.startswith(ZIP_MAGIC[:2])
    for kind in KINDS:
        if (binary and suffix in kind.suffixes) or text.startswith(tuple(kind.magics)):
            raise NotData(f"cannot read {head.path}: it is {kind.what}. {kind.advice}")
