"""Errors and texts that several resources share."""

from typing import Literal

from service.api.problems import responses

KIND = "`tracks` or `artists`. Default: tracks, if the catalogue has any."

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

Status = Literal["ready", "degraded", "unready", "stopping"]
