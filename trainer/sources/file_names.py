"""Names of playlists and of listeners, taken from their files and folders."""

import re
from pathlib import Path

from trainer.sources.chunked_files import PACKED_SUFFIXES

# Names that the exports give to files and folders, and numbers.
OF_EXPORTS = re.compile(
    r"(streaming_?history|endsong|yourlibrary|playlists?\d*$|my_?spotify_?data|mydata$|listens$|\d+$"
    r"|spotify[ _](account[ _]data|extended[ _]streaming[ _]history))",
    re.IGNORECASE,
)


def without_suffixes(name: str) -> str:
    """Return the path *name* without its suffix, and without that of a packing."""
    path = Path(name)
    path = path.with_suffix("") if path.suffix.lower() in PACKED_SUFFIXES else path
    return str(path.with_suffix(""))


def stem_of(name: str) -> str:
    """Return the name of the file *name* without its folder and its suffixes."""
    return Path(without_suffixes(name)).name


def playlist_id(name: str, place: str) -> str:
    """
    Return the id of the playlist in the file *name*.

    Args:
        name: path of the file.
        place: the same, below the folder of all inputs. Its own folder stands before a name that is alone: the name is
            often the same for several listeners.
    """
    return place if "/" in place else f"{Path(name).absolute().parent.name}/{stem_of(name)}"


def listener_of(name: str) -> str:
    """
    Return the listener of the file *name*: its stem, or the nearest folder or zip file that somebody named.

    Names that the exports themselves give, such as `StreamingHistory_music_0.json`, `MyData` and `my_spotify_data.zip`,
    are not names of listeners.
    """
    path = Path(name).absolute()
    names = [stem_of(name), *(folder.name.removesuffix(".zip") for folder in path.parents)]
    return next((given for given in names if given and not OF_EXPORTS.match(given)), "")
