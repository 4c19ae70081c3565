"""Every error that leaves the service, of one shape: RFC 9457."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import orjson
from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"


def describe_problem(status: int, detail: str, errors: Sequence[Mapping[str, str]] = ()) -> bytes:
    """The body of an answer of *status*: what was expected, what came and what to do."""
    content: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    return orjson.dumps({**content, "errors": errors} if errors else content)


def problem(
    status: int, detail: str, errors: Sequence[Mapping[str, str]] = (), headers: Mapping[str, str] | None = None
) -> Response:
    """An answer of *status* that says why."""
    return Response(describe_problem(status, detail, errors), status, headers, MEDIA_TYPE)
