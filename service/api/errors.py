"""The errors of the API, their statuses, and the handlers that turn them into problems."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from service.api.problems import problem
from service.api.requests import CLIENT_CLOSED_REQUEST
from service.engine import EngineError, ModelError, PlaylistError, UnknownSeed
from service.telemetry.metrics import REFUSED

MAX_REPORTED_FAULTS = 20
RETRY_AFTER = {"Retry-After": "5"}

# An engine error has the status of its nearest class here.
STATUSES: dict[type[EngineError], HTTPStatus] = {
    EngineError: HTTPStatus.INTERNAL_SERVER_ERROR,
    PlaylistError: HTTPStatus.UNPROCESSABLE_ENTITY,
    UnknownSeed: HTTPStatus.NOT_FOUND,
    ModelError: HTTPStatus.SERVICE_UNAVAILABLE,
}
# Details of the errors that FastAPI and Starlette raise.
DETAILS = {
    HTTPStatus.NOT_FOUND: "no such path; see /docs for the API",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "the body is longer than this route accepts; see SEGUE_MAX_BODY_BYTES",
    HTTPStatus.METHOD_NOT_ALLOWED: "this path does not support this method; see /docs for the API",
}


class Refused(HTTPException):
    """
    A request that is refused.

    Args:
        status: of the response.
        detail: the fault and the remedy.
        headers: of the response.
        reason: label in `segue_requests_refused_total`; empty if it is not counted there.
    """

    def __init__(
        self, status: HTTPStatus, detail: str = "", headers: Mapping[str, str] | None = None, reason: str = ""
    ):
        super().__init__(status, detail or DETAILS[status], headers)
        self.reason = reason
        if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:  # the rest of the body is not read
            self.headers, self.reason = {"Connection": "close"}, "body"

    def response(self) -> Response:
        """Count the refusal and return its response."""
        if self.reason:
            REFUSED.labels(self.reason).inc()
        return problem(self.status_code, self.detail, headers=self.headers)


def status_of(error: type[EngineError]) -> HTTPStatus:
    """Return the HTTP status of *error*."""
    return next(STATUSES[base] for base in error.__mro__ if base in STATUSES)


def add_error_handlers(app: FastAPI) -> None:
    """Turn every error that *app* raises on purpose into a problem."""
    app.add_exception_handler(EngineError, _engine_problem)
    app.add_exception_handler(RequestValidationError, _validation_problem)
    app.add_exception_handler(HTTPException, _http_problem)


async def _engine_problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, EngineError)
    status = status_of(type(error))
    return problem(status, str(error), headers=RETRY_AFTER if status == HTTPStatus.SERVICE_UNAVAILABLE else None)


async def _validation_problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    detail, faults = describe_faults(error.errors())
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail, faults)


def describe_faults(errors: Sequence[Mapping[str, Any]]) -> tuple[str, list[dict[str, str]]]:
    """Return the *errors* of a validation as one text, and the field and the reason of each, up to a number."""
    faults = [{"field": _field(fault), "reason": _reason(fault)} for fault in errors[:MAX_REPORTED_FAULTS]]
    first, n_more = f"{faults[0]['field']}: {faults[0]['reason']}", len(errors) - 1
    more = f" (and {n_more} more)" if n_more else ""
    return first + more, faults


def _field(fault: Mapping[str, Any]) -> str:
    # The place of a fault in the text of a body is no field.
    place = fault["loc"][:1] if fault["type"] == "json_invalid" and fault["loc"][0] == "body" else fault["loc"]
    return ".".join(str(part)[:100] for part in place)  # the client chose the names of unknown fields


def _reason(fault: Mapping[str, Any]) -> str:
    if fault["type"] == "extra_forbidden":
        return "there is no such field; see /docs for those there are"
    if fault["type"] == "json_invalid":
        return f"not valid JSON: {fault['ctx']['error']}"
    return str(fault["msg"]).removeprefix("Value error, ")


async def _http_problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == CLIENT_CLOSED_REQUEST:
        return Response(status_code=CLIENT_CLOSED_REQUEST)
    if not isinstance(error, Refused):
        status = HTTPStatus(error.status_code)
        error = Refused(status, DETAILS.get(status, error.detail), _with_head(error.headers))
    return error.response()


def _with_head(headers: Mapping[str, str] | None) -> Mapping[str, str] | None:
    """Add HEAD to the allowed methods if GET is one of them: the service answers it wherever it answers GET."""
    methods = (headers or {}).get("Allow", "").split(", ")
    return {"Allow": ", ".join(sorted({*methods, "HEAD"}))} if "GET" in methods else headers
