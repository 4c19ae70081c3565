"""Ids of tracks and artists that have a name but no id."""

import pytest

from trainer.sources.names import artist_id, track_id


@pytest.mark.parametrize(
    ("artist", "name", "id_"),
    [
        ("Radiohead", "Creep", "Radiohead - Creep"),
        ("  The  xx\t", " Intro\n", "The xx - Intro"),
        ("Sigur Ro\u0301s", "Hoppi\u0301polla", "Sigur R\xf3s - Hopp\xedpolla"),
        ("AC/DC", "T.N.T. - Live", "AC/DC - T.N.T. - Live"),
        ("MGMT", "kids", "MGMT - kids"),
    ],
)
def test_the_id_is_the_artist_and_the_name_with_blanks_and_accents_in_one_form(artist, name, id_):
    assert track_id(artist, name) == id_


@pytest.mark.parametrize("name", ["Sigur Rós", "Sigur Ro\u0301s", " Sigur  Ro\u0301s\n"])
def test_the_id_of_an_artist_has_that_form_too(name: str):
    assert artist_id(name) == "Sigur Rós"
