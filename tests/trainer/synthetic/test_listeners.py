"""Synthetic listeners in the format of Last.fm 360K."""

from pathlib import Path

import pytest

from trainer.errors import BadConfig, BadInput
from trainer.sources import read
from trainer.synthetic.draws import N_SCENES
from trainer.synthetic.listeners import Listeners, synthesize_listeners


def test_the_same_seed_makes_the_same_listeners(tmp_path: Path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        synthesize_listeners(tmp_path / name, 20, seed)

    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b != c


def test_listeners_are_read_as_last_fm_360k(tmp_path: Path):
    synthesize_listeners(tmp_path / "plays", 20, seed=3)

    (batch,) = read([tmp_path / "plays"])

    assert len(batch.playlist_ids) == 20
    assert 20 * 20 < len(batch.rows) <= 20 * 50
    assert all(artist.name for artist in batch.artists)


def test_a_listener_plays_each_artist_once_and_the_popular_ones_more():
    lines = [line.split("\t") for line in Listeners(1, seed=3).block(0).splitlines()]
    counts = [int(line[3]) for line in lines]

    assert len({line[2] for line in lines}) == len(lines)
    assert counts == sorted(counts, reverse=True)


def test_a_block_holds_the_listeners_after_the_block_before():
    listeners = Listeners(1005, seed=3)

    assert len({line.partition("\t")[0] for line in listeners.block(1).splitlines()}) == 5


def test_the_artists_grow_to_the_number_of_the_real_ones():
    assert N_SCENES * Listeners(360_000, seed=0).scene_artists == pytest.approx(290_000, rel=0.02)


def test_a_number_of_listeners_out_of_range_is_refused(tmp_path: Path):
    with pytest.raises(BadConfig, match="listeners has to be between 1 and 1,000,000"):
        synthesize_listeners(tmp_path / "plays", 0, seed=0)


def test_an_existing_file_is_not_overwritten(tmp_path: Path):
    (tmp_path / "plays").write_text("mine")

    with pytest.raises(BadInput, match="exists already"):
        synthesize_listeners(tmp_path / "plays", 10, seed=0)
    assert (tmp_path / "plays").read_text() == "mine"
