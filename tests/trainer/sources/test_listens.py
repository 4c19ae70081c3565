"""Listening histories of Spotify and ListenBrainz, in their exact shapes and with odd records."""

import gzip
import json
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from trainer.cli import main
from trainer.config import ReadOptions
from trainer.errors import BadInput
from trainer.sources import Account, Interactions, SourceTrack, read

URI = "spotify:track:4uLU6hMCjMI75M1A2tKUQC"
MBID = "e8f9b188-f819-4e43-ab0f-4bd26ce9ff56"
LENIENT = ReadOptions(max_odd=1)


def extended(**fields: Any) -> dict[str, Any]:
    """A record of Streaming_History_Audio_*.json."""
    return {
        "ts": "2021-11-15T13:41:44Z",
        "platform": "ios",
        "ms_played": 60019,
        "conn_country": "IN",
        "ip_addr": "192.0.2.1",
        "master_metadata_track_name": "Creep",
        "master_metadata_album_artist_name": "Radiohead",
        "master_metadata_album_album_name": "Pablo Honey",
        "spotify_track_uri": URI,
        "episode_name": None,
        "episode_show_name": None,
        "spotify_episode_uri": None,
        "audiobook_title": None,
        "reason_start": "trackdone",
        "reason_end": "trackdone",
        "shuffle": False,
        "skipped": None,
        "offline": False,
        "incognito_mode": False,
    } | fields


EPISODE = extended(
    master_metadata_track_name=None,
    master_metadata_album_artist_name=None,
    spotify_track_uri=None,
    episode_name="Ep",
    spotify_episode_uri="spotify:episode:1",
)


def account_data(artist: str = "Björk", name: str = "Jóga", ms: Any = 200_000) -> dict[str, Any]:
    """A record of StreamingHistory_music_*.json."""
    return {"endTime": "2024-01-15 14:30", "artistName": artist, "trackName": name, "msPlayed": ms}


def listenbrainz(**track: Any) -> dict[str, Any]:
    """A record of a dump of ListenBrainz."""
    metadata = {"artist_name": "Björk", "track_name": "Jóga", "additional_info": {"recording_msid": "m-1"}} | track
    return {
        "user_name": "rob",
        "user_id": 1,
        "listened_at": 1_600_000_019,
        "timestamp": 1_600_000_019,
        "recording_msid": "m-1",
        "track_metadata": metadata,
    }


def listens(path: Path, options: ReadOptions = LENIENT) -> Counter[tuple[str, SourceTrack]]:
    """Return how often each listener heard each track."""
    found: Counter[tuple[str, SourceTrack]] = Counter()
    for batch in read([path], options):
        assert isinstance(batch, Interactions)
        assert batch.counts is not None
        for owner, row, count in zip(batch.owners, batch.rows, batch.counts, strict=True):
            found[batch.playlist_ids[owner], batch.tracks[row]] += int(count)
    return found


def account(path: Path, options: ReadOptions = LENIENT) -> Account:
    reading = read([path], options)
    list(reading)
    return reading.groups[0].account


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2))
    return path


CREEP = SourceTrack(URI, "Creep", "Radiohead", "Radiohead")
JOGA = SourceTrack("Björk - Jóga", "Jóga", "Björk", "Björk")


def test_the_extended_history_counts_listens_of_uris_by_the_folder_of_the_listener(tmp_path: Path):
    path = write(tmp_path / "ann" / "Streaming_History_Audio_2020-2021_1.json", [extended()] * 3)

    assert listens(path) == {("ann", CREEP): 3}
    assert account(path).format == "Spotify extended streaming history"


def test_a_username_in_the_history_names_the_listener(tmp_path: Path):
    path = write(tmp_path / "endsong_0.json", [extended(username="u1"), extended(username="u2")])

    assert listens(path) == {("u1", CREEP): 1, ("u2", CREEP): 1}


@pytest.mark.parametrize("name", ["StreamingHistory_music_0.json", "Playlist1.json"])
@pytest.mark.parametrize(("folders", "remarked"), [(["", ""], True), (["ann", "bob"], False)])
def test_zip_files_of_two_people_in_one_folder_are_remarked_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, folders: list[str], remarked: bool
):
    for number, folder in enumerate(folders):
        (tmp_path / folder).mkdir(exist_ok=True)
        track = {"trackName": f"Song {number}", "artistName": "A", "trackUri": None}
        playlist = {"playlists": [{"name": "mix", "items": [{"track": track}]}]}
        content = playlist if name == "Playlist1.json" else [account_data(name=f"Song {number}")]
        with zipfile.ZipFile(tmp_path / folder / f"my_spotify_data{number}.zip", "w") as archive:
            archive.writestr(f"Spotify Account Data/{name}", json.dumps(content))

    list(read([tmp_path]))

    assert ("several zip files are of one listener" in capsys.readouterr().err) == remarked


def test_the_history_of_the_account_data_names_tracks_by_artist_and_name(tmp_path: Path):
    path = write(
        tmp_path / "ann" / "Spotify Account Data" / "StreamingHistory_music_0.json",
        [account_data(), account_data(" Björk ", "Jo\u0301ga")],
    )

    assert listens(path) == {("ann", JOGA): 2}
    assert account(path).format == "Spotify streaming history"


def test_listens_of_listenbrainz_take_the_mbid_or_else_the_names(tmp_path: Path):
    records = [
        listenbrainz(mbid_mapping={"recording_mbid": MBID.upper(), "artist_mbids": []}),
        listenbrainz(additional_info={"recording_mbid": MBID}),
        listenbrainz(),
    ]
    path = tmp_path / "1.listens"
    path.write_text("\n".join(map(json.dumps, records)))

    assert listens(path) == {("rob", JOGA._replace(id=MBID)): 2, ("rob", JOGA): 1}
    assert account(path).format == "ListenBrainz listens"


def test_an_export_of_listenbrainz_without_user_names_takes_the_folder(tmp_path: Path):
    record = {key: value for key, value in listenbrainz().items() if not key.startswith("user")}
    path = write(tmp_path / "rob" / "listens" / "2024" / "1.jsonl", record)

    assert listens(path) == {("rob", JOGA): 1}


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.txt", "a"])
@pytest.mark.parametrize("layout", ["array", "compact", "lines", "gzip"])
def test_a_history_of_any_name_is_an_array_or_lines(tmp_path: Path, name: str, layout: str):
    records = [extended(username="u"), EPISODE, extended(username="u")]
    text = {
        "array": json.dumps(records, indent=2),
        "compact": json.dumps(records, separators=(",", ":")),
        "lines": "\n".join(map(json.dumps, records)),
        "gzip": json.dumps(records),
    }[layout]
    (tmp_path / name).write_bytes(gzip.compress(text.encode()) if layout == "gzip" else text.encode())

    assert listens(tmp_path / name) == {("u", CREEP): 2}


def test_short_listens_do_not_count_and_are_said(tmp_path: Path):
    path = write(tmp_path / "a.json", [account_data(ms=29_999), account_data(ms=30_000), account_data(ms=0)])

    assert listens(path) == {("a", JOGA): 1}
    assert account(path).skipped == {"listens of less than 30 s": 2}
    assert listens(path, ReadOptions(min_played_s=0)) == {("a", JOGA): 3}
    assert account(path, ReadOptions(min_played_s=60, max_odd=0)).skipped == {"listens of less than 60 s": 3}


def test_the_command_line_sets_the_length_of_a_listen(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = write(tmp_path / "a.json", [account_data(ms=119_000)])

    assert main(["evaluate", str(path), "--min-played", "120"]) == 1
    assert "left out 1: listens of less than 120 s" in capsys.readouterr().err


def test_podcasts_and_lost_names_are_left_out_not_odd(tmp_path: Path):
    path = write(tmp_path / "a.json", [extended(), EPISODE])
    lost = write(tmp_path / "b.json", [account_data(), account_data("Unknown Artist", "Unknown Track")])

    assert account(path, ReadOptions(max_odd=0)).skipped == {"podcasts, audiobooks and videos": 1}
    assert account(lost, ReadOptions(max_odd=0)).skipped == {"tracks whose names Spotify has lost": 1}


def test_a_history_of_podcasts_alone_is_refused_by_name(tmp_path: Path):
    podcast = {"endTime": "2024-01-15 14:30", "podcastName": "P", "episodeName": "E", "msPlayed": 1}
    path = write(tmp_path / "StreamingHistory_podcast_0.json", [podcast])

    with pytest.raises(BadInput, match="it is a history of podcasts"):
        read([path])


ODD_RECORDS = {
    "a count that is text": json.dumps(extended(ms_played="long")),
    "no count": json.dumps(extended(ms_played=None)),
    "a count that is no number": json.dumps(extended()).replace("60019", "NaN"),
    "a negative count": json.dumps(extended(ms_played=-1)),
    "a name that is a list": json.dumps(extended(master_metadata_track_name=["x"])),
    "a name that is true": json.dumps(extended(master_metadata_track_name=True)),
    "half of an emoji": json.dumps(extended(master_metadata_track_name="\ud83d")),
    "no names and another id": json.dumps(extended(spotify_track_uri="x", master_metadata_album_artist_name=None)),
    "a number of five thousand digits": json.dumps(extended()).replace("60019", "9" * 5000),
    "broken JSON": '{"ts": "x" "ms_played"}',
    "deep JSON": '{"ts": ' + "[" * 100_000 + "]" * 100_000 + "}",
    "no object": "[1]",
    "a key without a value": '{"ts": }',
}


@pytest.mark.parametrize("odd", ODD_RECORDS)
@pytest.mark.parametrize("between", [", ", ",\n  ", "\n"])
def test_an_odd_record_is_counted_with_its_place_and_loses_no_other(tmp_path: Path, odd: str, between: str):
    good = json.dumps(extended(username="u"))
    (tmp_path / "a.json").write_text(between.join([good, ODD_RECORDS[odd], good, good]))

    assert listens(tmp_path / "a.json") == {("u", CREEP): 3}
    (found,) = account(tmp_path / "a.json").odd.values()
    assert (found.n, found.places) == (1, ["listen 2"])


@pytest.mark.parametrize("odd", ['{"ts": }', "null", '{"ts": "2021", "ms_played": "\\ud83d"}'])
def test_a_history_that_begins_with_an_odd_record_is_recognised(tmp_path: Path, odd: str):
    (tmp_path / "a.json").write_text(f"[{odd},\n{json.dumps(extended(username='u'))}]")

    assert listens(tmp_path / "a.json") == {("u", CREEP): 1}


def test_bytes_that_are_not_utf8_spoil_their_record_alone(tmp_path: Path):
    text = "\n".join([json.dumps(extended(username="u")), '{"ts": 1, "ms_played": 60000, "username": "\xf6"}'])
    (tmp_path / "a.json").write_bytes(text.encode("latin-1"))

    assert listens(tmp_path / "a.json") == {("u", CREEP): 1}


@pytest.mark.parametrize("indent", [None, 2])
def test_a_history_that_breaks_off_keeps_its_beginning(tmp_path: Path, indent: int | None):
    text = json.dumps([extended(username="u")] * 3, indent=indent)
    (tmp_path / "a.json").write_text(text[:-40])

    assert listens(tmp_path / "a.json") == {("u", CREEP): 2}
    assert account(tmp_path / "a.json").odd["no JSON object"].n == 1


def test_a_history_of_many_pieces_loses_no_record(tmp_path: Path):
    names = [f"Sóng {number}" for number in range(12_000)]
    (tmp_path / "a.json").write_text(json.dumps([account_data(name=name) for name in names], ensure_ascii=False))
    assert (tmp_path / "a.json").stat().st_size > 1 << 20

    assert {track.name for _, track in listens(tmp_path / "a.json")} == set(names)


def test_too_many_odd_records_end_the_run_with_the_first_places(tmp_path: Path):
    path = write(tmp_path / "a.json", [extended(), extended(ms_played="x"), extended()])

    with pytest.raises(BadInput, match=r"1 of 3 listens are odd.*listen 2"):
        list(read([path]))
