"""
Random valid and invalid requests: each answer fits the OpenAPI description, and none is a 5xx.

`make test` leaves it out, because it takes many minutes. SEGUE_CHAOS_CASES is the number of cases, by default 20,000.

    python -m pytest -s tests/chaos/contract.py
"""

import http.client
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from keys import Keys, make_key, make_keys
from publishing import publish
from reliability import Report, Service

from service.api.playlists import RecommendResponse
from service.engine import Recommender, Store
from service.engine.text import normalize_title

WORKERS = 2
CASES = int(os.environ.get("SEGUE_CHAOS_CASES", "20000"))
PER_OPERATION = 250  # maximum of one run of Schemathesis, in which each request takes longer than the one before
AT_ONCE = 2  # runs, each of which occupies one processor
LIMITS = {
    "max_waiting": 1000,
    "max_wait_s": 30,
    "max_connections": 10_000,
    "request_timeout_s": 60,
    "max_body_bytes": 64 << 20,
    "max_header_bytes": 1 << 20,  # for a query of a thousand ids
}

CHECKS = (
    "not_a_server_error status_code_conformance content_type_conformance response_headers_conformance "
    "response_schema_conformance negative_data_rejection positive_data_acceptance missing_required_header "
    "unsupported_method allow_header_conformance use_after_free ensure_resource_availability ignored_auth "
    "object_level_authorization"
).split()
REFUSALS = (400, 401, 403, 404, 405, 408, 413, 415, 422, 429, 431)  # of an invalid request
# Excluded: operation, check and reason.
EXCLUDED = (
    (
        "GET /similar",
        "positive_data_acceptance",
        "`track` or `artist` is needed, and not both, which OpenAPI cannot express for query parameters",
    ),
    ("POST /recommend", "positive_data_acceptance", "the attributes in `where` and `fields` are those of the model"),
    ("GET /search", "positive_data_acceptance", "the attributes in `where` are those of the model"),
    ("POST /diagnose", "positive_data_acceptance", "one of the tracks must be known"),
)


@dataclass(frozen=True)
class Contract:
    """A service, its keys, and a recommender with the served model."""

    service: Service
    keys: Keys
    every_right: str
    recommender: Recommender


@pytest.fixture(scope="module")
def contract(bases: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Contract]:
    directory = tmp_path_factory.mktemp("contract")
    store, keys = Store(directory / "models"), make_keys(directory / "keys.json")
    every_right = make_key(keys.file, "every-right", "use", "--right", "metrics", "--right", "admin")
    publish(store, bases[0])
    with Service(store.root, directory / "service.log", workers=WORKERS, keys=keys.file, **LIMITS) as service:
        recommender = Recommender.open(bases[0])
        yield Contract(service, keys, every_right, recommender)
        recommender.close()
        assert "Traceback" not in service.log.read_text()


@pytest.fixture(scope="module")
def report() -> Iterator[Report]:
    cases = f"SEGUE_CHAOS_CASES={CASES} " if CASES != 20_000 else ""
    found = Report("contract", f"{cases}make test-chaos", "a synthetic world of 3,000 playlists")
    print()
    yield found
    found.finish()


def test_schemathesis_finds_no_fault_in_any_operation(contract: Contract, report: Report, tmp_path: Path):
    workers = contract.service.workers()
    config = tmp_path / "schemathesis.toml"
    config.write_text(configuration())
    cases, seed, failures = 0, 0, []
    with ThreadPoolExecutor(AT_ONCE) as pool:
        while cases < CASES and not failures:
            seeds = range(seed + 1, seed + 1 + AT_ONCE)
            for made, code, output in pool.map(lambda each: schemathesis(contract, each, config), seeds):
                cases += made
                failures += [output] if code or not made else []
            seed += AT_ONCE
            print(f"\n  seeds up to {seed}: {cases:,} cases", flush=True)

    assert not failures, "\n".join(map(shortened, failures))
    assert contract.service.workers() == workers, "a worker died"
    report.add("Schemathesis, all checks, all phases", f"{cases:,} cases, no failure", f">= {CASES:,} cases", True)
    for operation, check, reason in EXCLUDED:
        report.add(f"excluded: {check} of {operation}", reason)


def configuration() -> str:
    """Return a configuration of Schemathesis; the option `--checks` would include the `EXCLUDED` ones."""
    tables = ["[checks]", *(f"{check}.enabled = true" for check in CHECKS)]
    tables += [f"negative_data_rejection.expected-statuses = {list(REFUSALS)}"]
    for operation, check, _ in EXCLUDED:
        tables += ["[[operations]]", f'include-name = "{operation}"', f"checks.{check}.enabled = false"]
    return "\n".join(tables)


def schemathesis(contract: Contract, seed: int, config: Path) -> tuple[int, int, str]:
    """Run once and return the number of requests, the exit code and the output."""
    url = f"http://127.0.0.1:{contract.service.port}/openapi.json"
    bearer = f"Authorization: Bearer {contract.every_right}"
    directory = config.parent / str(seed)
    directory.mkdir()
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run", url]
    command += ["--header", bearer, "--max-examples", str(min(PER_OPERATION, CASES))]
    command += ["--seed", str(seed), "--continue-on-failure", "--no-shrink", "--no-color"]
    command += ["--suppress-health-check", "all", "--request-timeout", "30"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=directory)
    output = done.stdout + done.stderr
    found = re.search(r"([\d,]+) generated", output)
    return int(found[1].replace(",", "")) if found else 0, done.returncode, output


def shortened(output: str) -> str:
    """Return the end of the *output*, with long lines cut."""
    return "\n".join(line[:400] for line in output.splitlines())[-12_000:]


# No answer is ever empty.

HOSTILE = st.one_of(
    st.text(max_size=40),
    st.text(st.characters(), max_size=40),
    st.sampled_from(
        [
            "",
            " ",
            "\0",
            "a\0b",
            "\x1b[0m",
            "🎧" * 50,
            "e\u0301",
            "\ufeff",
            "\u202e",
            "\ud800",
            "a\udfff",
            "spotify:track:",
            "spotify:track:0000000000000000000000 ",
            "' OR 1=1 --",
            "%00",
            "x" * 5000,
            "null",
            "NaN",
            '"',
            "\\",
            "\n",
            "ﬃ",
            "İ",
            "ß",
        ]
    ),
)


def test_an_answer_holds_exactly_k_allowed_items(contract: Contract, report: Report):
    asked: Counter[str] = Counter()
    client = http.client.HTTPConnection("127.0.0.1", contract.service.port, timeout=30)
    headers = {**contract.keys.use, "Content-Type": "application/json"}

    @settings(
        max_examples=max(200, CASES // 10),
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )
    @given(bodies(contract.recommender))
    def holds(body: dict[str, Any]) -> None:
        client.request("POST", "/recommend", json.dumps(body).encode(), headers)
        response = client.getresponse()
        content = response.read()
        if response.status == 422 and has_surrogate(body):  # surrogates cannot be encoded in UTF-8
            asked["surrogates"] += 1
            return
        assert response.status == 200, (response.status, content[:500])
        asked["answers"] += 1
        check(contract.recommender, body, content)
        asked["popular"] += json.loads(content)["strategy"] == "popular"

    holds()
    client.close()
    report.add(
        "Hypothesis: answers to hostile strings are never empty",
        f"{asked['answers']:,} answers, {asked['popular']:,} of them popular; {asked['surrogates']:,} x 422, no text",
        "exactly k each",
        True,
    )


def bodies(recommender: Recommender) -> st.SearchStrategy[dict[str, Any]]:
    """Return bodies of `/recommend` that mix known ids with hostile strings."""
    tracks = st.sampled_from([track.id for track in recommender.popular("tracks", 400)])
    names = [name for artist in recommender.popular("artists", 200) for name in (artist.id, artist.name)]
    ids = st.one_of(tracks, HOSTILE, tracks.map(lambda text: text + " "))
    mentions = st.one_of(st.sampled_from(names), HOSTILE)
    counted = st.builds(lambda name, count: {"artist": name, "count": count}, mentions, st.integers(1, 10**9))
    titles = st.one_of(HOSTILE.map(lambda text: text[:1000]), st.sampled_from(["chill", "Late  NIGHT jazz!", "zqxj"]))
    optional = {
        "tracks": st.lists(ids, max_size=30),
        "artists": st.lists(st.one_of(mentions, counted), max_size=10),
        "title": titles,
        "k": st.one_of(st.integers(1, 500), st.sampled_from([1, 500])),
        "kind": st.sampled_from(["tracks", "artists"]),
        "exclude": st.lists(st.one_of(ids, mentions), max_size=60),
    }
    return st.fixed_dictionaries({}, optional=optional)


def has_surrogate(value: Any) -> bool:
    return bool(re.search(r"\\ud[89a-f]", re.sub(r"\\ud[89ab]..\\ud[c-f]..", "", json.dumps(value).lower())))


def check(recommender: Recommender, body: dict[str, Any], content: bytes) -> None:
    """Check an answer against the promises of the API."""
    kind, k = body.get("kind", "tracks"), body.get("k", 100)
    RecommendResponse.model_validate_json(content, strict=True)
    answer = json.loads(content)
    assert list(answer) == ["model", "strategy", "seeds", "unknown", kind]
    found = [item["id"] for item in answer[kind]]
    scores = [item["score"] for item in answer[kind]]
    catalogue = recommender.artifacts.catalogue
    tracks = body.get("tracks", [])
    named = [mention["artist"] if isinstance(mention, dict) else mention for mention in body.get("artists", [])]

    track_rows, unknown_tracks = catalogue.rows("tracks", tracks)
    artist_rows, unknown_artists = catalogue.rows("artists", named)
    unknown_title = bool(body.get("title")) and not catalogue.term_rows(body["title"])
    assert answer["unknown"] == {"tracks": unknown_tracks, "artists": unknown_artists, "title": unknown_title}
    ranked = recommender.ranks and body.get("rank", True) and kind == recommender.kind
    by_meaning = ranked and recommender.manifest.shape.titles and normalize_title(body.get("title") or "")
    known = track_rows or artist_rows or (body.get("title") and not unknown_title) or by_meaning
    assert answer["strategy"] == ("popular" if not known else "ranked" if ranked else "fold-in")

    assert len(found) == k  # the world holds thousands of tracks and artists
    assert len(set(found)) == k, "an item appears twice"
    assert scores == sorted(scores, reverse=True)
    if kind == "tracks":
        assert not set(found) & {*tracks, *body.get("exclude", [])}
    else:
        excluded, _ = catalogue.rows("artists", body.get("exclude", []))
        of_tracks = {int(row) for row in recommender.artifacts.space.track_artists[track_rows]}
        answered, none = catalogue.rows("artists", found)
        assert not none
        assert not set(answered) & {*artist_rows, *excluded, *of_tracks}
