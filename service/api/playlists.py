"""Playlists in requests, and the continuations and neighbours in responses."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Json,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    Tag,
    field_validator,
    model_validator,
)

from service.api.routing import KIND, StrictRequest
from service.engine import (
    Controls,
    CountedArtist,
    Kind,
    Measure,
    Options,
    Playlist,
    Plays,
    ScoredArtist,
    ScoredTrack,
    Track,
    Unknown,
)
from service.telemetry.metrics import SEEDS

MAX_PLAYS, MAX_WEIGHT, MAX_SEED, MAX_SHOWN, MAX_DIAGNOSED = 1_000_000_000, 100.0, 2**53, 50, 200
TRACK = "an id, `ARTIST - NAME`, or `name:NAME`"
ARTIST = "an id, a name, or `name:NAME`, which is never an id"


def _whole(value: Any) -> Any:
    """Accept 3.0 as an integer, as JSON Schema does. `true` is not one."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


class Weighed(StrictRequest):
    """The count and the weight of a track or an artist."""

    count: StrictInt | None = Field(None, ge=1, le=MAX_PLAYS, description="Plays.")
    weight: StrictFloat = Field(1.0, gt=0, le=MAX_WEIGHT, description="A factor of its strength in the playlist.")

    _count_is_whole = field_validator("count", mode="before")(_whole)


class WeighedTrack(Weighed):
    """A track, and how much it counts."""

    track: StrictStr = Field(description=f"The track: {TRACK}.")


class WeighedArtist(Weighed):
    """An artist, and how much it counts."""

    artist: StrictStr = Field(description=f"The artist: {ARTIST}.")


def _form(mention: Any) -> str | None:
    if isinstance(mention, str):
        return "name"
    return "plays" if isinstance(mention, dict | Weighed) else None


def _told_apart(field: str) -> Discriminator:
    """Tell the forms of a mention apart before validation, so that a fault is reported for the form that was meant."""
    expected = f'should be an id, a name, or {{"{field}": id or name, "count": plays, "weight": factor}}'
    return Discriminator(_form, custom_error_type="mention", custom_error_message=expected)


Name = Annotated[StrictStr, Tag("name")]
TrackMention = Annotated[Name | Annotated[WeighedTrack, Tag("plays")], _told_apart("track")]
ArtistMention = Annotated[Name | Annotated[WeighedArtist, Tag("plays")], _told_apart("artist")]


class Dislikes(StrictRequest):
    """Tracks and artists that do not belong to a playlist."""

    tracks: list[StrictStr] = Field([], fail_fast=True, description=f"Tracks: {TRACK}.")
    artists: list[StrictStr] = Field([], fail_fast=True, description=f"Artists: {ARTIST}.")


class RecommendRequest(StrictRequest):
    """
    A playlist, or a listener, to continue.

    All fields are optional. If nothing in them is known, the answer is the most popular items.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [{"title": "late night jazz", "k": 10}]})

    # Validation of a list stops at its first fault: there may be a million.
    tracks: list[TrackMention] = Field(
        [], fail_fast=True, description=f"Its tracks: {TRACK}; each may have a count of plays and a weight."
    )
    artists: list[ArtistMention] = Field(
        [],
        fail_fast=True,
        description=(
            f"Artists beside those of its tracks: {ARTIST}; each may have a count of plays and a weight. The default "
            "count is that of the training data: 1 for playlists, the median for listening counts."
        ),
    )
    title: StrictStr = Field("", description="Its title.")
    k: StrictInt = Field(100, ge=1, description="Number of recommendations.")
    kind: Kind | None = Field(None, description=KIND)
    rank: StrictBool = Field(True, description="Order by the ranker, if the model has one; otherwise by the solve.")
    exclude: list[StrictStr] = Field(
        [], fail_fast=True, description="Tracks, or artists, not to recommend: ids or names, as for seeds."
    )

    dislikes: Dislikes = Field(
        Dislikes(), description="Tracks and artists that do not belong to it; none of them is recommended."
    )
    among: list[StrictStr] | None = Field(
        None, fail_fast=True, description="The only tracks, or artists, to recommend: ids or names, as for seeds."
    )
    where: dict[str, Any] | None = Field(
        None, description='A filter by attributes of tracks, such as `{"year": {"gte": 2015}}`; docs/api.md has them.'
    )
    fields: list[StrictStr] = Field([], max_length=MAX_SHOWN, description="Attributes of each track to show.")
    max_per_artist: StrictInt | None = Field(None, ge=1, description="Largest number of tracks by one artist.")
    distinct: StrictBool = Field(
        False, description="Recommend one recording of each song, and none of a song of the playlist."
    )
    discover: StrictBool = Field(False, description="Leave out the artists of the playlist.")
    popularity: StrictFloat = Field(
        0.0, ge=-1, le=1, description="Prefer well known items, up to 1, or little known ones, down to -1."
    )
    diversity: StrictFloat = Field(0.0, ge=0, le=1, description="Weight against items that are like those before them.")
    vary: StrictInt | None = Field(
        None, ge=0, le=MAX_SEED, description="Seed of a draw from near the top; the same seed draws the same."
    )
    explain: StrictBool = Field(False, description="Give the reasons of each item.")

    _are_whole = field_validator("k", "max_per_artist", "vary", mode="before")(_whole)

    def playlist(self) -> Playlist:
        """Return the playlist as the engine takes it."""
        return Playlist(
            _tracks(self.tracks),
            _artists(self.artists),
            self.title,
            self.exclude,
            self.dislikes.tracks,
            self.dislikes.artists,
            self.among,
            self.where,
        )

    def options(self, ranker: bool) -> Options:
        """Return the options as the engine takes them; the ranker orders the items only if *ranker* is True too."""
        controls = Controls(
            self.max_per_artist, self.distinct, self.discover, self.popularity, self.diversity, self.vary
        )
        return Options(self.k, self.kind, self.rank and ranker, controls, self.explain, tuple(self.fields))

    def count_seeds(self, unknown: Unknown) -> None:
        """Count the seeds and dislikes by whether the catalogue knows them."""
        tracks = {each.track if isinstance(each, WeighedTrack) else each for each in self.tracks}
        artists = {each.artist if isinstance(each, WeighedArtist) else each for each in self.artists}
        for kind, n, n_unknown in (
            ("tracks", len(tracks) + len(set(self.dislikes.tracks)), len(unknown.tracks)),
            ("artists", len(artists) + len(set(self.dislikes.artists)), len(unknown.artists)),
            ("title", int(bool(self.title)), int(unknown.title)),
        ):
            if n:
                SEEDS.labels(kind, "true").inc(n - n_unknown)
                SEEDS.labels(kind, "false").inc(n_unknown)


def _tracks(mentions: Sequence[str | WeighedTrack]) -> list[str | Plays]:
    return [each if isinstance(each, str) else Plays(each.track, each.count, each.weight) for each in mentions]


def _artists(mentions: Sequence[str | WeighedArtist]) -> list[str | Plays]:
    return [each if isinstance(each, str) else Plays(each.artist, each.count, each.weight) for each in mentions]


class DiagnoseRequest(StrictRequest):
    """A playlist to diagnose."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"tracks": ["name:Yesterday"], "title": "oldies"}]})

    tracks: list[TrackMention] = Field(fail_fast=True, max_length=MAX_DIAGNOSED, description=f"Its tracks: {TRACK}.")
    artists: list[ArtistMention] = Field(
        [], fail_fast=True, description=f"Artists beside those of its tracks: {ARTIST}."
    )
    title: StrictStr = Field("", description="Its title.")
    k: StrictInt = Field(10, ge=1, description="Number of tracks that it lacks.")

    _k_is_whole = field_validator("k", mode="before")(_whole)

    def playlist(self) -> Playlist:
        """Return the playlist as the engine takes it."""
        return Playlist(_tracks(self.tracks), _artists(self.artists), self.title)


class BatchRequest(StrictRequest):
    """Playlists to continue, each as `POST /recommend` takes it."""

    # Validated one by one, so that the fault of one does not cost the others their answers.
    playlists: list[Any] = Field(description="The playlists.")


class SimilarQuery(StrictRequest):
    """Tracks or artists whose common neighbours are wanted."""

    track: list[str] = Field([], description=f"A track: {TRACK}; may repeat.")
    artist: list[str] = Field([], description=f"An artist: {ARTIST}; may repeat.")
    k: int = Field(20, ge=1, description="Number of neighbours.")
    where: Json[dict[str, Any]] | None = Field(None, description="A filter of tracks, as JSON.")

    @model_validator(mode="after")
    def _names_one_kind(self) -> Self:
        if bool(self.track) == bool(self.artist):
            raise ValueError("give one or more of track, or one or more of artist, and not both")
        return self


class KnownSeeds(BaseModel):
    """The tracks and artists of the catalogue that the ids and names of a request mean."""

    tracks: list[Track] = []
    artists: list[CountedArtist] = []


class RecommendResponse(BaseModel):
    """The continuation of a playlist, with `tracks` or `artists`."""

    model: str = Field(description="Version of the model that answered.")
    strategy: Literal["ranked", "fold-in", "popular"] = Field(
        description="`popular` if nothing in the playlist is known; otherwise `ranked` or `fold-in`, as the ranker or "
        "the solve ordered the answer."
    )
    seeds: KnownSeeds
    unknown: Unknown
    short: bool = Field(False, description="True if fewer than `k` items may be recommended.")
    tracks: list[ScoredTrack] = Field([], description="Best first, without seeds, exclusions and repetitions.")
    artists: list[ScoredArtist] = Field([], description="Likewise, and without the artists of the playlist's tracks.")


class Fault(BaseModel):
    """The reason why a playlist of a batch has no answer."""

    status: int
    detail: str
    errors: list[dict[str, str]]


class BatchAnswer(BaseModel):
    """The answer of one playlist, as `POST /recommend` gives it without `model`; or an `error` alone."""

    strategy: Literal["ranked", "fold-in", "popular"] | None = None
    seeds: KnownSeeds | None = None
    unknown: Unknown | None = None
    short: bool = False
    tracks: list[ScoredTrack] = []
    artists: list[ScoredArtist] = []
    error: Fault | None = None


class BatchResponse(BaseModel):
    """The continuations of playlists."""

    model: str = Field(description="Version of the model that answered.")
    answers: list[BatchAnswer] = Field(description="One for each playlist, in their order.")


class DiagnoseResponse(BaseModel):
    """The diagnosis of a playlist."""

    model: str
    unknown: Unknown
    focus: Measure | None = Field(description="The mean cosine of its tracks with each other; null for one track.")
    tracks: list[dict[str, Any]] = Field(
        description="Its known tracks, those that fit least first: `id`, `name`, `artist`, `fit`, which is the cosine "
        "with the rest of the playlist, null if there is none, and `odd`, true if fewer than one in twenty tracks of "
        "other playlists fits less."
    )
    lacks: list[ScoredTrack] = Field(description="The first recommendations.")


class SimilarResponse(BaseModel):
    """The neighbours of tracks or artists, the nearest first. The score is the cosine."""

    model: str
    seeds: KnownSeeds
    tracks: list[ScoredTrack] = []
    artists: list[ScoredArtist] = []
