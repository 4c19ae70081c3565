"""Error responses: RFC 9457 problems."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import orjson
from pydantic import BaseModel, Field
from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"


class FieldFault(BaseModel):
    """One fault of a request."""

    field: str = Field(description="Its place, such as `body.tracks.3` or `query.k`.")
    reason: str


class Problem(BaseModel):
    """An error response, as in RFC 9457."""

    type: str = "about:blank"
    title: str = Field(description="The HTTP status in words.")
    status: int
    detail: str = Field(description="The fault and the remedy.")
    errors: list[FieldFault] = Field([], description="Each fault of the request.")


def describe_problem(status: int, detail: str, errors: Sequence[Mapping[str, str]] = ()) -> bytes:
    """Return the body of an error response."""
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
    """Return an error response."""
    return Response(describe_problem(status, detail, errors), status, headers, MEDIA_TYPE)


def responses(**texts: str) -> dict[int | str, dict[str, Any]]:
    """Return the documentation of error responses: `responses(_404="The seed is unknown.")`."""
    return {int(status[1:]): {"description": text, "model": Problem} for status, text in texts.items()}


ANY = responses(
    _400="Not a valid HTTP/1.1 request.",
    _408="The request took too long.",
    _431="The headers or the path are too long.",
)
DENIED = ANY | responses(
    _401="The key is missing or unknown.", _403="The key lacks the right.", _429="The key has exceeded its rate."
)
INVALID = responses(_422="The request is not valid.")
UNREADABLE = responses(_413="The body is too long.", _415="The body is compressed.")
REFUSED = responses(_503="No model is open, or the service is overloaded.")
