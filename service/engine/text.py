"""
Text in one normal form: names, titles and queries, on both sides.

The trainer folds titles and names here when it writes a version, and the service folds requests here, so that two
spellings of one text are one text to both. `docs/artifacts.md` describes the forms.
"""

import html
import re
import unicodedata
from itertools import chain
from typing import Any

GRAM_LENGTH = 4
LEAST_PREFIX = 3  # letters of an unfinished word; the search index has the prefixes of this length

# An HTML entity, however often its ampersand was escaped again. Without its semicolon it may be a name: R&B&Reggae.
ENTITY = re.compile(r"&(?:amp;)*(#\d{1,7}|#[xX][\da-fA-F]{1,6}|[a-zA-Z][a-zA-Z\d]{1,31});")

# Text that has none of them, as nearly all ids and most names, needs no more than lower case.
SIMPLE = re.compile("[ -%'-_a-~]*")

# Blanks for control characters, and for halves of characters, which no file can hold.
CONTROLS = dict.fromkeys([*range(0x20), *range(0x7F, 0xA0), *range(0xD800, 0xE000)], " ")

# The characters that Unicode lets a reader ignore, such as zero-width ones, soft hyphens and variation selectors
# (Default_Ignorable_Code_Point), and the skin tones of emoji.
INVISIBLE = dict.fromkeys(
    [
        *(0xAD, 0x34F, 0x61C, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFEFF, 0xFFA0),
        *range(0x180B, 0x1810),
        *range(0x200B, 0x2010),
        *range(0x202A, 0x202F),
        *range(0x2060, 0x2070),
        *range(0xFE00, 0xFE10),
        *range(0xFFF0, 0xFFF9),
        *range(0x1BCA0, 0x1BCA4),
        *range(0x1D173, 0x1D17B),
        *range(0x1F3FB, 0x1F400),
        *range(0xE0000, 0xE1000),
    ]
)

# Characters that keyboards and word processors put in place of each other. In Turkish I is the capital of dotless i.
ALIKE = {
    **dict.fromkeys(map(ord, "\u2018\u2019\u201a\u201b\u2032\u2035\u2039\u203a\u02b9\u02bb\u02bc\xb4`"), "'"),
    **dict.fromkeys(map(ord, "\u201c\u201d\u201e\u201f\u2033\u2036\xab\xbb"), '"'),
    **dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe31\ufe32\ufe58"), "-"),
    **dict.fromkeys(map(ord, "\u2044\u2215"), "/"),
    0x301C: "~",
    0x131: "i",
}
DOTTED_I = "i\u0307"

# Accents of Latin, Greek and Cyrillic letters, vowel points of Hebrew and Arabic, and the Arabic tatweel. Other marks
# carry the meaning of a word, such as the vowel signs of Devanagari.
MARKS = re.compile(
    "[\u0300-\u036f\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u0640\u064b-\u065f\u0670]"
)

# Letters that have no accent to drop, and Persian and final forms of Arabic letters.
PLAIN = dict(zip("øłđðħŧŋƒə\u06a9\u06cc\u0649", "olddhtnfe\u0643\u064a\u064a", strict=True))
LETTERS = str.maketrans({**PLAIN, "æ": "ae", "œ": "oe", "þ": "th"})

# Scripts without spaces between words, and pictographs: Thai, Lao, Burmese, Hangul, Khmer, kana, bopomofo, Han, emoji.
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u2300-\u2bff\u2e80-\ua4cf\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff"
    "\U0001b000-\U0001b16f\U0001f000-\U0001fbff\U00020000-\U0003ffff"
)
RUN = re.compile(rf"[{UNSPACED}]+|[^\s{UNSPACED}]+")
# Symbols that may be left out, as in don't, AC/DC and $uicideboy$.
SYMBOL_IN_WORD = re.compile(r"[^\W_](?:[^\w\s]|_)+[^\W_]|\$")

# Symbols that stand for letters: Ke$ha, A$AP, P!nk, Wh@t.
LETTER_SYMBOLS = {"$": "s", "!": "i", "@": "a"}
LETTER_SYMBOL = re.compile(r"\$(?=[^\W\d])|(?<=[^\W\d])\$|(?<=[^\W\d])[!@](?=[^\W\d])")
UNSPACED_LETTER = re.compile(f"[{UNSPACED}]")


# The words that tell one recording of a song from another, folded. They are in brackets, after the last dash, or
# before the guests.
VERSIONS = (
    "acoustic|anniversary|bonus|clean|cover|deluxe|demo|edit|edition|explicit|extended|feat|featuring|ft|"
    "instrumental|karaoke|live|mix|mono|original|radio|re-?master|re-?mastered|re-?recorded|recording|remix|session|"
    "single|soundtrack|stereo|unplugged|version"
)
OF_RECORDING = re.compile(
    rf"[(\[][^()\[\]]*\b(?:{VERSIONS})\b[^()\[\]]*[)\]]"
    rf"|\s-\s(?=[^()\[\]]*\b(?:{VERSIONS})\b)(?:(?!\s-\s).)*$|\s(?:feat|ft)\.?\s.*$"
)
LONGEST_NAME = 300  # characters of a name that tell its song


class _Clear(dict[int, Any]):
    """
    A translation table that keeps all other characters than its own.

    It grows by one entry for each character that it meets, so it is never larger than Unicode. A missing entry would
    cost `str.translate` an exception for each character.
    """

    def __missing__(self, code: int) -> int:
        self[code] = code
        return code


class _Separators(dict[int, int | str]):
    """A translation table that keeps letters, marks, digits and pictographs and turns other characters into spaces."""

    def __missing__(self, code: int) -> int | str:
        category = unicodedata.category(chr(code))
        self[code] = code if category[0] in "LMN" or category == "So" else " "
        return self[code]


CLEAR, SEPARATORS = _Clear({**CONTROLS, **INVISIBLE, **ALIKE}), _Separators()


def fold(text: str) -> str:
    """
    Return the normal form of a name, a title or a query.

    It is Unicode's NFKC_Casefold, in which case, composed accents, full-width letters and invisible characters make no
    difference. Beyond that, HTML entities become their characters, curly quotes straight ones, dashes hyphens, dotless
    i a plain one, and runs of white space one space.
    """
    if SIMPLE.fullmatch(text):
        return " ".join(text.lower().split())
    clear = ENTITY.sub(_unescape, text).translate(CLEAR)
    compatible = unicodedata.normalize("NFKC", clear).translate(CLEAR)  # 1/2 has a slash of its own before
    folded = compatible.casefold().replace(DOTTED_I, "i")
    return " ".join(unicodedata.normalize("NFKC", folded).split())


def normalize_title(title: str) -> str:
    """Return the words of *title*, folded, with a space between each two; of symbols alone, the folded symbols."""
    return _words(fold(title))


def song_name(name: str) -> str:
    """Return the normal form of the song that a track *name* is a recording of: `Help! - Live` is `help`."""
    folded = fold(name[:LONGEST_NAME])
    return _plain(_words(OF_RECORDING.sub("", folded).strip() or folded))


def title_terms(title: str) -> tuple[set[str], set[str]]:
    """Return the words and the 4-grams of a *title* as written."""
    normalized = normalize_title(title)
    return title_words(normalized), title_grams(normalized)


def title_words(title: str) -> set[str]:
    """Return the words of a normalised *title*, and the title without spaces: 'road trip' has 'roadtrip' too."""
    words = title.split()
    return {*words, "".join(words)} - {""}


def title_grams(title: str) -> set[str]:
    """Return the 4-grams of a normalised *title* padded by a space at either end."""
    padded = f" {title} "
    return {padded[i : i + GRAM_LENGTH] for i in range(len(padded) - GRAM_LENGTH + 1)}


def indexed_text(name: str) -> str:
    """
    Return *name* as the search index holds it: its words in plain letters, with spaces between.

    A run of a script without spaces becomes its pairs of letters and its last letter: 東京事変 is 東京 京事 事変 変.
    Words with symbols follow as people type them without: AC/DC is ac dc acdc, P!nk is p nk pnk pink.
    """
    folded = fold(name)
    runs = _runs(folded)
    typed = dict.fromkeys(chain.from_iterable(map(_runs, _without_symbols(folded))))
    return " ".join(chain.from_iterable(map(_indexed_words, (*runs, *(run for run in typed if run not in runs)))))


def search_expression(text: str) -> str:
    """
    Return the FTS5 expression that finds the words of *text* in the search index, '' if it has none.

    Words with symbols are also found without them. The last word may be unfinished if it has three letters or more, or
    one letter of a script without spaces.
    """
    folded = fold(text)
    return " OR ".join(dict.fromkeys(map(_all_words, (folded, *_without_symbols(folded)))))


def _unescape(entity: re.Match[str]) -> str:
    return html.unescape(f"&{entity[1]};")


def _plain(folded: str) -> str:
    """Return *folded* text without accents and vowel points, with ø as o and æ as ae."""
    if folded.isascii():
        return folded
    bare = MARKS.sub("", unicodedata.normalize("NFD", folded))
    return unicodedata.normalize("NFC", bare).translate(LETTERS)


def _words(folded: str) -> str:
    return " ".join(folded.translate(SEPARATORS).split()) or folded


def _without_symbols(folded: str) -> list[str]:
    """Return *folded* without the symbols in its words, and with letters in place of some, if it has such symbols."""
    if not SYMBOL_IN_WORD.search(folded):
        return []
    spelled = LETTER_SYMBOL.sub(lambda symbol: LETTER_SYMBOLS[symbol[0]], folded)
    texts = (" ".join(_joined(word) or word for word in text.split()) for text in (folded, spelled))
    return [text for text in dict.fromkeys(texts) if text != folded]


def _joined(word: str) -> str:
    return "".join(word.translate(SEPARATORS).split())


def _runs(folded: str) -> list[str]:
    plain = _plain(_words(folded))
    return plain.split() if plain.isascii() else RUN.findall(plain)


def _indexed_words(run: str) -> list[str]:
    return [run[at : at + 2] for at in range(len(run))] if UNSPACED_LETTER.match(run) else [run]


def _all_words(folded: str) -> str:
    runs = _runs(folded)
    return " ".join(_phrase(run, at == len(runs)) for at, run in enumerate(runs, 1))


def _phrase(run: str, last: bool) -> str:
    """Return *run* in quotes, with a star if the index may hold it with more letters."""
    words = _indexed_words(run)
    if len(words) > 1:
        return f'"{" ".join(words[:-1])}"'  # the pairs alone, as another letter may follow the last
    long = len(run) >= LEAST_PREFIX and any(map(str.isalnum, run))
    unfinished = UNSPACED_LETTER.match(run) or (last and long)
    return '"{}"{}'.format(run.replace('"', '""'), "*" if unfinished else "")
