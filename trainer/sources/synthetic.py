"""
A planted world in the Million Playlist Dataset's own format, for demos, benchmarks and tests.

Every genre has scenes, every scene has artists, every artist has tracks, and popularity has a long tail at each level.
A playlist lives in one scene: most of its tracks come from there, some from the rest of its genre, a few from the hits
of all, and its title fits its genre. So what a good recommender should find is known by construction.

Everything is a function of the seed and of a number (of a track, an artist, a slice), computed when it is asked for;
nothing is kept, so a world of 1,000,000 playlists takes no more memory than one of 1,000.
"""

import math
import shutil
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from trainer.errors import BadConfig, BadInput
from trainer.progress import progress

MOST = 1_000_000  # playlists, or listeners
SLICE_PLAYLISTS = 1000
SCENES_PER_GENRE = 8
TRACKS_PER_ARTIST = 7.6  # as in the Million Playlist Dataset

# Shares of a playlist's tracks: its own scene, another scene of its genre, the hits of all genres.
FROM_SCENE, FROM_GENRE = 0.7, 0.2

Ints = NDArray[np.int64]
T = TypeVar("T")

GENRES: dict[str, tuple[str, ...]] = {
    "jazz": ("late night jazz", "blue notes", "bebop", "cool jazz", "jazz for cooking"),
    "indie rock": ("indie", "guitars", "bedroom indie", "indie road trip", "college radio"),
    "hip hop": ("hip hop", "rap", "boom bap", "old school rap", "freestyle"),
    "country": ("country", "back roads", "country summer", "honky tonk", "tailgate"),
    "techno": ("techno", "warehouse", "after hours techno", "rave", "peak time"),
    "metal": ("metal", "heavy", "riffs", "metal workout", "headbangers"),
    "classical": ("classical", "piano", "classical focus", "strings", "sunday classical"),
    "reggae": ("reggae", "dub", "island reggae", "roots", "beach reggae"),
    "soul": ("soul", "motown nights", "slow soul", "sunday soul", "soul kitchen"),
    "folk": ("folk", "campfire", "acoustic folk", "folk mornings", "porch songs"),
    "pop": ("pop", "pop hits", "sing along", "pop party", "guilty pleasures"),
    "punk": ("punk", "three chords", "punk classics", "skate punk", "basement shows"),
    "ambient": ("ambient", "sleep", "deep focus", "drones", "floating"),
    "house": ("house", "deep house", "disco house", "pool party", "rooftop house"),
    "latin": ("latin", "salsa", "latin party", "bailando", "cumbia nights"),
    "blues": ("blues", "delta blues", "whiskey blues", "slide guitar", "blues bar"),
    "christmas": ("christmas", "holiday songs", "christmas dinner", "snow day", "under the tree"),
    "worship": ("worship", "praise", "sunday worship", "gospel", "quiet time"),
    "soundtracks": ("soundtracks", "movie scores", "epic scores", "film music", "end credits"),
    "k-pop": ("k-pop", "kpop dance", "seoul nights", "idols", "kpop girls"),
}
GENRE_NAMES = tuple(GENRES)
N_SCENES = len(GENRES) * SCENES_PER_GENRE
MOODS = ("chill", "happy", "sad", "workout", "study", "driving", "summer", "winter", "morning", "throwback")
PLAIN_TITLES = (
    "favorites",
    "new stuff",
    "my playlist",
    "random",
    "good songs",
    "liked",
    "mix",
    "songs",
    "party",
    "car",
)
PLAIN_SHARE = 0.12

ADJECTIVES = (
    "Amber Ancient Autumn Bitter Black Blue Brass Broken Burning Cobalt Cold Copper Crimson Crooked Crystal Distant "
    "Drifting Dusty Electric Empty Endless Faded Fallen Feral Foreign Frozen Gentle Ghost Gilded Golden Hidden Hollow "
    "Holy Hungry Idle Indigo Iron Ivory Jagged Lonely Lost Lunar Marble Mellow Midnight Modern Narrow Neon Northern "
    "Paper Patient Perfect Plastic Private Quiet Radiant Restless Rising Rusty Sacred Scarlet Secret Silent Silver "
    "Sleepless Slow Solar Southern Static Stolen Strange Sudden Sunken Tender Velvet Violet Wandering Western Wild"
).split()
NOUNS = (
    "Airports Anchors Animals Apartments Arrows Avenues Balconies Bells Birds Bridges Candles Canyons Castles Cities "
    "Clouds Coasts Comets Curtains Deserts Diamonds Doors Dreamers Echoes Elevators Embers Engines Fathers Fences "
    "Fields Fires Flowers Forests Gardens Gates Giants Harbors Hearts Highways Hills Horses Hotels Houses Hunters "
    "Islands Kings Kites Ladders Lanterns Letters Lights Lions Machines Maps Meadows Mirrors Monuments Moons Mothers "
    "Mountains Neighbors Oceans Orchards Palaces Parades Pilots Planets Poets Ponies Prophets Queens Radios Railways "
    "Ravens Rivers Rooftops Sailors Satellites Seasons Shadows Signals Sisters Sparrows Stars Statues Storms "
    "Strangers Streets Suburbs Summers Swimmers Tigers Towers Trains Valleys Vandals Villages Wanderers Waves Windows "
    "Wolves"
).split()
VERBS = (
    "Break Burn Call Carry Catch Chase Cross Dance Dream Drive Drown Fall Find Fly Follow Forget Hold Keep Kiss Know "
    "Leave Lose Love Meet Miss Move Need Open Paint Pray Remember Run Save Shake Shine Sing Sleep Start Stay Swim "
    "Take Tell Touch Turn Wait Wake Walk Want Watch Write"
).split()
FIRST_NAMES = (
    "Ada Alma Amir Anders Bela Bruno Cleo Dara Dina Edda Elio Emre Esme Farid Greta Hana Hugo Ida Ines Iris Ivo Jonas "
    "Juno Kaito Kira Lena Leon Lior Luca Mae Malik Mara Mila Nadia Nico Nils Nora Odette Omar Oskar Petra Quentin "
    "Rafa Remi Rosa Ruben Saskia Selma Silas Sven Tamar Thea Tomas Uma Vera Viggo Wanda Yara Yusuf Zora"
).split()
LAST_NAMES = (
    "Abbott Adeyemi Almeida Arslan Bachmann Baptiste Bergman Calloway Carver Castellan Dimitrov Dubois Eklund Falk "
    "Ferreira Fontaine Galloway Grimaldi Hadley Haugen Holloway Ibarra Ivanova Jansen Kessler Kimura Kowalski "
    "Lindqvist Lovell Marchetti Mbeki Meyer Moreau Nakamura Novak Okafor Olsen Orlov Pascal Pereira Quill Ramos Rossi "
    "Saito Salazar Sandoval Serrano Sinclair Sorensen Tanaka Thorne Ueda Valdez Vance Varga Virtanen Weller Yilmaz "
    "Zhang Zimmer"
).split()
BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
PAIRS = [low + high for high in BASE62 for low in BASE62]

TRACK_STREAM, ARTIST_STREAM, ALBUM_STREAM, NAME_STREAM = 1, 2, 3, 4


@dataclass(frozen=True)
class World:
    """
    A planted world for *n_playlists* playlists.

    Tracks are numbered scene by scene, the most popular of a scene first; artists likewise.
    """

    n_playlists: int
    seed: int

    def __post_init__(self) -> None:
        check_size("playlists", self.n_playlists, self.seed)

    @cached_property
    def scene_tracks(self) -> int:
        """Tracks in a scene; by Heaps' law they grow with the playlists, to 2.26 million in all for 1,000,000."""
        return max(20, round(40 * math.pow(self.n_playlists, 0.792) / N_SCENES))

    @cached_property
    def scene_artists(self) -> int:
        return max(4, round(self.scene_tracks / TRACKS_PER_ARTIST))

    def scene(self, track: int) -> int:
        return track // self.scene_tracks

    def genre(self, scene: int) -> str:
        return GENRE_NAMES[scene // SCENES_PER_GENRE]

    def artist(self, track: int) -> int:
        """The number of the artist of the track with number *track*; popular artists have more tracks."""
        place = zipf(np.array([_share(self.seed, TRACK_STREAM, track)]), self.scene_artists, 3)[0]
        return self.scene(track) * self.scene_artists + int(place)

    def slice(self, number: int) -> dict[str, Any]:
        """The slice with *number*, as the JSON of the Million Playlist Dataset."""
        first = number * SLICE_PLAYLISTS
        count = min(SLICE_PLAYLISTS, self.n_playlists - first)
        random = np.random.default_rng((self.seed, number))
        scenes = draw_scenes(random, count)
        lengths = np.clip(np.exp(3.9 + 0.75 * normal(random, count)), 5, 250).astype(np.int64)
        tracks = self._tracks(random, np.repeat(scenes, lengths))
        described: dict[int, dict[str, Any]] = {}
        playlists = []
        for index, rows in enumerate(np.split(tracks, np.cumsum(lengths)[:-1])):
            distinct = list(dict.fromkeys(rows.tolist()))
            title = self._title(random, int(scenes[index]))
            playlists.append(self._playlist(first + index, title, distinct, described, random))
        name = f"{first}-{first + SLICE_PLAYLISTS - 1}"
        return {
            "info": {"generated_on": "2017-12-03 08:41:42.057563", "slice": name, "version": "v1"},
            "playlists": playlists,
        }

    def _tracks(self, random: np.random.Generator, scenes: Ints) -> Ints:
        source = random.random(len(scenes))
        sibling = scenes // SCENES_PER_GENRE * SCENES_PER_GENRE + (
            random.random(len(scenes)) * SCENES_PER_GENRE
        ).astype(int)
        anywhere = (random.random(len(scenes)) * N_SCENES).astype(np.int64)
        scene = np.where(source < FROM_SCENE, scenes, np.where(source < FROM_SCENE + FROM_GENRE, sibling, anywhere))
        reach = np.where(source < FROM_SCENE + FROM_GENRE, self.scene_tracks, max(5, self.scene_tracks // 50))
        return np.asarray(scene * self.scene_tracks + zipf(random.random(len(scenes)), reach, 8))

    def _title(self, random: np.random.Generator, scene: int) -> str:
        kind, theme, mood, style = random.random(4)
        if kind < PLAIN_SHARE:
            title = _pick(PLAIN_TITLES, theme)
        elif kind < 0.3:
            title = self.genre(scene)
        elif kind < 0.75:
            title = _pick(GENRES[self.genre(scene)], theme)
        elif kind < 0.9:
            title = f"{_pick(MOODS, mood)} {self.genre(scene)}"
        else:
            title = f"{_pick(GENRES[self.genre(scene)], theme)} {1970 + 10 * int(mood * 5)}s"
        styled: tuple[Callable[[str], str], ...] = (str, str.title, str.title, str.capitalize, str.upper, "{}!".format)
        return str(_pick(styled, style)(title))

    def _playlist(
        self,
        pid: int,
        title: str,
        numbers: list[int],
        described: dict[int, dict[str, Any]],
        random: np.random.Generator,
    ) -> dict[str, Any]:
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

    def _describe(self, track: int) -> dict[str, Any]:
        artist = self.artist(track)
        album = artist * 8 + int(_share(self.seed, ALBUM_STREAM, track) * 4)
        return {
            "artist_name": artist_name(artist),
            "track_uri": f"spotify:track:{_uri(self.seed, TRACK_STREAM, track)}",
            "artist_uri": f"spotify:artist:{_uri(self.seed, ARTIST_STREAM, artist)}",
            "track_name": _phrase(_share(self.seed, NAME_STREAM, track)),
            "album_uri": f"spotify:album:{_uri(self.seed, ALBUM_STREAM, album)}",
            "duration_ms": 120_000 + int(_share(self.seed, ALBUM_STREAM, track) * 240_000),
            "album_name": _phrase(_share(self.seed, ALBUM_STREAM, album)),
        }


def synthesize(out: Path, n_playlists: int, seed: int) -> None:
    """
    Write a planted world of *n_playlists* playlists to *out*: a zip file where its name ends so, else a directory.

    It is written beside *out* first, so that *out* is there whole or not at all.

    Raises:
        BadConfig: *n_playlists* is out of range.
        BadInput: *out* exists already.
        OSError: it cannot be written.
    """
    world = World(n_playlists, seed)
    partial = partial_place(out)
    with _writer(partial, out.suffix.lower() == ".zip") as write, progress(n_playlists, "inventing") as bar:
        for number in range(-(-n_playlists // SLICE_PLAYLISTS)):
            content = world.slice(number)
            write(f"mpd.slice.{content['info']['slice']}.json", msgspec.json.encode(content))
            bar.update(len(content["playlists"]))
    partial.rename(out)


def check_size(what: str, n: int, seed: int) -> None:
    """
    Raises:
        BadConfig: a planted world of *n* of *what*, or of this *seed*, cannot be made.
    """
    if not 1 <= n <= MOST:
        raise BadConfig(f"{what} has to be between 1 and {MOST:,}; it is {n:,}")
    if seed < 0:
        raise BadConfig(f"seed has to be 0 or more; it is {seed}")


def partial_place(out: Path) -> Path:
    """
    Where *out* is written before it is whole.

    Raises:
        BadInput: *out* exists already.
    """
    if out.exists():
        raise BadInput(f"{out} exists already; remove it or name another place")
    out.parent.mkdir(parents=True, exist_ok=True)
    return out.with_name(f".{out.name}.partial")


def draw_scenes(random: np.random.Generator, count: int) -> Ints:
    """The scenes that *count* playlists or listeners live in, some of them more popular than others."""
    scenes = (random.random(count) ** 1.3 * N_SCENES).astype(np.int64)
    return scenes * 37 % N_SCENES  # so that neither a genre's nor a scene's place says how popular it is


@lru_cache(1 << 16)
def artist_name(number: int) -> str:
    """A name for the artist with *number* that no other has: the shorter ones first."""
    bands = len(ADJECTIVES) * len(NOUNS)
    persons = len(FIRST_NAMES) * len(LAST_NAMES)
    # Steps prime to what they go round, so that neighbours in number share no word.
    if number < bands:
        adjective, noun = divmod(number * 4561 % bands, len(NOUNS))
        return f"{ADJECTIVES[adjective]} {NOUNS[noun]}"
    if number < bands + persons:
        first, last = divmod((number - bands) * 1597 % persons, len(LAST_NAMES))
        return f"{FIRST_NAMES[first]} {LAST_NAMES[last]}"
    person, band = divmod(number - bands - persons, bands)
    return f"{artist_name(bands + person)} & the {artist_name(band)}"


@contextmanager
def _writer(path: Path, zipped: bool) -> Iterator[Callable[[str, bytes], object]]:
    """A function that writes a named slice below *path*, which is removed if anything fails."""
    shutil.rmtree(path, ignore_errors=True)
    path.unlink(missing_ok=True)
    try:
        if zipped:
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
                yield lambda name, text: archive.writestr(_member(name), text)
        else:
            path.mkdir()
            yield lambda name, text: (path / name).write_bytes(text)
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        path.unlink(missing_ok=True)
        raise


def _member(name: str) -> zipfile.ZipInfo:
    """A member of the zip, without the time of day, so that the same world is the same file."""
    member = zipfile.ZipInfo(f"data/{name}")
    member.compress_type = zipfile.ZIP_DEFLATED
    return member


def zipf(shares: NDArray[np.float64], n: Ints | int, offset: float) -> Ints:
    """Ranks from 0 up to *n* with weights near 1 / (rank + *offset*), by the inverse of their cumulative weight."""
    ranks = offset * ((n + offset) / offset) ** shares - offset
    return np.asarray(np.minimum(ranks.astype(np.int64), np.asarray(n) - 1))


def normal(random: np.random.Generator, count: int) -> NDArray[np.float64]:
    """About standard normal, from uniform numbers alone, whose stream numpy promises to keep."""
    return np.asarray(random.random((count, 12)).sum(axis=1) - 6)


def mix(seed: int, stream: int, number: int) -> int:
    """A 64-bit hash of three numbers, after Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators"."""
    mask = 2**64 - 1
    word = (seed * 0x9E3779B97F4A7C15 + stream * 0xBF58476D1CE4E5B9 + number * 0x94D049BB133111EB) & mask
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
        word = (word ^ (word >> shift)) * factor & mask
    return word


def _share(seed: int, stream: int, number: int) -> float:
    return mix(seed, stream, number) / 2**64


@lru_cache(1 << 16)
def _uri(seed: int, stream: int, number: int) -> str:
    """22 characters of base 62, as Spotify's ids have."""
    value = mix(seed, stream + 100, number) << 64 | mix(seed, stream + 200, number)
    pairs = []
    for _ in range(11):
        value, pair = divmod(value, len(PAIRS))
        pairs.append(PAIRS[pair])
    return "".join(pairs)


def _pick(options: Sequence[T], share: float) -> T:
    return options[int(share * len(options))]


def _phrase(share: float) -> str:
    """A title of a track or an album, a function of *share*, 0 to 1."""
    parts = []
    for _ in range(5):
        share = share * 97.0 % 1
        parts.append(share)
    adjective, noun, verb = _pick(ADJECTIVES, parts[0]), _pick(NOUNS, parts[1]), _pick(VERBS, parts[2])
    other, kind = _pick(NOUNS, parts[3]), parts[4]
    patterns = (
        f"{adjective} {noun}",
        f"{verb} the {noun}",
        f"{noun} and {other}",
        f"{verb} Me, {adjective} {noun}",
        f"{noun} of the {adjective} {other}",
        f"Don't {verb} My {noun}",
        f"{adjective}, {_pick(ADJECTIVES, parts[3])}",
        f"Where the {noun} {verb}",
    )
    return _pick(patterns, kind)
