"""Keys, where a request carries one, and what each path needs."""

import json
import os
import traceback
from datetime import UTC, datetime
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.routing import Match, Route, Router

from service import access
from service.access import RIGHTS, Access, BadKeys, Denied, Key, Keys, Right, needed_right, presented_key

SECRETS: dict[Right, bytes] = {right: f"segue_{right:a<43}".encode() for right in RIGHTS}
MADE = datetime(2026, 1, 31, 12, tzinfo=UTC)


def key(name: str, secret: bytes, *rights: Right, rate: float | None = None, burst: int = 0) -> Key:
    return Key(name, sha256(secret).hexdigest(), frozenset(rights or ("use",)), rate, burst, MADE)


KEYS = Keys(tuple(key(right, secret, right) for right, secret in SECRETS.items()))


def bearer(secret: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"authorization", b"Bearer " + secret)]


# The file


def entry(**changes: Any) -> dict[str, Any]:
    whole = {
        "name": "web",
        "digest": sha256(b"web").hexdigest(),
        "rights": ["use"],
        "rate": 5,
        "burst": 10,
        "created_at": "2026-01-31T12:00:00Z",
    } | changes
    return {name: value for name, value in whole.items() if value is not ...}


def written(directory: Path, content: Any) -> Path:
    path = directory / "keys.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def refusal(path: Path) -> str:
    with pytest.raises(BadKeys) as refused:
        Keys.read(path)
    return str(refused.value)


def test_what_is_written_is_read(tmp_path: Path):
    keys = Keys((key("web", b"a", "use", "metrics", rate=0.5, burst=3), key("ops", b"b", "admin")))

    assert Keys.read(written(tmp_path, keys.text())) == keys


@pytest.mark.parametrize("content", ["", " \n", '{"keys": []}'])
def test_an_empty_file_holds_no_keys(content: str, tmp_path: Path):
    assert Keys.read(written(tmp_path, content)) == Keys()


def test_without_a_rate_a_key_is_not_limited_and_without_a_burst_it_is_a_second_of_it(tmp_path: Path):
    keys = [
        entry(rate=None, burst=...),
        entry(name="b", digest="b" * 64, rate=2.5, burst=...),
        entry(name="c", digest="c" * 64, rate=0.01, burst=...),
    ]

    assert [(k.rate, k.burst) for k in Keys.read(written(tmp_path, {"keys": keys})).keys] == [
        (None, 0),
        (2.5, 3),
        (0.01, 1),
    ]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": ...}, "key 1: name is missing"),
        ({"digest": ...}, "key 1: digest is missing"),
        ({"rights": ...}, "key 1: rights is missing"),
        ({"created_at": ...}, "key 1: created_at is missing"),
        ({"right": "use"}, "key 1: 1 unknown field, where there are name, digest, rights"),
        ({"name": ""}, "name: expected 1 to 32"),
        ({"name": "two words"}, "name: expected 1 to 32"),
        ({"name": "web\n"}, "name: expected 1 to 32"),
        ({"name": 7}, "name: expected 1 to 32"),
        ({"name": "a" * 33}, "name: expected 1 to 32"),
        ({"digest": "a" * 63}, "digest: expected a SHA-256"),
        ({"digest": "g" * 64}, "digest: expected a SHA-256"),
        ({"digest": "A" * 64}, "lower-case"),
        ({"digest": None}, "digest: expected a SHA-256"),
        ({"rights": []}, "rights: expected a list of one or more of use, metrics, admin"),
        ({"rights": "use"}, "rights: expected"),
        ({"rights": ["use", "root"]}, "rights: expected"),
        ({"rights": [{}]}, "rights: expected"),
        ({"rate": 0}, "rate: expected requests a second, 0.001 to 1,000,000"),
        ({"rate": -1}, "rate: expected"),
        ({"rate": "5"}, "rate: expected"),
        ({"rate": True}, "rate: expected"),
        ({"rate": 1e7}, "rate: expected"),
        ({"burst": 0}, "burst: expected a whole number, 1 to 1,000,000"),
        ({"burst": 1.5}, "burst: expected a whole number"),
        ({"burst": True}, "burst: expected a whole number"),
        ({"burst": 1_000_001}, "burst: expected a whole number"),
        ({"rate": ...}, "burst: expected only where there is a rate"),
        ({"created_at": "yesterday"}, "created_at: expected a time"),
        ({"created_at": "2026-01-31T12:00:00"}, "created_at: expected a time with its zone"),
        ({"created_at": 5}, "created_at: expected a time"),
    ],
)
def test_a_key_that_is_not_as_expected_is_refused_with_what_was_expected(
    changes: dict[str, Any], said: str, tmp_path: Path
):
    path = written(tmp_path, {"keys": [entry(**changes)]})

    message = refusal(path)

    assert said in message
    assert str(path) in message
    assert "mend it, or put back" in message


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "expected JSON, which ends at line 1, column 2"),
        ("[]", 'expected {"keys": [...]} and nothing beside'),
        ('{"keys": {}}', 'expected {"keys": [...]}'),
        ('{"keys": [], "more": 1}', "and nothing beside"),
        ('{"keys": [5]}', "key 1: expected fields name, digest, rights, created_at"),
        ('{"keys": [], "keys": []}', "each field once"),
        ('{"keys": NaN}', "plain numbers"),
        ('{"keys": ' + "9" * 5000 + "}", "plain numbers"),
        ("[" * 100_000, "few levels"),
        (json.dumps({"keys": [entry(rate=float("inf"))]}), "plain numbers"),
        (json.dumps({"keys": [entry()]}).replace('"rate": 5', '"rate": 1e999'), "rate: expected"),
        (json.dumps({"keys": [entry(), entry(digest="b" * 64)]}), "keys 1 and 2 have one name"),
        (json.dumps({"keys": [entry(), entry(name="b")]}), "keys 1 and 2 have one digest"),
    ],
)
def test_a_file_that_is_not_as_expected_is_refused_with_what_was_expected(content: str, said: str, tmp_path: Path):
    path = written(tmp_path, content)

    message = refusal(path)

    assert said in message
    assert str(path) in message


def test_a_file_that_is_not_there_is_refused_with_the_command_that_makes_it(tmp_path: Path):
    path = tmp_path / "keys.json"

    message = refusal(path)

    assert "there is no such file" in message
    assert f"python -m service keys create NAME --file {path}" in message


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(path: Path, *_: Any) -> int:
        raise PermissionError(13, "Permission denied", str(path))

    assert "cannot be read (Is a directory); let the user of the service read it" in refusal(tmp_path)
    monkeypatch.setattr("os.open", refuse)
    assert "cannot be read (Permission denied)" in refusal(written(tmp_path, ""))


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path):
    os.mkfifo(tmp_path / "keys.json")

    assert "it is not a file" in refusal(tmp_path / "keys.json")


def test_bytes_that_are_not_utf_8_are_refused_by_their_place(tmp_path: Path):
    path = tmp_path / "keys.json"
    path.write_bytes(b'{"keys": [\xff]}')

    assert "expected UTF-8, which ends at byte 10" in refusal(path)


def test_a_file_of_more_than_a_mebibyte_is_refused(tmp_path: Path):
    assert "more than 1 MiB" in refusal(written(tmp_path, " " * ((1 << 20) + 1)))


SECRET, DIGEST = "segue_" + "Q" * 43, "d1" * 32


@pytest.mark.parametrize(
    "content",
    [
        entry(digest=DIGEST, rate=0),
        entry(digest=DIGEST, name=SECRET),
        entry(digest=SECRET),
        entry(digest=DIGEST.upper()),
        entry(**{SECRET: 1, DIGEST: 2}),
        entry(rights=[SECRET]),
        entry(rate=SECRET),
        entry(burst=DIGEST),
        entry(created_at=SECRET),
        SECRET,
    ],
)
def test_no_refusal_repeats_a_key_or_a_digest(content: Any, tmp_path: Path):
    whole = {"keys": [content]} if isinstance(content, dict) else f'{{"keys": [{content}]}}'

    with pytest.raises(BadKeys) as refused:
        Keys.read(written(tmp_path, whole))

    told = "".join(traceback.format_exception(refused.value)).lower()
    assert SECRET.lower() not in told
    assert DIGEST not in told


def test_a_key_does_not_show_its_digest_when_it_is_printed():
    assert KEYS.keys[0].digest not in repr(KEYS)


# Finding


def test_a_key_is_found_by_what_was_given_out_and_by_nothing_else():
    web = KEYS.keys[0]

    assert KEYS.find(SECRETS["use"]) is web
    for presented in (
        SECRETS["use"][:-1],
        SECRETS["use"] + b"a",
        web.digest.encode(),
        web.name.encode(),
        b"\xff",
        b"0",
    ):
        assert KEYS.find(presented) is None


def test_nothing_presented_finds_nothing_even_where_nothing_has_a_key():
    keys = Keys((key("nothing", b""),))

    assert keys.find(None) is None
    assert keys.find(b"") is None


def test_what_is_hashed_is_bounded_and_a_longer_key_is_not_cut_to_one_that_fits():
    longest = b"a" * access.MOST_PRESENTED_BYTES
    keys = Keys((key("longer", longest + b"a"),))

    assert keys.find(longest + b"a") is None


@pytest.mark.parametrize("presented", [*SECRETS.values(), b"segue_unknown", b"", b"a" * 100_000, None])
def test_every_digest_is_compared_whatever_is_presented(presented: bytes | None, monkeypatch: pytest.MonkeyPatch):
    compared: list[tuple[str, str]] = []
    hashed: list[int] = []
    monkeypatch.setattr(access, "compare_digest", lambda a, b: compared.append((a, b)) or a == b)
    monkeypatch.setattr(access, "sha256", lambda text: hashed.append(len(text)) or sha256(text))

    KEYS.find(presented)

    assert [a for a, _ in compared] == [access.NO_DIGEST, *(k.digest for k in KEYS.keys)]
    assert len({b for _, b in compared}) == len(hashed) == 1
    assert hashed[0] <= access.MOST_PRESENTED_BYTES


def test_without_any_key_something_is_compared_all_the_same(monkeypatch: pytest.MonkeyPatch):
    compared = []
    monkeypatch.setattr(access, "compare_digest", lambda a, b: compared.append(a) or False)

    assert Keys().find(b"segue_") is None
    assert compared == [access.NO_DIGEST]


# Where a request carries its key


@pytest.mark.parametrize(
    "headers",
    [
        [(b"authorization", b"Bearer KEY")],
        [(b"Authorization", b"bearer KEY")],
        [(b"authorization", b"BEARER   KEY ")],
        [(b"x-api-key", b"KEY")],
        [(b"X-API-Key", b" KEY ")],
        [(b"authorization", b"Bearer KEY"), (b"x-api-key", b"KEY")],
        [(b"authorization", b"Basic dTpw"), (b"x-api-key", b"KEY")],
        [(b"host", b"a"), (b"host", b"b"), (b"x-api-key", b"KEY")],
    ],
)
def test_a_key_is_taken_from_either_header(headers: list[tuple[bytes, bytes]]):
    assert presented_key(headers) == b"KEY"


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"authorization", b"")],
        [(b"authorization", b"Bearer")],
        [(b"authorization", b"Bearer ")],
        [(b"authorization", b"KEY")],
        [(b"authorization", b"BearerKEY")],
        [(b"authorization", b"Basic KEY")],
        [(b"authorization", b"Basic OktFWQ==")],
        [(b"authorization", b"Digest KEY")],
        [(b"x-api-key", b"")],
        [(b"x-api-key", b"  ")],
        [(b"cookie", b"x-api-key=KEY; authorization=Bearer KEY")],
        [(b"proxy-authorization", b"Bearer KEY")],
        [(b"x-api-keys", b"KEY"), (b"api-key", b"KEY"), (b"x_api_key", b"KEY")],
        [(b"authorization", b"Bearer KEY"), (b"x-api-key", b"OTHER")],
        [(b"x-api-key", b"OTHER"), (b"authorization", b"Bearer KEY")],
        [(b"authorization", b"Bearer KEY"), (b"x-api-key", b"")],
        [(b"authorization", b"Bearer "), (b"x-api-key", b"KEY")],
        [(b"authorization", b""), (b"x-api-key", b"KEY")],
        [(b"authorization", b"Bearer KEY"), (b"authorization", b"Bearer KEY")],
        [(b"authorization", b"Basic dTpw"), (b"authorization", b"Bearer KEY")],
        [(b"x-api-key", b"KEY"), (b"X-Api-Key", b"KEY")],
    ],
)
def test_no_key_is_taken_from_elsewhere_or_from_what_can_be_read_in_two_ways(headers: list[tuple[bytes, bytes]]):
    assert presented_key(headers) is None


@pytest.mark.parametrize("header", [b"Bearer KEY, Bearer KEY", b"Bearer KEY KEY", b"Bearer KEY,"])
def test_what_stands_beside_a_key_in_one_header_is_not_cut_off(header: bytes):
    assert presented_key([(b"authorization", header)]) != b"KEY"


# What a path needs

PATHS: dict[str, Right | None] = {
    "/health/live": None,
    "/health/ready": None,
    "/metrics": "metrics",
    "/admin/reload": "admin",
    "/recommend": "use",
    "/similar": "use",
    "/search": "use",
    "/model": "use",
    "/docs": "use",
    "/redoc": "use",
    "/openapi.json": "use",
}
ROUTER = Router([Route(path, lambda _: None, name=path) for path in PATHS], redirect_slashes=False)


def test_each_path_needs_its_right():
    assert {path: needed_right(path) for path in PATHS} == PATHS


def test_the_document_on_security_tells_every_right_and_what_it_opens():
    text = (Path(__file__).parents[2] / "docs" / "security.md").read_text()

    for right in RIGHTS:
        assert f"| a key with the right `{right}` | " in text
    for beginning, _ in access.NEEDS:
        assert beginning in text


@pytest.mark.parametrize(
    "path", ["/", "", "*", "/nothing", "/health", "/healthy", "/HEALTH/live", "//health/live", "/health%2flive"]
)
def test_any_other_path_needs_the_right_to_use(path: str):
    assert needed_right(path) == "use"


def served(path: str) -> str | None:
    """The route that answers *path*, None where it is a 404."""
    scope = {"type": "http", "method": "GET", "path": path, "headers": []}
    return next((route.path for route in ROUTER.routes if route.matches(scope)[0] == Match.FULL), None)


TRICKS = [
    "{}/", "/{}", "{}\n", "{}\t", "{} ", "{}%0a", "{}%0A", "{}%00", "{}%2f", "{}/.", "{}//", "/.{}", "/x/..{}",
    "/health/..{}", "/health{}", "/health/%2e%2e{}", "/health%2f..{}", "{};a=b", "{}?", "{}#", "{}.json", "%2f{}",
    "\\{}", "http://host{}",
]  # fmt: skip


@pytest.mark.parametrize("trick", TRICKS)
@pytest.mark.parametrize("path", PATHS)
def test_no_spelling_of_a_path_reaches_its_route_by_a_weaker_right(path: str, trick: str):
    for spelled in (path, path.upper(), path.title(), path.replace("/", "//"), path.replace("a", "%61")):
        asked = unquote(trick.format(spelled))
        if (route := served(asked)) is not None:
            assert PATHS[route] in (None, needed_right(asked)), repr(asked)


def test_a_trailing_newline_does_reach_a_route():
    """So the test above has something to find: Starlette's patterns end in `$`."""
    assert served("/metrics\n") == "/metrics"
    assert needed_right("/metrics\n") == "metrics"
    assert needed_right("/health/live\n") is None


@given(
    st.text(alphabet="/adminhelthrcsovyu.%\n\\2fFAME;?#", max_size=20), st.sampled_from(sorted(PATHS)), st.booleans()
)
def test_no_path_reaches_a_route_by_a_weaker_right(noise: str, path: str, before: bool):
    asked = unquote(noise + path if before else path + noise)

    if (route := served(asked)) is not None:
        assert PATHS[route] in (None, needed_right(asked))


# The decision


def asked(keys: Keys | None, path: str, headers: list[tuple[bytes, bytes]]) -> str | int:
    """The name of the key, 'anyone' or the status."""
    decision = Access(keys).decide(path, headers)
    if isinstance(decision, Denied):
        return int(decision.status)
    return "anyone" if decision is None else decision.name


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("right", RIGHTS)
def test_a_key_opens_what_its_right_is_for_and_nothing_else(path: str, right: Right):
    expected = {None: "anyone", right: right}.get(PATHS[path], 403)

    assert asked(KEYS, path, bearer(SECRETS[right])) == expected


@pytest.mark.parametrize("headers", [[], bearer(b"segue_unknown"), [(b"cookie", b"x-api-key=" + SECRETS["use"])]])
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("keys", [KEYS, Keys()])
def test_without_a_known_key_health_alone_is_answered(keys: Keys, path: str, headers: list[tuple[bytes, bytes]]):
    assert asked(keys, path, headers) == ("anyone" if path.startswith("/health/") else 401)


def test_a_path_that_does_not_exist_is_not_told_from_others_without_a_key():
    assert asked(KEYS, "/nothing", []) == 401
    assert asked(KEYS, "/nothing", bearer(SECRETS["use"])) == "use"


def test_a_denial_is_the_same_whether_a_key_is_missing_or_unknown():
    assert Access(KEYS).decide("/model", []) == Access(KEYS).decide("/model", bearer(b"segue_unknown"))


def test_a_key_without_the_right_is_named_and_told_which_right_it_lacks():
    denied = Access(KEYS).decide("/admin/reload", bearer(SECRETS["use"]))

    assert denied == Denied(HTTPStatus.FORBIDDEN, "this path needs a key with the right `admin`", KEYS.keys[0])


@pytest.mark.parametrize("path", PATHS)
def test_where_no_keys_are_asked_for_all_is_open_but_administration(path: str):
    assert asked(None, path, []) == (403 if path.startswith("/admin") else "anyone")
    assert asked(None, path, bearer(SECRETS["admin"])) == (403 if path.startswith("/admin") else "anyone")


def test_closed_administration_says_how_to_open_it():
    denied = Access().decide("/admin/reload", [])

    assert isinstance(denied, Denied)
    assert "python -m service keys create NAME --right admin" in denied.detail
    assert "SEGUE_KEYS" in denied.detail
