"""Text in UTF-16, which Windows programs and databases write, as UTF-8."""

import codecs
import re
from collections.abc import Iterator

from trainer.sources.account import Account
from trainer.sources.chunked_files import Chunks

MARKS = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
SAMPLE_BYTES, LEAST_ZEROS, LEAST_BALANCE = 2000, 50, 10

# One half of a pair that stands for a character, such as an emoji that was cut in two. It costs that character, which
# is replaced and not left out: it may be in an id, which stays another one.
HALF = re.compile(r"[\ud800-\udfff]")
HALF_ESCAPED = re.compile(  # in JSON
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB][0-9a-fA-F][0-9a-fA-F])\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)
REPLACEMENT_ESCAPED = rb"\\ufffd"
HALF_A_CHARACTER, REPLACEMENT = "half a character, replaced", "\ufffd"


def wide_encoding(text: bytes) -> str:
    """Return the name of the kind of UTF-16 that *text* begins in, with or without its mark; "" if it is none."""
    if marked := MARKS.get(text[:2]):
        return marked
    sample = text[:SAMPLE_BYTES]
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    # One byte of each delimiter and of each end of a line is 0, always at even places or always at odd ones.
    if max(even, odd) * LEAST_ZEROS < len(sample) or max(even, odd) < LEAST_BALANCE * min(even, odd):
        return ""
    return "utf-16-le" if odd > even else "utf-16-be"


def to_utf8(chunks: Chunks, encoding: str, account: Account) -> Iterator[tuple[bytes, int]]:
    """Yield *chunks* of text in *encoding* as UTF-8, without a mark; half a character is replaced, which counts."""
    decoder, mark, line = codecs.getincrementaldecoder(encoding)("surrogatepass"), "\ufeff", 1
    for chunk, size in chunks:
        text = decoder.decode(chunk).removeprefix(mark)
        if HALF.search(text):
            _count_halves(text, line, account)
        yield HALF.sub(REPLACEMENT, text).encode(), size
        mark, line = "", line + text.count("\n")


def _count_halves(text: str, first: int, account: Account) -> None:
    """Count the lines of *text* with half a character; *first* is the number of the first line."""
    for number, line in enumerate(text.split("\n"), first):
        if HALF.search(line):
            account.mend(HALF_A_CHARACTER, f"line {number:,}")
