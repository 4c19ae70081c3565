"""
A synthetic world in the format of the Million Playlist Dataset, for demos, benchmarks and tests.

Every genre has scenes, every scene has artists, every artist has tracks, and popularity has a long tail at each level.
A playlist belongs to a scene: most of its tracks come from there, some from the rest of its genre, a few from the hits
of all, and its title fits its genre. So the right recommendations are known by construction.

Nearly half of the tracks of a large world occur in one playlist, as in the Million Playlist Dataset.

Everything is a function of the seed and the number of a track, an artist or a slice, and is computed on demand. So a
world of 1,000,000 playlists takes no more memory than one of 1,000, and processes share the work.
"""

import math
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from trainer.output import each_in_turn, written_whole
from trainer.progress import progress
from trainer.synthetic.draws import N_SCENES, SCENES_PER_GENRE, Ints, check_size, draw_scenes, mix, normal, shares, zipf
from trainer.synthetic.names import GENRE_NAMES, GENRES, MOODS, PLAIN_TITLES, artist_name, phrases, pick

SLICE_PLAYLISTS = 1000
TRACKS_PER_ARTIST = 7.6  # as in the Million Playlist Dataset
PLAIN_SHARE = 0.12  # of titles that fit any genre

# Shares of a playlist's tracks: from its scene, from its genre. The rest comes from the hits of all genres.
FROM_SCENE, FROM_GENRE = 0.7, 0.2
RARE = 0.026  # rare ones of its scene; FROM_SCENE contains them
MEAN_LENGTH = 66
OCCURRING = 1 - math.exp(-0.5)  # share of rare tracks that are drawn at all, as there are two for each draw

BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
PAIRS = np.array([low + high for high in BASE62 for low in BASE62], "S2")

TRACK_STREAM, ARTIST_STREAM, ALBUM_STREAM, NAME_STREAM = 1, 2, 3, 4

# No name has a character that JSON escapes.
TRACK = (
    '"artist_name":"%s","track_uri":"spotify:track:%s","artist_uri":"spotify:artist:%s","track_name":"%s",'
    '"album_uri":"spotify:album:%s","duration_ms":%d,"album_name":"%s"}'
)

Json = dict[str, Any]


@dataclass(frozen=True)
class World:
    """
    A synthetic world of playlists.

    Tracks are numbered scene by scene, the most popular of a scene first; artists likewise.

    Raises:
        BadConfig: *n_playlists* is not from 1 to 1,000,000, or *seed* is below 0.
    """

    n_playlists: int
    seed: int

    def __post_init__(self) -> None:
        check_size("playlists", self.n_playlists, self.seed)

    @cached_property
    def scene_tracks(self) -> int:
        """Tracks in a scene that are not rare; they grow with the playlists by Heaps' law."""
        return max(20, round(40 * math.pow(self.n_playlists, 0.725) / N_SCENES))

    @cached_property
    def scene_size(self) -> int:
        """Tracks in a scene, rare ones included: two for each time that a rare one is drawn."""
        return self.scene_tracks + round(2 * RARE * MEAN_LENGTH * self.n_playlists / N_SCENES)

    @cached_property
    def scene_artists(self) -> int:
        """Artists in a scene."""
        occurring = self.scene_tracks + OCCURRING * (self.scene_size - self.scene_tracks)
        return max(4, round(occurring / TRACKS_PER_ARTIST))

    @property
    def n_slices(self) -> int:
        """Slices of up to 1,000 playlists."""
        return -(-self.n_playlists // SLICE_PLAYLISTS)

    def scenes(self, tracks: Ints) -> Ints:
        """Return the scene of each track."""
        return tracks // self.scene_size

    def genre(self, scene: int) -> str:
        """Return the genre of a scene."""
        return GENRE_NAMES[scene // SCENES_PER_GENRE]

    def artists(self, tracks: Ints) -> Ints:
        """Return the number of the artist of each track; popular artists have more tracks."""
        places = zipf(shares(self.seed, TRACK_STREAM, tracks), self.scene_artists, 3)
        return np.asarray(self.scenes(tracks) * self.scene_artists + places)

    def slice(self, number: int) -> bytes:
        """Return the slice with *number*, as the JSON of the Million Playlist Dataset."""
        first = number * SLICE_PLAYLISTS
        count = min(SLICE_PLAYLISTS, self.n_playlists - first)
        random = np.random.default_rng((self.seed, number))
        scenes = draw_scenes(random, count)
        lengths = np.clip(np.exp(4.02 + 0.75 * normal(random, count)), 5, 250).astype(np.int64)
        numbers, places = np.unique(self._tracks(random, np.repeat(scenes, lengths)), return_inverse=True)
        tracks = self._describe(numbers)
        playlists = []
        for index, drawn in enumerate(np.split(places, np.cumsum(lengths)[:-1])):
            title = self._title(random, int(scenes[index]))
            distinct = np.array(list(dict.fromkeys(drawn.tolist())))
            playlists.append(_playlist(first + index, title, tracks, distinct, random))
        name = f"{first}-{first + SLICE_PLAYLISTS - 1}"
        info = {"generated_on": "2017-12-03 08:41:42.057563", "slice": name, "version": "v1"}
        return msgspec.json.encode({"info": info, "playlists": playlists})

    def _tracks(self, random: np.random.Generator, scenes: Ints) -> Ints:
        source = random.random(len(scenes))
        near = (random.random(len(scenes)) * SCENES_PER_GENRE).astype(np.int64)
        sibling = scenes // SCENES_PER_GENRE * SCENES_PER_GENRE + near
        anywhere = (random.random(len(scenes)) * N_SCENES).astype(np.int64)
        in_genre = source < FROM_SCENE + FROM_GENRE
        scene = np.where(source < FROM_SCENE, scenes, np.where(in_genre, sibling, anywhere))
        reach = np.where(in_genre, self.scene_tracks, max(5, self.scene_tracks // 50))
        share = random.random(len(scenes))
        rare = self.scene_tracks + (share * (self.scene_size - self.scene_tracks)).astype(np.int64)
        return np.asarray(scene * self.scene_size + np.where(source < RARE, rare, zipf(share, reach, 8)))

    def _title(self, random: np.random.Generator, scene: int) -> str:
        kind, theme, mood, style = random.random(4)
        if kind < PLAIN_SHARE:
            title = pick(PLAIN_TITLES, theme)
        elif kind < 0.3:
            title = self.genre(scene)
        elif kind < 0.75:
            title = pick(GENRES[self.genre(scene)], theme)
        elif kind < 0.9:
            title = f"{pick(MOODS, mood)} {self.genre(scene)}"
        else:
            title = f"{pick(GENRES[self.genre(scene)], theme)} {1970 + 10 * int(mood * 5)}s"
        styled: tuple[Callable[[str], str], ...] = (str, str.title, str.title, str.capitalize, str.upper, "{}!".format)
        return pick(styled, style)(title)

    def _describe(self, numbers: Ints) -> "_Tracks":
        artists, kinds = self.artists(numbers), shares(self.seed, ALBUM_STREAM, numbers)
        albums, durations = artists * 8 + (kinds * 4).astype(np.int64), 120_000 + (kinds * 240_000).astype(np.int64)
        described = zip(
            map(artist_name, artists.tolist()),
            _ids(self.seed, TRACK_STREAM, numbers),
            _ids(self.seed, ARTIST_STREAM, artists),
            phrases(shares(self.seed, NAME_STREAM, numbers)),
            _ids(self.seed, ALBUM_STREAM, albums),
            durations.tolist(),
            phrases(shares(self.seed, ALBUM_STREAM, albums)),
            strict=True,
        )
        return _Tracks(albums, artists, durations, [TRACK % fields for fields in described])


@dataclass(frozen=True)
class _Tracks:
    """Tracks with the numbers of their albums and artists, and the JSON of each without its beginning."""

    albums: Ints
    artists: Ints
    durations: Ints
    texts: list[str]


def _playlist(pid: int, title: str, tracks: _Tracks, rows: Ints, random: np.random.Generator) -> Json:
    """Return a playlist of the tracks in *rows*."""
    texts = [f'{{"pos":{position},{tracks.texts[row]}' for position, row in enumerate(rows.tolist())]
    followers, edits, modified = random.random(3)
    return {
        "name": title,
        "collaborative": "false",
        "pid": pid,
        "modified_at": 1_400_000_000 + 86_400 * int(modified * 1000),
        "num_tracks": len(rows),
        "num_albums": len(set(tracks.albums[rows].tolist())),
        "num_followers": 1 + int(2 * followers**8),
        "tracks": msgspec.Raw(f"[{','.join(texts)}]".encode()),
        "num_edits": 1 + int(40 * edits**2),
        "duration_ms": int(tracks.durations[rows].sum()),
        "num_artists": len(set(tracks.artists[rows].tolist())),
    }


def synthesize(out: Path, n_playlists: int, seed: int) -> None:
    """
    Write a synthetic world to *out*: a zip file if its name ends in .zip, otherwise a directory.

    Raises:
        BadConfig: *n_playlists* or *seed* is out of range.
        BadInput: *out* exists already.
        OSError: it cannot be written.
    """
    world = World(n_playlists, seed)
    zipped = out.suffix.lower() == ".zip"
    with written_whole(out) as partial, _writer(partial, zipped) as write, progress(n_playlists, "writing") as bar:
        for number, content in enumerate(each_in_turn(world.slice, range(world.n_slices), world.n_slices)):
            first = number * SLICE_PLAYLISTS
            write(f"mpd.slice.{first}-{first + SLICE_PLAYLISTS - 1}.json", content)
            bar.update(min(SLICE_PLAYLISTS, n_playlists - first))


@contextmanager
def _writer(path: Path, zipped: bool) -> Iterator[Callable[[str, bytes], object]]:
    """Yield a function that writes a named slice below *path*."""
    if zipped:
        with zipfile.ZipFile(path, "w") as archive:
            # A ZipInfo has no time of day, so equal worlds are equal files.
            yield lambda name, text: archive.writestr(zipfile.ZipInfo(f"data/{name}"), text, zipfile.ZIP_DEFLATED, 1)
    else:
        path.mkdir()
        yield lambda name, text: (path / name).write_bytes(text)


def _ids(seed: int, stream: int, numbers: Ints) -> list[str]:
    """Return 22 characters of base 62, like Spotify's ids, for each of *numbers*."""
    words = (mix(seed, stream + 100, numbers), mix(seed, stream + 200, numbers))
    limbs = [part for word in words for part in (word >> np.uint64(32), word & np.uint64(2**32 - 1))]
    pairs = np.empty((len(numbers), 11), "S2")
    for column in range(11):
        rest = np.zeros(len(numbers), np.uint64)
        for place, limb in enumerate(limbs):
            limbs[place], rest = np.divmod(rest << np.uint64(32) | limb, np.uint64(len(PAIRS)))
        pairs[:, column] = PAIRS[rest]
    return pairs.view("S22").ravel().astype("U22").tolist()
