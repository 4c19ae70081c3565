"""Playlist files of players, iTunes' library, and Spotify's playlists and library, in their exact shapes."""

import gzip
import json
import plistlib
import zipfile
from pathlib import Path
from typing import Any

import pytest

from trainer.config import ReadOptions
from trainer.errors import BadInput
from trainer.sources import Account, SourcePlaylist, SourceTrack, read

URI = "spotify:track:4uLU6hMCjMI75M1A2tKUQC"
MBID = "e8f9b188-f819-4e43-ab0f-4bd26ce9ff56"
CREEP = SourceTrack("Radiohead - Creep", "Creep", "Radiohead", "Radiohead")
JOGA = SourceTrack("Björk - Jóga", "Jóga", "Björk", "Björk")
LENIENT = ReadOptions(max_odd=1)


def playlists(path: Path) -> list[SourcePlaylist]:
    found = list(read([path], LENIENT))
    return [playlist for playlist in found if isinstance(playlist, SourcePlaylist)]


def tracks(path: Path) -> list[SourceTrack]:
    return [track for playlist in playlists(path) for track in playlist.tracks]


def account(path: Path) -> Account:
    reading = read([path], LENIENT)
    list(reading)
    return reading.groups[0].account


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


M3U = """#EXTM3U
#PLAYLIST:Rainy morning
#EXTINF:238,Radiohead - Creep
..\\Music\\Radiohead\\02 Creep.mp3

#EXTINF:-1 group-title="A, B",Björk - Jóga
file:///music/x.flac
"""
PLS = """[playlist]
File2=/music/x.flac
Title2=Björk - Jóga
Length2=-1
File1=/music/c.mp3
Title1=Radiohead - Creep
NumberOfEntries=2
Version=2
"""
XSPF = """<?xml version="1.0" encoding="UTF-8"?>
<playlist version="1" xmlns="http://xspf.org/ns/0/">
  <title>Rainy morning</title>
  <trackList>
    <track><location>file:///music/c.mp3</location><title>Creep</title><creator>Radiohead</creator></track>
    <track><title>Björk - Jóga</title></track>
  </trackList>
</playlist>
"""
JSPF = json.dumps(
    {
        "playlist": {
            "title": "Rainy morning",
            "creator": "rob",
            "track": [
                {"title": "Creep", "creator": "Radiohead"},
                {"title": "Jóga", "creator": "Björk", "location": []},
            ],
        }
    },
    indent=2,
)
LIBRARY: dict[str, Any] = {
    "Major Version": 1,
    "Application Version": "12.9.5.5",
    "Tracks": {
        "839": {"Track ID": 839, "Name": "Creep", "Artist": "Radiohead", "Play Count": 3},
        "841": {"Track ID": 841, "Name": "Jóga", "Album Artist": "Björk"},
        "843": {"Track ID": 843, "Name": "Episode", "Artist": "Host", "Podcast": True},
    },
    "Playlists": [
        {"Name": "Library", "Master": True, "Playlist Items": [{"Track ID": 839}]},
        {"Name": "Music", "Distinguished Kind": 4, "Music": True, "Playlist Items": [{"Track ID": 839}]},
        {"Name": "Recently Added", "Smart Info": b"\1", "Smart Criteria": b"\1", "Playlist Items": [{"Track ID": 839}]},
        {"Name": "Folder", "Folder": True, "Playlist Items": [{"Track ID": 839}]},
        {
            "Name": "Rainy morning",
            "Playlist ID": 6652,
            "Playlist Persistent ID": "88CED99A2F698F3C",
            "All Items": True,
            "Playlist Items": [{"Track ID": 839}, {"Track ID": 841}, {"Track ID": 843}],
        },
    ],
}
SPOTIFY: dict[str, Any] = {
    "playlists": [
        {
            "name": "Rainy morning",
            "lastModifiedDate": "2025-11-13",
            "collaborators": [],
            "items": [
                {
                    "track": {
                        "trackName": "Creep",
                        "artistName": "Radiohead",
                        "albumName": "Pablo Honey",
                        "trackUri": URI,
                    },
                    "episode": None,
                    "audiobook": None,
                    "localTrack": None,
                    "addedDate": "2025-11-11",
                },
                {"track": None, "episode": {"episodeName": "E"}, "audiobook": None, "localTrack": None},
                {
                    "track": None,
                    "episode": None,
                    "localTrack": {"uri": "spotify:local:Bj%C3%B6rk:Homogenic:J%C3%B3ga:305"},
                },
            ],
            "description": None,
            "numberOfFollowers": 0,
        }
    ]
}
SAVED: dict[str, Any] = {
    "tracks": [{"artist": "Radiohead", "album": "Pablo Honey", "track": "Creep", "uri": URI}],
    "albums": [],
    "shows": [],
    "episodes": [],
    "bannedTracks": [{"artist": "X", "album": "Y", "track": "Z", "uri": "spotify:track:2"}],
    "artists": [],
    "bannedArtists": [],
    "other": [],
}


@pytest.mark.parametrize(
    ("name", "content", "format_"),
    [
        ("a.m3u8", M3U, "M3U"),
        ("a", M3U, "M3U"),
        ("a.pls", PLS, "PLS"),
        ("a.xspf", XSPF, "XSPF"),
        ("a.xml", XSPF, "XSPF"),
        ("a.jspf", JSPF, "JSPF"),
        ("a.json", JSPF, "JSPF"),
    ],
)
def test_a_playlist_file_is_a_playlist_of_named_tracks(tmp_path: Path, name: str, content: str, format_: str):
    path = write(tmp_path / "ann" / name, content)

    (playlist,) = playlists(path)

    assert (playlist.id, list(playlist.tracks)) == ("ann/a", [CREEP, JOGA])
    assert playlist.title == ("a" if format_ == "PLS" else "Rainy morning")
    assert account(path).format == format_


def test_a_folder_of_playlist_files_is_a_playlist_a_file(tmp_path: Path):
    for name, content in (("a.m3u", M3U), ("b.pls", PLS), ("c.xspf", XSPF), ("d.jspf", JSPF), ("e.m3u.gz", f"{M3U}\n")):
        write(tmp_path / "ann" / name, gzip.compress(content.encode()) if name.endswith(".gz") else content)
    write(tmp_path / "bob" / "a.m3u", f"\n{M3U}")

    found = playlists(tmp_path)

    assert [playlist.id for playlist in found] == ["ann/a", "ann/b", "ann/c", "ann/d", "ann/e", "bob/a"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_an_m3u_of_paths_alone_takes_names_from_the_files(tmp_path: Path, encoding: str, newline: str):
    lines = ["D:\\Music\\02 - Radiohead - Creep.mp3", "# a comment", "music/Björk – Jóga.flac"]
    path = write(tmp_path / "a.m3u", newline.join(lines).encode(encoding))

    assert tracks(path) == [CREEP, JOGA]


@pytest.mark.parametrize(
    ("location", "id_"),
    [
        ("01. AC_DC - T.N.T..mp3", "AC_DC - T.N.T."),
        ("50 Cent - In da Club.mp3", "50 Cent - In da Club"),
        ("311 - Down.mp3", "311 - Down"),
        ("file:///a%20b/Jay-Z%20-%2099%20Problems.m4a", "Jay-Z - 99 Problems"),
        ("http://radio.example/Beck%20-%20Loser.mp3?x=1", "Beck - Loser"),
        (URI, URI),
        ("https://open.spotify.com/track/4uLU6hMCjMI75M1A2tKUQC?si=1", URI),
    ],
)
def test_a_location_without_a_caption_gives_the_id(tmp_path: Path, location: str, id_: str):
    path = write(tmp_path / "a.m3u8", location)

    assert [track.id for track in tracks(path)] == [id_]


@pytest.mark.parametrize(
    ("location", "id_"),
    [
        ("file:///Bj%C3%B6rk%20-%20100%25.mp3", "Bj\u00f6rk - 100%"),
        ("file:///A%20-%2050%2525%3F.mp3", "A - 50%25?"),
        ("file:///A%20-%20What%3F%20Why.mp3", "A - What? Why"),
    ],
)
def test_a_location_in_xspf_is_decoded_once(tmp_path: Path, location: str, id_: str):
    content = f'<playlist xmlns="http://xspf.org/ns/0/"><trackList><track><location>{location}</location></track></trackList></playlist>'

    (playlist,) = playlists(write(tmp_path / "a.xspf", content))

    assert [track.id for track in playlist.tracks] == [id_]


def test_a_file_whose_name_has_no_artist_is_odd(tmp_path: Path):
    path = write(tmp_path / "a.m3u8", f"{M3U}03 - Intro.mp3\nhttp://radio.example/stream\n")

    assert tracks(path) == [CREEP, JOGA]
    assert account(path).odd["no artist and name"].places == ["track 3", "track 4"]


@pytest.mark.parametrize("field", ["identifier", "location"])
def test_catalogue_ids_win_over_names(tmp_path: Path, field: str):
    recording = {"title": "Jóga", "creator": "Björk", field: [f"https://musicbrainz.org/recording/{MBID}"]}
    jspf = write(tmp_path / "a.jspf", json.dumps({"playlist": {"track": [recording]}}))
    xspf = write(tmp_path / "a.xspf", XSPF.replace("<title>Creep", f"<{field}>{URI}</{field}><title>Creep", 1))

    assert tracks(jspf) == [JOGA._replace(id=MBID)]
    assert field == "location" or tracks(xspf) == [CREEP._replace(id=URI), JOGA]


def test_a_stream_is_refused_by_name(tmp_path: Path):
    path = write(tmp_path / "a.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:9.009,\nsegment1.ts\n")

    with pytest.raises(BadInput, match="it is a stream"):
        read([path])


@pytest.mark.parametrize("form", [plistlib.FMT_XML, plistlib.FMT_BINARY])
def test_the_library_of_itunes_gives_the_playlists_of_its_owner(tmp_path: Path, form: plistlib.PlistFormat):
    path = write(tmp_path / "Library.xml", plistlib.dumps(LIBRARY, fmt=form))

    assert playlists(path) == [SourcePlaylist("88CED99A2F698F3C", "Rainy morning", [CREEP, JOGA])]
    assert account(path).skipped == {"podcasts, audiobooks and videos": 1}
    assert account(path).notes == ["4 smart playlists, folders and the like are left out"]


def test_a_single_exported_playlist_is_read_even_if_it_is_smart(tmp_path: Path):
    library = LIBRARY | {"Playlists": [LIBRARY["Playlists"][2]]}
    path = write(tmp_path / "Recent.xml", plistlib.dumps(library))

    assert tracks(path) == [CREEP]


def test_another_property_list_is_no_library(tmp_path: Path):
    path = write(tmp_path / "Info.plist", plistlib.dumps({"CFBundleName": "Player"}))

    with pytest.raises(BadInput, match="it is a property list without tracks"):
        read([path])


def test_playlists_of_spotifys_account_data_keep_uris_and_local_files(tmp_path: Path):
    path = write(tmp_path / "ann" / "Spotify Account Data" / "Playlist1.json", json.dumps(SPOTIFY))

    assert playlists(path) == [SourcePlaylist("ann/Rainy morning", "Rainy morning", [CREEP._replace(id=URI), JOGA])]
    assert account(path).records == 3
    assert account(path).skipped == {"podcasts, audiobooks and videos": 1}


def test_the_library_of_spotifys_account_data_is_a_playlist_of_saved_tracks(tmp_path: Path):
    path = write(tmp_path / "ann" / "MyData" / "YourLibrary.json", json.dumps(SAVED, indent=2))

    assert playlists(path) == [SourcePlaylist("ann/YourLibrary", "", [CREEP._replace(id=URI)])]


def an_export(directory: Path) -> None:
    write(directory / "Playlist1.json", json.dumps(SPOTIFY))
    write(directory / "YourLibrary.json", json.dumps(SAVED))
    write(directory / "Userdata.json", '{"username": "ann"}')
    write(directory / "SearchQueries.json", '[{"platform": "IPHONE", "searchQuery": "x"}]')
    write(directory / "StreamingHistory_podcast_0.json", '[{"endTime": "x", "podcastName": "P", "msPlayed": 1}]')
    write(
        directory / "StreamingHistory_music_0.json",
        '[{"endTime": "x", "artistName": "Björk", "trackName": "Jóga", "msPlayed": 60000}]',
    )


def formats(path: Path) -> list[str]:
    reading = read([path])
    list(reading)
    return sorted(group.account.format for group in reading.groups)


EXPORT = ["Spotify library", "Spotify playlists", "Spotify streaming history"]


def test_an_unpacked_export_of_spotify_is_read_without_its_other_files(tmp_path: Path):
    an_export(tmp_path / "ann" / "Spotify Account Data")

    assert formats(tmp_path) == EXPORT


def test_the_zip_of_an_export_is_read_like_its_folder(tmp_path: Path):
    an_export(tmp_path / "Spotify Account Data")
    (tmp_path / "ann").mkdir()
    with zipfile.ZipFile(tmp_path / "ann" / "my_spotify_data.zip", "w") as archive:
        for file in (tmp_path / "Spotify Account Data").iterdir():
            archive.write(file, f"Spotify Account Data/{file.name}")

    (tmp_path / "bob.zip").write_bytes((tmp_path / "ann" / "my_spotify_data.zip").read_bytes())

    assert formats(tmp_path / "ann" / "my_spotify_data.zip") == EXPORT
    assert playlists(tmp_path / "bob.zip")[0].id == "bob/Rainy morning"
    assert [item.id for item in read([tmp_path / "ann"]) if isinstance(item, SourcePlaylist)] == [
        "ann/Rainy morning",
        "ann/YourLibrary",
    ]


def test_an_odd_track_or_playlist_of_an_export_is_counted(tmp_path: Path):
    good, odd = SPOTIFY["playlists"][0], {"name": "x", "items": [{"track": {"trackName": ["x"]}}, 5]}
    content = {"playlists": [odd, "text", {"name": {}, "items": []}, good]}
    path = write(tmp_path / "Playlist1.json", json.dumps(content))

    assert [len(playlist.tracks) for playlist in playlists(path)] == [0, 2]
    assert sum(odd.n for odd in account(path).odd.values()) == 4


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("Playlist1.json", {"playlists": [SPOTIFY["playlists"][0] | {"name": "x\ud83d"}]}),
        ("a.jspf", {"playlist": {"title": "x\ud83d", "track": [{"title": "Jóga \udc4d", "creator": "Björk"}]}}),
        ("YourLibrary.json", {"tracks": [{"artist": "Björk", "track": "Jóga \ud83d", "uri": "spotify:track:1"}]}),
    ],
)
def test_half_an_emoji_costs_neither_the_playlist_nor_the_track(tmp_path: Path, name: str, content: Any):
    path = write(tmp_path / name, json.dumps(content))

    assert playlists(path)[0].tracks
    assert list(account(path).mended) == ["half a character, replaced"]
    assert not account(path).odd


BOMB = """<?xml version="1.0"?>
<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>
<playlist xmlns="http://xspf.org/ns/0/"><title>&b;</title></playlist>"""
LEAK = """<?xml version="1.0"?>
<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>
<playlist xmlns="http://xspf.org/ns/0/"><title>&a;</title></playlist>"""
HOSTILE = {
    "a.xspf": BOMB,
    "b.xspf": LEAK,
    "c.xspf": XSPF[:300],
    "d.xspf": XSPF.replace("UTF-8", "UTF-7"),
    "e.xspf": XSPF.encode("latin-1"),
    "f.jspf": JSPF[:-20],
    "g.jspf": '{"playlist": {"track": 5}}',
    "h.jspf": '{"playlist": {"track": ' + "[" * 100_000,
    "i.xml": plistlib.dumps(LIBRARY)[:-200],
    "j.xml": plistlib.dumps(LIBRARY).replace(b"<plist", b'<!DOCTYPE x [<!ENTITY a "ha">]><plist'),
    "k.xml": plistlib.dumps({"Tracks": {}}),
    "l.xml": plistlib.dumps(LIBRARY, fmt=plistlib.FMT_BINARY)[:-40],
    "m.xml": plistlib.dumps(LIBRARY).replace(b"<integer>3<", b"<date>3<"),
    "n.json": json.dumps(SPOTIFY)[:-9],
    "o.json": '{"playlists": {"items": 3}}',
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_damaged_file_is_counted_and_loses_no_other(tmp_path: Path, name: str):
    write(tmp_path / name, HOSTILE[name])
    write(tmp_path / "z.m3u", M3U)

    found = playlists(tmp_path)

    assert found[-1].tracks == [CREEP, JOGA]
    assert "passwd" not in str(found)
    assert len(account(tmp_path).odd) == 1


@pytest.mark.parametrize("end", [5, 20, 40])
def test_a_damaged_xspf_keeps_the_tracks_before_the_damage(tmp_path: Path, end: int):
    write(tmp_path / "a.xspf", XSPF[: XSPF.rindex("<track>") + end])

    (playlist,) = playlists(tmp_path)

    assert playlist.tracks == [CREEP]
    assert playlist.title
    assert sum(odd.n for odd in account(tmp_path).odd.values()) == 1


def test_a_cut_library_counts_as_all_its_tracks(tmp_path: Path):
    library = LIBRARY | {"Tracks": {str(n): {"Track ID": n, "Name": "x", "Artist": "y"} for n in range(300)}}
    write(tmp_path / "Library.xml", plistlib.dumps(library)[:-200])
    write(tmp_path / "z.m3u", M3U * 500)

    with pytest.raises(BadInput, match=r"30\d of 1,30\d tracks are odd, .*Library\.xml, 30\d: a damaged file"):
        list(read([tmp_path]))


def test_an_item_of_a_track_that_the_library_lacks_is_called_so(tmp_path: Path):
    playlist = {"Name": "mine", "Playlist Items": [{"Track ID": 1}, {"Track ID": 99}]}
    library = {"Tracks": {"1": {"Track ID": 1, "Name": "x", "Artist": "y"}}, "Playlists": [playlist, {"Name": "b"}]}
    path = write(tmp_path / "Library.xml", plistlib.dumps(library))

    assert list(account(path).odd) == ["a track that the library does not have"]
    assert account(path).notes == []


@pytest.mark.parametrize("name", HOSTILE)
def test_a_damaged_file_alone_is_refused(tmp_path: Path, name: str):
    with pytest.raises(BadInput, match=r"(\d+) of \d+ tracks are odd, \1: "):
        list(read([write(tmp_path / name, HOSTILE[name])]))


def test_a_deep_document_is_no_danger(tmp_path: Path):
    deep = XSPF.replace("<track>", "<x>" * 100_000 + "</x>" * 100_000 + "<track>", 1)

    assert tracks(write(tmp_path / "a.xspf", deep)) == [CREEP, JOGA]
