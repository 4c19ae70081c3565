"""Names of genres, playlists, artists, albums and tracks, made of words."""

from collections.abc import Sequence
from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

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
MOODS = ("chill", "happy", "sad", "workout", "study", "driving", "summer", "winter", "morning", "throwback")
PLAIN_TITLES = tuple("favorites,new stuff,my playlist,random,good songs,liked,mix,songs,party,car".split(","))

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

PATTERNS = (
    "{a} {n}",
    "{v} the {n}",
    "{n} and {m}",
    "{v} Me, {a} {n}",
    "{n} of the {a} {m}",
    "Don't {v} My {n}",
    "{a}, {b}",
    "Where the {n} {v}",
)


def pick(options: Sequence[T], share: float) -> T:
    """Return the option at *share*, from 0 to 1, of *options*."""
    return options[int(share * len(options))]


@lru_cache(1 << 16)
def artist_name(number: int) -> str:
    """Return a name of its own for the artist with *number*; low numbers get short names."""
    bands = len(ADJECTIVES) * len(NOUNS)
    persons = len(FIRST_NAMES) * len(LAST_NAMES)
    # The factors are coprime to the moduli, so that neighbours in number share no word.
    if number < bands:
        adjective, noun = divmod(number * 4561 % bands, len(NOUNS))
        return f"{ADJECTIVES[adjective]} {NOUNS[noun]}"
    if number < bands + persons:
        first, last = divmod((number - bands) * 1597 % persons, len(LAST_NAMES))
        return f"{FIRST_NAMES[first]} {LAST_NAMES[last]}"
    person, band = divmod(number - bands - persons, bands)
    return f"{artist_name(bands + person)} & the {artist_name(band)}"


def phrases(shares: NDArray[np.float64]) -> list[str]:
    """Return a title of a track or an album for each of *shares*, from 0 to 1."""
    parts = []
    for _ in range(5):
        shares = shares * 97.0 % 1
        parts.append(shares)
    options = (ADJECTIVES, NOUNS, VERBS, ADJECTIVES, NOUNS, PATTERNS)
    drawn = zip(*map(_places, (*parts[:4], *parts[3:]), options), strict=True)
    return [
        PATTERNS[kind].format(a=ADJECTIVES[a], b=ADJECTIVES[b], n=NOUNS[n], m=NOUNS[m], v=VERBS[v])
        for a, n, v, b, m, kind in drawn
    ]


def _places(shares: NDArray[np.float64], options: Sequence[str]) -> list[int]:
    places: list[int] = (shares * len(options)).astype(np.int64).tolist()
    return places
