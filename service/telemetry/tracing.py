"""A span for each request, sent to an OpenTelemetry collector (OTLP over HTTP) if one is configured."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING

from service.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.trace import Span

TIMEOUT_S = 2
TRACE_CONTEXT = (b"traceparent", b"tracestate")


class OpenTelemetry:
    """
    Sends spans to *endpoint* in the background.

    Raises:
        ModuleNotFoundError: OpenTelemetry is not installed.
    """

    def __init__(self, endpoint: str):
        # Imported here: the packages are optional.
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        resource = Resource.create({"service.name": "segue", "service.version": version("segue")})
        self._provider = TracerProvider(resource=resource)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint, timeout=TIMEOUT_S)))
        self._tracer = self._provider.get_tracer("segue")
        self._propagator = TraceContextTextMapPropagator()
        self._kind = trace.SpanKind.SERVER

    @contextmanager
    def span(self, name: str, headers: Iterable[tuple[bytes, bytes]]) -> Iterator["Span"]:
        """Record a request as the span *name*, in the trace that its *headers* name, if any."""
        carrier = {key.decode(): value.decode("latin-1") for key, value in headers if key in TRACE_CONTEXT}
        with self._tracer.start_as_current_span(name, self._propagator.extract(carrier), self._kind) as span:
            yield span

    def stop(self) -> None:
        """Send the remaining spans."""
        self._provider.shutdown()


def open_tracer(settings: Settings) -> OpenTelemetry | None:
    """
    Return the tracer that *settings* ask for, if any.

    Raises:
        ModuleNotFoundError: an endpoint is configured, and the extra `tracing` is not installed.
    """
    if settings.otlp_endpoint is None:
        return None
    try:
        return OpenTelemetry(settings.otlp_endpoint)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"SEGUE_OTLP_ENDPOINT is set, but {error.name} is not installed: pip install 'segue[tracing]'"
        ) from error
