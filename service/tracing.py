"""A span for each request, where somebody collects them."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

from service.settings import Settings


class Span(Protocol):
    """What is said of a request on its way."""

    def set_attribute(self, key: str, value: Any) -> None: ...


class Tracer(Protocol):
    """Who begins spans, and sends on what is left of them at the end."""

    def span(self, name: str, headers: list[tuple[bytes, bytes]]) -> AbstractContextManager[Span | None]: ...

    def stop(self) -> None: ...


class NoTracer:
    """Nobody collects."""

    def span(self, *_: object) -> AbstractContextManager[None]:
        return nullcontext()

    def stop(self) -> None:
        pass


def open_tracer(settings: Settings) -> Tracer:
    """
    The tracer that *settings* ask for.

    Raises:
        ModuleNotFoundError: an endpoint is configured, and the extra `tracing` is not installed.
    """
    if settings.otlp_endpoint is None:
        return NoTracer()
    try:
        from service.otlp import OpenTelemetry
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"SEGUE_OTLP_ENDPOINT is set, and {error.name} is not installed: pip install 'segue[tracing]'"
        ) from error
    return OpenTelemetry(settings.otlp_endpoint)
