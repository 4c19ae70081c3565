"""The catalogue of format 2, whose names and titles are folded otherwise, and whose tracks are known by id alone."""

import unicodedata
from collections.abc import Collection, Iterator

from service.engine.catalogue import Catalogue, Step, without_prefix
from service.engine.items import Kind
from service.engine.text import SEPARATORS, title_grams, title_words


class CatalogueOfFormat2(Catalogue):
    """A catalogue of format 2 opened for reading; it answers as the releases that wrote it."""

    def terms_of(self, title: str) -> tuple[set[str], set[str]]:
        words = _words(title)
        return title_words(words), title_grams(words)

    def rows_of_ids(self, kind: Kind, ids: Collection[str]) -> list[int]:
        return list(self._rows_by(kind, "id", list(ids)).values())

    def search(self, kind: Kind, text: str) -> Iterator[int]:
        *words, last = _words(text).split() or [""]
        unfinished = "*" if len(last) >= 3 else ""
        return self._matching(kind, last and " ".join(f'"{word}"' for word in [*words, last]) + unfinished)

    def _steps(self, kind: Kind) -> list[Step]:
        ids, names, *_ = super()._steps(kind)
        if kind == "tracks":
            return [ids]
        return [ids, names, (lambda key: without_prefix(key).casefold(), self._by("folded", kind))]


def _words(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).lower().translate(SEPARATORS).split())
