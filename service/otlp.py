"""Spans by OpenTelemetry, sent as OTLP over HTTP; imported where an endpoint is configured alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

TIMEOUT_S = 2
CONTEXT = (b"traceparent", b"tracestate")


class OpenTelemetry:
    """Sends spans to *endpoint* in the background, several at once."""

    def __init__(self, endpoint: str):
        resource = Resource.create({"service.name": "segue", "service.version": version("segue")})
        self._provider = TracerProvider(resource=resource)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint, timeout=TIMEOUT_S)))
        self._tracer = self._provider.get_tracer("segue")
        self._propagator = TraceContextTextMapPropagator()

    @contextmanager
    def span(self, name: str, headers: list[tuple[bytes, bytes]]) -> Iterator[Span]:
        """A span that goes on with the trace that *headers* name, if they do."""
        carrier = {key.decode(): value.decode("latin-1") for key, value in headers if key in CONTEXT}
        context = self._propagator.extract(carrier)
        with self._tracer.start_as_current_span(name, context, SpanKind.SERVER) as span:
            yield span

    def stop(self) -> None:
        """Send what is left."""
        self._provider.shutdown()
