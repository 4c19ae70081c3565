"""
Planted listeners in the format of Last.fm 360K, for benchmarks and tests.

As in the planted world of playlists every genre has scenes and every scene has artists; a listener lives in one scene,
plays most of its artists, some of the rest of its genre and a few of anywhere, and plays the popular ones more.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainer.progress import progress
from trainer.sources.synthetic import (
    N_SCENES,
    SCENES_PER_GENRE,
    artist_name,
    check_size,
    draw_scenes,
    mix,
    normal,
    partial_place,
    zipf,
)

BLOCK_LISTENERS = 1000
MOST_ARTISTS = 50  # Last.fm 360K has the fifty that each listener played most
FROM_SCENE, FROM_GENRE = 0.65, 0.25
UNIDENTIFIED_SHARE = 0.1  # of the artists, without a MusicBrainz id
USER_STREAM, ARTIST_STREAM = 11, 21

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Listeners:
    """
    A planted world of *n_listeners* listeners; everything is a function of the seed and of a number.

    Artists are numbered scene by scene, the most popular of a scene first.
    """

    n_listeners: int
    seed: int

    def __post_init__(self) -> None:
        check_size("listeners", self.n_listeners, self.seed)

    @cached_property
    def scene_artists(self) -> int:
        """Artists in a scene; by Heaps' law they grow with the listeners, to some 290,000 in all for 360,000."""
        return max(20, round(12 * math.pow(self.n_listeners, 0.79) / N_SCENES))

    def block(self, number: int) -> str:
        """The lines of the block of listeners with *number*."""
        first = number * BLOCK_LISTENERS
        count = min(BLOCK_LISTENERS, self.n_listeners - first)
        random = np.random.default_rng((self.seed, number))
        scenes = draw_scenes(random, count)
        drawn = self._artists(random, scenes)
        plays = np.exp(5 + 1.2 * normal(random, drawn.size).reshape(drawn.shape))
        lines: list[str] = []
        for index in range(count):
            user = "".join(f"{mix(self.seed, USER_STREAM + part, first + index):016x}" for part in range(3))[:40]
            artists = list(dict.fromkeys(drawn[index].tolist()))[:MOST_ARTISTS]
            counts = np.sort(plays[index, : len(artists)])[::-1].astype(np.int64) + 1
            lines += (
                f"{user}\t{self._mbid(artist)}\t{artist_name(artist)}\t{count}\n"
                for artist, count in zip(artists, counts.tolist(), strict=True)
            )
        return "".join(lines)

    def _artists(self, random: np.random.Generator, scenes: Ints) -> Ints:
        """For each listener the artists it came across, some of them more than once."""
        shape = (len(scenes), MOST_ARTISTS + 10)
        source, near = random.random(shape), random.random(shape)
        genres = scenes[:, None] // SCENES_PER_GENRE * SCENES_PER_GENRE
        sibling = genres + (near * SCENES_PER_GENRE).astype(np.int64)
        anywhere = (near * N_SCENES).astype(np.int64)
        scene = np.where(
            source < FROM_SCENE, scenes[:, None], np.where(source < FROM_SCENE + FROM_GENRE, sibling, anywhere)
        )
        return np.asarray(scene * self.scene_artists + zipf(random.random(shape), self.scene_artists, 4))

    def _mbid(self, artist: int) -> str:
        high, low = mix(self.seed, ARTIST_STREAM, artist), mix(self.seed, ARTIST_STREAM + 1, artist)
        if high / 2**64 < UNIDENTIFIED_SHARE:
            return ""
        text = f"{high:016x}{low:016x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def synthesize_listeners(out: Path, n_listeners: int, seed: int) -> None:
    """
    Write *n_listeners* planted listeners to the file *out*, tab-separated as Last.fm 360K is.

    It is written beside *out* first, so that *out* is there whole or not at all.

    Raises:
        BadConfig: *n_listeners* is out of range.
        BadInput: *out* exists already.
        OSError: it cannot be written.
    """
    listeners = Listeners(n_listeners, seed)
    partial = partial_place(out)
    try:
        with partial.open("w", encoding="utf-8") as file, progress(n_listeners, "inventing") as bar:
            for block in _blocks(listeners):
                file.write(block)
                bar.update(min(BLOCK_LISTENERS, n_listeners - bar.n))
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    partial.rename(out)


def _blocks(listeners: Listeners) -> Iterator[str]:
    for number in range(-(-listeners.n_listeners // BLOCK_LISTENERS)):
        yield listeners.block(number)
