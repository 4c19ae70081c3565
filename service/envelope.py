"""What is around every request and answer, whoever answers: the id, and the headers that all carry."""

import re
import secrets
from collections.abc import Iterable, Sequence

from service.keys import PREFIX

SCOPE = "segue"  # where the scope of a request holds its call
OTHER = "other"  # the route of what asks for none that there is
REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
SECURITY_HEADERS: Sequence[tuple[bytes, bytes]] = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)
# The pages of documentation load scripts; nothing else that is answered is a page at all.
CONTENT_POLICY = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")


def request_id_of(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The `X-Request-ID` of *headers* where it is harmless to repeat, else a new one."""
    given = next((value for name, value in headers if name == b"x-request-id"), b"")
    # A key sent there by mistake is not to end in a log.
    harmless = REQUEST_ID.fullmatch(given) and PREFIX.encode() not in given
    return given.decode() if harmless else secrets.token_hex(16)
