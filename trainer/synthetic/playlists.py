"""
A synthetic world in the format of the Million Playlist Dataset, for demos, benchmarks and tests.

Every genre has scenes, every scene has artists, every artist has tracks, and popularity has a long tail at each level.
A playlist belongs to a scene: most of its tracks come from there, some from the rest of its genre, a few from the hits
of all, and its title fits its genre. So the right recommendations are known by construction.

Everything is a function of the seed and the number of a track, an artist or a slice, and is computed on demand. So a
world of 1,000,000 playlists takes no more memory than one of 1,000.
"""

import math
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from trainer.progress import progress
from trainer.synthetic.draws import N_SCENES, SCENES_PER_GENRE, Ints, check_size, draw_scenes, mix, normal, share, zipf
from trainer.synthetic.names import GENRE_NAMES, GENRES, MOODS, PLAIN_TITLES, artist_name, phrase, pick
from trainer.synthetic.output import written_whole

SLICE_PLAYLISTS = 1000
TRACKS_PER_ARTIST = 7.6  # as in the Million Playlist Dataset
PLAIN_SHARE = 0.12  # of titles that fit any genre

# Shares of a playlist's tracks: from its scene, from its genre. The rest comes from the hits of all genres.
FROM_SCENE, FROM_GENRE = 0.7, 0.2

BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
PAIRS = [low + high for high in BASE62 for low in BASE62]

TRACK_STREAM, ARTIST_STREAM, ALBUM_STREAM, NAME_STREAM = 1, 2, 3, 4

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
        """Tracks in a scene; they grow with the playlists by Heaps' law, to 2.26 million in all for 1,000,000."""
        return max(20, round(40 * math.pow(self.n_playlists, 0.792) / N_SCENES))

    @cached_property
    def scene_artists(self) -> int:
        """Artists in a scene."""
        return max(4, round(self.scene_tracks / TRACKS_PER_ARTIST))

    @property
    def n_slices(self) -> int:
        """Slices of up to 1,000 playlists."""
        return -(-self.n_playlists // SLICE_PLAYLISTS)

    def scene(self, track: int) -> int:
        """Return the scene of the track with number *track*."""
        return track // self.scene_tracks

    def genre(self, scene: int) -> str:
        """Return the genre of a scene."""
        return GENRE_NAMES[scene // SCENES_PER_GENRE]

    def artist(self, track: int) -> int:
        """Return the number of the artist of a track; popular artists have more tracks."""
        place = zipf(np.array([share(self.seed, TRACK_STREAM, track)]), self.scene_artists, 3)[0]
        return self.scene(track) * self.scene_artists + int(place)

    def slice(self, number: int) -> Json:
        """Return the slice with *number*, as the JSON of the Million Playlist Dataset."""
        first = number * SLICE_PLAYLISTS
        count = min(SLICE_PLAYLISTS, self.n_playlists - first)
        random = np.random.default_rng((self.seed, number))
        scenes = draw_scenes(random, count)
        lengths = np.clip(np.exp(3.9 + 0.75 * normal(random, count)), 5, 250).astype(np.int64)
        tracks = self._tracks(random, np.repeat(scenes, lengths))
        described: dict[int, Json] = {}
        playlists = []
        for index, rows in enumerate(np.split(tracks, np.cumsum(lengths)[:-1])):
            distinct = list(dict.fromkeys(rows.tolist()))
            title = self._title(random, int(scenes[index]))
            playlists.append(self._playlist(first + index, title, distinct, described, random))
        name = f"{first}-{first + SLICE_PLAYLISTS - 1}"
        info = {"generated_on": "2017-12-03 08:41:42.057563", "slice": name, "version": "v1"}
        return {"info": info, "playlists": playlists}

    def _tracks(self, random: np.random.Generator, scenes: Ints) -> Ints:
        source = random.random(len(scenes))
        near = (random.random(len(scenes)) * SCENES_PER_GENRE).astype(np.int64)
        sibling = scenes // SCENES_PER_GENRE * SCENES_PER_GENRE + near
        anywhere = (random.random(len(scenes)) * N_SCENES).astype(np.int64)
        in_genre = source < FROM_SCENE + FROM_GENRE
        scene = np.where(source < FROM_SCENE, scenes, np.where(in_genre, sibling, anywhere))
        reach = np.where(in_genre, self.scene_tracks, max(5, self.scene_tracks // 50))
        return np.asarray(scene * self.scene_tracks + zipf(random.random(len(scenes)), reach, 8))

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

    def _playlist(
        self, pid: int, title: str, numbers: list[int], described: dict[int, Json], random: np.random.Generator
    ) -> Json:
        for number in numbers:
            if number not in described:
                described[number] = self._describe(number)
        tracks = [{"pos": position, **described[number]} for position, number in enumerate(numbers)]
        followers, edits, modified = random.random(3)
        return {
            "name": title,
            "collaborative": "false",
            "pid": pid,
            "modified_at": 1_400_000_000 + 86_400 * int(modified * 1000),
            "num_tracks": len(tracks),
            "num_albums": len({track["album_uri"] for track in tracks}),
            "num_followers": 1 + int(2 * followers**8),
            "tracks": tracks,
            "num_edits": 1 + int(40 * edits**2),
            "duration_ms": sum(track["duration_ms"] for track in tracks),
            "num_artists": len({track["artist_uri"] for track in tracks}),
        }

    def _describe(self, track: int) -> Json:
        artist = self.artist(track)
        album = artist * 8 + int(share(self.seed, ALBUM_STREAM, track) * 4)
        return {
            "artist_name": artist_name(artist),
            "track_uri": f"spotify:track:{_uri(self.seed, TRACK_STREAM, track)}",
            "artist_uri": f"spotify:artist:{_uri(self.seed, ARTIST_STREAM, artist)}",
            "track_name": phrase(share(self.seed, NAME_STREAM, track)),
            "album_uri": f"spotify:album:{_uri(self.seed, ALBUM_STREAM, album)}",
            "duration_ms": 120_000 + int(share(self.seed, ALBUM_STREAM, track) * 240_000),
            "album_name": phrase(share(self.seed, ALBUM_STREAM, album)),
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
    write_slices(out, (world.slice(number) for number in range(world.n_slices)), n_playlists)


def write_slices(out: Path, slices: Iterable[Json], n_playlists: int) -> None:
    """Write *slices*, of *n_playlists* playlists in all, to *out*, as `synthesize` does."""
    zipped = out.suffix.lower() == ".zip"
    with written_whole(out) as partial, _writer(partial, zipped) as write, progress(n_playlists, "writing") as bar:
        for content in slices:
            write(f"mpd.slice.{content['info']['slice']}.json", msgspec.json.encode(content))
            bar.update(len(content["playlists"]))


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


@lru_cache(1 << 16)
def _uri(seed: int, stream: int, number: int) -> str:
    """Return 22 characters of base 62, like Spotify's ids."""
    value = mix(seed, stream + 100, number) << 64 | mix(seed, stream + 200, number)
    pairs = []
    for _ in range(11):
        value, pair = divmod(value, len(PAIRS))
        pairs.append(PAIRS[pair])
    return "".join(pairs)
