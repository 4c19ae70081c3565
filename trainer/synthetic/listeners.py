"""
Synthetic listeners in the format of Last.fm 360K, for benchmarks and tests.

Every genre has scenes and every scene has artists, as in the synthetic world of playlists. A listener belongs to a
scene: most artists come from there, some from the rest of its genre, a few from anywhere.
"""

import itertools
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from uuid import UUID

import numpy as np

from trainer.output import each_in_turn, written_whole
from trainer.progress import progress
from trainer.synthetic.draws import (
    N_SCENES,
    SCENES_PER_GENRE,
    Ints,
    Shares,
    Words,
    check_size,
    draw_scenes,
    mix,
    normal,
    zipf,
)
from trainer.synthetic.names import artist_name

BLOCK_LISTENERS = 1000
MOST_ARTISTS = 50  # as in Last.fm 360K
FROM_SCENE, FROM_GENRE = 0.65, 0.25
UNIDENTIFIED_SHARE = 0.1  # of artists, without a MusicBrainz id
USER_STREAM, ARTIST_STREAM = 11, 21


@dataclass(frozen=True)
class Listeners:
    """
    A synthetic world of listeners, a function of the seed.

    Artists are numbered scene by scene, the most popular of a scene first.

    Raises:
        BadConfig: *n_listeners* is not from 1 to 1,000,000, or *seed* is below 0.
    """

    n_listeners: int
    seed: int

    def __post_init__(self) -> None:
        check_size("listeners", self.n_listeners, self.seed)

    @cached_property
    def scene_artists(self) -> int:
        """Artists in a scene; they grow with the listeners by Heaps' law, to 290,000 in all for 360,000."""
        return max(20, round(12 * math.pow(self.n_listeners, 0.79) / N_SCENES))

    def block(self, number: int) -> str:
        """Return the lines of the block of up to 1,000 listeners with *number*."""
        first = number * BLOCK_LISTENERS
        count = min(BLOCK_LISTENERS, self.n_listeners - first)
        random = np.random.default_rng((self.seed, number))
        scenes = draw_scenes(random, count)
        drawn = self._artists(random, scenes)
        plays = np.exp(5 + 1.2 * normal(random, drawn.size).reshape(drawn.shape))
        users = _hexadecimal(*(mix(self.seed, USER_STREAM + part, first + np.arange(count)) for part in range(3)))
        distinct = np.unique(drawn)
        artists = dict(zip(distinct.tolist(), self._artists_as_text(distinct), strict=True))
        return "".join(map(self._lines, users, drawn.tolist(), plays, itertools.repeat(artists)))

    def _lines(self, user: str, drawn: list[int], plays: Shares, artists: dict[int, str]) -> str:
        kept = list(dict.fromkeys(drawn))[:MOST_ARTISTS]
        counts = np.sort(plays[: len(kept)])[::-1].astype(np.int64) + 1
        lines = zip(kept, counts.tolist(), strict=True)
        return "".join(f"{user[:40]}\t{artists[artist]}\t{count}\n" for artist, count in lines)

    def _artists(self, random: np.random.Generator, scenes: Ints) -> Ints:
        """Draw the artists of each listener, with repetitions."""
        shape = (len(scenes), MOST_ARTISTS + 10)
        source, near = random.random(shape), random.random(shape)
        genres = scenes[:, None] // SCENES_PER_GENRE * SCENES_PER_GENRE
        sibling = genres + (near * SCENES_PER_GENRE).astype(np.int64)
        anywhere = (near * N_SCENES).astype(np.int64)
        in_genre = np.where(source < FROM_SCENE + FROM_GENRE, sibling, anywhere)
        scene = np.where(source < FROM_SCENE, scenes[:, None], in_genre)
        return np.asarray(scene * self.scene_artists + zipf(random.random(shape), self.scene_artists, 4))

    def _artists_as_text(self, artists: Ints) -> list[str]:
        high, low = (mix(self.seed, ARTIST_STREAM + part, artists) for part in range(2))
        identified = (high / 2.0**64 >= UNIDENTIFIED_SHARE).tolist()
        ids = [
            str(UUID(text)) if known else "" for known, text in zip(identified, _hexadecimal(high, low), strict=True)
        ]
        return [f"{id_}\t{artist_name(artist)}" for id_, artist in zip(ids, artists.tolist(), strict=True)]


def _hexadecimal(*words: Words) -> list[str]:
    return ["".join(f"{word:016x}" for word in each) for each in zip(*(part.tolist() for part in words), strict=True)]


def synthesize_listeners(out: Path, n_listeners: int, seed: int) -> None:
    """
    Write synthetic listeners to the file *out*, tab-separated like Last.fm 360K.

    Raises:
        BadConfig: *n_listeners* or *seed* is out of range.
        BadInput: *out* exists already.
        OSError: it cannot be written.
    """
    listeners = Listeners(n_listeners, seed)
    with (
        written_whole(out) as partial,
        partial.open("w", encoding="utf-8") as file,
        progress(n_listeners, "writing") as bar,
    ):
        n_blocks = -(-n_listeners // BLOCK_LISTENERS)
        for block in each_in_turn(listeners.block, range(n_blocks), n_blocks):
            file.write(block)
            bar.update(min(BLOCK_LISTENERS, n_listeners - bar.n))
