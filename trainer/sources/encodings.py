"""Text in UTF-16, which Windows programs and databases write, as UTF-8."""

import codecs
from collections.abc import Iterator

from trainer.sources.chunked_files import Chunks

MARKS = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
SAMPLE_BYTES = 2000


def wide_encoding(text: bytes) -> str:
    """Return the name of the kind of UTF-16 that *text* begins in, with or without its mark; "" if it is none."""
    if marked := MARKS.get(text[:2]):
        return marked
    sample = text[:SAMPLE_BYTES]
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    if max(even, odd) * 3 <= len(sample):  # most letters of a header are of ASCII, so that half of its bytes are 0
        return ""
    return "utf-16-le" if odd > even else "utf-16-be"


def to_utf8(chunks: Chunks, encoding: str) -> Iterator[tuple[bytes, int]]:
    """Yield *chunks* of text in *encoding* as UTF-8, without a mark; a broken letter costs that letter."""
    decoder, mark = codecs.getincrementaldecoder(encoding)("replace"), "\ufeff"
    for chunk, size in chunks:
        yield decoder.decode(chunk).removeprefix(mark).encode(), size
        mark = ""
