"""API keys: the key file, its faults, and the search for a presented key."""

import hmac
import json
import os
import sys
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from service.auth.keys import MAX_PRESENTED_BYTES, RIGHTS, BadKeys, Key, Keys, Right, digest_of, new_key

CREATED = datetime(2026, 1, 31, 12, tzinfo=UTC)
SECRETS: dict[Right, str] = {right: f"segue_{right:a<43}" for right in RIGHTS}
SECRET, DIGEST = "segue_" + "Q" * 43, "d1" * 32


def key(name: str, secret: str, **fields: Any) -> Key:
    return Key(name=name, digest=digest_of(secret), created_at=CREATED, **fields)


KEYS = Keys(keys=tuple(key(right, secret, rights=(right,)) for right, secret in SECRETS.items()))


def entry(**changes: Any) -> dict[str, Any]:
    """Return an entry of the key file with *changes*; `...` removes a field."""
    whole = {
        "name": "web",
        "digest": digest_of("web"),
        "rights": ["use"],
        "rate": 5,
        "burst": 10,
        "created_at": "2026-01-31T12:00:00Z",
    } | changes
    return {name: value for name, value in whole.items() if value is not ...}


def write(directory: Path, content: Any) -> Path:
    path = directory / "keys.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def refusal(path: Path) -> str:
    with pytest.raises(BadKeys) as refused:
        Keys.read(path)
    assert f"the key file {path} cannot be" in str(refused.value)
    return str(refused.value)


# The file


def test_the_written_keys_can_be_read(tmp_path: Path):
    keys = Keys(
        keys=(key("web", "a", rights=("use", "metrics"), rate=0.5, burst=3), key("ops", "b", rights=("admin",)))
    )

    assert Keys.read(write(tmp_path, keys.text())) == keys


@pytest.mark.parametrize("content", ["", " \n", '{"keys": []}'])
def test_an_empty_file_holds_no_keys(content: str, tmp_path: Path):
    assert Keys.read(write(tmp_path, content)) == Keys(keys=())


@pytest.mark.parametrize(
    ("fields", "rate", "burst"),
    [
        ({"rate": ..., "burst": ...}, None, None),
        ({"rate": None, "burst": None}, None, None),
        ({"rate": 2.5, "burst": ...}, 2.5, 3),
        ({"rate": 0.01, "burst": ...}, 0.01, 1),
    ],
)
def test_the_default_rate_is_unlimited_and_the_default_burst_is_one_second(
    fields: dict[str, Any], rate: float | None, burst: int | None, tmp_path: Path
):
    (found,) = Keys.read(write(tmp_path, {"keys": [entry(**fields)]})).keys

    assert (found.rate, found.burst) == (rate, burst)


def test_the_default_right_is_use(tmp_path: Path):
    (found,) = Keys.read(write(tmp_path, {"keys": [entry(rights=...)]})).keys

    assert found.rights == ("use",)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"name": ...}, "name: Field required"),
        ({"digest": ...}, "digest: Field required"),
        ({"created_at": ...}, "created_at: Field required"),
        ({"right": "use"}, "unknown field"),
        ({"name": ""}, "name: String should match"),
        ({"name": "two words"}, "name: String should match"),
        ({"name": "web\n"}, "name: String should match"),
        ({"name": "a" * 33}, "name: String should match"),
        ({"name": 7}, "name: Input should be a valid string"),
        ({"digest": "a" * 63}, "digest: String should match"),
        ({"digest": "g" * 64}, "digest: String should match"),
        ({"digest": "A" * 64}, "digest: String should match"),
        ({"digest": None}, "digest: Input should be a valid string"),
        ({"rights": []}, "rights: Tuple should have at least 1 item"),
        ({"rights": "use"}, "rights: Input should be a valid array"),
        ({"rights": ["use", "root"]}, "rights: 1: Input should be 'use', 'metrics' or 'admin'"),
        ({"rights": [{}]}, "rights: 0: Input should be 'use', 'metrics' or 'admin'"),
        ({"rate": 0}, "rate: Input should be greater than or equal to 0.001"),
        ({"rate": -1}, "rate: Input should be greater than or equal to 0.001"),
        ({"rate": 1e7}, "rate: Input should be less than or equal to 1000000"),
        ({"rate": float("inf")}, "rate: Input should be a finite number"),
        ({"rate": "5"}, "rate: Input should be a valid number"),
        ({"rate": True}, "rate: Input should be a valid number"),
        ({"burst": 0}, "burst: Input should be greater than or equal to 1"),
        ({"burst": 1.5}, "burst: Input should be a valid integer"),
        ({"burst": True}, "burst: Input should be a valid integer"),
        ({"burst": 1_000_001}, "burst: Input should be less than or equal to 1000000"),
        ({"rate": ...}, "burst needs a rate"),
        ({"created_at": 5}, "created_at: Input should be a valid datetime"),
        ({"created_at": "yesterday"}, "created_at: Input should be a valid datetime"),
        ({"created_at": "2026-01-31T12:00:00"}, "created_at: Input should have timezone info"),
    ],
)
def test_a_faulty_key_is_refused_with_its_place_and_the_fault(changes: dict[str, Any], fault: str, tmp_path: Path):
    message = refusal(write(tmp_path, {"keys": [entry(name="first", digest="a" * 64), entry(**changes)]}))

    assert f": key 2: {fault}" in message
    assert "correct it, or restore a version that `keys create` wrote" in message


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("{", "Invalid JSON: EOF while parsing an object at line 1 column 1"),
        ("[]", "Input should be an object"),
        ("{}", "keys: Field required"),
        ('{"keys": {}}', "keys: Input should be a valid array"),
        ('{"keys": [], "more": 1}', "unknown field"),
        ('{"keys": [5]}', "key 1: Input should be an object"),
        ('{"keys": NaN}', "keys: Input should be a valid array"),
        ('{"keys": ' + "9" * 5000 + "}", "Invalid JSON: number out of range"),
        ("[" * 100_000, "Invalid JSON: recursion limit exceeded"),
        (
            json.dumps({"keys": [entry()]}).replace('"rate": 5', '"rate": 1e999'),
            "rate: Input should be a finite number",
        ),
        (json.dumps({"keys": [entry(), entry(digest="b" * 64)]}), "2 keys have the same name"),
        (json.dumps({"keys": [entry(), entry(name="b")]}), "2 keys have the same digest"),
        (" " * ((1 << 20) + 1), "more than the limit of 1,048,576"),
    ],
)
def test_a_faulty_file_is_refused_with_the_fault(content: str, fault: str, tmp_path: Path):
    assert fault in refusal(write(tmp_path, content))


def test_a_file_that_is_not_utf_8_is_refused_with_the_place_of_the_fault(tmp_path: Path):
    path = tmp_path / "keys.json"
    path.write_bytes(b'{"keys": [\xff]}')

    assert "Invalid JSON: expected value at line 1 column 11" in refusal(path)


def test_a_missing_file_is_refused_with_the_command_that_creates_it(tmp_path: Path):
    path = tmp_path / "keys.json"

    message = refusal(path)

    assert "there is no such file" in message
    assert f"python -m service keys create NAME --file {path}" in message


def test_an_unreadable_file_is_refused_with_the_reason_of_the_system(tmp_path: Path):
    path = tmp_path / "keys.json"
    path.symlink_to(path)

    assert "keys.json cannot be read: Too many levels of symbolic links; correct the link" in refusal(path)


def test_a_directory_is_refused(tmp_path: Path):
    assert "it is a directory, not a regular file" in refusal(tmp_path)


def test_a_pipe_is_refused_without_waiting_for_a_writer(tmp_path: Path):
    os.mkfifo(tmp_path / "keys.json")

    assert "it is a named pipe, not a regular file" in refusal(tmp_path / "keys.json")


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
        Keys.read(write(tmp_path, whole))

    printed = "".join(traceback.format_exception(refused.value)).lower()
    assert SECRET.lower() not in printed
    assert DIGEST not in printed


def test_a_printed_key_does_not_show_its_digest():
    assert KEYS.keys[0].digest not in repr(KEYS)


# The search


def test_a_key_is_found_by_its_secret_only():
    use = KEYS.keys[0]
    secret = SECRETS["use"].encode()

    assert KEYS.find(secret) is use
    for presented in (secret[:-1], secret + b"a", use.digest.encode(), use.name.encode(), b"\xff", b"0"):
        assert KEYS.find(presented) is None


@pytest.mark.parametrize("presented", [None, b""])
def test_an_empty_secret_finds_no_key(presented: bytes | None):
    assert Keys(keys=(key("empty", ""),)).find(presented) is None


def test_a_presented_key_beyond_the_maximum_length_finds_no_key():
    secret = "a" * (MAX_PRESENTED_BYTES + 1)

    assert Keys(keys=(key("longer", secret),)).find(secret.encode()) is None


@pytest.mark.parametrize("keys", [KEYS, Keys(keys=())], ids=["keys", "no keys"])
@pytest.mark.parametrize(
    "presented",
    [SECRETS["use"].encode(), b"segue_unknown", b"", b"a" * 100_000, None],
    ids=["known", "unknown", "empty", "long", "none"],
)
def test_every_search_makes_the_same_number_of_comparisons(presented: bytes | None, keys: Keys):
    n_comparisons = 0

    def count(_: Any, event: str, function: Any) -> None:
        nonlocal n_comparisons
        n_comparisons += event == "c_call" and function is hmac.compare_digest

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        keys.find(presented)
    finally:
        sys.setprofile(before)

    assert n_comparisons == 1 + len(keys.keys)


def test_new_keys_differ():
    assert len({new_key() for _ in range(5)}) == 5
