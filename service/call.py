"""One request on its way through the service, and what becomes known of it."""

import time
from dataclasses import dataclass, field
from typing import Any, cast

from fastapi import Request

from service.access import Key
from service.engine import Recommender
from service.envelope import SCOPE


@dataclass
class Call:
    """
    What is said of a request in the log, the metrics and its trace; never what it asked.

    Attributes:
        request_id: the one that it came with, or a new one.
        route: the path as it is documented; `other` where there is none such.
        status: of the answer.
        key: that it was made with, if any.
        model: the version that answered.
        strategy: of a recommendation.
        waited_s: for the engine.
        recommender: that it is to ask; lent until the answer begins.
        body_bytes: how many were read of its body.
    """

    request_id: str
    method: str
    route: str
    status: int = 0
    key: Key | None = None
    model: str | None = None
    strategy: str = ""
    waited_s: float = 0.0
    recommender: Recommender | None = None
    body_bytes: int = 0
    started_s: float = field(default_factory=time.perf_counter)

    def describe(self) -> dict[str, Any]:
        """What its log line says."""
        return {
            "request_id": self.request_id,
            "method": self.method,
            "route": self.route,
            "status": self.status,
            "duration_ms": round(1e3 * (time.perf_counter() - self.started_s), 2),
            "waited_ms": round(1e3 * self.waited_s, 2),
            "key": self.key and self.key.name,
            "model": self.model,
            "strategy": self.strategy or None,
        }


def call_of(request: Request) -> Call:
    """The call that *request* is."""
    return cast(Call, request.scope[SCOPE])


def lent_recommender(request: Request) -> Recommender:
    """The recommender that *request* is to ask."""
    recommender = call_of(request).recommender
    assert recommender is not None  # the guard lends one to each path that asks the engine
    return recommender
