"""Ids of tracks that have an artist and a name but no id."""

import pytest

from trainer.sources.names import track_id


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
