"""Ids of tracks that have an artist and a name but no id."""

import unicodedata


def track_id(artist: str, name: str) -> str:
    """
    Return the id `ARTIST - NAME` of a track without an id, as M3U files write it.

    Both are stripped, their inner blanks become one space each, and their Unicode form is NFC. Letters stay as written.
    """
    return f"{_clean(artist)} - {_clean(name)}"


def _clean(text: str) -> str:
    return unicodedata.normalize("NFC", " ".join(text.split()))
