"""Requests of all kinds, and the check of a service's answers against the recommender."""

import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import orjson
from load import prepare
from threadpoolctl import threadpool_limits

from service.engine import KINDS, Kind, Options, Playlist, Plays, Recommender

TITLES = ("late night jazz", "chill", "rock", "summer", "hip hop", "road trip", "90s", "workout", "Déjà vu", "país")
MODEL = re.compile(rb'"model":"([^"]*)",?')


@dataclass(frozen=True)
class Ask:
    """A request that every version answers with 200: a *body* of `/recommend`, or *parameters* of `/similar`."""

    body: Mapping[str, Any] | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def prepared(self, headers: dict[str, str] | None = None) -> bytes:
        if self.body is not None:
            return prepare("POST", "/recommend", self.body, headers)
        return prepare("GET", f"/similar?{urlencode(self.parameters, doseq=True)}", None, headers)

    def answer(self, recommender: Recommender) -> Any:
        """Return the answer of *recommender*, without its version."""
        found = self._recommend(recommender) if self.body is not None else self._find(recommender)
        return orjson.loads(orjson.dumps(found, default=lambda items: orjson.Fragment(items.json)))

    def _recommend(self, recommender: Recommender) -> dict[str, Any]:
        body = dict(self.body or {})
        artists = [Plays(a["artist"], a["count"]) if isinstance(a, dict) else a for a in body.get("artists", [])]
        playlist = Playlist(body.get("tracks", []), artists, body.get("title", ""), body.get("exclude", []))
        (answer,) = recommender.recommend([playlist], Options(body.get("k", 100), body.get("kind")))
        seeds = {kind: recommender.items(kind, getattr(answer.seeds, kind)) for kind in KINDS}
        short = {"short": True} if len(answer.found) < body.get("k", 100) else {}
        content = {"strategy": answer.strategy, "seeds": seeds, "unknown": answer.unknown}
        return {**content, **short, answer.kind: answer.found}

    def _find(self, recommender: Recommender) -> dict[str, Any]:
        kind: Kind = "tracks" if "track" in self.parameters else "artists"
        seeds = self.parameters[kind.removesuffix("s")]
        found = recommender.similar(kind, seeds, self.parameters.get("k", 20))
        return {"seeds": {kind: recommender.look_up(kind, seeds)}, kind: found}


def mixed_asks(recommender: Recommender, n: int, seed: int = 5) -> list[Ask]:
    """Return *n* requests of all kinds, in random order."""
    rng = random.Random(seed)
    tracks = [track.id for track in recommender.popular("tracks", 3000)]
    artists = [artist.name for artist in recommender.popular("artists", 500)]

    def few(of: Sequence[str], most: int) -> list[str]:
        return rng.sample(of, min(len(of), 1 + int(rng.random() ** 2 * most)))

    def k() -> int:
        return rng.choice((1, 10, 20, 50, 100, 500))

    kinds = {
        "tracks": lambda: Ask({"tracks": few(tracks, 60), "k": k()}),
        "excluding": lambda: Ask({"tracks": few(tracks, 30), "exclude": few(tracks, 200), "k": k()}),
        "partly unknown": lambda: Ask({"tracks": [*few(tracks, 9), "no such", "\0", "🎧"], "k": k()}),
        "title": lambda: Ask({"title": rng.choice(TITLES), "k": k()}),
        "titled tracks": lambda: Ask({"tracks": few(tracks, 10), "title": rng.choice(TITLES), "k": k()}),
        "artists": lambda: Ask({"artists": few(artists, 5), "k": k()}),
        "plays": lambda: Ask(
            {"artists": [{"artist": name, "count": rng.randrange(1, 999)} for name in few(artists, 9)], "k": k()}
        ),
        "kind": lambda: Ask({"artists": few(artists, 5), "tracks": few(tracks, 9), "kind": "artists", "k": k()}),
        "nothing": lambda: Ask(rng.choice(({}, {"tracks": ["no such"], "k": 30}, {"kind": "artists", "k": 10}))),
        "neighbours": lambda: Ask(parameters={"track": few(tracks, 3), "k": k()}),
        "artists' neighbours": lambda: Ask(parameters={"artist": few(artists, 3), "k": k()}),
    }
    shares = {"tracks": 3, "neighbours": 3}
    chosen = rng.choices(list(kinds), [shares.get(kind, 1) for kind in kinds], k=n)
    return [kinds[kind]() for kind in chosen]


class Answers:
    """The answers of a service with status 200. Equal answers are kept once."""

    def __init__(self) -> None:
        self.given: Counter[tuple[str, int, int]] = Counter()
        self._numbers: dict[bytes, int] = {}

    def __call__(self, request: int, status: int, head: bytes, body: bytes) -> None:
        if status != 200:
            return
        found = MODEL.search(body)
        version, rest = (found[1].decode(), body[: found.start()] + body[found.end() :]) if found else ("", body)
        self.given[version, request, self._numbers.setdefault(rest, len(self._numbers))] += 1

    @property
    def versions(self) -> set[str]:
        """Return the versions that the answers name."""
        return {version for version, _, _ in self.given}

    def wrong(self, asks: Sequence[Ask], bases: Mapping[str, Path]) -> list[str]:
        """
        Return the answers that differ from those of the version that they name, one a line.

        Args:
            asks: the requests, in the order of the load.
            bases: for each version that may answer, the directory of its model.
        """
        bodies = list(self._numbers)
        recommenders = {base: Recommender.open(base) for base in set(bases.values())}
        right: dict[tuple[Path, int], Any] = {}
        checked: dict[tuple[Path, int, int], bool] = {}
        wrong = []
        try:
            with threadpool_limits(1):
                for (version, request, number), times in self.given.items():
                    if version not in bases:
                        wrong.append(f"{times} x a version {version!r} that never was a good one: {asks[request]}")
                        continue
                    base = bases[version]
                    if (base, request) not in right:
                        right[base, request] = asks[request].answer(recommenders[base])
                    key = base, request, number
                    if key not in checked:
                        checked[key] = orjson.loads(bodies[number]) == right[base, request]
                    if not checked[key]:
                        wrong.append(
                            f"{times} x not the answer of {version}: {asks[request]}: {bodies[number][:200]!r}"
                        )
        finally:
            for recommender in recommenders.values():
                recommender.close()
        return wrong
