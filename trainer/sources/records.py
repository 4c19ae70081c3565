"""JSON objects one after another, in an array or one a line, decoded in blocks."""

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any

from trainer.sources.chunked_files import Chunks

Record = dict[str, Any]

LONGEST_RECORD = 16 << 20
FIRST_BYTES = 1 << 16
DECODER = json.JSONDecoder()
BETWEEN = re.compile(r"[\ufeff\s,\[\]]*")
NEXT = re.compile(r"(?:\n|\}\s*,)\s*(?=\{)")


def first_records(text: bytes) -> Iterator[Record]:
    """Yield the objects in the beginning of a file."""
    yield from filter(None, _decode(text[:FIRST_BYTES].decode("utf-8", "surrogateescape"), 0)[0])


def record_blocks(chunks: Chunks) -> Iterator[tuple[list[Record | None], int]]:
    """
    Yield the objects of each chunk, with the bytes that it took.

    None stands for text that is not an object, up to the next one. Bytes that are not UTF-8 and halves of characters
    become lone surrogates, so that only their object is odd.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    rest = ""
    for chunk, size in chunks:
        found, rest = _decode(rest + decoder.decode(chunk), LONGEST_RECORD)
        yield found, size
    yield _decode(rest + decoder.decode(b"", final=True), 0)[0], 0


def _decode(text: str, longest: int) -> tuple[list[Record | None], str]:
    """Return the objects in *text*, and the rest that may be the beginning of an object of up to *longest* letters."""
    found: list[Record | None] = []
    at = _after(text, 0)
    while at < len(text):
        try:
            record, at = DECODER.raw_decode(text, at)
        except (ValueError, RecursionError):
            if len(text) - at < longest:
                break
            record, at = None, _next(text, at)
        found.append(record if isinstance(record, dict) else None)
        at = _after(text, at)
    return found, text[at:]


def _after(text: str, at: int) -> int:
    """Return the place of the first object in *text* from *at* on."""
    between = BETWEEN.match(text, at)
    return between.end() if between else at


def _next(text: str, at: int) -> int:
    """Return the place of the object that follows the broken one at *at*."""
    following = NEXT.search(text, at + 1)
    return following.end() if following else len(text)
