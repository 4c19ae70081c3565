"""Ids of tracks and artists that have a name but no id."""

import unicodedata


def track_id(artist: str, name: str) -> str:
    """
    Return the id `ARTIST - NAME` of a track without an id, as M3U files write it.

    Both are stripped, their inner blanks become one space each, and their Unicode form is NFC. Letters stay as written.
    """
    return f"{artist_id(artist)} - {artist_id(name)}"


def artist_id(name: str) -> str:
    """Return the id of an artist without an id: the name in the form that `track_id` gives it."""
    return unicodedata.normalize("NFC", " ".join(name.split()))
