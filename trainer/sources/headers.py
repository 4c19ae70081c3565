"""
Names of columns that tables have: the names of each role in many languages, and the headers of known formats.

All names are in the form of `plain`: without case, blanks and punctuation, so that `Artist Name(s)` is `artistnames`.
"""

import re
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass

NAMES: dict[str, tuple[str, ...]] = {
    "playlist": tuple(
        "playlistid playlisturi playlisturl playlistkey pid listid session sessionid "
        "playlist wiedergabeliste afspeellijst spellista çalmalistesi плейлист プレイリスト 播放列表 播放清單 歌单 "
        "재생목록".split()
    ),
    "user": tuple(
        "userid uid usersha1 useruuid listenerid memberid customerid accountid user username listener member customer "
        "account benutzer nutzer utilisateur usuario usuário utente gebruiker användare kullanıcı użytkownik "
        "пользователь χρήστησ ユーザー 用户 사용자".split()
    ),
    "track": tuple(
        "trackid trackuri trackurl trackmbid traid songid songuri itemid itemuri recordingid recordingmbid spotifyid "
        "spotifyuri spotifytrackid spotifytrackuri appleid deezerid tidalid youtubeid videoid uridutitre "
        "uridelacanción uridellatraccia uridafaixa nummeruri låtensuri トラックuri parçauri uriκομματιού "
        "رابطالأغنيةuri 曲目uri 歌link track song item recording lied chanson morceau canción cancion brano canzone "
        "traccia música musica faixa låt parça şarkı utwór песня трек κομμάτι 曲 歌曲 곡".split()
    ),
    "track_name": tuple(
        "trackname tracktitle songname songtitle itemname recordingname traname mastermetadatatrackname nomdutitre "
        "nombredelacanción nomedellatraccia nomedafaixa nummernaam låtensnamn トラック名 曲名 parçaadı όνομακομματιού "
        "اسمالأغنية 曲目名称 曲目名稱 歌名 歌曲名".split()
    ),
    "artist": tuple(
        "artistid artistids artisturi artisturis artistmbid artmbid artid künstleruris urisdelartiste urisdelartista "
        "uridellartista urisdoartista artiesturi artistensuri アーティストuri sanatçıuri uriκαλλιτέχνηων "
        "روابطالفنانينuri 艺人uri 藝人uri artistlink artist artists artista artistas artiste künstler interpret "
        "interprète band performer artiest sanatçı wykonawca исполнитель καλλιτέχνησ アーティスト 歌手 艺人 藝人 "
        "가수".split()
    ),
    "artist_name": tuple(
        "artistname artistnames artname bandname mastermetadataalbumartistname künstlernamen nomsdelartiste "
        "nombresdelartista nomedellartista nomesdoartista naamvanartiest artistensnamn アーティスト名 sanatçıadı "
        "όνοματακαλλιτέχνη أسماءالفنانين 艺人名称 藝人名稱 artist名".split()
    ),
    "title": tuple("playlistname playlisttitle listname プレイリスト名 播放列表名称 播放清單名稱 歌单名".split()),
    "count": tuple(
        "count counts plays playcount playscount numplays nplays listens listencount scrobbles timesplayed weight "
        "wiedergaben écoutes lectures reproducciones reproduções ascolti uppspelningar прослушивания 再生回数 "
        "播放次数 播放次數".split()
    ),
    "position": ("position", "pos", "trackposition", "trackpos"),
    "time": ("timestamp", "ts", "listenedat", "playedat", "scrobbledat", "createdat", "endtime", "utctime"),
    "played_ms": ("msplayed",),
    "played_pct": ("playedratiopct",),
}
NUMBERS = ("count", "position", "played_ms", "played_pct")

# The share of lines, or of values, that says of which kind all are.
NEARLY_ALL = 0.95

IDS = ("playlist", "user", "track", "artist")

# Names of ids that stand for names as well. The rest of the header, or the rows, tell which.
BARE = frozenset(
    NAMES["playlist"][NAMES["playlist"].index("playlist") :]
    + NAMES["user"][NAMES["user"].index("user") :]
    + NAMES["track"][NAMES["track"].index("track") :]
    + NAMES["artist"][NAMES["artist"].index("artist") :]
)

# Names whose role depends on the other columns, and on the rows.
NAME = ("name", "nom", "nombre", "nome", "naam", "namn", "名前", "名称", "名稱")
TITLE = (
    "title",
    "titel",
    "titre",
    "título",
    "titulo",
    "titolo",
    "başlık",
    "tytuł",
    "название",
    "タイトル",
    "标题",
    "標題",
)

# The URI or id, the name and the artists' names in Exportify's languages, and in its older editions.
EXPORTIFY = (
    "spotifyid trackname artistnames",
    "spotifyuri trackname artistnames",
    "spotifyuri trackname artistname",
    "trackuri trackname artistnames",
    "trackuri trackname künstlernamen",
    "uridutitre nomdutitre nomsdelartiste",
    "uridelacanción nombredelacanción nombresdelartista",
    "uridellatraccia nomedellatraccia nomedellartista",
    "uridafaixa nomedafaixa nomesdoartista",
    "nummeruri nummernaam naamvanartiest",
    "låtensuri låtensnamn artistensnamn",
    "トラックuri トラック名 アーティスト名",
    "parçauri parçaadı sanatçıadı",
    "uriκομματιού όνομακομματιού όνοματακαλλιτέχνη",
    "رابطالأغنيةuri اسمالأغنية أسماءالفنانين",
    "曲目uri 曲目名称 艺人名称",
    "曲目uri 曲目名稱 藝人名稱",
    "歌link 歌名 artist名",
)


@dataclass(frozen=True)
class Format:
    """
    A known format of tables.

    Attributes:
        name: its name.
        header: names that its header has among others.
        one_playlist: whether a file without a column for the playlist is one playlist.
        roles: roles that its header does not tell, by role.
    """

    name: str
    header: frozenset[str]
    one_playlist: bool = False
    roles: tuple[tuple[str, str], ...] = ()


FORMATS = (
    *(Format("Exportify", frozenset(names.split()), one_playlist=True) for names in EXPORTIFY),
    Format("TuneMyMusic", frozenset("trackname artistname album playlistname type".split())),
    Format("Soundiiz", frozenset("title artist album isrc".split()), True, (("track_name", "title"),)),
    Format("#nowplaying playlists", frozenset("userid artistname trackname playlistname".split())),
    Format("#nowplaying", frozenset("timestamp userid source tracktitle artistname trackid".split())),
    Format("#nowplaying-RS", frozenset("userid trackid hashtag createdat".split())),
    Format("Yambda", frozenset("uid itemid timestamp playedratiopct".split())),
    Format("ListenBrainz", frozenset("listenedat userid recordingmsid artistname recordingname recordingmbid".split())),
    Format("LFM-2b", frozenset("userid trackid albumid timestamp".split())),
)
EXPORTS = {"Exportify", "TuneMyMusic", "Soundiiz"}  # of playlists of people, each with Spotify's ids in its own form
SAME_HEADER = {
    frozenset("userid trackid count".split()): "LFM-2b or Music4All-Onion",
    frozenset("userid trackid timestamp".split()): "Music4All-Onion",
}


@dataclass(frozen=True)
class Shape:
    """
    A known format of lines without a header.

    Attributes:
        name: its name.
        fields: the pattern of each field.
        roles: the place of the field for each role.
    """

    name: str
    fields: tuple[re.Pattern[str], ...]
    roles: Mapping[str, int]

    def fits(self, lines: Collection[list[str]]) -> bool:
        """Return True if nearly every one of *lines* has this shape."""
        return bool(lines) and sum(map(self._fits, lines)) >= NEARLY_ALL * len(lines)

    def _fits(self, line: list[str]) -> bool:
        return len(line) == len(self.fields) and all(
            pattern.fullmatch(text.strip()) for pattern, text in zip(self.fields, line, strict=True)
        )


_TIME, _MBID, _ANY, _HASH = (
    re.compile(text)
    for text in (
        r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?Z?|\d{9,13}",
        r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|",
        ".*",
        r"[0-9a-fA-F]{16,}|\d+",
    )
)
SHAPES = (
    Shape(
        "Last.fm 1K",
        (re.compile(r"\S+"), _TIME, _MBID, _ANY, _MBID, _ANY),
        {"user": 0, "time": 1, "artist": 2, "artist_name": 3, "track": 4, "track_name": 5},
    ),
    Shape(
        "#nowplaying",
        (_TIME, _HASH, _ANY, _ANY, _ANY, _HASH),
        {"time": 0, "user": 1, "track_name": 3, "artist_name": 4, "track": 5},
    ),
    Shape(
        "Taste Profile",
        (re.compile("[0-9a-f]{40}"), re.compile("SO[0-9A-Z]+"), re.compile(r"\d+")),
        {"user": 0, "track": 1, "count": 2},
    ),
)

# Fields that a header does not have: numbers, times, hashes and URIs.
DATA = re.compile(
    r"[-+]?\d[\d.,:/eE+-]*|\d{4}-\d\d-\d\d[T ].*|[0-9a-fA-F]{16,}|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
    r"|[a-z]+:[^ ]+|SO[0-9A-Z]{16}|[A-Za-z0-9]{22}|user_\d+"
)


def plain(name: str) -> str:
    """Return the letters and digits of *name*, without case and in one Unicode form."""
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKC", name).casefold()))


def known_format(names: Collection[str]) -> Format | None:
    """Return the known format with these *names* of columns."""
    found = frozenset(map(plain, names))
    if found in SAME_HEADER:
        return Format(SAME_HEADER[found], found)
    return next((format_ for format_ in FORMATS if format_.header <= found), None)
